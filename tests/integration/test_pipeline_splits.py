"""Training pipelines with a managed dataset: every split of a table, of items, what the job is told, bad input, kill -9
(reference 05 §6-7)."""
import csv
import gzip
import io
import json
import os
import random
import re

import pytest

from conftest import PARENT, wait_until
from modelreg import put
from test_dataset_export import EIGHT, LABELS, SETS, dataset, folder, images, lines
from pipelines import create, pipeline, post, refusal, wait

EXTENDED = bool(os.environ.get("CUSP_EXTENDED"))
RELEASE = os.environ.get("CUSP_RELEASE", "")


def table(s, *texts, **more):
    """A tabular dataset over files of these texts, in this order."""
    uris = [put(s, "data", f"part-{i}.csv", t if isinstance(t, bytes) else t.encode()) for i, t in enumerate(texts)]
    return dataset(s, "tabular", metadata={"inputConfig": {"gcsSource": {"uri": uris}}}, **more).split("/")[-1]


def rows(n=200):
    """A header and rows with a class, a time (shuffled), a set and a text that needs quotes."""
    rng = random.Random(4)
    when = list(range(n))
    rng.shuffle(when)
    out = ["id,class,when,use,text"]
    for i in range(n):
        out.append(f'{i},{"abc"[i % 3]},2024-01-01T{when[i] // 3600:02}:{when[i] // 60 % 60:02}:{when[i] % 60:02}Z,'
                   f'{("training", "test", "validation", "none")[i % 4]},"a ""{i}"", b\nc"')
    return "\n".join(out) + "\n"


def data(id, **more):
    return {"datasetId": id, "gcsDestination": {"outputUriPrefix": "gs://out/run"}, **more}


def run(s, config, **more):
    """The pipeline when it has ended."""
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    return wait(s, create(s, pipeline(inputDataConfig=config, **more))["name"])


def told(s, p):
    """What the pipeline's job finds in its environment."""
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    job = s.get(p["trainingTaskMetadata"]["backingCustomJob"])
    return {e["name"]: e["value"] for e in job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"]}


def sets(s, p):
    """Of each set the rows in its files, all with the header that every file must have."""
    env = told(s, p)
    directory = env["AIP_TRAINING_DATA_URI"].rsplit("/", 1)[0] + "/"
    found = folder(s, directory)
    out = []
    for name in SETS:
        assert env[f"AIP_{name.upper()}_DATA_URI"] == f"{directory}{name}-*.csv"
        files = [found.pop(f) for f in sorted(found) if f.startswith(name + "-")]
        assert files
        read = [list(csv.DictReader(io.StringIO(f.decode(), newline=""))) for f in files]
        out.append([r for part in read for r in part])
    assert not found
    return out


def test_a_table_is_split_by_fractions(fake):
    id = table(fake, rows())
    p = run(fake, data(id, fractionSplit={"trainingFraction": 0.6, "validationFraction": 0.2, "testFraction": 0.2}))
    env = told(fake, p)
    assert env["AIP_DATA_FORMAT"] == "csv"
    assert re.fullmatch(rf"gs://out/run/dataset-{id}-tabular-\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z/training-\*\.csv",
                        env["AIP_TRAINING_DATA_URI"])
    got = sets(fake, p)
    assert [len(r) for r in got] == [120, 40, 40]
    everything = sorted((r for part in got for r in part), key=lambda r: int(r["id"]))
    assert everything == list(csv.DictReader(io.StringIO(rows(), newline="")))
    assert sets(fake, run(fake, data(id, fractionSplit={"trainingFraction": 0.6, "validationFraction": 0.2}))) == got
    assert [len(r) for r in sets(fake, run(fake, data(id)))] == [160, 20, 20]


def test_a_column_says_the_set(fake):
    got = sets(fake, run(fake, data(table(fake, rows()), predefinedSplit={"key": "use"})))
    for name, part in zip(SETS, got):
        assert len(part) == 50 and {r["use"] for r in part} == {name}


def test_the_earliest_rows_train(fake):
    bad = rows().replace("2024-01-01T00:00:07Z", "yesterday")
    got = sets(fake, run(fake, data(table(fake, bad), timestampSplit={"key": "when", **EIGHT})))
    assert [len(r) for r in got] == [159, 20, 20]  # 199 rows have a time
    train, validate, test = [sorted(r["when"] for r in part) for part in got]
    assert train[-1] <= validate[0] and validate[-1] <= test[0]


def test_every_class_is_in_every_set(fake):
    got = sets(fake, run(fake, data(table(fake, rows()), stratifiedSplit={"key": "class", **EIGHT})))
    for part, n in zip(got, (160, 20, 20)):
        assert abs(len(part) - n) <= 3
        for c in "abc":
            assert abs(sum(r["class"] == c for r in part) - n / 3) <= 2


def test_many_files_are_one_table(fake):
    text = rows(90)
    header = text.split("\n", 1)[0]
    records = text.split('c"\n')
    thirds = ['c"\n'.join(records[i:i + 30]) + 'c"\n' for i in (0, 30, 60)]
    id = table(fake, "\ufeff" + thirds[0], gzip.compress((header + "\r\n" + thirds[1]).encode()), thirds[2])
    got = sets(fake, run(fake, data(id)))
    assert sorted(int(r["id"]) for part in got for r in part) == list(range(90))


def test_items_are_lines_of_json(fake):
    name = images(fake)
    p = run(fake, data(name.split("/")[-1], annotationSchemaUri=LABELS, persistMlUseAssignment=True,
                       fractionSplit={"trainingFraction": 0.5, "validationFraction": 0.25, "testFraction": 0.25}))
    env = told(fake, p)
    assert env["AIP_DATA_FORMAT"] == "jsonl" and env["AIP_TEST_DATA_URI"].endswith("Z/test-*.jsonl")
    found = folder(fake, env["AIP_TRAINING_DATA_URI"].rsplit("/", 1)[0] + "/")
    sizes = [len(lines(found, s)) for s in SETS]
    assert sum(sizes) == 100 and abs(sizes[0] - 50) <= 5
    # The sets are labels now: an export that asks for nothing finds the same.
    again = told(fake, run(fake, data(name.split("/")[-1], annotationSchemaUri=LABELS)))
    assert folder(fake, again["AIP_TRAINING_DATA_URI"].rsplit("/", 1)[0] + "/") == found


def test_what_cannot_be_is_refused_at_creation(fake):
    id = table(fake, rows())
    media = images(fake, n=4).split("/")[-1]
    fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"})

    def bad(field, word, config):
        _, fields = refusal(fake, pipeline(inputDataConfig=config))
        path = f"input_data_config.{field}"
        assert path in fields and word in fields[path], fields

    bad("dataset_id", "Required", data(""))
    bad("dataset_id", "same location", data(f"projects/demo/locations/europe-west4/datasets/{id}"))
    bad("gcs_destination.output_uri_prefix", "Required", {"datasetId": id})
    bad("filter_split", "Filters choose data items",
        data(id, filterSplit={"trainingFilter": "-", "validationFilter": "-", "testFilter": "-"}))
    bad("fraction_split", "sum to 1.2", data(id, fractionSplit={"trainingFraction": 1, "testFraction": 0.2}))
    bad("timestamp_split", "sum to 1.2", data(id, timestampSplit={"key": "when", "trainingFraction": 1, "testFraction": 0.2}))
    bad("predefined_split.key", "Required", data(id, predefinedSplit={}))
    bad("annotation_schema_uri", "no annotations", data(id, annotationSchemaUri=LABELS))
    bad("annotations_filter", "no annotations", data(id, annotationsFilter="a=1"))
    bad("saved_query_id", "no annotations", data(id, savedQueryId="1"))
    for split in ("predefinedSplit", "timestampSplit", "stratifiedSplit"):
        bad(re.sub("S", "_s", split), "Only tabular datasets", data(media, annotationSchemaUri=LABELS, **{split: {"key": "a"}}))
    bad("annotation_schema_uri", "needs annotation_schema_uri or saved_query_id", data(media))
    bad("saved_query_id", "cannot be set together", data(media, annotationSchemaUri=LABELS, savedQueryId="1"))
    bad("bigquery_destination", "Only tabular", {"datasetId": media, "annotationSchemaUri": LABELS,
                                                 "bigqueryDestination": {"outputUri": "bq://p"}})
    r = post(fake, pipeline(inputDataConfig={"datasetId": id, "bigqueryDestination": {"outputUri": "bq://p"}}))
    assert r.status_code == 400 and r.json()["error"]["status"] == "FAILED_PRECONDITION" and "BigQuery is not configured" in r.text
    r = post(fake, pipeline(inputDataConfig=data("4711")))
    assert r.status_code == 404 and "datasets/4711" in r.text
    two = json.dumps(pipeline(inputDataConfig=data(id, fractionSplit=EIGHT, predefinedSplit={"key": "use"})))
    assert post(fake, two).status_code == 400


@pytest.mark.parametrize("text,split,code,words", [
    ("a,b\n1,2\n3\n", {}, 3, ["gs://data/part-0.csv, line 3: the row has 1 column where the header has 2"]),
    ('a,b\n1,2\n"3,4\n', {}, 3, ["gs://data/part-0.csv, line 3", "never closed"]),
    ("a,b\n", {}, 3, ["no rows below the header of gs://data/part-0.csv"]),
    ("", {}, 3, ["gs://data/part-0.csv is empty"]),
    ("a,b\n1,2\n", {"predefinedSplit": {"key": "use"}}, 3, ['Column "use" does not exist', "2 columns: a, b"]),
    ("a,b\n1,TRAIN\n", {"predefinedSplit": {"key": "b"}}, 3, ['"TRAIN" (gs://data/part-0.csv, line 2)']),
    ("a,b\n1,monday\n", {"timestampSplit": {"key": "b"}}, 3, ['"monday"', "1985-04-12T23:20:50.52Z"]),
    (gzip.compress(b"a,b\n1,2\n")[:-4], {}, 3, ["gs://data/part-0.csv", "gzip data ends early"]),
], ids=["ragged", "quote", "no rows", "empty", "no column", "no set", "no time", "gzip"])
def test_data_that_cannot_be_read_fail_the_pipeline(fake, text, split, code, words):
    try:
        id = table(fake, text)
    except AssertionError:  # the dataset itself was refused: as good
        return
    p = run(fake, data(id, **split))
    assert p["state"] == "PIPELINE_STATE_FAILED" and p["error"]["code"] == code
    for word in words:
        assert word in p["error"]["message"], p["error"]
    assert "trainingTaskMetadata" not in p or not p["trainingTaskMetadata"].get("backingCustomJob")
    assert folder(fake, "gs://out/run/") == {}


def test_files_that_went_away_are_named(fake):
    id = table(fake, rows())
    fake.call("DELETE", "/storage/v1/b/data/o/part-0.csv")
    p = run(fake, data(id))
    assert p["error"]["code"] == 5 and "data/part-0.csv" in p["error"]["message"]


def slow(make_server, point="api.export.begin=delay:1500ms"):
    s = make_server("--engine=fake")
    s.start(env={"CUSP_FAILPOINTS": point})
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    return s


def test_a_cancelled_pipeline_leaves_no_data(make_server):
    s = slow(make_server)
    p = create(s, pipeline(inputDataConfig=data(table(s, rows()))))
    assert s.call("POST", f"/v1/{p['name']}:cancel", {}).status_code == 200
    p = wait(s, p["name"])
    assert p["state"] == "PIPELINE_STATE_CANCELLED" and p["error"]["code"] == 1
    assert folder(s, "gs://out/run/") == {} and os.listdir(os.path.join(s.data_dir, "uploads")) == []
    s.stop()


@pytest.mark.parametrize("point", ["api.export.begin", "data.shard.write", "api.export.written", "api.export.noted",
                                   "api.export.adopted", "api.export.adopted=abort@3"])
def test_kill_during_the_export_and_the_pipeline_goes_on(make_server, point):
    s = slow(make_server, point if "=" in point else point + "=abort")
    id = table(s, rows())
    try:
        create(s, pipeline(inputDataConfig=data(id, fractionSplit=EIGHT)))
    except OSError:
        pass  # it died before the answer
    wait_until(lambda: s.proc.poll() is not None, 30, "the server to die")
    s.start()
    [p] = s.call("GET", f"/v1/{PARENT}/trainingPipelines").json()["trainingPipelines"]
    got = sets(s, wait(s, p["name"]))
    assert sorted(int(r["id"]) for part in got for r in part) == list(range(200))
    assert len(folder(s, "gs://out/run/")) == 3  # of one export: the one that counts
    s.stop()


def long_table(s, mib):
    """A table of so many MiB; its id."""
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    id = table(s, rows(3))
    header, *records = rows(5000).split('c"\n')
    with open(os.path.join(s.data_dir, "buckets/data/part-0.csv"), "wb") as f:
        f.write((header + 'c"\n').encode())
        block = ('c"\n'.join(records)).encode()
        while f.tell() < mib << 20:
            f.write(block)
    return id


def peak_kib(s):
    with open(f"/proc/{s.proc.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))


@pytest.mark.skipif(not RELEASE, reason="memory is measured on a release build")
def test_memory_does_not_grow_with_the_number_of_exports(make_server, monkeypatch):
    """Whichever threads they run on: buffers are given back."""
    monkeypatch.setattr("conftest.BUILD", RELEASE)
    s = make_server("--engine=fake")
    s.start()
    id, peaks = long_table(s, 20), []
    for _ in range(6):
        p = wait(s, create(s, pipeline(inputDataConfig=data(id, fractionSplit=EIGHT)))["name"], 120)
        assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
        peaks.append(peak_kib(s))
    assert peaks[-1] - peaks[0] <= 4096, peaks
    s.stop()


@pytest.mark.skipif(not EXTENDED or not RELEASE, reason="EXTENDED: a table of 600 MB through a release build")
@pytest.mark.parametrize("split", [{"fractionSplit": EIGHT}, {"timestampSplit": {"key": "when", **EIGHT}},
                                   {"stratifiedSplit": {"key": "class", **EIGHT}}], ids=["fraction", "timestamp", "stratified"])
def test_memory_does_not_grow_with_the_table(make_server, monkeypatch, split):
    monkeypatch.setattr("conftest.BUILD", RELEASE)
    s = make_server("--engine=fake")
    s.start()
    id = long_table(s, 600)
    p = wait(s, create(s, pipeline(inputDataConfig=data(id, **split)))["name"], 300)
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    peak = peak_kib(s) >> 10
    assert peak <= 64, f"{peak} MiB at its largest"
    s.stop()
