"""Everything at once, and kill -9 at moments that nobody chose: what was answered is so after the restart.

Several clients create, change and delete jobs, objects, log entries, datasets, models, studies and trials until the server dies at a
random hit of a random fail point (or of a plain kill -9); the next server is held to every answer. One data directory
through all rounds, so that what an earlier death left behind meets the next one. Rounds: 3, with CUSP_EXTENDED=1 40. The seed is
printed; CUSP_MIXED_SEED repeats the choices (not the interleaving).
"""
import base64
import hashlib
import json
import os
import random
import threading
import time

import requests

from conftest import PARENT, fake_job, wait_until

EXTENDED = os.environ.get("CUSP_EXTENDED") == "1"
ROUNDS = 40 if EXTENDED else 3
CLIENTS = 6
# Those that this workload passes, by module; a hit number far beyond what a round reaches would not kill.
POINTS = {"store.commit.before_begin": 40, "store.commit.before_commit": 40, "store.commit.after_commit": 40,
          "blob.put.before_fsync": 25, "blob.put.before_rename": 25, "blob.put.after_rename": 25, "blob.put.before_row": 25,
          "blob.put.before_answer": 25, "blob.upload.write": 30, "blob.move.before_rename": 3, "blob.move.after_rename": 3,
          "blob.move.before_row": 3, "api.dataset.edit": 4, "api.dataset.written": 4, "data.items.before_commit": 4,
          "data.items.begin": 4, "model.upload.before_commit": 3, "model.upload.after_commit": 3, "model.change.before_commit": 3,
          "model.change.after_commit": 3, "study.save.before_commit": 10, "study.save.after_commit": 10, "errand.begun": 4,
          "errand.before_end": 4, "suggest.before_end": 4}
GONE = object()


class Facts:
    """What clients were told. A value that was asked for and not answered may be so or not: it joins `open`."""

    def __init__(self):
        self.known, self.open, self.lock = {}, {}, threading.Lock()

    def asked(self, key, value):
        with self.lock:
            self.open.setdefault(key, []).append(value)

    def told(self, key, value):
        with self.lock:
            self.known[key] = value
            self.open.pop(key, None)

    def allowed(self, key):
        return [self.known.get(key, GONE), *self.open.get(key, [])]

    def settle(self, key, value):
        """What the restarted server says is a fact from now on."""
        self.known[key] = value
        self.open.pop(key, None)


class Client:
    """One client: owns its keys, so that each has one writer at a time."""

    def __init__(self, server, facts, seed):
        self.s, self.facts, self.rng = server, facts, random.Random(seed)
        self.tag = f"c{seed}"
        self.http = requests.Session()
        self.n = 0

    def call(self, method, path, body=None, **kw):
        if body is not None and not isinstance(body, bytes):
            kw["json"] = body
        elif body is not None:
            kw["data"] = body
        r = self.http.request(method, self.s.url + path, timeout=60, **kw)
        assert r.status_code < 500, (method, path, r.status_code, r.text)
        return r

    def ok(self, method, path, body=None, **kw):
        r = self.call(method, path, body, **kw)
        assert r.status_code < 300, (method, path, r.status_code, r.text)
        return r.json() if r.content else {}

    def write(self, key, value, fn):
        self.facts.asked(key, value)
        out = fn()
        self.facts.told(key, value)
        return out

    def mine(self, kind):
        with self.facts.lock:
            return [k for k, v in self.facts.known.items() if k[0] == kind and k[1] == self.tag and v is not GONE and k not in self.facts.open]

    def done(self, op):
        while not op.get("done"):
            op = self.ok("POST", f"/v1/{op['name']}:wait", {})
        assert "error" not in op, op
        return op

    # ---- what it does

    def job(self):
        job = fake_job(run_ms=self.rng.randrange(50))
        job["displayName"] = f"{self.tag}-{self.n}"
        made = self.ok("POST", f"/v1/{PARENT}/customJobs", job)
        self.facts.told(("job", self.tag, made["name"]), job["displayName"])
        if self.rng.random() < 0.3:
            self.ok("POST", f"/v1/{made['name']}:cancel", {})

    def job_delete(self):
        for key in self.mine("job")[:1]:
            if self.ok("GET", f"/v1/{key[2]}").get("endTime"):
                op = self.write(key, GONE, lambda: self.ok("DELETE", f"/v1/{key[2]}"))
                self.facts.told(("operation", self.tag, op["name"]), True)

    def object(self):
        name = f"{self.tag}/o{self.rng.randrange(6)}"
        data = os.urandom(self.rng.choice([0, 10, 5000, 200_000]))
        url = f"/upload/storage/v1/b/mixed/o?uploadType=media&name={name.replace('/', '%2F')}"
        self.write(("object", self.tag, name), hashlib.md5(data).digest(), lambda: self.ok("POST", url, data))

    def object_end(self):
        for key in self.mine("object")[:1]:
            at = f"/storage/v1/b/mixed/o/{key[2].replace('/', '%2F')}"
            if self.rng.random() < 0.5:
                self.write(key, GONE, lambda: self.call("DELETE", at))
                return
            to = ("object", self.tag, f"{self.tag}/m{self.n}")
            self.facts.asked(key, GONE)
            self.facts.asked(to, self.facts.known[key])
            self.ok("POST", f"{at}/moveTo/o/{to[2].replace('/', '%2F')}")
            self.facts.told(to, self.facts.known[key])
            self.facts.told(key, GONE)

    def line(self):
        text = f"{self.tag}-{self.n}-{self.rng.random()}"
        self.write(("line", self.tag, text), True, lambda: self.ok("POST", "/v2/entries:write", {
            "logName": "projects/demo/logs/mixed", "resource": {"type": "global"}, "entries": [{"textPayload": text, "insertId": text}]}))

    def dataset(self):
        body = {"displayName": f"{self.tag}-{self.n}", "metadata": {},
                "metadataSchemaUri": "gs://google-cloud-aiplatform/schema/dataset/metadata/text_1.0.0.yaml"}
        made = self.done(self.ok("POST", f"/v1/{PARENT}/datasets", body))
        self.facts.told(("dataset", self.tag, made["response"]["name"]), body["displayName"])

    def dataset_change(self):
        for key in self.mine("dataset")[:1]:
            what, name = self.rng.random(), f"{self.tag}-{self.n}-renamed"
            if what < 0.4:
                self.write(key, name, lambda: self.ok("PATCH", f"/v1/{key[2]}?updateMask=displayName", {"displayName": name}))
            elif what < 0.7:
                text = f"gs://mixed/{self.tag}-{self.n}.jsonl"
                lines = "".join(json.dumps({"textContent": f"{self.tag} {self.n} {i}"}) + "\n" for i in range(20))
                self.ok("POST", f"/upload/storage/v1/b/mixed/o?uploadType=media&name={text[11:]}", lines.encode())
                items = ("items", self.tag, key[2])
                now = self.facts.known.get(items, 0) + 20
                self.write(items, now, lambda: self.done(self.ok("POST", f"/v1/{key[2]}:import", {"importConfigs": [
                    {"gcsSource": {"uris": [text]}, "importSchemaUri":
                     "gs://google-cloud-aiplatform/schema/dataset/ioformat/text_classification_single_label_io_format_1.0.0.yaml"}]})))
            else:
                self.facts.asked(("items", self.tag, key[2]), GONE)
                self.write(key, GONE, lambda: self.done(self.ok("DELETE", f"/v1/{key[2]}")))
                self.facts.told(("items", self.tag, key[2]), GONE)

    def model(self):
        body = {"model": {"displayName": f"{self.tag}-{self.n}", "containerSpec": {"imageUri": "busybox"}}}
        made = self.done(self.ok("POST", f"/v1/{PARENT}/models:upload", body))["response"]["model"]
        self.facts.told(("model", self.tag, made), body["model"]["displayName"])
        if self.rng.random() < 0.5:
            self.write(("model", self.tag, made), GONE, lambda: self.done(self.ok("DELETE", f"/v1/{made}")))

    def study(self):
        made = self.ok("POST", f"/v1/{PARENT}/studies", {"displayName": f"{self.tag}-{self.n}", "studySpec": {
            "algorithm": "RANDOM_SEARCH", "metrics": [{"metricId": "loss", "goal": "MINIMIZE"}],
            "parameters": [{"parameterId": "x", "doubleValueSpec": {"minValue": -1, "maxValue": 1}}]}})["name"]
        self.facts.told(("study", self.tag, made), f"{self.tag}-{self.n}")
        for _ in range(self.rng.randrange(4)):
            op = self.done(self.ok("POST", f"/v1/{made}/trials:suggest", {"suggestionCount": 1, "clientId": self.tag}))
            trial = op["response"]["trials"][0]
            key = ("trial", self.tag, trial["name"])
            self.facts.told(key, ("ACTIVE", None))
            loss = self.rng.random()
            self.write(key, ("SUCCEEDED", loss), lambda: self.ok("POST", f"/v1/{trial['name']}:complete", {
                "finalMeasurement": {"metrics": [{"metricId": "loss", "value": loss}]}}))

    def run(self, failed):
        deeds = [self.job, self.job, self.job_delete, self.object, self.object, self.object_end, self.line, self.dataset,
                 self.dataset_change, self.model, self.study]
        try:
            while True:
                self.n += 1
                self.rng.choice(deeds)()
        except (requests.ConnectionError, requests.Timeout):
            return
        except Exception as e:  # told to the test: a thread has nobody else to tell
            failed.append(e)


def listing(s, path, key, **params):
    out = []
    while True:
        page = s.call("GET", path, params={"pageSize": 1000, **params}).json()
        out += page.get(key, [])
        if not page.get("nextPageToken"):
            return out
        params["pageToken"] = page["nextPageToken"]


def lines_there(s):
    out, token = [], ""
    while True:
        page = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "pageSize": 1000, "pageToken": token,
                                                   "filter": 'logName="projects/demo/logs/mixed"'}).json()
        out += [e["textPayload"] for e in page.get("entries", [])]
        token = page.get("nextPageToken")
        if not token:
            return out


def what_is_there(s):
    """Everything that the clients' facts are about, as the server says it now."""
    there = {}
    for kind, path, key in (("job", "customJobs", "customJobs"), ("dataset", "datasets", "datasets"), ("model", "models", "models"),
                            ("study", "studies", "studies")):
        for r in listing(s, f"/v1/{PARENT}/{path}", key):
            there[kind, r["name"]] = r["displayName"]
    for o in listing(s, "/storage/v1/b/mixed/o", "items"):
        there["object", o["name"]] = base64.b64decode(o["md5Hash"])
    for kind, name in list(there):
        if kind == "study":
            for t in listing(s, f"/v1/{name}/trials", "trials"):
                final = t.get("finalMeasurement", {}).get("metrics")
                there["trial", t["name"]] = (t["state"], final[0]["value"] if final else None)
        if kind == "dataset":
            there["items", name] = len(listing(s, f"/v1/{name}/dataItems", "dataItems"))
    lines = lines_there(s)
    assert len(lines) == len(set(lines)), "a log entry is there twice"
    there.update({("line", t): True for t in lines})
    return there


def check(s, facts):
    # What was begun and not answered may still come to its end, and be so or not.
    wait_until(lambda: all(o.get("done") for o in listing(s, f"/v1/{PARENT}/operations", "operations")), 60, "operations to end")
    there = what_is_there(s)
    for key in {*facts.known, *facts.open}:
        kind, name = key[0], key[2]
        if kind == "operation":
            assert s.call("GET", f"/v1/{name}").json().get("done"), key
            continue
        got, allowed = there.get((kind, name), GONE), facts.allowed(key)
        if kind == "items":
            got, allowed = got or GONE, [a or GONE for a in allowed]
        assert got in allowed, f"{key}: the server has {'nothing' if got is GONE else got}, clients were told {allowed}"
        facts.settle(key, got if got is not GONE else 0 if kind == "items" else GONE)
        if kind == "object" and got is not GONE:
            data = s.call("GET", f"/storage/v1/b/mixed/o/{name.replace('/', '%2F')}?alt=media").content
            assert hashlib.md5(data).digest() == got, f"{name} is not what its checksum says"
    for name in [n for k, n in there if k == "job"]:
        wait_until(lambda n=name: s.get(n).get("endTime"), 30, f"{name} to end")


def test_what_was_answered_outlives_any_death(make_server):
    seed = int(os.environ.get("CUSP_MIXED_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"CUSP_MIXED_SEED={seed}")
    rng, facts, died = random.Random(seed), Facts(), 0
    s = make_server("--engine=fake").start()
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "mixed"}).status_code == 200
    s.stop()
    for turn in range(ROUNDS):
        point = rng.choice(sorted(POINTS))
        armed = f"{point}=abort@{rng.randint(1, POINTS[point])}"
        print(f"round {turn}: {armed}")
        s.start(env={"CUSP_FAILPOINTS": armed})
        failed = []
        threads = [threading.Thread(target=Client(s, facts, turn * CLIENTS + i).run, args=(failed,)) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        end = time.monotonic() + 2 + rng.random() * 2
        while s.proc.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        died += s.proc.poll() is not None
        s.kill9()
        for t in threads:
            t.join(60)
        assert not failed, failed[0]
        s.start()
        check(s, facts)
        s.stop()
        s.start()  # a polite end changes nothing
        check(s, facts)
        s.stop()
    assert not EXTENDED or died > ROUNDS // 3, "the fail points were hardly ever reached"
