/* Guarded unpack, well-known values, rules by table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/enc.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "pb/pbcheck.h"
#include "pb/wkt.h"

static struct arena *arena_of(void **state) {
    return *state;
}

static int setup(void **state) {
    *state = arena_new(4 << 20);
    return 0;
}

static int teardown(void **state) {
    arena_free(*state);
    return 0;
}

static int unpack(void **state, const ProtobufCMessageDescriptor *d, const char *p, size_t n,
                  ProtobufCMessage **ret, struct err *err) {
    memset(err, 0, sizeof(*err));
    *ret = NULL;
    return pb_unpack(arena_of(state), d, str_n(p, n), ret, err);
}

/* n messages of the recursive google.protobuf.Value/ListValue pair around nothing. */
static void nested_value(struct buf *out, unsigned n) {
    auto_buf struct buf in = BUF_INIT(1 << 22), next = BUF_INIT(1 << 22);
    for (unsigned i = 0; i < n; i++) {
        /* outermost is Value; going out from the inside the kinds alternate */
        bool is_list_field = (n - i) % 2 == 1; /* Value.list_value = 6, ListValue.values = 1 */
        buf_clear(&next);
        buf_putc(&next, is_list_field ? 0x32 : 0x0a);
        enc_varint(&next, in.n);
        buf_put_str(&next, buf_str(&in));
        buf_clear(&in);
        buf_put_str(&in, buf_str(&next));
    }
    buf_put_str(out, buf_str(&in));
}

static void test_unpack_refuses_depth_beyond_the_limit_without_recursing(void **state) {
    struct err err;
    ProtobufCMessage *m;
    auto_buf struct buf b = BUF_INIT(1 << 22);
    nested_value(&b, PB_DEPTH_MAX);
    assert_int_equal(unpack(state, &google__protobuf__value__descriptor, b.p, b.n, &m, &err), 0);
    buf_clear(&b);
    nested_value(&b, PB_DEPTH_MAX + 1);
    assert_int_equal(unpack(state, &google__protobuf__value__descriptor, b.p, b.n, &m, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.msg, "max_proto_depth"));
    buf_clear(&b);
    nested_value(&b, 20000); /* overflows an 8 MB stack in the raw unpacker */
    assert_int_equal(unpack(state, &google__protobuf__value__descriptor, b.p, b.n, &m, &err), -1);
}

static void test_unpack_refuses_what_is_not_a_message(void **state) {
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        {"\x0a", 1},                                          /* length missing */
        {"\x0a\x05xx", 4},                                    /* shorter than it says */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* length 2^64-1 */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11}, /* endless tag */
        {"\x00", 1},                                          /* field 0 */
        {"\x0b", 1},                                          /* group */
        {"\x0f", 1},                                          /* wire type 7 */
        {"\x0d\x01", 2},                                      /* fixed32 cut off */
        {"\x12\x02\xc3\x28", 4},                              /* display_name: not UTF-8 */
        {"\x12\x03"
         "a\0b",
         5}, /* display_name: NUL */
        {"\x12", 1},
    };
    struct err err;
    ProtobufCMessage *m;
    for (size_t i = 0; i < NR_OF(bad); i++) {
        assert_int_equal(unpack(state, &aip__custom_job__descriptor, bad[i].p, bad[i].n, &m, &err),
                         -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_null(m);
    }
    assert_int_equal(unpack(state, &aip__custom_job__descriptor, NULL, 0, &m, &err), 0);
}

static void test_unknown_fields_survive_and_optional_zero_keeps_its_presence(void **state) {
    static const char wire[] = "\x12\x01"
                               "a"
                               "\xc2\xb8\x02\x02hi"; /* field 5000 */
    struct err err;
    ProtobufCMessage *m;
    auto_buf struct buf b = BUF_INIT(1024);
    assert_int_equal(unpack(state, &aip__custom_job__descriptor, wire, sizeof(wire) - 1, &m, &err),
                     0);
    assert_string_equal(((Aip__CustomJob *)m)->display_name, "a");
    assert_int_equal(pb_pack(m, &b), 0);
    assert_int_equal(b.n, sizeof(wire) - 1);
    assert_memory_equal(b.p, wire, b.n);
    struct buf small = BUF_INIT(4);
    assert_int_equal(pb_pack(m, &small), -1);
    assert_int_equal(small.n, 0);

    Aip__StudySpec__ParameterSpec__DoubleValueSpec d;
    aip__study_spec__parameter_spec__double_value_spec__init(&d);
    buf_clear(&b);
    assert_int_equal(pb_pack(&d.base, &b), 0);
    assert_int_equal(b.n, 0);
    d._default_value_case =
        AIP__STUDY_SPEC__PARAMETER_SPEC__DOUBLE_VALUE_SPEC___DEFAULT_VALUE_DEFAULT_VALUE;
    assert_int_equal(pb_pack(&d.base, &b), 0);
    assert_int_equal(b.n, 9);
}

static void test_unpack_is_bounded_by_the_arena(void **state) {
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct arena *small = arena_new(8192);
    for (int i = 0; i < 5000; i++) {
        buf_put(&b, "\x0a\x00", 2); /* CustomJobSpec.worker_pool_specs: {} */
    }
    assert_int_equal(pb_unpack(small, &aip__custom_job_spec__descriptor, buf_str(&b), &m, &err),
                     -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    arena_free(small);
}

static void test_timestamps_and_durations_round_trip(void **state) {
    static const struct {
        const char *in, *out;
        int64_t sec;
        int32_t nanos;
    } times[] = {
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0, 0},
        {"1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z", -1, 999999999},
        {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", -62135596800, 0},
        {"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", 253402300799, 0},
        {"2024-02-29T12:00:00.1-08:30", "2024-02-29T20:30:00.100Z", 1709238600, 100000000},
        {"2000-03-01t00:00:00z", "2000-03-01T00:00:00Z", 951868800, 0},
    };
    int64_t sec;
    int32_t nanos;
    for (size_t i = 0; i < NR_OF(times); i++) {
        auto_buf struct buf b = BUF_INIT(100);
        assert_true(wkt_timestamp_parse(str_of(times[i].in), &sec, &nanos));
        assert_int_equal(sec, times[i].sec);
        assert_int_equal(nanos, times[i].nanos);
        assert_true(wkt_timestamp_format(&b, sec, nanos));
        assert_string_equal(buf_cstr(&b), times[i].out);
    }
    static const char *const bad[] = {
        "2023-02-29T00:00:00Z",  "2024-13-01T00:00:00Z",      "2024-01-01T24:00:00Z", "2024-01-01",
        "2024-01-01T00:00:00",   "2024-01-01T00:00:00.Z",     "2024-01-01T00:00:60Z", "",
        "2024-01-01T00:00:00Z ", "0001-01-01T00:00:00+01:00", "2024-1-1T0:0:0Z",
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        assert_false(wkt_timestamp_parse(str_of(bad[i]), &sec, &nanos));
    }
    /* every day of four centuries, against the previous one */
    auto_buf struct buf b = BUF_INIT(100);
    for (int64_t day = -135140; day < 10957; day++) {
        buf_clear(&b);
        assert_true(wkt_timestamp_format(&b, day * 86400, 0));
        assert_true(wkt_timestamp_parse(buf_str(&b), &sec, &nanos));
        assert_int_equal(sec, day * 86400);
    }
    static const char *const durations[] = {"0s",           "1s",     "-1.500s", "315576000000s",
                                            "0.000000001s", "-0.001s"};
    for (size_t i = 0; i < NR_OF(durations); i++) {
        buf_clear(&b);
        assert_true(wkt_duration_parse(str_of(durations[i]), &sec, &nanos));
        assert_true(wkt_duration_format(&b, sec, nanos));
        assert_string_equal(buf_cstr(&b), durations[i]);
    }
    static const char *const bad_durations[] = {"",    "s",    "1",   "1.s", "+1s", "315576000001s",
                                                "1 s", "--1s", "1e3s"};
    for (size_t i = 0; i < NR_OF(bad_durations); i++) {
        assert_false(wkt_duration_parse(str_of(bad_durations[i]), &sec, &nanos));
    }
    Google__Protobuf__Timestamp *t = wkt_timestamp(arena_of(state), 1714557600123456);
    assert_int_equal(wkt_timestamp_usec(t), 1714557600123456);
    assert_int_equal(t->nanos, 123456000);
}

static void test_required_fields_are_named_with_their_paths(void **state) {
    struct arena *a = arena_of(state);
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    violations_init(&vs, a);
    assert_int_equal(
        pb_from_json(a, &aip__custom_job__descriptor, PB_V1,
                     STR("{\"jobSpec\":{\"workerPoolSpecs\":[{\"containerSpec\":{\"imageUri\":"
                         "\"i\"}},{\"containerSpec\":{}}]}}"),
                     "", &m, &vs, &err),
        0);
    assert_int_equal(pb_check_required(m, "", &vs), 2);
    assert_string_equal(vs.v[0].field.p, "display_name");
    assert_string_equal(vs.v[0].description.p, "Required field is not set.");
    assert_string_equal(vs.v[1].field.p, "job_spec.worker_pool_specs[1].container_spec.image_uri");
    assert_int_equal(violations_to_err(&vs, &err), -1);
    assert_string_equal(
        err.msg, "List of found errors:\t1.Field: display_name; Message: Required field is not "
                 "set.\t2.Field: job_spec.worker_pool_specs[1].container_spec.image_uri; "
                 "Message: Required field is not set.\t");
    assert_int_equal(pb_check_required(m, "custom_job", &vs), 2);
    assert_string_equal(vs.v[2].field.p, "custom_job.display_name");
}

static void test_output_only_fields_are_dropped_at_any_depth(void **state) {
    struct arena *a = arena_of(state);
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    violations_init(&vs, a);
    assert_int_equal(
        pb_from_json(a, &aip__custom_job__descriptor, PB_V1,
                     STR("{\"name\":\"n\",\"displayName\":\"d\",\"state\":3,\"createTime\":"
                         "\"2024-01-01T00:00:00Z\",\"webAccessUris\":{\"a\":\"b\"},"
                         "\"error\":{\"code\":1},\"labels\":{\"a\":\"b\"}}"),
                     "", &m, &vs, &err),
        0);
    pb_clear_output_only(m);
    auto_buf struct buf b = BUF_INIT(1024);
    assert_int_equal(pb_to_json(m, &(struct pb_json_opts){.compact = true}, &b, &err), 0);
    assert_string_equal(buf_cstr(&b), "{\"displayName\":\"d\",\"labels\":{\"a\":\"b\"}}");
}

static void test_violations_are_bounded(void **state) {
    struct violations vs;
    violations_init(&vs, arena_of(state));
    for (int i = 0; i < VIOLATIONS_MAX + 5; i++) {
        violations_add(&vs, "f", "%d", i);
    }
    assert_int_equal(vs.n, VIOLATIONS_MAX);
    assert_int_equal(vs.dropped, 5);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_unpack_refuses_depth_beyond_the_limit_without_recursing),
        T(test_unpack_refuses_what_is_not_a_message),
        T(test_unknown_fields_survive_and_optional_zero_keeps_its_presence),
        T(test_unpack_is_bounded_by_the_arena),
        T(test_timestamps_and_durations_round_trip),
        T(test_required_fields_are_named_with_their_paths),
        T(test_output_only_fields_are_dropped_at_any_depth),
        T(test_violations_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
