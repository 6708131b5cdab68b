/* See model_jobs.h. */
#include "api/model_jobs.h"

#include "api/svc.h"
#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "pb/pb.h"
#include "pb/rpc.h"

#define SPACE "modelJob"
#define PROGRESS_EVERY (1 * (usec_t)USEC_PER_SEC)

struct model_jobs {
    struct api *api;
    struct list running;
    bool is_stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
    struct timer stop_timer;
};

static const struct model_job_type *const types[] = {&model_upload_job, &model_export_job};

static void on_stopped(struct timer *t) {
    struct model_jobs *j = CONTAINER_OF(t, struct model_jobs, stop_timer);
    void (*cb)(void *) = j->stop_cb;
    j->stop_cb = NULL;
    if (cb) {
        cb(j->stop_arg); /* may free j */
    }
}

struct model_jobs *model_jobs_new(struct api *api) {
    struct model_jobs *j = xcalloc(1, sizeof(*j));
    j->api = api;
    j->stop_timer.fn = on_stopped;
    list_init(&j->running);
    return j;
}

static void check_stopped(struct model_jobs *j) {
    struct clock *clock = j->api->clock;
    if (j->stop_cb && list_is_empty(&j->running)) {
        clock->ops->arm(clock, &j->stop_timer, clock->ops->mono(clock));
    }
}

void model_jobs_stop(struct model_jobs *j, void (*cb)(void *), void *arg) {
    struct model_job *job, *next;
    j->is_stopping = true;
    j->stop_cb = cb;
    j->stop_arg = arg;
    list_each_safe (job, next, &j->running, link) {
        job->type->stop(job);
    }
    check_stopped(j);
}

void model_jobs_free(struct model_jobs *j) {
    if (j) {
        CHECK(list_is_empty(&j->running));
        j->api->clock->ops->disarm(j->api->clock, &j->stop_timer);
        free(j);
    }
}

/* ---- jobs ---- */

static struct model_job *job_new(struct model_jobs *j, const struct model_job_type *type) {
    struct model_job *job = xcalloc(1, type->size);
    job->type = type;
    job->jobs = j;
    job->api = j->api;
    job->a = arena_new(ARENA_NO_MAX);
    list_push_tail(&j->running, &job->link);
    return job;
}

static void job_free(struct model_job *job) {
    struct model_jobs *j = job->jobs;
    if (job->type->forget) {
        job->type->forget(job);
    }
    list_del(&job->link);
    arena_free(job->a);
    free(job);
    check_stopped(j);
}

static void on_cancel(struct operation *op, void *arg) {
    struct model_job *job = arg;
    job->is_cancelled = true;
    job->type->stop(job);
}

bool model_job_must_stop(const struct model_job *job) {
    return job->is_cancelled || job->jobs->is_stopping;
}

void model_job_progress(struct model_job *job, const ProtobufCMessage *metadata) {
    usec_t now = job->api->clock->ops->mono(job->api->clock);
    if (now >= job->told + PROGRESS_EVERY && !model_job_must_stop(job)) {
        job->told = now;
        operation_progress(job->op, metadata);
    }
}

/* The row of an operation is known by its short name. */
static struct str key_of(const struct model_job *job) {
    struct str id = operation_name(job->op);
    while (str_chr(id, '/') >= 0) {
        (void)str_cut(&id, '/');
    }
    return str_of(arena_printf(job->a, "%.*s/operations/%.*s", STR_ARG(job->parent), STR_ARG(id)));
}

/* ---- ends ---- */

void model_job_join(struct model_job *job, struct store_txn *t, const ProtobufCMessage *metadata,
                    const ProtobufCMessage *response) {
    job->is_ending = true;
    operation_finish_in(job->op, t, metadata, response, job->has_end ? &job->end : NULL);
    store_txn_kv(t, SPACE, key_of(job), (struct str){0});
}

void model_job_joined(struct model_job *job, const struct err *err) {
    struct err why;
    if (!err) {
        operation_ended(job->op);
        job_free(job);
        return;
    }
    why = *err; /* whoever gave it may go with the job */
    if (job->is_ending) {
        job->is_ending = false;
        operation_resumed(job->op);
    }
    model_job_end(job, NULL, NULL, &why);
}

/* A full disk: the operation's own end is tried again until it fits, its row here stays behind. */
static void on_ended(struct store_txn *t, const struct err *err) {
    struct model_job *job = t->arg;
    if (err) {
        log_warn("end of a model's operation not stored", "error=\"%s\"", err->msg);
        operation_resumed(job->op);
        operation_finish(job->op, NULL, NULL, job->has_end ? &job->end : err);
    } else {
        operation_ended(job->op);
    }
    store_txn_fini(t);
    job_free(job);
}

void model_job_end(struct model_job *job, const ProtobufCMessage *metadata,
                   const ProtobufCMessage *response, const struct err *err) {
    if (job->jobs->is_stopping && !job->is_cancelled) {
        job_free(job); /* the next life finds its row */
        return;
    }
    job->has_end = err;
    if (err) {
        job->end = *err;
        if (job->is_cancelled) {
            err_set(&job->end, ERR_CANCELLED, "The operation was cancelled.");
        }
    }
    store_txn_init(&job->txn, on_ended, job);
    model_job_join(job, &job->txn, metadata, response);
    (void)FAIL_POINT("model.job.before_end", NULL);
    job->api->store->ops->commit(job->api->store, &job->txn);
}

/* ---- beginnings ---- */

static void on_begun(struct store_txn *t, const struct err *err) {
    struct model_job *job = t->arg;
    struct call *c = job->call;
    job->call = NULL;
    if (err) {
        operation_drop(job->op);
        call_fail(c, err);
        store_txn_fini(t);
        job_free(job);
        return;
    }
    store_txn_fini(t);
    operation_committed(job->op);
    svc_operation_reply(c, operation_message(job->op, c->arena), c->rpc->is_beta);
    (void)FAIL_POINT("model.job.begun", NULL);
    if (model_job_must_stop(job)) {
        struct err stopped;
        err_set(&stopped, ERR_CANCELLED, "The operation was cancelled.");
        model_job_end(job, NULL, NULL, &stopped);
    } else {
        job->type->run(job);
    }
}

void model_job_begin(struct call *c, const struct model_job_type *type,
                     const struct operation_about *about, struct str facts) {
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX), packed = BUF_INIT(limits.max_message_bytes);
    struct model_job *job = job_new(c->api->model_jobs, type);
    struct operation_about own = *about;
    struct err err;
    job->call = c;
    job->parent = arena_str(job->a, about->parent);
    job->request = pb_clone(job->a, c->req);
    rec_begin(&row);
    buf_put_str(&row, facts);
    struct str text = arena_str(job->a, buf_str(&row));
    if (!job->request || pb_pack(c->req, &packed) || rec_parse(job->a, text, &job->facts, &err)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The request is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        job_free(job);
        return;
    }
    rec_puts(&row, "type", type->name);
    rec_put(&row, "parent", about->parent);
    rec_put(&row, "request", buf_str(&packed));
    own.is_beta = c->rpc->is_beta;
    own.cancel = on_cancel;
    own.arg = job;
    store_txn_init(&job->txn, on_begun, job);
    job->op = operation_begin(c->api->operations, &job->txn, &own);
    store_txn_kv(&job->txn, SPACE, key_of(job), buf_str(&row));
    c->api->store->ops->commit(c->api->store, &job->txn);
}

/* ---- another life ---- */

static int read_row(struct model_job *job, struct str row, struct err *err) {
    if (!row.p) {
        return err_set(err, ERR_ABORTED, "The operation was lost when the server stopped.");
    }
    if (rec_parse(job->a, row, &job->facts, err) ||
        pb_unpack(job->a, job->type->request, rec_get(&job->facts, "request"), &job->request,
                  err)) {
        return -1;
    }
    job->parent = rec_get(&job->facts, "parent");
    return 0;
}

static void on_row(struct store_kv_get *kv, struct str value, const struct err *err) {
    struct model_job *job = kv->arg;
    struct err e = {0};
    if (err) {
        e = *err;
    }
    if (err || read_row(job, value, &e) || model_job_must_stop(job)) {
        model_job_end(job, NULL, NULL, &e);
    } else {
        log_info("taken up again", "operation=%.*s", STR_ARG(operation_name(job->op)));
        job->type->run(job);
    }
}

bool model_jobs_adopt(void *arg, struct operation *op, const Google__Longrunning__Operation *msg) {
    struct model_jobs *j = arg;
    struct str url = str_of(msg->metadata ? msg->metadata->type_url : "");
    for (size_t i = 0; i < NR_OF(types); i++) {
        if (!str_ends(url, str_of(types[i]->metadata))) {
            continue;
        }
        struct model_job *job = job_new(j, types[i]);
        struct str name = operation_name(op), rest = name;
        for (unsigned k = 0; k < 4; k++) { /* projects/N/locations/L */
            (void)str_cut(&rest, '/');
        }
        job->op = op;
        job->parent = arena_str(job->a, str_sub(name, 0, name.n - rest.n - 1));
        operation_set_cancel(op, on_cancel, job);
        job->kv = (struct store_kv_get){
            .space = SPACE, .key = key_of(job), .arena = job->a, .cb = on_row, .arg = job};
        j->api->store->ops->kv_get(j->api->store, &job->kv);
        return true;
    }
    return false;
}
