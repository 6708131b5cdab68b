/* The Logging query language: what matches, what is refused, where to look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "logs/pattern.h"
#include "logs/query.h"
#include "pb/aip.h"
#include "pb/pb.h"

static const char entry_json[] =
    "{\"logName\":\"projects/demo/logs/ml.googleapis.com%2F77\",\"insertId\":\"0001a\","
    "\"resource\":{\"type\":\"ml_job\",\"labels\":{\"job_id\":\"77\",\"task_name\":\"workerpool0-"
    "0\","
    "\"project_id\":\"demo\"}},\"timestamp\":\"2024-05-01T10:00:00.120345678Z\",\"severity\":"
    "\"WARNING\","
    "\"labels\":{\"ml.googleapis.com/trial_id\":\"2\"},\"jsonPayload\":{\"message\":\"Epoch "
    "1\",\"loss\":0.5,"
    "\"deep\":{\"list\":[{\"a\":1},{\"a\":2}]},\"ok\":true},"
    "\"httpRequest\":{\"requestMethod\":\"GET\",\"status\":404,\"responseSize\":\"12\","
    "\"latency\":\"0.250s\",\"cacheHit\":true},\"traceSampled\":true,"
    "\"sourceLocation\":{\"file\":\"a.py\",\"line\":\"7\"},\"operation\":{\"id\":\"op\","
    "\"first\":true}}";

static int try(const char *filter) { /* 1 matches, 0 not, -1 refused */
    struct arena *a = arena_new(1 << 20);
    ProtobufCMessage *m;
    struct violations vs;
    struct query *q;
    struct err err;
    int rc = -1;
    violations_init(&vs, a);
    assert_int_equal(pb_from_json(a, &google__logging__v2__log_entry__descriptor, PB_V1,
                                  str_of(entry_json), NULL, &m, &vs, &err),
                     0);
    if (query_parse(a, str_of(filter), &q, &err) == 0) {
        rc = query_matches(q, (Google__Logging__V2__LogEntry *)m);
        query_close(q);
    } else {
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
    arena_free(a);
    return rc;
}

static void test_matches(void **state) {
    static const char *const yes[] = {
        "",
        "resource.type=\"ml_job\" AND resource.labels.job_id=\"77\" AND "
        "timestamp>=\"1970-01-01T01:00:00.000000000Z\" AND timestamp<\"2024-05-01T10:00:01+00:00\"",
        "resource.type=\"ml_job\"\nresource.labels.job_id=77",
        "((timestamp=\"2024-05-01T10:00:00.120345678Z\" AND insertId>\"00019\") OR "
        "timestamp>\"2024-05-01T10:00:00.120345678Z\")",
        "severity>=WARNING",
        "severity>=400",
        "severity=warning",
        "severity=(ERROR OR WARNING)",
        "severity!=ERROR",
        "severity<ERROR",
        "jsonPayload.message:epoch",
        "jsonPayload.message=\"epoch 1\"",
        "jsonPayload.message=~\"^Ep\\w+ \\d$\"",
        "jsonPayload.message!~\"xyz\"",
        "jsonPayload.loss<1",
        "jsonPayload.loss=0.5",
        "jsonPayload.ok=true",
        "jsonPayload.deep.list.a=2",
        "jsonPayload.deep:*",
        "jsonPayload:epoch",
        "labels.\"ml.googleapis.com/trial_id\"=\"2\"",
        "labels.ml.googleapis.com/trial_id=2",
        "logName=\"projects/demo/logs/ml.googleapis.com%2F77\"",
        "log_id(\"ml.googleapis.com/77\")",
        "\"epoch\"",
        "epoch workerpool0-0",
        "-severity=ERROR",
        "NOT textPayload:x",
        "SEARCH(\"Epoch\")",
        "timestamp>2024-05-01",
        "timestamp>=\"2024-05-01T10:00:00.000000+0000\"",
        "severity=ERROR OR severity=WARNING",
        "-- a comment\nseverity=WARNING",
        /* OR binds tighter */
        "severity=WARNING OR severity=ERROR AND resource.type=ml_job",
        "httpRequest.status=404",
        "httpRequest.status>=400 http_request.request_method=get",
        "httpRequest.responseSize<13",
        "httpRequest.latency>\"0.2s\"",
        "httpRequest.latency<=0.25",
        "httpRequest.cacheHit=true httpRequest.cacheLookup=false",
        "httpRequest:* sourceLocation:* operation:*",
        "sourceLocation.line=7 sourceLocation.file:a.",
        "operation.id=op operation.first=true operation.last=false",
        "traceSampled=true",
    };
    static const char *const no[] = {
        "resource.labels.job_id=\"78\"",
        "timestamp<\"2024-05-01T10:00:00.120345678Z\"",
        "timestamp>\"2024-05-01T10:00:00.120345678Z\"",
        "insertId>\"0001a\"",
        "severity>WARNING",
        "textPayload:Epoch",
        "textPayload!=Epoch",
        "nosuch=1",
        "jsonPayload.message=~\"^x\"",
        "jsonPayload.loss>0.5",
        "labels.other=2",
        "nothere",
        "NOT severity=WARNING",
        "severity=WARNING OR severity=ERROR AND resource.type=other",
        "httpRequest.status>=500",
        "httpRequest.latency>1s",
        "httpRequest.latency>soon",
        "httpRequest.nothing=1",
        "httpRequest.serverIp:*",
        "httpRequest.serverIp!=\"x\"",
        "httpRequest.requestSize=0",
        "httpRequest.status.code=404",
        "httpRequest=404",
        "split:*",
    };
    for (size_t i = 0; i < NR_OF(yes); i++) {
        if (try(yes[i]) != 1) {
            fail_msg("should match: %s (%d)", yes[i], try(yes[i]));
        }
    }
    for (size_t i = 0; i < NR_OF(no); i++) {
        if (try(no[i]) != 0) {
            fail_msg("should not match: %s (%d)", no[i], try(no[i]));
        }
    }
}

static void test_refused(void **state) {
    static const char *const bad[] = {
        "severity>=",
        "(severity=ERROR",
        "severity=ERROR)",
        "timestamp>yesterday",
        "severity=LOUD",
        "a=\"open",
        "a=~\"(\"",
        "a=~\"(a)\\\\1\"",
        "a=~\"x{99999}\"",
        "a=~\"(((ab){200}){200}){9}\"",
        "a=~\"a(?=b)\"",
        "a=~\"a(?<!b)\"",
        "a=~\"(?R)\"",
        "a=~\"(*ACCEPT)\"",
        "a=~\"0++++++++++++++++++++++++++++++++++++++++++++++++++++\"",
        "ip_in_net(a, \"b\")",
        "=1",
        "AND",
        "a=(b OR",
        "NOT",
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        if (try(bad[i]) != -1) {
            fail_msg("should be refused: %s (%d)", bad[i], try(bad[i]));
        }
    }
    auto_buf struct buf deep = BUF_INIT(1 << 16);
    for (int i = 0; i < 40; i++) {
        buf_putc(&deep, '(');
    }
    assert_int_equal(try(buf_cstr(&deep)), -1);
}

static void test_patterns_that_explode_are_cut_short(void **state) {
    const char *why;
    struct pattern *p = pattern_new(STR("^(a+)+$"), &why);
    assert_non_null(p);
    assert_true(pattern_matches(p, STR("aaaa")));
    for (int i = 0; i < 1000; i++) { /* each would take 2^40 steps */
        assert_false(pattern_matches(p, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!")));
    }
    assert_false(pattern_matches(p, STR("aaaa"))); /* given up */
    pattern_free(p);
}

static struct query_scope scope_of(struct arena *a, const char *filter) {
    struct query *q;
    struct query_scope s;
    assert_int_equal(query_parse(a, str_of(filter), &q, NULL), 0);
    query_get_scope(q, a, &s);
    query_close(q);
    return s;
}

static void test_scope(void **state) {
    struct arena *a = arena_new(1 << 20);
    struct query_scope s = scope_of(a, "");
    assert_true(s.any_job && s.from == 0 && s.to == UINT64_MAX && !s.task.p);
    s = scope_of(a, "resource.labels.job_id=\"7\" AND resource.labels.task_name=\"service\" AND "
                    "((timestamp=\"1970-01-01T00:00:05Z\" AND insertId>\"x\") OR "
                    "timestamp>\"1970-01-01T00:00:05Z\") AND timestamp<\"1970-01-01T00:00:09Z\"");
    assert_false(s.any_job);
    assert_int_equal(s.nr_jobs, 1);
    assert_true(str_eqc(s.jobs[0], "7") && str_eqc(s.task, "service"));
    assert_int_equal(s.from, 5000000);
    assert_int_equal(s.to, 9000000);
    s = scope_of(a, "resource.labels.job_id=(\"7\" OR \"8\") severity=ERROR");
    assert_int_equal(s.nr_jobs, 2);
    s = scope_of(a, "resource.labels.job_id=\"7\" OR severity=ERROR");
    assert_true(s.any_job);
    s = scope_of(a, "NOT resource.labels.job_id=\"7\"");
    assert_true(s.any_job);
    s = scope_of(a, "resource.labels.job_id=\"7\" AND resource.labels.job_id=\"8\"");
    assert_true(!s.any_job && s.nr_jobs == 0);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_patterns_that_explode_are_cut_short),
        cmocka_unit_test(test_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
