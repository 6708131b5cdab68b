"""google.longrunning.Operations over REST: names, versions, lists, wait, retention (reference 10 §7, 20 §5)."""
from conftest import PARENT, fake_job, wait_until

V1, BETA = "google.cloud.aiplatform.v1.", "google.cloud.aiplatform.v1beta1."


def deleted(server, version="v1"):
    job = server.create(fake_job())
    server.wait(job["name"])
    r = server.call("DELETE", f"/{version}/{job['name']}")
    assert r.status_code == 200 and r.json()["done"] is True
    return job["name"], r.json()


def type_of(op):
    return op["metadata"]["@type"].removeprefix("type.googleapis.com/").removesuffix("DeleteOperationMetadata")


def test_types_are_of_the_version_asked_for_or_of_the_cause(fake):
    _, v1 = deleted(fake)
    _, beta = deleted(fake, "v1beta1")
    assert type_of(v1) == V1 and type_of(beta) == BETA
    for op, born in ((v1, V1), (beta, BETA)):
        for prefix, want in (("v1", V1), ("v1beta1", BETA), ("ui", born)):
            assert type_of(fake.call("GET", f"/{prefix}/{op['name']}").json()) == want


def test_lists_by_location_and_by_resource_with_filters_and_pages(fake):
    ops = [deleted(fake) for _ in range(5)]
    path = f"/v1/{PARENT}/operations"
    assert [o["name"] for o in fake.call("GET", path).json()["operations"]] == [op["name"] for _, op in ops[::-1]]
    got, token = [], ""
    while True:
        page = fake.call("GET", f"{path}?pageSize=2&filter=done%3Dtrue&pageToken={token}").json()
        got += [o["name"] for o in page["operations"]]
        token = page.get("nextPageToken")
        if not token:
            break
    assert got == [op["name"] for _, op in ops[::-1]]
    assert fake.call("GET", path + "?filter=done%3Dfalse").json() == {}
    since = ops[3][1]["metadata"]["genericMetadata"]["createTime"]
    late = fake.call("GET", f"{path}?filter=metadata.generic_metadata.create_time%3E%3D%22{since}%22").json()
    assert len(late["operations"]) == 2
    job, op = ops[2]
    assert fake.call("GET", f"/v1/{job}/operations").json()["operations"] == [op]
    assert fake.call("GET", f"/v1/{job}1/operations").json() == {}
    token = fake.call("GET", path + "?pageSize=2").json()["nextPageToken"]
    for query in ("pageSize=-1", "filter=colour%3Dred", f"filter=done%3Dtrue&pageToken={token}"):
        assert fake.call("GET", f"{path}?{query}").status_code == 400
    assert fake.call("GET", f"/v1/{job}/operations?pageToken={token}").status_code == 400


def test_wait_cancel_and_delete_of_a_finished_one(fake):
    job, op = deleted(fake)
    nested = f"{job}/operations/{op['name'].rsplit('/', 1)[1]}"
    for name in (op["name"], nested):
        for prefix in ("v1", "v1beta1", "ui"):
            r = fake.call("POST", f"/{prefix}/{name}:wait?timeout=30s")
            assert r.status_code == 200 and r.json()["done"] is True
        assert fake.call("POST", f"/v1/{name}:cancel", {}).json() == {}
    assert fake.call("POST", f"/v1/{op['name']}0:cancel", {}).status_code == 404
    assert fake.call("POST", f"/v1/{op['name']}:wait?timeout=soon").status_code == 400
    assert fake.call("DELETE", "/v1/" + nested).json() == {}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", ":wait"), ("POST", ":cancel")):
        assert fake.call(method, f"/v1/{op['name']}{path}").status_code == 404


def test_survives_a_restart(make_server):
    s = make_server("--engine=fake").start()
    _, op = deleted(s, "v1beta1")
    s.kill9()
    s.start()
    assert s.call("GET", "/ui/" + op["name"]).json() == op


def test_is_swept_when_its_time_has_passed(make_server):
    s = make_server("--engine=fake", "--limit=operation_retention_s=1").start()
    _, op = deleted(s)
    wait_until(lambda: s.call("GET", "/v1/" + op["name"]).status_code == 404, what="the operation to be removed")
    wait_until(lambda: "cusp_operations_swept_total 1" in s.call("GET", "/metrics").text, what="the count")
