"""CustomJob.from_local_script, as the SDK's documentation has it: argv = BUCKET SCRIPT IMAGE.

Packs the script, stages it in the bucket, runs it to its end; prints the job's resource name and state.
Environment: CUSP_ENDPOINT (REST) and STORAGE_EMULATOR_HOST.
"""
import json
import os
import sys

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the SDK's own log and setup.py's go to stdout: keep them away from the result


def main(bucket, script, image):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    aiplatform.init(project="demo", location="us-central1", staging_bucket=f"gs://{bucket}",
                    credentials=AnonymousCredentials(), api_endpoint=os.environ["CUSP_ENDPOINT"], api_transport="rest")
    job = aiplatform.CustomJob.from_local_script(display_name="from a script", script_path=script, container_uri=image,
                                                 args=["--words", "two words"], requirements=None)
    job.run()
    print(json.dumps({"name": job.resource_name, "state": job.state.name}), file=RESULTS)


if __name__ == "__main__":
    main(*sys.argv[1:])
