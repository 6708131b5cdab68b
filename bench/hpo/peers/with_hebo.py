"""HEBO. It takes no note of running trials; several objectives are not part of its ask and tell."""
import importlib.metadata

import numpy as np
import pandas as pd
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO

import line


def variable(p):
    if p["type"] == "categorical":
        return {"name": p["name"], "type": "cat", "categories": p["values"]}
    if p["type"] == "integer" and p["scale"] == "linear":
        return {"name": p["name"], "type": "int", "lb": p["lo"], "ub": p["hi"]}
    kind = {"double": {"linear": "num", "log": "pow"}, "integer": {"log": "pow_int"}}[p["type"]][p["scale"]]
    return {"name": p["name"], "type": kind, "lb": p["lo"], "ub": p["hi"]}


class Hebo:
    def __init__(self, study):
        line.plain(study)
        np.random.seed(study["seed"])
        torch.manual_seed(study["seed"])
        self.params = study["params"]
        self.sign = line.signs(study)[0]
        space = DesignSpace().parse([variable(line.indexed(p) if p["type"] == "discrete" else p) for p in self.params])
        self.opt = HEBO(space, scramble_seed=study["seed"])
        self.asked = {}

    def ask(self, trial_id):
        rec = self.asked[trial_id] = self.opt.suggest(n_suggestions=1)
        out = {}
        for p in self.params:
            v = rec[p["name"]].iloc[0]
            if p["type"] == "discrete":
                v = p["values"][int(v)]
            elif p["type"] == "integer":
                v = int(v)
            elif p["type"] == "double":
                v = min(max(float(v), p["lo"]), p["hi"])
            out[p["name"]] = v
        return out

    def tell(self, trial_id, values):
        y = np.nan if values is None else self.sign * values[0]  # it drops what is not finite
        self.opt.observe(self.asked.pop(trial_id), np.array([[y]]))


if __name__ == "__main__":
    pd.options.mode.chained_assignment = None
    torch.set_num_threads(1)
    line.serve(importlib.metadata.version("HEBO"), Hebo)
