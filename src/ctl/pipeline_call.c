/* Pipelines: the API's calls, the way in and out of memory, start-up. */
#include "ctl/pipeline_int.h"

#include "base/limits.h"
#include "base/log.h"

/* ---- the list ---- */

static struct pipeline *find(struct ctl *c, struct str name) {
    return map_get(&c->pipeline_by_name, name);
}

static void adopt(struct ctl *c, struct pipeline *p) {
    CHECK(!map_put(&c->pipeline_by_name, p->spec.name, p));
    list_push_tail(&c->pipelines, &p->link);
    c->nr_pipelines++;
}

void pipeline_retire(struct pipeline *p) {
    struct ctl *c = p->ctl;
    CHECK(!p->busy && !p->trial && !p->creation && p->working == WORK_NONE);
    if (p->child) {
        p->child->watch = NULL;
    }
    c->cfg.clock->ops->disarm(c->cfg.clock, &p->timer);
    (void)map_del(&c->pipeline_by_name, p->spec.name);
    list_del(&p->link);
    list_push_tail(&c->pipeline_graveyard, &p->link);
    p->retired = true;
    c->nr_pipelines--;
}

void pipelines_bury(struct ctl *c, bool all) {
    struct pipeline *p, *tmp;
    list_each_safe (p, tmp, &c->pipeline_graveyard, link) {
        if (all || !p->child_called) {
            list_del(&p->link);
            pipeline_free(p);
        }
    }
    while (all && !list_is_empty(&c->pipelines)) {
        p = list_first(&c->pipelines, struct pipeline, link);
        list_del(&p->link);
        c->cfg.clock->ops->disarm(c->cfg.clock, &p->timer);
        if (p->ours) {
            store_txn_fini(&p->txn); /* the store is closed, or crashed with us (simulator) */
        }
        if (p->working == WORK_SEALED && c->cfg.pipelines->drop) {
            c->cfg.pipelines->drop(c->cfg.pipelines_arg, &p->work);
        }
        pipeline_free(p);
    }
}

/* ---- calls ---- */

static int admit(struct ctl *c, struct err *err) {
    if (!c->cfg.pipelines) {
        return err_set(err, ERR_UNIMPLEMENTED, "this server runs no training pipelines");
    }
    if (c->nr_pipelines >= limits.max_pipelines) {
        limits_hit(&limits.max_pipelines);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "there are %zu unfinished training pipelines already (limit max_pipelines "
                       "is %llu)",
                       c->nr_pipelines, (unsigned long long)limits.max_pipelines);
    }
    return 0;
}

void ctl_pipeline_create(struct ctl *c, const struct pipeline_create *in, struct ctl_call *call) {
    auto_free char *name =
        xasprintf("%.*s/" PIPELINE_KIND "s/%.*s", STR_ARG(in->parent), STR_ARG(in->id));
    struct pipeline_spec spec = {0};
    struct err err = {0};
    ctl_enter(c);
    struct call_op *op = call_new(c, call, str_of(name));
    if (!call_refuse_when_dead(c, op)) {
        struct arena *a = arena_new(ARENA_NO_MAX);
        call_fill_row(op,
                      &(struct store_row){.kind = STR(PIPELINE_KIND),
                                          .parent = in->parent,
                                          .display_name = in->display_name,
                                          .spec = in->spec,
                                          .labels = (struct store_label *)in->labels,
                                          .nr_labels = in->nr_labels},
                      call_create_time(c));
        if (admit(c, &err) != 0 ||
            c->cfg.pipelines->decode(c->cfg.pipelines_arg, a, &op->row, &spec, &err) != 0) {
            arena_free(a);
            call_finish(op, &err);
        } else {
            struct pipeline *p = pipeline_new(c, a, &spec);
            p->creation = op;
            op->has_row = true; /* its status comes when it is given to the store */
            adopt(c, p);
            pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_CREATED,
                                                     .time = op->row.create_time});
        }
    }
    ctl_leave(c);
}

void ctl_pipeline_cancel(struct ctl *c, struct str name, struct ctl_call *call) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    if (!call_refuse_when_dead(c, op)) {
        struct pipeline *p = find(c, name);
        if (!p) {
            call_cancel_stored(op);
        } else if (p->creation) {
            call_finish_not_found(op);
        } else if (p->status.cancel_requested) {
            call_finish(op, NULL);
        } else {
            pipeline_try_cancel(p, op);
        }
    }
    ctl_leave(c);
}

void ctl_pipeline_delete(struct ctl *c, struct str name, struct ctl_call *call) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    if (!call_refuse_when_dead(c, op)) {
        const struct pipeline *p = find(c, name);
        if (!p) {
            call_delete_stored(op);
        } else if (p->creation) {
            call_finish_not_found(op);
        } else {
            struct err err;
            err_set(&err, ERR_FAILED_PRECONDITION,
                    "%.*s is in state %s; only a finished training pipeline can be deleted: "
                    "cancel it first",
                    STR_ARG(name), pipeline_state_name(p->status.state));
            call_finish(op, &err);
        }
    }
    ctl_leave(c);
}

bool ctl_pipeline_outlook(struct ctl *c, struct str name, struct job_outlook *ret) {
    ctl_check_owner(c);
    const struct pipeline *p = find(c, name);
    if (!p || p->creation) {
        return false;
    }
    if (!p->status.child || !ctl_job_outlook(c, str_of(p->status.child), ret)) {
        *ret = (struct job_outlook){.end_began = p->status.child_end};
    }
    ret->create_time = p->status.create_time;
    return true;
}

/* ---- start-up ---- */

static char aside_mark;

/* As jobs: reported, deletable, does not stop the server. */
static void set_aside(struct ctl *c, const struct store_row *row, const struct err *err) {
    log_error("pipeline record cannot be read", "name=%.*s error=\"%s\"", STR_ARG(row->name),
              err->msg);
    (void)map_put(&c->aside, name_last_segment(row->name), &aside_mark);
}

static int replay(struct pipeline *p, const struct store_event *ev, size_t nr, struct err *err) {
    for (size_t i = 0; i < nr; i++) {
        struct pipeline_event e;
        if (pipeline_event_decode(p->arena, &ev[i], &e, err) != 0) {
            return -1;
        }
        if (e.seq != p->seq + 1) {
            return err_set(err, ERR_DATA_LOSS, "event %llu does not follow event %llu",
                           (unsigned long long)e.seq, (unsigned long long)p->seq);
        }
        if (pipeline_apply(&p->status, &p->spec, &e, err) != 0) {
            return -1;
        }
        p->seq = e.seq;
    }
    if (!nr) {
        return err_set(err, ERR_DATA_LOSS, "the pipeline has no events");
    }
    if (pipeline_is_over(&p->status)) {
        return err_set(err, ERR_DATA_LOSS, "the row is live but its events end the pipeline");
    }
    return 0;
}

static void on_row(struct store_load *l, const struct store_row *row, const struct store_event *ev,
                   size_t nr_ev) {
    struct ctl *c = l->arg;
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct pipeline_spec spec = {0};
    struct err err = {0};
    if (c->cfg.pipelines->decode(c->cfg.pipelines_arg, a, row, &spec, &err) != 0) {
        arena_free(a);
        set_aside(c, row, &err);
        return;
    }
    struct pipeline *p = pipeline_new(c, a, &spec);
    if (replay(p, ev, nr_ev, &err) != 0) {
        pipeline_free(p);
        set_aside(c, row, &err);
        return;
    }
    adopt(c, p);
}

static void on_loaded(struct store_load *l, const struct err *err) {
    struct ctl *c = l->arg;
    c->nr_in_flight--;
    c->loaded_cb(c, err);
}

void pipelines_load(struct ctl *c, void (*then)(struct ctl *c, const struct err *err)) {
    if (!c->cfg.pipelines) {
        then(c, NULL);
        return;
    }
    c->loaded_cb = then;
    c->pipeline_load =
        (struct store_load){.kind = STR(PIPELINE_KIND), .row = on_row, .end = on_loaded, .arg = c};
    c->nr_in_flight++;
    c->cfg.store->ops->load_live(c->cfg.store, &c->pipeline_load);
}
