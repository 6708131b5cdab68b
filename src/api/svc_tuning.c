/* JobService: HyperparameterTuningJob create, get, list, cancel, delete (reference 04). */
#include "api/svc.h"

#include "api/listing.h"
#include "api/names.h"
#include "api/runnable.h"
#include "api/spec.h"
#include "api/spec_tuning.h"
#include "api/tuning_message.h"
#include "base/limits.h"
#include "logs/retain.h"
#include "pb/pbcheck.h"

/* ---- answers ---- */

/* A row with its trials as they are now. */
struct look {
    struct call *call;
    struct tuning_read read;
};

static void on_read(struct tuning_read *r, const struct store_row *row,
                    const struct tuning_status *status, const struct study *study,
                    const struct err *err) {
    struct look *l = r->arg;
    struct call *c = l->call;
    Aip__HyperparameterTuningJob *m;
    struct err e;
    if (err) {
        call_fail(c, err);
    } else if (!row) {
        err_set(&e, ERR_NOT_FOUND, "The HyperparameterTuningJob \"%.*s\" does not exist.",
                STR_ARG(r->name));
        call_fail(c, &e);
    } else if (tuning_message(c->arena, row, status, &m, &e)) {
        call_fail(c, &e);
    } else {
        tuning_message_trials(c->arena, study, m);
        call_reply(c, &m->base);
    }
}

static void reply_row(struct call *c, const struct store_row *row) {
    struct look *l = arena_own(c->arena, sizeof(*l));
    l->call = c;
    l->read = (struct tuning_read){.name = arena_str(c->arena, row->name), .cb = on_read, .arg = l};
    ctl_tuning_read(c->api->ctl, &l->read);
}

/* ---- create ---- */

struct create {
    struct call *call;
    struct ctl_call ctl;
};

static void on_created(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct create *cr = cc->arg;
    Aip__HyperparameterTuningJob *m;
    struct err e;
    if (err) {
        call_fail(cr->call, err);
    } else if (tuning_message(cr->call->arena, row, NULL, &m, &e)) {
        call_fail(cr->call, &e);
    } else {
        call_reply(cr->call, &m->base);
    }
}

static void check(struct call *c, Aip__HyperparameterTuningJob *job, struct violations *vs) {
    violations_init(vs, c->arena);
    if (!job) {
        violations_add(vs, "hyperparameter_tuning_job", "Required field is not set.");
        return;
    }
    pb_clear_output_only(&job->base); /* clients send whole resources back */
    tuning_job_default_replicas(job, c->body);
    tuning_job_check(job, vs);
}

void svc_tuning_create(struct call *c) {
    Aip__CreateHyperparameterTuningJobRequest *req =
        (Aip__CreateHyperparameterTuningJobRequest *)c->req;
    Aip__HyperparameterTuningJob *job = req->hyperparameter_tuning_job;
    struct name_parts parent;
    struct violations vs;
    struct str spec;
    struct err err;
    if (name_parse_home(c->api->projects, c->arena, req->parent, "a tuning job needs one", &parent,
                        &err)) {
        call_fail(c, &err);
        return;
    }
    check(c, job, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    job_spec_fill_defaults(c->arena, job->trial_job_spec);
    if (!pb_pack_in(c->arena, &job->base, &spec)) {
        err_set(&err, ERR_INVALID_ARGUMENT,
                "The tuning job is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        return;
    }
    struct create *cr = arena_own(c->arena, sizeof(*cr));
    *cr = (struct create){.call = c, .ctl = {.cb = on_created, .arg = cr}};
    struct tuning_create in = {
        .parent = parent.parent,
        .id = str_of(arena_printf(c->arena, "%llu", (unsigned long long)ctl_new_id(c->api->ctl))),
        .display_name = str_of(job->display_name),
        .spec = spec,
        .labels = labels_stored(c->arena, job->n_labels,
                                (Aip__CustomJob__LabelsEntry *const *)job->labels),
        .nr_labels = job->n_labels,
    };
    ctl_tuning_create(c->api->ctl, &in, &cr->ctl);
}

/* ---- get, cancel, delete ---- */

static void on_removed(struct call *c) {
    logs_retain_soon(c->api->logs);
}

static const struct runnable_kind runnable = {
    .word = "HyperparameterTuningJob",
    .collection = "hyperparameterTuningJobs",
    .outlook = ctl_tuning_outlook,
    .reply = reply_row,
    .cancel = ctl_tuning_cancel,
    .remove = ctl_tuning_delete,
    .removed = on_removed,
};

void svc_tuning_get(struct call *c) {
    runnable_held_get(c, ((Aip__GetHyperparameterTuningJobRequest *)c->req)->name, &runnable);
}

void svc_tuning_cancel(struct call *c) {
    runnable_cancel(c, ((Aip__CancelHyperparameterTuningJobRequest *)c->req)->name, &runnable);
}

void svc_tuning_delete(struct call *c) {
    runnable_delete(c, ((Aip__DeleteHyperparameterTuningJobRequest *)c->req)->name, &runnable);
}

/* ---- list: without trials ---- */

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    Aip__HyperparameterTuningJob *m;
    if (tuning_message(li->call->arena, row, NULL, &m, err)) {
        return -1;
    }
    *ret = &m->base;
    return 0;
}

static const struct listing_kind listed = {
    .word = "HyperparameterTuningJob",
    .resource = &aip__hyperparameter_tuning_job__descriptor,
    .response = &aip__list_hyperparameter_tuning_jobs_response__descriptor,
    .schema = &tuning_schema,
    .message = list_message,
};

void svc_tuning_list(struct call *c) {
    Aip__ListHyperparameterTuningJobsRequest *req =
        (Aip__ListHyperparameterTuningJobsRequest *)c->req;
    listing_below(c, req->parent, STR(TUNING_KIND), &listed,
                  &(struct listing_asked){LISTING_ASKED(req), .order_by = c->order_by});
}
