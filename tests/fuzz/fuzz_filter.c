/* Any text as a list filter: parsed or refused with a position; what parses is evaluated, compiled
 * to SQL, and the SQL is compiled by SQLite and run on one row: a row that the filter takes must
 * pass it. */
#include "base/limits.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "store/filter.h"
#include "store/filter_sql.h"

#include <sqlite3.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store_label labels[] = {{{"team", 4}, {"red", 3}}, {{"a key", 5}, {"", 0}}};

static const struct store_row row = {
    .name = {"projects/1/locations/l/customJobs/7", 35},
    .display_name = {"resnet nightly", 14},
    .state = {"JOB_STATE_RUNNING", 17},
    .create_time = 1714557600000000,
    .update_time = 1714557600500000,
    .labels = labels,
    .nr_labels = 2,
};

static sqlite3 *database(void) {
    static sqlite3 *db;
    if (!db) {
        CHECK(sqlite3_open(":memory:", &db) == SQLITE_OK);
        CHECK(sqlite3_exec(
                  db,
                  "CREATE TABLE resource (id INTEGER PRIMARY KEY, name TEXT, display_name TEXT,"
                  " state TEXT, create_time INTEGER, update_time INTEGER);"
                  "CREATE TABLE label (resource INTEGER, key TEXT, value TEXT);"
                  "INSERT INTO resource VALUES (1, 'projects/1/locations/l/customJobs/7',"
                  " 'resnet nightly', 'JOB_STATE_RUNNING', 1714557600000000,"
                  " 1714557600500000);"
                  "INSERT INTO label VALUES (1, 'team', 'red'), (1, 'a key', '');",
                  NULL, NULL, NULL) == SQLITE_OK);
    }
    return db;
}

static bool sql_takes(const struct filter_sql *q) {
    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    buf_puts(&text, "SELECT 1 FROM resource WHERE ");
    buf_put_str(&text, q->where.n ? buf_str(&q->where) : STR("1"));
    sqlite3_stmt *st;
    CHECK(sqlite3_prepare_v2(database(), text.p, (int)text.n, &st, NULL) == SQLITE_OK);
    for (size_t i = 0; i < q->params.n; i++) {
        const struct filter_param *p = &q->params.p[i];
        if (p->is_time) {
            sqlite3_bind_int64(st, (int)i + q->first_param, (sqlite3_int64)p->time);
        } else {
            sqlite3_bind_text64(st, (int)i + q->first_param, p->text.p ? p->text.p : "", p->text.n,
                                SQLITE_STATIC, SQLITE_UTF8);
        }
    }
    int rc = sqlite3_step(st);
    CHECK(rc == SQLITE_ROW || rc == SQLITE_DONE);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW;
}

/* One of each thing that a path can lead through. */
static ProtobufCMessage *decode(struct arena *a, const struct store_row *r) {
    static const char json[] =
        "{\"displayName\":\"resnet nightly\",\"labels\":{\"team\":\"red\"},\"error\":{\"code\":3,"
        "\"details\":[{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":{\"a\":"
        "[1,null,{\"b\":true}]}}]},\"startTime\":\"2024-05-01T10:00:01.5Z\",\"webAccessUris\":"
        "{\"w\":\"u\"},\"jobSpec\":{\"workerPoolSpecs\":[{\"machineSpec\":{\"machineType\":\"n1\"},"
        "\"replicaCount\":\"2\"},{}],\"scheduling\":{\"timeout\":\"60s\",\"strategy\":\"SPOT\"}}}";
    ProtobufCMessage *m;
    struct violations vs;
    violations_init(&vs, a);
    return pb_from_json(a, &aip__custom_job__descriptor, PB_V1, str_of(json), NULL, &m, &vs, NULL)
               ? NULL
               : m;
}

static void try_text(struct str text, const struct filter_schema *schema) {
    struct arena *a = arena_new(1 << 20), *scratch = arena_new(1 << 20);
    const struct filter *f;
    struct err err = {0};
    if (filter_parse(a, text, schema, &f, &err) == 0) {
        struct filter_sql q;
        filter_sql_init(&q, f, 1, NULL);
        bool c = filter_matches(f, &row, scratch), sql = sql_takes(&q);
        CHECK(sql || !c); /* never loses a match */
        CHECK(!q.is_exact || sql == c);
        filter_sql_fini(&q);
    } else {
        CHECK(err.code == ERR_INVALID_ARGUMENT && err.msg[0] && str_is_utf8(str_of(err.msg)));
    }
    arena_free(scratch);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct filter_schema jobs = {&aip__custom_job__descriptor, decode};
    struct str text = str_n((const char *)data, size);
    struct store_list l = {0};
    try_text(text, NULL);
    try_text(text, &jobs);
    (void)!order_parse(text, &l, NULL);
    return 0;
}
