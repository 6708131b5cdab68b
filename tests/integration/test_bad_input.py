"""Bad input: the right HTTP code, Google's body naming field and value, nothing left behind."""
import json
import socket
import subprocess

import pytest

from conftest import PARENT, container_job, fake_job, wait_until

JOBS = f"/v1/{PARENT}/customJobs"


def refused(server, body, status=400, code="INVALID_ARGUMENT", says=(), field=None):
    r = server.call("POST", JOBS, body)
    assert r.status_code == status, r.text
    err = r.json()["error"]
    assert err["code"] == status and err["status"] == code
    for text in [says] if isinstance(says, str) else says:
        assert text in err["message"], err["message"]
    if field:
        fields = [v.get("field", "") for d in err["details"] for v in d["fieldViolations"]]
        assert field in fields, fields
    assert server.call("GET", JOBS).json() == {}, "something was left behind"
    return err


def pool(job):
    return job["jobSpec"]["workerPoolSpecs"][0]


W = "job_spec.worker_pool_specs[0]."


REFUSED_BY_VERTEX = [
    ("encryptionSpec", {}, "encryption_spec.kms_key_name"),
    ("encryptionSpec", {"kmsKeyName": "projects/p/locations/l/keyRings/r"}, "encryption_spec.kms_key_name"),
    ("jobSpec.network", "default", "job_spec.network"),
    ("jobSpec.network", "projects/1/global/networks/", "job_spec.network"),
    ("jobSpec.tensorboard", "projects/p/locations/l/tensorboards/1/experiments/2", "job_spec.tensorboard"),
    ("jobSpec.pscInterfaceConfig", {"dnsPeeringConfigs": [{"domain": "a."}]},
     "job_spec.psc_interface_config.dns_peering_configs[0].target_project"),
    ("pool.nfsMounts", [{"server": "10.0.0.1", "path": "/x", "mountPoint": "m"}], W + "nfs_mounts"),
    ("pool.lustreMounts", [{"instanceIp": "10.0.0.1", "volumeHandle": "v", "filesystem": "f", "mountPoint": "m"}], W + "lustre_mounts"),
    ("pool.machineSpec.reservationAffinity", {}, W + "machine_spec.reservation_affinity.reservation_affinity_type"),
    ("pool.machineSpec.reservationAffinity", {"reservationAffinityType": "SPECIFIC_RESERVATION"}, W + "machine_spec.reservation_affinity.key"),
    ("pool.machineSpec.reservationAffinity", {"reservationAffinityType": 3, "key": "compute.googleapis.com/reservation-name"},
     W + "machine_spec.reservation_affinity.values")]


def test_fields_that_vertex_would_refuse(fake):
    for at, value, field in REFUSED_BY_VERTEX:
        job = container_job("true")
        *way, last = at.split(".")
        where = pool(job) if way[:1] == ["pool"] else job
        for step in way[way[:1] == ["pool"]:]:
            where = where[step]
        where[last] = value
        refused(fake, job, field=field)


def test_what_has_no_effect_but_is_right_is_kept(fake):
    job = container_job("true", network="projects/1/global/networks/n", tensorboard="projects/p/locations/l/tensorboards/1")
    job["encryptionSpec"] = {"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k"}
    pool(job)["machineSpec"]["reservationAffinity"] = {"reservationAffinityType": "SPECIFIC_RESERVATION", "key": "k", "values": ["v"]}
    made = fake.create(job)
    assert made["encryptionSpec"] == job["encryptionSpec"] and made["jobSpec"]["network"] == job["jobSpec"]["network"]
    assert pool(made)["machineSpec"] == pool(job)["machineSpec"]


@pytest.fixture
def job():
    return container_job("true")


@pytest.mark.parametrize("text", ["{", "nonsense", '{"a":}', '{"displayName":"x"', "[]", '"x"', "{'a':1}", "\xff"])
def test_malformed_json(fake, text):
    refused(fake, text.encode("latin-1"))


def test_wrong_types_name_field_and_value(fake, job):
    job["displayName"] = 1
    refused(fake, job, says=["display_name", "1"])
    job["displayName"] = "x"
    pool(job)["replicaCount"] = "many"
    refused(fake, job, says=["replica_count", "many"])


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_types_are_named_as_the_version_asked_has_them(fake, job, version):
    job["jobSpec"]["scheduling"] = {"strategy": "EAGER"}
    pool(job)["machineSpec"] = "large"
    r = fake.call("POST", f"/{version}/{PARENT}/customJobs", job)
    type_ = f"type.googleapis.com/google.cloud.aiplatform.{version}."
    assert r.status_code == 400
    assert f"({type_}MachineSpec)" in r.text and f"({type_}Scheduling.Strategy)" in r.text, r.text


def test_unknown_fields_are_all_named(fake, job):
    job["foo"] = 1
    pool(job)["bar"] = 2
    err = refused(fake, job, says=['Unknown name "foo"', 'Unknown name "bar"', "job_spec.worker_pool_specs[0]"])
    assert "Cannot find field" in err["message"]


def test_all_missing_fields_are_found_at_once(fake):
    refused(fake, {}, says="display_name", field="job_spec")
    err = refused(fake, {"jobSpec": {}}, says="List of found errors:\t1.Field: display_name; Message: ")
    assert "\t2.Field: job_spec.worker_pool_specs; Message: " in err["message"]
    assert err["message"].endswith("\t")


def test_first_pool_must_have_one_replica(fake, job):
    for n in (0, 2, -1):
        pool(job)["replicaCount"] = n
        refused(fake, job, field="job_spec.worker_pool_specs[0].replica_count", says=str(n) if n else "")
    job["jobSpec"]["workerPoolSpecs"][0] = {}
    refused(fake, job, field="job_spec.worker_pool_specs[0]")


def test_both_task_kinds(fake, job):
    pool(job)["pythonPackageSpec"] = {"executorImageUri": "x", "packageUris": ["gs://b/p"], "pythonModule": "m"}
    refused(fake, job)


def test_neither_task_kind(fake, job):
    del pool(job)["containerSpec"]
    refused(fake, job, field="job_spec.worker_pool_specs[0]")


def test_args_over_100000_characters(fake, job):
    pool(job)["containerSpec"]["args"] = ["x" * 50000, "y" * 50001]
    refused(fake, job, says=["100001", "100000"], field="job_spec.worker_pool_specs[0].container_spec.args")
    pool(job)["containerSpec"]["args"] = ["x" * 50000, "y" * 50000]
    assert fake.call("POST", JOBS, job).status_code == 200


def test_101_packages(fake, job):
    del pool(job)["containerSpec"]
    pool(job)["pythonPackageSpec"] = {"executorImageUri": "x", "packageUris": [f"gs://b/{i}" for i in range(101)],
                                      "pythonModule": "m"}
    refused(fake, job, says=["101", "100"], field="job_spec.worker_pool_specs[0].python_package_spec.package_uris")


def test_101_env_and_duplicate_and_bad_names(fake, job):
    at = "job_spec.worker_pool_specs[0].container_spec.env"
    pool(job)["containerSpec"]["env"] = [{"name": f"E{i}", "value": ""} for i in range(101)]
    refused(fake, job, says=["101", "100"], field=at)
    pool(job)["containerSpec"]["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    refused(fake, job, says="EnvVar names must be unique.", field=at)
    pool(job)["containerSpec"]["env"] = [{"name": "1A", "value": "1"}]
    refused(fake, job, says="1A", field=at + "[0].name")


@pytest.mark.parametrize("key,value", [("UPPER", "x"), ("-a", "x"), ("a" * 64, "x"), ("ok", "Upper"), ("ok", "v" * 64),
                                       ("sp ace", "x"), ("", "x")])
def test_malformed_labels(fake, job, key, value):
    job["labels"] = {key: value}
    refused(fake, job, field="labels")


def test_65_labels(fake, job):
    job["labels"] = {f"l{i}": "x" for i in range(65)}
    refused(fake, job, says=["65", "64"], field="labels")


def test_machine_types_and_accelerators(fake, job):
    pool(job)["machineSpec"] = {"machineType": "n1-gigantic-7"}
    refused(fake, job, says='Machine type "n1-gigantic-7" is not supported.',
            field="job_spec.worker_pool_specs[0].machine_spec.machine_type")
    pool(job)["machineSpec"] = {"machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4"}
    refused(fake, job, says="Both `accelerator_type` and `accelerator_count` should be specified or none.")
    pool(job)["machineSpec"] = {"machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 3}
    refused(fake, job, says=["3", "NVIDIA_TESLA_T4"])
    pool(job)["machineSpec"] = {"machineType": "n1-standard-8", "acceleratorType": "WARP_DRIVE", "acceleratorCount": 1}
    refused(fake, job, says="WARP_DRIVE")
    del pool(job)["machineSpec"]
    refused(fake, job, field="job_spec.worker_pool_specs[0].machine_spec.machine_type")


def test_names_disks_timeouts_prefixes(fake, job):
    job["displayName"] = "x" * 129
    refused(fake, job, says=["129", "128"], field="display_name")
    job["displayName"] = "x"
    pool(job)["diskSpec"] = {"bootDiskSizeGb": 99}
    refused(fake, job, says="99", field="job_spec.worker_pool_specs[0].disk_spec.boot_disk_size_gb")
    del pool(job)["diskSpec"]
    job["jobSpec"]["scheduling"] = {"timeout": "0s"}
    refused(fake, job, field="job_spec.scheduling.timeout")
    job["jobSpec"]["scheduling"] = {"timeout": "soon"}
    refused(fake, job, says="soon")
    job["jobSpec"]["scheduling"] = {"TIMEOUT": "5s"}
    refused(fake, job, says='Unknown name "TIMEOUT"')
    del job["jobSpec"]["scheduling"]
    job["jobSpec"]["baseOutputDirectory"] = {"outputUriPrefix": "/tmp/x"}
    refused(fake, job, says="/tmp/x", field="job_spec.base_output_directory.output_uri_prefix")
    del job["jobSpec"]["baseOutputDirectory"]
    job["jobSpec"]["persistentResourceId"] = "nope"
    refused(fake, job, says="nope", field="job_spec.persistent_resource_id")
    del job["jobSpec"]["persistentResourceId"]
    job["jobSpec"]["workerPoolSpecs"] += [pool(job)] * 4
    refused(fake, job, says=["5", "4"], field="job_spec.worker_pool_specs")


def test_body_over_the_limit_and_at_it(make_server, job):
    s = make_server("--engine=fake", "--limit", "max_api_body=4096").start()
    text = json.dumps(job)
    assert s.call("POST", JOBS, text + " " * (4096 - len(text))).status_code == 200
    r = s.call("POST", JOBS, text + " " * (4097 - len(text)))
    assert r.status_code in (413, 429) and "max_api_body" in r.json()["error"]["message"]
    assert 'cusp_limit_rejections_total{name="max_api_body"} 1' in s.call("GET", "/metrics").text
    s.stop()


def test_header_over_the_limit(fake):
    r = fake.call("GET", JOBS, headers={"x-long": "y" * 70000})
    assert r.status_code == 431 and r.json()["error"]["code"] == 431
    r = fake.call("GET", JOBS, headers={f"x-{i}": "1" for i in range(120)})
    assert r.status_code == 431


@pytest.mark.parametrize("deep", ['{"a":' * 5000, "[" * 100000, '{"jobSpec":{"workerPoolSpecs":[' * 3000])
def test_json_bombs(fake, deep):
    err = refused(fake, deep)
    assert len(err["message"]) < 2000


def test_lists_refuse_bad_pages_and_filters(fake):
    for query, says in [("pageSize=-1", "-1"), ("pageToken=forged", "oken"), ("filter=state%3D", "filter"),
                        ("filter=nosuch%3D1", "nosuch"), ("orderBy=colour", "colour"), ("bogus=1", "bogus"),
                        ("pageSize=x", "x"), ("alt=xml", "xml"), ("callback=f", "callback")]:
        r = fake.call("GET", f"{JOBS}?{query}")
        assert r.status_code == 400, (query, r.text)
        assert says in r.json()["error"]["message"], (query, r.text)


def test_page_tokens_are_bound_to_their_list(fake):
    for _ in range(3):
        fake.wait(fake.create(fake_job())["name"])
    token = fake.call("GET", f"{JOBS}?pageSize=1").json()["nextPageToken"]
    r = fake.call("GET", f"/v1/projects/other/locations/us-central1/customJobs?pageSize=1&pageToken={token}")
    assert r.status_code == 400
    r = fake.call("GET", f"{JOBS}?pageSize=1&filter=display_name:*&pageToken={token}")
    assert r.status_code == 400
    r = fake.call("GET", f"{JOBS}?pageSize=1&pageToken={token[:-2]}AA")
    assert r.status_code == 400


def test_unknown_region_and_malformed_names(fake, job):
    r = fake.call("POST", "/v1/projects/demo/locations/mars-north1/customJobs", job)
    assert r.status_code == 400 and "mars-north1" in r.json()["error"]["message"]
    for method, body in (("POST", job), ("GET", None)):
        r = fake.call(method, "/v1/projects/-/locations/us-central1/customJobs", body)
        assert r.status_code == 400 and "projects/-/" in r.json()["error"]["message"], r.text
    r = fake.call("GET", f"{JOBS}/does-not-exist")
    assert r.status_code == 404 and "does-not-exist" in r.json()["error"]["message"]
    r = fake.call("POST", f"{JOBS}/1:cancel", {})
    assert r.status_code == 404
    assert fake.call("PUT", JOBS, {}).status_code == 404


def test_path_traversal_in_names(fake):
    for path in (f"{JOBS}/..%2F..%2Fetc", f"{JOBS}/%2e%2e", "/v1/projects/..%2f..%2fx/locations/us-central1/customJobs",
                 f"{JOBS}/%00", f"{JOBS}/%zz", f"{JOBS}/%ff"):
        r = raw(fake, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert r.split(" ")[1] in ("400", "404"), (path, r[:200])


def raw(server, text):
    host, port = server.url[len("http://"):].split(":")
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(text.encode("latin-1"))
        out = b""
        while chunk := s.recv(65536):
            out += chunk
    return out.decode("latin-1")


def test_listening_beyond_loopback_without_authentication_is_refused(make_server):
    s = make_server("--engine=fake", "--listen", "0.0.0.0:0")
    s.start(expect_ready=False)
    assert s.proc.wait(10) == 1 and "loopback" in s.log()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://", ""])
@pytest.mark.parametrize("path", [JOBS, "/storage/v1/b?project=demo", "/cusp/v1/images:importPath"])
def test_web_pages_of_another_origin_change_nothing(fake, job, origin, path):
    """A page may send JSON as text/plain without asking: the server has to look at the Origin."""
    r = fake.call("POST", path, json.dumps(job), headers={"Origin": origin, "Content-Type": "text/plain"})
    assert r.status_code == 403 and r.json()["error"]["status"] == "PERMISSION_DENIED", r.text
    assert fake.call("GET", JOBS).json() == {}


def test_a_page_of_the_server_itself_may_create(fake):
    r = fake.call("POST", JOBS, fake_job(), headers={"Origin": fake.url})
    assert r.status_code == 200, r.text


@pytest.mark.parametrize("host,status", [("evil.example", 403), ("127.0.0.1.evil.example:80", 403),
                                         ("localhost:8780", 200), ("[::1]:1", 200), ("cusp", 200),
                                         ("us-central1-aiplatform.googleapis.com", 200)])
def test_rebound_names_read_nothing(fake, host, status):
    """DNS rebinding: the page's own domain points at 127.0.0.1, so its reads are of the same origin."""
    assert fake.call("GET", JOBS, headers={"Host": host}).status_code == status


def test_stopping_while_an_import_runs_that_nobody_waits_for(fake, tmp_path):
    """The listener is gone before the import's turn on the disk lane is over."""
    with open(tmp_path / "zeros", "wb") as f:
        f.truncate(600 << 20)
    subprocess.run(["tar", "cf", tmp_path / "big.tar", "-C", tmp_path, "zeros"], check=True)
    body = json.dumps({"path": str(tmp_path / "big.tar"), "name": "big"})
    host, port = fake.url[len("http://"):].split(":")
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(f"POST /cusp/v1/images:importPath HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                  .encode())
        wait_until(lambda: 'cusp_lane_depth{lane="disk"} 1' in fake.call("GET", "/metrics").text, 10, "the import to run")
    fake.stop()
