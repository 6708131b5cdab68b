"""A study whose server dies at the moment that hurts: what was answered is so, and no trial is given twice."""

import pytest
import requests

from vizier import complete, finished, make_study, measure, post, should_stop, suggest, trials

SLOW = "suggest.compute=delay:700ms"  # longer than the call waits: the operation is answered before it is done


def operations(s, study):
    return s.get(f"{study}/operations").get("operations", [])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("points", ["errand.begun=abort", "suggest.before_end=abort", "suggest.compute=abort", "store.commit.before_commit=abort@2",
                                    "store.commit.after_commit=abort@2", "study.save.after_commit=abort"])
def test_an_operation_that_was_answered_goes_on(make_server, points, count):
    """Whatever the moment: it ends with its trials, once, and who asked is given these."""
    s = make_server("--engine=fake").start()
    study = make_study(s)
    for loss in (3, 1, 2):
        complete(s, suggest(s, study)[0]["name"], loss)
    before = {o["name"] for o in operations(s, study)}
    s.stop()
    compute = "suggest.compute=delay:700ms," if "suggest.compute" not in points else ""
    s.start(env={"CUSP_FAILPOINTS": compute + points})
    with pytest.raises((requests.ConnectionError, requests.Timeout)):
        op = post(s, f"{study}/trials:suggest", {"suggestionCount": count, "clientId": "w"})
        post(s, op["name"] + ":wait")
        s.get(study)
    s.proc.wait(30)
    s.start()
    new = [o for o in operations(s, study) if o["name"] not in before]
    assert len(new) == (points != "suggest.compute=abort")  # that one dies before anything was answered
    for op in new:
        op = finished(s, op)
        assert "error" not in op, op
        given = op["response"]["trials"]
        assert [t["id"] for t in given] == [str(4 + i) for i in range(count)]
        assert op["metadata"]["clientId"] == "w" and all(t["clientId"] == "w" for t in given)
        assert [t["id"] for t in suggest(s, study, "w", count)] == [t["id"] for t in given]
    assert len(suggest(s, study, "w", count)) == count
    assert [t["id"] for t in trials(s, study)] == [str(i + 1) for i in range(3 + count)]
    s.stop()


def test_an_operation_outlives_many_lives_and_a_polite_end(make_server):
    s = make_server("--engine=fake").start(env={"CUSP_FAILPOINTS": "suggest.compute=delay:4000ms"})
    study = make_study(s)
    op = post(s, f"{study}/trials:suggest", {"suggestionCount": 2, "clientId": "w"})
    assert not op.get("done")
    s.stop()  # which does not wait for the trials, but for the thread that computes them
    s.start(env={"CUSP_FAILPOINTS": "suggest.compute=delay:30000ms"})
    assert not s.get(op["name"]).get("done")
    s.kill9()
    s.start()
    op = finished(s, op)
    assert [t["id"] for t in op["response"]["trials"]] == ["1", "2"]
    assert op["response"]["startTime"] < op["response"]["endTime"]
    assert len(trials(s, study)) == 2
    s.stop()


def test_what_is_cancelled_makes_no_trial(make_server):
    s = make_server("--engine=fake").start(env={"CUSP_FAILPOINTS": SLOW})
    study = make_study(s)
    op = post(s, f"{study}/trials:suggest", {"suggestionCount": 1, "clientId": "w"})
    post(s, op["name"] + ":cancel")
    assert finished(s, op)["error"]["code"] == 1
    assert trials(s, study) == []
    assert suggest(s, study, "w")[0]["id"] == "1"
    s.stop()


@pytest.mark.parametrize("point", ["study.save.before_commit", "store.commit.before_commit", "study.save.after_commit"])
def test_a_stop_that_was_decided_is_decided_once(make_server, point):
    """CheckTrialEarlyStoppingState ends in the transaction that begins it: there is nothing to go on with."""
    s = make_server("--engine=fake").start()
    study = make_study(s, medianAutomatedStoppingSpec={})
    for _ in range(5):
        (t,) = suggest(s, study)
        for step in range(1, 6):
            measure(s, t["name"], 1, step, seconds=step)
        complete(s, t["name"])
    (bad,) = suggest(s, study)
    for step in range(1, 6):
        measure(s, bad["name"], 100, step, seconds=step)
    before = len(operations(s, study)) + len(s.get(f"{bad['name']}/operations").get("operations", []))
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort"})
    with pytest.raises((requests.ConnectionError, requests.Timeout)):
        should_stop(s, bad["name"])
    s.proc.wait(30)
    s.start()
    ops = operations(s, study) + s.get(f"{bad['name']}/operations").get("operations", [])
    assert all(o["done"] for o in ops) and len(ops) <= before + 2
    assert (s.get(bad["name"])["state"] == "STOPPING") == (point == "study.save.after_commit")
    assert should_stop(s, bad["name"]) and s.get(bad["name"])["state"] == "STOPPING"
    s.stop()


@pytest.mark.parametrize("hit", [1, 3, 4])
@pytest.mark.parametrize("point", ["study.save.before_commit", "store.commit.before_commit", "study.save.after_commit"])
def test_a_study_survives(make_server, point, hit):
    s = make_server("--engine=fake").start()
    study = make_study(s, algorithm="RANDOM_SEARCH")
    (first,) = suggest(s, study, "a")
    complete(s, first["name"], 1)
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=abort@{hit}"})
    given, measured, ended = {}, {}, {first["id"]}
    with pytest.raises((requests.ConnectionError, requests.Timeout)):
        for i in range(20):
            for client in ("a", "b"):
                (t,) = suggest(s, study, client)
                given[t["id"]] = client
                measure(s, t["name"], i, 1, seconds=1)
                measured[t["id"]] = i
                complete(s, t["name"])
                ended.add(t["id"])
    s.proc.wait(30)
    s.start()
    found = {t["id"]: t for t in trials(s, study)}
    assert all(found[i]["clientId"] == c for i, c in given.items())
    assert all(found[i]["measurements"][0]["metrics"][0].get("value", 0) == v for i, v in measured.items())
    assert all(found[i]["state"] == "SUCCEEDED" for i in ended)
    mine = {c: suggest(s, study, c)[0]["id"] for c in ("a", "b")}
    assert mine["a"] != mine["b"] and not set(mine.values()) & ended
    assert all(mine[c] == i for i, c in given.items() if i not in ended and found[i]["state"] == "ACTIVE")
    s.stop()
