"""google-cloud-aiplatform, the newest 1.x and 2.x: the generated JobServiceClient and the high-level SDK."""
from matrix import cases, check


@cases("python", quick=("rest", "grpc", "rest-tls+sdk", "grpc-tls+sdk", "grpc-tls+v2sdk"))
def test_python(matrix_server, transport, case):
    check(matrix_server, "python", transport, case)
