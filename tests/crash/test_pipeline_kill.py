"""All or nothing: kill -9 at every point between the end of a pipeline's job and the pipeline's own end.

What is on the disk after the kill, and what the next server makes of it: success, version, aliases and the model's
default are there together or not at all, there is one version, and one job.
"""
import os
import re
import sqlite3

import pytest

from conftest import PARENT, patience
from pipelines import POOL, create, pipeline, tuned, wait

SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"
UPLOAD = ["pipeline.upload.sealed", "pipeline.upload.begin", "pipeline.upload.joined", "model.upload.before_commit",
          "model.upload.after_commit", "pipeline.upload.durable"]
COMMIT = ["store.commit.before_begin", "store.commit.before_commit", "store.commit.after_commit"]
FULL = os.environ.get("CUSP_TEST_MODE", "quick") == "full" or os.environ.get("CUSP_EXTENDED") == "1"


MODEL = {"displayName": "m", "containerSpec": {"imageUri": SERVING}, "versionAliases": ["prod"]}


def body(is_tuned=False):
    """Of one job, or of one trial."""
    if is_tuned:
        return tuned(1, 1, modelToUpload=MODEL)
    return pipeline({"workerPoolSpecs": [POOL], "baseOutputDirectory": {"outputUriPrefix": "gs://out/run"}}, modelToUpload=MODEL)


def prepared(make_server):
    s = make_server("--engine=fake")
    s.start()
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "out"}).status_code == 200
    for folder in ("run", "hpt/1"):
        assert s.call("POST", f"/upload/storage/v1/b/out/o?uploadType=media&name={folder}/model/m", "abc").status_code == 200
    s.stop()
    return s


def rows(s):
    """Kind, name and state of every row that is durable."""
    db = sqlite3.connect(f"file:{s.data_dir}/cusp.db?mode=ro", uri=True)
    try:
        return db.execute("SELECT kind, name, state FROM resource").fetchall()
    finally:
        db.close()


def check_whole(s):
    """Success and version go together, before anybody has repaired anything."""
    got = rows(s)
    ended = [n for k, n, state in got if k == "trainingPipeline" and state == "PIPELINE_STATE_SUCCEEDED"]
    versions = [n for k, n, _ in got if k == "modelVersion"]
    models = [n for k, n, _ in got if k == "model"]
    assert len(ended) == len(versions) == len(models) <= 1, got
    return bool(ended)


def run_into(make_server, points, must=True, is_tuned=False):
    """Returns (the server after the kill and a new start, the pipeline's name, was it whole already, did the point kill
    it). must: the point is passed in every life; how many commits there are depends on which of them travel together."""
    s = prepared(make_server)
    s.start(env={"CUSP_FAILPOINTS": points})
    name = None
    try:
        name = create(s, body(is_tuned))["name"]
        wait(s, name, 20)
    except AssertionError:
        pass
    except OSError:
        s.proc.wait(patience(20))  # it does not answer: it is dying
    if must:
        s.proc.wait(patience(20))
    killed = s.proc.poll() is not None
    s.kill9()
    was_whole = check_whole(s)
    s.start()
    return s, name, was_whole, killed


def check_end(s, name):
    p = wait(s, name, 30)
    assert p["state"] == "PIPELINE_STATE_SUCCEEDED", p
    made = p["modelToUpload"]
    assert made["versionId"] == "1" and sorted(made["versionAliases"]) == ["default", "prod"]
    versions = s.call("GET", f"/v1/{made['name']}:listVersions").json()["models"]
    assert [v["versionId"] for v in versions] == ["1"]
    assert s.get(made["name"] + "@prod")["trainingPipeline"] == name
    assert len(s.call("GET", f"/v1/{PARENT}/models").json()["models"]) == 1
    assert len(s.call("GET", f"/v1/{PARENT}/customJobs").json()["customJobs"]) == 1
    assert check_whole(s)
    s.stop()


@pytest.mark.parametrize("is_tuned", [False, True], ids=["job", "best-trial"])
@pytest.mark.parametrize("point", UPLOAD)
def test_killed_while_uploading(make_server, point, is_tuned):
    s, name, was_whole, _ = run_into(make_server, f"{point}=abort@1", is_tuned=is_tuned)
    assert was_whole == (point in ("model.upload.after_commit", "pipeline.upload.durable"))
    check_end(s, name)


def commits_of_a_life(make_server, is_tuned):
    """How many commits the server makes for one pipeline."""
    s = prepared(make_server)
    trace = s.data_dir + "-trace"
    s.start(env={"CUSP_FAILPOINT_TRACE": trace})
    wait(s, create(s, body(is_tuned))["name"])
    s.stop()
    return len(re.findall(r"^store\.commit\.before_begin$", open(trace).read(), re.M))


@pytest.mark.parametrize("is_tuned", [False, True], ids=["job", "best-trial"])
def test_no_point_is_forgotten(make_server, is_tuned):
    """Every fail point that is passed from the job's success to the pipeline's is one that the tests above kill at."""
    s = prepared(make_server)
    trace = s.data_dir + "-trace"
    s.start(env={"CUSP_FAILPOINT_TRACE": trace})
    wait(s, create(s, body(is_tuned))["name"])
    s.stop()
    passed = open(trace).read().splitlines()
    upload = [p for p in passed[passed.index(UPLOAD[0]):passed.index("pipeline.upload.durable") + 1] if not p.startswith("log")]
    assert set(upload) == set(UPLOAD + COMMIT), upload


@pytest.mark.parametrize("is_tuned", [False, True], ids=["job", "best-trial"])
def test_killed_at_every_commit(make_server, is_tuned):
    """From the create on; the upload is among the last ones. Quick: around the upload, at each moment.

    Which facts travel in one commit, and so the number of commits, differs from life to life: from where one life ended it
    goes on until no life is killed any more, and in quick mode back until one was killed before its success.
    """
    n = commits_of_a_life(lambda *flags: make_server(*flags, name="count"), is_tuned)
    assert n >= 5, n

    def kill_at(i, again=""):
        """For each life that was killed there: was it whole already?"""
        found = []
        for k, point in enumerate(COMMIT):
            s, name, was_whole, killed = run_into(lambda *flags, k=k: make_server(*flags, name=f"c{i}-{k}{again}"), f"{point}=abort@{i}",
                                                  must=False, is_tuned=is_tuned)
            if killed:
                found.append(was_whole)
            if name:
                check_end(s, name)
            else:
                s.stop()
        return found

    seen, at = set(), n - 1
    while found := kill_at(at):
        seen.update(found)
        at += 1
        assert at < n + 20
    # Where the upload is may also differ between the three lives of a pass, each killed before or behind it: then once more.
    for again in range(3):
        for at in range(n - 2, 0, -1):
            if seen == {True, False} and (again or not FULL):
                break
            seen.update(kill_at(at, f"-{again}"))
    assert seen == {True, False}


def test_the_disk_is_full_while_uploading(make_server):
    s = prepared(make_server)
    s.start(env={"CUSP_FAILPOINTS": "pipeline.upload.sealed=errno:ENOSPC@1"})
    p = wait(s, create(s, body())["name"])
    assert p["state"] == "PIPELINE_STATE_FAILED" and p["error"]["code"] == 8 and "name" not in p["modelToUpload"]
    assert not check_whole(s)
    s.stop()
