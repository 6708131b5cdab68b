"""grpcurl, which knows nothing but what the server's reflection tells it."""
from matrix import cases, check


@cases("reflection")
def test_reflection(matrix_server, transport, case):
    check(matrix_server, "reflection", transport, case)
