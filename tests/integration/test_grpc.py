"""gRPC as grpcio speaks it: every built method, errors with details, deadlines, cancelling, streams, flow control."""
import os
import threading
from concurrent import futures

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from conftest import PARENT, wait_until
from grpcraw import V1, connect
import tls_files

JOBS = V1 + "JobService/"
OPS = "google.longrunning.Operations/"
LOC = "google.cloud.location.Locations/"


def job(image="busybox", **labels):
    return {"display_name": "test", "labels": {"cusp-test-" + k.replace("_", "-"): str(v) for k, v in labels.items()},
            "job_spec": {"worker_pool_specs": [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1,
                                                "container_spec": {"image_uri": image, "command": ["true"]}}]}}


@pytest.fixture
def rpc(make_server, request):
    server = make_server("--engine=fake")
    ca = None
    if getattr(request, "param", "clear") == "tls":
        ca = tls_files.write(os.path.join(server.data_dir, "tls"))
    server.start()
    channel, stubs = connect(server, ca, **{"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1})
    stubs.server = server
    yield stubs
    channel.close()
    if server.proc.poll() is None:
        server.stop()


over_tls_too = pytest.mark.parametrize("rpc", ["clear", "tls"], indirect=True)


def failure(fn, *args, **kw):
    with pytest.raises(grpc.RpcError) as e:
        fn(*args, **kw)
    return e.value


def bad_fields(error):
    """field: description of the BadRequest in grpc-status-details-bin; checks that it agrees with the plain status."""
    status = rpc_status.from_call(error)
    out = {}
    for any_ in status.details if status else []:
        bad = error_details_pb2.BadRequest()
        if any_.Unpack(bad):
            out.update({v.field: v.description for v in bad.field_violations})
    return out


def ended(rpc, **labels):
    """The name of a job that has ended."""
    name = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=job(**labels)).name
    rpc.server.wait(name)
    return name


# ---- jobs

@over_tls_too
def test_a_job_lives_its_life_over_grpc(rpc):
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=job(run_ms=50))
    assert made.name.startswith("projects/") and made.create_time.seconds > 0
    end = wait_until(lambda: (lambda j: j if j.state == 4 else None)(rpc(JOBS + "GetCustomJob", name=made.name)), 30)
    assert end.end_time.seconds >= end.create_time.seconds
    assert rpc.server.get(made.name)["state"] == "JOB_STATE_SUCCEEDED"  # REST sees the same job
    page = rpc(JOBS + "ListCustomJobs", parent=PARENT, page_size=1)
    assert [j.name for j in page.custom_jobs] == [made.name]
    op = rpc(JOBS + "DeleteCustomJob", name=made.name)
    assert op.done and op.response.type_url == "type.googleapis.com/google.protobuf.Empty"
    assert failure(rpc, JOBS + "GetCustomJob", name=made.name).code() == grpc.StatusCode.NOT_FOUND


def test_get_is_the_same_message_however_it_is_asked_for(rpc):
    name = ended(rpc, exit=3)
    got = rpc(JOBS + "GetCustomJob", name=name)
    listed = rpc(JOBS + "ListCustomJobs", parent=PARENT).custom_jobs[0]
    assert got == listed and got.error.code != 0 and got.error.message
    rest = rpc.server.get(name)
    assert got.state == 5 and rest["state"] == "JOB_STATE_FAILED" and rest["error"]["message"] == got.error.message


def test_lists_page_and_filter(rpc):
    names = [rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job={**job(), "display_name": f"n{i}"}).name
             for i in range(5)]
    seen, token = [], ""
    while True:
        page = rpc(JOBS + "ListCustomJobs", parent=PARENT, page_size=2, page_token=token)
        assert len(page.custom_jobs) <= 2
        seen += [j.name for j in page.custom_jobs]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(names)
    page = rpc(JOBS + "ListCustomJobs", parent=PARENT, filter='display_name="n3"')
    assert [j.name for j in page.custom_jobs] == [names[3]]


def test_a_read_mask_selects_over_grpc_too(rpc):
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=job())
    page = rpc(JOBS + "ListCustomJobs", parent=PARENT, read_mask={"paths": ["name", "display_name"]})
    (got,) = page.custom_jobs
    assert got.name == made.name and got.display_name == "test"
    assert not got.HasField("job_spec") and got.state == 0 and not got.HasField("create_time")


def test_cancel_stops_a_running_job(rpc):
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=job(run_ms=600000))
    wait_until(lambda: rpc(JOBS + "GetCustomJob", name=made.name).state == 3, 30)
    rpc(JOBS + "CancelCustomJob", name=made.name)
    wait_until(lambda: rpc(JOBS + "GetCustomJob", name=made.name).state == 7, 30)


def test_a_pool_without_replica_count_has_one(rpc):
    j = job()
    del j["job_spec"]["worker_pool_specs"][0]["replica_count"]
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=j)
    assert made.job_spec.worker_pool_specs[0].replica_count == 1


def test_what_only_the_server_may_say_is_ignored(rpc):
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT,
               custom_job={**job(), "name": "mine", "state": 5, "end_time": {"seconds": 5, "nanos": 7},
                           "web_access_uris": {"a": "b"}, "error": {"code": 3, "message": "mine"}})
    for got in (made, rpc(JOBS + "GetCustomJob", name=made.name)):
        assert got.name != "mine" and got.state != 5 and not got.web_access_uris
        assert not got.HasField("end_time") or got.end_time.nanos != 7
        assert got.error.message != "mine"


def test_v1beta1_is_the_same_resource(rpc):
    beta = "google.cloud.aiplatform.v1beta1.JobService/"
    made = rpc(beta + "CreateCustomJob", parent=PARENT, custom_job=job())
    rpc.server.wait(made.name)
    assert rpc(JOBS + "GetCustomJob", name=made.name).name == made.name
    assert rpc(beta + "ListCustomJobs", parent=PARENT).custom_jobs[0].name == made.name
    op = rpc(beta + "DeleteCustomJob", name=made.name)
    assert op.metadata.type_url == "type.googleapis.com/google.cloud.aiplatform.v1beta1.DeleteOperationMetadata"


def test_routing_metadata_is_not_what_decides(rpc):
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=job())
    got = rpc(JOBS + "GetCustomJob", name=made.name,
              _metadata=[("x-goog-request-params", "name=projects/other/locations/nowhere/customJobs/1"),
                         ("x-goog-api-client", "gapic/1"), ("x-goog-api-client", "cred-type/u"),
                         ("trace-bin", b"\x00\x01\xff")])
    assert got.name == made.name


# ---- operations, locations

def test_operations_and_locations_are_on_the_same_port(rpc):
    op = rpc(JOBS + "DeleteCustomJob", name=ended(rpc))
    assert op.metadata.type_url == "type.googleapis.com/google.cloud.aiplatform.v1.DeleteOperationMetadata"
    assert rpc(OPS + "GetOperation", name=op.name).done
    assert rpc(OPS + "WaitOperation", name=op.name).name == op.name
    assert op.name in [o.name for o in rpc(OPS + "ListOperations", name=PARENT).operations]
    rpc(OPS + "DeleteOperation", name=op.name)
    e = failure(rpc, OPS + "GetOperation", name=op.name)
    assert e.code() == grpc.StatusCode.NOT_FOUND and op.name in e.details()
    assert rpc(LOC + "GetLocation", name=PARENT).location_id == "us-central1"
    assert "europe-west4" in [x.location_id for x in rpc(LOC + "ListLocations", name="projects/demo").locations]


# ---- errors

@over_tls_too
def test_errors_carry_the_same_details_as_rest(rpc):
    j = {"display_name": "x" * 200, "job_spec": {"worker_pool_specs": [
        {"machine_spec": {"machine_type": "no-such-machine"}, "replica_count": 1, "container_spec": {"image_uri": "b"}}]}}
    e = failure(rpc, JOBS + "CreateCustomJob", parent=PARENT, custom_job=j)
    rest = rpc.server.call("POST", f"/v1/{PARENT}/customJobs", {
        "displayName": "x" * 200, "jobSpec": {"workerPoolSpecs": [
            {"machineSpec": {"machineType": "no-such-machine"}, "replicaCount": 1, "containerSpec": {"imageUri": "b"}}]}})
    assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and rest.status_code == 400
    assert e.details() == rest.json()["error"]["message"]
    (detail,) = rest.json()["error"]["details"]
    assert bad_fields(e) == {v["field"]: v["description"] for v in detail["fieldViolations"]}
    assert len(bad_fields(e)) == 2


def test_an_error_that_names_no_field_has_a_plain_status(rpc):
    e = failure(rpc, JOBS + "GetCustomJob", name=PARENT + "/customJobs/1")
    assert e.code() == grpc.StatusCode.NOT_FOUND
    assert e.details().endswith('/locations/us-central1/customJobs/1" does not exist.')
    assert rpc_status.from_call(e) is None


def test_many_violations_still_fit_into_trailers(rpc):
    j = job()
    j["labels"] = {f"BAD KEY {i} " + "x" * 60: "v" for i in range(60)}
    e = failure(rpc, JOBS + "CreateCustomJob", parent=PARENT, custom_job=j)
    assert e.code() == grpc.StatusCode.INVALID_ARGUMENT, e.details()
    assert bad_fields(e)


def test_a_text_outside_ascii_survives_in_the_status(rpc):
    e = failure(rpc, JOBS + "GetCustomJob", name="Jürgen's 100% näme\n")
    assert e.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Jürgen's 100% näme" in e.details()


@pytest.mark.parametrize("method, says", [
    (JOBS + "NoSuchMethod", "unknown method NoSuchMethod for service google.cloud.aiplatform.v1.JobService"),
    ("no.Such/Thing", "unknown service no.Such"),
    (JOBS + "CreateNasJob", "not implemented"),
    ("google.iam.v1.IAMPolicy/GetIamPolicy", "not implemented"),
    ("google.cloud.aiplatform.v1beta1.EndpointService/FetchPublisherModelConfig", "not implemented"),
])
def test_what_is_not_there_is_unimplemented(rpc, method, says):
    call = rpc.channel.unary_unary("/" + method)
    e = failure(call, b"", timeout=10)
    assert e.code() == grpc.StatusCode.UNIMPLEMENTED and says in e.details()


# ---- time

@over_tls_too
def test_a_deadline_that_passes_ends_the_call_and_nothing_else(rpc):
    """Watch never ends by itself; the deadline does it, and the connection goes on."""
    watch = health_pb2_grpc.HealthStub(rpc.channel).Watch(health_pb2.HealthCheckRequest(), timeout=0.3)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    e = failure(next, watch)
    assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert rpc(LOC + "GetLocation", name=PARENT).location_id == "us-central1"


def test_cancelling_a_stream_frees_it(fake):
    channel, _ = connect(fake)
    stub = health_pb2_grpc.HealthStub(channel)
    for _ in range(1100):  # more than max_grpc_streams, one after the other
        w = stub.Watch(health_pb2.HealthCheckRequest())
        next(w)
        w.cancel()
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
    channel.close()


def test_too_many_streams_are_refused_with_a_time_to_retry(make_server, tmp_path):
    config = tmp_path / "cusp.conf"
    config.write_text("[limits]\nmax_grpc_streams = 3\n")
    s = make_server("--engine=fake", "--config", str(config)).start()
    channel, _ = connect(s)
    stub = health_pb2_grpc.HealthStub(channel)
    held = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
    for w in held:
        next(w)
    e = failure(next, stub.Watch(health_pb2.HealthCheckRequest()))
    assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "max_grpc_streams is 3" in e.details()
    retry = error_details_pb2.RetryInfo()
    assert rpc_status.from_call(e).details[0].Unpack(retry) and retry.retry_delay.seconds == 5
    held[0].cancel()
    wait_until(lambda: _serves(stub), 10, "a stream to be free again")
    channel.close()
    s.stop()


def _serves(stub):
    w = stub.Watch(health_pb2.HealthCheckRequest())
    try:
        next(w)
        return True
    except grpc.RpcError:
        return False
    finally:
        w.cancel()


# ---- many, and large

@over_tls_too
def test_many_calls_at_once_on_one_connection(rpc):
    create, request = rpc.stub(JOBS + "CreateCustomJob")
    made = [f.result() for f in [create.future(request(parent=PARENT, custom_job={**job(), "display_name": f"j{i}"}),
                                               timeout=60) for i in range(300)]]
    assert len({m.name for m in made}) == 300
    get, request = rpc.stub(JOBS + "GetCustomJob")
    got = [f.result() for f in [get.future(request(name=m.name), timeout=60) for m in made]]
    assert [g.display_name for g in got] == [f"j{i}" for i in range(300)]


def test_many_threads_with_a_channel_each(fake):
    def work(i):
        channel, stubs = connect(fake, **{"grpc.use_local_subchannel_pool": 1})
        try:
            return [stubs(LOC + "GetLocation", name=PARENT).location_id for _ in range(20)]
        finally:
            channel.close()

    with futures.ThreadPoolExecutor(8) as pool:
        for got in pool.map(work, range(16)):
            assert got == ["us-central1"] * 20


def large_job(bytes_):
    j = job()
    j["job_spec"]["worker_pool_specs"][0]["container_spec"]["env"] = [
        {"name": f"E{i}", "value": "v" * 100000} for i in range(bytes_ // 100000)]
    return j


@over_tls_too
@pytest.mark.parametrize("how", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_large_messages_go_both_ways(rpc, how):
    made = rpc(JOBS + "CreateCustomJob", parent=PARENT, custom_job=large_job(3000000), _compression=how)
    env = made.job_spec.worker_pool_specs[0].container_spec.env
    assert len(env) == 30 and all(e.value == "v" * 100000 for e in env)
    assert rpc(JOBS + "GetCustomJob", name=made.name).job_spec == made.job_spec


def test_a_message_over_the_limit_is_refused_by_name(rpc):
    for how in (None, grpc.Compression.Gzip):
        e = failure(rpc, JOBS + "CreateCustomJob", parent=PARENT, custom_job=large_job(11000000), _compression=how)
        assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_grpc_message (10485760 bytes)" in e.details()


# ---- health and reflection

@over_tls_too
def test_health_of_the_server_and_of_each_service(rpc):
    stub = health_pb2_grpc.HealthStub(rpc.channel)
    serving = health_pb2.HealthCheckResponse
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(service=JOBS[:-1])).status == serving.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(service="google.iam.v1.IAMPolicy")).status == serving.NOT_SERVING
    e = failure(stub.Check, health_pb2.HealthCheckRequest(service="no.Such"))
    assert e.code() == grpc.StatusCode.NOT_FOUND
    w = stub.Watch(health_pb2.HealthCheckRequest(service="no.Such"))
    assert next(w).status == serving.SERVICE_UNKNOWN
    w.cancel()
    all_ = stub.List(health_pb2.HealthListRequest(), timeout=10).statuses
    assert all_[""].status == serving.SERVING and all_[JOBS[:-1]].status == serving.SERVING


def test_watch_tells_when_the_server_goes(fake):
    channel, _ = connect(fake)
    w = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert next(w).status == health_pb2.HealthCheckResponse.SERVING
    idle = threading.Event()
    q = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(lambda: idle.wait(), True))
    t = threading.Thread(target=fake.stop)
    t.start()
    assert next(w).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert failure(next, w).code() == grpc.StatusCode.UNAVAILABLE
    assert failure(next, q).code() == grpc.StatusCode.UNAVAILABLE
    t.join(30)
    idle.set()
    channel.close()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_teaches_every_service(fake, version):
    channel, stubs = connect(fake)
    ask = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    (r,) = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]), timeout=30)
    services = [s.name for s in r.list_services_response.service]
    for want in (JOBS[:-1], OPS[:-1], LOC[:-1], "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"):
        assert want in services
    for s in services:
        stubs.learn(s, version)
        assert stubs.pool.FindServiceByName(s).methods
    channel.close()


@over_tls_too
def test_reflection_answers_question_by_question(rpc):
    """A stream answers while it is open; what was sent once is not sent again; nonsense is an answer too."""
    R = reflection_pb2.ServerReflectionRequest
    gate = threading.Semaphore(0)
    questions = [R(file_containing_symbol=JOBS[:-1]), R(file_containing_symbol=V1 + "PipelineService"),
                 R(file_by_filename="google/rpc/status.proto"), R(file_by_filename="no/such.proto"),
                 R(file_containing_symbol="no.Such"), R(),
                 R(file_containing_extension={"containing_type": "google.protobuf.MethodOptions", "extension_number": 72295728}),
                 R(all_extension_numbers_of_type="google.protobuf.MethodOptions"),
                 R(all_extension_numbers_of_type="no.Such")]

    def ask():
        for q in questions:
            gate.acquire()
            yield q

    answers = []
    gate.release()
    for a in reflection_pb2_grpc.ServerReflectionStub(rpc.channel).ServerReflectionInfo(ask(), timeout=30):
        answers.append(a)
        gate.release()
    assert [a.original_request for a in answers] == questions
    assert len(answers[0].file_descriptor_response.file_descriptor_proto) > 20
    assert len(answers[1].file_descriptor_response.file_descriptor_proto) < 20
    assert len(answers[2].file_descriptor_response.file_descriptor_proto) == 1
    assert [a.error_response.error_code for a in answers[3:6]] == [5, 5, 3]
    assert answers[6].file_descriptor_response.file_descriptor_proto
    assert 72295728 in answers[7].all_extension_numbers_response.extension_number
    assert answers[8].error_response.error_code == 5
