/* PipelineService: TrainingPipeline create, get, list, cancel, delete (reference 05). */
#include "api/svc.h"

#include "api/dataset_export.h"
#include "api/hold.h"
#include "api/names.h"
#include "api/pipeline_message.h"
#include "api/read_mask.h"
#include "api/pipeline_work_int.h"
#include "base/limits.h"
#include "base/log.h"
#include "ctl/model.h"
#include "pb/pbcheck.h"
#include "pb/pbmask.h"
#include "store/filter.h"

#define COLLECTION "trainingPipelines"
#define PAGE_SIZE_DEFAULT 100

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

static void fail_missing(struct call *c, struct str name) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The TrainingPipeline \"%.*s\" does not exist.",
            (int)(name.n > 300 ? 300 : name.n), name.p);
    call_fail(c, &err);
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
        .nr_labels = p->n_labels,
    };
    struct store_label *labels = arena_own_array(c->arena, p->n_labels + 1, sizeof(*labels));
    for (size_t i = 0; i < p->n_labels; i++) {
        labels[i] = (struct store_label){str_of(p->labels[i]->key), str_of(p->labels[i]->value)};
    }
    in.labels = labels;
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

/* What is known, and not built. True: the call was answered. */
static bool refuse_unbuilt(struct create *cr) {
    struct err err;
    if (cr->in.kind == TRAINING_TASK_TUNING) {
        err_field(&err, ERR_UNIMPLEMENTED, "training_task_definition",
                  "Hyperparameter tuning tasks (%s) are understood, and this one is well formed, "
                  "but tuning jobs cannot be run yet. Supported: %s.",
                  TASK_TUNING_URI, TASK_CUSTOM_URI);
    } else {
        return false;
    }
    call_fail(cr->call, &err);
    return true;
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
    if (refuse_unbuilt(cr)) {
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
    if (name_parse(c->api->projects, c->arena, str_of(req->parent), "parent", &cr->parent, &err)) {
        call_fail(c, &err);
        return;
    }
    if (str_eqc(cr->parent.location, "-")) {
        err_field(&err, ERR_INVALID_ARGUMENT, "parent",
                  "Location \"-\" stands for all locations in lists; a pipeline needs one.");
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

/* True when the answer waits for the pipeline to end. */
static bool try_hold(struct get *gt) {
    struct call *c = gt->call;
    struct job_outlook o;
    if (gt->was_held || !ctl_pipeline_outlook(c->api->ctl, gt->name, &o) || o.is_queued) {
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

void svc_pipeline_get(struct call *c) {
    Aip__GetTrainingPipelineRequest *req = (Aip__GetTrainingPipelineRequest *)c->req;
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
    Aip__ListTrainingPipelinesResponse *resp = arena_own(c->arena, sizeof(*resp));
    aip__list_training_pipelines_response__init(resp);
    resp->training_pipelines = arena_own_array(c->arena, nr + 1, sizeof(*resp->training_pipelines));
    for (size_t i = 0; i < nr; i++) {
        Aip__TrainingPipeline *p;
        if (pipeline_message(c->arena, &rows[i], &p, &e)) {
            log_error("pipeline left out of a list", "error=\"%s\"", e.msg);
            continue;
        }
        pb_mask_apply(li->mask, &p->base);
        resp->training_pipelines[resp->n_training_pipelines++] = p;
    }
    if (next_token.n) {
        resp->next_page_token = arena_strndup(c->arena, next_token.p, next_token.n);
    }
    call_reply(c, &resp->base);
}

void svc_pipeline_list(struct call *c) {
    Aip__ListTrainingPipelinesRequest *req = (Aip__ListTrainingPipelinesRequest *)c->req;
    struct listing *li = arena_own(c->arena, sizeof(*li));
    const struct filter *filter = NULL;
    struct name_parts n;
    struct err err;
    li->call = c;
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
    unsigned size = req->page_size ? (unsigned)req->page_size : PAGE_SIZE_DEFAULT;
    li->list = (struct store_list){
        .kind = STR(PIPELINE_KIND),
        .parent = n.parent,
        .filter_text = str_of(req->filter),
        .page_size = size > limits.max_page_size ? (unsigned)limits.max_page_size : size,
        .page_token = str_of(req->page_token),
        .arena = c->arena,
        .cb = on_listed,
        .arg = li,
    };
    if (read_mask_parse(c->arena, req->read_mask, &aip__training_pipeline__descriptor, &li->mask,
                        &err) ||
        (req->filter[0] &&
         filter_parse(c->arena, str_of(req->filter), &pipeline_schema, &filter, &err)) ||
        order_parse(c->order_by, &li->list, &err)) {
        call_fail(c, &err);
        return;
    }
    li->list.filter = filter;
    c->api->store->ops->list(c->api->store, &li->list);
}

/* ---- cancel, delete ---- */

/* Hands the named pipeline to one of ctl's calls. */
static void change(struct call *c, const char *name,
                   void (*what)(struct ctl *, struct str name, struct ctl_call *),
                   void (*cb)(struct ctl_call *, const struct err *, const struct store_row *)) {
    struct name_parts n;
    struct err err;
    if (name_parse_in(c->api->projects, c->arena, str_of(name), COLLECTION, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    struct ctl_call *cc = arena_own(c->arena, sizeof(*cc));
    cc->cb = cb;
    cc->arg = c;
    what(c->api->ctl, n.canonical, cc);
}

static void on_cancelled(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct call *c = cc->arg;
    if (err && err->code == ERR_NOT_FOUND) {
        fail_missing(c, str_of(((Aip__CancelTrainingPipelineRequest *)c->req)->name));
    } else if (err) {
        call_fail(c, err);
    } else {
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        call_reply(c, &empty.base);
    }
}

void svc_pipeline_cancel(struct call *c) {
    change(c, ((Aip__CancelTrainingPipelineRequest *)c->req)->name, ctl_pipeline_cancel,
           on_cancelled);
}

static void on_deleted(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct call *c = cc->arg;
    struct str name = str_of(((Aip__DeleteTrainingPipelineRequest *)c->req)->name);
    if (err && err->code == ERR_NOT_FOUND) {
        fail_missing(c, name);
    } else if (err) {
        call_fail(c, err);
    } else {
        svc_operation_reply_deleted(c, name);
    }
}

void svc_pipeline_delete(struct call *c) {
    change(c, ((Aip__DeleteTrainingPipelineRequest *)c->req)->name, ctl_pipeline_delete,
           on_deleted);
}
