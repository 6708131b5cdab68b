/* See errand.h. */
#include "api/errand.h"

#include "api/svc.h"
#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "pb/pb.h"
#include "pb/rpc.h"

#define SPACE "errand"
#define AGAIN "again"
#define PROGRESS_EVERY (1 * (usec_t)USEC_PER_SEC)

struct errands {
    struct api *api;
    struct list running;
    bool is_stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
    struct timer stop_timer;
};

static const struct errand_type *const types[] = {&model_upload_errand, &model_export_errand,
                                                  &dataset_import_errand, &dataset_export_errand,
                                                  &suggest_errand};

static void on_stopped(struct timer *t) {
    struct errands *all = CONTAINER_OF(t, struct errands, stop_timer);
    void (*cb)(void *) = all->stop_cb;
    all->stop_cb = NULL;
    if (cb) {
        cb(all->stop_arg); /* may free all */
    }
}

struct errands *errands_new(struct api *api) {
    struct errands *all = xcalloc(1, sizeof(*all));
    all->api = api;
    all->stop_timer.fn = on_stopped;
    list_init(&all->running);
    return all;
}

static void check_stopped(struct errands *all) {
    struct clock *clock = all->api->clock;
    if (all->stop_cb && list_is_empty(&all->running)) {
        clock->ops->arm(clock, &all->stop_timer, clock->ops->mono(clock));
    }
}

void errands_stop(struct errands *all, void (*cb)(void *), void *arg) {
    struct errand *e, *next;
    all->is_stopping = true;
    all->stop_cb = cb;
    all->stop_arg = arg;
    list_each_safe (e, next, &all->running, link) {
        e->type->stop(e);
    }
    check_stopped(all);
}

void errands_free(struct errands *all) {
    if (all) {
        CHECK(list_is_empty(&all->running));
        all->api->clock->ops->disarm(all->api->clock, &all->stop_timer);
        free(all);
    }
}

struct errand *errands_next(struct errands *all, const struct errand_type *type,
                            const struct errand *after) {
    struct errand *e;
    bool is_past = !after;
    list_each (e, &all->running, link) {
        if (is_past && e->type == type) {
            return e;
        }
        is_past = is_past || e == after;
    }
    return NULL;
}

/* ---- one ---- */

static struct errand *errand_new(struct errands *all, const struct errand_type *type) {
    struct errand *e = xcalloc(1, type->size);
    e->type = type;
    e->all = all;
    e->api = all->api;
    e->a = arena_new(ARENA_NO_MAX);
    list_push_tail(&all->running, &e->link);
    return e;
}

static void errand_free(struct errand *e) {
    struct errands *all = e->all;
    if (e->type->forget) {
        e->type->forget(e);
    }
    list_del(&e->link);
    arena_free(e->a);
    free(e);
    check_stopped(all);
}

static void on_cancel(struct operation *op, void *arg) {
    struct errand *e = arg;
    e->is_cancelled = true;
    e->type->stop(e);
}

bool errand_must_stop(const struct errand *e) {
    return e->is_cancelled || e->all->is_stopping;
}

void errand_progress(struct errand *e, const ProtobufCMessage *metadata) {
    usec_t now = e->api->clock->ops->mono(e->api->clock);
    if (now >= e->told + PROGRESS_EVERY && !errand_must_stop(e)) {
        e->told = now;
        operation_progress(e->op, metadata);
    }
}

/* The row of an operation is known by its short name. */
static struct str key_of(const struct errand *e) {
    struct str id = operation_name(e->op);
    while (str_chr(id, '/') >= 0) {
        (void)str_cut(&id, '/');
    }
    return str_of(arena_printf(e->a, "%.*s/operations/%.*s", STR_ARG(e->parent), STR_ARG(id)));
}

/* ---- ends ---- */

void errand_join(struct errand *e, struct store_txn *t, const ProtobufCMessage *metadata,
                 const ProtobufCMessage *response) {
    e->is_ending = true;
    operation_finish_in(e->op, t, metadata, response, e->has_end ? &e->end : NULL);
    store_txn_kv(t, SPACE, key_of(e), (struct str){0});
}

void errand_joined(struct errand *e, const struct err *err) {
    struct err why;
    if (!err) {
        operation_ended(e->op);
        errand_free(e);
        return;
    }
    why = *err; /* whoever gave it may go with the errand */
    if (e->is_ending) {
        e->is_ending = false;
        operation_resumed(e->op);
    }
    errand_end(e, NULL, NULL, &why);
}

/* A full disk: the operation's own end is tried again until it fits, its row here stays behind. */
static void on_ended(struct store_txn *t, const struct err *err) {
    struct errand *e = t->arg;
    if (err) {
        log_warn("end of an operation not stored", "error=\"%s\"", err->msg);
        operation_resumed(e->op);
        operation_finish(e->op, NULL, NULL, e->has_end ? &e->end : err);
    } else {
        operation_ended(e->op);
    }
    store_txn_fini(t);
    errand_free(e);
}

void errand_end(struct errand *e, const ProtobufCMessage *metadata,
                const ProtobufCMessage *response, const struct err *err) {
    if (e->all->is_stopping && !e->is_cancelled) {
        errand_free(e); /* the next life finds its row */
        return;
    }
    e->has_end = err;
    if (err) {
        e->end = *err;
        if (e->is_cancelled) {
            err_set(&e->end, ERR_CANCELLED, "The operation was cancelled. Nothing was changed.");
        }
    }
    store_txn_init(&e->txn, on_ended, e);
    errand_join(e, &e->txn, metadata, response);
    (void)FAIL_POINT("errand.before_end", NULL);
    e->api->store->ops->commit(e->api->store, &e->txn);
}

/* ---- beginnings ---- */

static void start(struct errand *e) {
    e->is_running = true;
    e->type->run(e);
}

static void on_begun(struct store_txn *t, const struct err *err) {
    struct errand *e = t->arg;
    struct call *c = e->call;
    e->call = NULL;
    if (err) {
        operation_drop(e->op);
        call_fail(c, err);
        store_txn_fini(t);
        errand_free(e);
        return;
    }
    store_txn_fini(t);
    operation_committed(e->op);
    svc_operation_reply(c, operation_message(e->op, c->arena), e->is_beta);
    (void)FAIL_POINT("errand.begun", NULL);
    if (errand_must_stop(e)) {
        struct err stopped;
        err_set(&stopped, ERR_CANCELLED, "The operation was cancelled.");
        errand_end(e, NULL, NULL, &stopped);
    } else {
        start(e);
    }
}

void errand_begin(struct call *c, const struct errand_type *type,
                  const struct operation_about *about, struct str facts) {
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX), packed = BUF_INIT(limits.max_message_bytes);
    struct errand *e = errand_new(c->api->errands, type);
    struct operation_about own = *about;
    struct err err;
    e->call = c;
    e->parent = arena_str(e->a, about->parent);
    e->request = pb_clone(e->a, c->req);
    rec_begin(&row);
    buf_put_str(&row, facts);
    struct str text = arena_str(e->a, buf_str(&row));
    if (!e->request || pb_pack(c->req, &packed) || rec_parse(e->a, text, &e->facts, &err)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The request is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        errand_free(e);
        return;
    }
    rec_puts(&row, "type", type->name);
    rec_put(&row, "parent", about->parent);
    rec_put(&row, "request", buf_str(&packed));
    own.is_beta = c->route ? c->json.version == PB_V1BETA1 : c->rpc->is_beta;
    e->is_beta = own.is_beta;
    own.cancel = on_cancel;
    own.arg = e;
    store_txn_init(&e->txn, on_begun, e);
    e->op = operation_begin(c->api->operations, &e->txn, &own);
    store_txn_kv(&e->txn, SPACE, key_of(e), buf_str(&row));
    c->api->store->ops->commit(c->api->store, &e->txn);
}

/* ---- another life ---- */

static int read_row(struct errand *e, struct str row, struct err *err) {
    if (!row.p) {
        return err_set(
            err, ERR_ABORTED,
            "The server ended while the operation was under way, and nothing is left that says "
            "what it was to do. Nothing was changed; repeat the request.");
    }
    if (rec_parse(e->a, row, &e->facts, err) ||
        pb_unpack(e->a, e->type->request, rec_get(&e->facts, "request"), &e->request, err)) {
        return -1;
    }
    e->parent = rec_get(&e->facts, "parent");
    return 0;
}

/* How often it was begun: every life that takes it up adds a line to its row. */
static unsigned count_tries(const struct errand *e) {
    unsigned n = 1;
    size_t it = 0;
    struct str value;
    while (rec_next(&e->facts, AGAIN, &it, &value)) {
        n++;
    }
    return n;
}

static void on_noted(struct store_txn *t, const struct err *err) {
    struct errand *e = t->arg;
    struct err why = {0};
    if (err) {
        why = *err;
    }
    store_txn_fini(t);
    if (err || errand_must_stop(e)) {
        errand_end(e, NULL, NULL, &why);
    } else {
        log_info("taken up again", "operation=%.*s", STR_ARG(operation_name(e->op)));
        start(e);
    }
}

static void note_try(struct errand *e, struct str row) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_put_str(&b, row);
    rec_put_u64(&b, AGAIN, 1);
    store_txn_init(&e->txn, on_noted, e);
    store_txn_kv(&e->txn, SPACE, key_of(e), buf_str(&b));
    e->api->store->ops->commit(e->api->store, &e->txn);
}

static void on_row(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct errand *e = kv->arg;
    struct err why = {0};
    if (err) {
        why = *err;
    }
    if (err || read_row(e, value, &why) || errand_must_stop(e)) {
        errand_end(e, NULL, NULL, &why);
    } else if (count_tries(e) >= limits.max_errand_tries) {
        limits_hit(&limits.max_errand_tries);
        err_set(&why, ERR_ABORTED,
                "The server ended %u times while the operation was under way, so it is not tried "
                "again (max_errand_tries is %llu). Nothing was changed; look at the server's log, "
                "then repeat the request.",
                count_tries(e), (unsigned long long)limits.max_errand_tries);
        errand_end(e, NULL, NULL, &why);
    } else {
        note_try(e, value);
    }
}

bool errands_adopt(void *arg, struct operation *op, const Google__Longrunning__Operation *msg) {
    struct errands *all = arg;
    struct str url = str_of(msg->metadata ? msg->metadata->type_url : "");
    for (size_t i = 0; i < NR_OF(types); i++) {
        if (!str_ends(url, str_of(types[i]->metadata))) {
            continue;
        }
        struct errand *e = errand_new(all, types[i]);
        struct str name = operation_name(op), rest = name;
        for (unsigned k = 0; k < 4; k++) { /* projects/N/locations/L */
            (void)str_cut(&rest, '/');
        }
        e->op = op;
        e->parent = arena_str(e->a, str_sub(name, 0, name.n - rest.n - 1));
        operation_set_cancel(op, on_cancel, e);
        e->kv = (struct store_kv_get){
            .space = SPACE, .key = key_of(e), .arena = e->a, .cb = on_row, .arg = e};
        all->api->store->ops->kv_get(all->api->store, &e->kv);
        return true;
    }
    return false;
}
