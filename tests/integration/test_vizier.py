"""VizierService over REST: studies, trials, suggestions, early stopping, the optimal trials (reference 04, study.proto)."""
import os
import re
import threading

import pytest
import requests

from conftest import PARENT, wait_until
from vizier import (STUDIES, complete, double, finished, make_study, measure, measurement, post, refused, should_stop,
                    study_spec, suggest, trials, values)

PREFIX = "type.googleapis.com/google.cloud.aiplatform."


# ---- studies

@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_study_is_made_found_listed_and_deleted(fake, version):
    at = f"/{version}/{PARENT}/studies"
    made = fake.call("POST", at, {"displayName": "lr", "studySpec": study_spec(), "state": "COMPLETED", "name": "mine"}).json()
    assert re.fullmatch(r"projects/\d+/locations/us-central1/studies/\d{10,19}", made["name"])
    assert made["displayName"] == "lr" and made["state"] == "ACTIVE" and made["createTime"]
    assert made["studySpec"] == study_spec()
    got = fake.call("GET", f"/{version}/{made['name']}").json()
    assert got == made == fake.call("POST", at + ":lookup", {"displayName": "lr"}).json()
    other = make_study(fake, "other", version)
    page = fake.call("GET", f"{at}?pageSize=1").json()
    rest = fake.call("GET", f"{at}?pageSize=1&pageToken={page['nextPageToken']}").json()
    assert [s["name"] for s in page["studies"] + rest["studies"]] == [other, made["name"]] and "nextPageToken" not in rest
    refused(fake, "POST", at, {"displayName": "lr", "studySpec": study_spec()}, 409, "lr", "already exists")
    assert fake.call("DELETE", f"/{version}/{made['name']}").json() == {}
    refused(fake, "GET", f"/{version}/{made['name']}", None, 404, made["name"])
    refused(fake, "DELETE", f"/{version}/{made['name']}", None, 404, made["name"])
    refused(fake, "POST", at + ":lookup", {"displayName": "lr"}, 404, "lr")
    assert make_study(fake, "lr", version) != made["name"]


def test_bad_studies_are_refused_by_field_value_and_rule(fake):
    def bad(body, *words):
        return refused(fake, "POST", STUDIES, body, 400, *words)

    bad({}, "study.display_name", "study.study_spec")
    bad({"displayName": "x" * 129, "studySpec": study_spec()}, "study.display_name", "128", "129")
    bad({"displayName": "x", "studySpec": study_spec(metrics=[])}, "study.study_spec.metrics")
    bad({"displayName": "x", "studySpec": study_spec(parameters=[double("x", 2, 1)])}, "study.study_spec.parameters[0]")
    bad({"displayName": "x", "studySpec": study_spec(parameters=[double("x", 0, 1, scaleType="UNIT_LOG_SCALE")])}, "parameters[0]")
    bad({"displayName": "x", "studySpec": study_spec(algorithm="GRID_SEARCH")}, "GRID")
    refused(fake, "POST", STUDIES.replace("us-central1", "-"), {"displayName": "x", "studySpec": study_spec()}, 400, "parent", "-")
    refused(fake, "POST", STUDIES + ":lookup", {}, 400, "display_name")
    refused(fake, "GET", STUDIES + "?pageSize=-1", None, 400, "page_size", "-1")
    for name in (f"{PARENT}/studies/1/trials/1/x", f"{PARENT}/studies/1/trials/a", f"{PARENT}/studies/1/trials/0"):
        assert fake.call("GET", "/v1/" + name).status_code == 404


# ---- trials

def test_a_trial_of_ones_own(fake):
    study = make_study(fake)
    made = post(fake, f"{study}/trials", {"parameters": [{"parameterId": "x", "value": 0.25}, {"parameterId": "y", "value": -1}]})
    assert made == {"name": f"{study}/trials/1", "id": "1", "state": "REQUESTED",
                    "parameters": [{"parameterId": "x", "value": 0.25}, {"parameterId": "y", "value": -1}]}
    assert fake.get(made["name"]) == made and trials(fake, study) == [made]
    done = post(fake, f"{study}/trials", {"parameters": made["parameters"], "state": "SUCCEEDED", "finalMeasurement": measurement(3.5, 7)})
    assert done["state"] == "SUCCEEDED" and done["endTime"]
    assert done["finalMeasurement"] == {"stepCount": "7", "elapsedDuration": "0s", "metrics": [{"metricId": "loss", "value": 3.5}]}
    never = post(fake, f"{study}/trials", {"parameters": made["parameters"], "state": "INFEASIBLE", "infeasibleReason": "too hot"})
    assert never["state"] == "INFEASIBLE" and never["infeasibleReason"] == "too hot"
    # A requested trial is what the next client gets.
    given = suggest(fake, study)
    assert [t["id"] for t in given] == ["1"] and given[0]["state"] == "ACTIVE" and given[0]["clientId"] == "me" and given[0]["startTime"]
    assert fake.get(made["name"]) == given[0]


def test_bad_trials_are_refused_by_field_value_and_rule(fake):
    study = make_study(fake, parameters=[double("x"), {"parameterId": "opt", "categoricalValueSpec": {"values": ["sgd", "adam"]}}])
    ok = [{"parameterId": "x", "value": 0.5}, {"parameterId": "opt", "value": "sgd"}]

    def bad(body, *words):
        return refused(fake, "POST", f"/v1/{study}/trials", body, 400, *words)

    bad({"parameters": ok[:1], "finalMeasurement": measurement(1)}, "trial.parameters", "opt")  # it has run: with what?
    bad({"parameters": ok[:1], "state": "INFEASIBLE"}, "trial.parameters", "opt")
    bad({"parameters": [ok[0], {"parameterId": "opt", "value": "adagrad"}]}, "trial.parameters[1].value", "opt")
    bad({"parameters": [{"parameterId": "x", "value": 2}, ok[1]]}, "trial.parameters[0].value", "bounds")
    bad({"parameters": ok + [{"parameterId": "z", "value": 1}]}, "trial.parameters[2].parameter_id", "z")
    bad({"parameters": ok, "state": "SUCCEEDED"}, "trial.final_measurement")
    bad({"parameters": ok, "finalMeasurement": {"metrics": [{"metricId": "acc", "value": 1}]}}, "final_measurement.metrics[0].metric_id", "acc")
    bad({"parameters": ok, "finalMeasurement": measurement("NaN")}, "final_measurement.metrics[0].value", "NaN")
    assert trials(fake, study) == []
    refused(fake, "POST", f"/v1/{PARENT}/studies/17/trials", {"parameters": ok}, 404, "17")


def test_what_a_requested_trial_leaves_open_is_decided_when_it_is_handed_out(make_server):
    s = make_server("--engine=fake").start()
    opt = {"parameterId": "opt", "categoricalValueSpec": {"values": ["sgd", "adam"]}, "conditionalParameterSpecs": [
        {"parentCategoricalValues": {"values": ["adam"]}, "parameterSpec": double("beta", 0.5)}]}
    study = make_study(s, parameters=[double("x"), opt])
    given = [{"parameterId": "x", "value": 0.125}]
    made = post(s, f"{study}/trials", {"parameters": given})
    assert made == {"name": f"{study}/trials/1", "id": "1", "state": "REQUESTED", "parameters": given}
    # A conditional one is enough: its parent gets the value that it needs.
    assert values(post(s, f"{study}/trials", {"parameters": [{"parameterId": "beta", "value": 0.75}]})) == {"beta": 0.75}
    assert "parameters" not in post(s, f"{study}/trials")  # whatever the study tries next
    for verb, body in ((":addTrialMeasurement", {"measurement": measurement(1, 1)}), (":complete", {"trialInfeasible": True}), (":stop", {})):
        refused(s, "POST", f"/v1/{made['name']}{verb}", body, 400, "Trial 1", "REQUESTED", "SuggestTrials")
    assert not should_stop(s, made["name"])
    s.kill9()
    s.start()
    a, b, c, d = suggest(s, study, count=4)
    assert [t["id"] for t in (a, b, c, d)] == ["1", "2", "3", "4"] and all(t["state"] == "ACTIVE" for t in (a, b, c, d))
    assert values(a)["x"] == 0.125 and values(a)["opt"] in ("sgd", "adam") and ("beta" in values(a)) == (values(a)["opt"] == "adam")
    assert values(b)["beta"] == 0.75 and values(b)["opt"] == "adam" and 0 <= values(b).get("x", 0) <= 1
    assert {"x", "opt"} <= set(values(c)) and len({tuple(values(t).items()) for t in (a, b, c, d)}) == 4
    s.kill9()
    s.start()
    assert trials(s, study) == [a, b, c, d] == suggest(s, study, count=4)  # decided once
    complete(s, b["name"], 2)
    post(s, f"{study}/trials", {"parameters": given})
    assert s.call("DELETE", f"/v1/{study}/trials/5").json() == {}
    # With a context it is what both say; one that says otherwise is for somebody else.
    post(s, f"{study}/trials", {"parameters": given})
    (e,) = suggest(s, study, "other", contexts=[{"parameters": [{"parameterId": "opt", "value": "sgd"}, {"parameterId": "x", "value": 0.5}]}])
    assert e["id"] == "7" and values(e) == {"x": 0.5, "opt": "sgd"}
    (g,) = suggest(s, study, "third", contexts=[{"parameters": [{"parameterId": "beta", "value": 1}]}])
    assert g["id"] == "6" and values(g) == {"x": 0.125, "opt": "adam", "beta": 1}
    s.stop()


def test_what_a_request_leaves_open_is_no_step_of_a_grid(fake):
    grid = [{"parameterId": k, "integerValueSpec": {"minValue": "1", "maxValue": "2"}} for k in ("n", "k")]
    study = make_study(fake, parameters=grid, algorithm="GRID_SEARCH")
    post(fake, f"{study}/trials", {"parameters": [{"parameterId": "n", "value": 2}]})
    own, *rest = suggest(fake, study, count=9)
    assert values(own)["n"] == 2 and values(own)["k"] in (1, 2)
    seen = [tuple(values(t).values()) for t in rest]
    assert len(set(seen)) == len(seen) and {(1, 1), (1, 2), (2, 1), (2, 2)} == {*seen, tuple(values(own).values())}, (own, seen)
    # Nothing is left to try, and yet a trial that is asked for is made whole.
    post(fake, f"{study}/trials", {"parameters": [{"parameterId": "k", "value": 1}]})
    (late,) = suggest(fake, study, "late")
    assert values(late)["k"] == 1 and values(late)["n"] in (1, 2)


def test_measurements_are_kept_in_order_and_one_ends_the_trial(fake):
    study = make_study(fake)
    t = suggest(fake, study)[0]["name"]
    measure(fake, t, 5, 2, seconds=4)
    measure(fake, t, 9, 1, seconds=2)
    m = measure(fake, t, 5, 2, seconds=4)["measurements"]  # told again: nothing changes
    assert [(x["stepCount"], x["elapsedDuration"], x["metrics"][0]["value"]) for x in m] == [("1", "2s", 9), ("2", "4s", 5)]
    measure(fake, t, 7)  # without a time: since the trial's start
    assert fake.get(t)["measurements"][0]["elapsedDuration"] != "0s"
    done = complete(fake, t)
    assert done["state"] == "SUCCEEDED" and done["finalMeasurement"]["metrics"][0]["value"] == 5  # the last by step
    refused(fake, "POST", f"/v1/{t}:addTrialMeasurement", {"measurement": measurement(1)}, 400, "SUCCEEDED")
    refused(fake, "POST", f"/v1/{t}:complete", {}, 400, "SUCCEEDED")
    refused(fake, "POST", f"/v1/{t}:stop", {}, 400, "SUCCEEDED")


def test_ends(fake):
    study = make_study(fake)
    a, b, c, d = (t["name"] for t in suggest(fake, study, count=4))
    assert complete(fake, a, 1.5)["finalMeasurement"]["metrics"] == [{"metricId": "loss", "value": 1.5}]
    r = fake.call("POST", f"/v1/{a}:complete", {"finalMeasurement": measurement(2)})
    assert r.status_code == 400 and "SUCCEEDED" in r.text
    assert complete(fake, b, trialInfeasible=True, infeasibleReason="no")["infeasibleReason"] == "no"
    assert complete(fake, b, trialInfeasible=True)["state"] == "INFEASIBLE"  # it is so already
    lost = complete(fake, c)
    assert lost["state"] == "INFEASIBLE" and "loss" in lost["infeasibleReason"] and "finalMeasurement" not in lost
    assert post(fake, d + ":stop")["state"] == "STOPPING"
    assert post(fake, d + ":stop")["state"] == "STOPPING"
    measure(fake, d, 4, 1)
    assert complete(fake, d)["state"] == "SUCCEEDED"
    assert fake.call("DELETE", f"/v1/{b}").json() == {}
    refused(fake, "GET", f"/v1/{b}", None, 404, "trials/2")
    refused(fake, "DELETE", f"/v1/{b}", None, 404, "trials/2")
    assert [t["id"] for t in trials(fake, study)] == ["1", "3", "4"]
    assert suggest(fake, study)[0]["id"] == "5"


def test_bad_measurements_are_refused_by_field_value_and_rule(fake):
    study = make_study(fake)
    t = suggest(fake, study)[0]["name"]

    def bad(verb, body, *words):
        return refused(fake, "POST", f"/v1/{t}:{verb}", body, 400, *words)

    bad("addTrialMeasurement", {}, "measurement", "Required")
    bad("addTrialMeasurement", {"measurement": {}}, "measurement.metrics")
    bad("addTrialMeasurement", {"measurement": measurement(1, -3)}, "measurement.step_count", "-3")
    bad("addTrialMeasurement", {"measurement": measurement(1, 1, seconds=-1)}, "elapsed_duration", "-1")
    bad("addTrialMeasurement", {"measurement": measurement(1, metric="acc")}, "metrics[0].metric_id", "acc")
    two = measurement(1)
    two["metrics"] *= 2
    bad("addTrialMeasurement", {"measurement": two}, "metrics[1].metric_id", "twice")
    bad("complete", {"infeasibleReason": "why"}, "infeasible_reason")
    bad("complete", {"trialInfeasible": True, "infeasibleReason": "x" * 5000}, "infeasible_reason", "4096")
    bad("complete", {"finalMeasurement": measurement("Infinity")}, "final_measurement.metrics[0].value", "finite")
    assert "measurements" not in fake.get(t)
    measure(fake, t, "NaN", 1)  # while it runs a model may diverge
    assert fake.get(t)["measurements"][0]["metrics"][0]["value"] == "NaN"


def test_lists_of_trials_come_in_pages(fake):
    study = make_study(fake, algorithm="RANDOM_SEARCH")
    suggest(fake, study, count=7)
    assert [t["id"] for t in trials(fake, study, 3)] == list("1234567")
    token = fake.get(f"{study}/trials?pageSize=3")["nextPageToken"]
    other = make_study(fake, "other")
    for where, t in ((other, token), (study, "nonsense"), (study, token[:-4])):
        refused(fake, "GET", f"/v1/{where}/trials?pageToken={t}", None, 400, "page_token")


# ---- suggestions

@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_suggestion_is_an_operation_with_trials(fake, version):
    study = make_study(fake, version=version)
    r = fake.call("POST", f"/{version}/{study}/trials:suggest", {"suggestionCount": 1, "clientId": "w1"})
    op = r.json()
    assert r.status_code == 200 and re.fullmatch(re.escape(study) + r"/operations/\d+", op["name"])
    assert op["metadata"]["@type"] == f"{PREFIX}{version}.SuggestTrialsMetadata"
    assert op["metadata"]["clientId"] == "w1" and op["metadata"]["genericMetadata"]["createTime"]
    op = finished(fake, op)
    op = fake.call("GET", f"/{version}/{op['name']}").json()
    assert op["response"]["@type"] == f"{PREFIX}{version}.SuggestTrialsResponse"
    assert op["response"]["studyState"] == "ACTIVE" and op["response"]["startTime"] <= op["response"]["endTime"]
    (t,) = op["response"]["trials"]
    assert t["state"] == "ACTIVE" and t["clientId"] == "w1" and t["id"] == "1" and set(values(t)) == {"x", "y"}
    assert values(t) == {"x": 0.5, "y": 0} or 0 <= values(t)["x"] <= 1
    assert fake.call("GET", f"/{version}/{t['name']}").json() == t


def test_a_client_is_given_its_own_trial_until_it_has_ended(fake):
    study = make_study(fake)
    first = suggest(fake, study, "a")
    assert suggest(fake, study, "a") == first
    other = suggest(fake, study, "b")
    assert other[0]["id"] != first[0]["id"] and values(other[0]) != values(first[0])
    both = suggest(fake, study, "a", 2)
    assert both[0] == first[0] and both[1]["id"] == "3"
    complete(fake, first[0]["name"], 1)
    assert [t["id"] for t in suggest(fake, study, "a", 2)] == ["3", "4"]
    assert {t["id"] for t in suggest(fake, study, "a", 2)} & {t["id"] for t in suggest(fake, study, "b", 2)} == set()


def test_bad_questions_are_refused_by_field_value_and_rule(fake):
    study = make_study(fake)

    def bad(body, *words, status=400):
        return refused(fake, "POST", f"/v1/{study}/trials:suggest", body, status, *words)

    bad({"clientId": "a"}, "suggestion_count", "0")
    bad({"clientId": "a", "suggestionCount": -2}, "suggestion_count", "-2")
    bad({"clientId": "a", "suggestionCount": 100000}, "suggestion_count", "max_suggestions", "1000")
    bad({"suggestionCount": 1}, "client_id")
    bad({"clientId": "x" * 1025, "suggestionCount": 1}, "client_id", "1024")
    bad({"clientId": "a", "suggestionCount": 2, "contexts": [{}]}, "contexts", "1", "2")
    context = {"parameters": [{"parameterId": "x", "value": 3}]}
    bad({"clientId": "a", "suggestionCount": 1, "contexts": [context]}, "contexts[0].parameters[0].value", "x")
    context = {"parameters": [{"parameterId": "z", "value": 0}]}
    bad({"clientId": "a", "suggestionCount": 1, "contexts": [context]}, "contexts[0].parameters[0].parameter_id", "z")
    assert trials(fake, study) == []
    refused(fake, "POST", f"/v1/{PARENT}/studies/17/trials:suggest", {"clientId": "a", "suggestionCount": 1}, 404, "17")


def test_contexts_are_matched_by_what_there_is_and_then_by_new_trials(fake):
    day = {"parameterId": "day", "categoricalValueSpec": {"values": ["mon", "tue", "wed"]}}
    study = make_study(fake, parameters=[double("x"), day])

    def on(d):
        return {"description": d, "parameters": [{"parameterId": "day", "value": d}]}

    t = post(fake, f"{study}/trials", {"parameters": [{"parameterId": "x", "value": 0.125}, {"parameterId": "day", "value": "tue"}]})
    given = suggest(fake, study, "a", 3, contexts=[on("wed"), on("tue"), {}])
    assert [values(g).get("day") for g in given][:2] == ["wed", "tue"] and t["id"] in [g["id"] for g in given]
    assert len({g["id"] for g in given}) == 3
    again = suggest(fake, study, "a", 3, contexts=[on("wed"), on("tue"), {}])
    assert again == given


def test_a_grid_is_searched_once_and_the_study_is_completed(fake):
    grid = [{"parameterId": "n", "integerValueSpec": {"minValue": "1", "maxValue": "2"}},
            {"parameterId": "k", "categoricalValueSpec": {"values": ["a", "b"]}}]
    study = make_study(fake, parameters=grid, algorithm="GRID_SEARCH")
    seen = []
    for _ in range(4):
        (t,) = suggest(fake, study)
        seen.append((values(t)["n"], values(t)["k"]))
        complete(fake, t["name"], 1)
    assert seen == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    op = finished(fake, post(fake, f"{study}/trials:suggest", {"suggestionCount": 2, "clientId": "me"}))
    assert op["response"]["studyState"] == "COMPLETED" and "trials" not in op["response"]
    assert fake.get(study)["state"] == "COMPLETED"
    assert fake.call("POST", STUDIES + ":lookup", {"displayName": "study"}).json()["state"] == "COMPLETED"


def test_a_study_of_so_many_trials_is_completed_after_them(fake):
    study = make_study(fake, studyStoppingConfig={"maxNumTrials": 3})
    assert len(suggest(fake, study, count=5)) <= 5
    for t in trials(fake, study):
        complete(fake, t["name"], 1)
    assert suggest(fake, study) == [] and fake.get(study)["state"] == "COMPLETED"


# ---- early stopping, the optimal ones

def test_a_trial_that_does_worse_than_most_should_stop(fake):
    study = make_study(fake, medianAutomatedStoppingSpec={})
    for i in range(5):
        (t,) = suggest(fake, study)
        for step in range(1, 6):
            measure(fake, t["name"], 10 - step + i / 10, step)
        assert not should_stop(fake, t["name"])
        complete(fake, t["name"])
    good, bad = suggest(fake, study, count=2)
    assert not should_stop(fake, bad["name"])  # nothing is known of it
    for step in range(1, 6):
        measure(fake, good["name"], 1, step)
        measure(fake, bad["name"], 100, step)
    op = finished(fake, post(fake, bad["name"] + ":checkTrialEarlyStoppingState"))
    assert re.fullmatch(re.escape(bad["name"]) + r"/operations/\d+", op["name"])
    assert op["metadata"]["@type"] == PREFIX + "v1.CheckTrialEarlyStoppingStateMetatdata"
    assert op["metadata"]["study"] == study and op["metadata"]["trial"] == bad["name"]
    assert op["response"] == {"@type": PREFIX + "v1.CheckTrialEarlyStoppingStateResponse", "shouldStop": True}
    assert fake.get(op["name"]) == op
    assert fake.get(bad["name"])["state"] == "STOPPING" and should_stop(fake, bad["name"])
    assert not should_stop(fake, good["name"]) and fake.get(good["name"])["state"] == "ACTIVE"
    refused(fake, "POST", f"/v1/{study}/trials/99:checkTrialEarlyStoppingState", {}, 404, "99")


@pytest.mark.parametrize("selection,want", [("BEST_MEASUREMENT", 1), ("LAST_MEASUREMENT", 2), (None, 2)])
def test_a_trial_without_a_final_measurement_gets_the_one_the_study_selects(fake, selection, want):
    study = make_study(fake, **({"measurementSelectionType": selection} if selection else {}))
    (t,) = suggest(fake, study)
    for step, loss in ((1, 3), (2, 1), (3, 2)):
        measure(fake, t["name"], loss, step)
    assert complete(fake, t["name"])["finalMeasurement"]["metrics"][0]["value"] == want


def test_what_the_convex_rule_stops_counts_with_what_it_predicts(fake):
    study = make_study(fake, algorithm="RANDOM_SEARCH", convexAutomatedStoppingSpec={"maxStepCount": "20"})

    def tell(t, level, steps=20):
        for step in range(1, steps + 1):
            measure(fake, t["name"], level + 1 / step, step, seconds=step)

    for level in (1, 1.1, 0.9, 1.2, 1.05, 0.95):
        (t,) = suggest(fake, study)
        tell(t, level)
        complete(fake, t["name"])
    (bad,) = suggest(fake, study)
    tell(bad, 50, 12)
    assert should_stop(fake, bad["name"]) and fake.get(bad["name"])["state"] == "STOPPING"
    ended = complete(fake, bad["name"])
    assert ended["state"] == "SUCCEEDED" and ended["finalMeasurement"]["stepCount"] == "20"  # the horizon
    assert 45 < ended["finalMeasurement"]["metrics"][0]["value"] < 55
    (own,) = suggest(fake, study)
    tell(own, 60, 3)
    post(fake, own["name"] + ":stop")  # by hand: it counts with what it measured
    assert complete(fake, own["name"])["finalMeasurement"]["stepCount"] == "3"


def test_the_optimal_trials_of_two_metrics_are_the_front(fake):
    study = make_study(fake, metrics=[{"metricId": "acc", "goal": "MAXIMIZE"}, {"metricId": "ms", "goal": "MINIMIZE"}])
    points = [(0.9, 100), (0.8, 10), (0.7, 50), (0.9, 90), (0.5, 5)]
    for acc, ms in points:
        (t,) = suggest(fake, study)
        r = fake.call("POST", f"/v1/{t['name']}:complete", {"finalMeasurement": {"metrics": [{"metricId": "acc", "value": acc}]}})
        assert r.status_code == 400 and "ms" in r.text
        complete(fake, t["name"], finalMeasurement={"metrics": [{"metricId": "ms", "value": ms}, {"metricId": "acc", "value": acc}]})
    best = post(fake, f"{study}/trials:listOptimalTrials")["optimalTrials"]
    assert [t["id"] for t in best] == ["2", "4", "5"]


def test_the_optimal_trial_of_one_metric_is_the_best(fake):
    study = make_study(fake)
    assert post(fake, f"{study}/trials:listOptimalTrials") == {}
    for loss in (3, 1, 2):
        complete(fake, suggest(fake, study)[0]["name"], loss)
    assert [t["id"] for t in post(fake, f"{study}/trials:listOptimalTrials")["optimalTrials"]] == ["2"]


# ---- many at once, and after a restart

def test_two_clients_in_parallel_never_share_a_trial(fake):
    study = make_study(fake)
    got, wrong = {}, []

    def work(client):
        mine = got.setdefault(client, [])
        for _ in range(12):
            try:
                (t,) = suggest(fake, study, client)
                mine.append(t["id"])
                measure(fake, t["name"], values(t)["x"], 1)
                complete(fake, t["name"], (values(t)["x"] - 0.3) ** 2)
            except Exception as e:  # shown by the assertion below
                wrong.append(e)

    threads = [threading.Thread(target=work, args=(f"c{i}",)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ids = [i for mine in got.values() for i in mine]
    assert not wrong and len(ids) == len(set(ids)) == 24
    everything = trials(fake, study)
    assert {t["state"] for t in everything} == {"SUCCEEDED"} and len(everything) == 24
    assert all(t["clientId"] == c for t in everything for c in got if t["id"] in got[c])


def test_a_study_is_the_same_after_kill_9(make_server):
    s = make_server("--engine=fake").start()
    study = make_study(s)
    for loss in (3, 1, 2):
        (t,) = suggest(s, study)
        measure(s, t["name"], loss, 1)
        complete(s, t["name"])
    (open_trial,) = suggest(s, study, "w")
    measure(s, open_trial["name"], 8, 1)
    measure(s, open_trial["name"], "NaN", 2)
    before = (s.get(study), trials(s, study))
    s.kill9()
    s.start()
    assert (s.get(study), trials(s, study)) == before
    assert suggest(s, study, "w")[0]["id"] == open_trial["id"]
    assert suggest(s, study, "v")[0]["id"] == "5"
    assert post(s, f"{study}/trials:listOptimalTrials")["optimalTrials"][0]["id"] == "2"
    refused(s, "POST", STUDIES, {"displayName": "study", "studySpec": study_spec()}, 409, "study")
    s.stop()


def test_studies_that_are_not_in_memory_are_read_again(make_server, tmp_path):
    config = tmp_path / "cusp.conf"
    config.write_text("[limits]\nmax_studies_loaded = 2\n")
    s = make_server("--engine=fake", "--config", str(config)).start()
    names = [make_study(s, f"s{i}") for i in range(6)]
    for round in (1, 2):
        for i, study in enumerate(names):
            (t,) = suggest(s, study)
            assert t["id"] == str(round)
            complete(s, t["name"], i)
    for i, study in enumerate(names):
        assert [t["finalMeasurement"]["metrics"][0].get("value", 0) for t in trials(s, study)] == [i, i]
    text = s.call("GET", "/metrics").text
    assert re.search(r"cusp_studies_evicted_total [1-9]", text) and re.search(r"cusp_studies_loaded [0-2]\n", text)
    s.stop()


@pytest.mark.skipif(os.environ.get("CUSP_EXTENDED") != "1", reason="half a minute: CUSP_EXTENDED=1")
def test_a_thousand_trials(fake):
    study = make_study(fake, algorithm="RANDOM_SEARCH")
    for _ in range(10):
        for t in suggest(fake, study, count=100):
            complete(fake, t["name"], values(t)["x"])
    everything = trials(fake, study)
    assert [t["id"] for t in everything] == [str(i) for i in range(1, 1001)]
    best = post(fake, f"{study}/trials:listOptimalTrials")["optimalTrials"]
    assert values(best[0])["x"] == min(values(t)["x"] for t in everything)


def test_what_was_answered_outlives_kill_9_in_the_middle(make_server):
    """Clients ask and tell while the server is killed and started again; they go on as a real one would."""
    s = make_server("--engine=fake").start()
    study = make_study(s, algorithm="RANDOM_SEARCH")
    s.listen = s.url.removeprefix("http://")
    owner, told, wrong, over = {}, {}, [], threading.Event()

    def work(client):
        with requests.Session() as http:
            def call(path, body):
                r = http.post(f"{s.url}/v1/{path}", json=body, timeout=30)
                assert r.status_code == 200, r.text
                return r.json()

            while not over.is_set():
                try:
                    op = call(f"{study}/trials:suggest", {"suggestionCount": 1, "clientId": client})
                    while not op.get("done"):
                        op = http.get(f"{s.url}/v1/{op['name']}", timeout=30).json()
                    if "error" in op:
                        assert op["error"]["code"] == 10, op  # ABORTED: the server was killed meanwhile
                        continue
                    (t,) = op["response"]["trials"]
                    if owner.setdefault(t["id"], client) != client:
                        wrong.append(t["id"])
                    call(t["name"] + ":addTrialMeasurement", {"measurement": measurement(int(t["id"]), 3, seconds=1)})
                    told[t["id"]] = False
                    call(t["name"] + ":complete", {})
                    told[t["id"]] = True
                except (requests.ConnectionError, requests.Timeout):
                    pass

    threads = [threading.Thread(target=work, args=(f"c{i}",)) for i in range(2)]
    for t in threads:
        t.start()
    for life in range(3):
        many = len(told) + 6
        wait_until(lambda: len(told) >= many, 60, "trials")
        s.kill9()
        s.start()
    over.set()
    for t in threads:
        t.join()
    found = {t["id"]: t for t in trials(s, study)}
    assert not wrong and len(told) >= 18
    for i, is_over in told.items():
        assert found[i]["measurements"][0]["metrics"][0]["value"] == int(i) and len(found[i]["measurements"]) == 1
        assert not is_over or found[i]["state"] == "SUCCEEDED"
    assert all(found[i]["clientId"] == c for i, c in owner.items())
    s.stop()


# ---- what earlier studies teach

def earlier(s, name, best, n=8, **spec):
    """A COMPLETED study whose best trial is at x = best."""
    study = make_study(s, name, algorithm="RANDOM_SEARCH", studyStoppingConfig={"maxNumTrials": n}, **spec)
    at = {"parameters": [{"parameterId": "x", "value": best}, {"parameterId": "y", "value": -0.5}]}
    post(s, f"{study}/trials", {**at, "finalMeasurement": measurement(0)})
    while given := suggest(s, study):
        for t in given:
            complete(s, t["name"], (values(t).get("x", 0) - best) ** 2 + (values(t).get("y", 0) + 0.5) ** 2 + 0.01)
    assert s.get(study)["state"] == "COMPLETED"
    return study


def learner(s, name, **spec):
    r = s.call("POST", f"/v1beta1/{PARENT}/studies", {"displayName": name, "studySpec": study_spec(**{"transferLearningConfig": {}, **spec})})
    assert r.status_code == 200, r.text
    return r.json()


def test_a_study_learns_from_completed_ones(make_server):
    s = make_server("--engine=fake").start()
    old = [earlier(s, f"old{i}", 0.1 + 0.1 * i) for i in range(6)]
    earlier(s, "other metric", 0.9, metrics=[{"metricId": "loss", "goal": "MAXIMIZE"}])
    make_study(s, "still going")
    made = learner(s, "new", parameters=[double("x"), double("y", -1, 1), double("z")])
    config = {"priorStudyNames": old[1:]}  # the newest five, oldest first
    assert made["studySpec"]["transferLearningConfig"] == config
    assert "transferLearningConfig" not in s.get(made["name"])["studySpec"]  # v1 has no such field
    (t,) = suggest(s, made["name"], "a")
    assert abs(values(t)["x"] - 0.6) < 1e-9 and abs(values(t)["y"] + 0.5) < 1e-9  # where the newest had its best
    (u,) = suggest(s, made["name"], "b")
    # The same after a restart, and when those it has learned from are gone.
    twin = learner(s, "twin")
    assert twin["studySpec"]["transferLearningConfig"] == config
    for study in old:
        assert s.call("DELETE", f"/v1/{study}").status_code == 200
    s.kill9()
    s.start()
    first, second = suggest(s, twin["name"], "a")[0], suggest(s, twin["name"], "b")[0]
    assert values(first)["x"] == values(t)["x"]
    for got, want in ((first, t), (second, u)):
        assert values(got)["x"] == values(want)["x"] and values(got)["y"] == values(want)["y"]
    assert learner(s, "late")["studySpec"]["transferLearningConfig"] == {}
    assert s.call("GET", f"/v1beta1/{twin['name']}").json() == twin
    s.stop()


def test_who_does_not_ask_for_it_does_not_learn(fake):
    old = earlier(fake, "old", 0.9)
    refused(fake, "POST", STUDIES, {"displayName": "v1", "studySpec": study_spec(transferLearningConfig={})}, 400, "transferLearningConfig")
    off = learner(fake, "off", transferLearningConfig={"disableTransferLearning": True, "priorStudyNames": [old]})
    assert off["studySpec"]["transferLearningConfig"] == {"disableTransferLearning": True}
    random = learner(fake, "random", algorithm="RANDOM_SEARCH")
    two = learner(fake, "two", metrics=[{"metricId": "loss", "goal": "MINIMIZE"}, {"metricId": "ms", "goal": "MINIMIZE"}])
    apart = learner(fake, "apart", parameters=[double("q")])
    named = learner(fake, "named", parameters=[{"parameterId": "x", "categoricalValueSpec": {"values": ["a", "b"]}}])
    for made in (random, two, apart, named):
        assert made["studySpec"]["transferLearningConfig"] == {}
    assert values(suggest(fake, off["name"])[0])["x"] == 0.5
    assert values(suggest(fake, make_study(fake, "plain"))[0])["x"] == 0.5
    assert learner(fake, "on")["studySpec"]["transferLearningConfig"] == {"priorStudyNames": [old]}


def test_what_is_many_is_one_commit_and_one_answer(fake):
    study = make_study(fake)

    def changes():
        return int(re.search(r"cusp_study_changes_total (\d+)", fake.call("GET", "/metrics").text).group(1))

    before = changes()
    r = fake.call("POST", f"/v1/{study}/trials:suggest", {"suggestionCount": 40, "clientId": "a"}).json()
    assert r["done"] and [t["id"] for t in r["response"]["trials"]] == [str(i) for i in range(1, 41)]
    assert changes() == before + 1 and len({tuple(values(t).items()) for t in r["response"]["trials"]}) == 40
    text = fake.call("GET", "/metrics").text
    assert re.search(r"cusp_study_change_commit_usec_total [1-9]", text) and "cusp_study_suggestions_ready_total" in text
