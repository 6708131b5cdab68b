"""Managed datasets over REST: life, import, items, versions, lists, bad input (reference 08)."""
import gzip
import json
import os
import re

import grpc
import pytest

from conftest import PARENT, wait_until
from grpcraw import V1, connect

ROOT = "gs://google-cloud-aiplatform/schema/dataset/"
USE = "aiplatform.googleapis.com/ml_use"


def schema(kind):
    return f"{ROOT}metadata/{kind}_1.0.0.yaml"


def io_format(name):
    return f"{ROOT}ioformat/{name}_io_format_1.0.0.yaml"


def put(s, name, data, bucket="data"):
    s.call("POST", "/storage/v1/b?project=demo", {"name": bucket})
    data = data.encode() if isinstance(data, str) else data
    r = s.call("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", data)
    assert r.status_code == 200, r.text
    return f"gs://{bucket}/{name}"


def post(s, body):
    return s.call("POST", f"/v1/{PARENT}/datasets", body)


def done(s, r, seconds=60):
    """The operation of an answer, when it has ended."""
    assert r.status_code == 200, r.text
    name = r.json()["name"]

    def ended():
        op = s.get(name)
        return op if op.get("done") else None
    return wait_until(ended, seconds, f"{name} to end")


def result(s, r, seconds=60):
    op = done(s, r, seconds)
    assert "error" not in op, op
    return op["response"]


def make(s, kind="image", **more):
    ds = result(s, post(s, {"displayName": kind, "metadataSchemaUri": schema(kind), **more}))
    del ds["@type"]
    return ds


def table(s, *uris, **more):
    return post(s, {"displayName": "t", "metadataSchemaUri": schema("tabular"),
                    "metadata": {"inputConfig": {"gcsSource": {"uri": list(uris)}}}, **more})


def start_import(s, ds, uris, fmt="image_classification_multi_label", **more):
    uris = [uris] if isinstance(uris, str) else uris
    return s.call("POST", f"/v1/{ds['name']}:import", {"importConfigs": [
        {"gcsSource": {"uris": uris}, "importSchemaUri": io_format(fmt), **more}]})


def do_import(s, ds, uris, fmt="image_classification_multi_label", **more):
    op = done(s, start_import(s, ds, uris, fmt, **more))
    assert "error" not in op, op
    return op["metadata"]["genericMetadata"].get("partialFailures", [])


def items(s, ds, query=""):
    r = s.call("GET", f"/v1/{ds['name']}/dataItems?{query}")
    assert r.status_code == 200, r.text
    return r.json().get("dataItems", [])


def refusal(r, code=400):
    assert r.status_code == code, r.text
    e = r.json()["error"]
    fields = {}
    for v in (v for d in e.get("details", []) for v in d.get("fieldViolations", [])):
        fields.setdefault(v["field"], v["description"])
    return e, fields


def image(i, label=None, use=None):
    line = {"imageGcsUri": f"gs://elsewhere/{i}.jpg"}
    if label:
        line["classificationAnnotations"] = [{"displayName": x} for x in label.split("+")]
    if use:
        line["dataItemResourceLabels"] = {USE: use}
    return json.dumps(line) + "\n"


# ---- the resource

def test_life_of_a_tabular_dataset(fake):
    a = put(fake, "iris/part-1.csv", "a,b\n1,2\n")
    b = put(fake, "iris/part-2.csv.gz", gzip.compress(b"a,b\n3,4\n"))
    body = {"displayName": "iris", "description": "flowers", "metadataSchemaUri": schema("tabular"),
            "metadata": {"inputConfig": {"gcsSource": {"uri": [a, b]}}}, "labels": {"team": "a"}}
    r = post(fake, body)
    op = done(fake, r)
    assert re.fullmatch(r"projects/\d+/locations/us-central1/datasets/\d{19}/operations/\d+", r.json()["name"])
    assert op["metadata"]["@type"].endswith("v1.CreateDatasetOperationMetadata")
    ds = op["response"]
    assert ds.pop("@type").endswith("v1.Dataset")
    assert ds == fake.get(ds["name"])
    assert ds["labels"] == {"team": "a", "aiplatform.googleapis.com/dataset_metadata_schema": "TABLE"}
    for key in ("displayName", "description", "metadataSchemaUri", "metadata"):
        assert ds[key] == body[key]
    assert ds["createTime"] == ds["updateTime"] and ds["etag"]

    r = fake.call("PATCH", f"/v1/{ds['name']}?updateMask=displayName,labels",
                  {"displayName": "irises", "labels": {"team": "b"}, "description": "not in the mask"})
    assert r.status_code == 200, r.text
    new = r.json()
    assert (new["displayName"], new["labels"]["team"], new["description"]) == ("irises", "b", "flowers")
    assert new["updateTime"] > ds["updateTime"] and new["createTime"] == ds["createTime"]
    r = fake.call("PATCH", f"/v1/{ds['name']}?updateMask=description", {"description": "x", "etag": ds["etag"]})
    assert refusal(r, 409)[0]["status"] == "ABORTED"
    assert fake.get(ds["name"]) == new

    op = done(fake, fake.call("DELETE", "/v1/" + ds["name"]))
    assert op["response"]["@type"].endswith("protobuf.Empty")
    e, _ = refusal(fake.call("GET", "/v1/" + ds["name"]), 404)
    assert e["message"] == f'The Dataset "{ds["name"]}" does not exist.'
    refusal(fake.call("DELETE", "/v1/" + ds["name"]), 404)
    assert fake.call("GET", "/storage/v1/b/data/o/iris%2Fpart-1.csv").status_code == 200  # the source stays


@pytest.mark.parametrize("kind,label", [("image", "IMAGE"), ("text", "TEXT"), ("video", "VIDEO")])
def test_datasets_with_items_need_no_metadata(fake, kind, label):
    ds = make(fake, kind)
    assert ds["labels"] == {"aiplatform.googleapis.com/dataset_metadata_schema": label}
    assert ds["metadata"]["dataItemSchemaUri"].endswith(f"dataitem/{kind}_1.0.0.yaml")
    assert "dataItemCount" not in ds


def test_time_series_and_wildcards(fake):
    put(fake, "ts/a.csv", "\ufeffwhen,series,value\n2020-01-01,x,1\n")
    meta = {"timeColumn": "when", "timeSeriesIdentifierColumn": "series",
            "inputConfig": {"gcsSource": {"uri": ["gs://data/ts/*.csv"]}}}
    ds = make(fake, "time_series", metadata=meta)
    assert ds["metadata"] == meta


def test_what_a_create_refuses(fake):
    put(fake, "empty.csv", "")
    put(fake, "twice.csv", "a,b,a\n")
    put(fake, "ragged.csv", "a,b\n1,2\n\n3\n")
    put(fake, "wide.csv", ",".join(f"c{i}" for i in range(10000)) + "\n")
    put(fake, "quote.csv", 'a,"b\n1,2\n')
    uri = "dataset.metadata.input_config.gcs_source.uri"
    for name, says in (("empty.csv", "is empty: its first line must name the columns"),
                       ("twice.csv", 'line 1: two columns are named "a"'),
                       ("ragged.csv", "line 4: the row has 1 columns, the header has 2"),
                       ("wide.csv", "10000 columns; at most 1000 are allowed (max_table_columns)"),
                       ("quote.csv", "line 1"), ("*.txt", "No object matches gs://data/*.txt"),
                       ("absent.csv", "gs://data/absent.csv")):
        r = table(fake, "gs://data/" + name)
        e, fields = refusal(r, 404 if name in ("absent.csv", "*.txt") else 400)
        assert says in e["message"] and f"gs://data/{name}" in e["message"], e
        assert uri in fields or e["code"] == 404, e
    e, _ = refusal(table(fake, "gs://no-such-bucket/x.csv"), 404)
    assert "no-such-bucket" in e["message"]

    def fields_of(body, code=400):
        return refusal(post(fake, body), code)[1]
    assert fields_of({})["dataset.display_name"] == "Required field is not set."
    f = fields_of({"displayName": "x" * 129, "metadataSchemaUri": schema("audio"), "labels": {"Big": "x"}})
    assert "129 characters" in f["dataset.display_name"]
    assert "{tabular,time_series,image,text,video}_1.0.0.yaml" in f["dataset.metadata_schema_uri"]
    assert 'Label key "Big"' in f["dataset.labels"]
    f = fields_of({"displayName": "x", "metadataSchemaUri": schema("image"),
                   "labels": {f"k{i}": "v" for i in range(65)}})
    assert "No more than 64 labels" in f["dataset.labels"]
    tabular = {"displayName": "x", "metadataSchemaUri": schema("tabular")}
    assert "Required for a tabular dataset" in fields_of(tabular)["dataset.metadata"]
    for config, field, says in (
            ({}, "", "One of `gcs_source` and `bigquery_source`"),
            ({"gcsSource": {"uri": []}}, ".gcs_source.uri", "Required"),
            ({"gcsSource": {"uri": ["/etc/passwd"]}}, ".gcs_source.uri[0]", '"/etc/passwd" is not'),
            ({"gcsSource": {"uri": [7]}}, ".gcs_source.uri[0]", "Must be a string"),
            ({"gcsSource": {"uri": ["gs://b/c"]}, "bigquerySource": {"uri": "bq://p.d.t"}}, "", "cannot be set together"),
            ({"bigquerySource": {"uri": "p.d.t"}}, ".bigquery_source.uri", "is not a BigQuery URI")):
        f = fields_of({**tabular, "metadata": {"inputConfig": config}})
        assert says in f["dataset.metadata.input_config" + field], f
    e, _ = refusal(post(fake, {**tabular, "metadata": {"inputConfig": {"bigquerySource": {"uri": "bq://p.d.t"}}}}))
    assert e["status"] == "FAILED_PRECONDITION" and e["message"].startswith("BigQuery is not configured")
    f = fields_of({"displayName": "x", "metadataSchemaUri": schema("image"),
                   "savedQueries": [{"displayName": "q", "problemType": "TEXT_SENTIMENT"}]})
    assert "no problem type of a image dataset" in f["dataset.saved_queries[0].problem_type"]
    refusal(fake.call("POST", f"/v1/{PARENT.replace('us-central1', '-')}/datasets", tabular))
    assert fake.call("GET", f"/v1/{PARENT}/datasets").json() == {}


def test_what_a_patch_refuses(fake):
    ds = make(fake)
    path = "/v1/" + ds["name"]
    f = refusal(fake.call("PATCH", path, {"displayName": "x"}))[1]
    assert "display_name, description, labels" in f["update_mask"]
    f = refusal(fake.call("PATCH", path + "?updateMask=metadata", {"metadata": {}}))[1]
    assert '"metadata" cannot be changed' in f["update_mask"]
    f = refusal(fake.call("PATCH", path + "?updateMask=displayName", {"displayName": ""}))[1]
    assert "dataset.display_name" in f or "display_name" in f
    refusal(fake.call("PATCH", path[:-1] + "x?updateMask=displayName", {"displayName": "x"}), 404)
    assert fake.get(ds["name"]) == ds


def test_lists(fake):
    for name, kind, labels in (("b", "image", {"team": "x"}), ("a", "text", {}), ("c", "image", {"team": "y"})):
        make(fake, kind, displayName=name, labels=labels)

    def names(query):
        r = fake.call("GET", f"/v1/{PARENT}/datasets?{query}")
        assert r.status_code == 200, r.text
        return "".join(d["displayName"] for d in r.json().get("datasets", []))
    assert names("") == "cab"
    assert names("orderBy=display_name") == "abc"
    assert names("orderBy=display_name desc") == "cba"
    assert names("orderBy=create_time") == "bac"
    assert names('filter=display_name="a"') == "a"
    assert names('filter=display_name!="a"') == "cb"
    assert names(f'filter=metadata_schema_uri="{schema("image")}"') == "cb"
    assert names("filter=labels.team=x") == "b"
    assert names("filter=labels.team:*") == "cb"
    assert names("filter=labels.aiplatform.googleapis.com/dataset_metadata_schema=TEXT") == "a"
    r = fake.call("GET", f"/v1/{PARENT}/datasets?pageSize=2&readMask=displayName").json()
    assert r["datasets"] == [{"displayName": "c"}, {"displayName": "a"}]
    assert names("pageSize=2&pageToken=" + r["nextPageToken"]) == "b"
    refusal(fake.call("GET", f"/v1/{PARENT}/datasets?pageSize=-1"))
    refusal(fake.call("GET", f"/v1/{PARENT}/datasets?filter=colour=red"))


# ---- import and items

def test_imported_items_are_found_again(fake):
    ds = make(fake)
    uri = put(fake, "i.jsonl", image(1, "cat", "training") + "\n" + image(2, "dog+indoor", "test") + image(3))
    r = start_import(fake, ds, uri)
    assert "/datasets/" in r.json()["name"]
    op = done(fake, r)
    assert op["response"]["@type"].endswith("ImportDataResponse") and "error" not in op
    now = fake.get(ds["name"])
    assert now["dataItemCount"] == "3" and now["updateTime"] > ds["updateTime"]
    all_items = items(fake, ds)
    assert [i["payload"]["gcsUri"] for i in all_items] == [f"gs://elsewhere/{n}.jpg" for n in (1, 2, 3)]
    assert all_items[0]["payload"]["mimeType"] == "image/jpeg"
    assert all_items[0]["labels"] == {USE: "training"} and "labels" not in all_items[2]
    assert len(items(fake, ds, f"filter=labels.{USE}=test")) == 1
    page = fake.call("GET", f"/v1/{ds['name']}/dataItems?pageSize=2&orderBy=create_time desc").json()
    assert page["dataItems"] == all_items[:0:-1]
    assert items(fake, ds, f"orderBy=create_time desc&pageToken={page['nextPageToken']}") == all_items[:1]
    e, _ = refusal(fake.call("GET", f"/v1/{ds['name']}/dataItems?pageToken={page['nextPageToken']}"))
    assert "page token" in e["message"]

    notes = fake.call("GET", f"/v1/{all_items[1]['name']}/annotations").json()["annotations"]
    assert [n["payload"]["displayName"] for n in notes] == ["dog", "indoor"]
    assert notes[0]["payloadSchemaUri"] == ROOT + "annotation/image_classification_1.0.0.yaml"
    assert len(fake.call("GET", f"/v1/{all_items[1]['name']}/annotations?filter=payload.displayName=dog")
               .json()["annotations"]) == 1
    spec = fake.get(f"{ds['name']}/annotationSpecs/{notes[0]['payload']['annotationSpecId']}")
    assert spec["displayName"] == "dog"
    refusal(fake.call("GET", f"/v1/{ds['name']}/annotationSpecs/7"), 404)
    refusal(fake.call("GET", f"/v1/{ds['name']}/dataItems/7/annotations"), 404)


def test_identical_items_are_merged(fake):
    ds = make(fake)
    one = put(fake, "one.jsonl", image(1, "cat", "training") + image(2, "dog"))
    two = put(fake, "two.jsonl.gz", gzip.compress((image(1, "cat+black", "test") + image(3)).encode()))
    do_import(fake, ds, one)
    before = items(fake, ds)
    do_import(fake, ds, one)
    assert items(fake, ds) == before
    do_import(fake, ds, two, dataItemLabels={"from": "two", USE: "validation"})
    after = items(fake, ds)
    assert [i["name"] for i in after[:2]] == [i["name"] for i in before]
    assert after[0]["labels"] == {USE: "test", "from": "two"} and after[2]["labels"] == {USE: "validation", "from": "two"}
    notes = fake.call("GET", f"/v1/{after[0]['name']}/annotations").json()["annotations"]
    assert [n["payload"]["displayName"] for n in notes] == ["cat", "black"]
    other = make(fake)  # what is the same has the same id, in every dataset
    do_import(fake, other, [two, one])
    assert {i["name"].split("/")[-1] for i in items(fake, other)} == {i["name"].split("/")[-1] for i in after}


def test_the_same_bytes_under_two_names_are_one_item(fake):
    """Reference 08 section 4: identical items are those of the same content. Of objects elsewhere only the URI is known."""
    ds = make(fake)
    big = os.urandom(700_000)
    nearly = big[:-1] + bytes([big[-1] ^ 1])
    for name, data in (("a.jpg", big), ("b.jpg", nearly), ("c.jpg", big), ("e1.jpg", b""), ("e2.jpg", b"")):
        put(fake, "i/" + name, data, "pics")
    with open(os.path.join(fake.data_dir, "buckets/pics/i/d.jpg"), "wb") as f:
        f.write(big)  # as a job writes it: nobody has computed its checksum

    def line(name, *labels, **own):
        return json.dumps({"imageGcsUri": name if "://" in name else f"gs://pics/i/{name}",
                           "classificationAnnotations": [{"displayName": x} for x in labels],
                           "dataItemResourceLabels": own}) + "\n"

    def uris(dataset):
        return [i["payload"]["gcsUri"].rsplit("/", 1)[-1] for i in items(fake, dataset)]
    one = put(fake, "one.jsonl", line("a.jpg", "cat", team="red", kept="yes") + line("b.jpg", "dog") + line("e1.jpg"))
    two = put(fake, "two.jsonl", line("c.jpg", "black", "cat", team="blue") + line("gs://elsewhere/a.jpg") + line("d.jpg", "big")
              + line("gs://elsewhere/c.jpg") + line("e2.jpg", "none") + line("c.jpg", "again"))
    multi = io_format("image_classification_multi_label")
    do_import(fake, ds, one, importSchemaUri=multi)
    before = items(fake, ds)
    do_import(fake, ds, two, importSchemaUri=multi)
    after = items(fake, ds)
    assert uris(ds) == ["a.jpg", "b.jpg", "e1.jpg", "a.jpg", "c.jpg"] and [i["name"] for i in after[:3]] == [i["name"] for i in before]
    assert after[0]["labels"] == {"team": "blue", "kept": "yes"}
    notes = fake.call("GET", f"/v1/{after[0]['name']}/annotations").json()["annotations"]
    assert [n["payload"]["displayName"] for n in notes] == ["cat", "black", "big", "again"]
    assert [n["payload"]["displayName"] for n in fake.call("GET", f"/v1/{after[2]['name']}/annotations").json()["annotations"]] == ["none"]
    # An object that holds something else now is not what it was; the item that has its name stays.
    put(fake, "i/c.jpg", b"other", "pics")
    do_import(fake, ds, put(fake, "three.jsonl", line("c.jpg", "new") + line("a.jpg")), importSchemaUri=multi)
    assert uris(ds) == ["a.jpg", "b.jpg", "e1.jpg", "a.jpg", "c.jpg", "c.jpg"] and items(fake, ds)[5]["payload"]["gcsUri"] == "gs://pics/i/c.jpg"


def test_a_text_is_the_same_in_a_line_and_in_an_object(fake):
    ds = make(fake, "text")
    put(fake, "t/1.txt", "good", "pics")
    put(fake, "t/2.txt", "fine", "pics")
    kind = io_format("text_classification_single_label")

    def line(key, value, label):
        return json.dumps({key: value, "classificationAnnotation": {"displayName": label}}) + "\n"
    lines = put(fake, "l.jsonl", line("textContent", "good", "a") + line("textContent", "evil", "b") + line("textGcsUri", "gs://pics/t/1.txt", "c")
                + line("textGcsUri", "gs://pics/t/2.txt", "d") + line("textContent", "fine", "e") + line("textContent", "good", "f"))
    do_import(fake, ds, lines, importSchemaUri=kind)
    notes = [[n["payload"]["displayName"] for n in fake.call("GET", f"/v1/{i['name']}/annotations").json()["annotations"]] for i in items(fake, ds)]
    assert notes == [["a", "c", "f"], ["b"], ["d", "e"]]


def test_csv_and_wildcards(fake):
    ds = make(fake)
    put(fake, "c/1.csv", "TRAINING,gs://elsewhere/1.jpg,cat\ngs://elsewhere/2.jpg,dog\r\nTRAIN,gs://elsewhere/3.jpg\n")
    put(fake, "c/2.csv", '\ufeffTEST,"gs://elsewhere/a,b.jpg",cat,"two\nlines"\n')
    put(fake, "c/deep/3.csv", "TEST,gs://elsewhere/4.jpg\n")
    failures = do_import(fake, ds, "gs://data/c/*.csv")
    assert [i["payload"]["gcsUri"] for i in items(fake, ds)] == [
        "gs://elsewhere/1.jpg", "gs://elsewhere/2.jpg", "gs://elsewhere/a,b.jpg"]
    assert len(failures) == 1 and failures[0]["code"] == 3
    assert failures[0]["message"].startswith('gs://data/c/1.csv, line 3: column 1: "TRAIN" is neither')


def test_broken_lines_are_named_and_left_out(fake):
    ds = make(fake)
    put(fake, "img/here.jpg", "x")
    lines = [image(1, "cat"), "{\n", '{"imageGcsUri":"gs://data/img/here.jpg"}\n',
             '{"imageGcsUri":"gs://data/img/gone.jpg"}\n', image(2, "x" * 129), image(3, "a", "train"),
             '{"imageGcsUri":"gs://elsewhere/9.jpg","colour":1}\n', '[]\n']
    failures = do_import(fake, ds, put(fake, "bad.jsonl", "\ufeff" + "".join(lines)))
    assert [re.search(r"line (\d+): (.*)", f["message"]).groups() for f in failures] == [
        ("2", failures[0]["message"].split("line 2: ")[1]), ("4", "There is no object gs://data/img/gone.jpg."),
        ("5", "classificationAnnotations[0].displayName: the label has 129 characters; at most 128 are allowed"),
        ("6", f'dataItemResourceLabels: {USE} is "train"; it must be "training", "validation" or "test"'),
        ("7", failures[4]["message"].split("line 7: ")[1]), ("8", "a line must be a JSON object")]
    assert "not a JSON object" in failures[0]["message"] and 'unknown field "colour"' in failures[4]["message"]
    assert [f["code"] for f in failures] == [3, 5, 3, 3, 3, 3]
    assert fake.get(ds["name"])["dataItemCount"] == "2"

    many = "".join(image(i) if i % 2 else "?\n" for i in range(100))
    failures = do_import(fake, ds, put(fake, "many.jsonl", many))
    assert len(failures) == 20 and failures[-1]["message"].endswith("(and 30 more; 50 of 100 lines were not imported)")


def test_an_import_is_whole_or_nothing(fake):
    ds = make(fake)
    do_import(fake, ds, put(fake, "ok.jsonl", image(1)))
    before = fake.get(ds["name"])
    packed = gzip.compress("".join(image(i) for i in range(5000)).encode())
    for name, data, code, says in (("cut.jsonl.gz", packed[:-100], 3, "cut.jsonl.gz"),
                                   ("all-bad.jsonl", "[]\n2\n", 3, "None of the 2 lines could be imported. The first: "
                                    "gs://data/all-bad.jsonl, line 1: a line must be a JSON object"),
                                   ("blank.jsonl", "\n\n", 3, "hold no lines")):
        op = done(fake, start_import(fake, ds, [put(fake, "fine.jsonl", image(7)), put(fake, name, data)]
                                     if name.startswith("cut") else put(fake, name, data)))
        assert op["error"]["code"] == code and says in op["error"]["message"], op
    op = done(fake, start_import(fake, ds, ["gs://data/ok.jsonl", "gs://data/none-*.jsonl"]))
    assert op["error"] == {"code": 5, "message": "No object matches gs://data/none-*.jsonl."}
    assert fake.get(ds["name"]) == before and len(items(fake, ds)) == 1
    folder = os.path.join(fake.data_dir, "datasets")
    wait_until(lambda: [len(f) for _, _, f in os.walk(folder)][-1] == 1, what="files of failed imports to go")


def test_what_an_import_refuses(fake):
    ds = make(fake)
    path = f"/v1/{ds['name']}:import"
    assert "import_configs" in refusal(fake.call("POST", path, {}))[1]
    f = refusal(fake.call("POST", path, {"importConfigs": [{"importSchemaUri": io_format("text_sentiment")}]}))[1]
    assert "Required: Cloud Storage URIs" in f["import_configs[0].gcs_source.uris"]
    f = refusal(start_import(fake, ds, "gs://data/x", "text_sentiment"))[1]
    assert "is no format of image datasets" in f["import_configs[0].import_schema_uri"]
    assert "image_classification_single_label, " in f["import_configs[0].import_schema_uri"]
    f = refusal(start_import(fake, ds, "data/x"))[1]
    assert '"data/x" is not a Cloud Storage URI' in f["import_configs[0].gcs_source.uris"]
    f = refusal(start_import(fake, ds, "gs://data/x", dataItemLabels={USE: "all"}))[1]
    assert 'must be "training"' in f["import_configs[0].data_item_labels"]
    table_ds = result(fake, table(fake, put(fake, "t.csv", "a,b\n1,2\n")))
    e, _ = refusal(start_import(fake, table_ds, "gs://data/x"))
    assert "Nothing can be imported into a tabular dataset" in e["message"]
    refusal(start_import(fake, {"name": PARENT + "/datasets/7"}, "gs://data/x"), 404)


def test_texts_and_videos(fake):
    text = make(fake, "text")
    do_import(fake, text, put(fake, "t.jsonl", json.dumps(
        {"textContent": "I am Ada", "textSegmentAnnotations": [{"startOffset": 5, "endOffset": 8, "displayName": "NAME"}]})),
        "text_extraction")
    item, = items(fake, text)
    assert item["payload"] == {"textContent": "I am Ada"}
    note, = fake.call("GET", f"/v1/{item['name']}/annotations").json()["annotations"]
    assert note["payload"]["textSegment"] == {"startOffset": 5, "endOffset": 8}
    video = make(fake, "video")
    do_import(fake, video, put(fake, "v.jsonl", json.dumps(
        {"videoGcsUri": "gs://elsewhere/v.mp4", "timeSegmentAnnotations": [
            {"displayName": "jump", "startTime": "1.0s", "endTime": "12.0s"}]})), "video_classification")
    item, = items(fake, video)
    note, = fake.call("GET", f"/v1/{item['name']}/annotations").json()["annotations"]
    assert note["payload"]["timeSegment"] == {"startTimeOffset": "1s", "endTimeOffset": "12s"}


def test_search_and_saved_queries(fake):
    ds = make(fake, savedQueries=[{"displayName": "pets", "problemType": "IMAGE_CLASSIFICATION_MULTI_LABEL"}])
    query, = ds["savedQueries"]
    assert query["name"].startswith(ds["name"] + "/savedQueries/")
    do_import(fake, ds, put(fake, "pets.jsonl", image(1, "cat+dog") + image(2)))
    do_import(fake, ds, put(fake, "boxes.jsonl", json.dumps({"imageGcsUri": "gs://elsewhere/2.jpg", "boundingBoxAnnotations": [
        {"displayName": "ball", "xMin": 0, "yMin": 0, "xMax": 1, "yMax": 1}]})), "image_bounding_box")

    def search(**params):
        r = fake.call("GET", f"/v1/{ds['name']}:searchDataItems", params=params)
        assert r.status_code == 200, r.text
        return [[n["payload"]["displayName"] for n in v.get("annotations", [])] for v in r.json().get("dataItemViews", [])]
    first = items(fake, ds)[0]
    cat = fake.call("GET", f"/v1/{first['name']}/annotations").json()["annotations"][0]
    spec = cat["payload"]["annotationSpecId"]
    assert cat["labels"]["aiplatform.googleapis.com/annotation_set_name"] == "pets"
    qid = query["name"].split("/")[-1]
    assert search() == [["cat", "dog"], ["ball"]]
    assert search(savedQuery=query["name"]) == [["cat", "dog"], []]
    assert search(annotationFilters=f"saved_query_id={qid} AND annotation_spec_id={spec}") == [["cat"], []]
    assert search(dataItemFilter=f"has_annotation({spec})") == [["cat", "dog"]]
    assert search(dataItemFilter=f"labeled=true AND data_item_id!={first['name'].split('/')[-1]}") == [["ball"]]
    assert search(savedQuery=qid, dataItemFilter="labeled=false") == [[]]
    assert search(annotationsLimit=1)[0] == ["cat"]
    view = fake.call("GET", f"/v1/{ds['name']}:searchDataItems?annotationsLimit=1&pageSize=1").json()
    assert view["dataItemViews"][0]["hasTruncatedAnnotations"] is True
    assert search(pageToken=view["nextPageToken"], annotationsLimit=1) == [["ball"]]
    refusal(fake.call("GET", f"/v1/{ds['name']}:searchDataItems?savedQuery=7"), 404)
    for bad in ("annotationsLimit=1001", "dataItemFilter=labeled=maybe", "dataItemFilter=min(x)", "pageToken=x"):
        refusal(fake.call("GET", f"/v1/{ds['name']}:searchDataItems?{bad}"))

    path = f"/v1/{ds['name']}/savedQueries"
    assert [q["displayName"] for q in fake.call("GET", path).json()["savedQueries"]] == ["pets"]
    assert fake.call("GET", path + '?filter=display_name="x"').json() == {}
    done(fake, fake.call("DELETE", "/v1/" + query["name"]))
    assert fake.call("GET", path).json() == {} and "savedQueries" not in fake.get(ds["name"])
    refusal(fake.call("DELETE", "/v1/" + query["name"]), 404)


def test_search_ordered_by_annotations(fake):
    ds = make(fake, savedQueries=[{"displayName": "pets", "problemType": "IMAGE_CLASSIFICATION_MULTI_LABEL"}])
    query = ds["savedQueries"][0]["name"]
    labels = ["fox", None, "bear+zebra", "ant", "bear", None, "yak+cow"]
    for n in range(0, len(labels), 2):  # several imports: several times
        do_import(fake, ds, put(fake, f"o{n}.jsonl", "".join(image(i, labels[i]) for i in range(n, min(n + 2, len(labels))))))
    path = f"/v1/{ds['name']}:searchDataItems"

    def search(order, **params):
        params = {"orderByAnnotation.savedQuery": query, "orderByAnnotation.orderBy": order, **params}
        r = fake.call("GET", path, params={k: v for k, v in params.items() if v is not None})
        assert r.status_code == 200, r.text
        got = r.json()
        return [re.search(r"(\d+).jpg", v["dataItem"]["payload"]["gcsUri"]).group(1) for v in got.get("dataItemViews", [])], got
    assert "".join(search("display_name")[0]) == "3246015"  # ant, bear, bear, cow, fox, none, none
    assert "".join(search("display_name desc")[0]) == "2604315"
    assert "".join(search("displayName desc, create_time desc")[0]) == "2604315"
    assert "".join(search("create_time")[0]) == "0234615"
    assert "".join(search("create_time desc, display_name")[0]) == "6" + "4" + "32" + "015"
    assert "".join(search(None)[0]) == "0234615"
    assert "".join(search("display_name", dataItemFilter="labeled=true")[0]) == "32460"
    pages, token = [], None
    while True:
        ids, got = search("display_name", pageSize=2, pageToken=token)
        pages += ids
        assert len(ids) == 2 or "nextPageToken" not in got
        if "nextPageToken" not in got:
            break
        token = got["nextPageToken"]
    assert "".join(pages) == "3246015"
    for order, q, token, field in (("colour", query, None, "order_by_annotation.order_by"), ("create_time", "", None, "order_by_annotation.saved_query"),
                                   ("display_name up", query, None, "order_by_annotation.order_by"), ("create_time", query, token, "page_token")):
        f = refusal(fake.call("GET", path, params={"orderByAnnotation.savedQuery": q, "orderByAnnotation.orderBy": order,
                                                   **({"pageToken": token} if token else {})}))[1]
        assert list(f) == [field], f
    e, _ = refusal(fake.call("GET", path, params={"orderByAnnotation.savedQuery": "7", "orderByAnnotation.orderBy": "create_time"}), 404)
    assert 'no SavedQuery "7"' in e["message"]


def test_versions_keep_what_was(fake):
    ds = make(fake)
    do_import(fake, ds, put(fake, "v1.jsonl", image(1, "cat")))
    r = fake.call("POST", f"/v1/{ds['name']}/datasetVersions", {"displayName": "first"})
    version = result(fake, r)
    assert version["displayName"] == "first" and version["metadata"] == ds["metadata"]
    do_import(fake, ds, put(fake, "v2.jsonl", image(2)))
    assert len(items(fake, ds)) == 2
    assert fake.call("GET", f"/v1/{ds['name']}/datasetVersions").json()["datasetVersions"] == [fake.get(version["name"])]
    r = fake.call("PATCH", f"/v1/{version['name']}?updateMask=displayName", {"displayName": "one"})
    assert r.status_code == 200 and r.json()["displayName"] == "one", r.text
    refusal(fake.call("PATCH", f"/v1/{version['name']}?updateMask=metadata", {}))
    assert result(fake, fake.call("GET", f"/v1/{version['name']}:restore"))["name"] == version["name"]
    assert [i["payload"]["gcsUri"] for i in items(fake, ds)] == ["gs://elsewhere/1.jpg"]
    assert fake.get(ds["name"])["dataItemCount"] == "1"
    do_import(fake, ds, "gs://data/v2.jsonl")
    result(fake, fake.call("GET", f"/v1/{version['name']}:restore"))  # again: the version is still whole
    assert len(items(fake, ds)) == 1
    done(fake, fake.call("DELETE", "/v1/" + version["name"]))
    refusal(fake.call("GET", "/v1/" + version["name"]), 404)
    assert len(items(fake, ds)) == 1
    result(fake, fake.call("POST", f"/v1/{ds['name']}/datasetVersions"))
    done(fake, fake.call("DELETE", "/v1/" + ds["name"]))
    folder = os.path.join(fake.data_dir, "datasets")
    wait_until(lambda: not os.listdir(folder), what="the dataset's files to go")


# ---- while imports run

def slow_import(s, ds, lines=30000):
    put(s, "slow.jsonl", "".join(image(i, "cat") for i in range(lines)))
    return start_import(s, ds, "gs://data/slow.jsonl")


def test_cancelled_imports_leave_nothing(make_server):
    s = make_server("--engine=fake", env={"CUSP_FAILPOINTS": "api.dataset.edit=delay:300ms"}).start()
    ds = make(s)
    r = slow_import(s, ds)
    running = s.call("GET", f"/cusp/v1/{ds['name']}:imports").json()["imports"]
    assert [i["operation"] for i in running] == [r.json()["name"]]
    assert s.call("POST", f"/v1/{r.json()['name']}:cancel", {}).status_code == 200
    op = done(s, r)
    assert op["error"]["code"] == 1 and "Nothing was changed" in op["error"]["message"]
    assert "dataItemCount" not in s.get(ds["name"])
    assert s.call("GET", f"/cusp/v1/{ds['name']}:imports").json() == {"imports": []}

    r = slow_import(s, ds)  # deleted under it
    done(s, s.call("DELETE", "/v1/" + ds["name"]))
    assert done(s, r)["error"]["code"] in (1, 5)
    wait_until(lambda: not os.listdir(os.path.join(s.data_dir, "datasets")), what="its files to go")

    ds = make(s)
    r = slow_import(s, ds)  # two of one dataset: one after the other
    second = start_import(s, ds, put(s, "second.jsonl", image("second")))
    assert "error" not in done(s, r) and "error" not in done(s, second)
    assert s.get(ds["name"])["dataItemCount"] == "30001"

    ds = make(s)
    r = slow_import(s, ds)  # a stop does not wait for an import: the next life begins it again
    s.stop()
    s.start()
    op = done(s, r)
    assert "error" not in op and s.get(ds["name"])["dataItemCount"] == "30000", op
    s.stop()


POINTS = ["api.dataset.edit", "data.items.begin", "data.items.before_commit", "data.items.before_sync",
          "api.dataset.written", "store.commit.before_commit", "store.commit.after_commit"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_imports_are_taken_up_again(make_server, point):
    s = make_server("--engine=fake").start()
    ds = make(s)
    do_import(s, ds, put(s, "one.jsonl", image(1, "cat")))
    two = put(s, "two.jsonl", image(1, "dog") + image(2))
    s.stop()
    # Commits of the store: the first is the operation's birth, the second the import's end.
    at = "@2" if point.startswith("store.") else ""
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort{at}"})
    op = start_import(s, ds, two).json()["name"]
    s.proc.wait(30)
    s.start()
    op = wait_until(lambda: (lambda o: o if o.get("done") else None)(s.get(op)), what="the operation to end")
    all_items = items(s, ds)
    count = int(s.get(ds["name"])["dataItemCount"])
    assert "error" not in op and count == len(all_items) == 2, op
    notes = s.call("GET", f"/v1/{all_items[0]['name']}/annotations").json()["annotations"]
    assert [n["payload"]["displayName"] for n in notes] == ["cat"] + ["dog"] * (count - 1)
    folder = os.path.join(s.data_dir, "datasets")
    wait_until(lambda: [len(f) for _, _, f in os.walk(folder)][-1] == 1, what="the other file to go")
    do_import(s, ds, two)
    assert len(items(s, ds)) == 2
    s.stop()


def test_an_import_that_the_server_dies_of_is_not_tried_for_ever(make_server):
    s = make_server("--engine=fake", "--limit=max_errand_tries=2").start()
    ds = make(s)
    uri = put(s, "one.jsonl", image(1, "cat"))
    s.stop()
    deadly = {"CUSP_FAILPOINTS": "api.dataset.written=abort"}
    s.start(env=deadly)
    op = start_import(s, ds, uri).json()["name"]
    s.proc.wait(30)
    s.start(env=deadly, expect_ready=False)
    s.proc.wait(30)
    s.start(env=deadly)
    op = wait_until(lambda: (lambda o: o if o.get("done") else None)(s.get(op)), what="the operation to end")
    assert op["error"]["code"] == 10 and "max_errand_tries is 2" in op["error"]["message"], op
    assert "repeat the request" in op["error"]["message"] and "dataItemCount" not in s.get(ds["name"])
    s.stop()


def test_an_import_taken_up_again_can_be_cancelled(make_server):
    s = make_server("--engine=fake").start()
    ds = make(s)
    uri = put(s, "one.jsonl", image(1, "cat"))
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": "api.dataset.edit=abort"})
    op = start_import(s, ds, uri).json()["name"]
    s.proc.wait(30)
    s.start(env={"CUSP_FAILPOINTS": "api.dataset.edit=delay:1000ms"})
    assert s.get(op).get("done") is None
    assert s.call("POST", f"/v1/{op}:cancel", {}).status_code == 200  # the client can still stop it
    op = wait_until(lambda: (lambda o: o if o.get("done") else None)(s.get(op)), what="the operation to end")
    assert op["error"]["code"] == 1 and "dataItemCount" not in s.get(ds["name"]), op
    s.stop()


def test_full_disk_and_errors_of_the_disk_leave_nothing(make_server):
    s = make_server("--engine=fake", env={"CUSP_FAILPOINTS": "data.items.before_sync=errno:ENOSPC@1"}).start()
    ds = make(s)
    uri = put(s, "one.jsonl", image(1, "cat"))
    op = done(s, start_import(s, ds, uri))
    assert op["error"]["code"] == 8, op
    assert "dataItemCount" not in s.get(ds["name"]) and items(s, ds) == []
    do_import(s, ds, uri)
    assert len(items(s, ds)) == 1
    s.stop()


# ---- gRPC

def test_datasets_over_grpc(make_server):
    """The same methods as messages: what JSON hides (Any, Value, maps) and errors with their details."""
    s = make_server("--engine=fake").start()
    channel, rpc = connect(s)
    service = V1 + "DatasetService/"
    put(s, "g.jsonl", image(1, "cat", "test") + "{\n")

    def ended(op):
        wait_until(lambda: rpc("google.longrunning.Operations/GetOperation", name=op.name).done)
        return rpc("google.longrunning.Operations/GetOperation", name=op.name)
    op = rpc(service + "CreateDataset", parent=PARENT,
             dataset={"display_name": "g", "metadata_schema_uri": schema("image")})
    assert op.done and op.response.type_url.endswith("google.cloud.aiplatform.v1.Dataset")
    ds = rpc(service + "ListDatasets", parent=PARENT).datasets[0]
    op = ended(rpc(service + "ImportData", name=ds.name, import_configs=[
        {"gcs_source": {"uris": ["gs://data/g.jsonl"]}, "import_schema_uri": io_format("image_classification_multi_label")}]))
    assert op.WhichOneof("result") == "response" and op.metadata.type_url.endswith("ImportDataOperationMetadata")
    assert rpc(service + "GetDataset", name=ds.name).data_item_count == 1
    item, = rpc(service + "ListDataItems", parent=ds.name).data_items
    assert item.payload.struct_value.fields["gcsUri"].string_value == "gs://elsewhere/1.jpg"
    note, = rpc(service + "ListAnnotations", parent=item.name).annotations
    spec = note.payload.struct_value.fields["annotationSpecId"].string_value
    assert rpc(service + "GetAnnotationSpec", name=f"{ds.name}/annotationSpecs/{spec}").display_name == "cat"
    assert len(rpc(service + "SearchDataItems", dataset=ds.name, data_item_filter=f"has_annotation({spec})").data_item_views) == 1
    assert rpc(service + "CreateDatasetVersion", parent=ds.name, dataset_version={"display_name": "one"}).done
    version, = rpc(service + "ListDatasetVersions", parent=ds.name).dataset_versions
    assert rpc(service + "RestoreDatasetVersion", name=version.name).done
    new = rpc(service + "UpdateDataset", dataset={"name": ds.name, "display_name": "h"}, update_mask={"paths": ["display_name"]})
    assert new.display_name == "h"
    with pytest.raises(grpc.RpcError) as e:
        rpc(service + "CreateDataset", parent=PARENT, dataset={"display_name": "x", "metadata_schema_uri": "nope"})
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "metadata_schema_uri" in e.value.details()
    assert rpc(service + "DeleteDataset", name=ds.name).done
    with pytest.raises(grpc.RpcError) as e:
        rpc(service + "GetDataset", name=ds.name)
    assert e.value.code() == grpc.StatusCode.NOT_FOUND
    channel.close()
    s.stop()


def test_metrics_count_imports_and_exports(make_server):
    s = make_server("--engine=fake").start()
    ds = make(s)
    assert len(do_import(s, ds, put(s, "some.jsonl", image(1, "a") + "?\n" + image(2, "b") + image(3, "a")))) == 1
    assert "error" in done(s, start_import(s, ds, "gs://data/gone.jsonl"))
    for name, fails in ((ds["name"], False), (make(s)["name"], True)):  # the second is empty
        r = s.call("POST", f"/v1/{name}:export", {"exportConfig": {"gcsDestination": {"outputUriPrefix": "gs://data/x"}}})
        assert ("error" in done(s, r)) == fails
    text = s.call("GET", "/metrics").text
    for line in ('imports_total{result="done"} 1', 'imports_total{result="failed"} 1', "import_lines_total 3",
                 "import_lines_refused_total 1", "exports_running 0", 'exports_total{result="done"} 1',
                 'exports_total{result="failed"} 1', "export_items_total 3"):
        assert f"cusp_dataset_{line}\n" in text, line
    s.stop()


def test_imports_that_wait_are_bounded(make_server):
    s = make_server("--engine=fake", "--limit=max_imports_waiting=1", env={"CUSP_FAILPOINTS": "api.dataset.edit=delay:500ms@1"}).start()
    ds = make(s)
    first = start_import(s, ds, put(s, "one.jsonl", image(1)))
    e, _ = refusal(start_import(s, ds, "gs://data/one.jsonl"), 429)
    assert "max_imports_waiting is 1" in e["message"]
    assert "cusp_dataset_edits_running 1\n" in s.call("GET", "/metrics").text
    assert "error" not in done(s, first)
    do_import(s, ds, "gs://data/one.jsonl")
    s.stop()
