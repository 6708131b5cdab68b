"""The SDK's create, get, list, delete: nothing else. Prints what was seen, and what the client logged as a warning."""
import json
import logging
import sys

import connection as c

complaints = []


class Collect(logging.Handler):
    def emit(self, record):
        complaints.append(f"{record.name}: {record.getMessage()}")


logging.getLogger().addHandler(Collect(level=logging.WARNING))
logging.getLogger().setLevel(logging.INFO)


def main(protocol):
    c.prepare(protocol)
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket=f"gs://{c.BUCKET}",
                    credentials=AnonymousCredentials(), api_endpoint=c.api_endpoint(protocol),
                    api_transport=protocol.removesuffix("-tls"))
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1,
            "container_spec": {"image_uri": c.IMAGE, "command": ["true"]}}
    job = aiplatform.CustomJob(display_name="flow", worker_pool_specs=[pool])
    job.submit()
    # Elsewhere, so that the looks at this job are not in the record: the job ends.
    print(json.dumps({"name": job.resource_name}), flush=True)
    sys.stdin.readline()
    got = aiplatform.CustomJob.get(job.resource_name)
    listed = aiplatform.CustomJob.list(filter='display_name="flow"')
    got.delete()
    print(json.dumps({"listed": [x.resource_name for x in listed], "complaints": complaints}), flush=True)


main(sys.argv[1])
