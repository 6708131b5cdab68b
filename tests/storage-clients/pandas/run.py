"""pandas on gs:// paths as in a notebook: only STORAGE_EMULATOR_HOST says where. One JSON line a case; see ../README.md."""
import json
import os
import sys
import urllib.request
import uuid

os.environ["STORAGE_EMULATOR_HOST"] = os.environ["CUSP_ENDPOINT"]
import pandas as pd  # noqa: E402 (gcsfs reads the variable)

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))
from cases import run  # noqa: E402 (in ../python)

BUCKET = "pandas-" + uuid.uuid4().hex[:8]
AT = f"gs://{BUCKET}"
DATA = pd.DataFrame({"a": range(1000), "b": [f"row {i}, ü" for i in range(1000)], "c": [i / 7 for i in range(1000)]})


def bucket():
    request = urllib.request.Request(os.environ["CUSP_ENDPOINT"] + "/storage/v1/b?project=demo", json.dumps({"name": BUCKET}).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as r:
        assert r.status == 200


def csv():
    DATA.to_csv(AT + "/d/t.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(AT + "/d/t.csv"), DATA)
    assert len(pd.read_csv(AT + "/d/t.csv", nrows=10)) == 10
    assert sum(len(part) for part in pd.read_csv(AT + "/d/t.csv", chunksize=300)) == 1000


def packed_csv():
    DATA.to_csv(AT + "/d/t.csv.gz", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(AT + "/d/t.csv.gz"), DATA)


def parquet():
    gcsfs = {"storage_options": {"token": "anon"}}  # without options pandas takes Arrow's own client, which wants a metadata server
    DATA.to_parquet(AT + "/d/t.parquet", **gcsfs)
    pd.testing.assert_frame_equal(pd.read_parquet(AT + "/d/t.parquet", **gcsfs), DATA)
    assert list(pd.read_parquet(AT + "/d/t.parquet", columns=["c"], **gcsfs)) == ["c"]


def json_lines():
    DATA.to_json(AT + "/d/t.jsonl", orient="records", lines=True)
    assert list(pd.read_json(AT + "/d/t.jsonl", lines=True)["a"]) == list(DATA["a"])


def pickled():
    DATA.to_pickle(AT + "/d/t.pkl")
    pd.testing.assert_frame_equal(pd.read_pickle(AT + "/d/t.pkl"), DATA)


def missing():
    try:
        pd.read_csv(AT + "/no.csv")
    except FileNotFoundError:
        return
    raise AssertionError("a missing file was read")


run("pandas", pd.__version__, (bucket, csv, packed_csv, parquet, json_lines, pickled, missing))
