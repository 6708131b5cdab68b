"""The model registry with many models: looks and lists through the server."""
import os
import subprocess
import time
from urllib.parse import quote

from lab import PARENT, median, quantile, wrk
from store_figures import lua

MODELS, VERSIONS = 100000, 5
PATH = f"/v1/{PARENT}/models"
SPREAD = 7919  # a prime: looks go all over the table


def fill(lab, s):
    """MODELS x VERSIONS, by the registry's own code into the database of a server that has made it."""
    s.start()
    number = s.client().json("GET", f"/v3/projects/{PARENT.split('/')[1]}")["name"].split("/")[1]
    s.stop()
    program = lab.made("bench/model_fill")
    began = time.monotonic()
    subprocess.run([program, os.path.join(s.dir, "cusp.db"), number, str(MODELS), str(VERSIONS)], check=True)
    return MODELS * VERSIONS / (time.monotonic() - began)


def timed(c, paths, check):
    """Milliseconds of each GET, one after the other over one connection."""
    out = []
    for path in paths:
        began = time.monotonic()
        page = c.json("GET", path)
        out.append((time.monotonic() - began) * 1e3)
        assert check(page), (path, page)
    return out


def models(lab, table):
    s = lab.server("models", "--engine=fake")
    rate = fill(lab, s)
    size = os.path.getsize(os.path.join(s.dir, "cusp.db")) >> 20
    s.start()
    c = s.client()
    many = f"{MODELS:,} x {VERSIONS}"
    ids = [f"m{i * SPREAD % MODELS:07d}" for i in range(400)]
    of_model = timed(c, [f"{PATH}/{i}" for i in ids], lambda m: m["versionId"] == "1")
    of_version = timed(c, [f"{PATH}/{i}@{1 + k % VERSIONS}" for k, i in enumerate(ids)], lambda m: "@" in m["name"])
    again = timed(c, [f"{PATH}/{ids[0]}"] * 200, lambda m: True)
    table.add(f"get of a model among {many}, not in memory", median(of_model), "ms", "<=", 1,
              f"p99 {quantile(of_model, 0.99):.2f} ms; in memory {median(again):.2f} ms")
    table.add(f"get of MODEL@VERSION among {many}", median(of_version), "ms", "<=", 1, f"p99 {quantile(of_version, 0.99):.2f} ms")
    lists = (("display_name", [f'display_name="model {i * SPREAD % MODELS}"' for i in range(20)], 1),
             ("model (its id)", [f"model={i}" for i in ids[:20]], 1),
             ("label, half of them", ["labels.odd=yes"] * 20, 100),
             ("label, one in a hundred", [f"labels.team=t{i}" for i in range(20)], 100),
             ("label and display_name", [f'labels.team=t{i * SPREAD % MODELS % 100} AND display_name="model {i * SPREAD % MODELS}"'
                                         for i in range(20)], 1))
    for what, filters, n in lists:
        t = timed(c, [f"{PATH}?pageSize=100&filter={quote(f)}" for f in filters], lambda p: len(p.get("models", ())) == n)
        table.add(f"list page by {what}, {n} found", median(t), "ms", "<=", 10, f"slowest {max(t):.1f} ms")
    pages, token = [], ""
    for _ in range(20):
        began = time.monotonic()
        page = c.json("GET", f"{PATH}?pageSize=100&pageToken={token}")
        pages.append((time.monotonic() - began) * 1e3)
        token = page["nextPageToken"]
    table.add("list page of 100 models, no filter", median(pages), "ms", "<=", 10, f"slowest {max(pages):.1f} ms")
    t = timed(c, [f"{PATH}/{i}:listVersions" for i in ids[:100]], lambda p: len(p["models"]) == VERSIONS)
    table.add(f"listVersions of {VERSIONS}", median(t), "ms", None, None, f"p99 {quantile(t, 0.99):.2f} ms")
    body = ('{"model": {"displayName": "x", "containerSpec": {"imageUri": "x"}}}')
    post = lua(lab, "upload.lua", 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
               f"wrk.body = [[{body}]]\n")
    table.add("uploads taken, 64 connections", wrk(s.address, 3, post, PATH + ":upload"), "/s", None, None,
              f"registry alone {rate:,.0f} versions/s; database {size:,} MiB")
    s.stop()
