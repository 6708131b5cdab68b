/* JobService: CustomJob create, get, list, cancel, delete (reference 01). */
#include "api/svc.h"

#include "api/job_message.h"
#include "api/listing.h"
#include "api/names.h"
#include "api/runnable.h"
#include "api/spec.h"
#include "base/limits.h"
#include "logs/retain.h"
#include "pb/pbcheck.h"
#include "pb/wkt.h"

#define KIND "customJob"

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
    if (name_parse_home(c->api->projects, c->arena, req->parent, "a job needs one", &parent,
                        &err)) {
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
        .labels = labels_stored(c->arena, job->n_labels, job->labels),
        .nr_labels = job->n_labels,
    };
    in.spec = arena_str(c->arena, in.spec);
    buf_fini(&spec);
    ctl_job_create(c->api->ctl, &in, &cr->ctl);
}

/* ---- get, cancel, delete ---- */

static void on_removed(struct call *c) {
    logs_retain_soon(c->api->logs);
}

static const struct runnable_kind runnable = {
    .word = "CustomJob",
    .collection = "customJobs",
    .outlook = ctl_job_outlook,
    .reply = reply_row,
    .cancel = ctl_job_cancel,
    .remove = ctl_job_delete,
    .removed = on_removed,
};

void svc_job_get(struct call *c) {
    runnable_held_get(c, ((Aip__GetCustomJobRequest *)c->req)->name, &runnable);
}

void svc_job_cancel(struct call *c) {
    runnable_cancel(c, ((Aip__CancelCustomJobRequest *)c->req)->name, &runnable);
}

void svc_job_delete(struct call *c) {
    runnable_delete(c, ((Aip__DeleteCustomJobRequest *)c->req)->name, &runnable);
}

/* ---- list ---- */

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    Aip__CustomJob *job;
    if (custom_job_message(li->call->arena, row, &job, err)) {
        return -1;
    }
    *ret = &job->base;
    return 0;
}

static const struct listing_kind listed = {
    .word = "CustomJob",
    .resource = &aip__custom_job__descriptor,
    .response = &aip__list_custom_jobs_response__descriptor,
    .schema = &custom_job_schema,
    .message = list_message,
};

void svc_job_list(struct call *c) {
    Aip__ListCustomJobsRequest *req = (Aip__ListCustomJobsRequest *)c->req;
    listing_below(c, req->parent, STR(KIND), &listed,
                  &(struct listing_asked){LISTING_ASKED(req), .order_by = c->order_by});
}
