/* What a pipeline's facts call for: an export, a job, watching it, a seal, an upload. Called with
 * every fact durable and no transaction under way. */
#include "ctl/pipeline_int.h"

static const struct pipeline_ops *ops_of(const struct pipeline *p) {
    return p->base.ctl->cfg.pipelines;
}

void pipeline_fail(struct pipeline *p, const struct err *err) {
    pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_DONE,
                                             .state = PIPELINE_STATE_FAILED,
                                             .code = err->code,
                                             .msg = err->msg});
}

static void post_cancelled(struct pipeline *p) {
    pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_DONE,
                                             .state = PIPELINE_STATE_CANCELLED,
                                             .code = ERR_CANCELLED,
                                             .msg = "CANCELED"});
}

/* ---- work at others ---- */

static void drop_work(struct pipeline *p) {
    if (ops_of(p)->drop) {
        ops_of(p)->drop(p->base.ctl->cfg.pipelines_arg, &p->work);
    }
    p->working = WORK_NONE;
}

static void after_export(struct pipeline *p, const struct err *err) {
    p->working = WORK_NONE;
    if (p->status.cancel_requested) {
        post_cancelled(p);
    } else if (p->base.ctl->is_stopping) {
        return; /* what was written is written again in the next life */
    } else if (err) {
        pipeline_fail(p, err);
    } else {
        pipeline_post(p,
                      (struct pipeline_event){.type = PIPELINE_EV_EXPORTED, .data = p->work.data});
    }
}

static void after_seal(struct pipeline *p, const struct err *err) {
    p->working = WORK_SEALED;
    if (p->status.cancel_requested || p->base.ctl->is_stopping) {
        drop_work(p);
        if (p->status.cancel_requested) {
            post_cancelled(p);
        }
    } else if (err) {
        drop_work(p);
        pipeline_fail(p, err);
    }
}

static void after_upload(struct pipeline *p, const struct err *err) {
    struct pipeline_model made = p->work.made;
    bool is_in = !err && p->joined;
    if (!err && !p->joined) {
        /* Made in an earlier life by a transaction that we are not told of: say it now. */
        p->base.busy = false;
        pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_DONE,
                                                 .state = PIPELINE_STATE_SUCCEEDED,
                                                 .model = made});
        drop_work(p);
        return;
    }
    drop_work(p);
    pipeline_joined(p, is_in);
    if (err && parent_is_passing(err->code)) {
        parent_retry_later(&p->base);
    } else if (err) {
        pipeline_fail(p, err);
    }
}

static void on_work(struct pipeline_work *w, const struct err *err) {
    struct pipeline *p = CONTAINER_OF(w, struct pipeline, work);
    struct ctl *c = p->base.ctl;
    ctl_enter(c);
    c->nr_works--;
    switch (p->working) {
    case WORK_EXPORT:
        after_export(p, err);
        break;
    case WORK_SEAL:
        after_seal(p, err);
        break;
    case WORK_UPLOAD:
        after_upload(p, err);
        break;
    case WORK_NONE:
    case WORK_SEALED:
        CHECK(!"work that nobody began has ended");
    }
    parent_pump(&p->base);
    ctl_leave(c);
}

static void on_join(struct pipeline_work *w, struct store_txn *t,
                    const struct pipeline_model *made) {
    struct pipeline *p = CONTAINER_OF(w, struct pipeline, work);
    pipeline_join(p, t,
                  (struct pipeline_event){
                      .type = PIPELINE_EV_DONE, .state = PIPELINE_STATE_SUCCEEDED, .model = *made});
}

static void begin_work(struct pipeline *p, int kind) {
    void *arg = p->base.ctl->cfg.pipelines_arg;
    if (kind != WORK_UPLOAD) {
        p->work = (struct pipeline_work){0};
    }
    p->working = kind;
    p->work_cancelled = false;
    p->work.spec = &p->spec;
    p->work.status = &p->status;
    p->work.cb = on_work;
    p->work.join = on_join;
    p->base.ctl->nr_works++;
    if (kind == WORK_EXPORT) {
        ops_of(p)->export_data(arg, &p->work);
    } else if (kind == WORK_SEAL) {
        ops_of(p)->seal(arg, &p->work);
    } else {
        p->base.busy = true; /* a wish that comes now waits for the outcome */
        ops_of(p)->upload(arg, &p->work);
    }
}

void pipeline_stop_work(struct pipeline *p) {
    if ((p->working == WORK_EXPORT || p->working == WORK_SEAL) && !p->work_cancelled) {
        p->work_cancelled = true;
        ops_of(p)->cancel(p->base.ctl->cfg.pipelines_arg, &p->work);
    }
}

/* ---- the child ---- */

void pipeline_child_joins(struct parent *p, struct str child, struct store_txn *t) {
    pipeline_join(pipeline_of(p), t,
                  (struct pipeline_event){.type = PIPELINE_EV_CHILD_CREATED, .child = child.p});
}

void pipeline_child_made(struct parent *base, const struct err *err, const struct store_row *row) {
    struct pipeline *p = pipeline_of(base);
    pipeline_joined(p, !err);
    if (err && !parent_is_passing(err->code)) {
        pipeline_fail(p, err);
    }
}

static void make_child(struct pipeline *p) {
    struct ctl *c = p->base.ctl;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct job_create in = {0};
    struct err err;
    if (ops_of(p)->child(c->cfg.pipelines_arg, a, &p->spec,
                         p->status.data.format ? &p->status.data : NULL, &in, &err) != 0) {
        pipeline_fail(p, &err);
        return;
    }
    parent_make_job(&p->base, a, &in);
}

static void post_child_done(struct pipeline *p, const struct job_status *s) {
    p->told_done = true;
    pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_CHILD_DONE,
                                             .child_state = s->state,
                                             .started_at = s->start_time,
                                             .code = s->error_code,
                                             .msg = s->error_msg});
}

void pipeline_child_moved(void *arg, struct job *child) {
    struct pipeline *p = arg;
    if (p->told_done) {
        return;
    }
    if (job_is_terminal(child)) {
        if (job_is_settled(child)) {
            child->watch = NULL;
            p->child = NULL;
            post_child_done(p, &child->status);
        }
    } else if (child->status.start_time && !p->told_running) {
        p->told_running = true;
        pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_CHILD_RUNNING,
                                                 .started_at = child->status.start_time});
    }
}

void pipeline_fail_lost(struct pipeline *p, const char *what) {
    struct err err;
    err_set(&err, ERR_INTERNAL, "%s %s", p->status.child, what);
    pipeline_fail(p, &err);
}

static void on_child_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct pipeline *p = g->arg;
    struct ctl *c = p->base.ctl;
    struct job_status s;
    ctl_enter(c);
    c->nr_in_flight--;
    if (c->is_stopping) {
        p->looked = false;
    } else if (err && err->code != ERR_NOT_FOUND) {
        p->looked = false;
        parent_retry_later(&p->base);
    } else if (err || !row) {
        pipeline_fail_lost(p, "was deleted before its outcome was noted.");
    } else if (row->is_live || job_status_decode(g->arena, row->status, &s, NULL) != 0) {
        pipeline_fail_lost(p, "has a record that cannot be read.");
    } else {
        post_child_done(p, &s);
    }
    parent_pump(&p->base);
    ctl_leave(c);
}

static void look_at_child(struct pipeline *p) {
    struct ctl *c = p->base.ctl;
    struct job *j = ctl_find(c, str_of(p->status.child));
    p->looked = true;
    if (j && job_is_born(j)) {
        j->watch = pipeline_child_moved;
        j->watch_arg = p;
        p->child = j;
        p->told_running = p->status.start_time != 0;
        pipeline_child_moved(p, j);
        return;
    }
    arena_free(p->get_arena);
    p->get_arena = arena_new(ARENA_NO_MAX);
    p->get = (struct store_get){
        .name = str_of(p->status.child), .arena = p->get_arena, .cb = on_child_row, .arg = p};
    c->nr_in_flight++;
    c->cfg.store->ops->get(c->cfg.store, &p->get);
}

static void on_child_cancelled(struct ctl_call *call, const struct err *err,
                               const struct store_row *row) {
    struct pipeline *p = call->arg;
    p->base.child_called = false;
    if (err && (p->child || p->tuned)) {
        p->cancelling_child = false;
        parent_retry_later(&p->base);
        parent_pump(&p->base);
    }
}

static void cancel_child(struct pipeline *p) {
    p->cancelling_child = p->base.child_called = true;
    p->base.child_call = (struct ctl_call){.cb = on_child_cancelled, .arg = p};
    (p->tuned ? ctl_tuning_cancel : ctl_job_cancel)(p->base.ctl, str_of(p->status.child),
                                                    &p->base.child_call);
}

/* ---- what is due ---- */

void pipeline_act(struct parent *base) {
    struct pipeline *p = pipeline_of(base);
    bool cancel = p->status.cancel_requested;
    switch (p->status.phase) {
    case PIPELINE_EXPORTING:
        if (cancel && p->working == WORK_NONE) {
            post_cancelled(p);
        } else if (cancel) {
            pipeline_stop_work(p);
        } else if (p->working == WORK_NONE) {
            begin_work(p, WORK_EXPORT);
        }
        break;
    case PIPELINE_CHILD_DUE:
        if (cancel) {
            post_cancelled(p);
        } else if (p->spec.is_tuned) {
            pipeline_make_tuned(p);
        } else {
            make_child(p);
        }
        break;
    case PIPELINE_FOLLOWING:
        if (!p->looked && p->spec.is_tuned) {
            pipeline_look_at_tuned(p);
        } else if (!p->looked) {
            look_at_child(p);
        }
        if (cancel && (p->child || p->tuned) && !p->cancelling_child) {
            cancel_child(p);
        }
        break;
    case PIPELINE_UPLOADING:
        if (cancel && p->working == WORK_SEAL) {
            pipeline_stop_work(p);
        } else if (cancel) {
            if (p->working == WORK_SEALED) {
                drop_work(p);
            }
            post_cancelled(p);
        } else if (p->working == WORK_NONE) {
            begin_work(p, WORK_SEAL);
        } else if (p->working == WORK_SEALED) {
            begin_work(p, WORK_UPLOAD);
        }
        break;
    case PIPELINE_NEW:
    case PIPELINE_DONE:
        break;
    }
}
