"""cusp hp-tuning-jobs: gcloud's verbs and flags, the table, the curve, what matters, CSV, edits."""
import csv
import io
import json

import pytest

from command import environment, runner
from conftest import wait_until
from tunings import values

CONFIG = """
labels: {cusp-test-metric: loss, cusp-test-run-ms: "%d"}
studySpec:
  metrics: [{metricId: loss, goal: MINIMIZE}]
  parameters:
  - {parameterId: lr, doubleValueSpec: {minValue: 1.0e-4, maxValue: 4}, scaleType: UNIT_LINEAR_SCALE}
  - parameterId: opt
    categoricalValueSpec: {values: [adam, "s,gd"]}
    conditionalParameterSpecs:
    - parentCategoricalValues: {values: ["s,gd"]}
      parameterSpec: {parameterId: momentum, doubleValueSpec: {minValue: 0, maxValue: 1}}
trialJobSpec:
  workerPoolSpecs:
  - {replicaCount: 1, machineSpec: {machineType: n1-standard-4}, containerSpec: {imageUri: busybox}}
"""


@pytest.fixture
def cusp(fake, tmp_path):
    run = runner("hp-tuning-jobs", environment(CUSP_ENDPOINT=fake.url))
    run.server = fake

    def config(ms=5):
        path = tmp_path / "tune.yaml"
        path.write_text(CONFIG % ms)
        return f"--config={path}"
    run.config = config
    return run


def test_create_list_describe(cusp):
    assert "No tuning jobs" in cusp("list").stderr
    one = cusp("create", "--display-name=t", cusp.config(), "--max-trial-count=12", "--parallel-trial-count=2",
               "--labels=cusp-test-metric=loss,team=red").stdout.strip()
    assert one.isdigit() and len(one) == 19
    r = cusp("wait", one)
    assert r.stdout.startswith("SUCCEEDED\n  best: trial ") and "loss = " in r.stdout
    job = json.loads(cusp("describe", one, "--format=json").stdout)
    assert job["maxTrialCount"] == 12 and job["labels"]["team"] == "red" and len(job["trials"]) == 12
    best = min(job["trials"], key=lambda t: t["finalMeasurement"]["metrics"][0].get("value", 0))
    text = cusp("describe", one).stdout
    marked, = [line for line in text.splitlines() if line.startswith("*")]
    assert marked.split()[1:3] == [best["id"], "SUCCEEDED"]
    head, = [line for line in text.splitlines() if "TRIAL" in line]
    for column in ("STATE", "loss", "STEP", "lr", "opt", "momentum", "RAN"):
        assert column in head.split()
    rows = [line for line in text.splitlines() if " SUCCEEDED " in line]
    assert len(rows) == 12 and len({line.index("SUCCEEDED") for line in rows}) == 1  # aligned
    assert "trials:       12 of 12 (12 succeeded), 2 in parallel" in text
    assert "12 trials in the order they ended; o: a new best" in text and "|" in text
    table = text[text.index("PARAMETER"):].splitlines()
    assert {line.split()[0] for line in table[1:4]} == {"lr", "opt", "momentum"}
    metric, = cusp.server.call("GET", f"/cusp/v1/{job['name']}:importance").json()["metrics"]
    for p in metric["parameters"]:  # as the server has it, whatever twelve trials have taught it
        line, = [line for line in table[1:4] if line.split()[0] == p["parameterId"]]
        assert f" {p['share'] * 100:.0f} % " in line
        assert not p["effect"] or f" {p['effect']:+.2f} " in line
    assert table[1].split()[0] == max(metric["parameters"], key=lambda p: p["share"])["parameterId"]
    assert cusp("describe", one, "--limit=3").stdout.count(" SUCCEEDED ") == 3
    assert [line.split()[:4] for line in cusp("list").stdout.splitlines()[1:]] == [[one, "t", "SUCCEEDED", "12"]]
    assert json.loads(cusp("list", "--format=json", "--filter=labels.team=blue").stdout) == []


def test_csv_is_a_table_for_other_programs(cusp):
    one = cusp("create", "--display-name=t", cusp.config(), "--max-trial-count=6").stdout.strip()
    cusp("wait", one)
    rows = list(csv.DictReader(io.StringIO(cusp("describe", one, "--format=csv").stdout)))
    job = json.loads(cusp("describe", one, "--format=json").stdout)
    assert len(rows) == 6 and [r["trial"] for r in rows] == ["1", "2", "3", "4", "5", "6"]
    for r, t in zip(rows, job["trials"]):
        assert r["state"] == t["state"] and r["customJob"] == t["customJob"]
        assert float(r["loss"]) == t["finalMeasurement"]["metrics"][0]["value"]
        for k, v in values(t).items():
            assert (float(r[k]) if isinstance(v, (int, float)) else r[k]) == v
        assert (r["momentum"] == "") == (r["opt"] == "adam")
    assert [r["best"] for r in rows].count("true") == 1


def test_gclouds_counts_and_algorithms(cusp):
    one = cusp("create", "--display-name=t", cusp.config(), "--algorithm=random-search").stdout.strip()
    job = json.loads(cusp("describe", one, "--format=json").stdout)
    assert (job["maxTrialCount"], job["parallelTrialCount"]) == (1, 1)
    assert job["studySpec"]["algorithm"] == "RANDOM_SEARCH"
    r = cusp("create", "--display-name=t", cusp.config(), "--algorithm=grid-search", rc=2)
    assert "not DOUBLE" in r.stderr
    r = cusp("create", "--display-name=t", cusp.config(), "--max-trial-count=0", rc=2)
    assert "--max-trial-count must be a whole number from 1" in r.stderr
    assert "--config is required" in cusp("create", "--display-name=t", rc=2).stderr
    assert "usage" in cusp("describe", rc=2).stderr
    assert cusp("describe", "1", rc=3).stderr


def test_edits(cusp):
    one = cusp("create", "--display-name=t", cusp.config(60000)).stdout.strip()
    s = cusp.server
    name = json.loads(cusp("describe", one, "--format=json").stdout)["name"]
    wait_until(lambda: s.get(name).get("trials", [{}])[0].get("state") == "ACTIVE")
    assert "Updated" in cusp("update", one, "--max-trial-count=4").stderr
    assert cusp("add-trial", one, "--parameters=lr=2,opt=adam").stdout == "2\n"
    r = cusp("add-trial", one, "--parameters=lr=99,opt=adam", rc=2)
    assert "lies outside of its bounds, " in r.stderr
    assert values(s.get(name)["trials"][1]) == {"lr": 2, "opt": "adam"}
    assert "is told to stop" in cusp("stop-trial", one, "1").stderr
    wait_until(lambda: s.get(name)["trials"][0]["state"] in ("SUCCEEDED", "INFEASIBLE"))
    three = cusp("rerun-trial", one, "1").stdout.strip()
    job = s.get(name)
    ts = {t["id"]: t for t in job["trials"]}
    assert values(ts[three]) == values(ts["1"])
    assert "running" in cusp("describe", one).stdout
    assert "cannot be lowered" in cusp("update", one, "--max-trial-count=1", rc=2).stderr
    assert "usage" in cusp("update", one, rc=2).stderr
    assert "Cancellation requested" in cusp("cancel", one).stderr
    assert cusp("wait", one, rc=5).stdout.startswith("CANCELLED")
    assert "Deleted" in cusp("delete", one).stderr
    cusp("describe", one, rc=3)


def test_help_names_every_verb(cusp):
    text = cusp("--help").stdout
    for verb in ("create", "list", "describe", "stream-logs", "wait", "cancel", "delete", "update", "add-trial",
                 "stop-trial", "rerun-trial"):
        assert f"  {verb} " in text
        assert f"cusp hp-tuning-jobs {verb}" in cusp(verb, "--help").stdout
