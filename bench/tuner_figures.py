"""What a suggestion costs at ten parameters, beside Optuna's Gaussian process and OSS Vizier where
their environments are there (bench/hpo/setup.py). Processor time on one core; the study is each
optimiser's own, so that the history is what a real one looks like."""
import math
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "hpo"))

import peer as peers
from lab import median, quantile

D = 10
WINDOW = 24  # suggestions that a figure is taken from
# Each is asked for as many as it is worth waiting for: Vizier's cost hardly depends on the number of trials.
RIVALS = {"optuna-gp": 100, "vizier": 10}
NAMES = {"optuna-gp": "Optuna's GP", "vizier": "OSS Vizier"}
PATIENCE = 240  # seconds a rival; what it has answered by then counts
TRIALS, DRAWS = 100, 100_000  # of the comparison with random search


def rugged(x):
    """A sum of waves on a bowl: what costs cusp most, for it then keeps both parts of its model."""
    return sum(10 * math.sin(1.3 * v + i) + v * v for i, v in enumerate(x.values()))


def smooth(x):
    v = list(x.values())
    return sum((1 + i) * (a - 1 - i / 10) ** 2 for i, a in enumerate(v)) + v[0] * v[1] + v[2] * v[3]


def valley(x):
    """Rosenbrock's, its curved valley away from the middle."""
    v = [0.4 * a + 0.7 for a in x.values()]
    return sum(100 * (b - a * a) ** 2 + (a - 1) ** 2 for a, b in zip(v, v[1:]))


def cigar(x):
    """A bowl a thousand times steeper along one diagonal than across it."""
    v = [a - 1.7 + 0.3 * i for i, a in enumerate(x.values())]
    along = sum(v) / len(v)
    return 1000 * along * along + sum((a - along) ** 2 for a in v)


def bent(x):
    """Not a polynomial, and not the same in every direction."""
    v = list(x.values())
    return sum(math.log1p((a - b) ** 2) for a, b in zip(v, [2.1, -3.3, 0.4, 1.2, -0.7, 3.9, -1.1, 0.2, -2.8, 1.9])) \
        + 0.05 * (sum(v) - 2) ** 2


def play(cmd, f, trials, log, patience=math.inf, seed=3):
    """(processor seconds of each ask, of each tell, values)."""
    p = peers.Peer(cmd, log)
    asks, tells, values = [], [], []
    until = time.monotonic() + patience
    try:
        p.call({"op": "start", "seed": seed, "trials": trials, "parallel": 1, "noise": "unspecified",
                "metrics": [{"name": "m0", "goal": "minimize"}],
                "params": [{"name": f"x{i}", "type": "double", "lo": -5.0, "hi": 5.0, "scale": "linear"} for i in range(D)]})
        for i in range(trials):
            if time.monotonic() > until:
                break
            a = p.call({"op": "ask", "id": i})
            if None in a["setting"].values():
                break  # Vizier's service, when it has run out of its own time
            values.append(f(a["setting"]))
            t = p.call({"op": "tell", "id": i, "values": values[-1:]})
            asks.append(a["cpu"])
            tells.append(t["cpu"])
    finally:
        p.close()
    return asks, tells, values


def random_values(f):
    r = random.Random(1)
    names = [f"x{i}" for i in range(D)]
    return [f({n: r.uniform(-5.0, 5.0) for n in names}) for _ in range(DRAWS)]


def beside_random(cmd, table):
    """Random search needs one trial over the share of settings that are as good; the worst of three seeds counts."""
    least = {}
    for f in (smooth, valley, cigar, bent):
        drawn = random_values(f)
        best = max(min(play(cmd, f, TRIALS, "/dev/null", seed=seed)[2]) for seed in (1, 2, 3))
        least[f.__name__] = DRAWS / max(1, sum(v <= best for v in drawn)) / TRIALS
    table.add(f"tuner: trials of random search for what {TRIALS} reach, {D} parameters, smooth", min(least.values()), "x", ">=", 10,
              f"worst of three seeds: {', '.join(f'{k} {v:,.0f} x' for k, v in least.items())}; "
              f"{DRAWS // TRIALS:,} x: none of {DRAWS:,} settings is as good")


def tuner(lab, table):
    lab.made("bench/tune_drive")
    cmd, log = peers.command("cusp", lab.build), "/dev/null"
    at_100, fits_100 = [], []
    for what, f, longest in (("rugged", rugged, 1000), ("smooth", smooth, 500)):
        asks, tells, _ = play(cmd, f, longest + WINDOW // 2, log)
        for n, target in ((100, 5), (500, 30), (1000, 120)):
            if n <= longest:
                near = slice(n - WINDOW // 2, n + WINDOW // 2)
                a, t = [1e3 * x for x in asks[near]], [1e3 * x for x in tells[near]]
                table.add(f"tuner: suggestion at {n:,} trials, {what}, p95", quantile(a, 0.95), "ms", "<=", target,
                          f"p50 {median(a):.1f} ms; fits in the background {sum(t) / len(t):.1f} ms a trial")
                at_100 += a if n == 100 else []
                fits_100 += t if n == 100 else []
    beside_random(cmd, table)
    for name, trials in RIVALS.items():
        rival = peers.command(name)
        if rival is None:
            table.skip(f"tuner beside {NAMES[name]}", "not installed: bench/hpo/setup.py")
            continue
        try:
            asks, tells, _ = play(rival, rugged, trials, log, PATIENCE)
        except peers.PeerError as e:  # the other figures are worth having without it
            table.skip(f"tuner beside {NAMES[name]}", str(e))
            continue
        theirs = [1e3 * (a + t) for a, t in zip(asks, tells)][-WINDOW // 2:]
        if not theirs:
            table.skip(f"tuner beside {NAMES[name]}", f"no suggestion in {PATIENCE} s")
            continue
        table.add(f"tuner: times faster than {NAMES[name]}", median(theirs) / median(at_100), "x", ">=", 50,
                  f"{median(theirs):,.0f} ms a suggestion, its last {len(theirs)} of {len(asks)}; cusp {median(at_100):.1f} ms at 100, "
                  f"with the fit in the background {median(at_100) + sum(fits_100) / len(fits_100):.1f} ms")
