"""Jobs that do `import sklearn` in the real sklearn-cpu image, four at once: cold, and from a memory image."""
import glob
import json
import os
import time

from lab import JOBS, Short, need_root

CACHE = os.environ.get("CUSP_RECIPE_CACHE", "/var/cache/cusp/recipes")
COLD, WARM = 12, 120


def body(is_warm):
    return json.dumps({
        "displayName": "warm", "labels": {"cusp-warm-python": "true", "cusp-warm-imports": "sklearn"} if is_warm else {},
        "jobSpec": {"workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
            "containerSpec": {"imageUri": "sklearn-cpu", "command": ["python3", "-c", "import sklearn; print(sklearn.__version__)"],
                              "args": ["--lr=0.1"]}}]}}).encode()


def drain(s, nr, is_warm):
    """nr jobs that were queued, from the server's start to the end of the last."""
    s.start("--hold")
    c = s.client()
    names = [c.json("POST", JOBS, body(is_warm))["name"] for _ in range(nr)]
    s.stop()
    s.start()
    c = s.client()
    began = time.monotonic()
    while (n := c.metric("jobs_finished_total")) < nr:
        time.sleep(0.02)
        if time.monotonic() - began > 400:
            raise Short(f"only {n} of {nr} jobs ended in 400 s")
    rate = nr / (time.monotonic() - began)
    jobs = [c.json("GET", "/v1/" + n) for n in names]
    bad = [j for j in jobs if j["state"] != "JOB_STATE_SUCCEEDED"]
    if bad:
        raise Short(f"{bad[0]['name']} ended {bad[0]['state']}: {bad[0].get('error')}")
    starts = sum(b"Warm start of Python" in c.call("GET", f"/cusp/v1/{n}:streamLogs?follow=false") for n in names)
    if starts != (nr if is_warm else 0):
        raise Short(f"{starts} of {nr} jobs started warm")
    s.stop()
    return rate


def warm(lab, table):
    need_root()
    built = sorted(glob.glob(f"{CACHE}/sklearn-cpu-*.image.json"), key=os.path.getmtime)
    if not built:
        raise Short("the sklearn-cpu image is not built here (cusp images build sklearn-cpu)")
    s = lab.server("warm", "--cpu-milli=16000", "--mem-mb=61440")  # four n1-standard-4 at once, whatever the host
    s.start()
    c = s.client()
    with open(built[-1], "rb") as f:
        c.call("POST", "/cusp/v1/images:importPath", f.read())
    began = time.monotonic()
    c.call("POST", JOBS, body(True))  # the first run unpacks the image and leaves the memory image
    images = os.path.join(s.dir, "warm", "[0-9a-f]" * 64)
    while not glob.glob(images):
        time.sleep(0.05)
        if time.monotonic() - began > 200:
            raise Short("no memory image was made in 200 s")
    s.stop()
    size = sum(os.path.getsize(f) for f in glob.glob(images + "/fs/.cusp/warm/image"))
    cold_rate = drain(s, COLD, False)
    warm_rate = drain(s, WARM, True)
    again = drain(s, COLD, False)
    cold = (cold_rate + again) / 2
    table.add("trials of `import sklearn`, warm, four at once", warm_rate, "trials/s", ">=", 20, f"cold {cold:.1f}/s")
    table.add("warm beside cold", warm_rate / cold, "x", None, None, f"memory image {size / (1 << 20):.0f} MiB")
