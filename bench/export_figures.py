"""A table of 1 GiB, split and exported for a training pipeline, beside cp and split on the same disk."""
import json
import os
import random
import re
import subprocess
import time

from lab import PARENT, Short, median

SIZE = 1 << 30
RUNS = 3
ROOT = "gs://google-cloud-aiplatform/schema/"
SPLITS = {
    "fraction": {"fractionSplit": {"trainingFraction": 0.8, "validationFraction": 0.1, "testFraction": 0.1}},
    "timestamp": {"timestampSplit": {"key": "when", "trainingFraction": 0.8, "validationFraction": 0.1, "testFraction": 0.1}},
    "stratified": {"stratifiedSplit": {"key": "class", "trainingFraction": 0.8, "validationFraction": 0.1, "testFraction": 0.1}},
}


def write_table(path):
    """Rows as tables have them: some 86 bytes, numbers, words, a quoted comma in every fifth."""
    rng = random.Random(1)
    rows = []
    for i in range(20000):
        when = f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00Z"
        numbers = ",".join(f"{rng.random() * 100:.4f}" for _ in range(5))
        rows.append(f"{i},{when},c{rng.randint(0, 50)},{numbers},{'plain words here' if i % 5 else chr(34) + 'with, comma' + chr(34)}\n")
    block = "".join(rows).encode()
    with open(path, "wb") as f:
        f.write(b"id,when,class,a,b,c,d,e,text\n")
        while f.tell() < SIZE:
            f.write(block)
    return os.path.getsize(path)


def seconds(*argv, cwd):
    began = time.monotonic()
    subprocess.run(argv, cwd=cwd, check=True)
    return time.monotonic() - began


def peers(dir, table):
    """(durable, plain) seconds of cp and of split: an export is on the disk when it is told of."""
    out = []
    for argv in (("cp", table, "copy"), ("split", "-C", "400M", table, "part-")):
        plain = seconds(*argv, cwd=dir)
        made = [f for f in os.listdir(dir) if f == "copy" or f.startswith("part-")]
        out += [(plain + seconds("sync", *made, cwd=dir), plain)]
        for f in made:
            os.unlink(os.path.join(dir, f))
    return out


def export(c, dataset, split):
    """Seconds until the pipeline's job is made, which is when its data are there."""
    body = {"displayName": "export", "trainingTaskDefinition": ROOT + "trainingjob/definition/custom_task_1.0.0.yaml",
            "inputDataConfig": {"datasetId": dataset, "gcsDestination": {"outputUriPrefix": "gs://bench/out"}, **split},
            "trainingTaskInputs": {"workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
                                                        "containerSpec": {"imageUri": "probe"}}]}}
    began = time.monotonic()
    p = c.json("POST", f"/v1/{PARENT}/trainingPipelines", json.dumps(body))
    while "backingCustomJob" not in p.get("trainingTaskMetadata", {}):
        if p["state"] == "PIPELINE_STATE_FAILED":
            raise Short(p["error"]["message"])
        time.sleep(0.005)
        p = c.json("GET", "/v1/" + p["name"])
    return time.monotonic() - began


def make_dataset(c):
    body = {"displayName": "big", "metadataSchemaUri": ROOT + "dataset/metadata/tabular_1.0.0.yaml",
            "metadata": {"inputConfig": {"gcsSource": {"uri": ["gs://bench/t.csv"]}}}}
    op = c.json("POST", f"/v1/{PARENT}/datasets", json.dumps(body))
    while not op.get("done"):
        op = c.json("GET", "/v1/" + op["name"])
    return re.search(r"datasets/(\d+)$", op["response"]["name"]).group(1)


def empty(s):
    for dir, _, files in os.walk(os.path.join(s.dir, "buckets/bench/out")):
        for f in files:
            os.unlink(os.path.join(dir, f))


def exports(lab, table):
    s = lab.server("exports", "--engine=fake")
    s.start()
    c = s.client()
    c.json("POST", "/storage/v1/b?project=demo", json.dumps({"name": "bench"}))
    path = os.path.join(s.dir, "buckets/bench/t.csv")
    size = write_table(path)
    dataset = make_dataset(c)
    times, cp, split = {k: [] for k in SPLITS}, [], []
    for _ in range(RUNS):  # in turns: a busy moment meets everybody
        for kind, how in SPLITS.items():
            times[kind].append(export(c, dataset, how))
            empty(s)
        a, b = peers(s.dir, path)
        cp.append(a)
        split.append(b)
    rss = s.status("VmHWM") / 1024
    s.stop()
    fastest = min(median([t for t, _ in cp]), median([t for t, _ in split]))
    said = (f"cp {median([t for t, _ in cp]):.2f} s, split {median([t for t, _ in split]):.2f} s, both with sync; "
            f"without {median([t for _, t in cp]):.2f} and {median([t for _, t in split]):.2f} s")
    for kind in SPLITS:
        took = median(times[kind])
        target = (">=", 0.5) if kind == "fraction" else (None, None)
        table.add(f"export of 1 GiB, {kind} split, x the faster of cp and split", fastest / took, "x", *target,
                  f"{took:.2f} s, {size / took / 2**20:.0f} MiB/s; {said}")
    table.add("memory of the server at its largest during these", rss, "MiB", "<=", 64, "")
