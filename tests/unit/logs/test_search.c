/* Pages of entries on real files: order over replicas, paging in both directions, written entries,
 * deletion, finding places in large logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/rng.h"
#include "logs/locate.h"
#include "logs/written.h"
#include "pb/pb.h"
#include "sys/files.h"
#include "sys/seglog.h"

#include <fcntl.h>
#include <unistd.h>

#define PROJECT 123u
#define T0 (UINT64_C(1714557600) * USEC_PER_SEC)

struct rig {
    char dir[64];
    struct loop *loop;
    struct lane *disk;
    struct logs *logs;
    struct arena *arena;
    bool failed;
};

static int setup(void **state) {
    struct rig *r = xcalloc(1, sizeof(*r));
    struct err err;
    snprintf(r->dir, sizeof(r->dir), "/tmp/cusp-search-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->loop = loop_new();
    r->disk = lane_new(r->loop, "disk", 2);
    r->logs = logs_open(r->loop, r->disk, r->dir, &err);
    assert_non_null(r->logs);
    r->arena = arena_new(ARENA_NO_MAX);
    limits.log_retention_s = 0; /* entries of the tests are old */
    *state = r;
    return 0;
}

static int teardown(void **state) {
    struct rig *r = *state;
    lane_close(r->disk);
    logs_close(r->logs);
    loop_free(r->loop);
    arena_free(r->arena);
    assert_int_equal(file_remove_tree(AT_FDCWD, r->dir, NULL), 0);
    free(r);
    return 0;
}

/* A replica's log: n lines, `step` microseconds apart (0: random, many alike), named by number. */
static void write_lines(struct rig *r, const char *job, const char *task, size_t n, usec_t step,
                        struct rng *rng, size_t padding) {
    auto_free char *dir = xasprintf("%s/logs/%s/a1/%s", r->dir, job, task);
    auto_buf struct buf text = BUF_INIT(1 << 20);
    struct seglog log;
    usec_t t = T0;
    assert_int_equal(seglog_open(&log, dir, 0, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        buf_clear(&text);
        buf_printf(&text, "%s %zu %*s", task, i, (int)padding, "");
        struct seg_frame f = {.time = t, .stream = SEG_STDOUT, .payload = buf_str(&text)};
        seglog_add(&log, &f);
        t += step ? step : rng_below(rng, 3);
        if (log.out.n > 1 << 16) {
            seglog_flush(&log, 0);
        }
    }
    seglog_finish(&log, t, 0);
    seglog_fini(&log);
    assert_int_equal(owner_write(r->logs, job, PROJECT, NULL), 0);
}

static void on_page(struct log_search *s, const struct err *err) {
    struct rig *r = s->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static void find(struct rig *r, struct log_search *s, const char *filter) {
    struct query *q;
    assert_int_equal(query_parse(r->arena, str_of(filter), &q, NULL), 0);
    static const struct log_scope demo = {.project = PROJECT, .id = {"demo", 4}};
    if (!s->scopes) {
        s->scopes = &demo;
        s->nr_scopes = 1;
    }
    s->query = q;
    s->arena = r->arena;
    s->cb = on_page;
    s->arg = r;
    s->nr_entries = 0;
    log_search_start(r->logs, s);
    loop_run(r->loop);
    assert_false(r->failed);
    query_close(q);
}

/* All pages; checks that the order is strict. Returns how many there were. */
static size_t walk(struct rig *r, const char *filter, bool descending, unsigned page_size) {
    struct log_search s = {.descending = descending, .page_size = page_size};
    struct log_position last, at;
    size_t n = 0;
    do {
        find(r, &s, filter);
        assert_true(s.nr_entries <= page_size);
        for (size_t i = 0; i < s.nr_entries; i++, n++) {
            log_position_of(s.entries[i], &at);
            if (n) {
                int cmp = log_position_cmp(&last, &at);
                if (descending ? cmp <= 0 : cmp >= 0) {
                    fail_msg("entry %zu is out of order: %s after %s", n, at.insert_id,
                             last.insert_id);
                }
            }
            last = at;
        }
        s.after = s.last;
        s.has_after = true;
    } while (s.more);
    return n;
}

/* Lines that say when they are from and what they are called, in an order of their own: some many
 * lines earlier, some at one moment, some a year ago. */
static size_t write_own_times(struct rig *r, const char *job, const char *task, size_t n,
                              struct rng *rng) {
    auto_free char *dir = xasprintf("%s/logs/%s/a1/%s", r->dir, job, task);
    struct seglog log;
    usec_t t = T0 + USEC_PER_SEC;
    assert_int_equal(seglog_open(&log, dir, 0, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        char line[200] = "plain";
        usec_t back = rng_below(rng, 20) ? rng_below(rng, 4000) : 400 * (usec_t)USEC_PER_SEC;
        if (rng_below(rng, 3)) {
            snprintf(line, sizeof(line),
                     "{\"timestampSeconds\":%u,\"timestampNanos\":%u,\"message\":\"%zu\"",
                     (unsigned)((t - back) / USEC_PER_SEC),
                     (unsigned)((t - back) % USEC_PER_SEC) * 1000, i);
            size_t len = strlen(line);
            if (rng_below(rng, 2)) {
                snprintf(line + len, sizeof(line) - len,
                         ",\"logging.googleapis.com/insertId\":\"%c%zu\"}",
                         rng_below(rng, 2) ? '!' : 'z', i);
            } else {
                snprintf(line + len, sizeof(line) - len, "}");
            }
        }
        struct seg_frame f = {.time = t, .stream = SEG_STDOUT, .payload = str_of(line)};
        seglog_add(&log, &f);
        t += rng_below(rng, 200) ? rng_below(rng, 4) : 2000;
        if (log.out.n > 1 << 16) {
            seglog_flush(&log, 0);
        }
    }
    seglog_finish(&log, t, 0);
    seglog_fini(&log);
    assert_int_equal(owner_write(r->logs, job, PROJECT, NULL), 0);
    return n;
}

static void test_own_times_are_in_order(void **state) {
    struct rig *r = *state;
    struct rng rng;
    rng_seed(&rng, 11);
    size_t n = write_own_times(r, "7", "workerpool0-0", 2600, &rng) +
               write_own_times(r, "7", "workerpool1-0", 300, &rng);
    static const unsigned sizes[] = {97, 1000};
    for (size_t i = 0; i < NR_OF(sizes); i++) {
        assert_int_equal(walk(r, "resource.labels.job_id=\"7\"", false, sizes[i]), n);
        assert_int_equal(walk(r, "resource.labels.job_id=\"7\"", true, sizes[i]), n);
    }
    /* Ranges of time: both directions find what a walk through everything finds. */
    size_t before = 0;
    for (int i = 0; i <= 3; i++) {
        char filter[200];
        snprintf(filter, sizeof(filter),
                 "resource.labels.job_id=\"7\" timestamp<\"2024-05-01T10:00:01.%06dZ\"", i * 8000);
        size_t up = walk(r, filter, false, 500), down = walk(r, filter, true, 500);
        assert_int_equal(up, down);
        assert_true(up >= before && (i > 0 || up > 0));
        before = up;
        snprintf(filter, sizeof(filter),
                 "resource.labels.job_id=\"7\" timestamp>=\"2024-05-01T10:00:01.%06dZ\"", i * 8000);
        assert_int_equal(walk(r, filter, false, 500), n - up);
        assert_int_equal(walk(r, filter, true, 500), n - up);
    }
}

static void test_every_line_once_in_order(void **state) {
    struct rig *r = *state;
    struct rng rng;
    rng_seed(&rng, 7);
    write_lines(r, "7", "workerpool0-0", 3000, 0, &rng, 0);
    write_lines(r, "7", "workerpool1-0", 2000, 0, &rng, 10);
    write_lines(r, "7", "workerpool1-1", 1, 0, &rng, 10);
    write_lines(r, "8", "workerpool0-0", 500, 5, &rng, 10);
    static const unsigned sizes[] = {97, 1000};
    for (size_t i = 0; i < NR_OF(sizes); i++) {
        assert_int_equal(walk(r, "resource.labels.job_id=\"7\"", false, sizes[i]), 5001);
        assert_int_equal(walk(r, "resource.labels.job_id=\"7\"", true, sizes[i]), 5001);
    }
    assert_int_equal(walk(r, "", false, 1000), 5501);
    assert_int_equal(walk(r, "", true, 1000), 5501);
    assert_int_equal(walk(r, "resource.labels.task_name=\"workerpool1-0\"", true, 1000), 2000);
    assert_int_equal(walk(r, "textPayload=\"workerpool0-0 499           \"", false, 10), 1);
    assert_int_equal(walk(r, "resource.labels.job_id=\"9\"", false, 10), 0);
    static const struct log_scope nobody = {.project = 5, .id = {"five", 4}};
    struct log_search other = {.page_size = 10, .scopes = &nobody, .nr_scopes = 1};
    find(r, &other, "resource.labels.job_id=\"7\"");
    assert_int_equal(other.nr_entries, 0);
}

static void test_bounds_in_a_large_log(void **state) {
    struct rig *r = *state;
    write_lines(r, "7", "workerpool0-0", 200000, 1000, NULL, 40); /* 200 s, 20 MB */
    struct seg_cursor c;
    auto_free char *dir = xasprintf("%s/logs/7/a1/workerpool0-0", r->dir);
    seg_cursor_init(&c, dir);
    for (uint64_t seq = 0; seq < 200000; seq += 33331) {
        uint64_t at;
        usec_t t;
        assert_int_equal(seg_locate(&c, LOCATE_SEQ, seq, &at, &t, NULL), 0);
        assert_int_equal(at, seq);
        assert_int_equal(t, T0 + seq * 1000);
        assert_int_equal(seg_locate(&c, LOCATE_TIME, T0 + seq * 1000 + 1, &at, &t, NULL), 0);
        assert_int_equal(at, seq + 1);
    }
    seg_cursor_fini(&c);

    struct log_search s = {.page_size = 3};
    find(r, &s, "resource.labels.job_id=\"7\" timestamp>=\"2024-05-01T10:01:40Z\"");
    assert_int_equal(s.nr_entries, 3);
    assert_true(str_starts(str_of(s.entries[0]->text_payload), STR("workerpool0-0 100000 ")));
    s = (struct log_search){.page_size = 3, .descending = true};
    find(r, &s, "resource.labels.job_id=\"7\" timestamp<\"2024-05-01T10:01:40Z\"");
    assert_int_equal(s.nr_entries, 3);
    assert_true(str_starts(str_of(s.entries[0]->text_payload), STR("workerpool0-0 99999 ")));
    assert_int_equal(walk(r, "timestamp>=\"2024-05-01T10:03:19Z\"", false, 300), 1000);
    assert_int_equal(walk(r, "timestamp>=\"2024-05-01T10:03:19Z\"", true, 300), 1000);
}

/* ---- written entries */

static void on_write(struct log_write *w, const struct err *err) {
    struct rig *r = w->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static Google__Logging__V2__LogEntry *entry(struct rig *r, const char *log, usec_t t,
                                            const char *id) {
    Google__Logging__V2__LogEntry *e = (Google__Logging__V2__LogEntry *)pb_new(
        r->arena, &google__logging__v2__log_entry__descriptor);
    e->log_name = arena_printf(r->arena, "projects/demo/logs/%s", log);
    e->insert_id = arena_strdup(r->arena, id);
    e->timestamp =
        (Google__Protobuf__Timestamp *)pb_new(r->arena, &google__protobuf__timestamp__descriptor);
    e->timestamp->seconds = (int64_t)(t / USEC_PER_SEC);
    e->timestamp->nanos = (int32_t)(t % USEC_PER_SEC) * 1000;
    e->receive_timestamp = e->timestamp;
    e->payload_case = GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_TEXT_PAYLOAD;
    e->text_payload = arena_strdup(r->arena, id);
    return e;
}

static void write_entries(struct rig *r, Google__Logging__V2__LogEntry **e, size_t n) {
    struct log_write w = {.project = PROJECT, .entries = e, .nr = n, .cb = on_write, .arg = r};
    log_write_start(r->logs, &w);
    loop_run(r->loop);
    assert_false(r->failed);
}

static void on_delete(struct log_delete *d, const struct err *err) {
    struct rig *r = d->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static void on_names(struct log_names *n, const struct err *err) {
    struct rig *r = n->arg;
    r->failed = err != NULL;
    loop_stop(r->loop);
}

static void test_written_entries_are_merged_and_deleted(void **state) {
    struct rig *r = *state;
    Google__Logging__V2__LogEntry *e[50];
    write_lines(r, "7", "workerpool0-0", 100, 1000, NULL, 0);
    for (size_t i = 0; i < NR_OF(e); i++) { /* latest first */
        e[i] = entry(r, "mine", T0 + (NR_OF(e) - i) * 2000,
                     arena_printf(r->arena, "w%03zu", NR_OF(e) - i));
    }
    write_entries(r, e, NR_OF(e));
    write_entries(r, e, 3); /* tried again: the same insertIds */
    assert_int_equal(walk(r, "", false, 7), 150);
    assert_int_equal(walk(r, "", true, 7), 150);
    assert_int_equal(walk(r, "logName:mine", false, 7), 50);

    struct log_names n = {.project = PROJECT, .arena = r->arena, .cb = on_names, .arg = r};
    log_names_start(r->logs, &n);
    loop_run(r->loop);
    assert_int_equal(n.nr_ids, 3);
    assert_true(str_eqc(n.ids[0], "mine"));
    assert_true(str_eqc(n.ids[1], "ml.googleapis.com%2F7"));
    assert_true(str_eqc(n.ids[2], "workerpool0-0"));

    struct log_delete d = {.project = PROJECT, .log_id = STR("mine"), .cb = on_delete, .arg = r};
    log_delete_start(r->logs, &d);
    loop_run(r->loop);
    assert_false(r->failed);
    assert_int_equal(walk(r, "", false, 7), 100);
    e[0] = entry(r, "mine", time_wall() + USEC_PER_SEC, "new");
    write_entries(r, e, 1);
    assert_int_equal(walk(r, "", true, 7), 101);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_line_once_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_times_are_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds_in_a_large_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_written_entries_are_merged_and_deleted, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
