"""What a training pipeline costs over the bare job that it runs: both from create to end, by the server's own times."""
import json
from datetime import datetime

from lab import JOBS, Short, PARENT, job_body, median, need_root

PIPELINES = f"/v1/{PARENT}/trainingPipelines"
CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
RUNS, WARM_UP = 40, 3


def when(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def life(client, path, body):
    """Seconds from createTime to endTime. The server holds the GET until the end or for a while."""
    name = client.json("POST", path, body)["name"]
    while True:
        client.http.request("GET", "/v1/" + name, headers={"Prefer": "wait=2"})
        r = client.http.getresponse()
        got = json.loads(r.read())
        if got.get("endTime"):
            if not got["state"].endswith("_SUCCEEDED"):
                raise Short(f"{name}: {got['state']} {got.get('error')}")
            return when(got["endTime"]) - when(got["createTime"])


def pipeline(lab, table):
    need_root()
    s = lab.server("pipelines", "--stop-grace-s=1")
    s.start()
    s.import_probe()
    c = s.client()
    spec = json.loads(job_body("/bin/probe"))
    bodies = {JOBS: job_body("/bin/probe"),
              PIPELINES: json.dumps({"displayName": "bench", "trainingTaskDefinition": CUSTOM,
                                     "trainingTaskInputs": spec["jobSpec"]}).encode()}
    took = {path: [] for path in bodies}
    for i in range(WARM_UP + RUNS):  # in turns, so that what else the machine does meets both
        for path, body in bodies.items():
            seconds = life(c, path, body)
            if i >= WARM_UP:
                took[path].append(seconds)
    job, whole = median(took[JOBS]), median(took[PIPELINES])
    s.stop()
    table.add("training pipeline over its bare job", (whole - job) * 1000, "ms", "<=", 30,
              f"median of {RUNS}: pipeline {whole * 1000:.1f} ms, job {job * 1000:.1f} ms")
