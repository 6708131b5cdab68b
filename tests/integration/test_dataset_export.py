"""ExportData over REST: folders for training, plain folders, splits, filters, bad input, kill -9 (reference 08 §5)."""
import json
import os
import re

import pytest

from conftest import PARENT, wait_until
from modelreg import finished, put, refused

ROOT = "gs://google-cloud-aiplatform/schema/dataset/"
LABELS = ROOT + "annotation/image_classification_1.0.0.yaml"
BOXES = ROOT + "annotation/image_bounding_box_1.0.0.yaml"
USE = "aiplatform.googleapis.com/ml_use"
SETS = ("training", "validation", "test")
EIGHT = {"trainingFraction": 0.8, "validationFraction": 0.1, "testFraction": 0.1}
CUSTOM = "CUSTOM_CODE_TRAINING"


def dataset(s, kind="image", **more):
    r = s.call("POST", f"/v1/{PARENT}/datasets", {
        "displayName": "pets/1", "metadataSchemaUri": f"{ROOT}metadata/{kind}_1.0.0.yaml", **more})
    assert r.status_code == 200, r.text
    op = finished(s, r.json())
    assert "error" not in op, op
    return op["response"]["name"]


def images(s, n=100, sets=(), **more):
    """Images with a label each; every fourth is meant for tests, every tenth has a box. sets: annotation sets, in turn."""
    name = dataset(s, **more)
    lines, boxes = [], []
    for i in range(n):
        labels = {"dataItemResourceLabels": {USE: "test"}} if i % 4 == 0 else {}
        uri = f"gs://elsewhere/{i}.jpg"
        label = {"displayName": "cat" if i % 2 else "dog"}
        if sets:
            label["annotationResourceLabels"] = {"aiplatform.googleapis.com/annotation_set_name": sets[i % len(sets)]}
        lines.append({"imageGcsUri": uri, "classificationAnnotation": label, **labels})
        if i % 10 == 0:
            boxes.append({"imageGcsUri": uri, "boundingBoxAnnotations": [
                {"displayName": "cat", "xMin": 0.1, "yMin": 0.2, "xMax": 0.6, "yMax": 0.9}]})
    for at, (what, rows) in enumerate((("classification_single_label", lines), ("bounding_box", boxes))):
        uri = put(s, "data", f"import-{at}.jsonl", "\n".join(map(json.dumps, rows)).encode())
        r = s.call("POST", f"/v1/{name}:import", {"importConfigs": [{
            "gcsSource": {"uris": [uri]}, "importSchemaUri": f"{ROOT}ioformat/image_{what}_io_format_1.0.0.yaml"}]})
        assert r.status_code == 200, r.text
        op = finished(s, r.json())
        assert "error" not in op, op
    return name


def config(**more):
    return {"exportConfig": {"gcsDestination": {"outputUriPrefix": "gs://out/some/where"}, **more}}


def start(s, name, **more):
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    r = s.call("POST", f"/v1/{name}:export", config(**more))
    assert r.status_code == 200, r.text
    return r.json()


def export(s, name, **more):
    """The finished operation, and the objects of its folder: name below it -> bytes."""
    op = finished(s, start(s, name, **more))
    return op, folder(s, op["metadata"]["gcsOutputDirectory"])


def folder(s, directory):
    bucket, prefix = directory.removeprefix("gs://").split("/", 1)
    r = s.call("GET", f"/storage/v1/b/{bucket}/o?prefix={prefix}&maxResults=1000")
    found = {}
    for o in r.json().get("items", []):
        data = s.call("GET", f"/storage/v1/b/{bucket}/o/{o['name'].replace('/', '%2F')}?alt=media").content
        assert len(data) == int(o["size"])
        found[o["name"].removeprefix(prefix)] = data
    return found


def lines(found, prefix):
    return [json.loads(line) for name in sorted(found) if name.startswith(prefix) for line in found[name].splitlines()]


def test_an_export_for_training_is_three_sets(fake):
    name = images(fake)
    op, found = export(fake, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS)
    assert op["name"].startswith(name + "/operations/")
    directory = op["metadata"]["gcsOutputDirectory"]
    assert re.fullmatch(r"gs://out/some/where/dataset-\d+-ImageClassification-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/", directory)
    assert op["metadata"]["@type"].endswith("v1.ExportDataOperationMetadata")
    assert op["response"]["exportedFiles"] == [f"{directory}{s}-*.jsonl" for s in SETS]
    assert op["response"]["dataStats"] == {
        "trainingDataItemsCount": "80", "validationDataItemsCount": "10", "testDataItemsCount": "10",
        "trainingAnnotationsCount": "80", "validationAnnotationsCount": "10", "testAnnotationsCount": "10"}
    assert sorted(found) == [f"{s}-00000-of-00001.jsonl" for s in sorted(SETS)]
    seen = set()
    for s in SETS:
        for line in lines(found, s):
            assert line["dataItemResourceLabels"][USE] == s
            assert line["classificationAnnotation"]["displayName"] in ("cat", "dog")
            seen.add(line["imageGcsUri"])
    assert len(seen) == 100
    _, again = export(fake, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS)
    assert again == found  # the same sets every time


def test_filters_choose_items_and_annotations(fake):
    name = images(fake)
    split = {"trainingFilter": f"NOT labels.{USE}=test", "validationFilter": "-", "testFilter": f"labels.{USE}=test"}
    op, found = export(fake, name, exportUse=CUSTOM, filterSplit=split, annotationSchemaUri=LABELS)
    assert (len(lines(found, "training")), found["validation-00000-of-00001.jsonl"], len(lines(found, "test"))) == (75, b"", 25)
    op, found = export(fake, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=BOXES)
    assert sum(len(lines(found, s)) for s in SETS) == 10
    assert "ImageBoundingBox" in op["metadata"]["gcsOutputDirectory"]
    op = finished(fake, start(fake, name, exportUse=CUSTOM, annotationSchemaUri=LABELS,
                              filterSplit={**split, "testFilter": f"labels.{USE}=tset"}))
    assert op["error"]["code"] == 3
    assert f'"labels.{USE}=tset" matches none of the' in op["error"]["message"]
    assert folder(fake, "gs://out/some/where/" + op["metadata"]["gcsOutputDirectory"].split("/")[-2]) == {}


def test_a_plain_export_has_a_folder_a_schema(fake):
    name = images(fake)
    op, found = export(fake, name)
    assert re.search(r"/export-data-pets_1-\d{4}-\d\d-\d\dT[\d:.]+Z/$", op["metadata"]["gcsOutputDirectory"])
    assert sorted(found) == [f"{t}/{f}" for t in ("ImageBoundingBox", "ImageClassification")
                             for f in ("data-00000-of-00001.jsonl", "schema.yaml")]
    assert sorted(op["response"]["exportedFiles"]) == sorted(op["metadata"]["gcsOutputDirectory"] + f for f in found)
    assert len(lines(found, "ImageClassification/data")) == 100 and len(lines(found, "ImageBoundingBox/data")) == 10
    assert LABELS.encode() in found["ImageClassification/schema.yaml"]
    # What was exported can be imported.
    other = dataset(fake)
    uri = op["metadata"]["gcsOutputDirectory"] + "ImageClassification/data-*.jsonl"
    r = fake.call("POST", f"/v1/{other}:import", {"importConfigs": [{
        "gcsSource": {"uris": [uri]}, "importSchemaUri": f"{ROOT}ioformat/image_classification_single_label_io_format_1.0.0.yaml"}]})
    assert "error" not in finished(fake, r.json())
    assert fake.get(other)["dataItemCount"] == "100"


def test_a_saved_query_chooses_its_annotations(fake):
    query = {"displayName": "ours", "problemType": "IMAGE_CLASSIFICATION_SINGLE_LABEL"}
    name = images(fake, sets=("ours", "theirs", "theirs", "theirs"), savedQueries=[query])
    [query] = fake.get(name)["savedQueries"]
    op, found = export(fake, name, exportUse=CUSTOM, fractionSplit=EIGHT, savedQueryId=query["name"].split("/")[-1])
    assert sum(len(lines(found, s)) for s in SETS) == 25
    assert op["response"]["dataStats"]["trainingDataItemsCount"] == str(len(lines(found, "training")))
    _, found = export(fake, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS,
                      annotationsFilter='labels."aiplatform.googleapis.com/annotation_set_name"=theirs')
    assert sum(len(lines(found, s)) for s in SETS) == 75
    other = images(fake, sets=("theirs",), savedQueries=[{k: query[k] for k in ("displayName", "problemType")}])
    [query] = fake.get(other)["savedQueries"]
    op, _ = export(fake, other, exportUse=CUSTOM, fractionSplit=EIGHT, savedQueryId=query["name"].split("/")[-1])
    assert op["error"]["code"] == 3 and "has an annotation of saved query" in op["error"]["message"]


def test_what_cannot_be_exported_is_refused_at_once(fake):
    name = images(fake, n=4)
    path = f"/v1/{name}:export"
    fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    good = {"exportUse": CUSTOM, "fractionSplit": EIGHT, "annotationSchemaUri": LABELS}

    def bad(field, *words, **change):
        e = refused(fake, "POST", path, config(**{k: v for k, v in {**good, **change}.items() if v is not None}), 400, *words)
        fields = [v["field"] for d in e["details"] for v in d.get("fieldViolations", [])]
        assert field in fields, fields

    bad("export_config.fraction_split", "0.8, 0.2 and 0.1 sum to 1.1", fractionSplit={**EIGHT, "validationFraction": 0.2})
    bad("export_config.fraction_split.test_fraction", "-1", fractionSplit={**EIGHT, "testFraction": -1})
    bad("export_config.fraction_split", "needs fraction_split or filter_split", fractionSplit=None)
    bad("export_config.filter_split.validation_filter", "Required", fractionSplit=None,
        filterSplit={"trainingFilter": "-", "testFilter": "-"})
    bad("export_config.filter_split.test_filter", "Invalid filter", fractionSplit=None,
        filterSplit={"trainingFilter": "-", "validationFilter": "-", "testFilter": "colour=red"})
    bad("export_config.annotation_schema_uri", "needs annotation_schema_uri or saved_query_id", annotationSchemaUri=None)
    bad("export_config.annotation_schema_uri", "no annotation schema of a dataset of type image", "image_bounding_box",
        annotationSchemaUri=LABELS.replace("image", "text"))
    bad("export_config.saved_query_id", "cannot be set together", savedQueryId="1")
    bad("export_config.saved_query_id", '"7" does not exist', savedQueryId="7", annotationSchemaUri=None)
    bad("export_config.annotations_filter", "Invalid filter", annotationsFilter="nothing=1")
    bad("export_config.gcs_destination.output_uri_prefix", "Required", gcsDestination={})
    bad("export_config.gcs_destination.output_uri_prefix", "gs://BUCKET", gcsDestination={"outputUriPrefix": "/tmp/x"})
    bad("export_config.gcs_destination.output_uri_prefix", '"no-such" does not exist',
        gcsDestination={"outputUriPrefix": "gs://no-such/x"})
    bad("export_config.export_use", "5", exportUse=5)
    refused(fake, "POST", path, {}, 400, "export_config")
    refused(fake, "POST", f"/v1/{PARENT}/datasets/123:export", config(**good), 404, "datasets/123\" does not exist")
    table = put(fake, "data", "t.csv", b"a,b\n1,2\n")
    tabular = dataset(fake, "tabular", metadata={"inputConfig": {"gcsSource": {"uri": [table]}}})
    refused(fake, "POST", f"/v1/{tabular}:export", config(), 400, "no data items to export")


def test_an_empty_dataset_fails_the_operation(fake):
    op, found = export(fake, dataset(fake), exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS)
    assert op["error"]["code"] == 3 and "no data items; import some first" in op["error"]["message"]
    assert found == {}


def test_a_cancelled_export_leaves_nothing(make_server):
    s = make_server("--engine=fake")
    s.start(env={"CUSP_FAILPOINTS": "api.export.begin=delay:1500ms"})
    name = images(s)
    op = start(s, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS)
    assert s.call("POST", f"/v1/{op['name']}:cancel", {}).status_code == 200
    op = finished(s, op)
    assert op["error"]["code"] == 1
    assert folder(s, op["metadata"]["gcsOutputDirectory"]) == {}
    assert os.listdir(os.path.join(s.data_dir, "uploads")) == []
    s.stop()


@pytest.mark.parametrize("point", ["api.export.begin", "data.shard.write", "data.shard.before_fsync", "api.export.written",
                                   "api.export.noted", "blob.put.before_rename", "blob.put.after_rename",
                                   "api.export.adopted", "api.export.adopted=abort@3"])
def test_an_export_that_was_killed_is_done_by_the_next_life(make_server, point):
    s = make_server("--engine=fake")
    s.start()
    name = images(s, n=20)
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": point if "=" in point else point + "=abort"})
    try:
        start(s, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS)
    except OSError:
        pass  # it died before the answer
    wait_until(lambda: s.proc.poll() is not None, 30, "the server to die")
    s.start()
    [op] = [finished(s, o) for o in s.call("GET", f"/v1/{name}/operations").json()["operations"]
            if o["metadata"]["@type"].endswith("ExportDataOperationMetadata")]
    directory = op["metadata"]["gcsOutputDirectory"]
    assert op["response"]["exportedFiles"] == [f"{directory}{x}-*.jsonl" for x in SETS], op
    found = folder(s, "gs://out/some/where/")  # nothing beside it, and all of it
    assert sorted(found) == sorted(directory.removeprefix("gs://out/some/where/") + f"{x}-00000-of-00001.jsonl" for x in SETS)
    assert sum(len(data.splitlines()) for data in found.values()) == 20
    assert os.listdir(os.path.join(s.data_dir, "uploads")) == []
    s.stop()


def test_a_plain_export_is_taken_up_again_too(make_server):
    s = make_server("--engine=fake").start()
    name = images(s, n=20)
    s.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": "errand.before_end=abort"})
    op = start(s, name)
    wait_until(lambda: s.proc.poll() is not None, 30, "the server to die")
    s.start()
    op = finished(s, op)
    found = folder(s, op["metadata"]["gcsOutputDirectory"])
    assert sorted(op["response"]["exportedFiles"]) == sorted(op["metadata"]["gcsOutputDirectory"] + f for f in found), op
    assert sum(len(data.splitlines()) for f, data in found.items() if f.endswith(".jsonl")) == 22
    s.stop()


def test_how_far_exports_are(make_server):
    s = make_server("--engine=fake")
    s.start(env={"CUSP_FAILPOINTS": "api.export.begin=delay:1000ms"})
    name = images(s, n=20)
    op = start(s, name, exportUse=CUSTOM, fractionSplit=EIGHT, annotationSchemaUri=LABELS)
    [one] = s.call("GET", f"/cusp/v1/{name}:exports").json()["exports"]
    assert one["operation"] == op["name"] and one["unit"] == "items" and int(one["done"]) <= 20
    finished(s, op)
    assert s.call("GET", f"/cusp/v1/{name}:exports").json() == {"exports": []}
    s.stop()
