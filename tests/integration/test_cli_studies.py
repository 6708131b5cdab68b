"""cusp studies: ask and tell from a shell, the table, the curve, what matters, CSV and JSON."""
import csv
import io
import json

import pytest

from command import environment, runner

SPEC = """
metrics: [{metricId: loss, goal: MINIMIZE}]
parameters:
- {parameterId: lr, doubleValueSpec: {minValue: 0, maxValue: 1}}
- {parameterId: opt, categoricalValueSpec: {values: [adam, "s,gd"]}}
"""


@pytest.fixture
def cusp(fake, tmp_path):
    run = runner("studies", environment(CUSP_ENDPOINT=fake.url))
    path = tmp_path / "study.yaml"
    path.write_text(SPEC)
    run.config = f"--config={path}"
    run.server = fake
    return run


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_ask_and_tell(cusp):
    assert "No studies in projects/demo" in cusp("list").stderr
    study = cusp("create", cusp.config, "--display-name=a study").stdout.strip()
    assert study.isdigit()
    listed = cusp("list").stdout.splitlines()
    assert listed[0].split() == ["STUDY", "NAME", "STATE", "METRIC", "CREATED"]
    assert listed[1].split()[:5] == [study, "a", "study", "ACTIVE", "loss"]
    assert json.loads(cusp("list", "--format=json").stdout)[0]["displayName"] == "a study"
    assert "trials:       0\n" in cusp("describe", study).stdout
    for i in range(12):
        (row,) = rows(cusp("suggest", study, "--format=csv").stdout)
        assert row["state"] == "ACTIVE" and row["opt"] in ("adam", "s,gd")
        cusp("measure", study, row["trial"], "--metrics=loss=7", "--step=1")
        loss = (float(row["lr"]) - 0.3) ** 2 + (row["opt"] == "adam")
        r = cusp("complete", study, row["trial"], f"--metrics=loss={loss}", "--step=2")
        assert f"Trial {row['trial']} is SUCCEEDED." in r.stderr
    two = json.loads(cusp("suggest", "a study", "--count=2", "--client-id=me", "--format=json").stdout)
    assert [t["id"] for t in two] == ["13", "14"] and all(t["clientId"] == "me" for t in two)
    table = cusp("suggest", study, "--count=2", "--client-id=me").stdout.splitlines()
    assert table[0].split() == ["TRIAL", "STATE", "loss", "STEP", "lr", "opt", "RAN"] and len(table) == 3
    cusp("complete", study, "13", "--infeasible", "--reason=no memory")
    text = cusp("describe", study).stdout
    assert f"/studies/{study}\ndisplayName:  a study\nstate:        ACTIVE\n" in text
    assert "metric:       loss, minimized\ntrials:       14 (12 succeeded, 1 infeasible, 1 active)\nbest:         trial " in text
    assert " o" in text and "12 trials in the order they ended" in text and "MATTERS" in text
    whole = json.loads(cusp("describe", study, "--format=json").stdout)
    best = min(whole["trials"][:12], key=lambda t: t["finalMeasurement"]["metrics"][0].get("value", 0))
    assert f"best:         trial {best['id']}, loss = " in text and f"\n*  {best['id']} " in text
    table = rows(cusp("describe", study, "--format=csv").stdout)
    assert [r["trial"] for r in table] == [str(i) for i in range(1, 15)] and table[12]["state"] == "INFEASIBLE"
    assert "(the best 3 of 14 trials" not in text and len(cusp("describe", study, "--limit=3").stdout) < len(text)
    assert "Deleted [a study]." in cusp("delete", "a study").stderr
    assert "No studies" in cusp("list").stderr


def test_importance_is_of_the_study(cusp):
    study = cusp("create", cusp.config, "--display-name=s").stdout.strip()
    for row in rows(cusp("suggest", study, "--count=30", "--format=csv").stdout):
        cusp("complete", study, row["trial"], f"--metrics=loss={float(row['lr'])}")
    name = json.loads(cusp("list", "--format=json").stdout)[0]["name"]
    r = cusp.server.call("GET", f"/cusp/v1/{name}:importance").json()
    shares = {p["parameterId"]: p["share"] for p in r["metrics"][0]["parameters"]}
    assert r["trials"] == 30 and shares["lr"] > 0.9 > shares["opt"]
    missing = cusp.server.call("GET", f"/cusp/v1/{name.rsplit('/', 1)[0]}/77:importance")
    assert missing.status_code == 404 and "77" in missing.text


def test_what_is_wrong_is_said(cusp, tmp_path):
    study = cusp("create", cusp.config, "--display-name=s").stdout.strip()
    assert "already exists" in cusp("create", cusp.config, "--display-name=s", rc=2).stderr
    assert "study.display_name" in cusp("create", cusp.config, rc=2).stderr
    assert "usage: cusp studies create" in cusp("create", rc=2).stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.replace("maxValue: 1", "maxValue: -1"))
    assert "study.study_spec.parameters[0]" in cusp("create", f"--config={bad}", "--display-name=b", rc=2).stderr
    assert "nothing" in cusp("describe", "nothing", rc=3).stderr
    assert "77" in cusp("delete", "77", rc=3).stderr
    assert "--count must be a whole number" in cusp("suggest", study, "--count=x", rc=2).stderr
    assert "suggestion_count" in cusp("suggest", study, "--count=100000", rc=2).stderr
    cusp("suggest", study)
    assert "\"high\" is no number" in cusp("complete", study, "1", "--metrics=loss=high", rc=2).stderr
    assert "gain" in cusp("complete", study, "1", "--metrics=gain=1", rc=2).stderr
    assert "usage: cusp studies complete" in cusp("complete", study, "1", "--infeasible", "--metrics=loss=1", rc=2).stderr
    assert "usage: cusp studies measure" in cusp("measure", study, "1", rc=2).stderr
    assert "99" in cusp("complete", study, "99", "--metrics=loss=1", rc=3).stderr
    assert 'no command "burn"' in cusp("burn", rc=2).stderr
    assert "json only" in cusp("list", "--format=csv", rc=2).stderr


@pytest.mark.parametrize("verb", ["create", "list", "describe", "suggest", "measure", "complete", "delete"])
def test_help_teaches(cusp, verb):
    assert verb in cusp("--help").stdout
    assert cusp(verb, "--help").stdout.startswith(f"cusp studies {verb} ")
