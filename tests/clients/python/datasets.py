"""Managed datasets through the high-level SDK, as its documentation has it: argv = PROTOCOL (rest, rest-tls, grpc-tls).

Needs the bucket `sdk-data` with table.csv, images.jsonl, boxes.jsonl, texts.jsonl, videos.jsonl. Prints ok at the end.
"""
import json
import os
import sys

import connection

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the SDK's own log goes to stdout: keep it away from the result
BUCKET = "gs://sdk-data/"
NAME = f"table-{os.getpid()}"


def init(protocol):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    connection.prepare(protocol)
    aiplatform.init(project="demo", location="us-central1", credentials=AnonymousCredentials(),
                    api_endpoint=connection.api_endpoint(protocol), api_transport=protocol.removesuffix("-tls"))
    return aiplatform


def tabular(aiplatform):
    ds = aiplatform.TabularDataset.create(display_name=NAME, gcs_source=BUCKET + "table.csv", labels={"team": "sdk"})
    assert sorted(ds.column_names) == ["a", "b", "label"], ds.column_names
    assert ds.labels["team"] == "sdk" and ds.display_name == NAME
    same = aiplatform.TabularDataset(ds.resource_name)
    assert same.create_time == ds.create_time and same.gca_resource.metadata == ds.gca_resource.metadata
    assert [d.resource_name for d in aiplatform.TabularDataset.list(filter=f'display_name="{NAME}"')] == [ds.resource_name]
    assert ds.resource_name not in [d.resource_name for d in aiplatform.ImageDataset.list()]
    ds.update(display_name="renamed", description="from the SDK", labels={"team": "two"})
    again = aiplatform.TabularDataset(ds.resource_name)
    assert again.display_name == "renamed" and again.labels["team"] == "two"
    try:
        aiplatform.TabularDataset.create(display_name="x", gcs_source=BUCKET + "absent.csv")
        raise AssertionError("a file that is not there was taken")
    except Exception as e:
        assert "absent.csv" in str(e), e
    series = aiplatform.TimeSeriesDataset.create(display_name="series", gcs_source=[BUCKET + "table.csv"])
    assert sorted(series.column_names) == ["a", "b", "label"]
    return [ds, series]


def images(aiplatform):
    schema = aiplatform.schema.dataset.ioformat.image
    ds = aiplatform.ImageDataset.create(display_name="images", gcs_source=BUCKET + "images.jsonl",
                                        import_schema_uri=schema.single_label_classification)
    assert aiplatform.ImageDataset(ds.resource_name).gca_resource.data_item_count == 3
    ds.import_data(gcs_source=[BUCKET + "boxes.jsonl"], import_schema_uri=schema.bounding_box,
                   data_item_labels={"from": "boxes"})
    assert aiplatform.ImageDataset(ds.resource_name).gca_resource.data_item_count == 4
    exports(aiplatform, ds)
    empty = aiplatform.ImageDataset.create(display_name="empty")
    try:
        empty.import_data(gcs_source=BUCKET + "absent.jsonl", import_schema_uri=schema.bounding_box)
        raise AssertionError("a file that is not there was imported")
    except Exception as e:
        assert "absent.jsonl" in str(e), e
    return [ds, empty]


def exports(aiplatform, ds):
    files = ds.export_data(output_dir=BUCKET + "exported")
    assert sorted(f.split("/")[-2:] for f in files) == [
        [title, name] for title in ("ImageBoundingBox", "ImageClassification") for name in ("data-00000-of-00001.jsonl", "schema.yaml")]
    root = "gs://google-cloud-aiplatform/schema/dataset/annotation/"
    done = ds.export_data_for_custom_training(
        output_dir=BUCKET + "training", annotation_schema_uri=root + "image_classification_1.0.0.yaml",
        split={"training_fraction": 0.5, "validation_fraction": 0.25, "test_fraction": 0.25})
    assert [f.split("/")[-1] for f in done["exportedFiles"]] == ["training-*.jsonl", "validation-*.jsonl", "test-*.jsonl"], done
    assert sum(int(n) for k, n in done["dataStats"].items() if k.endswith("DataItemsCount")) == 3, done
    done = ds.export_data_for_custom_training(
        output_dir=BUCKET + "training", annotation_schema_uri=root + "image_bounding_box_1.0.0.yaml",
        split={"training_filter": "labels.from=boxes", "validation_filter": "-", "test_filter": "-"})
    assert done["dataStats"] == {"trainingDataItemsCount": "2", "trainingAnnotationsCount": "2"}, done
    try:
        ds.export_data_for_custom_training(
            output_dir=BUCKET + "training", annotation_schema_uri=root + "text_extraction_1.0.0.yaml",
            split={"training_fraction": 0.9, "validation_fraction": 0.9, "test_fraction": 0.9})
        raise AssertionError("a request with two mistakes was taken")
    except Exception as e:
        assert "export_config.annotation_schema_uri" in str(e) and "sum to 2.7" in str(e), e


def others(aiplatform):
    fmt = aiplatform.schema.dataset.ioformat
    text = aiplatform.TextDataset.create(display_name="texts", gcs_source=BUCKET + "texts.jsonl",
                                         import_schema_uri=fmt.text.sentiment)
    video = aiplatform.VideoDataset.create(display_name="videos", gcs_source=BUCKET + "videos.jsonl",
                                           import_schema_uri=fmt.video.classification, sync=False)
    video.wait()
    for ds, count in ((text, 2), (video, 1)):
        assert type(ds)(ds.resource_name).gca_resource.data_item_count == count
    return [text, video]


def main(protocol):
    aiplatform = init(protocol)
    made = tabular(aiplatform) + images(aiplatform) + others(aiplatform)
    for ds in made:
        ds.delete()
        try:
            type(ds)(ds.resource_name)
            raise AssertionError("deleted, and still there: " + ds.resource_name)
        except Exception as e:
            assert "does not exist" in str(e), e
    print("ok", file=RESULTS)


if __name__ == "__main__":
    main(*sys.argv[1:])
