/* google.logging.v2 WriteLogEntries: entries of clients and of jobs' own libraries. */
#include "api/svc_logging.h"

#include "api/svc.h"
#include "base/limits.h"
#include "logs/written.h"

typedef Google__Logging__V2__WriteLogEntriesRequest write_req;
typedef Google__Logging__V2__LogEntry entry_msg;

#define FUTURE_MAX (24 * 3600) /* seconds that a timestamp may be ahead */
#define LABELS_MAX 64u

struct writing {
    struct log_write write;
    struct call *call;
    Google__Logging__V2__WriteLogEntriesPartialErrors *errors;
};

static void refuse_parts(struct call *c, const struct writing *w) {
    struct api_error e;
    struct err err;
    err_set(&err, ERR_INVALID_ARGUMENT, "%zu log entries were not written",
            w->errors->n_log_entry_errors);
    api_error_from(c->arena, &err, &e);
    api_error_add(&e, &w->errors->base);
    call_fail_error(c, &e);
}

static void finish(struct writing *w) {
    Google__Logging__V2__WriteLogEntriesResponse resp =
        GOOGLE__LOGGING__V2__WRITE_LOG_ENTRIES_RESPONSE__INIT;
    if (w->errors->n_log_entry_errors) {
        refuse_parts(w->call, w);
    } else {
        call_reply(w->call, &resp.base);
    }
}

static void on_written(struct log_write *lw, const struct err *err) {
    struct writing *w = CONTAINER_OF(lw, struct writing, write);
    if (err) {
        call_fail(w->call, err);
    } else {
        finish(w);
    }
}

static int complete_labels(struct call *c, entry_msg *e, const write_req *req, struct err *err) {
    size_t own = e->n_labels;
    if (own + req->n_labels > LABELS_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "labels", "A log entry has at most %u labels",
                         LABELS_MAX);
    }
    Google__Logging__V2__LogEntry__LabelsEntry **all =
        arena_own_array(c->arena, own + req->n_labels + 1, sizeof(*all));
    for (size_t i = 0; i < own; i++) {
        all[i] = e->labels[i];
    }
    e->labels = all;
    for (size_t i = 0; i < req->n_labels; i++) { /* the entry's own win */
        bool is_there = false;
        for (size_t j = 0; j < own; j++) {
            is_there = is_there || strcmp(all[j]->key, req->labels[i]->key) == 0;
        }
        if (!is_there) {
            Google__Logging__V2__LogEntry__LabelsEntry *l = arena_own(c->arena, sizeof(*l));
            google__logging__v2__log_entry__labels_entry__init(l);
            l->key = req->labels[i]->key;
            l->value = req->labels[i]->value;
            e->labels[e->n_labels++] = l;
        }
    }
    return 0;
}

static void complete_resource(struct call *c, entry_msg *e, const write_req *req,
                              const struct log_scope *scope) {
    Google__Api__MonitoredResource *from = e->resource ? e->resource : req->resource;
    Google__Api__MonitoredResource *r = arena_own(c->arena, sizeof(*r));
    google__api__monitored_resource__init(r);
    r->type = from && from->type[0] ? from->type : arena_strdup(c->arena, "global");
    r->labels = arena_own_array(c->arena, (from ? from->n_labels : 0) + 1, sizeof(*r->labels));
    bool has_project = false;
    for (size_t i = 0; from && i < from->n_labels; i++) {
        r->labels[r->n_labels++] = from->labels[i];
        has_project = has_project || strcmp(from->labels[i]->key, "project_id") == 0;
    }
    if (!has_project) {
        Google__Api__MonitoredResource__LabelsEntry *l = arena_own(c->arena, sizeof(*l));
        google__api__monitored_resource__labels_entry__init(l);
        l->key = arena_strdup(c->arena, "project_id");
        l->value = arena_strndup(c->arena, scope->id.p, scope->id.n);
        r->labels[r->n_labels++] = l;
    }
    e->resource = r;
}

static Google__Protobuf__Timestamp *stamp(struct arena *a, usec_t t) {
    Google__Protobuf__Timestamp *m = arena_own(a, sizeof(*m));
    google__protobuf__timestamp__init(m);
    m->seconds = (int64_t)(t / USEC_PER_SEC);
    m->nanos = (int32_t)(t % USEC_PER_SEC) * 1000;
    return m;
}

static int complete_time(struct call *c, entry_msg *e, usec_t now, struct err *err) {
    e->receive_timestamp = stamp(c->arena, now);
    if (!e->timestamp) {
        e->timestamp = e->receive_timestamp;
    }
    if (e->timestamp->seconds < 0 || e->timestamp->nanos < 0 || e->timestamp->nanos > 999999999 ||
        e->timestamp->seconds > (int64_t)(now / USEC_PER_SEC) + FUTURE_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "timestamp",
                         "A log entry's timestamp is neither before 1970 nor more than 24 hours "
                         "ahead");
    }
    return 0;
}

/* Fills what clients leave to the service (reference 11 §5). */
static int complete(struct call *c, entry_msg *e, size_t index, const write_req *req, usec_t now,
                    uint64_t *project, struct err *err) {
    struct log_scope scope;
    struct str log;
    const char *name = e->log_name[0] ? e->log_name : req->log_name;
    if (log_scope_parse(c, c->arena, name, "log_name", &scope, &log, err)) {
        return -1;
    }
    if (*project && scope.project != *project) {
        return err_field(err, ERR_INVALID_ARGUMENT, "log_name",
                         "One request writes to the logs of one project; \"%.200s\" is another's",
                         name);
    }
    *project = scope.project;
    e->log_name =
        arena_printf(c->arena, "projects/%.*s/logs/%.*s", STR_ARG(scope.id), STR_ARG(log));
    if (!e->log_name || str_of(e->insert_id).n > INSERT_ID_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "insert_id", "insertId has more than %u bytes",
                         INSERT_ID_MAX);
    }
    if (!e->insert_id[0]) { /* in the order of the request */
        e->insert_id = arena_printf(c->arena, "w%014llx%06zx%08x", (unsigned long long)now, index,
                                    (unsigned)rng_u64(c->api->rng));
    }
    complete_resource(c, e, req, &scope);
    if (complete_labels(c, e, req, err) || complete_time(c, e, now, err)) {
        return -1;
    }
    size_t size = pb_packed_size(&e->base);
    if (size > limits.log_line_bytes) {
        limits_hit(&limits.log_line_bytes);
        return err_field(err, ERR_INVALID_ARGUMENT, "entries",
                         "Log entry with size %zu exceeds maximum size of %llu (log_line_bytes)",
                         size, (unsigned long long)limits.log_line_bytes);
    }
    return 0;
}

static void note_error(struct call *c, struct writing *w, size_t index, const struct err *err) {
    Google__Logging__V2__WriteLogEntriesPartialErrors__LogEntryErrorsEntry *f =
        arena_own(c->arena, sizeof(*f));
    google__logging__v2__write_log_entries_partial_errors__log_entry_errors_entry__init(f);
    f->key = (int32_t)index;
    f->value = arena_own(c->arena, sizeof(*f->value));
    google__rpc__status__init(f->value);
    f->value->code = (int32_t)err->code;
    f->value->message = arena_strdup(c->arena, err->msg);
    w->errors->log_entry_errors[w->errors->n_log_entry_errors++] = f;
}

void svc_logging_write(struct call *c) {
    const write_req *req = (const write_req *)c->req;
    struct writing *w = arena_own(c->arena, sizeof(*w));
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    struct err err;
    w->call = c;
    w->errors = arena_own(c->arena, sizeof(*w->errors));
    google__logging__v2__write_log_entries_partial_errors__init(w->errors);
    w->errors->log_entry_errors =
        arena_own_array(c->arena, req->n_entries + 1, sizeof(*w->errors->log_entry_errors));
    w->write.entries = arena_own_array(c->arena, req->n_entries + 1, sizeof(*w->write.entries));
    w->write.cb = on_written;
    for (size_t i = 0; i < req->n_entries; i++) {
        entry_msg *e = req->entries[i];
        if (complete(c, e, i, req, now, &w->write.project, &err) == 0) {
            w->write.entries[w->write.nr++] = e;
        } else if (req->partial_success) {
            note_error(c, w, i, &err);
        } else {
            call_fail(c, &err);
            return;
        }
    }
    if (req->dry_run || !w->write.nr) {
        finish(w);
        return;
    }
    log_write_start(c->api->logs, &w->write);
}
