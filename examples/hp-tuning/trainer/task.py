"""Learns handwritten digits (bundled with scikit-learn) with a small neural network.

Written as for Vertex AI: its settings are arguments, named as in the study; after each epoch the accuracy on rows it has
not learnt from is reported with cloudml-hypertune; the model goes to AIP_MODEL_DIR.
"""
import argparse
import os

import hypertune
import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rate", type=float, required=True, help="initial learning rate")
    p.add_argument("--alpha", type=float, required=True, help="L2 penalty")
    p.add_argument("--hidden", type=int, required=True, help="units of the hidden layer")
    p.add_argument("--batch", type=int, required=True, help="rows of a step")
    p.add_argument("--activation", choices=["relu", "tanh", "logistic"], required=True)
    p.add_argument("--epochs", type=int, default=8)
    a = p.parse_args()

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.25, random_state=7, stratify=y)
    model = MLPClassifier((a.hidden,), activation=a.activation, learning_rate_init=a.rate, alpha=a.alpha,
                          batch_size=a.batch, random_state=7)
    reporter = hypertune.HyperTune()
    for epoch in range(1, a.epochs + 1):
        model.partial_fit(x_train, y_train, classes=np.unique(y))
        accuracy = model.score(x_test, y_test)
        print(f"epoch {epoch}: accuracy {accuracy:.4f}", flush=True)
        reporter.report_hyperparameter_tuning_metric("accuracy", accuracy, epoch)

    out = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/", 1)
    os.makedirs(out, exist_ok=True)
    joblib.dump(model, os.path.join(out, "model.joblib"))


if __name__ == "__main__":
    main()
