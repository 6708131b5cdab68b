/* What is kept and what goes: age, size, deleted jobs; the index of ended logs; written entries
 * over several segments. On real files, with the store in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/rng.h"
#include "logs/catalog.h"
#include "logs/written.h"
#include "logs/written_index.h"
#include "pb/pb.h"
#include "store/store.h"
#include "sys/files.h"
#include "sys/seglog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROJECT 123u
#define DAY ((usec_t)86400 * USEC_PER_SEC)

struct rig {
    char dir[64];
    struct loop *loop;
    struct lane *disk;
    struct logs *logs;
    struct store *store;
    struct arena *arena;
    struct limits saved;
    const char *live; /* a job that has not ended */
    bool is_started, failed;
};

static int setup(void **state) {
    struct rig *r = xcalloc(1, sizeof(*r));
    struct err err;
    snprintf(r->dir, sizeof(r->dir), "/tmp/cusp-retain-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->loop = loop_new();
    r->disk = lane_new(r->loop, "disk", 2);
    r->store = store_mem_new(r->loop);
    r->logs = logs_open(r->loop, r->disk, r->dir, &err);
    assert_non_null(r->logs);
    r->arena = arena_new(ARENA_NO_MAX);
    r->saved = limits;
    *state = r;
    return 0;
}

static void on_closed(void *arg) {
    struct rig *r = arg;
    loop_stop(r->loop);
}

static int teardown(void **state) {
    struct rig *r = *state;
    logs_retain_stop(r->logs);
    r->store->ops->close(r->store, on_closed, r);
    loop_run(r->loop);
    lane_close(r->disk);
    logs_close(r->logs);
    loop_free(r->loop);
    arena_free(r->arena);
    limits = r->saved;
    assert_int_equal(file_remove_tree(AT_FDCWD, r->dir, NULL), 0);
    free(r);
    return 0;
}

static bool is_live(void *arg, const char *job_id) {
    struct rig *r = arg;
    return r->live && strcmp(r->live, job_id) == 0;
}

/* One whole look. */
static void look(struct rig *r) {
    struct log_usage u;
    logs_get_usage(r->logs, &u);
    uint64_t looks = u.looks;
    if (r->is_started) {
        logs_retain_soon(r->logs);
    } else {
        const struct log_retention how = {
            .store = r->store, .is_live = is_live, .arg = r, .drop_deleted = true};
        logs_retain_start(r->logs, &how);
        r->is_started = true;
    }
    while (u.looks == looks) {
        loop_turn(r->loop);
        logs_get_usage(r->logs, &u);
    }
}

/* A stream of `files` segments with n lines each, a millisecond apart, from t on. */
static void write_stream(struct rig *r, const char *job, const char *sub, unsigned files, size_t n,
                         usec_t t, bool ended) {
    auto_free char *dir = xasprintf("%s/logs/%s/%s", r->dir, job, sub);
    bool is_service = strcmp(sub, "service") == 0;
    struct seglog log;
    assert_int_equal(seglog_open(&log, dir, 0, NULL), 0);
    for (unsigned k = 0; k < files; k++) {
        for (size_t i = 0; i < n; i++, t += 1000) {
            char text[64];
            snprintf(text, sizeof(text), "line %zu of segment %u", i, k);
            struct seg_frame f = {.time = t,
                                  .stream = is_service ? SEG_SERVICE : SEG_STDOUT,
                                  .flags = is_service ? 2 << SEG_SEV_SHIFT : 0,
                                  .payload = str_of(text)};
            seglog_add(&log, &f);
        }
        seglog_flush(&log, 0);
        if (k + 1 < files) {
            log.file_len = SEG_FILE_BYTES; /* as if it were full */
        }
    }
    if (ended) {
        seglog_finish(&log, t, 0);
    }
    seglog_fini(&log);
}

static void set_age(struct rig *r, const char *job, const char *sub, usec_t age) {
    auto_free char *dir = xasprintf("%s/logs/%s/%s", r->dir, job, sub);
    uint32_t first, end;
    seg_range(dir, &first, &end);
    usec_t t = time_wall() - age;
    const struct timespec ts = {.tv_sec = (time_t)(t / USEC_PER_SEC)};
    for (uint32_t i = first; i < end; i++) {
        auto_free char *path = xasprintf("%s/" SEG_NAME_FMT, dir, i);
        assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){ts, ts}, 0), 0);
    }
}

/* A job with 3 service lines and 20 of its program. */
static void write_job(struct rig *r, const char *job, usec_t age, bool ended) {
    usec_t t = time_wall() - age - USEC_PER_SEC;
    write_stream(r, job, "service", 1, 3, t, ended);
    write_stream(r, job, "a1/workerpool0-0", 1, 20, t + 1, ended);
    set_age(r, job, "service", age);
    set_age(r, job, "a1/workerpool0-0", age);
    assert_int_equal(owner_write(r->logs, job, PROJECT, NULL), 0);
}

static bool has(struct rig *r, const char *fmt, const char *job) {
    auto_free char *sub = xasprintf("%s/logs/%s%s", r->dir, fmt, job);
    return access(sub, F_OK) == 0;
}
static bool has_log(struct rig *r, const char *job) {
    return has(r, "", job);
}
static bool has_mark(struct rig *r, const char *job) {
    return has(r, "projects/123/", job);
}

static void on_page(struct log_search *s, const struct err *err) {
    struct rig *r = s->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

/* All entries; each once and in order. */
static size_t count(struct rig *r, const char *filter, bool descending, unsigned page_size) {
    static const struct log_scope demo = {.project = PROJECT, .id = {"demo", 4}};
    struct log_search s = {.descending = descending,
                           .page_size = page_size,
                           .scopes = &demo,
                           .nr_scopes = 1,
                           .cb = on_page,
                           .arg = r};
    struct log_position last, at;
    size_t n = 0;
    struct query *q;
    assert_int_equal(query_parse(r->arena, str_of(filter), &q, NULL), 0);
    do {
        s.query = q;
        s.arena = r->arena;
        s.nr_entries = 0;
        log_search_start(r->logs, &s);
        loop_run(r->loop);
        assert_false(r->failed);
        assert_true(s.nr_entries <= page_size);
        for (size_t i = 0; i < s.nr_entries; i++, n++) {
            log_position_of(s.entries[i], &at);
            int cmp = n ? log_position_cmp(&last, &at) : descending ? 1 : -1;
            assert_true(descending ? cmp > 0 : cmp < 0);
            last = at;
        }
        s.after = s.last;
        s.has_after = true;
    } while (s.more);
    query_close(q);
    return n;
}

/* Ten pages and a bit; or one. Each page is a turn of the lane, which on a busy machine is a wait.
 */
static void check_counts(struct rig *r, size_t want) {
    unsigned page = (unsigned)want / 10 + 1;
    assert_int_equal(count(r, "", false, page), want);
    assert_int_equal(count(r, "", true, page), want);
    assert_int_equal(count(r, "", false, 1000), want);
    assert_int_equal(count(r, "", true, 1000), want);
}

/* ---- the index */

static void test_ended_logs_are_found_by_their_times(void **state) {
    struct rig *r = *state;
    for (unsigned i = 1; i <= 30; i++) {
        char id[8];
        snprintf(id, sizeof(id), "%u", i);
        write_job(r, id, i * 100 * (usec_t)USEC_PER_SEC, i != 7);
    }
    r->live = "7";
    check_counts(r, 690);
    look(r);
    check_counts(r, 690);
    assert_true(has_mark(r, "7") && !has_mark(r, "8") && has(r, "projects/123/", ".ended"));
    assert_int_equal(count(r, "resource.labels.job_id=\"8\"", false, 100), 23);
    assert_int_equal(count(r, "resource.labels.task_name=\"workerpool0-0\"", true, 11), 600);

    struct catalog c;
    usec_t now = time_wall();
    assert_int_equal(
        catalog_load(r->logs, PROJECT, now - 1000 * (usec_t)USEC_PER_SEC, now, &c, NULL), 0);
    assert_true(c.items.n >= 2 && c.items.n < 30); /* the live one, and who was there of late */
    catalog_fini(&c);

    /* A crash between record and mark: both are there, the job is listed once. */
    assert_int_equal(owner_write(r->logs, "8", PROJECT, NULL), 0);
    check_counts(r, 690);
    look(r);
    check_counts(r, 690);
    assert_false(has_mark(r, "8"));
}

static void test_a_damaged_index_is_made_again(void **state) {
    struct rig *r = *state;
    write_job(r, "1", 0, true);
    write_job(r, "2", 0, true);
    look(r);
    auto_free char *path = xasprintf("%s/logs/projects/123/.ended", r->dir);
    auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "X", 1, 20), 1);
    look(r);
    check_counts(r, 46);
    assert_int_equal(truncate(path, 16 + 40 + 13),
                     0); /* torn: the second job's record is not there */
    assert_int_equal(owner_write(r->logs, "2", PROJECT, NULL), 0); /* so its mark is */
    look(r);
    check_counts(r, 46);
}

/* ---- age, size, deletion */

static void test_age(void **state) {
    struct rig *r = *state;
    limits.log_retention_s = 3600;
    write_job(r, "1", 2 * 3600 * (usec_t)USEC_PER_SEC, true);
    write_job(r, "2", 1800 * (usec_t)USEC_PER_SEC, true);
    write_job(r, "3", 50 * DAY, false); /* runs still, and says nothing */
    write_job(r, "4", 50 * DAY, false); /* ended, but the server died before it said so */
    r->live = "3";
    look(r);
    assert_true(!has_log(r, "1") && has_log(r, "2") && has_log(r, "3"));
    assert_true(has_log(r, "4")); /* closed by this look; its last line is of now */
    struct log_usage u;
    logs_get_usage(r->logs, &u);
    assert_int_equal(u.removed_age, 1);
    assert_int_equal(u.jobs, 3);
    check_counts(r, 69);
    assert_false(has(r, "", ".gone"));
}

static void test_total_size_takes_the_oldest_ended(void **state) {
    struct rig *r = *state;
    struct log_usage u;
    write_job(r, "1", 5 * (usec_t)USEC_PER_SEC, false); /* the oldest, but it runs */
    write_job(r, "2", 4 * (usec_t)USEC_PER_SEC, true);
    write_job(r, "3", 3 * (usec_t)USEC_PER_SEC, true);
    write_job(r, "4", 2 * (usec_t)USEC_PER_SEC, true);
    r->live = "1";
    look(r);
    logs_get_usage(r->logs, &u);
    assert_int_equal(u.jobs, 4);
    limits.log_total_bytes = u.bytes - 1;
    look(r);
    assert_true(has_log(r, "1") && !has_log(r, "2") && has_log(r, "3") && has_log(r, "4"));
    limits.log_total_bytes = 1;
    look(r);
    assert_true(has_log(r, "1") && !has_log(r, "3") && !has_log(r, "4"));
    logs_get_usage(r->logs, &u);
    assert_int_equal(u.removed_size, 3);
    assert_int_equal(u.jobs, 1);
    check_counts(r, 23);
}

static void test_a_large_log_keeps_its_end(void **state) {
    struct rig *r = *state;
    write_stream(r, "1", "service", 1, 2, time_wall() - USEC_PER_SEC, true);
    write_stream(r, "1", "a1/workerpool0-0", 6, 100, time_wall() - USEC_PER_SEC, true);
    assert_int_equal(owner_write(r->logs, "1", PROJECT, NULL), 0);
    check_counts(r, 602);
    limits.log_job_bytes = 16000; /* a segment has about 5,800 */
    look(r);
    size_t left = count(r, "", false, 50);
    assert_true(left == 202 || left == 302);
    check_counts(r, left);
    assert_int_equal(count(r, "textPayload=\"line 99 of segment 5\"", true, 3), 1);
    assert_int_equal(
        count(r, "resource.labels.task_name=workerpool0-0 textPayload:\"segment 0\"", false, 3), 0);
    /* Identities are those that the lines had: the first one left is number 300 or 400. */
    auto_free char *first = xasprintf("insertId<\"0001000000%012x\"", left == 302 ? 300 : 400);
    assert_int_equal(count(r, first, true, 300), 2); /* the service's */
}

static void on_put(struct store_txn *t, const struct err *err) {
    struct rig *r = t->arg;
    assert_null(err);
    loop_stop(r->loop);
}

static void say_deleted(struct rig *r, const char *job) {
    struct store_txn t;
    store_txn_init(&t, on_put, r);
    store_txn_kv(&t, LOG_SPACE_DELETED, str_of(job), STR("123"));
    r->store->ops->commit(r->store, &t);
    loop_run(r->loop);
    store_txn_fini(&t);
}

static void on_value(struct store_kv_get *g, struct str value, const struct err *err) {
    struct rig *r = g->arg;
    r->failed = value.p != NULL;
    loop_stop(r->loop);
}

static void test_deleted_jobs_go(void **state) {
    struct rig *r = *state;
    write_job(r, "1", 0, true);
    write_job(r, "2", 0, true);
    look(r);
    say_deleted(r, "1");
    look(r);
    assert_true(!has_log(r, "1") && has_log(r, "2"));
    check_counts(r, 23);
    struct store_kv_get g = {
        .space = LOG_SPACE_DELETED, .key = STR("1"), .arena = r->arena, .cb = on_value, .arg = r};
    r->store->ops->kv_get(r->store, &g);
    loop_run(r->loop);
    assert_false(r->failed);

    /* What a crash left half removed goes with the next look. */
    auto_free char *gone = xasprintf("%s/logs/.gone/9/a1", r->dir);
    assert_int_equal(file_mkdirs(AT_FDCWD, gone, 0750, NULL), 0);
    say_deleted(r, "77"); /* and who never had a log is no trouble */
    look(r);
    assert_false(has(r, "", ".gone"));
}

/* ---- written entries */

#define EACH 800u /* of a segment: five blocks */
#define JOB 350u  /* of a job; one of them begins in a segment and ends in the next */

static void write_segment(struct rig *r, unsigned file, size_t from, size_t n, usec_t t0,
                          struct rng *rng) {
    auto_free char *dir = xasprintf("%s/logs/written/%u", r->dir, PROJECT);
    struct seglog log;
    assert_int_equal(seglog_open(&log, dir, 0, NULL), 0);
    for (size_t i = from; i < from + n; i++) {
        Google__Logging__V2__LogEntry *e = (Google__Logging__V2__LogEntry *)pb_new(
            r->arena, &google__logging__v2__log_entry__descriptor);
        auto_buf struct buf b = BUF_INIT(1 << 20);
        /* They come nearly in order, some much too late. */
        usec_t t = t0 + i * 1000 + rng_below(rng, i % 50 ? 20000 : EACH * 1500);
        e->log_name = arena_printf(r->arena, "projects/demo/logs/log-%u", file);
        e->insert_id = arena_printf(r->arena, "%08zu", i);
        e->timestamp = (Google__Protobuf__Timestamp *)pb_new(
            r->arena, &google__protobuf__timestamp__descriptor);
        e->timestamp->seconds = (int64_t)(t / USEC_PER_SEC);
        e->timestamp->nanos = (int32_t)(t % USEC_PER_SEC) * 1000;
        e->payload_case = GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_TEXT_PAYLOAD;
        e->text_payload = arena_printf(r->arena, "%0300zu", i);
        e->labels = arena_calloc(r->arena, 1, sizeof(*e->labels));
        e->labels[0] = arena_calloc(r->arena, 1, sizeof(**e->labels));
        google__logging__v2__log_entry__labels_entry__init(e->labels[0]);
        e->labels[0]->key = arena_strdup(r->arena, "ml.googleapis.com/job_id");
        e->labels[0]->value = arena_printf(r->arena, "%zu", i / JOB);
        e->n_labels = 1;
        assert_int_equal(pb_pack(&e->base, &b), 0);
        struct seg_frame f = {.time = t, .stream = SEG_ENTRY, .payload = buf_str(&b)};
        if (i == from && file) {
            log.file_len = SEG_FILE_BYTES;
        }
        seglog_add(&log, &f);
    }
    seglog_flush(&log, USEC_PER_SEC * 3600);
    seglog_fini(&log);
}

static void test_written_entries_over_segments(void **state) {
    struct rig *r = *state;
    struct rng rng;
    rng_seed(&rng, 11);
    usec_t t0 = time_wall() - 3600 * (usec_t)USEC_PER_SEC;
    for (unsigned i = 0; i < 3; i++) {
        write_segment(r, i, i * EACH, EACH, t0, &rng);
    }
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(count(r, "", false, 170), 3 * EACH);
        assert_int_equal(count(r, "", true, 170), 3 * EACH);
        assert_int_equal(count(r, "labels.\"ml.googleapis.com/job_id\"=\"2\"", false, 170), JOB);
        assert_int_equal(count(r, "labels.\"ml.googleapis.com/job_id\"=\"77\"", true, 170), 0);
        assert_int_equal(count(r, "textPayload=~\"00123$\"", false, 170), 1);
        assert_true(has(r, "written/123/", "out.000000.idx") &&
                    has(r, "written/123/", "out.000001.idx") &&
                    !has(r, "written/123/", "out.000002.idx"));
        if (turn == 0) { /* looks at few at once: pages are short, nothing is left out */
            limits.max_list_scan = 300;
        } else {
            auto_free char *path = xasprintf("%s/logs/written/123/out.000001.idx", r->dir);
            assert_int_equal(turn == 1 ? truncate(path, 100) : 0, 0);
        }
    }
    limits.max_list_scan = r->saved.max_list_scan;
    write_segment(r, 3, 3 * EACH, 10, t0, &rng); /* the third is full now */
    assert_int_equal(count(r, "", true, 1000), 3 * EACH + 10);
    assert_true(has(r, "written/123/", "out.000002.idx"));

    limits.log_retention_s = 60; /* they are older, by their own time */
    assert_int_equal(count(r, "", true, 1000), 0);
    limits.log_retention_s = r->saved.log_retention_s;
    for (unsigned i = 0; i < 2; i++) { /* and these came long ago */
        auto_free char *path = xasprintf("%s/logs/written/123/" SEG_NAME_FMT, r->dir, i);
        const struct timespec ts = {.tv_sec = time(NULL) - 100 * 86400};
        assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){ts, ts}, 0), 0);
    }
    look(r);
    assert_true(!has(r, "written/123/", "out.000000.seg") &&
                !has(r, "written/123/", "out.000001.idx"));
    assert_int_equal(count(r, "", false, 1000), EACH + 10);
}

/* ---- names */

static void on_names(struct log_names *n, const struct err *err) {
    struct rig *r = n->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static bool is_named(struct rig *r, const char *id) {
    struct log_names n = {.project = PROJECT, .arena = r->arena, .cb = on_names, .arg = r};
    log_names_start(r->logs, &n);
    loop_run(r->loop);
    assert_false(r->failed);
    for (size_t i = 0; i < n.nr_ids; i++) {
        if (str_eqc(n.ids[i], id)) {
            return true;
        }
    }
    return false;
}

static void on_delete(struct log_delete *d, const struct err *err) {
    struct rig *r = d->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static void delete_log(struct rig *r, const char *id) {
    struct log_delete d = {.project = PROJECT, .log_id = str_of(id), .cb = on_delete, .arg = r};
    log_delete_start(r->logs, &d);
    loop_run(r->loop);
    assert_false(r->failed);
    assert_false(is_named(r, id));
}

static void test_a_deleted_name_comes_back_with_its_next_line_only(void **state) {
    struct rig *r = *state;
    usec_t t = time_wall();
    write_job(r, "1", 0, true);
    write_stream(r, "2", "service", 1, 3, t, false);
    write_stream(r, "2", "a1/workerpool1-0", 1, 3, t - USEC_PER_SEC, false);
    assert_int_equal(owner_write(r->logs, "2", PROJECT, NULL), 0);
    r->live = "2";
    look(r);
    assert_true(is_named(r, "workerpool0-0") && is_named(r, "workerpool1-0"));
    assert_true(is_named(r, "ml.googleapis.com%2F1"));
    delete_log(r, "ml.googleapis.com%2F1");
    delete_log(r, "workerpool0-0");
    delete_log(r, "workerpool1-0");

    /* The end of a stream is no line, nor are other jobs' lines, nor this job's other streams. */
    t = time_wall() + 3600 * (usec_t)USEC_PER_SEC; /* whenever: later than the deletion */
    write_stream(r, "2", "a1/workerpool1-0", 1, 0, t, true);
    write_stream(r, "2", "service", 1, 3, t, true);
    r->live = NULL;
    for (int turn = 0; turn < 2; turn++) {
        assert_false(is_named(r, "workerpool0-0"));
        assert_false(is_named(r, "workerpool1-0"));
        assert_false(is_named(r, "ml.googleapis.com%2F1"));
        assert_true(is_named(r, "ml.googleapis.com%2F2"));
        look(r); /* the second time it is known as ended */
        assert_true(turn || !has_mark(r, "2"));
    }
    write_stream(r, "3", "a1/workerpool0-0", 1, 1, t, true);
    write_stream(r, "3", "service", 1, 1, t, true);
    assert_int_equal(owner_write(r->logs, "3", PROJECT, NULL), 0);
    assert_true(is_named(r, "workerpool0-0"));
    look(r);
    assert_true(!has_mark(r, "3") && is_named(r, "workerpool0-0"));
    assert_false(is_named(r, "workerpool1-0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ended_logs_are_found_by_their_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_index_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_age, setup, teardown),
        cmocka_unit_test_setup_teardown(test_total_size_takes_the_oldest_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_large_log_keeps_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_jobs_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_written_entries_over_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_deleted_name_comes_back_with_its_next_line_only,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
