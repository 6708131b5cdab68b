"""Ax, whose default strategy is BoTorch's."""
import importlib.metadata
import logging
import warnings

import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

import line


def parameter(p, children):
    more = {"dependent_parameters": children} if children else {}
    if "values" in p:
        kind = "str" if p["type"] == "categorical" else "int" if all(isinstance(v, int) for v in p["values"]) else "float"
        return ChoiceParameterConfig(name=p["name"], values=p["values"], parameter_type=kind,
                                     is_ordered=p["type"] == "discrete", **more)
    return RangeParameterConfig(name=p["name"], bounds=(p["lo"], p["hi"]), scaling=p["scale"],
                                parameter_type="int" if p["type"] == "integer" else "float")


class Ax:
    def __init__(self, study):
        line.plain(study, several=True, conditional=True)
        torch.manual_seed(study["seed"])
        self.metrics = study["metrics"]
        self.params = study["params"]
        children = {}
        for p in self.params:
            for value in p.get("when", []):
                children.setdefault(p["parent"], {}).setdefault(value, []).append(p["name"])
        self.client = Client(random_seed=study["seed"])
        self.client.configure_experiment(name="bench", parameters=[parameter(p, children.get(p["name"])) for p in self.params])
        self.client.configure_optimization(objective=", ".join(
            ("-" if m["goal"] == "minimize" else "") + m["name"] for m in self.metrics))
        if study["parallel"] > 5:  # its first five are drawn, and nothing follows before one of them is told
            self.client.configure_generation_strategy(allow_exceeding_initialization_budget=True)
        self.index = {}

    def ask(self, trial_id):
        (index, setting), = self.client.get_next_trials(max_trials=1).items()
        self.index[trial_id] = index
        return {p["name"]: setting[p["name"]] for p in self.params
                if "parent" not in p or setting.get(p["parent"]) in p["when"]}

    def tell(self, trial_id, values):
        index = self.index.pop(trial_id)
        if values is None:
            self.client.mark_trial_failed(trial_index=index)
        else:
            self.client.complete_trial(trial_index=index, raw_data={m["name"]: v for m, v in zip(self.metrics, values)})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    line.serve(importlib.metadata.version("ax-platform"), Ax)
