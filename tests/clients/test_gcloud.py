"""gcloud ai, unmodified, by its endpoint overrides."""
from matrix import cases, check


@cases("gcloud")
def test_gcloud(matrix_server, transport, case):
    check(matrix_server, "gcloud", transport, case)
