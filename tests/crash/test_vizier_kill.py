"""A study whose server dies at the moment that hurts: what was answered is so, and no trial is given twice."""
import os
import sys

import pytest
import requests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
from vizier import complete, make_study, measure, suggest, trials  # noqa: E402


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
