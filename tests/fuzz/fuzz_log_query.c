/* Any text as a Logging filter: parsed or refused with a reason; what parses is evaluated, and an
 * entry that matches lies in the query's scope. */
#include "logs/query.h"
#include "pb/aip.h"
#include "pb/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1714557600u

static bool in_scope(const struct query_scope *s) {
    bool job = s->any_job;
    for (size_t i = 0; i < s->nr_jobs; i++) {
        job = job || str_ieq(s->jobs[i], STR("77"));
    }
    usec_t t = (usec_t)NOW * USEC_PER_SEC + 120345;
    return job && s->from <= t && t <= s->to &&
           (!s->task.p || str_ieq(s->task, STR("workerpool0-0")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char json[] =
        "{\"logName\":\"projects/demo/logs/"
        "a\",\"insertId\":\"1\",\"resource\":{\"type\":\"ml_job\","
        "\"labels\":{\"job_id\":\"77\",\"task_name\":\"workerpool0-0\"}},\"severity\":\"INFO\","
        "\"timestamp\":\"2024-05-01T10:00:00.120345678Z\",\"labels\":{\"ml.googleapis.com/job_id\":"
        "\"77\"},\"jsonPayload\":{\"message\":\"Epoch 1\",\"a\":[1,{\"b\":null}]}}";
    struct arena *a = arena_new(4 << 20);
    ProtobufCMessage *m;
    struct violations vs;
    struct query *q;
    struct err err = {0};
    violations_init(&vs, a);
    CHECK(pb_from_json(a, &google__logging__v2__log_entry__descriptor, PB_V1, str_of(json), NULL,
                       &m, &vs, NULL) == 0);
    if (query_parse(a, str_n((const char *)data, size), &q, &err) == 0) {
        struct query_scope s;
        query_get_scope(q, a, &s);
        if (query_matches(q, (Google__Logging__V2__LogEntry *)m)) {
            CHECK(in_scope(&s));
        }
        query_close(q);
    } else {
        CHECK(err.code == ERR_INVALID_ARGUMENT && err.msg[0] && str_is_utf8(str_of(err.msg)));
    }
    arena_free(a);
    return 0;
}
