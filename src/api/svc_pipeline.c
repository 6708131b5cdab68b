/* PipelineService: TrainingPipeline create, get, list, cancel, delete (reference 05). */
#include "api/svc.h"

#include "api/dataset_export.h"
#include "api/listing.h"
#include "api/names.h"
#include "api/pipeline_message.h"
#include "api/pipeline_work_int.h"
#include "api/runnable.h"
#include "api/spec.h"
#include "base/limits.h"
#include "ctl/model.h"
#include "pb/pbcheck.h"

/* ---- answers ---- */

static void reply_row(struct call *c, const struct store_row *row) {
    Aip__TrainingPipeline *p;
    struct err err;
    if (pipeline_message(c->arena, row, &p, &err)) {
        call_fail(c, &err);
    } else {
        call_reply(c, &p->base);
    }
}

/* ---- create ---- */

struct create {
    struct call *call;
    Aip__TrainingPipeline *msg;
    struct name_parts parent;
    struct task_inputs in;
    struct violations vs;
    struct ctl_call ctl;
    struct dataset_export_check data;
    struct model_upload upload;
    struct model_upload_check model_check;
};

static void on_created(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct create *cr = cc->arg;
    if (err) {
        call_fail(cr->call, err);
    } else {
        reply_row(cr->call, row);
    }
}

/* Nothing is wrong with it. */
static void admit(struct create *cr) {
    struct call *c = cr->call;
    const Aip__TrainingPipeline *p = cr->msg;
    struct err err;
    struct pipeline_create in = {
        .parent = cr->parent.parent,
        .id = str_of(arena_printf(c->arena, "%llu", (unsigned long long)ctl_new_id(c->api->ctl))),
        .display_name = str_of(p->display_name),
        .labels =
            labels_stored(c->arena, p->n_labels, (Aip__CustomJob__LabelsEntry *const *)p->labels),
        .nr_labels = p->n_labels,
    };
    if (!pb_pack_in(c->arena, &p->base, &in.spec)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "The pipeline is larger than max_message_bytes (%llu).",
                (unsigned long long)limits.max_message_bytes);
        call_fail(c, &err);
        return;
    }
    cr->ctl.cb = on_created;
    cr->ctl.arg = cr;
    ctl_pipeline_create(c->api->ctl, &in, &cr->ctl);
}

static void on_model_checked(struct model_upload_check *check, const struct err *err) {
    struct create *cr = check->arg;
    if (err) {
        call_fail(cr->call, err);
    } else {
        admit(cr);
    }
}

/* The message is as it should be. Is what it asks for? */
static void check_model(struct create *cr) {
    struct call *c = cr->call;
    struct err err;
    if (cr->vs.n) {
        call_fail_violations(c, &cr->vs);
        return;
    }
    if (!pipeline_has_upload(cr->msg)) {
        admit(cr);
    } else if (pipeline_upload_wish(c->api->projects, c->arena, cr->parent.parent, cr->msg,
                                    &cr->upload, &err)) {
        call_fail(c, &err);
    } else {
        cr->model_check =
            (struct model_upload_check){.u = &cr->upload, .cb = on_model_checked, .arg = cr};
        model_upload_check(c->api->models, &cr->model_check);
    }
}

static void on_data_checked(struct dataset_export_check *check, const struct err *err) {
    struct create *cr = check->arg;
    if (err) {
        call_fail(cr->call, err);
    } else {
        check_model(cr);
    }
}

/* Adds to what is wrong. */
static void check_data(struct create *cr) {
    struct call *c = cr->call;
    cr->data = (struct dataset_export_check){.parent = cr->parent.parent,
                                             .config = cr->msg->input_data_config,
                                             .field = "input_data_config",
                                             .use = DATASET_EXPORT_TRAINING,
                                             .arena = c->arena,
                                             .vs = &cr->vs,
                                             .cb = on_data_checked,
                                             .arg = cr};
    dataset_export_check(c->api->exports, &cr->data);
}

void svc_pipeline_create(struct call *c) {
    Aip__CreateTrainingPipelineRequest *req = (Aip__CreateTrainingPipelineRequest *)c->req;
    struct create *cr = arena_own(c->arena, sizeof(*cr));
    struct err err;
    cr->call = c;
    cr->msg = req->training_pipeline;
    if (name_parse_home(c->api->projects, c->arena, req->parent, "a pipeline needs one",
                        &cr->parent, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&cr->vs, c->arena);
    if (!cr->msg) {
        violations_add(&cr->vs, "training_pipeline", "Required field is not set.");
    } else {
        pb_clear_output_only(&cr->msg->base); /* clients send whole resources back */
        if (training_pipeline_check(c->arena, cr->msg, &cr->in, &cr->vs, &err)) {
            call_fail(c, &err);
            return;
        }
    }
    if (cr->msg && cr->msg->input_data_config) {
        check_data(cr);
    } else {
        check_model(cr);
    }
}

/* ---- get, cancel, delete ---- */

static const struct runnable_kind runnable = {
    .word = "TrainingPipeline",
    .collection = "trainingPipelines",
    .outlook = ctl_pipeline_outlook,
    .reply = reply_row,
    .cancel = ctl_pipeline_cancel,
    .remove = ctl_pipeline_delete,
};

void svc_pipeline_get(struct call *c) {
    runnable_held_get(c, ((Aip__GetTrainingPipelineRequest *)c->req)->name, &runnable);
}

void svc_pipeline_cancel(struct call *c) {
    runnable_cancel(c, ((Aip__CancelTrainingPipelineRequest *)c->req)->name, &runnable);
}

void svc_pipeline_delete(struct call *c) {
    runnable_delete(c, ((Aip__DeleteTrainingPipelineRequest *)c->req)->name, &runnable);
}

/* ---- list ---- */

static int list_message(struct listing *li, const struct store_row *row, ProtobufCMessage **ret,
                        struct err *err) {
    Aip__TrainingPipeline *p;
    if (pipeline_message(li->call->arena, row, &p, err)) {
        return -1;
    }
    *ret = &p->base;
    return 0;
}

static const struct listing_kind listed = {
    .word = "TrainingPipeline",
    .resource = &aip__training_pipeline__descriptor,
    .response = &aip__list_training_pipelines_response__descriptor,
    .schema = &pipeline_schema,
    .message = list_message,
};

void svc_pipeline_list(struct call *c) {
    Aip__ListTrainingPipelinesRequest *req = (Aip__ListTrainingPipelinesRequest *)c->req;
    listing_below(c, req->parent, STR(PIPELINE_KIND), &listed,
                  &(struct listing_asked){LISTING_ASKED(req), .order_by = c->order_by});
}
