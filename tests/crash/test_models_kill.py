"""kill -9 at the fail points of the model registry: a version is there with its aliases, its seal and its operation's
end, or none of it is; an upload or export that was under way is taken up again."""
import os

import pytest
import requests

from conftest import wait_until
from modelreg import MODELS, body, put, upload

FULL = os.environ.get("CUSP_TEST_MODE") == "full"  # else: what is the registry's own, each once
COMMIT = ["store.commit.before_begin", "store.commit.before_commit", "store.commit.after_commit"]
UPLOAD = ["errand.begun", "model.upload.before_commit", "model.upload.after_commit", *COMMIT]
CHANGE = ["model.change.before_commit", "model.change.after_commit", *(COMMIT if FULL else COMMIT[1:2])]


def answered(fn):
    try:
        r = fn()
        return r.json() if r.status_code == 200 else None
    except requests.RequestException:
        return None


def versions(s, name):
    r = s.call("GET", f"/v1/{name}:listVersions?orderBy=create_time")
    return r.json().get("models", []) if r.status_code == 200 else None


def operations(s):
    return s.call("GET", MODELS.replace("models", "operations")).json().get("operations", [])


def ended(s, op):
    return wait_until(lambda: (lambda o: o if o.get("done") else None)(s.get(op["name"])), 30, op["name"])


@pytest.mark.parametrize("point", UPLOAD)
@pytest.mark.parametrize("hit", [1, 2] if FULL else [1])
def test_killed_while_a_version_is_made(make_server, point, hit):
    s = make_server("--engine=fake").start()
    put(s, "art", "m/model.pkl", b"x" * 1000)
    name, _ = upload(s, modelId="iris", artifactUri="gs://art/m", versionAliases=["prod"])
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@{hit}"})
    op = answered(lambda: s.call("POST", f"{MODELS}:upload", {
        "model": body(artifactUri="gs://art/m", versionAliases=["prod", "default"]), "parentModel": name}))
    if op:
        try:
            wait_until(lambda: s.get(op["name"]).get("done"), 5)
        except (requests.RequestException, AssertionError):
            pass
    s.kill9()
    s.start()
    now = [o for o in operations(s) if o["metadata"]["@type"].endswith("UploadModelOperationMetadata")]
    assert len(now) in (1, 2) and (not op or len(now) == 2)
    for o in now:  # promised once, kept once
        o = ended(s, o)
        assert o["response"]["model"] == name, o
    made = versions(s, name)
    assert [m["versionId"] for m in made] == [str(i + 1) for i in range(len(now))]
    holders = [(a, m["versionId"]) for m in made for a in m.get("versionAliases", [])]
    assert sorted(holders) == [("default", str(len(now))), ("prod", str(len(now)))]
    for m in made:
        assert s.call("GET", f"/cusp/v1/{m['name']}:verify").json()["state"] == "UNCHANGED"
    assert upload(s, parentModel=name)[1] == str(len(now) + 1)
    s.stop()


@pytest.mark.parametrize("point", CHANGE)
@pytest.mark.parametrize("what", ["merge", "deleteVersion", "delete"])
def test_killed_while_a_model_is_changed(make_server, point, what):
    s = make_server("--engine=fake").start()
    name, _ = upload(s, modelId="iris")
    upload(s, parentModel=name, versionAliases=["default"])
    s.call("POST", f"/v1/{name}@2/evaluations:import", {"modelEvaluation": {"displayName": "e"}})
    before = versions(s, name)
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@1"})
    done = answered({
        "merge": lambda: s.call("POST", f"/v1/{name}@1:mergeVersionAliases", {"versionAliases": ["default", "x1"]}),
        "deleteVersion": lambda: s.call("DELETE", f"/v1/{name}@2:deleteVersion"),
        "delete": lambda: s.call("DELETE", f"/v1/{name}")}[what])
    s.kill9()
    s.start()
    now = versions(s, name)
    deletes = [o for o in operations(s) if o["metadata"]["@type"].endswith("DeleteOperationMetadata")]
    evaluations = s.call("GET", f"/v1/{name}@2/evaluations")
    if now == before:
        assert not done and deletes == [] and len(evaluations.json()["modelEvaluations"]) == 1
    elif what == "merge":
        assert [m.get("versionAliases", []) for m in now] == [["default", "x1"], []]
        assert s.get(name)["versionId"] == "1"
    else:
        assert now == (None if what == "delete" else now) and len(deletes) == 1 and evaluations.status_code == 404
        if what == "deleteVersion":
            assert [(m["versionId"], m["versionAliases"]) for m in now] == [("1", ["default"])]
    s.stop()


@pytest.mark.parametrize("point", ["errand.begun", "blob.copy.slice", "blob.put.after_rename", "errand.before_end",
                                   "store.commit.after_commit"])
def test_killed_while_a_model_is_exported(make_server, point):
    s = make_server("--engine=fake").start()
    for i in range(4):
        put(s, "art", f"m/part-{i}", b"%d" % i * 1000)
    put(s, "out", "keep", b"")
    name, _ = upload(s, artifactUri="gs://art/m")
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@1"})
    answered(lambda: s.call("POST", f"/v1/{name}:export",
                            {"outputConfig": {"artifactDestination": {"outputUriPrefix": "gs://out/e"}}}))
    try:
        wait_until(lambda: s.proc.poll() is not None, 10)
    except AssertionError:
        pass
    s.kill9()
    s.start()
    ops = [o for o in operations(s) if o["metadata"]["@type"].endswith("ExportModelOperationMetadata")]
    assert len(ops) <= 1 and (ops or point == "store.commit.after_commit")
    got = [o["name"] for o in s.call("GET", "/storage/v1/b/out/o?prefix=e/").json().get("items", [])]
    if ops:
        o = ended(s, ops[0])
        assert "response" in o, o
        at = o["metadata"]["outputInfo"]["artifactOutputUri"].removeprefix("gs://out/")
        got = [o["name"] for o in s.call("GET", "/storage/v1/b/out/o?prefix=e/").json().get("items", [])]
        assert got == [f"{at}part-{i}" for i in range(4)]
    else:
        assert got == []
    s.stop()
