"""OSS Vizier's default designer (GP_UCB_PE), called as a library."""
import importlib.metadata
import logging
import os

import jax
from vizier import algorithms as vza
from vizier import pyvizier as vz
from vizier._src.algorithms.designers.gp_ucb_pe import VizierGPUCBPEBandit

import line

SCALES = {"linear": vz.ScaleType.LINEAR, "log": vz.ScaleType.LOG, "reverse_log": vz.ScaleType.REVERSE_LOG}


class Vizier:
    def __init__(self, study):
        if any("parent" in p for p in study["params"]):
            raise line.Unsupported("conditional parameters")
        problem = vz.ProblemStatement()
        root = problem.search_space.root
        for p in study["params"]:
            if p["type"] == "categorical":
                root.add_categorical_param(p["name"], p["values"])
            elif p["type"] == "discrete":
                root.add_discrete_param(p["name"], p["values"], scale_type=SCALES[p["scale"]])
            else:
                add = root.add_int_param if p["type"] == "integer" else root.add_float_param
                add(p["name"], p["lo"], p["hi"], scale_type=SCALES[p["scale"]])
        for m in study["metrics"]:
            problem.metric_information.append(vz.MetricInformation(
                m["name"], goal=vz.ObjectiveMetricGoal.MINIMIZE if m["goal"] == "minimize" else vz.ObjectiveMetricGoal.MAXIMIZE))
        self.params, self.metrics = study["params"], study["metrics"]
        self.designer = VizierGPUCBPEBandit(problem, rng=jax.random.PRNGKey(study["seed"]))
        self.running = {}
        self.ended = []

    def ask(self, trial_id):
        self.designer.update(vza.CompletedTrials(self.ended), vza.ActiveTrials(list(self.running.values())))
        self.ended = []
        trial = self.designer.suggest(1)[0].to_trial(trial_id + 1)
        self.running[trial_id] = trial
        out = {}
        for p in self.params:
            v = trial.parameters.get_value(p["name"])
            if p["type"] == "discrete":
                v = min(p["values"], key=lambda x, v=v: abs(x - v))
            out[p["name"]] = int(v) if p["type"] == "integer" else v
        return out

    def tell(self, trial_id, values):
        trial = self.running.pop(trial_id)
        if values is None:
            trial.complete(vz.Measurement(), infeasibility_reason="failed")
        else:
            trial.complete(vz.Measurement({m["name"]: v for m, v in zip(self.metrics, values)}))
        self.ended.append(trial)


# As its own service does; without it the designer answers nothing at all.
jax.config.update("jax_enable_x64", True)
# What is compiled for so many trials and parameters is kept, because compiling is most of its time.
jax.config.update("jax_compilation_cache_dir", os.path.join(os.environ.get("CUSP_HPO_DIR") or os.path.expanduser("~/.cache/cusp/hpo"), "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    line.serve(importlib.metadata.version("google-vizier"), Vizier)
