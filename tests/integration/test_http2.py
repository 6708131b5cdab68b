"""REST over HTTP/2 with prior knowledge, by curl, on the port that HTTP/1.1 uses."""
import json
import subprocess

from conftest import PARENT, fake_job


def curl(*args):
    out = subprocess.run(["curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", "-w", "\n%{http_code} %{http_version}", *args],
                         check=True, capture_output=True, text=True).stdout
    body, _, status = out.rpartition("\n")
    code, version = status.split()
    assert version == "2"
    return int(code), json.loads(body)


def test_a_job_is_created_read_and_listed(fake):
    url = f"{fake.url}/v1/{PARENT}/customJobs"
    code, job = curl(url, "-H", "content-type: application/json", "-d", json.dumps(fake_job()))
    assert code == 200
    code, again = curl(f"{fake.url}/v1/{job['name']}")
    assert code == 200 and again["name"] == job["name"]
    assert fake.get(job["name"])["name"] == job["name"]  # the same server, by HTTP/1.1
    code, page = curl(url)
    assert code == 200 and job["name"] in [j["name"] for j in page["customJobs"]]


def test_errors_have_the_same_form(fake):
    code, body = curl(f"{fake.url}/v1/{PARENT}/customJobs/1")
    assert code == 404 and body["error"]["status"] == "NOT_FOUND"
