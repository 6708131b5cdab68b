"""@google-cloud/aiplatform 6 and 7: gRPC and the REST fallback."""
from matrix import cases, check


@cases("node", quick=("rest", "rest-tls", "grpc", "grpc-tls", "grpc-tls+v7"))
def test_node(matrix_server, transport, case):
    check(matrix_server, "node", transport, case)
