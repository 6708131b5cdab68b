"""Eleven functions of the BBOB suite (N. Hansen, S. Finck, R. Ros, A. Auger: Real-parameter
black-box optimization benchmarking 2009, noiseless functions definitions, INRIA RR-6829), with the
suite's own instances: its random numbers, optima and rotations. test_oracle.py compares them with
an independent implementation."""
import math

import numpy as np

from problems.problem import Problem, double

FUNCTIONS = (1, 2, 3, 6, 8, 10, 13, 15, 17, 20, 21)


def uniform(n, seed):
    """The suite's generator: minimal standard (Park and Miller) with a shuffle of 32."""
    state = max(1, abs(int(seed)))

    def step(s):
        s = 16807 * (s % 127773) - 2836 * (s // 127773)
        return s + 2147483647 if s < 0 else s

    table = [0] * 32
    for i in range(39, -1, -1):
        state = step(state)
        if i < 32:
            table[i] = state
    out, last = np.empty(n), table[0]
    for i in range(n):
        state = step(state)
        k = last // 67108865
        last, table[k] = table[k], state
        out[i] = last / 2.147483647e9 or 1e-99
    return out


def gauss(n, seed):
    u = uniform(2 * n, seed)
    g = np.sqrt(-2 * np.log(u[:n])) * np.cos(2 * math.pi * u[n:])
    g[g == 0] = 1e-99
    return g


def rotation(seed, d):
    """Gram-Schmidt of a normal matrix, column after column."""
    b = gauss(d * d, seed).reshape(d, d).T.copy()
    for i in range(d):
        for j in range(i):
            b[:, i] -= (b[:, i] @ b[:, j]) * b[:, j]
        b[:, i] /= math.sqrt(b[:, i] @ b[:, i])
    return b


def optimum(seed, d):
    x = 8 * np.floor(1e4 * uniform(d, seed)) / 1e4 - 4
    x[x == 0] = -1e-5
    return x


def level(seed):
    """The optimum's value: Cauchy, two digits, within a thousand."""
    ratio = 100 * 100 * gauss(1, seed)[0] / gauss(1, seed + 1)[0]
    return float(min(1000, max(-1000, math.floor(ratio + 0.5) / 100)))


def wiggle(x):
    """T_osz: keeps order and scale, breaks smoothness."""
    x = np.asarray(x, dtype=float)
    mag = np.log(np.abs(x), out=np.zeros_like(x), where=x != 0)
    c1, c2 = np.where(x > 0, 10, 5.5), np.where(x > 0, 7.9, 3.1)
    return np.sign(x) * np.exp(mag + 0.049 * (np.sin(c1 * mag) + np.sin(c2 * mag))) * (x != 0)


def skew(x, beta):
    """T_asy: breaks symmetry where x > 0."""
    d = len(x)
    up = np.maximum(x, 0)
    return np.where(x > 0, up ** (1 + beta * np.arange(d) / (d - 1) * np.sqrt(up)), x)


def stretch(condition, d):
    """Diagonal of Lambda."""
    return condition ** (0.5 * np.arange(d) / (d - 1))


def outside(x):
    return float(np.sum(np.maximum(0, np.abs(x) - 5) ** 2))


def _rastrigin(z):
    return 10 * (len(z) - np.sum(np.cos(2 * math.pi * z))) + z @ z


def _gallagher(seed, d, peaks=101):
    turn = rotation(seed, d)
    order = np.argsort(uniform(peaks - 1, seed), kind="stable")
    condition = np.concatenate([[math.sqrt(1000)], 1000 ** (order / (peaks - 2))])
    height = np.concatenate([[10], 1.1 + 8 * np.arange(peaks - 1) / (peaks - 2)])
    scales = np.array([condition[i] ** (np.argsort(uniform(d, seed + 1000 * i), kind="stable") / (d - 1) - 0.5)
                       for i in range(peaks)])
    centres = 10 * uniform(d * peaks, seed).reshape(peaks, d) - 5
    centres[0] *= 0.8
    local = centres @ turn.T

    def f(x):
        gap = local - turn @ x
        top = np.max(height * np.exp(-0.5 / d * np.sum(scales * gap * gap, axis=1)))
        return float(wiggle(10 - top)) ** 2 + outside(x)
    return f, centres[0]


def function(number, instance, d):
    """(f, xopt, fopt): f(x) for x in [-5,5]^d, d >= 2."""
    seed = number + 10000 * instance
    xopt, fopt = optimum(seed, d), level(seed)

    def turned():
        return rotation(seed + 1000000, d), rotation(seed, d)

    if number == 1:
        def f(x):
            return (x - xopt) @ (x - xopt)
    elif number == 2:
        weights = stretch(1e12, d)

        def f(x):
            return weights @ wiggle(x - xopt) ** 2
    elif number == 3:
        diagonal = stretch(10, d)

        def f(x):
            return _rastrigin(diagonal * skew(wiggle(x - xopt), 0.2))
    elif number == 6:
        one, two = turned()
        m = one @ np.diag(stretch(10, d)) @ two

        def f(x):
            z = m @ (x - xopt)
            z = np.where(z * xopt > 0, 100 * z, z)
            return float(wiggle(z @ z)) ** 0.9
    elif number == 8:
        xopt = 0.75 * xopt
        factor = max(1.0, math.sqrt(d) / 8)

        def f(x):
            z = factor * (x - xopt) + 1
            return np.sum(100 * (z[:-1] ** 2 - z[1:]) ** 2 + (z[:-1] - 1) ** 2)
    elif number == 10:
        one, weights = rotation(seed + 1000000, d), stretch(1e12, d)

        def f(x):
            return weights @ wiggle(one @ (x - xopt)) ** 2
    elif number == 13:
        one, two = turned()
        m = one @ np.diag(stretch(10, d)) @ two

        def f(x):
            z = m @ (x - xopt)
            return z[0] ** 2 + 100 * math.sqrt(z[1:] @ z[1:])
    elif number == 15:
        one, two = turned()
        m = one @ np.diag(stretch(10, d)) @ two

        def f(x):
            return _rastrigin(m @ skew(wiggle(one @ (x - xopt)), 0.2))
    elif number == 17:
        one, two = turned()
        m = np.diag(stretch(10, d)) @ two

        def f(x):
            z = m @ skew(one @ (x - xopt), 0.5)
            s = np.sqrt(z[:-1] ** 2 + z[1:] ** 2)
            return np.mean(np.sqrt(s) * (1 + np.sin(50 * s ** 0.2) ** 2)) ** 2 + 10 * outside(x)
    elif number == 20:
        xopt = 0.5 * 4.2096874633 * np.where(uniform(d, seed) < 0.5, -1, 1)
        peak, diagonal = 2 * np.abs(xopt), stretch(10, d)

        def f(x):
            h = 2 * np.sign(xopt) * x
            z = h.copy()
            z[1:] += 0.25 * (h[:-1] - peak[:-1])
            z = 100 * (diagonal * (z - peak) + peak)
            return (4.189828872724339 - np.sum(z * np.sin(np.sqrt(np.abs(z)))) / (100 * d)
                    + 100 * outside(z / 100))
    elif number == 21:
        f, xopt = _gallagher(seed, d)
    else:
        raise ValueError(f"f{number} is not here")
    return (lambda x: float(f(np.asarray(x, dtype=float))) + fopt), xopt, fopt


def bbob(number, d, instance):
    f, _, fopt = function(number, instance, d)
    names = [f"x{i}" for i in range(d)]
    return Problem(f"f{number}-d{d}", "bbob", [double(n, -5.0, 5.0) for n in names],
                   lambda s: [f([s[n] for n in names])], best=fopt)
