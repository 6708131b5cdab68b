/* The life of long-running operations over the memory store, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "api/hold.h"
#include "api/operations.h"
#include "api/projects.h"
#include "api/svc.h"
#include "base/limits.h"
#include "net/xch_int.h"
#include "pb/pb.h"
#include "pb/rpc.h"
#include "pb/wkt.h"
#include "vclock.h"

#define PARENT "projects/1/locations/us-central1"
#define DAY (86400 * (usec_t)USEC_PER_SEC)

struct fix {
    struct vclock clock;
    struct rng rng;
    struct store *store;
    struct holds *holds;
    struct operations *ops;
    struct arena *a;
    bool started;
    bool adopt;
    struct operation *adopted;
    unsigned nr_cancelled;
    unsigned nr_released;
};

static void settle(struct fix *f) {
    while (store_mem_step(f->store)) {
    }
}

static void on_started(void *arg, const struct err *err) {
    struct fix *f = arg;
    assert_null(err);
    f->started = true;
}

static bool adopt(void *arg, struct operation *op, const Google__Longrunning__Operation *msg) {
    struct fix *f = arg;
    assert_false(msg->done);
    f->adopted = f->adopt ? op : NULL;
    return f->adopt;
}

static void start(struct fix *f) {
    f->started = false;
    f->holds = holds_new(&f->clock.base);
    f->ops = operations_new(&f->clock.base, &f->rng, f->store, f->holds);
    operations_start(f->ops, adopt, f, on_started, f);
    settle(f);
    assert_true(f->started);
}

static void on_stopped(void *arg) {
    *(bool *)arg = true;
}

static void stop(struct fix *f) {
    bool stopped = false;
    holds_close(f->holds);
    operations_stop(f->ops, on_stopped, &stopped);
    for (unsigned i = 0; i < 100 && !stopped; i++) {
        settle(f);
        vclock_advance(&f->clock, 0);
    }
    assert_true(stopped);
    operations_free(f->ops);
    holds_free(f->holds);
}

static int setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    vclock_init(&f->clock);
    f->clock.wall_offset = 1000 * DAY;
    rng_seed(&f->rng, 7);
    f->store = store_mem_new(NULL);
    f->a = arena_new(ARENA_NO_MAX);
    start(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fix *f = *state;
    stop(f);
    f->store->ops->close(f->store, NULL, NULL);
    assert_false(store_mem_step(f->store));
    arena_free(f->a);
    vclock_fini(&f->clock);
    free(f);
    return 0;
}

static void on_commit(struct store_txn *t, const struct err *err) {
    assert_null(err);
    store_txn_fini(t);
}

static void on_cancel(struct operation *op, void *arg) {
    struct fix *f = arg;
    f->nr_cancelled++;
}

static struct operation *begin(struct fix *f) {
    Aip__CreateDatasetOperationMetadata meta = AIP__CREATE_DATASET_OPERATION_METADATA__INIT;
    struct store_txn t;
    store_txn_init(&t, on_commit, NULL);
    struct operation *op = operation_begin(f->ops, &t,
                                           &(struct operation_about){.parent = STR(PARENT),
                                                                     .resource = STR("datasets/9"),
                                                                     .is_nested = true,
                                                                     .is_beta = true,
                                                                     .metadata = &meta.base,
                                                                     .cancel = on_cancel,
                                                                     .arg = f});
    f->store->ops->commit(f->store, &t);
    settle(f);
    operation_committed(op);
    return op;
}

struct seen {
    struct fix *f;
    Google__Longrunning__Operation *op; /* NULL: not there */
    bool is_beta, is_live;
};

static void on_got(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct seen *s = g->arg;
    if (row) {
        assert_int_equal(operation_decode(s->f->a, row, &s->op, &s->is_beta, NULL), 0);
        s->is_live = row->is_live;
    }
}

/* By the short name, which is what is stored. */
static struct seen read_back(struct fix *f, struct str shown) {
    struct seen s = {.f = f};
    size_t id = shown.n;
    while (shown.p[id - 1] != '/') {
        id--;
    }
    struct store_get g = {.name = str_of(arena_printf(f->a, PARENT "/operations/%.*s",
                                                      (int)(shown.n - id), shown.p + id)),
                          .arena = f->a,
                          .cb = on_got,
                          .arg = &s};
    f->store->ops->get(f->store, &g);
    settle(f);
    return s;
}

static Aip__GenericOperationMetadata *generic_of(struct fix *f,
                                                 const Google__Longrunning__Operation *op) {
    ProtobufCMessage *m;
    assert_string_equal(
        op->metadata->type_url,
        "type.googleapis.com/google.cloud.aiplatform.v1.CreateDatasetOperationMetadata");
    assert_int_equal(pb_unpack(f->a, &aip__create_dataset_operation_metadata__descriptor,
                               str_n((char *)op->metadata->value.data, op->metadata->value.len), &m,
                               NULL),
                     0);
    return ((Aip__CreateDatasetOperationMetadata *)m)->generic_metadata;
}

static void test_begun_told_about_and_finished(void **state) {
    struct fix *f = *state;
    struct operation *op = begin(f);
    struct str name = arena_str(f->a, operation_name(op));
    assert_true(str_starts(name, STR(PARENT "/datasets/9/operations/")));
    struct seen s = read_back(f, name);
    assert_false(s.op->done);
    assert_true(s.is_beta && s.is_live);
    assert_string_equal(s.op->name, name.p);
    usec_t created = wkt_timestamp_usec(generic_of(f, s.op)->create_time);

    vclock_advance(&f->clock, 5 * USEC_PER_SEC);
    operation_progress(op, NULL);
    operation_progress(op, NULL); /* joins the next commit */
    settle(f);
    s = read_back(f, name);
    assert_int_equal(wkt_timestamp_usec(generic_of(f, s.op)->create_time), created);
    assert_int_equal(wkt_timestamp_usec(generic_of(f, s.op)->update_time),
                     created + 5 * USEC_PER_SEC);

    Aip__Dataset dataset = AIP__DATASET__INIT;
    dataset.display_name = "d";
    operation_finish(op, NULL, &dataset.base, NULL);
    settle(f);
    s = read_back(f, name);
    assert_true(s.op->done);
    assert_false(s.is_live);
    assert_string_equal(s.op->name, name.p);
    assert_int_equal(s.op->result_case, GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE);
    assert_string_equal(s.op->response->type_url,
                        "type.googleapis.com/google.cloud.aiplatform.v1.Dataset");
    struct operations_stats st;
    operations_get_stats(f->ops, &st);
    assert_int_equal(st.running, 0);
    assert_int_equal(st.finished_total, 1);
}

static void on_let_go(struct hold *w, enum hold_end end) {
    assert_int_equal(end, HOLD_ENDED);
    ((struct fix *)w->arg)->nr_released++;
}

static void test_error_cancel_and_those_who_wait(void **state) {
    struct fix *f = *state;
    struct operation *op = begin(f);
    struct str name = arena_str(f->a, operation_name(op));
    struct seen s = read_back(f, name);
    struct str id = name;
    while (id.p) {
        name = str_cut(&id, '/');
    }
    struct str row = str_of(arena_printf(f->a, PARENT "/operations/%.*s", STR_ARG(name)));
    struct hold w = {.kind = HOLD_WAIT, .name = row, .fn = on_let_go, .arg = f};
    assert_true(hold_begin(f->holds, &w, f->clock.now + DAY));
    assert_true(operations_cancel(f->ops, row));
    assert_int_equal(f->nr_cancelled, 1);
    assert_false(operations_cancel(f->ops, STR(PARENT "/operations/1")));
    struct err err;
    err_set(&err, ERR_CANCELLED, "stopped");
    operation_finish(op, NULL, NULL, &err);
    vclock_advance(&f->clock, 1);
    assert_int_equal(f->nr_released, 0); /* not before it is durable */
    settle(f);
    vclock_advance(&f->clock, 1);
    assert_int_equal(f->nr_released, 1);
    s = read_back(f, str_of(s.op->name));
    assert_int_equal(s.op->result_case, GOOGLE__LONGRUNNING__OPERATION__RESULT_ERROR);
    assert_int_equal(s.op->error->code, ERR_CANCELLED);
    assert_string_equal(s.op->error->message, "stopped");
    assert_false(operations_cancel(f->ops, row));
}

static void on_shared(struct store_txn *t, const struct err *err) {
    struct operation *op = t->arg;
    if (err) {
        operation_resumed(op);
    } else {
        operation_ended(op);
    }
    store_txn_fini(t);
}

/* One transaction with what it reports, refused at first. */
static void test_finished_in_another_transaction(void **state) {
    struct fix *f = *state;
    struct operation *op = begin(f);
    struct str name = arena_str(f->a, operation_name(op));
    Aip__Dataset dataset = AIP__DATASET__INIT;
    for (unsigned i = 0; i < 2; i++) {
        struct store_txn t;
        operation_progress(op, NULL); /* still being saved when the end is given */
        store_txn_init(&t, on_shared, op);
        operation_finish_in(op, &t, NULL, &dataset.base, NULL);
        store_txn_kv(&t, "fact", STR("it"), STR("is true"));
        store_txn_kv_expect(&t, "fact", STR("other"), i ? (struct str){0} : STR("never"));
        f->store->ops->commit(f->store, &t);
        settle(f);
        struct seen s = read_back(f, name);
        assert_int_equal(s.op->done, i);
        assert_int_equal(s.is_live, !i);
    }
    struct operations_stats st;
    operations_get_stats(f->ops, &st);
    assert_int_equal(st.running, 0);
    assert_int_equal(st.finished_total, 1);
}

/* A client that deleted the operation does not keep what it does from happening. */
static void test_finished_in_another_transaction_with_its_row_gone(void **state) {
    struct fix *f = *state;
    struct operation *op = begin(f);
    struct str row = operation_name(op);
    struct str id = row;
    while (str_chr(id, '/') >= 0) {
        (void)str_cut(&id, '/');
    }
    row = str_of(arena_printf(f->a, PARENT "/operations/%.*s", STR_ARG(id)));
    struct store_txn gone, t;
    operations_set_gone(f->ops, row, true);
    store_txn_init(&gone, on_commit, NULL);
    store_txn_delete(&gone, row);
    f->store->ops->commit(f->store, &gone);
    store_txn_init(&t, on_shared, op);
    operation_finish_in(op, &t, NULL, NULL, NULL);
    f->store->ops->commit(f->store, &t);
    settle(f);
    struct operations_stats st;
    operations_get_stats(f->ops, &st);
    assert_int_equal(st.running, 0);
}

/* ---- WaitOperation whose look at the store is told late */

static struct store_get *kept;
static struct store_row kept_row;
static void (*kept_cb)(struct store_get *, const struct store_row *, const struct err *);
static const struct store_ops *real_ops;
static const Google__Longrunning__Operation *answered;

static void keep(struct store_get *g, const struct store_row *row, const struct err *err) {
    assert_non_null(row);
    kept = g;
    kept_row = *row; /* its parts are in the call's arena */
}

static void get_and_keep(struct store *st, struct store_get *g) {
    kept_cb = g->cb;
    g->cb = keep;
    real_ops->get(st, g);
}

static void answer(struct call *c, const ProtobufCMessage *msg) {
    answered = (const Google__Longrunning__Operation *)pb_clone(c->arena, msg);
}

static void answer_error(struct call *c, const struct api_error *e) {
    fail_msg("%.*s", STR_ARG(e->message));
}

static void heed_nothing(struct call *c, const struct call_listener *l, void *arg) {}

static void test_an_end_between_the_look_and_the_wait_is_seen(void **state) {
    static const struct call_ops ops = {
        .reply = answer, .fail = answer_error, .listen = heed_nothing};
    struct fix *f = *state;
    struct operation *op = begin(f);
    Google__Longrunning__WaitOperationRequest req =
        GOOGLE__LONGRUNNING__WAIT_OPERATION_REQUEST__INIT;
    struct store_ops slow = *f->store->ops;
    struct xch x = {0};
    struct api api = {.clock = &f->clock.base,
                      .store = f->store,
                      .holds = f->holds,
                      .operations = f->ops,
                      .projects = projects_new(f->store, &f->clock.base)};
    struct call c = {.ops = &ops,
                     .api = &api,
                     .xch = &x,
                     .arena = f->a,
                     .rpc = rpc_find(STR("google.longrunning.Operations/WaitOperation")),
                     .req = &req.base,
                     .deadline = USEC_NEVER};
    struct hold_stats hs;
    req.name = arena_strdup(f->a, operation_message(op, f->a)->name);
    answered = NULL;
    real_ops = f->store->ops;
    slow.get = get_and_keep;
    f->store->ops = &slow;
    svc_operations_wait(&c);
    settle(f);
    f->store->ops = real_ops;
    operation_finish(op, NULL, NULL, NULL);
    settle(f);
    kept_cb(kept, &kept_row, NULL); /* the row from before the end */
    settle(f);
    holds_get_stats(f->holds, &hs);
    assert_int_equal(hs.held[HOLD_WAIT], 0);
    assert_non_null(answered);
    assert_true(answered->done);
    projects_free(api.projects);
}

static void test_deleted_while_it_runs(void **state) {
    struct fix *f = *state;
    struct operation *op = begin(f);
    struct str name = arena_str(f->a, operation_name(op)), rest = name, id = {0};
    while (rest.p) {
        id = str_cut(&rest, '/');
    }
    struct store_txn t;
    store_txn_init(&t, on_commit, NULL);
    store_txn_delete(&t, str_of(arena_printf(f->a, PARENT "/operations/%.*s", STR_ARG(id))));
    f->store->ops->commit(f->store, &t);
    settle(f);
    operation_finish(op, NULL, NULL, NULL);
    settle(f);
    assert_null(read_back(f, name).op);
    struct operations_stats st;
    operations_get_stats(f->ops, &st);
    assert_int_equal(st.running, 0);
}

static void test_crash_ends_what_nobody_takes_over(void **state) {
    struct fix *f = *state;
    struct str name = arena_str(f->a, operation_name(begin(f)));
    operations_free(f->ops); /* as after kill -9: no stop */
    holds_free(f->holds);
    f->store = store_mem_crash(f->store, NULL, NULL);
    f->adopt = true;
    start(f);
    assert_non_null(f->adopted);
    assert_true(str_eq(operation_name(f->adopted), name));
    operation_set_cancel(f->adopted, on_cancel, f);
    assert_false(read_back(f, name).op->done);

    operations_free(f->ops);
    holds_free(f->holds);
    f->store = store_mem_crash(f->store, NULL, NULL);
    f->adopt = false;
    start(f);
    struct seen s = read_back(f, name);
    assert_true(s.op->done);
    assert_false(s.is_live);
    assert_true(s.is_beta);
    assert_int_equal(s.op->error->code, ERR_ABORTED);
    generic_of(f, s.op);
}

static void test_finished_ones_are_kept_for_a_while_and_running_ones_for_ever(void **state) {
    struct fix *f = *state;
    struct str running = arena_str(f->a, operation_name(begin(f)));
    struct str done[3];
    for (size_t i = 0; i < NR_OF(done); i++) {
        struct store_txn t;
        store_txn_init(&t, on_commit, NULL);
        Google__Longrunning__Operation *op = operation_insert_done(
            f->ops, &t, f->a, &(struct operation_about){.parent = STR(PARENT)}, NULL);
        assert_true(op->done);
        done[i] = str_of(op->name);
        f->store->ops->commit(f->store, &t);
        settle(f);
        for (unsigned day = 0; day < 10; day++) {
            vclock_advance(&f->clock, DAY);
            settle(f);
        }
    }
    /* 30, 20 and 10 days old; kept for 30. */
    assert_int_equal(limits.operation_retention_s, 30 * 86400);
    vclock_advance(&f->clock, DAY);
    settle(f);
    vclock_advance(&f->clock, DAY);
    settle(f);
    assert_null(read_back(f, done[0]).op);
    assert_non_null(read_back(f, done[1]).op);
    assert_non_null(read_back(f, done[2]).op);
    assert_non_null(read_back(f, running).op);
    struct operations_stats st;
    operations_get_stats(f->ops, &st);
    assert_int_equal(st.swept_total, 1);
    assert_int_equal(st.running, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_finished_in_another_transaction),
        T(test_finished_in_another_transaction_with_its_row_gone),
        T(test_begun_told_about_and_finished),
        T(test_error_cancel_and_those_who_wait),
        T(test_an_end_between_the_look_and_the_wait_is_seen),
        T(test_deleted_while_it_runs),
        T(test_crash_ends_what_nobody_takes_over),
        T(test_finished_ones_are_kept_for_a_while_and_running_ones_for_ever),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
