"""Trains a classifier on the Wisconsin breast cancer data (bundled with scikit-learn).

Written as for Vertex AI: reads --data from Cloud Storage, writes the model and its metrics to
AIP_MODEL_DIR, reports the accuracy through cloudml-hypertune when it is there.
"""
import argparse
import csv
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
    with open(local(uri), newline="") as f:
        rows = list(csv.reader(f))
    x = np.array([[float(v) for v in r[:-1]] for r in rows[1:]])
    y = np.array([int(r[-1]) for r in rows[1:]])
    return x, y


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data", required=True)
    p.add_argument("--trees", type=int, default=200)
    p.add_argument("--rounds", type=int, default=5, help="training goes in rounds, so that there is something to watch")
    p.add_argument("--pause", type=float, default=0.0, help="seconds to wait between rounds")
    a = p.parse_args()

    x, y = read(a.data)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=7, stratify=y)
    print(f"read {len(y)} rows with {x.shape[1]} features from {a.data}", flush=True)

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
