"""1,000 queued jobs that do nothing, run to their end as real containers."""
import subprocess
import time

from lab import JOBS, Short, job_body, need_root
from start_figures import Twin

JOBS_NR = 1000


def drain(lab, table):
    need_root()
    s = lab.server("drain", "--cpu-milli=16000", "--mem-mb=61440")  # four n1-standard-4 at once, whatever the host
    s.start("--hold")
    s.import_probe()
    c = s.client()
    for _ in range(JOBS_NR):
        c.call("POST", JOBS, job_body("/bin/probe"))
    s.stop()
    s.start()
    began = time.monotonic()
    c = s.client()
    while (n := c.metric("jobs_finished_total")) < JOBS_NR:
        time.sleep(0.1)
        if time.monotonic() - began > 300:
            raise Short(f"only {n} of {JOBS_NR} jobs ended in 300 s")
    rate = JOBS_NR / (time.monotonic() - began)
    failed = c.json("GET", JOBS + "?pageSize=10&filter=state%21%3DJOB_STATE_SUCCEEDED").get("customJobs", [])
    if failed:
        raise Short(f"{failed[0]['name']} ended {failed[0]['state']}: {failed[0].get('error')}")
    rss, anon = s.status("VmRSS") / 1024, s.status("RssAnon") / 1024
    twin = Twin(s, c)
    began = time.monotonic()
    n = 0
    while time.monotonic() - began < 3:
        ps = [subprocess.Popen(twin.argv(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
        n += sum(p.wait() == 0 for p in ps)
    bare = n / (time.monotonic() - began)
    twin.close()
    s.stop()
    table.add("1,000 queued no-op jobs, containers", rate, "jobs/s", ">=", 20, f"the runtime alone, four at once {bare:.0f}/s")
    table.add("resident memory after 1,000 jobs", rss, "MiB", None, None, f"of it private {anon:.1f} MiB")
