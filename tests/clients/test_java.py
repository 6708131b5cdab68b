"""google-cloud-aiplatform for Java: gRPC, the only transport it has."""
from matrix import cases, check


@cases("java")
def test_java(matrix_server, transport, case):
    check(matrix_server, "java", transport, case)
