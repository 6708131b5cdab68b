"""cusp datasets: what it prints, where, and its exit codes."""
import json

import pytest

from command import environment, on_terminal, runner
from test_datasets import image, put


@pytest.fixture
def cusp(fake):
    run = runner("datasets", environment(CUSP_ENDPOINT=fake.url))
    run.server = fake
    return run


def test_a_dataset_by_flags(cusp):
    put(cusp.server, "iris.csv", "a,b\n1,2\n")
    made = cusp("create", "--display-name=iris", "--type=tabular", "--gcs-source=gs://data/iris.csv", "--labels=team=red")
    ds = made.stdout.strip()
    assert ds.isdigit() and f"datasets/{ds}]" in made.stderr
    assert json.loads(cusp("describe", ds, "--format=json").stdout)["metadata"] == {
        "inputConfig": {"gcsSource": {"uri": ["gs://data/iris.csv"]}}}
    text = cusp("describe", ds).stdout
    assert "displayName:        iris" in text and '"team": "red"' in text
    head, row = cusp("list", "--filter=labels.team=red").stdout.splitlines()
    assert head.split() == ["DATASET", "NAME", "TYPE", "ITEMS", "CREATED"]
    assert row.split()[:3] == [ds, "iris", "tabular"]
    assert "No datasets in" in cusp("list", "--filter=labels.team=blue").stderr
    assert "Deleted" in cusp("delete", ds).stderr
    cusp("describe", ds, rc=3)
    for argv in (("create", "--display-name=x"), ("create", "--display-name=x", "--type=audio"), ("nope",), ("describe",),
                 ("import", ds), ("list", "--limit=0"), ("create", "--display-name=x", "--type=image", "--labels=x")):
        assert cusp(*argv, rc=2).stderr


def test_imports_and_items(cusp):
    put(cusp.server, "i.jsonl", image(1, "cat+black", "test") + "?\n" + image(2))
    made = cusp("create", "--display-name=pets", "--type=image", "--gcs-source=gs://data/i.jsonl",
                "--import-schema=image_classification_multi_label")
    ds = made.stdout.strip()
    assert "Lines that were left out:\n  gs://data/i.jsonl, line 2: not a JSON object" in made.stderr
    assert "Imported. The dataset has 2 items." in made.stderr
    lines = cusp("data-items", ds).stdout.splitlines()
    assert lines[0].split() == ["ITEM", "ML_USE", "CONTENT", "LABELS"]
    assert lines[1].split()[1:] == ["test", "gs://elsewhere/1.jpg", "cat,", "black"] and len(lines) == 3
    assert len(json.loads(cusp("data-items", ds, "--filter=labeled=false", "--format=json").stdout)) == 1
    op = cusp("import", ds, "--gcs-source=gs://data/i.jsonl", "--import-schema=image_classification_multi_label",
              "--data-item-labels=from=cli", "--async").stdout.strip()
    assert f"datasets/{ds}/operations/" in op
    p = cusp("import", ds, "--gcs-source=gs://data/absent.jsonl", "--import-schema=image_bounding_box", rc=3)
    assert "There is no object gs://data/absent.jsonl." in p.stderr
    text = put(cusp.server, "t.jsonl", json.dumps({"textContent": "two\nlines"}))
    ds = cusp("create", "--display-name=t", "--type=text", "--gcs-source=" + text, "--import-schema=text_sentiment").stdout.strip()
    assert "two lines" in cusp("data-items", ds).stdout


def test_bars_on_a_terminal(cusp):
    put(cusp.server, "many.jsonl", "".join(image(i, "cat") for i in range(20000)))
    ds = cusp("create", "--display-name=many", "--type=image").stdout.strip()
    said = on_terminal(["datasets", "import", ds, "--gcs-source=gs://data/many.jsonl",
                        "--import-schema=image_classification_multi_label"], cusp.env)
    assert b"\r\033[K[" in said and b"%" in said and b" lines" in said, said
    assert said.rstrip().endswith(b"Imported. The dataset has 20000 items."), said
    said = on_terminal(["datasets", "export", ds, "--output-dir=gs://data/out"], cusp.env)
    assert b"\r\033[K[" in said and b"%" in said and b" items" in said, said
    files = cusp("export", ds, "--output-dir=gs://data/out", "--format=json").stdout
    assert all(u.startswith("gs://data/out/export-data-many-") for u in json.loads(files)["exportedFiles"]), files
