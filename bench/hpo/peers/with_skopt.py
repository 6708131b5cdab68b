"""scikit-optimize: its Optimizer with a Gaussian process. Running trials are given the best value
so far (its own cl_min) in a copy that is then asked."""
import skopt
from skopt.space import Categorical, Integer, Real

import line


def dimension(p):
    if p["type"] == "categorical":
        return Categorical(p["values"], name=p["name"])
    prior = {"linear": "uniform", "log": "log-uniform"}[p["scale"]]
    if p["type"] == "integer":
        return Integer(p["lo"], p["hi"], prior=prior, name=p["name"])
    return Real(p["lo"], p["hi"], prior=prior, name=p["name"])


class Skopt:
    def __init__(self, study):
        line.plain(study)
        self.params = study["params"]
        self.sign = line.signs(study)[0]
        dims = [dimension(line.indexed(p) if p["type"] == "discrete" else p) for p in self.params]
        self.opt = skopt.Optimizer(dims, base_estimator="GP", random_state=study["seed"],
                                   n_initial_points=min(10, max(1, study["trials"] // 2)))
        self.seed = study["seed"]
        self.asked = 0
        self.pending = {}

    def ask(self, trial_id):
        opt = self.opt
        if self.pending:
            # A copy repeats its parent's random numbers: each is given its own.
            opt = opt.copy(random_state=self.seed * 100003 + self.asked)
            lie = min(self.opt.yi) if self.opt.yi else 0.0
            opt.tell(list(self.pending.values()), [lie] * len(self.pending))
        self.asked += 1
        x = self.pending[trial_id] = opt.ask()
        return {p["name"]: p["values"][int(v)] if p["type"] == "discrete" else v
                for p, v in zip(self.params, x)}

    def tell(self, trial_id, values):
        x = self.pending.pop(trial_id)
        y = max(self.opt.yi, default=0.0) if values is None else self.sign * values[0]
        self.opt.tell(x, y)


if __name__ == "__main__":
    line.serve(skopt.__version__, Skopt)
