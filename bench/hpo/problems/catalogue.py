"""The problems of the comparison, in the order in which they are worth running."""
from problems import real, shapes, tables
from problems.bbob import FUNCTIONS, bbob
from problems.variants import mixed, noisy


class Entry:
    """name; budget in trials; parallel: how many run at once; make(seed) -> Problem. A seed is an
    instance too, so that no optimum's place is met twice. lead: as the first rounds run it."""

    def __init__(self, name, family, budget, make, parallel=1, lead=True):
        self.name, self.family, self.budget, self.make = name, family, budget, make
        self.parallel, self.lead = parallel, lead


def _bbob(number, d, budget, lead):
    return Entry(f"f{number}-d{d}", "bbob", budget, lambda seed: bbob(number, d, seed + 1), lead=lead)


def _parallel(number, d, budget, parallel):
    return Entry(f"f{number}-d{d}-p{parallel}", "parallel", budget, lambda seed: bbob(number, d, seed + 1), parallel=parallel)


def entries():
    by_family = [
        [_bbob(n, 5, 50, True) for n in (8, 15, 1, 21, 6, 10, 13, 20, 2, 3, 17)],
        [Entry(name, "tables", 50, lambda _seed, name=name: tables.Table(name))
         for name in ("protein_structure", "credit_g", "cifar10", "slice_localization", "australian", "car", "kc1")],
        [Entry(f"f{n}-d5-mixed", "mixed", 50, lambda seed, n=n: mixed(n, 5, seed + 1)) for n in (8, 15, 1)],
        [Entry(f"f{n}-d5-noisy", "noisy", 50, lambda seed, n=n: noisy(n, 5, seed + 1)) for n in (8, 1, 21)],
        [Entry("cancer-xgb", "real", 40, lambda _seed: real.cancer_xgb()),
         Entry("digits-svm", "real", 40, lambda _seed: real.digits_svm())],
        [Entry("branches", "conditional", 50, lambda seed: shapes.branches(seed + 1)),
         Entry("diabetes-kernel", "conditional", 50, lambda _seed: real.diabetes_kernel())],
        [_parallel(8, 5, 64, 4), _parallel(21, 5, 64, 16), _parallel(15, 5, 64, 4), _parallel(1, 5, 64, 16)],
        [Entry("two-bowls-d4", "two objectives", 40, lambda seed: shapes.two_bowls(4, seed + 1)),
         Entry("dented-d4", "two objectives", 40, lambda seed: shapes.dented(4, seed + 1))],
    ]
    out = []
    while any(by_family):  # one of each family in turn
        out += [f.pop(0) for f in by_family if f]
    return out + [_bbob(n, 10, 60, False) for n in FUNCTIONS]
