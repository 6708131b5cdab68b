/* JobService: CustomJob create, get, list, cancel, delete (reference 01). */
#include "api/svc.h"

#include "api/hold.h"
#include "api/job_message.h"
#include "api/names.h"
#include "api/read_mask.h"
#include "api/spec.h"
#include "base/limits.h"
#include "base/log.h"
#include "logs/retain.h"
#include "pb/pbcheck.h"
#include "pb/pbmask.h"
#include "pb/wkt.h"
#include "store/filter.h"

#define COLLECTION "customJobs"
#define KIND "customJob"
#define PAGE_SIZE_DEFAULT 100

/* ---- answers ---- */

static void reply_row(struct call *c, const struct store_row *row) {
    Aip__CustomJob *job;
    struct str parts[2];
    struct err err;
    if (call_takes_packed(c) && custom_job_packed(c->arena, row, parts)) {
        call_reply_packed(c, parts, NR_OF(parts));
    } else if (custom_job_message(c->arena, row, &job, &err)) {
        call_fail(c, &err);
    } else {
        call_reply(c, &job->base);
    }
}

static void fail_missing(struct call *c, struct str name) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The CustomJob \"%.*s\" does not exist.",
            (int)(name.n > 300 ? 300 : name.n), name.p);
    call_fail(c, &err);
}

/* ---- create ---- */

struct create {
    struct call *call;
    struct ctl_call ctl;
};

static void on_created(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct create *cr = cc->arg;
    if (err) {
        call_fail(cr->call, err);
    } else {
        reply_row(cr->call, row);
    }
}

void svc_job_create(struct call *c) {
    Aip__CreateCustomJobRequest *req = (Aip__CreateCustomJobRequest *)c->req;
    struct name_parts parent;
    struct err err;
    struct violations vs;
    Aip__CustomJob *job = req->custom_job;
    if (name_parse(c->api->projects, c->arena, str_of(req->parent), "parent", &parent, &err)) {
        call_fail(c, &err);
        return;
    }
    if (str_eqc(parent.location, "-")) {
        err_field(&err, ERR_INVALID_ARGUMENT, "parent",
                  "Location \"-\" stands for all locations in lists; a job needs one.");
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    if (!job) {
        violations_add(&vs, "custom_job", "Required field is not set.");
    } else {
        pb_clear_output_only(&job->base); /* clients send whole resources back */
        custom_job_default_replicas(job, c->body);
        custom_job_check(job, &vs);
    }
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    custom_job_fill_defaults(c->arena, job);
    struct buf spec = BUF_INIT(limits.max_message_bytes);
    if (pb_pack(&job->base, &spec)) {
        buf_fini(&spec);
        err_set(&err, ERR_INVALID_ARGUMENT, "The job is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        return;
    }
    struct store_label *labels = arena_own_array(c->arena, job->n_labels + 1, sizeof(*labels));
    for (size_t i = 0; i < job->n_labels; i++) {
        labels[i] =
            (struct store_label){str_of(job->labels[i]->key), str_of(job->labels[i]->value)};
    }
    struct create *cr = arena_own(c->arena, sizeof(*cr));
    cr->call = c;
    cr->ctl.cb = on_created;
    cr->ctl.arg = cr;
    struct job_create in = {
        .kind = STR(KIND),
        .parent = parent.parent,
        .id = str_of(arena_printf(c->arena, "%llu", (unsigned long long)ctl_new_id(c->api->ctl))),
        .display_name = str_of(job->display_name),
        .spec = buf_str(&spec),
        .labels = labels,
        .nr_labels = job->n_labels,
    };
    in.spec = arena_str(c->arena, in.spec);
    buf_fini(&spec);
    ctl_job_create(c->api->ctl, &in, &cr->ctl);
}

/* ---- get ---- */

struct get {
    struct call *call;
    struct str name;
    struct store_get get;
    struct hold hold;
    bool was_held;
};

static void look(struct get *gt);

static void on_released(struct hold *w, enum hold_end end) {
    look(w->arg);
}

/* True when the answer waits for the job to end. */
static bool try_hold(struct get *gt) {
    struct call *c = gt->call;
    struct job_outlook o;
    if (gt->was_held || !ctl_job_outlook(c->api->ctl, gt->name, &o) || o.is_queued) {
        return false;
    }
    usec_t last = o.end_began ? o.end_began : o.start_time ? o.start_time : o.create_time;
    usec_t until = hold_get_until(c, last);
    gt->hold =
        (struct hold){.kind = HOLD_GET, .name = gt->name, .call = c, .fn = on_released, .arg = gt};
    gt->was_held = until && hold_begin(c->api->holds, &gt->hold, until);
    return gt->was_held;
}

static void reply_got(struct get *gt, const struct store_row *row) {
    if (!row->is_live || !try_hold(gt)) {
        reply_row(gt->call, row);
    }
}

static void on_got(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct get *gt = g->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(gt->call, err);
    } else if (err || !row) {
        fail_missing(gt->call, g->name);
    } else {
        reply_got(gt, row);
    }
}

static void look(struct get *gt) {
    struct store *st = gt->call->api->store;
    const struct store_row *row = st->ops->peek(st, gt->name);
    if (row) {
        reply_got(gt, row);
        return;
    }
    gt->get =
        (struct store_get){.name = gt->name, .arena = gt->call->arena, .cb = on_got, .arg = gt};
    st->ops->get(st, &gt->get);
}

void svc_job_get(struct call *c) {
    Aip__GetCustomJobRequest *req = (Aip__GetCustomJobRequest *)c->req;
    struct name_parts n;
    struct err err;
    if (name_parse_in(c->api->projects, c->arena, str_of(req->name), COLLECTION, "name", &n,
                      &err)) {
        call_fail(c, &err);
        return;
    }
    struct get *gt = arena_own(c->arena, sizeof(*gt));
    gt->call = c;
    gt->name = n.canonical;
    look(gt);
}

/* ---- list ---- */

struct listing {
    struct call *call;
    const struct pb_mask *mask; /* readMask */
    struct store_list list;
};

static void on_listed(struct store_list *l, const struct store_row *rows, size_t nr,
                      struct str next_token, const struct err *err) {
    struct listing *li = l->arg;
    struct call *c = li->call;
    struct err e;
    if (err) {
        call_fail(c, err);
        return;
    }
    Aip__ListCustomJobsResponse *resp = arena_own(c->arena, sizeof(*resp));
    aip__list_custom_jobs_response__init(resp);
    resp->custom_jobs = arena_own_array(c->arena, nr + 1, sizeof(*resp->custom_jobs));
    for (size_t i = 0; i < nr; i++) {
        Aip__CustomJob *job;
        if (custom_job_message(c->arena, &rows[i], &job, &e)) {
            log_error("job left out of a list", "error=\"%s\"", e.msg);
            continue;
        }
        pb_mask_apply(li->mask, &job->base);
        resp->custom_jobs[resp->n_custom_jobs++] = job;
    }
    if (next_token.n) {
        resp->next_page_token = arena_strndup(c->arena, next_token.p, next_token.n);
    }
    call_reply(c, &resp->base);
}

void svc_job_list(struct call *c) {
    Aip__ListCustomJobsRequest *req = (Aip__ListCustomJobsRequest *)c->req;
    struct name_parts n;
    struct err err;
    if (name_parse(c->api->projects, c->arena, str_of(req->parent), "parent", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    if (req->page_size < 0) {
        err_field(&err, ERR_INVALID_ARGUMENT, "page_size",
                  "Page size %d is negative; leave it out or give 1 to %llu.", req->page_size,
                  (unsigned long long)limits.max_page_size);
        call_fail(c, &err);
        return;
    }
    struct listing *li = arena_own(c->arena, sizeof(*li));
    li->call = c;
    if (read_mask_parse(c->arena, req->read_mask, &aip__custom_job__descriptor, &li->mask, &err)) {
        call_fail(c, &err);
        return;
    }
    unsigned size = req->page_size ? (unsigned)req->page_size : PAGE_SIZE_DEFAULT;
    li->list = (struct store_list){
        .kind = STR(KIND),
        .parent = n.parent,
        .filter_text = str_of(req->filter),
        .page_size = size > limits.max_page_size ? (unsigned)limits.max_page_size : size,
        .page_token = str_of(req->page_token),
        .arena = c->arena,
        .cb = on_listed,
        .arg = li,
    };
    const struct filter *filter = NULL;
    if (req->filter[0] &&
        filter_parse(c->arena, str_of(req->filter), &custom_job_schema, &filter, &err)) {
        call_fail(c, &err);
        return;
    }
    li->list.filter = filter;
    if (order_parse(c->order_by, &li->list, &err)) {
        call_fail(c, &err);
        return;
    }
    c->api->store->ops->list(c->api->store, &li->list);
}

/* ---- cancel, delete ---- */

/* Hands the named job to one of ctl's calls. */
static void change_job(struct call *c, const char *name,
                       void (*change)(struct ctl *, struct str name, struct ctl_call *),
                       void (*cb)(struct ctl_call *, const struct err *,
                                  const struct store_row *)) {
    struct name_parts n;
    struct err err;
    if (name_parse_in(c->api->projects, c->arena, str_of(name), COLLECTION, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    struct ctl_call *cc = arena_own(c->arena, sizeof(*cc));
    cc->cb = cb;
    cc->arg = c;
    change(c->api->ctl, n.canonical, cc);
}

static void on_cancelled(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct call *c = cc->arg;
    if (err && err->code == ERR_NOT_FOUND) {
        fail_missing(c, str_of(((Aip__CancelCustomJobRequest *)c->req)->name));
    } else if (err) {
        call_fail(c, err);
    } else {
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        call_reply(c, &empty.base);
    }
}

void svc_job_cancel(struct call *c) {
    change_job(c, ((Aip__CancelCustomJobRequest *)c->req)->name, ctl_job_cancel, on_cancelled);
}

static void on_deleted(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct call *c = cc->arg;
    struct str name = str_of(((Aip__DeleteCustomJobRequest *)c->req)->name);
    if (err && err->code == ERR_NOT_FOUND) {
        fail_missing(c, name);
    } else if (err) {
        call_fail(c, err);
    } else {
        logs_retain_soon(c->api->logs);
        svc_operation_reply_deleted(c, name);
    }
}

void svc_job_delete(struct call *c) {
    change_job(c, ((Aip__DeleteCustomJobRequest *)c->req)->name, ctl_job_delete, on_deleted);
}
