"""Spaces that tuning has and test suites lack: branches, and two objectives."""
import math

import numpy as np

from problems.bbob import function
from problems.problem import TWO, Problem, categorical, double, hypervolume, integer


def _bowl(gaps, power=2.0):
    return sum(abs(g) ** power for g in gaps)


def branches(instance):
    """A choice of learner, each with its own parameters, one of them with a second choice below.
    The best learner is the one whose basin is narrowest; the optimum is known."""
    rng = np.random.default_rng(7000 + instance)
    at = rng.uniform(0.2, 0.8, 8)
    params = [
        categorical("learner", ["linear", "forest", "net"]),
        double("alpha", 1e-6, 1.0, scale="log", parent="learner", when=["linear"]),
        integer("trees", 10, 500, scale="log", parent="learner", when=["forest"]),
        integer("depth", 1, 20, parent="learner", when=["forest"]),
        double("rate", 1e-5, 1.0, scale="log", parent="learner", when=["net"]),
        categorical("optimizer", ["sgd", "adam"], parent="learner", when=["net"]),
        double("momentum", 0.0, 0.99, parent="optimizer", when=["sgd"]),
        double("decay", 1e-6, 1e-1, scale="log", parent="learner", when=["net"]),
        double("subsample", 0.2, 1.0),
    ]

    def log01(x, lo, hi):
        return math.log(x / lo) / math.log(hi / lo)

    def true(s):
        shared = 0.5 * (s["subsample"] - 0.2 - 0.8 * at[0]) ** 2
        if s["learner"] == "linear":
            return [0.30 + shared + 0.3 * _bowl([log01(s["alpha"], 1e-6, 1.0) - at[1]])]
        if s["learner"] == "forest":
            return [0.15 + shared + _bowl([log01(s["trees"], 10, 500) - at[2], (s["depth"] - 1) / 19 - at[3]]) * 0.8]
        gaps = [log01(s["rate"], 1e-5, 1.0) - at[4], log01(s["decay"], 1e-6, 1e-1) - at[5]]
        if s["optimizer"] == "adam":
            return [0.05 + shared + 4 * _bowl(gaps)]
        # Rate and momentum trade for each other along a curved valley.
        m = s["momentum"] / 0.99
        return [shared + 4 * _bowl([gaps[0] + 0.5 * (m - at[6]) ** 2, gaps[1]]) + 0.5 * (m - at[6]) ** 2]
    return Problem("branches", "conditional", params, true, best=0.0)


def _front_area(f0, f1, reference, draws=200001):
    t = np.linspace(0, 1, draws)
    return hypervolume(list(zip(f0(t).tolist(), f1(t).tolist())), reference)


def two_bowls(d, instance):
    """Distances to two points: the front is the line between them."""
    _, a, _ = function(1, instance, d)
    _, b, _ = function(1, instance + 50, d)
    names = [f"x{i}" for i in range(d)]
    far = float((a - b) @ (a - b))
    reference = [far, far]

    def true(s):
        x = np.array([s[n] for n in names])
        return [float((x - a) @ (x - a)), float((x - b) @ (x - b))]
    best = _front_area(lambda t: far * t ** 2, lambda t: far * (1 - t) ** 2, reference)
    return Problem(f"two-bowls-d{d}", "two objectives", [double(n, -5.0, 5.0) for n in names], true,
                   best=best, metrics=TWO, reference=reference)


def dented(d, instance):
    """ZDT2 of Zitzler, Deb and Thiele with its optimum moved inside: a front that is not convex."""
    at = np.random.default_rng(8000 + instance).uniform(0.1, 0.9, d - 1)
    names = [f"x{i}" for i in range(d)]
    reference = [1.1, 4.0]

    def true(s):
        f0 = s["x0"]
        g = 1 + 9 * float(np.mean(np.abs(np.array([s[n] for n in names[1:]]) - at)))
        return [f0, g * (1 - (f0 / g) ** 2)]
    best = _front_area(lambda t: t, lambda t: 1 - t ** 2, reference)
    return Problem(f"dented-d{d}", "two objectives", [double(n, 0.0, 1.0) for n in names], true,
                   best=best, metrics=TWO, reference=reference)
