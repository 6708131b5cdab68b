"""Imports into a dataset: lines a second, memory, a page of the items; beside what Python and its SQLite do with the same rows."""
import json
import os
import sqlite3
import time

from lab import median

MANY = int(os.environ.get("BENCH_ITEMS", "1000000"))
PARENT = "/v1/projects/demo/locations/us-central1/datasets"
ROOT = "gs://google-cloud-aiplatform/schema/dataset/"
FORMAT = ROOT + "ioformat/image_classification_multi_label_io_format_1.0.0.yaml"


def line(i, bucket):
    return json.dumps({"imageGcsUri": f"gs://{bucket}/photos/{i // 1000:04d}/{i:08d}.jpg",
                       "classificationAnnotations": [{"displayName": f"kind-{i % 97}"}],
                       "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": ("training", "test")[i % 10 == 0]}})


def wait(client, name):
    while True:
        op = client.json("GET", "/v1/" + name)
        if op.get("done"):
            assert "error" not in op, op
            return op
        time.sleep(0.02)


def make(client):
    op = client.json("POST", PARENT, json.dumps({"displayName": "bench", "metadataSchemaUri":
                                                 ROOT + "metadata/image_1.0.0.yaml"}).encode())
    return wait(client, op["name"])["response"]["name"]


def do_import(client, dataset, uri):
    body = json.dumps({"importConfigs": [{"gcsSource": {"uris": [uri]}, "importSchemaUri": FORMAT}]}).encode()
    began = time.monotonic()
    wait(client, client.json("POST", f"/v1/{dataset}:import", body)["name"])
    return time.monotonic() - began


def bare_sqlite(lab, path):
    """The same file by Python: a line parsed, its item and its annotation put into two tables with a unique index, one
    transaction, made durable."""
    def rows():
        with open(path, encoding="utf-8") as f:
            for text in f:
                o = json.loads(text)
                yield o["imageGcsUri"], o["classificationAnnotations"][0]["displayName"], o["dataItemResourceLabels"].popitem()[1]
    db = sqlite3.connect(os.path.join(lab.dir, "peer.db"))
    db.executescript("PRAGMA journal_mode=WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, uri TEXT UNIQUE, use TEXT);"
                     "CREATE TABLE annotation (item INTEGER, label TEXT)")
    began = time.monotonic()
    with db:
        for uri, label, use in rows():
            item = db.execute("INSERT INTO item (uri, use) VALUES (?, ?)", (uri, use)).lastrowid
            db.execute("INSERT INTO annotation VALUES (?, ?)", (item, label))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    took = time.monotonic() - began
    db.close()
    os.unlink(os.path.join(lab.dir, "peer.db"))
    return took


def cpu(server):
    """Seconds of processor time, user and system."""
    with open(f"/proc/{server.proc.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def datasets(lab, table):
    s = lab.server("datasets", "--engine=fake")
    s.start()
    c = s.client()
    bucket = os.path.join(s.dir, "buckets", "lines")
    os.makedirs(bucket)
    path = os.path.join(bucket, "many.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(line(i, "elsewhere") + "\n" for i in range(MANY))
    before = s.status("VmRSS")
    dataset = make(c)
    used = cpu(s)
    took = do_import(c, dataset, "gs://lines/many.jsonl")
    used = cpu(s) - used
    peak = s.status("VmHWM")
    peer = bare_sqlite(lab, path)
    table.add(f"import of {MANY:,} lines", MANY / took, "lines/s", ">=", 50000,
              f"Python's json and sqlite3, same file: {MANY / peer:,.0f}/s")
    table.add("processor time a line", used / MANY * 1e6, "us", "<=", 20, "one thread imports; all of the server counts")
    table.add("memory of that import", (peak - before) / 1024, "MiB", "<=", 64, f"file of {os.path.getsize(path) >> 20} MiB")
    table.add("the same lines again (all merged)", MANY / do_import(c, dataset, "gs://lines/many.jsonl"), "lines/s", None, 0, "")
    pages = []
    query = f"/v1/{dataset}/dataItems?pageSize=100"
    token = ""
    for _ in range(20):
        began = time.monotonic()
        r = c.json("GET", query + ("&pageToken=" + token if token else ""))
        pages.append(time.monotonic() - began)
        token = r["nextPageToken"]
    table.add(f"page of 100 items among {MANY:,}", median(pages) * 1000, "ms", None, 0, "")
    # Items that are objects here are looked for, one by one.
    few = MANY // 10
    for i in range(0, few, 1000):
        os.makedirs(os.path.join(bucket, "photos", f"{i // 1000:04d}"))
    with open(os.path.join(bucket, "own.jsonl"), "w", encoding="utf-8") as f:
        for i in range(few):
            with open(os.path.join(bucket, "photos", f"{i // 1000:04d}", f"{i:08d}.jpg"), "w", encoding="ascii") as o:
                o.write(f"{i:08d}")  # of one size: each is read, since it might be another one
            f.write(line(i, "lines") + "\n")
    table.add(f"import of {few:,} objects of our own", few / do_import(c, make(c), "gs://lines/own.jsonl"), "lines/s", None, 0,
              "each is looked for; all have one size, so each is read")
    s.stop()
