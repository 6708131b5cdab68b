/* Pipelines: the API's calls, the way in and out of memory, start-up. */
#include "ctl/pipeline_int.h"

#include "base/limits.h"

/* ---- calls ---- */

void ctl_pipeline_create(struct ctl *c, const struct pipeline_create *in, struct ctl_call *call) {
    parent_create(&c->pipelines,
                  &(struct parent_wish){
                      .id = in->id,
                      .row = {.parent = in->parent,
                              .display_name = in->display_name,
                              .spec = in->spec,
                              .labels = (struct store_label *)in->labels,
                              .nr_labels = in->nr_labels},
                  },
                  call);
}

void ctl_pipeline_cancel(struct ctl *c, struct str name, struct ctl_call *call) {
    ctl_enter(c);
    struct call_op *op = call_new(c, call, name);
    struct parent *p = parent_asked(&c->pipelines, op, call_cancel_stored);
    if (p && pipeline_of(p)->status.cancel_requested) {
        call_finish(op, NULL);
    } else if (p) {
        pipeline_try_cancel(pipeline_of(p), op);
    }
    ctl_leave(c);
}

void ctl_pipeline_delete(struct ctl *c, struct str name, struct ctl_call *call) {
    parent_delete(&c->pipelines, name, call);
}

bool ctl_pipeline_outlook(struct ctl *c, struct str name, struct job_outlook *ret) {
    ctl_check_owner(c);
    const struct parent *base = parent_find(&c->pipelines, name);
    if (!base || base->creation) {
        return false;
    }
    const struct pipeline *p = pipeline_of(base);
    bool (*outlook)(struct ctl *, struct str, struct job_outlook *) =
        p->spec.is_tuned ? ctl_tuning_outlook : ctl_job_outlook;
    if (!p->status.child || !outlook(c, str_of(p->status.child), ret)) {
        *ret = (struct job_outlook){.end_began = p->status.child_end};
    }
    ret->create_time = p->status.create_time;
    return true;
}

/* ---- the kind ---- */

static int replay(struct parent *base, const struct store_event *ev, size_t nr, struct err *err) {
    struct pipeline *p = pipeline_of(base);
    for (size_t i = 0; i < nr; i++) {
        struct pipeline_event e;
        if (pipeline_event_decode(p->base.arena, &ev[i], &e, err) != 0) {
            return -1;
        }
        if (e.seq != p->base.seq + 1) {
            return err_set(err, ERR_DATA_LOSS, "event %llu does not follow event %llu",
                           (unsigned long long)e.seq, (unsigned long long)p->base.seq);
        }
        if (pipeline_apply(&p->status, &p->spec, &e, err) != 0) {
            return -1;
        }
        p->base.seq = e.seq;
    }
    if (!nr) {
        return err_set(err, ERR_DATA_LOSS, "the pipeline has no events");
    }
    return 0;
}

static struct parent *make(struct ctl *c, const struct store_row *row, struct err *err) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct pipeline_spec spec = {0};
    if (c->cfg.pipelines->decode(c->cfg.pipelines_arg, a, row, &spec, err) != 0) {
        arena_free(a);
        return NULL;
    }
    return &pipeline_new(c, a, &spec)->base;
}

static void destroy(struct parent *p) {
    pipeline_free(pipeline_of(p));
}

static void begin(struct parent *p, usec_t created) {
    pipeline_post(pipeline_of(p),
                  (struct pipeline_event){.type = PIPELINE_EV_CREATED, .time = created});
}

static const char *state(const struct parent *p) {
    return pipeline_state_name(pipeline_of(p)->status.state);
}

static bool is_over(const struct parent *p) {
    return pipeline_is_over(&pipeline_of(p)->status);
}

static void retiring(struct parent *base) {
    struct pipeline *p = pipeline_of(base);
    CHECK(!p->trial && p->working == WORK_NONE);
    if (p->child) {
        p->child->watch = NULL;
    }
    if (p->tuned) {
        p->tuned->watch = NULL;
    }
}

static bool is_expected(const struct parent *p) {
    (void)p;
    return false;
}

static void abandon(struct parent *base) {
    struct pipeline *p = pipeline_of(base);
    const struct ctl_config *cfg = &base->ctl->cfg;
    if (p->working == WORK_SEALED && cfg->pipelines->drop) {
        cfg->pipelines->drop(cfg->pipelines_arg, &p->work);
    }
}

const struct parent_kind pipeline_kind = {
    .kind = PIPELINE_KIND,
    .noun = "training pipeline",
    .max = &limits.max_pipelines,
    .max_name = "max_pipelines",
    .make = make,
    .free = destroy,
    .replay = replay,
    .begin = begin,
    .state = state,
    .is_over = is_over,
    .is_urgent = pipeline_is_urgent,
    .gather = pipeline_gather,
    .saved = pipeline_saved,
    .refused = pipeline_refused,
    .act = pipeline_act,
    .child_joins = pipeline_child_joins,
    .child_made = pipeline_child_made,
    .retiring = retiring,
    .is_expected = is_expected,
    .abandon = abandon,
};
