"""cloud.google.com/go/aiplatform: apiv1 over gRPC, apiv1beta1 over gRPC and REST."""
from matrix import cases, check


@cases("go")
def test_go(matrix_server, transport, case):
    check(matrix_server, "go", transport, case)
