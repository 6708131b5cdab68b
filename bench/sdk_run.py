"""Runs in the environment of the official SDK: sdk_run.py rest|grpc ENDPOINT RUNS. Prints seconds, as JSON."""
import json
import os
import sys
import time

transport, endpoint, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # the SDK talks on stdout

began = time.monotonic()
from google.auth.credentials import AnonymousCredentials  # noqa: E402
from google.cloud import aiplatform  # noqa: E402
imported = time.monotonic() - began

aiplatform.init(project="demo", location="us-central1", staging_bucket="gs://bench", credentials=AnonymousCredentials(),
                api_endpoint=endpoint, api_transport=transport)
took = []
for _ in range(runs):
    began = time.monotonic()
    job = aiplatform.CustomJob(display_name="bench", worker_pool_specs=[{
        "machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1,
        "container_spec": {"image_uri": "probe", "command": ["/bin/probe"]}}])
    job.run()
    took.append(time.monotonic() - began)
json.dump({"version": aiplatform.__version__, "import": imported, "runs": took}, results)
