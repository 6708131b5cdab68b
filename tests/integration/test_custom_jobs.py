"""CustomJob over REST: life, lists, filters, paging, cancel, delete, operations, dialect (reference 01, 10, 20)."""
import os
import re
import sqlite3

import pytest
import requests

from conftest import PARENT, fake_job, wait_until
from grpcraw import V1, connect


def test_create_answers_with_name_number_state_and_the_spec_as_sent(fake):
    body = fake_job(run_ms=50)
    job = fake.create(body)
    assert re.fullmatch(r"projects/\d{12}/locations/us-central1/customJobs/[1-9]\d{18}", job["name"])
    assert job["state"] in ("JOB_STATE_QUEUED", "JOB_STATE_PENDING")
    assert job["displayName"] == "test" and job["labels"] == body["labels"]
    pool = job["jobSpec"]["workerPoolSpecs"][0]
    assert pool["replicaCount"] == "1"  # int64 is a string
    assert pool["containerSpec"] == body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    assert pool["diskSpec"] == {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,9})?Z", job["createTime"])
    assert "error" not in job and "endTime" not in job
    done = fake.wait(job["name"])
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    assert done["createTime"] <= done["startTime"] <= done["endTime"]


def test_a_pool_without_replica_count_has_one_replica(fake):
    body = fake_job()
    del body["jobSpec"]["workerPoolSpecs"][0]["replicaCount"]
    assert fake.create(body)["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] == "1"


def test_project_id_and_number_name_the_same_job(fake):
    job = fake.create(fake_job())
    by_id = re.sub(r"projects/\d+", "projects/demo", job["name"])
    assert fake.get(by_id)["name"] == job["name"]


@pytest.mark.parametrize("prefix", ["v1", "v1beta1", "ui"])
def test_every_prefix_serves_the_same_resources(fake, prefix):
    job = fake.create(fake_job())
    r = fake.call("GET", f"/{prefix}/{job['name']}")
    assert r.status_code == 200 and r.json()["name"] == job["name"]


def test_failed_job_says_which_replica_and_how(fake):
    job = fake.wait(fake.create(fake_job(exit=3))["name"])
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["code"] == 3
    assert job["error"]["message"].startswith(
        "The replica workerpool0-0 exited with a non-zero status of 3. Termination reason: Error.")
    assert fake.url + "/" in job["error"]["message"]  # where to look


def test_the_address_in_an_error_message_shows_the_log(fake):
    job = fake.wait(fake.create(fake_job(exit=3))["name"])
    url = re.search(r"http://\S+/logs/viewer\S+", job["error"]["message"]).group(0)
    r = requests.get(url, timeout=20)
    assert r.status_code == 200 and r.headers["content-type"] == "text/plain; charset=utf-8"
    assert r.headers["x-content-type-options"] == "nosniff"
    lines = r.text.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+Z (INFO|WARNING|ERROR) \S+ ", line) for line in lines[:3]), r.text
    assert "non-zero status of 3" in r.text
    other = url.replace(job["name"].split("/")[-1], "12345")
    r = requests.get(other, timeout=20)
    assert r.status_code == 404 and "There is no log of job" in r.json()["error"]["message"]
    for resource in ("ml_job/job_id/", "ml_job/job_id/..%2F..", "gce_instance/instance_id/1"):
        assert requests.get(f"{fake.url}/logs/viewer?resource={resource}", timeout=20).status_code == 404
    # an object of that name in a bucket of that name is still itself
    assert fake.call("POST", "/storage/v1/b?project=demo", {"name": "logs"}).status_code == 200
    assert fake.call("PUT", "/logs/viewer", "mine").status_code == 200
    assert fake.call("GET", "/logs/viewer").text == "mine"


def test_who_opens_the_address_is_told_what_is_here(fake):
    r = fake.call("GET", "/")
    assert r.status_code == 200 and r.text.startswith("cusp ") and "cusp custom-jobs list" in r.text
    assert fake.call("POST", "/", {}).status_code == 404


def test_out_of_memory_is_named(fake):
    job = fake.wait(fake.create(fake_job(oom=1))["name"])
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["code"] == 8
    assert "ran out of memory" in job["error"]["message"]


def test_cancel_before_and_while_running_and_after_the_end(fake):
    job = fake.create(fake_job(run_ms=60000))
    fake.wait_state(job["name"], "JOB_STATE_RUNNING")
    r = fake.call("POST", f"/v1/{job['name']}:cancel", {})
    assert r.status_code == 200 and r.json() == {}
    done = fake.wait(job["name"])
    assert done["state"] == "JOB_STATE_CANCELLED" and done["error"] == {"code": 1, "message": "CANCELED"}
    r = fake.call("POST", f"/v1/{job['name']}:cancel")
    assert r.status_code == 200
    assert fake.get(job["name"]) == done


def test_delete_is_an_operation_that_is_done_and_can_be_read_again(fake):
    job = fake.create(fake_job(run_ms=60000))
    r = fake.call("DELETE", "/v1/" + job["name"])
    assert r.status_code == 400 and r.json()["error"]["status"] == "FAILED_PRECONDITION"
    fake.call("POST", f"/v1/{job['name']}:cancel", {})
    fake.wait(job["name"])
    op = fake.call("DELETE", "/v1/" + job["name"]).json()
    assert op["done"] is True
    assert op["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert op["metadata"]["@type"] == "type.googleapis.com/google.cloud.aiplatform.v1.DeleteOperationMetadata"
    assert "createTime" in op["metadata"]["genericMetadata"]
    for prefix in ("v1", "ui"):
        assert fake.call("GET", f"/{prefix}/{op['name']}").json() == op
    nested = job["name"] + "/operations/" + op["name"].rsplit("/", 1)[1]
    assert fake.call("GET", f"/v1/{nested}").json() == op
    elsewhere = op["name"].replace("/operations/", "/customJobs/1/operations/")
    assert fake.call("GET", f"/v1/{elsewhere}").status_code == 404
    r = fake.call("GET", "/v1/" + job["name"])
    assert r.status_code == 404 and r.json()["error"]["status"] == "NOT_FOUND"
    ops = fake.call("GET", f"/v1/{PARENT}/operations").json()["operations"]
    assert op in ops
    assert fake.call("DELETE", "/v1/" + op["name"]).json() == {}
    assert fake.call("GET", "/v1/" + op["name"]).status_code == 404


@pytest.fixture
def many(fake):
    names = []
    for i in range(25):
        body = fake_job(exit=0 if i % 3 else 1)
        body["displayName"] = f"job-{i:02d}"
        body["labels"]["team"] = "vision" if i % 2 else "speech"
        names.append(fake.create(body)["name"])
    for n in names:
        fake.wait(n)
    return fake, names


def listing(server, query):
    out, token = [], ""
    while True:
        r = server.call("GET", f"/v1/{PARENT}/customJobs?{query}" + (f"&pageToken={token}" if token else ""))
        assert r.status_code == 200, r.text
        page = r.json()
        out += page.get("customJobs", [])
        token = page.get("nextPageToken")
        if not token:
            return out


def test_list_pages_newest_first_without_gaps_or_repeats(many):
    server, names = many
    got = [j["name"] for j in listing(server, "pageSize=7")]
    assert got == names[::-1]


def test_list_is_stable_when_jobs_are_created_meanwhile(many):
    server, names = many
    first = server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=10").json()
    server.create(fake_job())
    second = server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=100&pageToken={first['nextPageToken']}").json()
    assert [j["name"] for j in first["customJobs"] + second["customJobs"]] == names[::-1]


@pytest.mark.parametrize("query,want", [
    ("filter=display_name%3D%22job-03%22", 1),
    ("filter=displayName%3D%22job-03%22", 1),
    ("filter=display_name:%22job-1*%22", 10),
    ("filter=state%3D%22JOB_STATE_FAILED%22", 9),
    ("filter=NOT%20state%3D%22JOB_STATE_FAILED%22", 16),
    ("filter=labels.team%3Dvision", 12),
    ("filter=labels.team:*%20AND%20state!%3D%22JOB_STATE_SUCCEEDED%22", 9),
    ("filter=labels.team%3Dvision%20OR%20labels.team%3Dspeech", 25),
    ("filter=create_time%3E%222020-01-01T00:00:00Z%22", 25),
    ("filter=create_time%3C%222020-01-01T00:00:00Z%22", 0),
])
def test_filters(many, query, want):
    assert len(listing(many[0], query)) == want


def test_order_by_display_name(many):
    got = [j["displayName"] for j in listing(many[0], "orderBy=display_name&pageSize=10")]
    assert got == sorted(got)


def test_empty_list_is_an_empty_object(fake):
    assert fake.call("GET", "/v1/projects/other/locations/europe-west4/customJobs").json() == {}


def test_read_mask_and_fields_restrict_the_answer(many):
    server, _ = many
    page = server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=1&readMask=name,state").json()
    assert set(page["customJobs"][0]) == {"name", "state"}
    page = server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=1&fields=customJobs(name)").json()
    assert page == {"customJobs": [{"name": page["customJobs"][0]["name"]}]}
    both = server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=1&readMask=name,state&fields=customJobs(state,error)").json()
    assert set(both["customJobs"][0]) == {"state"}
    deep = server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=1&readMask=jobSpec.workerPoolSpecs.machineSpec.machineType").json()
    assert deep["customJobs"] == [{"jobSpec": {"workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"}}]}}]
    assert len(server.call("GET", f"/v1/{PARENT}/customJobs?pageSize=1&readMask=*").json()["customJobs"][0]) > 5
    for mask, says in (("nope", "nope"), ("jobSpec.nope", "CustomJobSpec"), ("name,,state", "name,,state")):
        r = server.call("GET", f"/v1/{PARENT}/customJobs?readMask={mask}")
        assert r.status_code == 400 and says in r.text and "read_mask" in r.text, r.text


@pytest.mark.parametrize("query,count", [
    ("filter=job_spec.worker_pool_specs.machine_spec.machine_type:n1*", 25),
    ("filter=jobSpec.workerPoolSpecs.machineSpec.machineType%3De2-medium", 0),
    ("filter=error.code%3D3%20AND%20display_name%3D%22job-0*%22", 4),
    ("filter=error:*", 9),
    ("filter=end_time:*%20-state%3DJOB_STATE_FAILED", 16),
    ("filter=state%3D5", 9),
])
def test_filters_reach_every_field(many, query, count):
    assert len(listing(many[0], query)) == count


def test_orders_of_several_fields_page_through_everything_once(many):
    server, _ = many
    got = listing(server, "orderBy=state%20desc,displayName&pageSize=4")
    want = sorted(listing(server, ""), key=lambda j: j["displayName"])
    want.sort(key=lambda j: j["state"], reverse=True)
    assert [j["name"] for j in got] == [j["name"] for j in want]
    token = server.call("GET", f"/v1/{PARENT}/customJobs?orderBy=state&pageSize=1").json()["nextPageToken"]
    for query in ("orderBy=state,name", "orderBy=state%20desc", "orderBy=state&filter=error:*"):
        r = server.call("GET", f"/v1/{PARENT}/customJobs?{query}&pageToken={token}")
        assert r.status_code == 400 and "page_token" in r.text


def test_python_dialect_snake_case_int_enums_and_alt(fake):
    body = {"display_name": "snake", "job_spec": {"worker_pool_specs": [
        {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": "1",
         "container_spec": {"image_uri": "busybox", "command": [], "args": []}}],
        "scheduling": {"timeout": "600s", "strategy": 3}}, "state": 3, "create_time": "2020-01-01T00:00:00Z"}
    r = fake.call("POST", f"//v1/{PARENT}/customJobs?%24alt=json%3Benum-encoding%3Dint", body)
    assert r.status_code == 200, r.text
    job = r.json()
    assert job["state"] in (1, 2) and job["jobSpec"]["scheduling"] == {"timeout": "600s", "strategy": 3}
    assert not job["createTime"].startswith("2020")  # output-only fields in requests are ignored


def test_unbuilt_methods_are_known_and_unknown_paths_are_not(fake):
    for method, path in [("GET", f"/v1/{PARENT}/endpoints"),
                         ("POST", f"/v1beta1/{PARENT}/tensorboards"), ("GET", f"/ui/{PARENT}/endpoints"),
                         ("POST", f"/v1/{PARENT}/endpoints/1:predict"), ("GET", f"/v1/{PARENT}/tensorboards"),
                         ("GET", f"/v1/{PARENT}/metadataStores"), ("GET", f"/v1/{PARENT}/persistentResources"),
                         ("POST", f"/v1/{PARENT}/models/1:getIamPolicy")]:
        r = fake.call(method, path)
        assert r.status_code == 501, (path, r.text)
        err = r.json()["error"]
        assert err["status"] == "UNIMPLEMENTED" and "google." in err["message"]
    r = fake.call("GET", "/v1/nothing/here")
    assert r.status_code == 404 and r.json()["error"]["status"] == "NOT_FOUND"


def test_locations(fake):
    r = fake.call("GET", "/v1/projects/demo/locations/europe-west4").json()
    assert r["locationId"] == "europe-west4"
    ids = [x["locationId"] for x in fake.call("GET", "/v1/projects/demo/locations").json()["locations"]]
    assert "us-central1" in ids


def test_service_log_and_stream_end_with_the_job(fake):
    name = fake.create(fake_job(run_ms=100))["name"]
    lines = fake.logs(name, follow=True)  # ends by itself
    assert fake.get(name)["state"] == "JOB_STATE_SUCCEEDED"
    texts = [x["message"] for x in lines if x["task"] == "service"]
    assert "Job is running." in texts and texts[-1] == "Job completed successfully."
    assert [x["seq"] for x in lines] == list(range(len(lines)))


def test_probes_and_metrics(fake):
    assert fake.call("GET", "/readyz").status_code == 200
    assert fake.call("GET", "/healthz").status_code == 200
    text = fake.call("GET", "/metrics").text
    assert "cusp_jobs_running" in text and 'cusp_limit{name="max_api_body"}' in text


def finished_job(server):
    name = server.create(fake_job())["name"]
    server.wait(name)
    return name


def test_delete_leaves_the_logs(fake):
    """As on Vertex: deleting a job removes neither its outputs nor its logs (reference 01 §9)."""
    name = finished_job(fake)
    path = os.path.join(fake.data_dir, "logs", name.rsplit("/", 1)[1], "service", "out.000000.seg")
    wait_until(lambda: os.path.exists(path), 10, "the log")
    assert fake.call("DELETE", "/v1/" + name).status_code == 200
    fake.stop()
    assert os.path.exists(path)


def test_delete_is_answered_even_if_its_operation_cannot_be_stored(make_server, tmp_path):
    """Disk full between the two commits of a delete: the job is gone, so the answer is not an error."""
    server = make_server("--engine=fake", "--drop-deleted-logs").start()
    name, other = finished_job(server), finished_job(server)
    server.stop()
    trace = tmp_path / "trace"
    stay = "logs.remove.before_rename=errno:EIO"  # a log that went would be told to the store, one commit more
    server.start(env={"CUSP_FAILPOINT_TRACE": str(trace), "CUSP_FAILPOINTS": stay})
    assert server.call("DELETE", "/v1/" + other).status_code == 200
    server.stop()
    hits = trace.read_text().split().count("store.commit.before_commit")
    server.start(env={"CUSP_FAILPOINTS": f"store.commit.before_commit=errno:ENOSPC@{hits},{stay}"})
    r = server.call("DELETE", "/v1/" + name)
    assert r.status_code == 200 and r.json()["done"] is True, r.text
    assert "operation not stored" in server.log()
    assert server.call("GET", "/v1/" + name).status_code == 404
    server.stop()


def test_a_row_that_cannot_be_read_does_not_hide_the_others(fake):
    good, bad = finished_job(fake), finished_job(fake)
    fake.stop()
    with sqlite3.connect(os.path.join(fake.data_dir, "cusp.db")) as db:
        db.execute("UPDATE resource SET spec = x'ff' WHERE name = ?", (bad,))
    fake.start()
    assert [j["name"] for j in fake.call("GET", f"/v1/{PARENT}/customJobs").json()["customJobs"]] == [good]
    r = fake.call("GET", "/v1/" + bad)
    assert r.status_code == 500 and "request=" in r.json()["error"]["message"]
    assert bad in fake.log()


def test_web_access_is_kept_and_said_to_have_no_effect(fake):
    body = fake_job(run_ms=20)
    body["jobSpec"]["enableWebAccess"] = True
    job = fake.wait(fake.create(body)["name"])
    assert job["jobSpec"]["enableWebAccess"] is True and "webAccessUris" not in job
    assert [x["message"] for x in fake.logs(job["name"], task="service")].count(
        "enableWebAccess has no effect: this server has no interactive shells, and webAccessUris stays empty. "
        "root can enter the container on this machine (README.md, Limits).") == 1
    plain = fake.wait(fake.create(fake_job(run_ms=20))["name"])
    assert not any("enableWebAccess" in x["message"] for x in fake.logs(plain["name"], task="service"))


# ---- v1beta1: the same jobs, with fields of its own ----

def beta_job(**labels):
    body = fake_job(**labels)
    body["jobSpec"]["workerPoolSpecs"][0]["machineSpec"] |= {"minGpuDriverVersion": "535.104", "multihostGpuNodeCount": 2}
    return body


def machine_of(job):
    return job["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]


def test_beta_only_fields_survive_the_jobs_life_and_a_restart(fake):
    r = fake.call("POST", "/v1beta1/" + PARENT + "/customJobs", beta_job(run_ms=20))
    assert r.status_code == 200, r.text
    job = r.json()
    assert machine_of(job)["minGpuDriverVersion"] == "535.104" and machine_of(job)["multihostGpuNodeCount"] == 2
    fake.wait(job["name"])
    fake.kill9()
    fake.start()
    assert machine_of(fake.call("GET", "/v1beta1/" + job["name"]).json()) == machine_of(job)
    (listed,) = fake.call("GET", f"/v1beta1/{PARENT}/customJobs").json()["customJobs"]
    assert machine_of(listed) == machine_of(job)
    seen_by_v1 = machine_of(fake.get(job["name"]))
    assert seen_by_v1 == {k: v for k, v in machine_of(job).items() if k == "machineType"}


def test_beta_only_fields_pass_between_grpc_and_rest_and_a_v1_client_carries_them(fake):
    beta = "google.cloud.aiplatform.v1beta1.JobService/"
    job = fake.call("POST", "/v1beta1/" + PARENT + "/customJobs", beta_job(run_ms=20)).json()
    fake.wait(job["name"])
    channel, rpc = connect(fake)
    with channel:
        got = rpc(beta + "GetCustomJob", name=job["name"])
        assert got.job_spec.worker_pool_specs[0].machine_spec.min_gpu_driver_version == "535.104"
        v1 = rpc(V1 + "JobService/GetCustomJob", name=job["name"])
        assert type(got).FromString(v1.SerializeToString()) == got  # unknown to v1, kept by it
        machine = {"machine_type": "n1-standard-4", "min_gpu_driver_version": "1", "multihost_gpu_node_count": 3}
        made = rpc(beta + "CreateCustomJob", parent=PARENT, custom_job={
            "display_name": "x", "job_spec": {"worker_pool_specs": [{
                "machine_spec": machine, "replica_count": 1, "container_spec": {"image_uri": "busybox"}}]}})
    seen = machine_of(fake.call("GET", "/v1beta1/" + made.name).json())
    assert seen == {"machineType": "n1-standard-4", "minGpuDriverVersion": "1", "multihostGpuNodeCount": 3}


def test_v1_does_not_know_beta_only_fields(fake):
    r = fake.call("POST", "/v1/" + PARENT + "/customJobs", beta_job())
    assert r.status_code == 400
    texts = [v["description"] for v in r.json()["error"]["details"][0]["fieldViolations"]]
    at = "'custom_job.job_spec.worker_pool_specs[0].machine_spec'"
    assert texts == [f'Invalid JSON payload received. Unknown name "{n}" at {at}: Cannot find field.'
                     for n in ("minGpuDriverVersion", "multihostGpuNodeCount")]


def test_methods_that_only_beta_has_say_so(fake):
    r = fake.call("POST", f"/v1beta1/{PARENT}:recommendSpec", {})
    assert r.status_code == 501 and r.json()["error"]["status"] == "UNIMPLEMENTED"
    assert "google.cloud.aiplatform.v1beta1.ModelService/RecommendSpec" in r.json()["error"]["message"]
