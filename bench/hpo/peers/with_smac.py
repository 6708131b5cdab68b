"""SMAC3: its black-box facade (Gaussian process) for numeric spaces with one objective, its
hyperparameter facade (random forest) for the rest, as its manual advises."""
import importlib.metadata
import tempfile
from pathlib import Path

import ConfigSpace as cs
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.runhistory import StatusType, TrialValue

import line


def hyperparameter(p):
    if p["type"] == "categorical":
        return cs.CategoricalHyperparameter(p["name"], p["values"])
    if p["type"] == "discrete":
        return cs.OrdinalHyperparameter(p["name"], p["values"])
    make = cs.UniformIntegerHyperparameter if p["type"] == "integer" else cs.UniformFloatHyperparameter
    return make(p["name"], p["lo"], p["hi"], log=p["scale"] == "log")


class Smac:
    def __init__(self, study):
        line.plain(study, several=True, conditional=True)
        self.sign = line.signs(study)
        space = cs.ConfigurationSpace(seed=study["seed"])
        made = {}
        for p in study["params"]:
            made[p["name"]] = hyperparameter(p)
            space.add(made[p["name"]])
        for p in study["params"]:
            if "parent" in p:
                space.add(cs.InCondition(made[p["name"]], made[p["parent"]], p["when"]))
        names = [m["name"] for m in study["metrics"]]
        self.folder = tempfile.TemporaryDirectory(prefix="hpo-smac-")
        scenario = Scenario(space, objectives=names if len(names) > 1 else names[0], deterministic=True,
                            n_trials=study["trials"], seed=study["seed"], output_directory=Path(self.folder.name))
        numeric = all(p["type"] in ("double", "integer") and "parent" not in p for p in study["params"])
        facade = BlackBoxFacade if numeric and len(names) == 1 else HyperparameterOptimizationFacade
        more = {"multi_objective_algorithm": facade.get_multi_objective_algorithm(scenario)} if len(names) > 1 else {}
        self.smac = facade(scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=False, **more)
        self.trials = {}

    def ask(self, trial_id):
        info = self.trials[trial_id] = self.smac.ask()
        return {k: str(v) if type(v).__name__ == "str_" else v for k, v in dict(info.config).items()}

    def tell(self, trial_id, values):
        info = self.trials.pop(trial_id)
        if values is None:
            self.smac.tell(info, TrialValue(cost=[1e9] * len(self.sign) if len(self.sign) > 1 else 1e9,
                                            status=StatusType.CRASHED))
            return
        cost = [s * v for s, v in zip(self.sign, values)]
        self.smac.tell(info, TrialValue(cost=cost if len(cost) > 1 else cost[0]))


if __name__ == "__main__":
    line.serve(importlib.metadata.version("smac"), Smac)
