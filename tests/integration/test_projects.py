"""Projects and locations as clients look them up: resource manager v3 and v1 over REST, Locations (reference 20 §9.11)."""
import re

import grpc
import pytest

from conftest import PARENT, fake_job
from grpcraw import connect


def violations(r):
    return [v["field"] for d in r.json()["error"]["details"] for v in d.get("fieldViolations", [])]


def test_v3_gives_the_number_for_an_id_and_back_as_jobs_use_it(fake):
    job = fake.create(fake_job())
    p = fake.call("GET", "/v3/projects/demo").json()
    assert p["name"] == "/".join(job["name"].split("/")[:2])
    assert p["projectId"] == "demo" and p["displayName"] == "demo" and p["state"] == "ACTIVE"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,9})?Z", p["createTime"])
    assert p["createTime"] == p["updateTime"] and p["createTime"] < job["createTime"] and p["etag"]
    assert fake.call("GET", "/v3/" + p["name"]).json() == p


def test_v1_has_its_own_form(fake):
    p = fake.call("GET", "/v3/projects/demo").json()
    v1 = {"projectNumber": p["name"].split("/")[1], "projectId": "demo", "lifecycleState": "ACTIVE", "name": "demo",
          "createTime": p["createTime"]}
    assert fake.call("GET", "/v1/projects/demo").json() == v1
    assert fake.call("GET", "/v1/projects/" + v1["projectNumber"]).json() == v1
    assert fake.call("GET", "/v1/projects/demo?fields=projectId").json() == {"projectId": "demo"}
    assert fake.call("GET", "/v1/projects/demo?$alt=json;enum-encoding=int").json()["lifecycleState"] == 1


def test_an_id_seen_first_in_a_lookup_is_remembered_across_a_restart(fake):
    p = fake.call("GET", "/v3/projects/another-one").json()
    fake.stop()
    fake.start()
    assert fake.call("GET", "/v3/" + p["name"]).json() == p
    assert p["name"] != fake.call("GET", "/v3/projects/demo").json()["name"]


def test_a_number_without_an_id_is_its_own_id(fake):
    p = fake.call("GET", "/v3/projects/424242424242").json()
    assert p["name"] == "projects/424242424242" and p["projectId"] == "424242424242" and "createTime" not in p


def test_what_cannot_be_a_project_is_denied_as_if_it_did_not_exist(fake):
    for path in ("/v3/projects/No%20Such", "/v1/projects/UPPER", "/v3/projects/" + "a" * 64):
        r = fake.call("GET", path)
        assert r.status_code == 403 and r.json()["error"]["status"] == "PERMISSION_DENIED"
        assert r.json()["error"]["message"].startswith("Permission 'resourcemanager.projects.get' denied on resource")
    r = fake.call("GET", "/v3/projects")  # known, not built
    assert r.status_code == 501


def test_the_sdks_lookup_over_grpc(fake):
    """google.cloud.aiplatform asks so for the id of a number, and for the number of an id (reference 20 §9.11)."""
    get = "google.cloud.resourcemanager.v3.Projects/GetProject"
    rest = fake.call("GET", "/v3/projects/demo").json()
    channel, rpc = connect(fake)
    with channel:
        p = rpc(get, name="projects/demo")
        assert (p.name, p.project_id, p.display_name, p.etag) == (rest["name"], "demo", "demo", rest["etag"])
        assert p.state == 1 and p.create_time.ToJsonString() == rest["createTime"]
        assert rpc(get, name=rest["name"]) == p
        for bad, code in (("demo", grpc.StatusCode.INVALID_ARGUMENT), ("projects/demo/x", grpc.StatusCode.INVALID_ARGUMENT),
                          ("folders/1", grpc.StatusCode.INVALID_ARGUMENT), ("projects/A", grpc.StatusCode.PERMISSION_DENIED)):
            with pytest.raises(grpc.RpcError) as e:
                rpc(get, name=bad)
            assert e.value.code() == code, bad


def test_locations_have_id_name_and_region_label_and_come_in_pages(fake):
    number = fake.create(fake_job())["name"].split("/")[1]
    one = fake.call("GET", "/v1/" + PARENT).json()
    assert one == {"name": f"projects/{number}/locations/us-central1", "locationId": "us-central1",
                   "displayName": "us-central1", "labels": {"cloud.googleapis.com/region": "us-central1"}}
    every = fake.call("GET", "/v1/projects/demo/locations").json()
    assert one in every["locations"] and "nextPageToken" not in every
    got, token = [], ""
    while True:
        page = fake.call("GET", f"/ui/projects/demo/locations?pageSize=10&pageToken={token}").json()
        assert len(page["locations"]) <= 10
        got += page["locations"]
        token = page.get("nextPageToken")
        if not token:
            break
    assert got == every["locations"]
    for query, field in (("pageSize=-1", "page_size"), ("pageToken=x", "page_token")):
        r = fake.call("GET", "/v1/projects/demo/locations?" + query)
        assert r.status_code == 400 and violations(r) == [field]
    for bad in ("/v1/projects/demo/locations/mars-north1", "/v1/projects/demo/locations/-", "/v1/projects/A%20B/locations"):
        assert fake.call("GET", bad).status_code == 400
