"""Tuning of real learners on data that scikit-learn brings along. Each evaluation is a
cross-validation with fixed folds and seeds, so it is the same number every time; what was computed
is kept in a file. The optimum is not known: the best that any optimiser found stands in."""
import json
import math
import os
import sqlite3
import warnings
from pathlib import Path

from problems.problem import Problem, categorical, double, integer


class Kept:
    """setting -> value, computed once. Two processes may share the file."""

    def __init__(self, name, compute):
        folder = Path(os.environ.get("CUSP_HPO_DIR", Path.home() / ".cache/cusp/hpo")) / "real"
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / f"{name}.db", timeout=60)
        self.db.execute("CREATE TABLE IF NOT EXISTS v (setting TEXT PRIMARY KEY, value REAL)")
        self.compute = compute

    def __call__(self, setting):
        key = json.dumps(setting, sort_keys=True)
        row = self.db.execute("SELECT value FROM v WHERE setting = ?", (key,)).fetchone()
        if row:
            return [row[0]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(self.compute(setting))
        with self.db:
            self.db.execute("INSERT OR IGNORE INTO v VALUES (?, ?)", (key, value))
        return [value]


def _cross(model, x, y, scoring):
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

    folds = (StratifiedKFold if scoring != "neg_mean_squared_error" else KFold)(3, shuffle=True, random_state=0)
    return -float(cross_val_score(model, x, y, cv=folds, scoring=scoring).mean())


def digits_svm():
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    data = load_digits()
    x, y = data.data[:900] / 16, data.target[:900]
    params = [double("C", 1e-3, 1e3, scale="log"), double("gamma", 1e-5, 10, scale="log"),
              double("coef0", -1, 1), categorical("kernel", ["poly", "rbf", "sigmoid"])]
    return Problem("digits-svm", "real", params, Kept("digits-svm", lambda s: 1 + _cross(SVC(**s), x, y, "accuracy")),
                   best=None, resolution=1e-4)


def cancer_xgb():
    from sklearn.datasets import load_breast_cancer
    from xgboost import XGBClassifier

    x, y = load_breast_cancer(return_X_y=True)
    params = [integer("n_estimators", 10, 120, scale="log"), integer("max_depth", 1, 8),
              double("learning_rate", 1e-3, 1, scale="log"), double("subsample", 0.3, 1),
              double("colsample_bytree", 0.2, 1), double("reg_lambda", 1e-3, 1e2, scale="log"),
              double("min_child_weight", 1e-1, 20, scale="log")]

    def loss(s):
        return _cross(XGBClassifier(n_jobs=1, random_state=0, verbosity=0, **s), x, y, "neg_log_loss")
    return Problem("cancer-xgb", "real", params, Kept("cancer-xgb", loss), best=None, resolution=1e-5)


def diabetes_kernel():
    """Kernel ridge regression: which kernel decides which parameters there are."""
    from sklearn.datasets import load_diabetes
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    params = [categorical("kernel", ["laplacian", "polynomial", "rbf"]), double("alpha", 1e-4, 1e2, scale="log"),
              double("gamma", 1e-5, 1e1, scale="log"),
              integer("degree", 1, 4, parent="kernel", when=["polynomial"]),
              double("coef0", 0, 3, parent="kernel", when=["polynomial"])]

    def loss(s):
        # Without a bound one polynomial's error would be the whole range.
        return math.log1p(min(_cross(make_pipeline(StandardScaler(), KernelRidge(**s)), x, y, "neg_mean_squared_error"), 1e3))
    return Problem("diabetes-kernel", "conditional", params, Kept("diabetes-kernel", loss), best=None, resolution=1e-5)
