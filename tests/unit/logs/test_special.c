/* Keys of JSON lines that become fields of their entries, and those that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "logs/entry.h"
#include "pb/pb.h"

#define READ UINT64_C(1714557600500000) /* 2024-05-01T10:00:00.5Z */
#define KEY "logging.googleapis.com/"

/* The entry of the last line, as JSON; lines were read `step` apart, the last at READ. */
static char *json_of(struct arena *a, const char *const *lines, size_t n, usec_t step,
                     bool strict) {
    struct gather g;
    struct pb_json_opts opts = {.compact = true, .fixed_times = true};
    struct buf b = BUF_INIT(1 << 20);
    gather_init(&g, a, strict);
    for (size_t i = 0; i < n; i++) {
        struct seg_frame f = {.seq = i,
                              .time = READ - (n - 1 - i) * step,
                              .stream = SEG_STDOUT,
                              .payload = str_of(lines[i])};
        gather_add(&g, &f);
    }
    gather_end(&g);
    struct entry_origin o = {.project = STR("demo"),
                             .job_id = STR("77"),
                             .task = "workerpool0-0",
                             .attempt = 1,
                             .strict = strict};
    Google__Logging__V2__LogEntry *e = entry_make(a, &o, &g.items.p[g.items.n - 1]);
    assert_non_null(e);
    assert_int_equal(pb_to_json(&e->base, &opts, &b, NULL), 0);
    char *ret = arena_strdup(a, buf_cstr(&b));
    buf_fini(&b);
    gather_fini(&g);
    return ret;
}

static void expect(const char *json, const char *want, bool is_there) {
    if ((strstr(json, want) != NULL) != is_there) {
        fail_msg("%s\n%s: %s", json, is_there ? "lacks" : "has", want);
    }
}

static void test_fields(void **state) {
    static const struct {
        const char *line, *has[3], *has_not;
    } cases[] = {
        /* times, within the second that a line may come late */
        {"{\"time\":\"2024-05-01T10:00:00.250001234Z\",\"message\":\"m\"}",
         {"\"timestamp\":\"2024-05-01T10:00:00.250001000Z\"",
          "\"receiveTimestamp\":\"2024-05-01T10:00:00.500000000Z\"",
          "\"jsonPayload\":{\"message\":\"m\"}"},
         NULL},
        {"{\"time\":\"2024-05-01T12:00:00.1+02:00\",\"message\":\"m\"}",
         {"\"timestamp\":\"2024-05-01T10:00:00.100000000Z\""},
         "\"time\":"},
        {"{\"timestamp\":\"2024-05-01T10:00:00.1Z\",\"message\":\"m\"}",
         {"\"timestamp\":\"2024-05-01T10:00:00.100000000Z\"",
          "\"jsonPayload\":{\"message\":\"m\"}"},
         NULL},
        {"{\"timestamp\":{\"seconds\":1714557600,\"nanos\":7000},\"message\":\"m\"}",
         {"\"timestamp\":\"2024-05-01T10:00:00.000007000Z\"",
          "\"jsonPayload\":{\"message\":\"m\"}"},
         NULL},
        {"{\"timestampSeconds\":\"1714557600\",\"timestampNanos\":8000,\"message\":\"m\"}",
         {"\"timestamp\":\"2024-05-01T10:00:00.000008000Z\"",
          "\"jsonPayload\":{\"message\":\"m\"}"},
         NULL},
        /* the agents' order: an object first */
        {"{\"time\":\"2024-05-01T10:00:00.3Z\",\"timestamp\":{\"seconds\":1714557600,\"nanos\":0}}",
         {"\"timestamp\":\"2024-05-01T10:00:00.000000000Z\"",
          "\"jsonPayload\":{\"time\":\"2024-05-01T10:00:00.3Z\"}"},
         NULL},
        /* times that are none, or too far away */
        {"{\"time\":1714557600.25}",
         {"\"timestamp\":\"2024-05-01T10:00:00.500000000Z\"", "{\"time\":1714557600.25}"},
         NULL},
        {"{\"time\":\"noon\"}", {"{\"time\":\"noon\"}"}, NULL},
        {"{\"timestamp\":{\"seconds\":1.5,\"nanos\":0}}", {"{\"seconds\":1.5,\"nanos\":0}"}, NULL},
        {"{\"timestamp\":{\"seconds\":1714557600}}", {"{\"seconds\":1714557600}"}, NULL},
        {"{\"timestamp\":{\"seconds\":1714557600,\"nanos\":1000000000}}",
         {"\"nanos\":1000000000"},
         NULL},
        {"{\"timestampSeconds\":1714557600}", {"{\"timestampSeconds\":1714557600}"}, NULL},
        {"{\"time\":\"2020-01-01T00:00:00Z\"}",
         {"\"timestamp\":\"2024-05-01T09:59:59.500000000Z\"",
          "{\"time\":\"2020-01-01T00:00:00Z\"}"},
         NULL},
        {"{\"time\":\"2034-01-01T00:00:00Z\"}",
         {"\"timestamp\":\"2024-05-01T10:00:00.500000000Z\"",
          "{\"time\":\"2034-01-01T00:00:00Z\"}"},
         NULL},
        /* the rest */
        {"{\"severity\":\"nonsense\",\"message\":\"m\"}",
         {"\"severity\":\"INFO\"", "\"severity\":\"nonsense\""},
         NULL},
        {"{\"" KEY "trace\":\"projects/p/traces/t\",\"" KEY "spanId\":\"0f\",\"" KEY
         "trace_sampled\":true,\"message\":\"m\"}",
         {"\"trace\":\"projects/p/traces/t\"", "\"spanId\":\"0f\"", "\"traceSampled\":true"},
         KEY},
        {"{\"" KEY "trace\":7,\"" KEY "spanId\":{},\"" KEY "trace_sampled\":\"yes\"}",
         {"\"" KEY "trace\":7", "\"" KEY "spanId\":{}", "\"" KEY "trace_sampled\":\"yes\""},
         "\"traceSampled\""},
        {"{\"" KEY "insertId\":\"mine\",\"message\":\"m\"}", {"\"insertId\":\"mine\""}, KEY},
        {"{\"" KEY "insertId\":\"\"}", {"\"" KEY "insertId\":\"\""}, NULL},
        {"{\"" KEY "insertId\":12}", {"\"" KEY "insertId\":12"}, "\"insertId\":\"12\""},
        {"{\"" KEY "labels\":{\"run\":\"7\",\"n\":3,\"ml.googleapis.com/job_id\":\"x\"}}",
         {"\"run\":\"7\"", "\"ml.googleapis.com/job_id\":\"77\"",
          "\"" KEY "labels\":{\"n\":3,\"ml.googleapis.com/job_id\":\"x\"}"},
         NULL},
        {"{\"" KEY "labels\":{\"a\":\"b\"},\"message\":\"m\"}", {"\"a\":\"b\""}, KEY},
        {"{\"" KEY "labels\":\"a\"}", {"\"" KEY "labels\":\"a\""}, NULL},
        {"{\"" KEY "sourceLocation\":{\"file\":\"a.py\",\"line\":\"7\",\"function\":\"f\"}}",
         {"\"sourceLocation\":{\"file\":\"a.py\",\"line\":\"7\",\"function\":\"f\"}"},
         KEY},
        {"{\"" KEY "sourceLocation\":{\"file\":\"a.py\",\"line\":7,\"column\":3}}",
         {"\"sourceLocation\":{\"file\":\"a.py\",\"line\":\"7\"}",
          "\"" KEY "sourceLocation\":{\"column\":3}"},
         NULL},
        {"{\"" KEY "operation\":{\"id\":\"o\",\"producer\":\"p\",\"first\":true,\"last\":\"no\"}}",
         {"\"operation\":{\"id\":\"o\",\"producer\":\"p\",\"first\":true}",
          "\"" KEY "operation\":{\"last\":\"no\"}"},
         NULL},
        {"{\"" KEY "operation\":{}}", {"\"" KEY "operation\":{}"}, "\"operation\":{\"id\""},
        {"{\"httpRequest\":{\"requestMethod\":\"GET\",\"status\":200,\"responseSize\":\"12\","
         "\"latency\":\"0.5s\",\"cacheHit\":false},\"message\":\"m\"}",
         {"\"httpRequest\":{\"requestMethod\":\"GET\"", "\"latency\":\"0.500s\"",
          "\"jsonPayload\":{\"message\":\"m\"}"},
         NULL},
        {"{\"httpRequest\":{\"requestMethod\":\"GET\",\"status\":\"fine\",\"peer\":1}}",
         {"\"httpRequest\":{\"requestMethod\":\"GET\"}",
          "\"jsonPayload\":{\"httpRequest\":{\"status\":\"fine\",\"peer\":1}}"},
         NULL},
        {"{\"httpRequest\":\"GET /\"}", {"\"jsonPayload\":{\"httpRequest\":\"GET /\"}"}, NULL},
        {"{\"httpRequest\":{\"status\":200,\"request_method\":\"A\",\"requestMethod\":\"B\"}}",
         {"\"status\":200"},
         NULL},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        char *json = json_of(a, &cases[i].line, 1, 0, false);
        for (size_t k = 0; k < NR_OF(cases[i].has) && cases[i].has[k]; k++) {
            expect(json, cases[i].has[k], true);
        }
        if (cases[i].has_not) {
            expect(json, cases[i].has_not, false);
        }
    }
}

static void test_long_insert_ids(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    for (int n = INSERT_ID_MAX; n <= (int)INSERT_ID_MAX + 1; n++) {
        const char *line = arena_printf(a, "{\"" KEY "insertId\":\"%0*d\"}", n, 7);
        expect(json_of(a, &line, 1, 0, false), KEY "insertId", n > (int)INSERT_ID_MAX);
    }
}

/* Vertex's way: what is understood is taken out, also where it leads too far. */
static void test_strict(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *line =
        "{\"time\":\"2020-01-01T00:00:00Z\",\"" KEY "trace\":\"t\",\"level\":\"ERROR\"}";
    char *json = json_of(a, &line, 1, 0, true);
    expect(json, "\"jsonPayload\":{\"level\":\"ERROR\"}", true);
    expect(json, "\"severity\":\"INFO\"", true);
    expect(json, "\"trace\":\"t\"", true);
}

/* A line may say that it is older than lines before it, but not than GATHER_FRAMES of them. */
static void test_lines_pass_a_bounded_number_of_others(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *lines[GATHER_FRAMES + 2];
    for (size_t i = 0; i < GATHER_FRAMES + 1; i++) {
        lines[i] = "plain";
    }
    lines[GATHER_FRAMES + 1] = "{\"time\":\"2024-05-01T10:00:00.4Z\"}";
    /* 500 lines before it is 500 x 10 us before it */
    char *json = json_of(a, lines, GATHER_FRAMES + 2, 10, false);
    expect(json, "\"timestamp\":\"2024-05-01T10:00:00.495000000Z\"", true);
    expect(json, "\"time\":", true);
    json = json_of(a, lines + 2, GATHER_FRAMES, 10, false);
    expect(json, "\"timestamp\":\"2024-05-01T10:00:00.400000000Z\"", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_long_insert_ids),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_lines_pass_a_bounded_number_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
