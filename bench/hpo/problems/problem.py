"""What a problem is, and the parameters it is made of."""
import math

import numpy as np


def double(name, lo, hi, scale="linear", **rest):
    return {"name": name, "type": "double", "lo": lo, "hi": hi, "scale": scale, **rest}


def integer(name, lo, hi, scale="linear", **rest):
    return {"name": name, "type": "integer", "lo": lo, "hi": hi, "scale": scale, **rest}


def discrete(name, values, scale="linear", **rest):
    return {"name": name, "type": "discrete", "values": list(values), "scale": scale, **rest}


def categorical(name, values, **rest):
    return {"name": name, "type": "categorical", "values": list(values), **rest}


MINIMIZE = [{"name": "m0", "goal": "minimize"}]
TWO = MINIMIZE + [{"name": "m1", "goal": "minimize"}]


class Problem:
    """One problem with one instance. All metrics are minimised.

    true(setting)  list of numbers, without noise; None: the trial fails
    sigma          standard deviation of the noise that is added to what the optimiser is told
    best           the optimum's true value; None: unknown, the best that anybody found stands in
    resolution     regrets below this are as good as none; None: a millionth of a
                   typical random setting's regret
    reference      several objectives: the point that hypervolume counts from; `best` is then the
                   greatest hypervolume
    """

    def __init__(self, name, family, params, true, best=0.0, sigma=0.0, metrics=None, reference=None,
                 noise="unspecified", resolution=None):
        self.name, self.family, self.params, self.true = name, family, params, true
        self.best, self.sigma, self.noise = best, sigma, noise
        self.metrics = metrics or MINIMIZE
        self.reference = reference
        self.resolution = resolution

    def told(self, setting, rng):
        """What the optimiser is told: the true values, or with noise; None when the trial fails."""
        values = self.true(setting)
        return values and [v + self.sigma * rng.standard_normal() if self.sigma else v for v in values]

    def draw(self, rng):
        """A random setting, uniform on each parameter's scale."""
        out = {}
        for p in self.params:
            if "parent" in p and out.get(p["parent"]) not in p["when"]:
                continue
            if "values" in p:
                out[p["name"]] = p["values"][rng.integers(len(p["values"]))]
            elif p["type"] == "integer" and p["scale"] == "linear":
                out[p["name"]] = int(rng.integers(p["lo"], p["hi"] + 1))
            elif p["scale"] == "log":
                x = min(max(math.exp(rng.uniform(math.log(p["lo"]), math.log(p["hi"]))), p["lo"]), p["hi"])
                out[p["name"]] = round(x) if p["type"] == "integer" else x
            else:
                out[p["name"]] = rng.uniform(p["lo"], p["hi"])
        return out

    def check(self, setting):
        """Raises ValueError with the fault of a setting that is not of this problem."""
        for p in self.params:
            name = p["name"]
            active = "parent" not in p or ("parent" in p and setting.get(p["parent"]) in p["when"])
            if active != (name in setting):
                raise ValueError(f"{name}: {'missing' if active else 'given, but not active'}")
            if not active:
                continue
            v = setting[name]
            if "values" in p:
                if v not in p["values"]:
                    raise ValueError(f"{name}: {v!r} is none of {p['values']}")
            elif not isinstance(v, (int, float)) or not p["lo"] <= v <= p["hi"]:
                raise ValueError(f"{name}: {v!r} is not in [{p['lo']}, {p['hi']}]")
            elif p["type"] == "integer" and v != int(v):
                raise ValueError(f"{name}: {v!r} is not whole")
        extra = set(setting) - {p["name"] for p in self.params}
        if extra:
            raise ValueError(f"no such parameter: {sorted(extra)}")

    def typical(self, draws=400):
        """The median of what random settings give (one objective)."""
        rng = np.random.default_rng(20261121)
        values = [self.true(self.draw(rng)) for _ in range(draws)]
        return float(np.median([v[0] for v in values if v is not None]))


def hypervolume(points, reference):
    """Area that points (two metrics, minimised) dominate up to the reference."""
    area, height = 0.0, reference[1]
    for a, b in sorted(p for p in points if p[0] < reference[0] and p[1] < reference[1]):
        if b < height:
            area += (reference[0] - a) * (height - b)
            height = b
    return area
