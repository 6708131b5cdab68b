"""The peers' side of the line protocol (README.md beside this folder). Standard library only: it
runs in every peer's own environment."""
import json
import os
import resource
import sys
import time


class Unsupported(Exception):
    """What the peer lacks for this problem, in a few words."""


def indexed(param):
    """A numeric table of values as the whole numbers 0..n-1: for optimisers without such a type."""
    return {"name": param["name"], "type": "integer", "lo": 0, "hi": len(param["values"]) - 1, "scale": "linear"}


def plain(study, several=False, conditional=False):
    """Refuses what the caller's optimiser lacks."""
    if not several and len(study["metrics"]) > 1:
        raise Unsupported("several objectives")
    if not conditional and any("parent" in p for p in study["params"]):
        raise Unsupported("conditional parameters")
    if any(p.get("scale") == "reverse_log" for p in study["params"]):
        raise Unsupported("reverse log scale")


def signs(study):
    """What turns each metric into one to minimise."""
    return [1.0 if m["goal"] == "minimize" else -1.0 for m in study["metrics"]]


def _spent():
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _number(v):
    """numpy's scalars as Python's."""
    return v.item() if hasattr(v, "item") else v


def serve(version, make):
    """Answers until the end of input. make(study) returns an object with ask(id) -> {name: value}
    of the active parameters or None when there are no more, and tell(id, values or None)."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not become an answer
    peer = None
    for line in sys.stdin:
        msg = json.loads(line)
        cpu, wall = _spent(), time.perf_counter()
        try:
            if msg["op"] == "start":
                peer = make(msg)
                answer = {"ok": True, "version": version}
            elif msg["op"] == "ask":
                setting = peer.ask(msg["id"])
                answer = {"exhausted": True} if setting is None else {"setting": {k: _number(v) for k, v in setting.items()}}
            else:
                peer.tell(msg["id"], None if msg.get("failed") else msg["values"])
                answer = {}
        except Unsupported as e:
            answer = {"unsupported": str(e)}
        except Exception as e:  # whatever a library throws ends this run, with its words
            import traceback
            traceback.print_exc()
            answer = {"error": f"{type(e).__name__}: {e}"[:500]}
        answer["cpu"], answer["wall"] = round(_spent() - cpu, 6), round(time.perf_counter() - wall, 6)
        out.write(json.dumps(answer) + "\n")
        out.flush()
