/* The SQLite store: the contract, and the same answers as the memory store on random data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "rig_sqlite.h"
#include "base/limits.h"
#include "base/rng.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "store/cache.h"
#include "store/filter.h"
#include "sys/loop.h"

/* ---- two stores, one answer ---- */

static void mem_turn(struct rig *r) {
    assert_true(store_mem_step(r->s));
}

static const struct rig_kind mem_kind = {"mem", NULL, mem_turn, NULL, NULL};

static const char *pick(struct rng *rng, const char *const *all, size_t n) {
    return all[rng_below(rng, n)];
}

static struct str one_of(struct rng *rng, const char *const *all, size_t n) {
    return str_of(pick(rng, all, n));
}

static const char *const names[] = {"", "alpha", "beta", "alphabet", "Alpha", "a*b", "\xc3\xa4"};
static const char *const states[] = {"JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_FAILED"};
static const char *const parents[] = {
    "projects/1/locations/us-central1", "projects/1/locations/us-central1",
    "projects/1/locations/us-central1", "projects/1/locations/europe-west4"};
static const char *const keys[] = {"team", "env", "a key", "x-y"};
static const char *const values[] = {"", "red", "blue", "redder", "*"};

/* The message of a row: a CustomJob whose spec says little, but not always the same. */
static const char *const machines[] = {"n1-standard-4", "n1-highmem-2", "g2-standard-8"};

static void random_spec(struct rng *rng, struct buf *ret) {
    Aip__CustomJob job = AIP__CUSTOM_JOB__INIT;
    Aip__CustomJobSpec spec = AIP__CUSTOM_JOB_SPEC__INIT;
    Aip__WorkerPoolSpec pools[2] = {AIP__WORKER_POOL_SPEC__INIT, AIP__WORKER_POOL_SPEC__INIT};
    Aip__WorkerPoolSpec *list[2] = {&pools[0], &pools[1]};
    Aip__MachineSpec machine[2] = {AIP__MACHINE_SPEC__INIT, AIP__MACHINE_SPEC__INIT};
    Google__Rpc__Status error = GOOGLE__RPC__STATUS__INIT;
    if (rng_below(rng, 3)) {
        job.job_spec = &spec;
    }
    spec.n_worker_pool_specs = rng_below(rng, 3);
    spec.worker_pool_specs = list;
    for (size_t i = 0; i < 2; i++) {
        pools[i].replica_count = (int64_t)rng_below(rng, 4);
        pools[i].machine_spec = rng_below(rng, 4) ? &machine[i] : NULL;
        machine[i].machine_type = (char *)machines[rng_below(rng, NR_OF(machines))];
    }
    if (rng_below(rng, 2)) {
        job.error = &error;
        error.code = (int32_t)rng_below(rng, 4);
        error.message = rng_below(rng, 2) ? "lost" : "";
    }
    assert_int_equal(pb_pack(&job.base, ret), 0);
}

static ProtobufCMessage *decode_job(struct arena *a, const struct store_row *row) {
    ProtobufCMessage *m;
    return pb_unpack(a, &aip__custom_job__descriptor, row->spec, &m, NULL) ? NULL : m;
}

static const struct filter_schema schema = {&aip__custom_job__descriptor, decode_job};

static void random_message_restriction(struct rng *rng, struct buf *b) {
    static const char *const ops[] = {"=", "!=", "<", "<=", ">", ">=", ":"};
    const char *op = ops[rng_below(rng, NR_OF(ops))];
    switch (rng_below(rng, 5)) {
    case 0:
        buf_printf(b, "error.code%s%u", op, (unsigned)rng_below(rng, 4));
        return;
    case 1:
        buf_printf(b, "jobSpec.worker_pool_specs.replica_count%s%u", op,
                   (unsigned)rng_below(rng, 4));
        return;
    case 2:
        buf_printf(b, "job_spec.worker_pool_specs.machine_spec.machine_type%s\"%s\"", op,
                   rng_below(rng, 2) ? "n1*" : machines[rng_below(rng, NR_OF(machines))]);
        return;
    case 3:
        buf_puts(b, rng_below(rng, 2) ? "error:*" : "job_spec.worker_pool_specs:*");
        return;
    default:
        buf_printf(b, "error.message%slost", op);
        return;
    }
}

static struct store_row random_row(struct rng *rng, struct arena *a, uint64_t id) {
    struct store_row row = rig_row(a, id, 1000 * USEC_PER_SEC * rng_below(rng, 6));
    row.update_time = 1000 * USEC_PER_SEC * rng_below(rng, 6);
    row.display_name = one_of(rng, names, NR_OF(names));
    row.state = one_of(rng, states, NR_OF(states));
    auto_buf struct buf spec = BUF_INIT(BUF_NO_MAX);
    random_spec(rng, &spec);
    row.spec = arena_str(a, buf_str(&spec));
    row.parent = one_of(rng, parents, NR_OF(parents));
    row.nr_labels = 0;
    row.labels = arena_calloc(a, NR_OF(keys) + 1, sizeof(*row.labels));
    for (size_t i = 0; i < NR_OF(keys); i++) {
        if (rng_below(rng, 2)) {
            row.labels[row.nr_labels++] = (struct store_label){
                str_of(keys[i]),
                rng_below(rng, 2) ? STR("red") : one_of(rng, values, NR_OF(values))};
        }
    }
    if (row.nr_labels && rng_below(rng, 4) == 0) { /* the same pair twice is no second row */
        row.labels[row.nr_labels] = row.labels[rng_below(rng, row.nr_labels)];
        row.nr_labels++;
    }
    return row;
}

static void random_restriction(struct rng *rng, struct buf *b) {
    static const char *const ops[] = {"=", "!=", "<", "<=", ">", ">=", ":"};
    static const char *const patterns[] = {"*", "al*", "*a", "*ph*b*", "red*", "r*d"};
    bool like = false;
    if (rng_below(rng, 3) == 0) {
        random_message_restriction(rng, b);
        return;
    }
    switch (rng_below(rng, 5)) {
    case 0: {
        size_t op = rng_below(rng, NR_OF(ops));
        like = op == 6;
        buf_printf(b, "%s %s ", rng_below(rng, 2) ? "display_name" : "displayName", ops[op]);
        buf_printf(b, "\"%s\"",
                   like ? pick(rng, patterns, NR_OF(patterns)) : pick(rng, names, NR_OF(names)));
        return;
    }
    case 1:
        buf_printf(b, "state%s%s",
                   rng_below(rng, 2) ? "=" : "!=", pick(rng, states, NR_OF(states)));
        return;
    case 2:
        buf_printf(b, "%s%s\"", rng_below(rng, 2) ? "create_time" : "updateTime",
                   ops[rng_below(rng, 6)]);
        time_format_rfc3339(b, 1000 * USEC_PER_SEC * rng_below(rng, 6));
        buf_puts(b, "\"");
        return;
    case 3:
        buf_printf(b, "labels:\"%s\"", pick(rng, keys, NR_OF(keys)));
        return;
    default: {
        size_t op = rng_below(rng, NR_OF(ops));
        like = op == 6;
        buf_printf(b, "labels.\"%s\"%s", pick(rng, keys, NR_OF(keys)), ops[op]);
        buf_printf(b, "\"%s\"",
                   like ? pick(rng, patterns, NR_OF(patterns)) : pick(rng, values, NR_OF(values)));
        return;
    }
    }
}

static void random_filter(struct rng *rng, struct buf *b, unsigned depth) {
    static const char *const joins[] = {" AND ", " OR ", " "};
    size_t n = 1 + rng_below(rng, 3);
    for (size_t i = 0; i < n; i++) {
        if (i) {
            buf_puts(b, joins[rng_below(rng, 3)]);
        }
        if (rng_below(rng, 4) == 0) {
            buf_puts(b, rng_below(rng, 2) ? "NOT " : "-");
        }
        if (depth && rng_below(rng, 3) == 0) {
            buf_puts(b, "(");
            random_filter(rng, b, depth - 1);
            buf_puts(b, ")");
        } else {
            random_restriction(rng, b);
        }
    }
}

/* Reads one whole list in pages and writes the names down. */
static void list_all(struct rig *r, struct store_list l, struct buf *ret) {
    do {
        struct rig_page p = rig_list(r, &l);
        assert_int_equal(p.err.code, 0);
        for (size_t i = 0; i < p.nr; i++) {
            buf_put_str(ret, p.rows[i].name);
            buf_puts(ret, "\n");
        }
        l.page_token = p.next;
    } while (l.page_token.n);
}

/* Clients edit rows and delete them: labels come, go and change. */
static void change_rows(struct rng *rng, struct arena *a, const struct str *all, size_t nr,
                        struct store_txn *q, struct store_txn *m) {
    for (size_t i = 0; i < nr; i++) {
        if (rng_below(rng, 5) == 0) {
            store_txn_delete(q, all[i]);
            store_txn_delete(m, all[i]);
        } else if (rng_below(rng, 3) == 0) {
            struct store_row row = random_row(rng, a, 0);
            row.name = all[i];
            store_txn_replace(q, &row); /* its parent and times are not looked at */
            store_txn_replace(m, &row);
        }
    }
}

static void test_both_stores_answer_random_filters_alike(void **state) {
    /* Enough rows that one label value is common and the others rare: lists start differently. */
    enum { NR_ROWS = 600, NR_FILTERS = 300 };
    struct rng rng;
    rng_seed(&rng, 20240501);
    struct str all[NR_ROWS];
    struct rig q = {.kind = &rig_sqlite}, m = {.kind = &mem_kind};
    rig_sqlite.open(&q);
    m.s = store_mem_new(NULL);
    struct arena *a = arena_new(ARENA_NO_MAX);
    auto_arena struct arena *kept = arena_new(ARENA_NO_MAX);
    struct store_txn tq, tm;
    store_txn_init(&tq, NULL, NULL);
    store_txn_init(&tm, NULL, NULL);
    for (uint64_t i = 0; i < NR_ROWS; i++) {
        struct store_row row = random_row(&rng, a, rng_below(&rng, 1000) * NR_ROWS + i);
        all[i] = arena_str(kept, row.name);
        store_txn_insert(&tq, &row);
        store_txn_insert(&tm, &row);
    }
    assert_int_equal(rig_commit(&q, &tq).code, 0);
    assert_int_equal(rig_commit(&m, &tm).code, 0);
    store_txn_init(&tq, NULL, NULL);
    store_txn_init(&tm, NULL, NULL);
    change_rows(&rng, a, all, NR_ROWS, &tq, &tm);
    assert_int_equal(rig_commit(&q, &tq).code, 0);
    assert_int_equal(rig_commit(&m, &tm).code, 0);
    rig_sqlite.again(&q); /* lists are of what is on the disk */
    size_t nr_some = 0;
    uint64_t was = limits.max_list_scan;
    for (unsigned i = 0; i < NR_FILTERS; i++) {
        arena_clear(a);
        auto_buf struct buf text = BUF_INIT(BUF_NO_MAX), from_q = BUF_INIT(BUF_NO_MAX),
                            from_m = BUF_INIT(BUF_NO_MAX);
        random_filter(&rng, &text, 2);
        struct store_list l = {.kind = STR("customJob"),
                               .parent = rng_below(&rng, 2)
                                             ? STR("projects/1/locations/us-central1")
                                             : STR("projects/1/locations/-"),
                               .order = (enum store_order_field)rng_below(&rng, 5),
                               .then = {{(enum store_order_field)rng_below(&rng, 5), true},
                                        {(enum store_order_field)rng_below(&rng, 5), false}},
                               .nr_then = (unsigned)rng_below(&rng, 3),
                               .descending = rng_below(&rng, 2),
                               .page_size = 20 + (unsigned)rng_below(&rng, 50),
                               .filter_text = buf_str(&text),
                               .arena = a};
        struct err err = {0};
        if (filter_parse(a, l.filter_text, &schema, &l.filter, &err) < 0) {
            fail_msg("%s: %s", buf_cstr(&text), err.msg);
        }
        limits.max_list_scan = rng_below(&rng, 2) ? was : 30; /* pages that end short, too */
        list_all(&q, l, &from_q);
        list_all(&m, l, &from_m);
        if (!str_eq(buf_str(&from_q), buf_str(&from_m))) {
            fail_msg("%s\nsqlite:\n%s\nmem:\n%s", buf_cstr(&text), buf_cstr(&from_q),
                     buf_cstr(&from_m));
        }
        nr_some += from_q.n > 0;
    }
    limits.max_list_scan = was;
    assert_true(nr_some > NR_FILTERS / 4); /* else the test proves little */
    arena_free(a);
    m.s->ops->close(m.s, NULL, NULL);
    assert_false(store_mem_step(m.s));
    rig_sqlite.close(&q);
}

/* ---- group commit and the cache ---- */

static void on_count(struct store_txn *t, const struct err *err) {
    assert_null(err);
    ++*(unsigned *)t->arg;
}

static void test_commits_of_one_turn_share_a_batch(void **state) {
    enum { NR = 50 };
    struct rig r = {.kind = &rig_sqlite};
    rig_sqlite.open(&r);
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_txn t[NR];
    unsigned done = 0;
    for (uint64_t i = 0; i < NR; i++) {
        struct store_row row = rig_row(a, i, i);
        store_txn_init(&t[i], on_count, &done);
        store_txn_insert(&t[i], &row);
        r.s->ops->commit(r.s, &t[i]);
    }
    while (done < NR) {
        loop_turn(r.loop);
    }
    struct store_stats st;
    r.s->ops->get_stats(r.s, &st);
    assert_int_equal(st.batches, 1);
    assert_int_equal(st.commits, NR);
    assert_int_equal(st.rows_cached, NR);
    for (uint64_t i = 0; i < NR; i++) {
        struct store_row row = rig_row(a, i, i);
        assert_non_null(r.s->ops->peek(r.s, row.name));
        store_txn_fini(&t[i]);
    }
    arena_free(a);
    rig_sqlite.close(&r);
}

struct closing {
    unsigned nr_commits, nr_reads;
    bool closed;
};

static void on_commit_before_close(struct store_txn *t, const struct err *err) {
    struct closing *c = t->arg;
    assert_null(err);
    assert_false(c->closed);
    c->nr_commits++;
    store_txn_fini(t);
}

static void on_read_before_close(struct store_get *g, const struct store_row *row,
                                 const struct err *err) {
    struct closing *c = g->arg;
    assert_false(c->closed);
    c->nr_reads++;
}

static void on_closing_done(void *arg) {
    struct closing *c = arg;
    assert_int_equal(c->nr_commits, 3);
    assert_int_equal(c->nr_reads, 3);
    c->closed = true;
}

static void test_close_finishes_what_was_given_first(void **state) {
    struct rig r = {.kind = &rig_sqlite};
    rig_sqlite.open(&r);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct closing c = {0};
    struct store_txn t[3];
    struct store_get g[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct store_row row = rig_row(a, i, i);
        store_txn_init(&t[i], on_commit_before_close, &c);
        store_txn_insert(&t[i], &row);
        r.s->ops->commit(r.s, &t[i]);
        g[i] =
            (struct store_get){.name = row.name, .arena = a, .cb = on_read_before_close, .arg = &c};
        r.s->ops->get(r.s, &g[i]);
    }
    r.s->ops->close(r.s, on_closing_done, &c);
    assert_false(c.closed);
    while (!c.closed) {
        loop_turn(r.loop);
    }
    loop_free(r.loop);
    rig_sqlite_start(&r);
    struct store_row got, row = rig_row(a, 2, 2);
    assert_int_equal(rig_get(&r, row.name.p, a, &got).code, 0);
    rig_sqlite.close(&r);
}

static void test_cache_stays_within_its_budget_and_forgets_the_oldest(void **state) {
    struct cache *c = cache_new(64 * 1024);
    struct arena *a = arena_new(ARENA_NO_MAX);
    char big[9000] = {0};
    for (uint64_t i = 0; i < 200; i++) {
        struct store_row row = rig_row(a, i, i);
        cache_put(c, &row);
        struct store_row first = rig_row(a, 0, 0);
        assert_non_null(cache_get(c, first.name)); /* used all the time: stays */
    }
    struct store_row old = rig_row(a, 1, 0), recent = rig_row(a, 199, 0), huge = rig_row(a, 199, 7);
    assert_null(cache_get(c, old.name));
    assert_non_null(cache_get(c, recent.name));
    assert_true(cache_count(c) < 150);
    struct store_row change = {
        .name = recent.name, .state = STR("X"), .status = STR("longer"), .update_time = 5};
    cache_update(c, &change);
    const struct store_row *now = cache_get(c, recent.name);
    assert_true(str_eq(now->state, STR("X")) && str_eq(now->status, STR("longer")));
    assert_true(str_eq(now->spec, recent.spec) && now->nr_labels == 2 && !now->is_live);
    huge.spec = str_n(big, sizeof(big));
    cache_put(c, &huge); /* too large: and the older version must not stay */
    assert_null(cache_get(c, huge.name));
    cache_free(c);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_stores_answer_random_filters_alike),
        cmocka_unit_test(test_commits_of_one_turn_share_a_batch),
        cmocka_unit_test(test_close_finishes_what_was_given_first),
        cmocka_unit_test(test_cache_stays_within_its_budget_and_forgets_the_oldest),
    };
    int failed = contract_run(&rig_sqlite);
    return failed + cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
