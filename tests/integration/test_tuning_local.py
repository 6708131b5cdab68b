"""Tuning jobs whose trials are real containers: metrics from the file that cloudml-hypertune writes (reference 02 §7), what
the trials print listed with the tuning job, and a server that is killed in the middle."""
import json
import os
import subprocess

import pytest

from conftest import BUILD, needs_root, wait_until
from tunings import create, final, study, values, wait

pytestmark = needs_root
extended = pytest.mark.skipif(os.environ.get("CUSP_EXTENDED") != "1", reason="only with CUSP_EXTENDED=1")
SCRIPT = """
for a; do case $a in --lr=*) lr=${a#--lr=};; esac; done
echo "trial $CLOUD_ML_TRIAL_ID tries $lr"
for s in 1 2; do
  printf '{"checkpoint_path": "", "global_step": "%s", "timestamp": %s, "trial": "%s", "loss": "%s"}\\n' \
    $s $(date +%s) $CLOUD_ML_TRIAL_ID $lr >> $CLOUD_ML_HP_METRIC_FILE
done
"""


def tuning(script, trials=3, parallel=2, **more):
    spec = {"imageUri": "busybox", "command": ["sh", "-c", script, "trainer"]}
    return {"displayName": "real", "maxTrialCount": trials, "parallelTrialCount": parallel, "studySpec": study(),
            "trialJobSpec": {"workerPoolSpecs": [{"replicaCount": 1, "machineSpec": {"machineType": "e2-standard-4"},
                                                  "containerSpec": spec}]}, **more}


def entries(s, job_id, **more):
    r = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "orderBy": "timestamp asc", "pageSize": 1000,
                                            "filter": f'resource.type="ml_job" resource.labels.job_id="{job_id}"', **more})
    assert r.status_code == 200, r.text
    return r.json().get("entries", [])


def test_metrics_and_lines_of_real_trials(local):
    s = local()
    j = wait(s, create(s, tuning(SCRIPT))["name"])
    assert j["state"] == "JOB_STATE_SUCCEEDED", j
    assert len(j["trials"]) == 3
    for t in j["trials"]:
        assert abs(final(t) - values(t)["lr"]) < 1e-12
        assert [m["stepCount"] for m in t["measurements"]] == ["1", "2"]
    # With the tuning job's id gcloud's stream-logs asks for these.
    tuning_id = j["name"].split("/")[-1]
    got = [e for e in entries(s, tuning_id) if e["resource"]["labels"]["task_name"] == "workerpool0-0"]
    assert len(got) == 3
    for e in got:
        trial = e["labels"]["ml.googleapis.com/trial_id"]
        t = j["trials"][int(trial) - 1]
        child = t["customJob"].split("/")[-1]
        assert e["textPayload"].startswith(f"trial {trial} tries ")
        assert e["resource"]["labels"]["job_id"] == e["labels"]["ml.googleapis.com/job_id"] == tuning_id
        assert e["labels"]["ml.googleapis.com/custom_job_id"] == child
        mine, = [x for x in entries(s, child) if x["resource"]["labels"]["task_name"] == "workerpool0-0"]
        assert mine["resource"]["labels"]["job_id"] == child and mine["insertId"] == e["insertId"]
    # No line is there twice when no job is named.
    r = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "filter": 'textPayload:"tries"'}).json()
    assert len(r["entries"]) == 3
    two = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "filter":
                 f'resource.labels.job_id="{tuning_id}" labels."ml.googleapis.com/trial_id"="2" textPayload:"tries"'}).json()
    assert [e["labels"]["ml.googleapis.com/trial_id"] for e in two["entries"]] == ["2"]
    out = subprocess.run([os.path.join(BUILD, "cusp"), "hp-tuning-jobs", "stream-logs", tuning_id, "--endpoint=" + s.url],
                         capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    for i in (1, 2, 3):
        assert f"{i}/workerpool0-0" in out.stdout and f"trial {i} tries " in out.stdout
    assert "Hyperparameter tuning job completed successfully after 3 trials" in out.stdout
    s.stop()


def test_a_server_killed_in_the_middle_loses_and_repeats_nothing(local):
    s = local()
    r = s.call("POST", "/storage/v1/b?project=demo", {"name": "go-bucket"})
    assert r.status_code == 200, r.text
    name = create(s, tuning(SCRIPT + "\nwhile [ ! -e /gcs/go-bucket/on ]; do sleep 0.1; done", trials=5, parallel=2))["name"]

    def measured():  # the one that runs; a machine of two cores has room for no other
        ts = s.get(name).get("trials", [])[:1]
        return ts if ts and len(ts[0].get("measurements", [])) == 2 else None
    before = wait_until(measured)
    for _ in range(3):
        s.kill9()
        s.start()
        after = wait_until(measured)
        assert [(t["id"], t["customJob"], t["parameters"], t["measurements"]) for t in after] == \
            [(t["id"], t["customJob"], t["parameters"], t["measurements"]) for t in before]
    r = s.call("POST", "/upload/storage/v1/b/go-bucket/o?uploadType=media&name=on", "x")
    assert r.status_code == 200, r.text
    done = wait(s, name)
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    assert [t["id"] for t in done["trials"]] == ["1", "2", "3", "4", "5"]  # exactly the budget
    assert len({t["customJob"] for t in done["trials"]}) == 5
    jobs = s.call("GET", "/v1/projects/demo/locations/us-central1/customJobs").json()["customJobs"]
    assert len(jobs) == 5
    s.kill9()
    s.start()
    assert s.get(name) == done
    s.stop()


BEGINS_AGAIN = """
for a; do case $a in --lr=*) lr=${a#--lr=};; esac; done
tell() { printf '{"global_step": "%s", "timestamp": %s, "trial": "%s", "loss": "%s"}\\n' $1 $(date +%s) $CLOUD_ML_TRIAL_ID $2 >> $CLOUD_ML_HP_METRIC_FILE; }
if mkdir /gcs/go-bucket/began 2>/dev/null; then
  tell 1 8; tell 2 -99; tell 3 7; tell 9 -98
  while [ ! -e /gcs/go-bucket/crash ]; do sleep 0.1; done
  exit 139
fi
tell FIRST 5; tell 4 $lr
while [ ! -e /gcs/go-bucket/on ]; do sleep 0.1; done
"""


@pytest.mark.parametrize("first,left", [("1", [("1", 5), ("4", None)]), ("3", [("1", 8), ("2", -99), ("3", 5), ("4", None)])])
def test_a_trial_that_begins_again_does_not_mix_its_measurements(local, first, left):
    """Its container crashes and is started again: from nothing, or from a checkpoint of step 2. What was measured beyond counts no more,
    through kill -9 before and after, and neither the last nor the best is one of those."""
    s = local()
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "go-bucket"}).status_code == 200
    spec = study(measurementSelectionType="BEST_MEASUREMENT") if first == "1" else study()
    name = create(s, tuning(BEGINS_AGAIN.replace("FIRST", first), trials=1, parallel=1, studySpec=spec))["name"]

    def seen(n, last):
        ts = s.get(name).get("trials", [])
        ms = ts[0].get("measurements", []) if ts else []
        return [(m["stepCount"], m["metrics"][0]["value"]) for m in ms] if len(ms) == n and ms[-1]["stepCount"] == last else None

    def go(word):
        assert s.call("POST", f"/upload/storage/v1/b/go-bucket/o?uploadType=media&name={word}", "x").status_code == 200

    assert wait_until(lambda: seen(4, "9")) == [("1", 8), ("2", -99), ("3", 7), ("9", -98)]
    s.kill9()
    s.start()
    go("crash")
    after = wait_until(lambda: seen(len(left), "4"))
    lr = values(s.get(name)["trials"][0])["lr"]
    want = [(step, lr if v is None else v) for step, v in left]
    assert after == want
    s.kill9()
    s.start()
    assert wait_until(lambda: seen(len(left), "4")) == want
    go("on")
    t, = wait(s, name)["trials"]
    assert t["state"] == "SUCCEEDED" and t["finalMeasurement"]["stepCount"] == "4" and final(t) == lr, t
    assert seen(len(left), "4") == want
    said = [e["textPayload"] for e in entries(s, name.split("/")[-1]) if "began again" in e.get("textPayload", "")]
    assert said and f"Trial 1 began again (attempt 2 of its job): {4 if first == '1' else 2} measurements of before, from step {first} on" in said[0], said
    s.kill9()
    s.start()
    assert s.get(name)["trials"] == [t]
    s.stop()


VARIABLES = ("CLOUD_ML_TRIAL_ID", "CLOUD_ML_HP_METRIC_FILE", "AIP_MODEL_DIR", "AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR",
             "CLUSTER_SPEC")


def test_what_a_trial_is_told(local):
    s = local()
    tell = "\n".join(f'echo "{v}=${v}"' for v in VARIABLES) + '\necho "args=$*"' + SCRIPT
    body = tuning(tell, trials=2, parallel=1)
    body["trialJobSpec"]["baseOutputDirectory"] = {"outputUriPrefix": "gs://bkt/tune/"}
    body["trialJobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] = ["--epochs=3"]
    j = wait(s, create(s, body)["name"])
    assert j["state"] == "JOB_STATE_SUCCEEDED", j
    for t in j["trials"]:
        lines = [e["textPayload"] for e in entries(s, t["customJob"].split("/")[-1]) if "=" in e.get("textPayload", "")]
        told = dict(x.split("=", 1) for x in lines)
        assert told["CLOUD_ML_TRIAL_ID"] == t["id"] and told["CLOUD_ML_HP_METRIC_FILE"].startswith("/")
        assert told["AIP_MODEL_DIR"] == f"gs://bkt/tune/{t['id']}/model/"
        assert told["AIP_CHECKPOINT_DIR"] == f"gs://bkt/tune/{t['id']}/checkpoints/"
        assert told["AIP_TENSORBOARD_LOG_DIR"] == f"gs://bkt/tune/{t['id']}/logs/"
        assert json.loads(told["CLUSTER_SPEC"])["task"]["trial"] == t["id"], told
        assert told["args"] == f"--epochs=3 --lr={repr(values(t)['lr'])}"
    s.stop()


MILLION = """report() { busybox awk -v from=$1 -v to=$2 'BEGIN { for (i = from; i <= to; i++)
  printf "{\\"global_step\\": \\"%d\\", \\"timestamp\\": %d, \\"trial\\": \\"1\\", \\"loss\\": \\"%d\\"}\\n", i, 1700000000 + i, 1000000 - i
}' >> $CLOUD_ML_HP_METRIC_FILE; }
report 1 1; while [ ! -e /gcs/sync/go ]; do sleep 0.1; done; report 2 1000000"""


@extended
def test_a_file_of_a_million_measurements(local):
    """Of a file that grows faster than it is read the end counts; of what was heard the first, the best and the last stay."""
    s = local()
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "sync"}).status_code == 200
    name = create(s, tuning(MILLION, trials=1, parallel=1))["name"]
    wait_until(lambda: s.get(name).get("trials", [{}])[0].get("measurements"), 60, "the first to be heard")
    assert s.call("POST", "/upload/storage/v1/b/sync/o?uploadType=media&name=go", "x").status_code == 200
    j = wait(s, name, 300)
    assert j["state"] == "JOB_STATE_SUCCEEDED", j
    t, = j["trials"]
    assert t["finalMeasurement"]["stepCount"] == "1000000" and final(t) == 0
    assert t["measurements"][0]["stepCount"] == "1" and t["measurements"][-1]["stepCount"] == "1000000"
    s.stop()


def test_a_trial_that_never_reports_names_what_it_did(local):
    s = local()
    odd = SCRIPT.replace('"loss"', '"accuracy"')
    j = wait(s, create(s, tuning(odd, trials=2, parallel=1))["name"])
    assert j["state"] == "JOB_STATE_FAILED"
    assert j["trials"][0]["infeasibleReason"] == (
        "Its job ended without a usable result: it never reported the metric loss. It did report: accuracy.")
    torn = SCRIPT + "\nprintf '{\"global_step\": \"3\", \"timesta' >> $CLOUD_ML_HP_METRIC_FILE"
    j = wait(s, create(s, tuning(torn, trials=1, parallel=1))["name"])
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"][0]["measurements"]) == 2
    s.stop()
