"""One optimiser on one problem with one seed."""
import heapq

import numpy as np

from peer import Kept, PeerError


class Slow(Exception):
    """More processor time a suggestion than the run allows."""


def durations(seed, budget):
    """How long each trial takes, for runs in parallel: the same for every optimiser."""
    return np.random.default_rng([seed, 77]).lognormal(0.0, 0.5, budget)


def _play(peer, problem, seed, budget, parallel, cap, trials):
    lasts = durations(seed, budget)
    running, asked = [], 0
    now = 0.0
    while len(trials) < budget:
        while len(running) < parallel and asked < budget:
            answer = peer.call({"op": "ask", "id": asked})
            if "exhausted" in answer:
                budget = asked
                break
            problem.check(answer["setting"])
            heapq.heappush(running, (now + lasts[asked], asked, {
                "setting": answer["setting"], "ask_cpu": answer["cpu"], "ask_wall": answer["wall"], "pending": len(running)}))
            asked += 1
        if not running:
            return
        now, i, trial = heapq.heappop(running)
        # The noise is the trial's, whoever asked for it and whenever it ended.
        told = problem.told(trial["setting"], np.random.default_rng([seed, i, 99]))
        answer = peer.call({"op": "tell", "id": i, **({"failed": True} if told is None else {"values": told})})
        trials.append({**trial, "told": told, "true": problem.true(trial["setting"]), "tell_cpu": answer["cpu"],
                       "tell_wall": answer["wall"], "ended": float(now)})
        # The first suggestions compile and load: they may cost what they like.
        spent = sum(t["ask_cpu"] + t["tell_cpu"] for t in trials[3:])
        if len(trials) > 8 and spent / (len(trials) - 3) > cap:
            raise Slow(f"{spent / (len(trials) - 3):.1f} s of processor time a suggestion at {len(trials)} trials")


def episode(name, version, cmd, entry, seed, cap, log, kept=None):
    """Returns a trace (trace.py). cap: seconds of processor time a suggestion, on average. kept: processes
    to take one from (peer.Kept); None: a process for this run alone."""
    problem = entry.make(seed)
    trace = {"peer": name, "version": version, "problem": entry.name, "family": entry.family, "seed": seed,
             "budget": entry.budget, "parallel": entry.parallel, "status": "done", "why": "", "trials": []}
    kept = kept or Kept()
    peer = kept.take(cmd, log)
    trace["place"] = peer.runs
    try:
        answer = peer.call({"op": "start", "seed": seed, "trials": entry.budget, "parallel": entry.parallel,
                            "noise": problem.noise, "metrics": problem.metrics, "params": problem.params})
        if "unsupported" in answer:
            trace.update(status="unsupported", why=answer["unsupported"])
            return trace
        trace["start_cpu"] = answer["cpu"]
        _play(peer, problem, seed, entry.budget, entry.parallel, cap, trace["trials"])
    except Slow as e:
        trace.update(status="slow", why=str(e))
    except (PeerError, ValueError) as e:
        trace.update(status="error", why=str(e)[:300])
    finally:
        kept.put(peer, trace["status"] in ("done", "unsupported"))
    return trace
