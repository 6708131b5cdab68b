"""Takes the figures and prints them. tools/bench BUILD [--format=json] [NAME ...]"""
import argparse
import sys

from blob_figures import transfer
from call_figures import grpc, rest
from dataset_figures import datasets
from drain_figures import drain
from export_figures import exports
from image_figures import images
from log_figures import logs
from model_figures import models
from object_figures import objects
from gcs_figures import gcs
from lab import Lab, Short
from pipeline_figures import pipeline
from sdk_figures import sdk
from start_figures import start
from store_figures import cli, creates, many
from table import Table
from vizier_figures import vizier
from trial_figures import trials
from tuner_figures import tuner
from warm_figures import warm
from wire_figures import wire

FIGURES = {"start": start, "creates": creates, "many": many, "drain": drain, "transfer": transfer, "objects": objects, "gcs": gcs, "datasets": datasets, "exports": exports, "images": images,
           "models": models, "cli": cli, "wire": wire, "rest": rest, "grpc": grpc, "sdk": sdk,
           "logs": logs, "pipeline": pipeline, "trials": trials, "tuner": tuner, "vizier": vizier, "warm": warm}


def main():
    p = argparse.ArgumentParser(prog="tools/bench", description="Figures of a release build beside their peers.")
    p.add_argument("build", help="folder of a release build")
    p.add_argument("names", nargs="*", metavar="NAME", help="which: " + " ".join(FIGURES) + " (default: all)")
    p.add_argument("--format", choices=("text", "json"), default="text")
    args = p.parse_args()
    unknown = set(args.names) - set(FIGURES)
    if unknown:
        p.error("no such figure: " + " ".join(sorted(unknown)))
    table = Table()
    for name in args.names or FIGURES:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        lab = Lab(args.build)
        try:
            FIGURES[name](lab, table)
        except Short as e:
            table.skip(name, str(e))
        finally:
            lab.close()
    print(table.json() if args.format == "json" else table.text())
    return 1 if table.skipped and not table.rows else 0


sys.exit(main())
