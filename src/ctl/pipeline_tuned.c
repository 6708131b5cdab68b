/* The tuning job of a pipeline that is tuned: made, followed, its best trial noted. */
#include "ctl/pipeline_int.h"
#include "ctl/tuning_int.h"

void pipeline_make_tuned(struct pipeline *p) {
    struct ctl *c = p->base.ctl;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct tuning_create in = {0};
    struct err err;
    if (c->cfg.pipelines->tuning(c->cfg.pipelines_arg, a, &p->spec,
                                 p->status.data.format ? &p->status.data : NULL, &in, &err) != 0) {
        pipeline_fail(p, &err);
        return;
    }
    parent_make_tuning(&p->base, a, &in);
}

static void post_done(struct pipeline *p, const struct tuning_status *s,
                      const struct study *study) {
    bool counts = s->state == JOB_STATE_SUCCEEDED;
    const struct study_trial *best = counts ? study_best(study) : NULL;
    p->told_done = true;
    pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_CHILD_DONE,
                                             .child_state = s->state,
                                             .started_at = s->start_time,
                                             .code = s->error_code,
                                             .msg = s->error_msg,
                                             .best_trial = best ? best->id : 0,
                                             .best_job = best ? best->job : NULL});
}

static void moved(void *arg, struct parent *child) {
    struct pipeline *p = arg;
    const struct tuning *t = tuning_of(child);
    if (p->told_done) {
        return;
    }
    if (tuning_is_over(&t->status)) {
        child->watch = NULL;
        p->tuned = NULL;
        post_done(p, &t->status, t->study);
    } else if (t->status.start_time && !p->told_running) {
        p->told_running = true;
        pipeline_post(p, (struct pipeline_event){.type = PIPELINE_EV_CHILD_RUNNING,
                                                 .started_at = t->status.start_time});
    }
}

static void on_read(struct tuning_read *r, const struct store_row *row,
                    const struct tuning_status *status, const struct study *study,
                    const struct err *err) {
    struct pipeline *p = r->arg;
    struct ctl *c = p->base.ctl;
    ctl_enter(c);
    p->reading = false;
    if (c->is_stopping || err) {
        p->looked = false;
        if (err) {
            parent_retry_later(&p->base);
        }
    } else if (!row) {
        pipeline_fail_lost(p, "was deleted before its outcome was noted.");
    } else if (!tuning_is_over(status)) {
        pipeline_fail_lost(p, "has a record that cannot be read.");
    } else {
        post_done(p, status, study);
    }
    parent_pump(&p->base);
    ctl_leave(c);
}

void pipeline_look_at_tuned(struct pipeline *p) {
    struct ctl *c = p->base.ctl;
    struct str name = str_of(p->status.child);
    struct parent *t = parent_find(&c->tunings, name);
    p->looked = true;
    if (t && !t->creation) {
        t->watch = moved;
        t->watch_arg = p;
        p->tuned = t;
        p->told_running = p->status.start_time != 0;
        moved(p, t);
        return;
    }
    p->read = (struct tuning_read){.name = name, .cb = on_read, .arg = p};
    p->reading = true;
    ctl_tuning_read(c, &p->read);
}
