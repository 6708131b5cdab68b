/* See operations.h. A row's spec is the operation as it was born and never changes; its status is a
 * record with the operation as it is now. */
#include "api/operations.h"

#include "api/hold.h"
#include "base/enc.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rec.h"
#include "pb/pb.h"
#include "pb/pbinfo.h"
#include "pb/wkt.h"

#define RETRY_DELAY (1 * (usec_t)USEC_PER_SEC) /* after a commit that the store refused */
#define SWEEP_EVERY (3600 * (usec_t)USEC_PER_SEC)
#define SWEEP_BATCH 100u
#define OPERATION_MAX (1u << 20) /* bytes of one, packed */

struct operation {
    struct operations *o;
    struct list link;
    struct arena *a;     /* of the name and the message */
    struct str row_name; /* short form */
    bool is_beta;
    Google__Longrunning__Operation *msg;
    usec_t create_time;
    void (*cancel)(struct operation *, void *);
    void *cancel_arg;
    bool committed, in_flight, dirty;
    bool ending;  /* its end is in somebody's transaction */
    bool is_gone; /* its row is */
    struct store_txn txn;
    struct timer retry;
};

struct operations {
    struct clock *clock;
    struct rng *rng;
    struct store *store;
    struct holds *holds;
    struct list running;
    struct map by_name; /* row name -> struct operation */
    struct operations_stats stats;
    size_t nr_in_flight;
    bool stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
    struct timer stop_timer;
    /* start */
    struct store_load load;
    bool (*adopt)(void *arg, struct operation *, const Google__Longrunning__Operation *);
    void *adopt_arg;
    void (*start_cb)(void *arg, const struct err *err);
    void *start_arg;
    /* sweep */
    struct timer sweep_timer;
    struct arena *sweep_arena;
    struct store_list sweep_list;
    struct store_txn sweep_txn;
    size_t sweep_nr;
    bool sweep_more;
};

static void check_stopped(struct operations *o) {
    if (o->stop_cb && o->nr_in_flight == 0) {
        o->clock->ops->arm(o->clock, &o->stop_timer, o->clock->ops->mono(o->clock));
    }
}

static void on_stopped(struct timer *t) {
    struct operations *o = CONTAINER_OF(t, struct operations, stop_timer);
    void (*cb)(void *) = o->stop_cb;
    o->stop_cb = NULL;
    if (cb) {
        cb(o->stop_arg); /* may free o */
    }
}

/* ---- messages ---- */

/* Every metadata type of the contract starts with the same part. */
static void stamp(struct arena *a, ProtobufCMessage *metadata, usec_t created, usec_t updated) {
    int i = pb_field_find(metadata->descriptor, STR("generic_metadata"));
    const ProtobufCFieldDescriptor *f = i < 0 ? NULL : &metadata->descriptor->fields[i];
    if (!f || f->descriptor != &aip__generic_operation_metadata__descriptor) {
        return;
    }
    Aip__GenericOperationMetadata **at = (void *)((char *)metadata + f->offset);
    if (!*at) {
        *at = arena_own(a, sizeof(**at));
        aip__generic_operation_metadata__init(*at);
    }
    (*at)->create_time = wkt_timestamp(a, created);
    (*at)->update_time = wkt_timestamp(a, updated);
}

static Google__Protobuf__Any *pack_metadata(struct arena *a, const ProtobufCMessage *metadata,
                                            usec_t created, usec_t updated) {
    ProtobufCMessage *copy = metadata ? pb_clone(a, metadata) : NULL;
    if (!copy) {
        return NULL;
    }
    stamp(a, copy, created, updated);
    return wkt_any(a, copy);
}

/* The metadata kept in an operation, with a new time of change. */
static void restamp(struct arena *a, Google__Longrunning__Operation *op, usec_t created,
                    usec_t updated) {
    struct str url = str_of(op->metadata ? op->metadata->type_url : "");
    ptrdiff_t slash = str_chr(url, '/');
    const ProtobufCMessageDescriptor *d =
        pb_msg_find(str_sub(url, slash < 0 ? 0 : (size_t)slash + 1, url.n));
    ProtobufCMessage *m;
    if (d && pb_unpack(a, d, str_n((const char *)op->metadata->value.data, op->metadata->value.len),
                       &m, NULL) == 0) {
        stamp(a, m, created, updated);
        op->metadata = wkt_any(a, m);
    }
}

static void set_response(struct arena *a, Google__Longrunning__Operation *op,
                         const ProtobufCMessage *response) {
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    op->done = true;
    op->result_case = GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE;
    op->response = wkt_any(a, response ? response : &empty.base);
}

static void set_error(struct arena *a, Google__Longrunning__Operation *op, const struct err *err) {
    op->done = true;
    op->result_case = GOOGLE__LONGRUNNING__OPERATION__RESULT_ERROR;
    op->error = arena_own(a, sizeof(*op->error));
    google__rpc__status__init(op->error);
    op->error->code = (int)err->code;
    op->error->message = arena_strdup(a, err->msg);
}

static Google__Longrunning__Operation *make_message(struct operations *o, struct arena *a,
                                                    const struct operation_about *about, usec_t now,
                                                    struct str *ret_row_name) {
    Google__Longrunning__Operation *op = arena_own(a, sizeof(*op));
    unsigned long long id = rng_resource_id(o->rng);
    bool nested = about->is_nested && about->resource.n;
    google__longrunning__operation__init(op);
    *ret_row_name = str_of(arena_printf(a, "%.*s/operations/%llu", STR_ARG(about->parent), id));
    op->name = nested ? arena_printf(a, "%.*s/%.*s/operations/%llu", STR_ARG(about->parent),
                                     STR_ARG(about->resource), id)
                      : (char *)ret_row_name->p;
    op->metadata = pack_metadata(a, about->metadata, now, now);
    return op;
}

/* ---- rows ---- */

static void encode_status(struct buf *b, const Google__Longrunning__Operation *msg, bool is_beta) {
    auto_buf struct buf packed = BUF_INIT(OPERATION_MAX), text = BUF_INIT(BUF_NO_MAX);
    (void)pb_pack(&msg->base, &packed); /* too large: empty, and the one it was born as counts */
    rec_begin(b);
    rec_put_u64(b, "beta", is_beta);
    if (packed.n) {
        enc_base64(&text, packed.p, packed.n);
        rec_put(b, "operation", buf_str(&text));
    }
}

int operation_decode(struct arena *a, const struct store_row *row,
                     Google__Longrunning__Operation **ret, bool *ret_beta, struct err *err) {
    auto_buf struct buf packed = BUF_INIT(OPERATION_MAX);
    struct rec r = {0};
    ProtobufCMessage *m;
    struct str bytes = row->spec;
    if (row->status.n && rec_parse(a, row->status, &r, err)) {
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    struct str now = rec_get(&r, "operation");
    if (now.n) {
        if (!enc_unbase64(now, &packed)) {
            return err_set(err, ERR_DATA_LOSS, "read %.*s: not base64", STR_ARG(row->name));
        }
        bytes = buf_str(&packed);
    }
    if (pb_unpack(a, &google__longrunning__operation__descriptor, bytes, &m, err)) {
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    *ret = (Google__Longrunning__Operation *)m;
    *ret_beta = rec_get_u64(&r, "beta", 0) != 0;
    return 0;
}

static ProtobufCMessage *decode_for_filter(struct arena *a, const struct store_row *row) {
    Google__Longrunning__Operation *op;
    bool is_beta;
    return operation_decode(a, row, &op, &is_beta, NULL) ? NULL : &op->base;
}

const struct filter_schema operation_schema = {&google__longrunning__operation__descriptor,
                                               decode_for_filter};

static void insert(struct store_txn *t, const struct operation_about *about, struct str row_name,
                   const Google__Longrunning__Operation *msg, usec_t now) {
    auto_buf struct buf spec = BUF_INIT(OPERATION_MAX), status = BUF_INIT(BUF_NO_MAX);
    struct store_label label = {STR(OPERATION_ABOUT), about->resource};
    (void)pb_pack(&msg->base, &spec);
    rec_begin(&status);
    rec_put_u64(&status, "beta", about->is_beta);
    store_txn_insert(t, &(struct store_row){.name = row_name,
                                            .kind = STR(OPERATION_KIND),
                                            .parent = about->parent,
                                            .create_time = now,
                                            .update_time = now,
                                            .is_live = !msg->done,
                                            .spec = buf_str(&spec),
                                            .status = buf_str(&status),
                                            .labels = &label,
                                            .nr_labels = about->resource.n ? 1 : 0});
}

Google__Longrunning__Operation *operation_insert_done(struct operations *o, struct store_txn *t,
                                                      struct arena *a,
                                                      const struct operation_about *about,
                                                      const ProtobufCMessage *response) {
    usec_t now = o->clock->ops->wall(o->clock);
    struct str row_name;
    Google__Longrunning__Operation *msg = make_message(o, a, about, now, &row_name);
    set_response(a, msg, response);
    insert(t, about, row_name, msg, now);
    o->stats.finished_total++;
    return msg;
}

/* ---- running ones ---- */

static void on_retry(struct timer *t);
static void end(struct operation *op);

static struct operation *track(struct operations *o, struct arena *a, struct str row_name) {
    struct operation *op = xcalloc(1, sizeof(*op));
    op->o = o;
    op->a = a;
    op->row_name = arena_str(a, row_name);
    op->retry.fn = on_retry;
    list_push_tail(&o->running, &op->link);
    (void)map_put(&o->by_name, row_name, op);
    o->stats.running++;
    return op;
}

static void untrack(struct operation *op) {
    struct operations *o = op->o;
    o->clock->ops->disarm(o->clock, &op->retry);
    list_del(&op->link);
    (void)map_del(&o->by_name, op->row_name);
    o->stats.running--;
    arena_free(op->a);
    free(op);
}

struct operation *operation_begin(struct operations *o, struct store_txn *t,
                                  const struct operation_about *about) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    usec_t now = o->clock->ops->wall(o->clock);
    struct str row_name;
    Google__Longrunning__Operation *msg = make_message(o, a, about, now, &row_name);
    struct operation *op = track(o, a, row_name);
    op->msg = msg;
    op->is_beta = about->is_beta;
    op->create_time = now;
    op->cancel = about->cancel;
    op->cancel_arg = about->arg;
    insert(t, about, row_name, msg, now);
    return op;
}

static void save(struct operation *op);

static void on_saved(struct store_txn *t, const struct err *err) {
    struct operation *op = t->arg;
    struct operations *o = op->o;
    bool is_missing = err && err->code == ERR_NOT_FOUND; /* deleted by a client: nobody cares */
    if (err && !is_missing) {
        log_warn("operation not stored yet", "name=%.*s error=\"%s\"", STR_ARG(op->row_name),
                 err->msg);
    }
    store_txn_fini(&op->txn);
    op->in_flight = false;
    o->nr_in_flight--;
    if (err && !is_missing) {
        op->dirty = true;
        if (!o->stopping) {
            o->clock->ops->arm(o->clock, &op->retry, o->clock->ops->mono(o->clock) + RETRY_DELAY);
        }
    } else if (op->dirty) {
        save(op);
    } else if (op->msg->done) {
        end(op);
    }
    check_stopped(o);
}

static void end(struct operation *op) {
    struct operations *o = op->o;
    o->stats.finished_total++;
    holds_release(o->holds, op->row_name);
    untrack(op);
}

/* One transaction at a time; what changes meanwhile goes with the next. */
static void save(struct operation *op) {
    struct operations *o = op->o;
    if (op->in_flight || !op->committed || op->ending || o->stopping) {
        op->dirty = true;
        return;
    }
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    op->dirty = false;
    op->in_flight = true;
    o->nr_in_flight++;
    encode_status(&status, op->msg, op->is_beta);
    store_txn_init(&op->txn, on_saved, op);
    store_txn_update(&op->txn, op->row_name, STR(""), buf_str(&status),
                     o->clock->ops->wall(o->clock), !op->msg->done);
    o->store->ops->commit(o->store, &op->txn);
}

static void on_retry(struct timer *t) {
    save(CONTAINER_OF(t, struct operation, retry));
}

void operation_committed(struct operation *op) {
    op->committed = true;
    if (op->dirty) {
        save(op);
    }
}

void operation_drop(struct operation *op) {
    CHECK(!op->committed);
    untrack(op);
}

Google__Longrunning__Operation *operation_message(const struct operation *op, struct arena *a) {
    return (Google__Longrunning__Operation *)pb_clone(a, &op->msg->base);
}

struct str operation_name(const struct operation *op) {
    return str_of(op->msg->name);
}

void operation_set_cancel(struct operation *op, void (*cancel)(struct operation *, void *),
                          void *arg) {
    op->cancel = cancel;
    op->cancel_arg = arg;
}

/* A new arena for each change: progress may be told of for days. */
static void change(struct operation *op, const ProtobufCMessage *metadata) {
    struct operations *o = op->o;
    struct arena *a = arena_new(ARENA_NO_MAX), *old = op->a;
    usec_t now = o->clock->ops->wall(o->clock);
    op->row_name = arena_str(a, op->row_name);
    op->msg = operation_message(op, a);
    if (metadata) {
        op->msg->metadata = pack_metadata(a, metadata, op->create_time, now);
    } else {
        restamp(a, op->msg, op->create_time, now);
    }
    op->a = a;
    arena_free(old);
}

void operation_progress(struct operation *op, const ProtobufCMessage *metadata) {
    CHECK(!op->msg->done);
    change(op, metadata);
    save(op);
}

void operation_finish(struct operation *op, const ProtobufCMessage *metadata,
                      const ProtobufCMessage *response, const struct err *error) {
    CHECK(!op->msg->done && !(response && error));
    change(op, metadata);
    if (error) {
        set_error(op->a, op->msg, error);
    } else {
        set_response(op->a, op->msg, response);
    }
    op->cancel = NULL;
    save(op);
}

void operation_finish_in(struct operation *op, struct store_txn *t,
                         const ProtobufCMessage *metadata, const ProtobufCMessage *response,
                         const struct err *error) {
    struct operations *o = op->o;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    usec_t now = o->clock->ops->wall(o->clock);
    Google__Longrunning__Operation *msg = operation_message(op, a);
    CHECK(op->committed && !op->ending && !op->msg->done && !(response && error));
    if (metadata) {
        msg->metadata = pack_metadata(a, metadata, op->create_time, now);
    } else {
        restamp(a, msg, op->create_time, now);
    }
    if (error) {
        set_error(a, msg, error);
    } else {
        set_response(a, msg, response);
    }
    op->ending = true;
    if (!op->is_gone) { /* else a missing row would take the transaction with it */
        encode_status(&status, msg, op->is_beta);
        store_txn_update(t, op->row_name, STR(""), buf_str(&status), now, false);
    }
}

void operation_ended(struct operation *op) {
    CHECK(op->ending && !op->in_flight); /* commits keep their order */
    end(op);
}

void operation_resumed(struct operation *op) {
    CHECK(op->ending);
    op->ending = false;
    if (op->dirty) {
        save(op);
    }
}

void operations_set_gone(struct operations *o, struct str name, bool is_gone) {
    struct operation *op = map_get(&o->by_name, name);
    if (op) {
        op->is_gone = is_gone;
    }
}

bool operations_is_running(const struct operations *o, struct str name) {
    return map_get(&o->by_name, name) != NULL;
}

bool operations_cancel(struct operations *o, struct str name) {
    struct operation *op = map_get(&o->by_name, name);
    if (op && op->cancel && !op->ending) {
        op->cancel(op, op->cancel_arg); /* may finish it */
    }
    return op;
}

/* ---- sweep ---- */

static void sweep(struct operations *o);

static void sweep_later(struct operations *o, usec_t delay) {
    if (!o->stopping) {
        o->clock->ops->arm(o->clock, &o->sweep_timer, o->clock->ops->mono(o->clock) + delay);
    }
}

static usec_t sweep_pause(void) {
    usec_t quarter = limits.operation_retention_s * USEC_PER_SEC / 4;
    return quarter < USEC_PER_SEC ? USEC_PER_SEC : quarter < SWEEP_EVERY ? quarter : SWEEP_EVERY;
}

static void sweep_done(struct operations *o, bool again) {
    arena_free(o->sweep_arena);
    o->sweep_arena = NULL;
    o->nr_in_flight--;
    sweep_later(o, again ? 0 : sweep_pause());
    check_stopped(o);
}

static void on_swept(struct store_txn *t, const struct err *err) {
    struct operations *o = t->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        log_warn("old operations not removed", "error=\"%s\"", err->msg);
    } else if (!err) {
        o->stats.swept_total += o->sweep_nr;
    }
    store_txn_fini(&o->sweep_txn);
    /* A client's delete came in between: the rest next time. */
    sweep_done(o, o->sweep_more && !err);
}

static void on_old(struct store_list *l, const struct store_row *rows, size_t nr,
                   struct str next_token, const struct err *err) {
    struct operations *o = l->arg;
    if (err || o->stopping) {
        sweep_done(o, false);
        return;
    }
    store_txn_init(&o->sweep_txn, on_swept, o);
    o->sweep_nr = 0;
    o->sweep_more = next_token.n > 0;
    for (size_t i = 0; i < nr; i++, o->sweep_nr++) {
        store_txn_delete(&o->sweep_txn, rows[i].name);
    }
    if (o->sweep_nr == 0) {
        store_txn_fini(&o->sweep_txn);
        sweep_done(o, false);
        return;
    }
    o->store->ops->commit(o->store, &o->sweep_txn);
}

/* Oldest first, so that the list's own index finds them and the walk ends at the first young one
 * that fills the page. */
static void sweep(struct operations *o) {
    usec_t now = o->clock->ops->wall(o->clock);
    usec_t keep = limits.operation_retention_s * USEC_PER_SEC;
    auto_buf struct buf text = BUF_INIT(256);
    const struct filter *old;
    if (keep >= now) {
        sweep_later(o, sweep_pause());
        return;
    }
    o->sweep_arena = arena_new(ARENA_NO_MAX);
    buf_puts(&text, "create_time<\"");
    time_format_rfc3339(&text, now - keep);
    buf_puts(&text, "\" update_time<\"");
    time_format_rfc3339(&text, now - keep);
    buf_puts(&text, "\" done=true");
    int rc = filter_parse(o->sweep_arena, buf_str(&text), &operation_schema, &old, NULL);
    CHECK(rc == 0);
    o->nr_in_flight++;
    o->sweep_list = (struct store_list){.kind = STR(OPERATION_KIND),
                                        .parent = STR("projects/-/locations/-"),
                                        .filter = old,
                                        .order = STORE_ORDER_CREATE_TIME,
                                        .page_size = SWEEP_BATCH,
                                        .arena = o->sweep_arena,
                                        .cb = on_old,
                                        .arg = o};
    o->store->ops->list(o->store, &o->sweep_list);
}

static void on_sweep(struct timer *t) {
    sweep(CONTAINER_OF(t, struct operations, sweep_timer));
}

/* ---- life ---- */

struct operations *operations_new(struct clock *clock, struct rng *rng, struct store *store,
                                  struct holds *holds) {
    struct operations *o = xcalloc(1, sizeof(*o));
    o->clock = clock;
    o->rng = rng;
    o->store = store;
    o->holds = holds;
    list_init(&o->running);
    map_init(&o->by_name);
    o->sweep_timer.fn = on_sweep;
    o->stop_timer.fn = on_stopped;
    return o;
}

static void on_loaded_row(struct store_load *l, const struct store_row *row,
                          const struct store_event *ev, size_t nr_ev) {
    struct operations *o = l->arg;
    struct arena *a = arena_new(ARENA_NO_MAX);
    Google__Longrunning__Operation *msg;
    struct err err;
    bool is_beta;
    if (operation_decode(a, row, &msg, &is_beta, &err)) {
        log_error("operation unreadable", "name=%.*s error=\"%s\"", STR_ARG(row->name), err.msg);
        arena_free(a);
        return;
    }
    struct operation *op = track(o, a, row->name);
    op->msg = msg;
    op->is_beta = is_beta;
    op->create_time = row->create_time;
    op->committed = true;
    if (!o->adopt || !o->adopt(o->adopt_arg, op, msg)) {
        err_set(&err, ERR_ABORTED,
                "The server was restarted while the operation was under way. Please try again.");
        operation_finish(op, NULL, NULL, &err);
    }
}

static void on_loaded(struct store_load *l, const struct err *err) {
    struct operations *o = l->arg;
    o->nr_in_flight--;
    if (!err) {
        sweep_later(o, USEC_PER_SEC);
    }
    o->start_cb(o->start_arg, err);
    check_stopped(o);
}

void operations_start(struct operations *o,
                      bool (*adopt)(void *, struct operation *,
                                    const Google__Longrunning__Operation *),
                      void *adopt_arg, void (*cb)(void *, const struct err *), void *arg) {
    o->adopt = adopt;
    o->adopt_arg = adopt_arg;
    o->start_cb = cb;
    o->start_arg = arg;
    o->nr_in_flight++;
    o->load = (struct store_load){
        .kind = STR(OPERATION_KIND), .row = on_loaded_row, .end = on_loaded, .arg = o};
    o->store->ops->load_live(o->store, &o->load);
}

void operations_stop(struct operations *o, void (*cb)(void *), void *arg) {
    o->stopping = true;
    o->stop_cb = cb;
    o->stop_arg = arg;
    o->clock->ops->disarm(o->clock, &o->sweep_timer);
    check_stopped(o);
}

void operations_free(struct operations *o) {
    if (!o) {
        return;
    }
    o->clock->ops->disarm(o->clock, &o->sweep_timer);
    o->clock->ops->disarm(o->clock, &o->stop_timer);
    while (!list_is_empty(&o->running)) { /* the next life finds their rows */
        untrack(list_first(&o->running, struct operation, link));
    }
    map_fini(&o->by_name);
    free(o);
}

void operations_get_stats(const struct operations *o, struct operations_stats *ret) {
    *ret = o->stats;
}
