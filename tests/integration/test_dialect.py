"""The JSON dialect of REST, rule by rule (reference 20 §1, §4 and 10 §1, §3, §4)."""
import gzip
import json
import zlib

import pytest

from conftest import PARENT, fake_job

JOBS = f"/v1/{PARENT}/customJobs"


def error(r, status=400, code="INVALID_ARGUMENT"):
    assert r.status_code == status, r.text
    err = r.json()["error"]
    assert err["code"] == status and err["status"] == code, err
    return err["message"]


def pool(job):
    return job["jobSpec"]["workerPoolSpecs"][0]


# ---- bodies

def test_one_body_may_mix_spellings_enum_forms_and_number_forms(fake):
    body = {"display_name": "mixed", "labels": {}, "error": None, "job_spec": {
        "scheduling": {"timeout": "600.5s", "disableRetries": True, "strategy": 1},
        "worker_pool_specs": [
            {"machine_spec": {"machineType": "n1-standard-8", "accelerator_type": 5, "accelerator_count": 1.0},
             "replica_count": "1", "container_spec": {"imageUri": "busybox", "args": []},
             "diskSpec": {"boot_disk_size_gb": 100.0, "bootDiskType": "pd-ssd"}},
            {"machineSpec": {"machine_type": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": "1"},
             "replicaCount": 2.0, "containerSpec": {"image_uri": "busybox"}}]}}
    job = fake.create(body)
    first, second = job["jobSpec"]["workerPoolSpecs"]
    assert first["machineSpec"] == second["machineSpec"] == {
        "machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}
    assert (first["replicaCount"], second["replicaCount"]) == ("1", "2")  # int64: strings; int32: numbers
    assert first["diskSpec"] == {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100}
    assert job["jobSpec"]["scheduling"] == {"timeout": "600.500s", "disableRetries": True, "strategy": "ON_DEMAND"}
    assert "labels" not in job and "error" not in job and "args" not in first["containerSpec"]


def test_the_same_field_in_both_spellings_the_last_wins(fake):
    body = fake_job()
    body["displayName"], body["display_name"] = "first", "second"
    assert fake.create(body)["displayName"] == "second"


@pytest.mark.parametrize("value", ["1.5", 1.5, "1e", "", " 1", "0x1", 9223372036854775808, 1e30, True, {}])
def test_what_is_no_int64_is_refused_and_named(fake, value):
    body = fake_job()
    pool(body)["replicaCount"] = value
    assert "worker_pool_specs[0].replica_count' (TYPE_INT64)" in error(fake.call("POST", JOBS, body))


def test_a_list_where_one_value_is_due_and_the_reverse(fake):
    body = fake_job()
    pool(body)["replicaCount"] = [1]
    assert 'Unknown name "replica_count"' in error(fake.call("POST", JOBS, body))
    body = fake_job()
    pool(body)["containerSpec"]["args"] = "one"
    assert "Proto field is repeating, a list is expected." in error(fake.call("POST", JOBS, body))


def test_enums_unknown_by_name_are_refused_and_by_number_kept(fake):
    body = fake_job()
    body["jobSpec"]["scheduling"] = {"strategy": "SOMEDAY"}
    assert '(type.googleapis.com/google.cloud.aiplatform.v1.Scheduling.Strategy), "SOMEDAY"' in error(fake.call("POST", JOBS, body))
    body["jobSpec"]["scheduling"] = {"strategy": 77}
    assert fake.get(fake.create(body)["name"])["jobSpec"]["scheduling"]["strategy"] == 77


def test_durations_that_are_none_say_why(fake):
    body = fake_job()
    for text, says in (("315576000001s", "at most 315576000000"), ("1.0000000001s", "nine digits"), ("5m", "end with 's'")):
        body["jobSpec"]["scheduling"] = {"timeout": text}
        assert says in error(fake.call("POST", JOBS, body))


def test_output_only_fields_are_ignored(fake):
    body = fake_job(run_ms=20) | {"name": "x", "state": "JOB_STATE_FAILED", "createTime": "2001-02-03T04:05:06Z",
                                  "endTime": "2001-02-03T04:05:06+02:00", "webAccessUris": {"a": "b"}, "satisfiesPzs": True,
                                  "error": {"code": 3, "message": "no"}}
    job = fake.create(body)
    assert job["name"].startswith("projects/") and job["createTime"] > "2020" and job["state"] != "JOB_STATE_FAILED"
    assert not {"endTime", "webAccessUris", "error", "satisfiesPzs"} & set(job)
    assert fake.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED"


def test_text_is_utf8_in_and_out_however_it_is_escaped(fake):
    body = fake_job()
    body["displayName"] = "ÄÖ 학습 😀"
    raw = json.dumps(body, ensure_ascii=False).encode()
    escaped = json.dumps(body, ensure_ascii=True).encode()
    for text in (raw, escaped, b"\xef\xbb\xbf" + raw):  # PowerShell writes a byte order mark
        r = fake.call("POST", JOBS, text)
        assert r.status_code == 200 and "ÄÖ 학습 😀".encode() in r.content, r.text
        assert r.headers["content-type"] == "application/json; charset=UTF-8"


def test_nesting_limits_are_named_with_their_value(fake):
    for deep in ('{"labels":' + '{"a":' * 200 + "1" + "}" * 201, '{"x":' + "[" * 200 + "]" * 200 + "}"):
        assert "Nesting deeper than max_json_depth (100) at line 1" in error(fake.call("POST", JOBS, deep))
    at_the_limit = '{"x":' + "[" * 99 + "]" * 99 + "}"
    assert 'Unknown name "x"' in error(fake.call("POST", JOBS, at_the_limit))


# ---- bodies, wrapped

@pytest.mark.parametrize("encoding,pack", [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_compressed_bodies(fake, encoding, pack):
    r = fake.call("POST", JOBS, pack(json.dumps(fake_job()).encode()), headers={"Content-Encoding": encoding})
    assert r.status_code == 200, r.text
    assert r.json()["displayName"] == "test"


def test_compressed_bodies_that_are_damaged_too_large_or_of_another_kind(make_server):
    s = make_server("--engine=fake", "--limit", "max_api_body=4096").start()
    good = gzip.compress(json.dumps(fake_job()).encode())
    for data, says in ((good[:-9], "ends too early"), (good + b"x", "something follows"), (b"{}", "cannot be decompressed as gzip")):
        assert says in error(s.call("POST", JOBS, data, headers={"Content-Encoding": "gzip"}))
    bomb = gzip.compress(b" " * 3_000_000)
    assert len(bomb) < 4096
    r = s.call("POST", JOBS, bomb, headers={"Content-Encoding": "gzip"})
    assert "max_api_body (4096 bytes)" in error(r, 429, "RESOURCE_EXHAUSTED")
    assert 'cusp_limit_rejections_total{name="max_api_body"} 1' in s.call("GET", "/metrics").text
    r = s.call("POST", JOBS, b"xx", headers={"Content-Encoding": "br"})
    assert r.status_code == 415 and '"br" is not supported' in r.json()["error"]["message"]
    assert s.call("GET", JOBS).json() == {}
    s.stop()


# ---- parameters

STANDARD = ["alt=json", "$alt=json", "%24alt=json%3Benum-encoding%3Dstring", "prettyPrint=true", "$prettyPrint=true", "key=K", "$key=K",
            "$apiKey=K", "quotaUser=me", "$quotaUser=me", "access_token=T", "oauth_token=T", "$.xgafv=1", "$.xgafv=2",
            "%24.xgafv=2", "uploadType=media", "upload_protocol=raw", "$userProject=p", "$apiVersion=v1", "fields=", "$unique=1"]


def test_every_method_takes_the_standard_parameters(fake):
    name = fake.create(fake_job())["name"]
    fake.wait(name)
    want = fake.call("GET", "/v1/" + name).text
    for one in STANDARD:
        r = fake.call("GET", f"/v1/{name}?{one}")
        assert r.status_code == 200 and r.text == want, (one, r.text)
        r = fake.call("POST", f"{JOBS}?{one}", {"displayName": "x"})
        assert "job_spec" in error(r), one  # read as far as the body
    assert fake.call("GET", f"/v1/{name}?" + "&".join(STANDARD)).text == want


@pytest.mark.parametrize("query,says", [("callback=f", "callback"), ("$callback=f", "callback"), ("alt=media", "media"),
                                        ("alt=proto", "proto"), ("$alt=sse", "sse"), ("fields=a(b", "Invalid field selection a(b"),
                                        ("userProject=p", "userProject"), ("$nope=1", "$nope")])
def test_parameters_that_cannot_be_honoured_are_refused(fake, query, says):
    assert says in error(fake.call("GET", f"{JOBS}?{query}"))


def test_unknown_parameters_get_the_published_text(fake):
    assert error(fake.call("GET", f"{JOBS}?colour=red")) == (
        'Invalid JSON payload received. Unknown name "colour": Cannot bind query parameter. '
        "Field 'colour' could not be found in request message.")


def test_enums_are_integers_when_asked_for_in_any_spelling(fake):
    name = fake.create(fake_job())["name"]
    assert fake.wait(name)["state"] == "JOB_STATE_SUCCEEDED"
    for q in ("$alt=json;enum-encoding=int", "%24alt=json%3Benum-encoding%3Dint", "alt=json;enum-encoding=int"):
        assert fake.call("GET", f"/v1/{name}?{q}").json()["state"] == 4
        assert fake.call("GET", f"{JOBS}?{q}").json()["customJobs"][0]["state"] == 4


def test_pretty_is_two_spaces_and_a_newline_and_can_be_turned_off(fake):
    name = fake.create(fake_job())["name"]
    fake.wait(name)
    r = fake.call("GET", "/v1/" + name)
    assert r.text == json.dumps(r.json(), indent=2, ensure_ascii=False) + "\n"
    for q in ("prettyPrint=false", "$prettyPrint=false"):
        assert fake.call("GET", f"/v1/{name}?{q}").text == json.dumps(r.json(), separators=(",", ":")) + "\n"


def test_errors_are_compact_and_of_the_older_form_when_asked(fake):
    where = "/v1/projects/demo/locations/us-central1/customJobs/1"
    plain = fake.call("GET", where)
    assert plain.text == json.dumps(plain.json(), indent=2, ensure_ascii=False) + "\n"
    assert "errors" not in plain.json()["error"] and plain.json() == fake.call("GET", where + "?$.xgafv=2").json()
    assert fake.call("GET", where + "?prettyPrint=false").text == json.dumps(plain.json(), separators=(",", ":")) + "\n"
    old = fake.call("GET", where + "?$.xgafv=1").json()["error"]
    assert old.pop("errors") == [{"message": old["message"], "domain": "global", "reason": "notFound"}]
    assert old == plain.json()["error"]
    assert fake.call("GET", where + "?$.xgafv=1&nonsense=1").json()["error"]["errors"][0]["reason"] == "badRequest"


def test_partial_answers_by_parameter_and_by_header(fake):
    name = fake.create(fake_job())["name"]
    fake.wait(name)
    want = {"name": name, "jobSpec": {"workerPoolSpecs": [{"replicaCount": "1"}]}}
    for fields in ("name,jobSpec/workerPoolSpecs/replicaCount", "name,job_spec.worker_pool_specs(replica_count)"):
        assert fake.call("GET", f"/v1/{name}?fields={fields}").json() == want
        assert fake.call("GET", f"/v1/{name}?$fields={fields}").json() == want
        assert fake.call("GET", "/v1/" + name, headers={"X-Goog-FieldMask": fields}).json() == want


def test_selected_fields_that_do_not_exist_are_refused_in_googles_words(fake):
    name = fake.create(fake_job())["name"]
    for fields, path in (("nothing", "nothing"), ("name,nothing", "nothing"), ("jobSpec/workerPoolSpec", "jobSpec.workerPoolSpec"),
                         ("state/x", "state.x"), ("jobSpec(workerPoolSpecs(replicaCount(x)))", "jobSpec.workerPoolSpecs.replicaCount.x")):
        says = f"Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
        for kw in ({"params": {"fields": fields}}, {"headers": {"X-Goog-FieldMask": fields}}):
            r = fake.call("GET", "/v1/" + name, **kw)
            assert error(r) == says
            assert r.json()["error"]["details"][0]["fieldViolations"] == [{"field": path, "description": says}]


def test_fields_of_maps_operations_and_everything_may_be_selected(fake):
    job = fake_job(run_ms=1)
    name = fake.create(job)["name"]
    fake.wait(name)
    key, value = next(iter(job["labels"].items()))
    assert fake.call("GET", f"/v1/{name}?fields=labels/{key},error/*").json() == {"labels": {key: value}}
    assert fake.call("GET", f"/v1/{name}?fields=*").json() == fake.get(name)
    done = fake.call("DELETE", f"/v1/{name}?fields=done,metadata/genericMetadata/createTime,response").json()
    assert done["done"] is True and set(done) <= {"done", "metadata", "response"}


def test_query_parameters_in_both_spellings(fake):
    for _ in range(3):
        fake.wait(fake.create(fake_job())["name"])
    camel = fake.call("GET", f"{JOBS}?pageSize=2&readMask=displayName").json()
    assert camel == fake.call("GET", f"{JOBS}?page_size=2&read_mask=display_name").json()
    assert camel["customJobs"] == [{"displayName": "test"}] * 2
    rest = fake.call("GET", f"{JOBS}?page_token={camel['nextPageToken']}&page_size=2").json()
    assert len(rest["customJobs"]) == 1


# ---- request lines

def test_method_override(fake):
    name = fake.create(fake_job())["name"]
    done = fake.wait(name)

    def post(method, path, **kw):
        return fake.call("POST", path, headers={"X-HTTP-Method-Override": method} | kw.pop("headers", {}), **kw)

    assert post("GET", "/v1/" + name).json() == done
    assert post("GET", JOBS + "?pageSize=1").json()["customJobs"] == [done]
    err = error(post("PATCH", "/v1/" + name, body="{}"), 404, "NOT_FOUND")
    assert err.startswith("PATCH is not allowed on ") and "GET" in err and "DELETE" in err
    error(post("BREW", "/v1/" + name), 404, "NOT_FOUND")
    r = fake.call("GET", "/v1/" + name, headers={"X-HTTP-Method-Override": "DELETE"})
    assert r.json() == done, "only POST can stand for something else"
    assert post("DELETE", "/v1/" + name).json()["done"] is True
    assert fake.call("GET", "/v1/" + name).status_code == 404


def test_a_long_get_may_carry_its_query_in_the_body(fake):
    job = fake.wait(fake.create(fake_job())["name"])
    form = {"X-HTTP-Method-Override": "GET", "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    long_filter = " OR ".join(f'display_name="{"x" * 60}{i}"' for i in range(90)) + ' OR display_name="test"'
    r = fake.http.post(fake.url + JOBS + "?pageSize=5", data={"filter": long_filter, "fields": "customJobs/name"}, headers=form)
    assert r.status_code == 200 and r.json() == {"customJobs": [{"name": job["name"]}]}, r.text
    r = fake.http.post(fake.url + JOBS, data={"bogus": "1"}, headers=form)
    assert "bogus" in error(r)
    r = fake.http.post(fake.url + JOBS, data={"callback": "f"}, headers=form)
    assert "callback" in error(r)


@pytest.mark.parametrize("prefix", ["//v1/", "/v1//", "///v1beta1///", "//ui/"])
def test_doubled_and_trailing_slashes(fake, prefix):
    name = fake.create(fake_job())["name"]
    done = fake.wait(name)
    assert fake.call("GET", prefix + name).json() == done
    assert fake.call("GET", prefix + name.replace("/", "//") + "/").json() == done


def test_names_take_the_projects_id_and_answers_give_its_number(fake):
    name = fake.create(fake_job())["name"]
    fake.wait(name)
    number = name.split("/")[1]
    assert number.isdigit()
    for project in ("demo", number):
        path = f"/v1/projects/{project}/locations/us-central1/customJobs"
        assert fake.call("GET", path).json()["customJobs"][0]["name"] == name
        assert fake.call("GET", path + "/" + name.split("/")[-1]).json()["name"] == name


def test_the_routing_header_is_not_believed(fake):
    name = fake.create(fake_job())["name"]
    r = fake.call("GET", "/v1/" + name, headers={"x-goog-request-params": "name=projects%2Fother%2Flocations%2Fx"})
    assert r.json()["name"] == name
