"""curl: HTTP/1.1 and 2, in the clear and over TLS."""
from matrix import cases, check


@cases("curl")
def test_curl(matrix_server, transport, case):
    check(matrix_server, "curl", transport, case)
