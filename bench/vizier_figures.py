"""Studies that clients ask and tell: SuggestTrials at the API, round trips, a large study after a restart."""
import json
import threading
import time

from lab import PARENT, Short, median, quantile
from store_figures import fsyncs

ROUNDS, THINK, LARGE = 150, 0.05, 4000
PARAMETERS = [{"parameterId": f"x{i}", "doubleValueSpec": {"minValue": -1, "maxValue": 1}} for i in range(4)]


def study(c, name, **spec):
    body = {"displayName": name, "studySpec": {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "parameters": PARAMETERS, **spec}}
    return c.json("POST", f"/v1/{PARENT}/studies", json.dumps(body).encode())["name"]


def suggest(c, name, client, count=1):
    """The trials and whether the first answer had them."""
    op = c.json("POST", f"/v1/{name}/trials:suggest", json.dumps({"suggestionCount": count, "clientId": client}).encode())
    at_once = op.get("done", False)
    while not op.get("done"):
        op = c.json("POST", f"/v1/{op['name']}:wait", b"{}")
    if "error" in op:
        raise Short(f"a suggestion failed: {op['error']}")
    return op["response"]["trials"], at_once


def complete(c, trial):
    loss = sum(p.get("value", 0) ** 2 for p in trial["parameters"])
    m = {"finalMeasurement": {"metrics": [{"metricId": "loss", "value": loss}]}}
    c.call("POST", f"/v1/{trial['name']}:complete", json.dumps(m).encode())


def round_trips(server, name, clients, each):
    def work(client):
        c = server.client()
        for _ in range(each):
            trials, _ = suggest(c, name, client)
            complete(c, trials[0])

    threads = [threading.Thread(target=work, args=(f"client-{i}",)) for i in range(clients)]
    began = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return clients * each / (time.monotonic() - began)


def thinking(c, name):
    """SuggestTrials of a client that pauses between telling and asking, in ms; and how many were answered at once."""
    took, ready = [], 0
    for _ in range(ROUNDS):
        began = time.monotonic()
        trials, at_once = suggest(c, name, "me")
        took.append((time.monotonic() - began) * 1000)
        ready += at_once
        complete(c, trials[0])
        time.sleep(THINK)
    return took[1:], ready - 1


def vizier(lab, table):
    disk = 1000 / fsyncs(lab)
    s = lab.server("vizier", "--engine=fake")
    s.start()
    c = s.client()
    took, ready = thinking(c, study(c, "thinking"))
    share = f"{ready} of {len(took)} answered at once; a durable 4 KiB write alone {disk:.2f} ms; 1 trial, d = 4, Bayesian, {int(THINK * 1000)} ms between"
    table.add("SuggestTrials computed ahead, p50", median(took), "ms", "<=", 1, share)
    table.add("SuggestTrials computed ahead, p95", quantile(took, 0.95), "ms", None, None, "")
    table.add("ask and tell without a pause, 1 client, Bayesian", round_trips(s, study(c, "one"), 1, 100), "/s", None, None, "2 or 3 durable writes each")
    table.add("the same, 4 clients, one study", round_trips(s, study(c, "four"), 4, 50), "/s", None, None, "")
    table.add("the same, random search", round_trips(s, study(c, "random", algorithm="RANDOM_SEARCH"), 4, 150), "/s", None, None, "")
    large = study(c, "large", algorithm="RANDOM_SEARCH")
    while int((trials := suggest(c, large, "fill", 500)[0])[-1]["id"]) < LARGE:
        for t in trials:
            complete(c, t)
    s.stop()
    ready_after = s.start()
    c, began = s.client(), time.monotonic()
    c.call("GET", f"/v1/{large}/trials/1")
    first = (time.monotonic() - began) * 1000
    gets = []
    for i in range(100):
        began = time.monotonic()
        c.call("GET", f"/v1/{large}/trials/{i + 1}")
        gets.append((time.monotonic() - began) * 1000)
    table.add(f"first look at a study of {LARGE:,} trials after a restart", first, "ms", None, None, f"server ready after {ready_after * 1000:.0f} ms; then {median(gets):.2f} ms a GET")
    s.stop()
