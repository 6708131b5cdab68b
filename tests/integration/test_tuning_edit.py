"""Editing a tuning job that runs, and what its parameters matter: cusp's own methods under /cusp/v1."""

import pytest

from conftest import wait_until
from tunings import create, final, run, study, tuning, values, wait


def patch(s, name, **fields):
    return s.call("PATCH", f"/cusp/v1/{name}?updateMask={','.join(fields)}", fields)


def verb(s, name, what, body):
    return s.call("POST", f"/cusp/v1/{name}:{what}", body)


def refused(r, code, words):
    assert r.status_code == code and words in r.json()["error"]["message"], r.text


def active(s, name, n):
    def look():
        ts = s.get(name).get("trials", [])
        return [t for t in ts if t["state"] == "ACTIVE"] if len(ts) >= n else None
    return wait_until(lambda: (lambda a: a if a is not None and len(a) >= n else None)(look()))


def test_more_trials_and_more_at_a_time(fake):
    j = create(fake, tuning(1, 1, labels={"run_ms": 60000}))
    active(fake, j["name"], 1)
    r = patch(fake, j["name"], maxTrialCount=4, parallelTrialCount=3, maxFailedTrialCount=2)
    assert r.status_code == 200, r.text
    got = r.json()
    assert (got["maxTrialCount"], got["parallelTrialCount"], got["maxFailedTrialCount"]) == (4, 3, 2)
    wait_until(lambda: len(fake.get(j["name"])["trials"]) == 3)  # their jobs run, or wait for room
    now = fake.get(j["name"])
    assert (now["maxTrialCount"], now["parallelTrialCount"]) == (4, 3)
    refused(patch(fake, j["name"], maxTrialCount=2), 400, "cannot be lowered to 2: 3 trials exist already")
    refused(patch(fake, j["name"], maxTrialCount=0), 400, "At least 1 is needed")
    refused(patch(fake, j["name"], maxFailedTrialCount=9), 400, "9 is larger than max_trial_count 4")
    refused(patch(fake, j["name"], displayName="other"), 400, '"displayName" cannot change')
    refused(fake.call("PATCH", f"/cusp/v1/{j['name']}", {"maxTrialCount": 9}), 400, "Required parameter")
    refused(patch(fake, j["name"][:-3] + "000", maxTrialCount=9), 404, "does not exist")
    fake.call("POST", f"/v1/{j['name']}:cancel", {})
    wait(fake, j["name"])
    refused(patch(fake, j["name"], maxTrialCount=9), 400, "JOB_STATE_CANCELLED")


def test_a_trial_by_hand_comes_before_what_is_suggested(fake):
    j = create(fake, tuning(3, 1, labels={"run_ms": 300}))
    active(fake, j["name"], 1)
    r = verb(fake, j["name"], "addTrial", {"parameters": [{"parameterId": "lr", "value": 0.625}]})
    assert r.status_code == 200, r.text
    t = r.json()
    assert t["id"] == "2" and t["state"] in ("REQUESTED", "ACTIVE") and values(t) == {"lr": 0.625}
    for body, words in (({"parameters": [{"parameterId": "lr", "value": 2}]}, "outside"),
                        ({"parameters": [{"parameterId": "lr", "value": "x"}]}, "finite number"),
                        ({"parameters": [{"parameterId": "zz", "value": 1}]}, "is not given"),
                        ({}, "is not given")):
        refused(verb(fake, j["name"], "addTrial", body), 400, words)
    done = wait(fake, j["name"])
    assert done["state"] == "JOB_STATE_SUCCEEDED" and [t["id"] for t in done["trials"]] == ["1", "2", "3"]
    assert values(done["trials"][1]) == {"lr": 0.625} and abs(final(done["trials"][1]) - 0.125 ** 2) < 1e-9
    refused(verb(fake, j["name"], "addTrial", {"parameters": [{"parameterId": "lr", "value": 0.5}]}), 400, "SUCCEEDED")


def test_a_trial_is_stopped_and_run_again(fake):
    j = create(fake, tuning(2, 1, labels={"run_ms": 60000, "metric_steps": 5000}))
    t, = active(fake, j["name"], 1)
    refused(verb(fake, j["name"], "rerunTrial", {"trialId": "1"}), 400, "only a trial that has ended")
    wait_until(lambda: fake.get(j["name"])["trials"][0].get("measurements"))
    r = verb(fake, j["name"], "stopTrial", {"trialId": "1"})
    assert r.status_code == 200 and r.json()["state"] in ("STOPPING", "SUCCEEDED"), r.text
    one = wait_until(lambda: (lambda t: t if t["state"] == "SUCCEEDED" else None)(fake.get(j["name"])["trials"][0]))
    assert one["finalMeasurement"] == one["measurements"][-1]  # what it had measured counts
    refused(verb(fake, j["name"], "stopTrial", {"trialId": "7"}), 404, "has no trial 7")
    refused(verb(fake, j["name"], "stopTrial", {"trialId": "x"}), 400, "whole number")
    assert patch(fake, j["name"], maxTrialCount=3).status_code == 200
    r = verb(fake, j["name"], "rerunTrial", {"trialId": 1})
    assert r.status_code == 200, r.text
    again = r.json()
    assert values(again) == values(one) and again["id"] != "1"
    refused(verb(fake, j["name"], "rerunTrial", {"trialId": "1"}), 400, "raise it to add another")
    fake.call("POST", f"/v1/{j['name']}:cancel", {})
    wait(fake, j["name"])


def test_edits_last(make_server):
    s = make_server("--engine=fake").start()
    j = create(s, tuning(1, 1, labels={"run_ms": 60000}))
    active(s, j["name"], 1)
    assert patch(s, j["name"], maxTrialCount=5).status_code == 200
    assert verb(s, j["name"], "addTrial", {"parameters": [{"parameterId": "lr", "value": 0.75}]}).status_code == 200
    before = s.get(j["name"])
    s.kill9()
    s.start()
    after = s.get(j["name"])
    assert after["maxTrialCount"] == 5 and values(after["trials"][1]) == {"lr": 0.75}
    assert [t["id"] for t in after["trials"]] == [t["id"] for t in before["trials"]]
    s.call("POST", f"/v1/{j['name']}:cancel", {})
    wait(s, j["name"])
    s.stop()


def test_which_parameters_matter(fake):
    # The objective is (x - 0.5)^2 + (y - 0.5)^2 with x from far away and y from nearby.
    spec = study(parameters=[{"parameterId": "x", "doubleValueSpec": {"minValue": 2, "maxValue": 4}},
                             {"parameterId": "y", "doubleValueSpec": {"minValue": 0.5, "maxValue": 0.6}},
                             {"parameterId": "c", "categoricalValueSpec": {"values": ["a", "b"]}}])
    j = run(fake, tuning(3, 2, studySpec=spec))
    r = fake.call("GET", f"/cusp/v1/{j['name']}:importance").json()
    assert r["trials"] == 3 and r["trialsNeeded"] == 5 and r["metrics"] == [{"metricId": "loss", "parameters": []}]
    j = run(fake, tuning(16, 4, studySpec=spec))
    r = fake.call("GET", f"/cusp/v1/{j['name']}:importance").json()
    m, = r["metrics"]
    x, y, c = m["parameters"]
    assert [p["parameterId"] for p in (x, y, c)] == ["x", "y", "c"] and r["trials"] == 16
    assert abs(sum(p["share"] for p in (x, y, c)) - 1) < 1e-6
    assert x["share"] > 0.5 and x["effect"] > 0.1 and x["best"] < 2.5  # larger values raise the loss
    assert c["effect"] == 0 and c["best"] in ("a", "b")
    r = fake.call("GET", f"/cusp/v1/{j['name'][:-3]}000:importance")
    assert r.status_code == 404


@pytest.mark.parametrize("path", ["customJobs/1:addTrial", "hyperparameterTuningJobs/:addTrial"])
def test_paths_of_nobody(fake, path):
    r = fake.call("POST", f"/cusp/v1/projects/p/locations/us-central1/{path}", {})
    assert r.status_code in (400, 404)
