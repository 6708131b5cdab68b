"""Studies that clients ask and tell: SuggestTrials at the API, round trips, a large study after a restart."""
import json
import os
import threading
import time

from lab import PARENT, Short, median, quantile

ROUNDS, THINK, LARGE = 120, 0.05, 4000
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


def split(c):
    """What the server says of the changes of studies: how many, usec until decided, usec until durable."""
    return [c.metric(f"study_change{n}_total") for n in ("s", "_decide_usec", "_commit_usec")]


def thinking(c, name, count=1, rounds=ROUNDS):
    """SuggestTrials of a client that pauses between telling and asking, each in ms: the whole call; inside the server until the trials
    were decided; from there until they were durable. And how many were done in the first answer."""
    took, decided, durable, ready = [], [], [], 0
    for i in range(rounds + 1):
        before = split(c)
        began = time.monotonic()
        trials, at_once = suggest(c, name, "me", count)
        whole = (time.monotonic() - began) * 1000
        n, d, w = (y - x for x, y in zip(before, split(c)))
        if i:
            took.append(whole)
            decided.append(d / n / 1000)
            durable.append(w / n / 1000)
            ready += at_once
        for t in trials:
            complete(c, t)
        time.sleep(THINK)
    return took, decided, durable, ready


def writes(lab):
    """4 KiB appended and made durable, in ms each: what the disk does for one writer, now."""
    fd = os.open(os.path.join(lab.dir, "fsync"), os.O_WRONLY | os.O_CREAT, 0o600)
    took = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        os.write(fd, b"x" * 4096)
        os.fdatasync(fd)
        took.append((time.monotonic() - began) * 1000)
        time.sleep(THINK)
    os.close(fd)
    return took


def computed_ahead(lab, table, c):
    took, decided, durable, ready = thinking(c, study(c, "thinking"))
    disk = writes(lab)
    table.add("suggestion computed ahead: asked to decided, p50", median(decided), "ms", "<=", 1,
              f"{median(decided) * 1000:.0f} us inside the server; {ready} of {len(took)} done in the first answer; 1 trial, d = 4, Bayesian, {int(THINK * 1000)} ms between")
    table.add("the same, p95", quantile(decided, 0.95), "ms", None, None, "")
    table.add("its trial made durable (one commit), p50", median(durable), "ms", None, None,
              f"{median(durable) / median(disk):.1f} x a 4 KiB append + fdatasync of this disk, {median(disk):.2f} ms")
    table.add("the same, p95", quantile(durable, 0.95), "ms", None, None, f"the append: {quantile(disk, 0.95):.2f} ms")
    table.add("the whole SuggestTrials call, p50", median(took), "ms", None, None, f"{median(took) / median(disk):.1f} x the append")
    table.add("the same, p95", quantile(took, 0.95), "ms", None, None, "")
    took, decided, durable, ready = thinking(c, study(c, "eight"), 8, 30)
    table.add("8 trials at once, the whole call, p50", median(took), "ms", None, None,
              f"to 240 trials; decided in {median(decided):.2f} ms, durable in {median(durable):.2f} ms (one commit); {ready} of {len(took)} done in the first answer")


def vizier(lab, table):
    s = lab.server("vizier", "--engine=fake")
    s.start()
    c = s.client()
    computed_ahead(lab, table, c)
    table.add("ask and tell without a pause, 1 client, Bayesian", round_trips(s, study(c, "one"), 1, 100), "/s", None, None, "2 durable writes each")
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
