/* Tuning jobs: the API's calls, the way in and out of memory, start-up. */
#include "base/limits.h"
#include "ctl/tuning_int.h"

struct tuning *tuning_find(struct ctl *c, struct str name) {
    struct parent *p = parent_find(&c->tunings, name);
    return p ? tuning_of(p) : NULL;
}

/* ---- calls ---- */

void ctl_tuning_create(struct ctl *c, const struct tuning_create *in, struct ctl_call *call) {
    parent_create(&c->tunings,
                  &(struct parent_wish){.id = in->id,
                                        .row = {.parent = in->parent,
                                                .display_name = in->display_name,
                                                .spec = in->spec,
                                                .labels = (struct store_label *)in->labels,
                                                .nr_labels = in->nr_labels},
                                        .join = in->join,
                                        .join_arg = in->join_arg},
                  call);
}

/* A wish for the live one; stored: what is done for one that is not in memory. */
static void ask(struct ctl *c, struct str name, struct ctl_call *call, struct tuning_wish *w,
                void (*stored)(struct call_op *)) {
    ctl_enter(c);
    w->op = call_new(c, call, name);
    list_init(&w->link);
    struct parent *p = parent_asked(&c->tunings, w->op, stored);
    if (p) {
        tuning_wish(tuning_of(p), w);
    } else {
        tuning_wish_free(w);
    }
    ctl_leave(c);
}

static struct tuning_wish *wish_new(int kind) {
    struct tuning_wish *w = xcalloc(1, sizeof(*w));
    w->kind = kind;
    return w;
}

void ctl_tuning_cancel(struct ctl *c, struct str name, struct ctl_call *call) {
    ask(c, name, call, wish_new(WISH_CANCEL), call_cancel_stored);
}

void ctl_tuning_edit(struct ctl *c, struct str name, const struct tuning_edit *in,
                     struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_EDIT);
    w->edit = *in;
    ask(c, name, call, w, call_edit_stored);
}

void ctl_tuning_add_trial(struct ctl *c, struct str name, struct tuning_add *in,
                          struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_ADD);
    w->add = in;
    w->setting = xcalloc(in->nr + 1, sizeof(*w->setting));
    memcpy(w->setting, in->setting, in->nr * sizeof(*w->setting));
    ask(c, name, call, w, call_edit_stored);
}

void ctl_tuning_rerun_trial(struct ctl *c, struct str name, uint64_t trial, struct tuning_add *in,
                            struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_RERUN);
    w->add = in;
    w->trial = trial;
    ask(c, name, call, w, call_edit_stored);
}

void ctl_tuning_stop_trial(struct ctl *c, struct str name, uint64_t trial, struct ctl_call *call) {
    struct tuning_wish *w = wish_new(WISH_STOP);
    w->trial = trial;
    ask(c, name, call, w, call_cancel_stored);
}

void ctl_tuning_delete(struct ctl *c, struct str name, struct ctl_call *call) {
    parent_delete(&c->tunings, name, call);
}

bool ctl_tuning_outlook(struct ctl *c, struct str name, struct job_outlook *ret) {
    ctl_check_owner(c);
    const struct tuning *t = tuning_find(c, name);
    if (!t || t->base.creation) {
        return false;
    }
    *ret = (struct job_outlook){.create_time = t->status.create_time,
                                .start_time = t->status.start_time,
                                .end_began = t->status.ending ? t->status.update_time : 0};
    return true;
}

/* ---- replay ---- */

/* Jobs that trials have: what was said of them last. */
static void note_job(struct tuning *t, const struct tuning_fact *f) {
    struct tuning_run *r;
    if (f->type == STUDY_EV_TRIALS_CREATED && f->study.trials[0].job) {
        (void)tuning_run_new(t, f->study.trial, f->study.trials[0].job);
    } else if (f->type == TUNING_EV_TRIAL_JOB) {
        (void)tuning_run_new(t, f->own.trial, f->own.job);
    } else if (f->type == STUDY_EV_TRIAL_ENDED && (r = tuning_run_of(t, f->study.trial))) {
        tuning_run_end(r);
    }
}

int tuning_replay(struct tuning *t, const struct store_event *ev, size_t nr, struct err *err) {
    for (size_t i = 0; i < nr; i++) {
        struct tuning_fact *f = tuning_fact_read(t, &ev[i], err);
        int rc = f ? tuning_apply(t, f, err) : -1;
        if (rc == 0) {
            note_job(t, f);
        }
        if (f) {
            tuning_fact_free(f);
        }
        if (rc != 0) {
            return -1;
        }
    }
    if (!nr) {
        return err_set(err, ERR_DATA_LOSS, "the tuning job has no events");
    }
    t->has_ended = true; /* perhaps: predictions that are as they were are not noted */
    const struct study_trial *best = study_best(t->study);
    t->status.best_trial = best ? best->id : 0;
    return 0;
}

/* ---- the kind ---- */

static struct parent *make(struct ctl *c, const struct store_row *row, struct err *err) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct tuning_spec spec = {0};
    if (c->cfg.tunings->decode(c->cfg.tunings_arg, a, row, &spec, err) != 0) {
        arena_free(a);
        return NULL;
    }
    return &tuning_new(c, a, &spec, row->create_time)->base;
}

static void destroy(struct parent *p) {
    tuning_free(tuning_of(p));
}

static int replay(struct parent *p, const struct store_event *ev, size_t nr, struct err *err) {
    return tuning_replay(tuning_of(p), ev, nr, err);
}

static void begin(struct parent *p, usec_t created) {
    (void)created; /* tuning_fact_own takes it */
    tuning_queue(tuning_of(p), (struct tuning_event){.type = TUNING_EV_CREATED});
}

static const char *state(const struct parent *p) {
    return job_state_name(tuning_of(p)->status.state);
}

static bool is_over(const struct parent *p) {
    return tuning_is_over(&tuning_of(p)->status);
}

static void retiring(struct parent *p) {
    CHECK(list_is_empty(&tuning_of(p)->runs) && list_is_empty(&tuning_of(p)->wishes));
}

static bool is_expected(const struct parent *p) {
    return !list_is_empty(&tuning_of(p)->zombies);
}

const struct parent_kind tuning_kind = {
    .kind = TUNING_KIND,
    .noun = "hyperparameter tuning job",
    .max = &limits.max_tunings,
    .max_name = "max_tunings",
    .make = make,
    .free = destroy,
    .replay = replay,
    .begin = begin,
    .state = state,
    .is_over = is_over,
    .is_urgent = tuning_is_urgent,
    .gather = tuning_gather,
    .saved = tuning_saved,
    .refused = tuning_refused,
    .act = tuning_act,
    .next_due = tuning_next_due,
    .child_joins = tuning_child_joins,
    .child_made = tuning_child_made,
    .retiring = retiring,
    .is_expected = is_expected,
};
