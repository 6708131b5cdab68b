"""How a client reaches the server, and what every face needs of the environment."""
import os
import re
import time

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.longrunning import operations_pb2

ENDPOINT = os.environ["CUSP_ENDPOINT"].rstrip("/")
HOSTPORT = os.environ["CUSP_HOSTPORT"]
PROJECT = os.environ.get("CUSP_PROJECT", "demo")
LOCATION = os.environ.get("CUSP_LOCATION", "us-central1")
IMAGE = os.environ["CUSP_IMAGE"]
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
JOB_NAME = re.compile(rf"projects/\d+/locations/{LOCATION}/customJobs/[1-9]\d{{9,18}}")
BUCKET = "cusp-conformance"
SLEEP = 'trap "exit 0" TERM; sleep 300 & wait'  # ends at once when told to
RESULT_SCRIPT = 'd=/gcs/${AIP_MODEL_DIR#gs://}; mkdir -p "$d" && echo 42 > "$d/result"'


def prepare(protocol):
    """Environment variables the clients read; to be set before the first connection."""
    if protocol.endswith("-tls"):
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["CUSP_CA"]
        os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = os.environ["CUSP_CA"]
        os.environ["STORAGE_EMULATOR_HOST"] = "https://" + HOSTPORT
    else:
        os.environ["STORAGE_EMULATOR_HOST"] = ENDPOINT


def kinds(protocol):
    """Exception classes for INVALID_ARGUMENT and FAILED_PRECONDITION. Over REST api-core looks at the HTTP code alone,
    and 400, which three codes share, is their common base class."""
    if protocol.startswith("rest"):
        return exceptions.BadRequest, exceptions.BadRequest
    return exceptions.InvalidArgument, exceptions.FailedPrecondition


def api_endpoint(protocol):
    return ENDPOINT if protocol == "rest" else HOSTPORT


def job_client(protocol):
    """The generated JobServiceClient."""
    from google.cloud.aiplatform_v1 import JobServiceClient
    if protocol == "grpc":
        import grpc
        from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
        channel = grpc.insecure_channel(ENDPOINT.removeprefix("http://"))
        return JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))
    return JobServiceClient(credentials=AnonymousCredentials(), transport=protocol.removesuffix("-tls"),
                            client_options={"api_endpoint": api_endpoint(protocol)})


def bucket():
    """The bucket of the jobs' output, made when it is not there."""
    from google.cloud import storage
    client = storage.Client(project=PROJECT, credentials=AnonymousCredentials())
    try:
        return client.create_bucket(BUCKET)
    except exceptions.Conflict:
        return client.bucket(BUCKET)


def wait_until(fn, what, seconds=60):
    end = time.monotonic() + seconds
    while not (v := fn()):
        assert time.monotonic() < end, f"gave up waiting for {what}"
        time.sleep(0.1)
    return v


def violations(error):
    """Fields named in the BadRequest detail of an exception: gRPC gives messages, REST plain JSON."""
    fields = []
    for d in error.details:
        if isinstance(d, dict):
            fields += [v["field"] for v in d.get("fieldViolations", ())]
        else:
            fields += [v.field for v in getattr(d, "field_violations", ())]
    return fields


def operation(answer):
    """What wait_operation of the generated client gave: over gRPC it forgets to decode the message."""
    return operations_pb2.Operation.FromString(answer) if isinstance(answer, bytes) else answer


def raises(kind, fn, *args, **kwargs):
    try:
        fn(*args, **kwargs)
    except Exception as e:
        if type(e) is kind:
            return e
        raise AssertionError(f"want {kind.__name__}, got {type(e).__name__}: {e}") from e
    raise AssertionError(f"want {kind.__name__}, got an answer")
