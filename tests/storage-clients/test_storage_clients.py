"""Every case of every storage client is ok; README.md has the rules."""
import os

import pytest

from client_cases import every_case_is_ok
from conftest import with_tls

HERE = os.path.dirname(os.path.abspath(__file__))
extended = pytest.mark.skipif(not os.environ.get("CUSP_EXTENDED"), reason="extended: make test-clients runs it")
CASES = {"node": 11, "gcsfs": 9, "go": 11, "java": 9, "gcloud": 8, "pandas": 7, "tensorflow": 7}


@pytest.mark.parametrize("client", ["node", "gcsfs", pytest.param("go", marks=extended), pytest.param("java", marks=extended),
                                    pytest.param("gcloud", marks=extended), pytest.param("pandas", marks=extended),
                                    pytest.param("tensorflow", marks=extended)])
def test_client(make_server, client):
    s = with_tls(make_server)
    every_case_is_ok(HERE, client, CASES[client], s, CUSP_CA=s.ca)
