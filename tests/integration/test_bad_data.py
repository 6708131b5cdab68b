"""What is wrong with a pipeline's data, its labels or an import's lines is named: field, value, rule, line (reference 05
§6, 08). The table of all such cases: docs/internals/data-promises.md."""
import json

import pytest

from modelreg import put
from test_dataset_export import LABELS, USE, images
from test_datasets import do_import, make, start_import
from pipelines import create, pipeline, refusal, wait


def on_images(fake, name, **split):
    fake.call("POST", "/storage/v1/b?project=demo", {"name": "out"})
    return pipeline(inputDataConfig={"datasetId": name.split("/")[-1], "annotationSchemaUri": LABELS,
                                     "gcsDestination": {"outputUriPrefix": "gs://out/run"}, **split})


def test_a_filter_that_matches_nothing_ends_the_pipeline(fake):
    name = images(fake, n=20)
    split = {"trainingFilter": f"labels.{USE}=test", "validationFilter": f"labels.{USE}=tset", "testFilter": "-"}
    p = wait(fake, create(fake, on_images(fake, name, filterSplit=split))["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and p["error"]["code"] == 3, p
    assert f'"labels.{USE}=tset" matches none of the 20' in p["error"]["message"], p["error"]
    assert "trainingTaskMetadata" not in p  # no job was made
    split["validationFilter"] = "-"  # which says so on purpose
    assert wait(fake, create(fake, on_images(fake, name, filterSplit=split))["name"])["state"] == "PIPELINE_STATE_SUCCEEDED"
    p = wait(fake, create(fake, {**on_images(fake, name), "inputDataConfig": {
        **on_images(fake, name)["inputDataConfig"], "annotationsFilter": "payload.displayName=bird"}})["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and "payload.displayName=bird" in p["error"]["message"], p


@pytest.mark.parametrize("labels,words", [
    ({f"k{i}": "v" for i in range(65)}, ["65", "64"]),
    ({"k" * 64: "v"}, ["k" * 64, "shorter than 64"]),
    ({"k": "v" * 64}, ["v" * 64, "shorter than 64"]),
    ({"Upper": "v"}, ["Upper"]),
    ({"k": "v w"}, ["v w"]),
], ids=["many", "key", "value", "upper", "space"])
def test_labels_over_limits_are_named(fake, labels, words):
    _, fields = refusal(fake, {**pipeline(), "labels": labels})
    assert list(fields) == ["labels"], fields
    for w in words:
        assert w in fields["labels"], fields


def test_labels_of_items_over_limits_are_named_with_their_line(fake):
    ds = make(fake)
    many = {f"k{i}": "v" for i in range(65)}
    lines = [{"imageGcsUri": "gs://elsewhere/1.jpg"}, {"imageGcsUri": "gs://elsewhere/2.jpg", "dataItemResourceLabels": many},
             {"imageGcsUri": "gs://elsewhere/3.jpg", "dataItemResourceLabels": {"k" * 200: "v"}}]
    failures = do_import(fake, ds, put(fake, "data", "l.jsonl", "\n".join(map(json.dumps, lines)).encode()))
    assert failures and all(f["code"] in (3, 8) for f in failures), failures
    assert failures[0]["message"].startswith("gs://data/l.jsonl, line 2: ") and "max_item_labels" in failures[0]["message"], failures
    assert fake.get(ds["name"])["dataItemCount"] == str(len(lines) - len(failures))
    r = start_import(fake, ds, "gs://data/l.jsonl", dataItemLabels=many)
    assert r.status_code == 400 and "import_configs[0].data_item_labels" in r.text and "max_item_labels" in r.text
