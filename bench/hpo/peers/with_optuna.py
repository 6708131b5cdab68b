"""Optuna: with_optuna.py tpe|gp|cmaes. Defaults of each sampler."""
import sys

import optuna

import line


class Optuna:
    def __init__(self, kind, study):
        line.plain(study, several=kind != "cmaes", conditional=True)
        seed = study["seed"]
        sampler = {"tpe": lambda: optuna.samplers.TPESampler(seed=seed),
                   "gp": lambda: optuna.samplers.GPSampler(seed=seed),
                   "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed)}[kind]()
        self.params = study["params"]
        self.study = optuna.create_study(directions=[m["goal"] for m in study["metrics"]], sampler=sampler)
        self.trials = {}

    @staticmethod
    def suggest(trial, p):
        if p["type"] == "categorical":
            return trial.suggest_categorical(p["name"], p["values"])
        if p["type"] == "discrete":
            return p["values"][trial.suggest_int(p["name"], 0, len(p["values"]) - 1)]
        call = trial.suggest_int if p["type"] == "integer" else trial.suggest_float
        return call(p["name"], p["lo"], p["hi"], log=p["scale"] == "log")

    def ask(self, trial_id):
        trial = self.trials[trial_id] = self.study.ask()
        out = {}
        for p in self.params:
            if "parent" not in p or out.get(p["parent"]) in p["when"]:
                out[p["name"]] = self.suggest(trial, p)
        return out

    def tell(self, trial_id, values):
        trial = self.trials.pop(trial_id)
        if values is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(trial, values)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    line.serve(optuna.__version__, lambda study: Optuna(sys.argv[1], study))
