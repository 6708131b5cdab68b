"""What no gRPC library sends: bad frames, lying lengths, compression gone wrong, heads that are not gRPC, clients
that vanish. After each the server is asked something ordinary."""
import collections
import gzip
import zlib

import pytest
import requests

from conftest import PARENT, fake_job, wait_until
from grpcraw import Raw, frame, packed

LOCATION = "google.cloud.location.Locations/GetLocation"
GET = "google.cloud.aiplatform.v1.JobService/GetCustomJob"
CREATE = "google.cloud.aiplatform.v1.JobService/CreateCustomJob"
LIST_OPS = "google.longrunning.Operations/ListOperations"
CHECK, WATCH = "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"
REFLECT = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
OK, CANCELLED, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 1, 3, 4, 8, 12, 13
MAX = 10485760


def text(field, value):
    """One string field of a protobuf message."""
    v = value.encode()
    n, size = len(v), b""
    while n > 127:
        size += bytes([n & 127 | 128])
        n >>= 7
    return bytes([field << 3 | 2]) + size + bytes([n]) + v


ASK = text(1, PARENT)  # GetLocationRequest.name


@pytest.fixture
def raw(fake):
    with Raw(fake.url) as r:
        yield r
        if not r.closed and r.goaway is None:
            assert r.call(LOCATION, frame(ASK)).code == OK  # the connection is as good as before
    assert requests.get(fake.url + "/healthz", timeout=10).status_code == 200


# ---- the ordinary, by hand

def test_an_answer_is_head_message_trailers(raw):
    r = raw.call(LOCATION, frame(ASK))
    assert r.headers[":status"] == "200" and r.headers["content-type"] == "application/grpc"
    assert r.headers["grpc-accept-encoding"] == "identity,deflate,gzip"
    assert r.trailers == {"grpc-status": "0"} and len(r.messages) == 1
    assert "grpc-encoding" not in r.headers and r.body[0] == 0


def test_an_error_is_one_block_of_headers(raw):
    r = raw.call(GET, frame(text(1, PARENT + "/customJobs/1")))
    assert r.trailers_only and r.trailers is None and r.body == b""
    assert r.headers[":status"] == "200" and r.code == 5 and "does not exist" in r.message


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
def test_content_types_of_grpc(raw, kind):
    assert raw.call(LOCATION, frame(ASK), content_type=kind).code == OK


def test_the_body_may_come_in_any_pieces(raw):
    body = frame(ASK)
    for size in (1, 2, 4, 5, 6, 7, len(body) - 1):
        sid = raw.start(LOCATION)
        for at in range(0, len(body), size):
            raw.send(sid, body[at:at + size])
        raw.send(sid, b"", end=True)  # the half-close comes on its own
        assert raw.wait(sid).code == OK


def test_a_call_waits_for_the_half_close(raw):
    sid = raw.start(LOCATION)
    raw.send(sid, frame(ASK))
    assert raw.call(LOCATION, frame(ASK)).code == OK  # others pass
    assert not raw.replies[sid].headers
    raw.send(sid, b"", end=True)
    assert raw.wait(sid).code == OK


def test_an_empty_message_is_a_message(raw):
    assert raw.call(CHECK, frame()).code == OK
    r = raw.call(GET, frame())
    assert r.code == INVALID and "name" in r.message


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_compressed_requests_are_read(raw, how):
    assert raw.call(LOCATION, packed(ASK, how), grpc_encoding=how).code == OK
    assert raw.call(LOCATION, frame(ASK), grpc_encoding=how).code == OK  # the flag decides, message by message


# ---- frames

@pytest.mark.parametrize("body, code, says", [
    (b"", UNIMPLEMENTED, "the client sent none"),
    (b"\0", INTERNAL, "1 of 5 bytes"),
    (b"\0\0\0\0", INTERNAL, "4 of 5 bytes"),
    (frame(ASK)[:-1], INTERNAL, f"{len(ASK) - 1} of {len(ASK)} bytes"),
    (frame(ASK, length=len(ASK) + 1), INTERNAL, f"{len(ASK)} of {len(ASK) + 1} bytes"),
    (frame(ASK, length=MAX), INTERNAL, f"{len(ASK)} of {MAX} bytes"),
    (frame(ASK, length=MAX + 1), EXHAUSTED, f"{MAX + 1} bytes is larger than the limit max_grpc_message ({MAX} bytes)"),
    (frame(ASK, length=0xffffffff), EXHAUSTED, "max_grpc_message"),
    (frame(ASK, length=len(ASK) - 1), INVALID, "Malformed"),
    (frame(ASK, length=0), INTERNAL, "compressed flag is 10"),
    (frame(ASK) + frame(ASK), UNIMPLEMENTED, "the client sent more"),
    (frame(ASK) + b"\0", INTERNAL, "1 of 5 bytes"),
    (frame(ASK, flag=2), INTERNAL, "compressed flag is 2"),
    (frame(ASK, flag=255), INTERNAL, "compressed flag is 255"),
    (frame(ASK, flag=1), INTERNAL, "grpc-encoding names no compression"),
    (frame(b"\xff\xff\xff"), INVALID, "Malformed protobuf message of type google.cloud.location.GetLocationRequest"),
    (frame(text(1, "x")[:-1] + b"\xff"), INVALID, "UTF-8"),
    (frame(b"\x0a\x01\x00"), INVALID, "NUL"),
])
def test_bad_frames(raw, body, code, says):
    r = raw.call(LOCATION, body)
    assert r.code == code and says in r.message
    if code == INVALID and "Malformed" not in says:
        assert "grpc-status-details-bin" in r.headers


def test_a_request_without_a_body_has_no_message(raw):
    sid = raw.start(LOCATION, end=True)
    r = raw.wait(sid)
    assert r.code == UNIMPLEMENTED and "sent none" in r.message


def test_a_lying_length_costs_no_memory(raw, fake):
    """A hundred streams each announce 10 MB and send nothing: only what comes is kept."""
    sids = [raw.start(LOCATION) for _ in range(90)]
    for s in sids:
        raw.send(s, frame(b"", length=MAX))
    raw.call(LOCATION, frame(ASK))
    with open(f"/proc/{fake.proc.pid}/status", encoding="ascii") as f:
        kb = int(next(line for line in f if line.startswith("VmRSS")).split()[1])
    assert kb < 600 * 1024  # 900 MB were announced; the rest is the sanitizer's
    for s in sids:
        raw.send(s, b"", end=True)
    for s in sids:
        assert raw.wait(s).code == INTERNAL


def test_nesting_is_bounded(raw):
    body = b""
    for _ in range(3000):  # CreateCustomJobRequest.custom_job.error.details... : Value within Value
        n, size = len(body), b""
        while n > 127:
            size += bytes([n & 127 | 128])
            n >>= 7
        body = b"\x32" + size + bytes([n]) + body
    r = raw.call("google.cloud.aiplatform.v1.JobService/CreateCustomJob", frame(body))
    assert r.code == INVALID


# ---- compression

@pytest.mark.parametrize("bad, says", [
    (gzip.compress(ASK, mtime=0)[:-1], "ends too early"),
    (gzip.compress(ASK, mtime=0)[:4], "ends too early"),
    (b"", "ends too early"),
    (gzip.compress(ASK, mtime=0) + b"x", "follows its end"),
    (gzip.compress(ASK, mtime=0) + gzip.compress(ASK, mtime=0), "follows its end"),
    (zlib.compress(ASK), "cannot be unpacked"),
    (b"not compressed at all", "cannot be unpacked"),
    (gzip.compress(ASK, mtime=0)[:-6] + b"\0\0" + gzip.compress(ASK, mtime=0)[-4:], "cannot be unpacked"),
])
def test_damaged_compression(raw, bad, says):
    r = raw.call(LOCATION, frame(bad, 1), grpc_encoding="gzip")
    assert r.code == INTERNAL and says in r.message


def test_a_bomb_is_not_unpacked(raw):
    """A gigabyte in a megabyte: refused at the limit, at once."""
    c = zlib.compressobj(9, wbits=31)
    bomb = b"".join(c.compress(b"\0" * (1 << 20)) for _ in range(1024)) + c.flush()
    sid = raw.start(LOCATION, grpc_encoding="gzip")
    body = frame(bomb, 1)
    for at in range(0, len(body), 16384):
        raw.until(lambda: raw.h2.local_flow_control_window(sid) >= 16384 or raw.replies[sid].headers)
        raw.send(sid, body[at:at + 16384])
    r = raw.wait(sid)
    assert r.code == EXHAUSTED and "decompressed" in r.message and "max_grpc_message" in r.message


@pytest.mark.parametrize("name", ["zstd", "br", "snappy", "GZIP", "", "gzip,identity"])
def test_unknown_compression_is_told_what_is_known(raw, name):
    r = raw.call(LOCATION, frame(ASK), grpc_encoding=name)
    assert r.code == UNIMPLEMENTED and r.headers["grpc-accept-encoding"] == "identity,deflate,gzip"


# ---- heads

@pytest.mark.parametrize("method, says", [
    ("google.cloud.location.Locations/Nope", "unknown method Nope for service google.cloud.location.Locations"),
    ("google.cloud.location/GetLocation", "unknown service google.cloud.location"),
    ("GetLocation", "Malformed method name"),
    ("a/b/c", "Malformed method name"),
    ("/", "Malformed method name"),
    ("google.cloud.location.Locations/", "Malformed method name"),
    ("google.cloud.location.locations/GetLocation", "unknown service"),
    (LOCATION + "?x=y", None),
])
def test_methods(raw, method, says):
    r = raw.call(method, frame(ASK))
    if says is None:
        assert r.code == OK
    else:
        assert r.code == UNIMPLEMENTED and says in r.message


def test_te_is_required(raw):
    r = raw.call(LOCATION, frame(ASK), te=None)
    assert r.code == INTERNAL and "te: trailers" in r.message


@pytest.mark.parametrize("timeout, code", [
    ("0n", DEADLINE), ("0S", DEADLINE), ("1n", DEADLINE), ("1u", DEADLINE), ("99999999H", OK), ("30S", OK), ("60000m", OK),
    ("1s", INTERNAL), ("S", INTERNAL), ("", INTERNAL), ("-1S", INTERNAL), ("999999999m", INTERNAL), ("1.5S", INTERNAL), ("1 S", INTERNAL),
])
def test_timeouts(raw, timeout, code):
    r = raw.call(LOCATION, frame(ASK), grpc_timeout=timeout)
    assert r.code == code
    if code == INTERNAL:
        assert "Malformed grpc-timeout" in r.message


def test_a_deadline_passes_while_the_body_is_awaited(raw):
    sid = raw.start(LOCATION, grpc_timeout="100m")
    raw.send(sid, frame(ASK)[:7])
    r = raw.wait(sid)
    assert r.code == DEADLINE


def test_a_deadline_in_the_middle_of_a_stream_ends_it_in_trailers(raw):
    sid = raw.start(WATCH, grpc_timeout="150m")
    raw.send(sid, frame(), end=True)
    r = raw.wait(sid)
    assert r.messages == [b"\x08\x01"] and r.trailers["grpc-status"] == str(DEADLINE) and "grpc-status" not in r.headers


@pytest.mark.parametrize("extra, status", [
    ({"content_type": "application/json"}, "415"),
    ({"content_type": "application/grpc-web"}, "415"),
    ({"content_type": "application/grpcish"}, "415"),
    ({"content_type": None}, "415"),
    ({"_method": "PUT"}, "405"),
])
def test_what_is_not_grpc_gets_an_answer_of_http(raw, extra, status):
    r = raw.call(LOCATION, frame(ASK), **extra)
    assert r.headers[":status"] == status and "grpc-status" not in r.headers and b'"error"' in r.body


def test_other_serialisations_are_not_spoken(raw):
    r = raw.call(LOCATION, b"{}", content_type="application/grpc+json")
    assert r.code == UNIMPLEMENTED and "grpc+proto" in r.message


def test_http1_cannot_carry_grpc(fake):
    for kind in ("application/grpc", "application/grpc+proto"):
        r = requests.post(fake.url + "/" + LOCATION, frame(ASK), headers={"content-type": kind, "te": "trailers"}, timeout=10)
        assert r.status_code == 415 and "HTTP/2" in r.json()["error"]["message"]
    r = requests.post(fake.url + "/" + LOCATION, json={}, timeout=10)
    assert r.status_code == 415 and "application/grpc" in r.json()["error"]["message"]


def test_metadata_over_its_limits_is_a_status_of_grpc(raw):
    r = raw.call(LOCATION, frame(ASK), **{f"x_{i}": "v" for i in range(120)})
    assert r.code == EXHAUSTED and "max_header_count" in r.message
    r = raw.call(LOCATION, frame(ASK), x_long="v" * 17000)
    assert r.code == EXHAUSTED and "max_header_line" in r.message


# ---- clients that go

def test_a_reset_in_the_middle_of_a_call_is_harmless(raw, fake):
    """RST_STREAM at every point: before, within and after the body, while a stream runs."""
    job = fake.create(fake_job(run_ms=600000))["name"]
    for cut in range(12):
        body = frame(text(1, job))
        sid = raw.start(GET)
        raw.send(sid, body[:cut * len(body) // 11], end=cut == 11)
        raw.h2.reset_stream(sid, 8)
        raw.flush()
    for _ in range(20):
        sid = raw.start(WATCH)
        raw.send(sid, frame(), end=True)
        raw.until(lambda s=sid: raw.replies[s].body)
        raw.h2.reset_stream(sid, 8)
        raw.flush()
    sid = raw.start(CREATE)
    raw.send(sid, frame(text(1, PARENT) + b"\x12\x00"), end=True)
    raw.h2.reset_stream(sid, 8)
    raw.flush()
    assert raw.call(GET, frame(text(1, job))).code == OK


def test_a_connection_that_goes_takes_its_calls_along(fake):
    for how in ("close", "goaway"):
        with Raw(fake.url) as r:
            for body in (b"", frame(ASK)[:7], frame(ASK)):
                r.send(r.start(LOCATION), body)
            w = r.start(WATCH)
            r.send(w, frame(), end=True)
            r.until(lambda: r.replies[w].body)
            if how == "goaway":
                r.h2.close_connection(0)
                r.flush()
    with Raw(fake.url) as r:
        assert r.call(LOCATION, frame(ASK)).code == OK
    wait_until(lambda: fake.metric("connections_open") <= 1, 10, "connections to be let go")


# ---- streams and flow control

def test_a_slow_reader_holds_up_its_own_stream_only(fake):
    """Reflection answers of many KB into a window that is not opened: the server pauses, takes no further question, and
    goes on when there is room."""
    with Raw(fake.url, window=1000) as r:
        sid = r.start(REFLECT)
        ask = frame(text(4, "google.cloud.aiplatform.v1.JobService"))
        for _ in range(30):
            r.send(sid, ask)
        r.until(lambda: len(r.replies[sid].body) == 1000)
        other = r.start(LOCATION)
        r.send(other, frame(ASK), end=True)
        assert r.wait(other).code == OK
        assert len(r.replies[sid].body) == 1000
        r.auto_window = True
        r.h2.increment_flow_control_window(1 << 24, sid)
        r.h2.increment_flow_control_window(1 << 24)
        r.send(sid, b"", end=True)
        assert r.wait(sid).trailers == {"grpc-status": "0"} and len(r.replies[sid].messages) == 30


@pytest.mark.parametrize("body, code", [
    (frame(length=MAX + 1), EXHAUSTED), (frame(b"\xff"), INVALID), (frame(flag=9), INTERNAL), (frame(b"x", 1), INTERNAL),
])
def test_a_stream_ends_at_the_first_bad_message(raw, body, code):
    sid = raw.start(REFLECT)
    raw.send(sid, frame(text(7, "*")))
    raw.until(lambda: raw.replies[sid].body)
    raw.send(sid, body)
    r = raw.wait(sid)
    assert int(r.trailers["grpc-status"]) == code and len(r.messages) == 1


def test_a_stream_cut_inside_a_message_is_an_error(raw):
    sid = raw.start(REFLECT)
    raw.send(sid, frame(text(7, "*"))[:6], end=True)
    assert raw.wait(sid).code == INTERNAL


def test_an_empty_stream_ends_well(raw):
    sid = raw.start(REFLECT, end=True)
    assert raw.wait(sid).code == OK


def test_deadlines_that_pass_while_the_store_reads(raw, fake):
    """The answer to a late call is made of memory that a reader may still be filling: it has to wait for it."""
    for _ in range(60):
        body = fake_job()
        body["labels"] = {f"label-{i}": "x" * 60 for i in range(60)}
        fake.create(body)
    codes = collections.Counter()
    for _ in range(20):
        calls = []
        for i in range(40):
            sid = raw.start("google.cloud.aiplatform.v1.JobService/ListCustomJobs", grpc_timeout=f"{100 + i * 250}u")
            raw.send(sid, frame(text(1, PARENT)), end=True)
            calls.append(sid)
        codes.update(raw.wait(sid).code for sid in calls)
    assert set(codes) <= {OK, DEADLINE} and codes[DEADLINE] > 0, codes
