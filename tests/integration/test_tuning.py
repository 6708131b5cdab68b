"""Hyperparameter tuning jobs over REST and the scripted engine: life, trials, lists, cancel, delete, ends (reference 04)."""
import copy
import re

import pytest

from conftest import PARENT, wait_until
from tunings import COLLECTION, POOL, create, final, run, study, tuning, values, wait


def test_a_tuning_job_from_its_first_trial_to_its_last(fake):
    body = tuning(5, 2, labels={"run_ms": 60},
                  encryptionSpec={"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k"})
    j = create(fake, body)
    assert re.fullmatch(r"projects/\d{12}/locations/us-central1/hyperparameterTuningJobs/[1-9]\d{18}", j["name"])
    assert j["state"] == "JOB_STATE_PENDING" and not {"trials", "error", "startTime", "endTime"} & set(j)
    for key in set(body) - {"trialJobSpec", "studySpec"}:  # proto3 JSON leaves zeroes out
        assert j[key] == body[key], key
    running = wait_until(lambda: (lambda q: q if q["state"] == "JOB_STATE_RUNNING" else None)(fake.get(j["name"])))
    assert running["startTime"] and "endTime" not in running
    done = wait(fake, j["name"])
    assert done["state"] == "JOB_STATE_SUCCEEDED" and "error" not in done
    assert done["createTime"] <= done["startTime"] <= done["endTime"] <= done["updateTime"]
    assert [t["id"] for t in done["trials"]] == ["1", "2", "3", "4", "5"]
    assert len({t["customJob"] for t in done["trials"]}) == 5
    for t in done["trials"]:
        assert t["state"] == "SUCCEEDED" and t["startTime"] <= t["endTime"] and "infeasibleReason" not in t
        child = fake.get(t["customJob"])
        assert child["displayName"] == f"tune-trial-{t['id']}" and child["state"] == "JOB_STATE_SUCCEEDED"
        assert child["labels"] == body["labels"] and child["encryptionSpec"] == body["encryptionSpec"]
        assert child["startTime"] == t["startTime"] and child["endTime"] == t["endTime"]
        args = child["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
        lr = values(t)["lr"]
        assert [float(a.removeprefix("--lr=")) for a in args] == [lr] and 0 <= lr <= 1
        steps = [(m["stepCount"], m["metrics"][0].get("value", 0)) for m in t["measurements"]]
        want = (lr - 0.5) ** 2
        assert [s for s, _ in steps] == ["1", "2", "3"]
        assert all(abs(v - (want + (3 - k) / 3)) < 1e-9 for k, (_, v) in enumerate(steps, 1))
        assert t["finalMeasurement"] == t["measurements"][-1] and abs(final(t) - want) < 1e-9
        assert re.fullmatch(r"\d+(\.\d+)?s", t["finalMeasurement"]["elapsedDuration"])
    assert values(done["trials"][0])["lr"] == 0.5  # the centre comes first
    assert len({values(t)["lr"] for t in done["trials"]}) == 5


def test_parameters_reach_every_pool_after_the_users_own(fake):
    pool = lambda **spec: {"replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}, **spec}
    spec = study(algorithm="RANDOM_SEARCH", parameters=[
        {"parameterId": "batch-size", "discreteValueSpec": {"values": [16, 32.5]}},
        {"parameterId": "layers", "integerValueSpec": {"minValue": "2", "maxValue": "4"}},
        {"parameterId": "opt", "categoricalValueSpec": {"values": ["sgd", "a=b c"]}, "conditionalParameterSpecs": [
            {"parentCategoricalValues": {"values": ["sgd"]},
             "parameterSpec": {"parameterId": "momentum", "doubleValueSpec": {"minValue": 0, "maxValue": 0.5}}}]}])
    j = run(fake, tuning(8, 4, studySpec=spec, trialJobSpec={
        "workerPoolSpecs": [pool(containerSpec={"imageUri": "busybox", "args": ["--epochs=3"]}),
                            pool(containerSpec={"imageUri": "busybox"})],
        "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/tune/"}}))
    assert j["state"] == "JOB_STATE_SUCCEEDED"
    seen = set()
    for t in j["trials"]:
        got = values(t)
        assert set(got) == {"batch-size", "layers", "opt"} | ({"momentum"} if got["opt"] == "sgd" else set())
        assert list(got)[:3] == ["batch-size", "layers", "opt"]
        text = {k: str(int(v)) if isinstance(v, (int, float)) and v == int(v) else v if k == "opt" else repr(v)
                for k, v in got.items()}
        want = [f"--{k}={v}" for k, v in text.items()]
        child = fake.get(t["customJob"])
        pools = child["jobSpec"]["workerPoolSpecs"]
        assert pools[0]["containerSpec"]["args"] == ["--epochs=3"] + want
        assert pools[1]["containerSpec"]["args"] == want
        assert child["jobSpec"]["baseOutputDirectory"] == {"outputUriPrefix": f"gs://bucket/tune/{t['id']}"}
        seen.add(got["opt"])
    assert seen == {"sgd", "a=b c"}


def test_measurements_are_there_while_a_trial_runs(fake):
    j = create(fake, tuning(1, 1, labels={"run_ms": 60000, "metric_steps": 2000}))

    def measured():
        ts = fake.get(j["name"]).get("trials")
        return ts[0] if ts and len(ts[0].get("measurements", [])) >= 3 else None
    t = wait_until(measured)
    assert t["state"] == "ACTIVE" and "finalMeasurement" not in t and "endTime" not in t
    assert [m["stepCount"] for m in t["measurements"][:3]] == ["1", "2", "3"]
    fake.call("POST", f"/v1/{j['name']}:cancel", {})
    done = wait(fake, j["name"])
    assert done["state"] == "JOB_STATE_CANCELLED" and done["error"]["code"] == 1
    assert done["trials"][0]["state"] in ("INFEASIBLE", "SUCCEEDED")
    assert fake.get(done["trials"][0]["customJob"])["state"] == "JOB_STATE_CANCELLED"


def test_lists_leave_the_trials_out_and_filter(fake):
    names = {}
    for n, e in (("one", 0), ("two", 1), ("three", 0)):
        names[n] = run(fake, tuning(1, 1, displayName=n, labels={"exit": e}))["name"]

    def listed(**q):
        r = fake.call("GET", COLLECTION, params=q)
        assert r.status_code == 200, r.text
        return r.json()
    everything = listed()
    assert [j["displayName"] for j in everything["hyperparameterTuningJobs"]] == ["three", "two", "one"]
    assert not any("trials" in j for j in everything["hyperparameterTuningJobs"])
    for j in everything["hyperparameterTuningJobs"]:
        got = fake.get(j["name"])
        assert {k: v for k, v in got.items() if k != "trials"} == j
    only = lambda **q: [j["displayName"] for j in listed(**q).get("hyperparameterTuningJobs", [])]
    assert only(filter="state=JOB_STATE_FAILED") == ["two"]
    assert only(filter='display_name="one"') == ["one"]
    assert only(filter="labels.cusp-test-exit=1") == ["two"]
    assert only(filter=f'create_time>="{fake.get(names["two"])["createTime"]}"') == ["three", "two"]
    assert only(orderBy="createTime") == ["one", "two", "three"]
    page = listed(pageSize=2)
    assert len(page["hyperparameterTuningJobs"]) == 2
    rest = listed(pageSize=2, pageToken=page["nextPageToken"])
    assert [j["displayName"] for j in rest["hyperparameterTuningJobs"]] == ["one"] and "nextPageToken" not in rest
    masked = listed(readMask="name,displayName")["hyperparameterTuningJobs"]
    assert all(set(j) == {"name", "displayName"} for j in masked)
    beta = fake.call("GET", COLLECTION.replace("/v1/", "/v1beta1/")).json()
    assert beta == everything
    j = fake.call("GET", "/v1beta1/" + names["one"], params={"$fields": "trials.id,state"}).json()
    assert j == {"state": "JOB_STATE_SUCCEEDED", "trials": [{"id": "1"}]}


def test_cancel_at_any_time_and_delete_when_over(fake):
    j = create(fake, tuning(4, 2, labels={"run_ms": 60000}))
    r = fake.call("DELETE", "/v1/" + j["name"])
    assert r.status_code == 400 and r.json()["error"]["status"] == "FAILED_PRECONDITION"
    assert "cancel it first" in r.json()["error"]["message"]
    r = fake.call("POST", f"/v1/{j['name']}:cancel", {})
    assert r.status_code == 200 and r.json() == {}
    done = wait(fake, j["name"])
    assert done["state"] == "JOB_STATE_CANCELLED" and done["error"]["code"] == 1
    children = [t["customJob"] for t in done.get("trials", [])]
    assert len(children) <= 2
    assert all(fake.get(c)["state"] == "JOB_STATE_CANCELLED" for c in children)
    assert fake.call("POST", f"/v1/{j['name']}:cancel").status_code == 200
    assert fake.get(j["name"]) == done
    op = fake.call("DELETE", "/v1/" + j["name"]).json()
    assert op["done"] is True and op["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert fake.call("GET", "/v1/" + op["name"]).json() == op
    for r in (fake.call("GET", "/v1/" + j["name"]), fake.call("DELETE", "/v1/" + j["name"]),
              fake.call("POST", f"/v1/{j['name']}:cancel", {})):
        assert r.status_code == 404 and "The HyperparameterTuningJob" in r.json()["error"]["message"]
    assert all(fake.get(c)["state"] == "JOB_STATE_CANCELLED" for c in children)  # they stay


def test_all_three_algorithms(fake):
    grid = study(algorithm="GRID_SEARCH", parameters=[
        {"parameterId": "a", "categoricalValueSpec": {"values": ["x", "yy"]}},
        {"parameterId": "b", "integerValueSpec": {"minValue": 1, "maxValue": 3}}])
    j = run(fake, tuning(20, 2, studySpec=grid))
    assert j["state"] == "JOB_STATE_SUCCEEDED"
    assert [tuple(values(t).values()) for t in j["trials"]] == \
        [("x", 1), ("x", 2), ("x", 3), ("yy", 1), ("yy", 2), ("yy", 3)]  # the grid is the end of it
    j = run(fake, tuning(4, 2, studySpec=grid))
    assert len(j["trials"]) == 4
    j = run(fake, tuning(60, 8, studySpec=study(algorithm="RANDOM_SEARCH")))
    lrs = [values(t)["lr"] for t in j["trials"]]
    assert len(set(lrs)) == 60 and min(lrs) < 0.35 < 0.65 < max(lrs)  # by chance, one run in ten thousand million
    four = [{"parameterId": f"x{i}", "doubleValueSpec": {"minValue": -1, "maxValue": 3}} for i in range(3)]
    j = run(fake, tuning(24, 2, studySpec=study(parameters=four)))
    assert min(final(t) for t in j["trials"]) < 0.05  # of a bowl that goes up to 18.75


def test_best_or_last_measurement(fake):
    for selection, want in (("BEST_MEASUREMENT", 1 + 2 / 3), ("LAST_MEASUREMENT", 1), (None, 1)):
        # Falls with every step, so the best of a metric to be maximised is the first.
        spec = study(metrics=[{"metricId": "loss", "goal": "MAXIMIZE"}])
        spec["parameters"][0]["doubleValueSpec"] = {"minValue": 1.5, "maxValue": 1.5}
        if selection:
            spec["measurementSelectionType"] = selection
        j = run(fake, tuning(1, 1, studySpec=spec))
        assert abs(final(j["trials"][0]) - want) < 1e-9, selection


def test_early_stopping_is_seen(fake):
    spec = study(algorithm="RANDOM_SEARCH", medianAutomatedStoppingSpec={},
                 parameters=[{"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 10}}])
    j = run(fake, tuning(16, 1, studySpec=spec, labels={"run_ms": 300, "metric_steps": 6}))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 16
    assert all(t["state"] == "SUCCEEDED" for t in j["trials"])
    early = [t for t in j["trials"] if len(t["measurements"]) < 6]
    assert early and all(fake.get(t["customJob"])["state"] == "JOB_STATE_CANCELLED" for t in early)
    best = min(j["trials"], key=final)
    assert best not in early and len(best["measurements"]) == 6
    lines = [e.get("message", "") for e in fake.logs(j["name"])]
    assert any("is stopped: it is not going to be among the best" in m for m in lines)


def test_a_study_that_makes_no_progress_stops_by_its_rule(fake):
    spec = study(studyStoppingConfig={"maxNumTrialsNoProgress": 3})
    spec["parameters"] = [{"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}]
    j = run(fake, tuning(60, 1, studySpec=spec))
    assert j["state"] == "JOB_STATE_SUCCEEDED"
    # The first trial is the optimum: none of the three that follow is better.
    assert len(j["trials"]) == 4


@pytest.mark.parametrize("rule,trials", [
    ({"maxNumTrials": 4}, 5),  # "more than this many" ends it
    ({"maxNumTrialsNoProgress": 1, "minNumTrials": 4}, 4),  # what is at least wanted comes first
    ({"maxNumTrials": 3, "minimumRuntimeConstraint": {"endTime": "2001-01-01T00:00:00Z"}}, 4),
    ({"maxNumTrials": 2, "minimumRuntimeConstraint": {"maxDuration": "3600s"}}, 8),
    ({"maximumRuntimeConstraint": {"endTime": "2001-01-01T00:00:00Z"}}, 0),
    ({"maxNumTrials": 1, "shouldStopAsap": True}, 2)])
def test_rules_that_end_a_study(fake, rule, trials):
    j = run(fake, tuning(8, 1, studySpec=study(studyStoppingConfig=rule)))
    assert len(j.get("trials", [])) == trials, j
    assert j["state"] == ("JOB_STATE_SUCCEEDED" if trials else "JOB_STATE_FAILED"), j
    assert j["studySpec"]["studyStoppingConfig"] == rule


def test_rules_of_time_are_seen_while_nothing_happens(fake):
    for rule in ({"maximumRuntimeConstraint": {"maxDuration": "1s"}, "shouldStopAsap": True},
                 {"maxDurationNoProgress": "1s", "shouldStopAsap": True}):
        spec = study(studyStoppingConfig=rule)
        j = run(fake, tuning(8, 1, studySpec=spec, labels={"run_ms": 60000, "metric_steps": 6000, "trials": "2_3"}
                             if "maximumRuntimeConstraint" in rule else {"run_ms": 700}))
        assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) < 8, j


def test_more_at_a_time_than_trials_is_capped_silently(fake):
    j = run(fake, tuning(2, 100))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 2 and j["parallelTrialCount"] == 100


@pytest.mark.parametrize("rule", [{"decayCurveStoppingSpec": {}},
                                  {"convexAutomatedStoppingSpec": {"maxStepCount": "20", "useElapsedDuration": False}},
                                  {"convexAutomatedStoppingSpec": {"maxStepCount": "20", "updateAllStoppedTrials": True}}])
def test_rules_that_extrapolate(fake, rule):
    # Trials by chance from a bowl that is 100 high at its rim: with twenty steps each most are plainly lost before their end.
    spec = study(algorithm="RANDOM_SEARCH", parameters=[
        {"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 10}}], **rule)
    j = run(fake, tuning(14, 1, studySpec=spec, labels={"run_ms": 300, "metric_steps": 20}))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 14
    assert all(t["state"] == "SUCCEEDED" for t in j["trials"])
    early = [t for t in j["trials"] if len(t["measurements"]) < 20]
    assert early and all(fake.get(t["customJob"])["state"] == "JOB_STATE_CANCELLED" for t in early)
    best = min(j["trials"], key=final)
    assert best not in early, best
    if "convexAutomatedStoppingSpec" in rule:  # they count with what is expected of them at the horizon
        assert {t["finalMeasurement"]["stepCount"] for t in early} == {"20"}
    assert {k: j["studySpec"][k] for k in rule}


def test_failures_by_the_jobs_own_number(fake):
    # Trials 2 and 4 fail; the second failure is one too many.
    j = run(fake, tuning(8, 1, maxFailedTrialCount=2, labels={"exit": 7, "trials": "2_4_6"}))
    assert j["state"] == "JOB_STATE_FAILED" and j["error"]["code"] == 3
    assert [t["state"] for t in j["trials"]] == ["SUCCEEDED", "INFEASIBLE", "SUCCEEDED", "INFEASIBLE"]
    reason = j["trials"][3]["infeasibleReason"]
    assert reason == fake.get(j["trials"][3]["customJob"])["error"]["message"]
    assert j["error"]["message"] == f"Trial 4: {reason}"
    assert "finalMeasurement" not in j["trials"][1] and j["trials"][1]["endTime"]
    j = run(fake, tuning(8, 1, maxFailedTrialCount=4, labels={"exit": 7, "trials": "2_4_6"}))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 8


def test_failures_by_the_services_number(fake):
    j = run(fake, tuning(8, 1, labels={"exit": 7, "trials": "1"}))  # the first that ends has failed
    assert j["state"] == "JOB_STATE_FAILED" and len(j["trials"]) == 1
    j = run(fake, tuning(8, 1, labels={"exit": 7, "trials": "2_3_4"}))
    assert j["state"] == "JOB_STATE_SUCCEEDED" and len(j["trials"]) == 8
    j = run(fake, tuning(20, 1, labels={"exit": 7, "trials": "2_3_4_5_6_7_8"}))
    assert j["state"] == "JOB_STATE_FAILED" and len(j["trials"]) == 6


def test_a_trial_without_its_metric_says_what_it_did_report(fake):
    j = run(fake, tuning(2, 1, maxFailedTrialCount=2, labels={"metric_as": "other", "trials": "2"}))
    assert j["state"] == "JOB_STATE_SUCCEEDED"
    t = j["trials"][1]
    assert t["state"] == "INFEASIBLE" and "finalMeasurement" not in t
    assert t["infeasibleReason"] == ("Its job ended without a usable result: it never reported the metric loss. "
                                    "It did report: loss-other.")
    assert fake.get(t["customJob"])["state"] == "JOB_STATE_SUCCEEDED"
    j = run(fake, tuning(2, 1, labels={"metric_as": "nothing"}))
    assert j["state"] == "JOB_STATE_FAILED" and j["error"]["message"].startswith("Trial 1: ")
    assert "It reported nothing else" in j["trials"][0]["infeasibleReason"]


def test_values_that_are_not_finite_are_no_result(fake):
    for kind, word in (("nan", "NaN"), ("inf", "Infinity")):
        j = run(fake, tuning(3, 1, maxFailedTrialCount=3, labels={"metric_as": kind, "trials": "2"}))
        assert [t["state"] for t in j["trials"]] == ["SUCCEEDED", "INFEASIBLE", "SUCCEEDED"]
        t = j["trials"][1]
        assert f"its loss is {word}" in t["infeasibleReason"], t
        assert [m["metrics"][0]["value"] for m in t["measurements"]] == [word] * 3


def test_two_metrics(fake):
    spec = study(metrics=[{"metricId": "loss", "goal": "MINIMIZE"}, {"metricId": "loss-other", "goal": "MAXIMIZE"}])
    j = run(fake, tuning(1, 1, studySpec=spec))
    assert j["state"] == "JOB_STATE_FAILED" and "the metric loss-other" in j["trials"][0]["infeasibleReason"]


def test_a_long_name_is_shortened_for_the_trials(fake):
    name = "ä" * 128
    j = run(fake, tuning(1, 1, displayName=name))
    child = fake.get(j["trials"][0]["customJob"])["displayName"]
    assert child.endswith("-trial-1") and len(child) == 128 and name.startswith(child.removesuffix("-trial-1"))


def test_what_a_client_may_not_say_is_ignored(fake):
    body = {**tuning(1, 1), "state": "JOB_STATE_FAILED", "trials": [{"id": "7", "state": "SUCCEEDED"}], "name": "projects/x"}
    j = run(fake, body)
    assert j["state"] == "JOB_STATE_SUCCEEDED" and [t["id"] for t in j["trials"]] == ["1"]
    again = {k: v for k, v in j.items()}
    k = run(fake, again)  # a whole resource sent back makes another one
    assert k["name"] != j["name"] and len(k["trials"]) == 1


def test_its_log_tells_its_story(fake):
    j = run(fake, tuning(2, 1, labels={"exit": 9, "trials": "2"}, maxFailedTrialCount=2))
    lines = [e.get("message", "") for e in fake.logs(j["name"])]
    story = "\n".join(lines)
    assert f"Trial 1 runs as {j['trials'][0]['customJob']}." in lines
    assert "Trial 1 ended: loss 0; it is the best so far." in lines
    assert "Trial 2 ended without a result:" in story
    assert lines[-1].startswith("Hyperparameter tuning job completed successfully after 2 trials; the best is trial 1")


def test_its_events_are_there_in_its_own_words(fake):
    j = run(fake, tuning(3, 1, maxFailedTrialCount=2, labels={"exit": 9, "trials": "2"}))
    e = fake.events(j["name"])
    assert e["name"] == j["name"] and e["state"] == "JOB_STATE_SUCCEEDED" and "seconds" not in e
    assert e["trials"] == {"max": 3, "parallel": 1, "made": 3, "succeeded": 2, "infeasible": 1, "failed": 1,
                           "best": int(min((t for t in j["trials"] if t["id"] != "2"), key=final)["id"])}
    kinds = [x["type"] for x in e["events"]]
    assert kinds[0] == "TUNING_CREATED" and kinds[-1] == "TUNING_DONE"
    assert [x["seq"] for x in e["events"]] == list(range(1, len(kinds) + 1)) and "nextAfter" not in e
    assert kinds.count("TRIALS_CREATED") == 3 and kinds.count("TRIAL_ENDED") == 3 and kinds.count("TRIAL_FAILED") == 1
    measured = next(x for x in e["events"] if x["type"] == "MEASURED")["facts"]
    assert measured["trial"] == "1" and len(measured["r"]) == 3  # what is there more than once is a list
    behind = fake.call("GET", f"/cusp/v1/{j['name']}:events?after=4").json()
    assert [x["seq"] for x in behind["events"]] == [x["seq"] for x in e["events"]][4:]
    r = fake.call("GET", f"/cusp/v1/{j['name']}:events?after=x")
    assert r.status_code == 400 and "after=x" in r.text
    r = fake.call("GET", f"/cusp/v1/{j['name']}0:events")
    assert r.status_code == 404 and "The HyperparameterTuningJob" in r.text


def test_a_million_measurements(fake):
    j = run(fake, tuning(1, 1, labels={"run_ms": 1000, "metric_steps": 10**6}))
    t, = j["trials"]
    assert t["state"] == "SUCCEEDED" and t["finalMeasurement"]["stepCount"] == str(10**6)
    steps = [int(m["stepCount"]) for m in t["measurements"]]
    assert steps == sorted(set(steps)) and 100 < len(steps) <= 10000 and (steps[0], steps[-1]) == (1, 10**6)
    assert len(fake.call("GET", "/v1/" + j["name"]).content) < 4 << 20


def test_copying_pools_does_not_leak_between_trials(fake):
    pools = [copy.deepcopy(POOL)]
    pools[0]["containerSpec"]["args"] = ["--lr=9"]
    j = run(fake, tuning(3, 3, trialJobSpec={"workerPoolSpecs": pools}))
    for t in j["trials"]:
        args = fake.get(t["customJob"])["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
        assert len(args) == 2 and args[0] == "--lr=9"
    assert j["trialJobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] == ["--lr=9"]
    assert PARENT.split("/")[-1] in j["name"]
