/* Any text as the body of entries:write: refused with a reason, or entries that survive being kept
 * (packed, read again), shown as JSON, and asked for by queries over every kind of field. */
#include "logs/query.h"
#include "logs/search.h"
#include "logs/written.h"
#include "pb/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const filters[] = {
    "severity>=WARNING timestamp>\"2024-01-01T00:00:00Z\"",
    "jsonPayload.a.b=1 OR jsonPayload.list:x OR labels.k=v",
    "NOT (textPayload=~\"a+b\" OR words) httpRequest.status>=400",
    "resource.labels.job_id=\"7\" logName:x operation.id:* sourceLocation.line>1",
    "protoPayload.\"@type\"=x insertId>\"a\" trace:b receiveTimestamp<\"2030-01-01T00:00:00Z\""};

static void keep(struct arena *a, Google__Logging__V2__LogEntry *e) {
    auto_buf struct buf packed = BUF_INIT(64 << 20), again = BUF_INIT(64 << 20);
    auto_buf struct buf json = BUF_INIT(64 << 20);
    ProtobufCMessage *m;
    struct log_position p;
    struct log_tombs none = {0};
    CHECK(pb_pack(&e->base, &packed) == 0);
    CHECK(pb_unpack(a, e->base.descriptor, buf_str(&packed), &m, NULL) == 0);
    CHECK(pb_pack(m, &again) == 0 && str_eq(buf_str(&packed), buf_str(&again)));
    Google__Logging__V2__LogEntry *kept = (Google__Logging__V2__LogEntry *)m;
    log_position_of(kept, &p);
    CHECK(log_position_cmp(&p, &p) == 0 && strlen(p.insert_id) <= INSERT_ID_MAX);
    CHECK(!tombs_hide(&none, kept));
    if (pb_to_json(m, NULL, &json, NULL) == 0) {
        CHECK(str_is_utf8(buf_str(&json)));
    }
    for (size_t i = 0; i < NR_OF(filters); i++) {
        struct query *q;
        CHECK(query_parse(a, str_of(filters[i]), &q, NULL) == 0);
        (void)query_matches(q, kept);
        query_close(q);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena *a = arena_new(64 << 20);
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m;
    violations_init(&vs, a);
    if (pb_from_json(a, &google__logging__v2__write_log_entries_request__descriptor, PB_V1,
                     str_n((const char *)data, size), NULL, &m, &vs, &err) == 0) {
        const Google__Logging__V2__WriteLogEntriesRequest *req =
            (Google__Logging__V2__WriteLogEntriesRequest *)m;
        for (size_t i = 0; i < req->n_entries && i < 20; i++) {
            keep(a, req->entries[i]);
        }
    } else {
        CHECK(err.code && err.msg[0]);
    }
    arena_free(a);
    return 0;
}
