"""Vizier studies as a REST client uses them: for the tests of studies."""
from conftest import PARENT, wait_until

STUDIES = f"/v1/{PARENT}/studies"


def double(name, low=0.0, high=1.0, **more):
    bounds = {k: v for k, v in (("minValue", low), ("maxValue", high)) if v}  # as it is answered: without zeros
    return {"parameterId": name, "doubleValueSpec": bounds, **more}


def refused(s, method, path, body, status, *words):
    """The words may be in the message or in the details, which name the field."""
    r = s.call(method, path, body)
    assert r.status_code == status, (r.status_code, r.text)
    for word in words:
        assert word in r.text, r.text
    return r.json()["error"]


def study_spec(**more):
    return {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "parameters": [double("x"), double("y", -1, 1)], **more}


def make_study(s, name="study", version="v1", **spec):
    r = s.call("POST", f"/{version}/{PARENT}/studies", {"displayName": name, "studySpec": study_spec(**spec)})
    assert r.status_code == 200, r.text
    return r.json()["name"]


def post(s, path, body=None, status=200):
    r = s.call("POST", "/v1/" + path, body or {})
    assert r.status_code == status, (r.status_code, r.text)
    return r.json()


def finished(s, op, seconds=60):
    return op if op.get("done") else wait_until(
        lambda: (lambda o: o if o.get("done") else None)(s.get(op["name"])), seconds, op["name"])


def suggest(s, study, client="me", count=1, **more):
    op = finished(s, post(s, f"{study}/trials:suggest", {"suggestionCount": count, "clientId": client, **more}))
    assert "error" not in op, op
    return op["response"].get("trials", [])


def measurement(loss, step=0, seconds=None, metric="loss"):
    m = {"metrics": [{"metricId": metric, "value": loss}]}
    if step:
        m["stepCount"] = str(step)
    if seconds is not None:
        m["elapsedDuration"] = f"{seconds}s"
    return m


def complete(s, trial, loss=None, **body):
    if loss is not None:
        body["finalMeasurement"] = measurement(loss)
    return post(s, trial + ":complete", body)


def measure(s, trial, loss, step=0, **more):
    return post(s, trial + ":addTrialMeasurement", {"measurement": measurement(loss, step, **more)})


def should_stop(s, trial):
    op = finished(s, post(s, trial + ":checkTrialEarlyStoppingState"))
    return op["response"].get("shouldStop", False)


def trials(s, study, size=None):
    """All of them, page by page."""
    found, token = [], ""
    while True:
        page = s.get(f"{study}/trials?pageToken={token}" + (f"&pageSize={size}" if size else ""))
        found += page.get("trials", [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def values(trial):
    return {p["parameterId"]: p["value"] for p in trial.get("parameters", [])}
