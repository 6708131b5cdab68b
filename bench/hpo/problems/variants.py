"""The BBOB functions made harder: noise, and coordinates that are whole numbers or categories."""
import numpy as np

from problems.bbob import function
from problems.problem import Problem, categorical, discrete, double, integer


def noisy(number, d, instance, share=0.05):
    """Normal noise, its deviation a share of what a random setting is away from the optimum."""
    f, _, fopt = function(number, instance, d)
    names = [f"x{i}" for i in range(d)]
    p = Problem(f"f{number}-d{d}-noisy", "noisy", [double(n, -5.0, 5.0) for n in names],
                lambda s: [f([s[n] for n in names])], best=fopt, noise="high")
    p.sigma = share * (p.typical() - fopt)
    p.resolution = p.sigma / 100
    return p


def steps(optimum, count):
    """count coordinates within [-5,5], evenly apart, one of them the optimum."""
    gap = 10 / count
    first = optimum - gap * np.floor((optimum + 5) / gap)
    return [float(first + gap * k) for k in range(count)]


def mixed(number, d, instance):
    """Of d coordinates every fifth is whole (8 steps), the next discrete (6 uneven names of steps),
    the next a category (5 steps in an order that is not told); the rest are real. The optimum
    stays, because each table of steps contains it."""
    f, xopt, fopt = function(number, instance, d)
    rng = np.random.default_rng(1000 * number + instance)
    params, tables = [], {}
    for i in range(d):
        name = f"x{i}"
        if i % 5 == 0:
            params.append(integer(name, 1, 8))
            tables[name] = dict(zip(range(1, 9), steps(xopt[i], 8)))
        elif i % 5 == 1:
            values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
            params.append(discrete(name, values, scale="log"))
            tables[name] = dict(zip(values, steps(xopt[i], 6)))
        elif i % 5 == 2:
            values = ["a", "b", "c", "d", "e"]
            params.append(categorical(name, values))
            tables[name] = dict(zip(values, rng.permutation(steps(xopt[i], 5)).tolist()))
        else:
            params.append(double(name, -5.0, 5.0))

    def true(s):
        return [f([tables[p["name"]][s[p["name"]]] if p["name"] in tables else s[p["name"]] for p in params])]
    return Problem(f"f{number}-d{d}-mixed", "mixed", params, true, best=fopt)
