"""Trains a classifier on the Wisconsin breast cancer data (bundled with scikit-learn).

Written as for Vertex AI: reads the sets of a managed dataset (AIP_TRAINING_DATA_URI and its
siblings) or, without one, splits --data from Cloud Storage itself; writes the model and its metrics
to AIP_MODEL_DIR, reports the accuracy through cloudml-hypertune when it is there.
"""
import argparse
import csv
import glob
import json
import os
import sys
import time

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split


def local(uri):
    """gs://bucket/x is /gcs/bucket/x inside a job."""
    return "/gcs/" + uri[len("gs://"):] if uri.startswith("gs://") else uri


def read(uri):
    """Rows of one CSV file, or of all that a wildcard URI stands for; each begins with the header."""
    rows = []
    for path in sorted(glob.glob(local(uri))):
        with open(path, newline="") as f:
            rows += list(csv.reader(f))[1:]
    if not rows:
        sys.exit(f"there are no rows in {uri}")
    x = np.array([[float(v) for v in r[:-1]] for r in rows])
    y = np.array([int(r[-1]) for r in rows])
    return x, y


def managed_sets():
    """What the service made of the dataset: it chose which row is for what."""
    sets = {name: read(os.environ[f"AIP_{name.upper()}_DATA_URI"]) for name in ("training", "validation", "test")}
    print("managed dataset: " + ", ".join(f"{len(y)} {name} rows" for name, (_, y) in sets.items()), flush=True)
    return sets["training"] + sets["test"]


def own_sets(uri):
    x, y = read(uri)
    print(f"read {len(y)} rows with {x.shape[1]} features from {uri}", flush=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=7, stratify=y)
    return x_train, y_train, x_test, y_test


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data", help="gs:// or local CSV file; not needed with a managed dataset")
    p.add_argument("--trees", type=int, default=200)
    p.add_argument("--rounds", type=int, default=5, help="training goes in rounds, so that there is something to watch")
    p.add_argument("--pause", type=float, default=0.0, help="seconds to wait between rounds")
    a = p.parse_args()

    if not a.data and "AIP_TRAINING_DATA_URI" not in os.environ:
        p.error("--data is needed where there is no managed dataset (AIP_TRAINING_DATA_URI)")
    x_train, y_train, x_test, y_test = own_sets(a.data) if a.data else managed_sets()

    model = RandomForestClassifier(warm_start=True, n_estimators=0, random_state=7)
    for i in range(1, a.rounds + 1):
        model.n_estimators = a.trees * i // a.rounds
        model.fit(x_train, y_train)
        accuracy = accuracy_score(y_test, model.predict(x_test))
        print(f"round {i}/{a.rounds}: {model.n_estimators} trees, test accuracy {accuracy:.4f}", flush=True)
        time.sleep(a.pause)

    metrics = {"accuracy": accuracy, "auc": roc_auc_score(y_test, model.predict_proba(x_test)[:, 1]),
               "train_rows": len(y_train), "test_rows": len(y_test), "trees": model.n_estimators}
    out = local(os.environ["AIP_MODEL_DIR"])
    os.makedirs(out, exist_ok=True)
    joblib.dump(model, os.path.join(out, "model.joblib"))
    with open(os.path.join(out, "metrics.json"), "w") as f:
        json.dump(metrics, f, indent=2)
    try:
        import hypertune
        hypertune.HyperTune().report_hyperparameter_tuning_metric("accuracy", accuracy, a.rounds)
    except ImportError:
        print("cloudml-hypertune is not installed; the metric is only in metrics.json", file=sys.stderr)
    print(f"model and metrics are in {os.environ['AIP_MODEL_DIR']}", flush=True)


if __name__ == "__main__":
    main()
