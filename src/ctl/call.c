/* The API's calls: what a user asks for, each answered once and only when it is durable. */
#include "ctl/ctl_int.h"

#include "base/limits.h"

struct call_op *call_new(struct ctl *c, struct ctl_call *call, struct str name) {
    struct call_op *op = xcalloc(1, sizeof(*op));
    op->ctl = c;
    op->call = call;
    op->arena = arena_new(ARENA_NO_MAX);
    op->name = arena_str(op->arena, name);
    list_init(&op->link);
    list_push_tail(&c->ops, &op->all);
    return op;
}

static void op_free(struct call_op *op) {
    list_del(&op->link);
    list_del(&op->all);
    if (op->has_txn) {
        store_txn_fini(&op->txn);
    }
    arena_free(op->arena);
    free(op);
}

void call_finish(struct call_op *op, const struct err *err) {
    if (err) {
        op->failed = true;
        op->err = *err;
    }
    list_push_tail(&op->ctl->done_ops, &op->link);
    ctl_soon(op->ctl);
}

void call_deliver(struct ctl *c) {
    while (!list_is_empty(&c->done_ops)) {
        struct call_op *op = list_first(&c->done_ops, struct call_op, link);
        list_del(&op->link);
        op->call->cb(op->call, op->failed ? &op->err : NULL,
                     op->has_row && !op->failed ? &op->row : NULL);
        op_free(op);
    }
}

void call_abandon(struct ctl *c) {
    while (!list_is_empty(&c->ops)) {
        op_free(list_first(&c->ops, struct call_op, all));
    }
}

bool call_refuse_when_dead(struct ctl *c, struct call_op *op) {
    struct err err;
    if (!ctl_is_idle(c) && c->is_started) {
        return false;
    }
    err_set(&err, ERR_UNAVAILABLE, "the server is %s", c->is_started ? "stopping" : "starting");
    call_finish(op, &err);
    return true;
}

/* ---- create ---- */
uint64_t ctl_new_id(struct ctl *c) {
    char text[24];
    uint64_t id;
    ctl_check_owner(c);
    do {
        id = rng_resource_id(c->cfg.rng);
        snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
    } while (map_get(&c->by_id, str_of(text)) || map_get(&c->aside, str_of(text)));
    return id;
}

void call_fill_row(struct call_op *op, const struct store_row *in, usec_t now) {
    struct arena *a = op->arena;
    struct store_row *r = &op->row;
    r->kind = arena_str(a, in->kind);
    r->parent = arena_str(a, in->parent);
    r->name = op->name;
    r->display_name = arena_str(a, in->display_name);
    r->create_time = r->update_time = now;
    r->is_live = true;
    r->spec = arena_str(a, in->spec);
    r->labels = arena_calloc(a, in->nr_labels ? in->nr_labels : 1, sizeof(*r->labels));
    r->nr_labels = in->nr_labels;
    for (size_t i = 0; i < in->nr_labels; i++) {
        r->labels[i].key = arena_str(a, in->labels[i].key);
        r->labels[i].value = arena_str(a, in->labels[i].value);
    }
}

usec_t call_create_time(struct ctl *c) {
    usec_t now = ctl_wall(c);
    c->last_create = now > c->last_create ? now : c->last_create + 1;
    return c->last_create;
}

static int admit(struct ctl *c, struct str name, const struct job_spec *spec, struct err *err) {
    uint32_t nr = job_spec_replicas(spec);
    if (c->nr_jobs >= limits.max_job_queue) {
        limits_hit(&limits.max_job_queue);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "there are %zu unfinished jobs already (limit max_job_queue is %llu)",
                       c->nr_jobs, (unsigned long long)limits.max_job_queue);
    }
    if (nr == 0 || spec->pools[0].replica_count != 1) {
        return err_field(err, ERR_INVALID_ARGUMENT, "job_spec.worker_pool_specs[0].replica_count",
                         "the first worker pool must have exactly one replica");
    }
    if (nr > limits.max_replicas) {
        limits_hit(&limits.max_replicas);
        return err_field(err, ERR_INVALID_ARGUMENT, "job_spec.worker_pool_specs",
                         "%u replicas are more than the limit max_replicas of %llu", nr,
                         (unsigned long long)limits.max_replicas);
    }
    if (ctl_find(c, name) || map_get(&c->aside, name_last_segment(name))) {
        return err_set(err, ERR_ALREADY_EXISTS, "%.*s exists already", STR_ARG(name));
    }
    return c->cfg.strict_machines ? place_refuse_clamped(&c->total, spec, err) : 0;
}

void ctl_job_create(struct ctl *c, const struct job_create *in, struct ctl_call *call) {
    auto_free char *name =
        xasprintf("%.*s/%.*ss/%.*s", STR_ARG(in->parent), STR_ARG(in->kind), STR_ARG(in->id));
    struct err err = {0};
    struct job_spec *spec = NULL;
    ctl_enter(c);
    struct call_op *op = call_new(c, call, str_of(name));
    if (!call_refuse_when_dead(c, op)) {
        struct arena *a = arena_new(ARENA_NO_MAX);
        call_fill_row(op,
                      &(struct store_row){.kind = in->kind,
                                          .parent = in->parent,
                                          .display_name = in->display_name,
                                          .spec = in->spec,
                                          .labels = (struct store_label *)in->labels,
                                          .nr_labels = in->nr_labels},
                      call_create_time(c));
        op->row.state = str_of(job_state_name(JOB_STATE_QUEUED));
        if (c->cfg.decode_spec(c->cfg.decode_arg, a, &op->row, &spec, &err) != 0 ||
            admit(c, op->name, spec, &err) != 0) {
            arena_free(a);
            call_finish(op, &err);
        } else {
            struct job *j = job_new(c, a, op->name, spec);
            j->creation = op;
            j->join = in->join;
            j->join_arg = in->join_arg;
            ctl_adopt(c, j);
            job_begin(j);
            op->has_row = true; /* its status comes when it is given to the store */
            job_drain(j);
        }
    }
    ctl_leave(c);
}

/* ---- cancel ---- */
static void on_cancel_get(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct call_op *op = g->arg;
    struct ctl *c = op->ctl;
    struct err refused;
    ctl_enter(c);
    c->nr_in_flight--;
    if (!err && row && row->is_live) {
        err_set(&refused, ERR_FAILED_PRECONDITION,
                "the record of %.*s cannot be read; it can only be deleted", STR_ARG(op->name));
        err = &refused;
    } else if (!err && !row) {
        err_set(&refused, ERR_NOT_FOUND, "%.*s does not exist", STR_ARG(op->name));
        err = &refused;
    }
    call_finish(op, err); /* a finished job: nothing changes */
    ctl_leave(c);
}

static void on_edit_get(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct call_op *op = g->arg;
    struct ctl *c = op->ctl;
    struct err refused;
    ctl_enter(c);
    c->nr_in_flight--;
    if (!err && row) {
        err_set(&refused, ERR_FAILED_PRECONDITION, "%.*s has ended (%.*s); it cannot be edited",
                STR_ARG(op->name), STR_ARG(row->state));
        err = &refused;
    } else if (!err) {
        err_set(&refused, ERR_NOT_FOUND, "%.*s does not exist", STR_ARG(op->name));
        err = &refused;
    }
    call_finish(op, err);
    ctl_leave(c);
}

static void get_row(struct call_op *op,
                    void (*cb)(struct store_get *, const struct store_row *, const struct err *)) {
    struct ctl *c = op->ctl;
    op->get = (struct store_get){.name = op->name, .arena = op->arena, .cb = cb, .arg = op};
    c->nr_in_flight++;
    c->cfg.store->ops->get(c->cfg.store, &op->get);
}

void call_cancel_stored(struct call_op *op) {
    get_row(op, on_cancel_get);
}

void call_edit_stored(struct call_op *op) {
    get_row(op, on_edit_get);
}

void call_finish_not_found(struct call_op *op) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "%.*s does not exist", STR_ARG(op->name));
    call_finish(op, &err);
}

void call_finish_live(struct call_op *op, const char *noun, const char *state) {
    struct err err;
    err_set(&err, ERR_FAILED_PRECONDITION,
            "%.*s is in state %s; only a finished %s can be deleted: cancel it first",
            STR_ARG(op->name), state, noun);
    call_finish(op, &err);
}

void ctl_job_cancel(struct ctl *c, struct str name, struct ctl_call *call) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    if (!call_refuse_when_dead(c, op)) {
        struct job *j = ctl_find(c, name);
        if (!j) {
            call_cancel_stored(op);
        } else if (!job_is_born(j)) {
            call_finish_not_found(op);
        } else if (!job_may_cancel(j)) {
            call_finish(op, NULL); /* its outcome is decided */
        } else {
            job_try_cancel(j, op);
        }
    }
    ctl_leave(c);
}

/* ---- delete ---- */
static void on_deleted(struct store_txn *t, const struct err *err) {
    struct call_op *op = t->arg;
    struct ctl *c = op->ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    if (!err) {
        (void)map_del(&c->aside, name_last_segment(op->name));
    } else if (err->code != ERR_NOT_FOUND && err->code != ERR_RESOURCE_EXHAUSTED) {
        ctl_fatal(c, err);
    }
    call_finish(op, err); /* frees t later */
    ctl_leave(c);
}

/* What others keep about a job goes when they see this; it is there as soon as the row is not. */
static void note_deleted(struct call_op *op) {
    struct str rest = op->name;
    (void)str_cut(&rest, '/'); /* "projects" */
    struct str project = str_cut(&rest, '/');
    store_txn_kv(&op->txn, CTL_SPACE_DELETED, name_last_segment(op->name), project);
}

static void on_delete_get(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct call_op *op = g->arg;
    struct ctl *c = op->ctl;
    ctl_enter(c);
    c->nr_in_flight--;
    if (err) {
        call_finish(op, err);
    } else if (!row) {
        call_finish_not_found(op);
    } else {
        store_txn_init(&op->txn, on_deleted, op);
        op->has_txn = true;
        store_txn_delete(&op->txn, op->name);
        note_deleted(op);
        c->nr_in_flight++;
        c->cfg.store->ops->commit(c->cfg.store, &op->txn);
    }
    ctl_leave(c);
}

void call_delete_stored(struct call_op *op) {
    get_row(op, on_delete_get);
}

void ctl_job_delete(struct ctl *c, struct str name, struct ctl_call *call) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    if (!call_refuse_when_dead(c, op)) {
        const struct job *j = ctl_find(c, name);
        if (!j) {
            call_delete_stored(op);
        } else if (!job_is_born(j)) {
            call_finish_not_found(op);
        } else {
            call_finish_live(op, "job", job_state_name(j->status.state));
        }
    }
    ctl_leave(c);
}
