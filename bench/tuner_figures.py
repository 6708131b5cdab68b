"""What a suggestion costs at ten parameters, beside Optuna's Gaussian process and OSS Vizier where
their environments are there (bench/hpo/setup.py). Processor time on one core; the study is each
optimiser's own, so that the history is what a real one looks like."""
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "hpo"))

import peer as peers
from lab import median, quantile

D = 10
WINDOW = 24  # suggestions that a figure is taken from
# Each asks for as many as it is worth waiting for: Vizier's cost hardly depends on the number of trials.
RIVALS = {"optuna-gp": 100, "vizier": 12}
NAMES = {"optuna-gp": "Optuna's GP", "vizier": "OSS Vizier"}


def rugged(x):
    """A sum of waves on a bowl: what costs cusp most, for it then keeps both parts of its model."""
    return sum(10 * math.sin(1.3 * v + i) + v * v for i, v in enumerate(x.values()))


def smooth(x):
    v = list(x.values())
    return sum((1 + i) * (a - 1 - i / 10) ** 2 for i, a in enumerate(v)) + v[0] * v[1] + v[2] * v[3]


def play(cmd, f, trials, log):
    """(processor seconds of each ask, of each tell)."""
    p = peers.Peer(cmd, log)
    asks, tells = [], []
    try:
        p.call({"op": "start", "seed": 3, "trials": trials, "parallel": 1, "noise": "unspecified",
                "metrics": [{"name": "m0", "goal": "minimize"}],
                "params": [{"name": f"x{i}", "type": "double", "lo": -5.0, "hi": 5.0, "scale": "linear"} for i in range(D)]})
        for i in range(trials):
            a = p.call({"op": "ask", "id": i})
            t = p.call({"op": "tell", "id": i, "values": [f(a["setting"])]})
            asks.append(a["cpu"])
            tells.append(t["cpu"])
    finally:
        p.close()
    return asks, tells


def tuner(lab, table):
    lab.made("bench/tune_drive")
    cmd, log = peers.command("cusp", lab.build), "/dev/null"
    at_100 = []
    for what, f, longest in (("rugged", rugged, 1000), ("smooth", smooth, 500)):
        asks, tells = play(cmd, f, longest + WINDOW // 2, log)
        for n, target in ((100, 5), (500, 30), (1000, 120)):
            if n <= longest:
                near = slice(n - WINDOW // 2, n + WINDOW // 2)
                a, t = [1e3 * x for x in asks[near]], [1e3 * x for x in tells[near]]
                table.add(f"tuner: suggestion at {n:,} trials, {what}, p95", quantile(a, 0.95), "ms", "<=", target,
                          f"p50 {median(a):.1f} ms; fits in the background {sum(t) / len(t):.1f} ms a trial")
                at_100 += a if n == 100 else []
    for name, trials in RIVALS.items():
        rival = peers.command(name)
        if rival is None:
            table.skip(f"tuner beside {NAMES[name]}", "not installed: bench/hpo/setup.py")
            continue
        try:
            asks, tells = play(rival, rugged, trials, log)
        except peers.PeerError as e:  # the other figures are worth having without it
            table.skip(f"tuner beside {NAMES[name]}", str(e))
            continue
        theirs = [1e3 * (a + t) for a, t in zip(asks, tells)][trials // 2:]
        table.add(f"tuner: times faster than {NAMES[name]}", median(theirs) / median(at_100), "x", ">=", 50,
                  f"{median(theirs):,.0f} ms a suggestion up to {trials} trials; cusp {median(at_100):.1f} ms at 100")
