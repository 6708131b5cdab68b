#include "ctl/study_wish.h"

#include "base/limits.h"

static int find(const struct study_view *v, uint64_t id, const struct study_trial **ret,
                struct err *err) {
    *ret = study_trial(v->study, id);
    if (*ret) {
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND, "The Trial \"%.*s/trials/%llu\" does not exist.",
                   (int)(v->name.n > 300 ? 300 : v->name.n), v->name.p, (unsigned long long)id);
}

static int add(const struct study_view *v, struct study_batch *b, const struct study_event *ev,
               struct err *err) {
    if (study_check(v->study, ev, err)) {
        return -1;
    }
    study_batch_add(b, ev);
    return 0;
}

int study_wish_room(const struct study_view *v, size_t more, struct err *err) {
    uint64_t have = study_counts(v->study).total;
    if (have + more <= limits.max_study_trials) {
        return 0;
    }
    limits_hit(&limits.max_study_trials);
    return err_set(err, ERR_RESOURCE_EXHAUSTED,
                   "The Study has %llu trials; at most %llu are allowed (limit max_study_trials). "
                   "Delete some, or begin another study.",
                   (unsigned long long)have, (unsigned long long)limits.max_study_trials);
}

int study_wish_create(const struct study_view *v, struct study_batch *b,
                      const struct study_wish_trial *in, uint64_t *ret_id, struct err *err) {
    struct study_new_trial *t = arena_own(b->arena, sizeof(*t));
    uint64_t id = study_next_id(v->study);
    if (study_wish_room(v, 1, err)) {
        return -1;
    }
    *t = (struct study_new_trial){.setting = in->setting,
                                  .state = STUDY_TRIAL_REQUESTED,
                                  .by_hand = true,
                                  .is_open = in->is_open,
                                  .client_id = in->client_id};
    if (add(v, b,
            &(struct study_event){
                .type = STUDY_EV_TRIALS_CREATED, .trial = id, .trials = t, .nr_trials = 1},
            err)) {
        return -1;
    }
    if (study_trial_is_over(in->state)) {
        study_batch_add(b, &(struct study_event){.type = STUDY_EV_TRIAL_ENDED,
                                                 .trial = id,
                                                 .state = in->state,
                                                 .has_final = in->state == STUDY_TRIAL_SUCCEEDED,
                                                 .reports = in->final,
                                                 .nr_reports = in->nr_final,
                                                 .reason = in->reason});
    }
    *ret_id = id;
    return 0;
}

/* The same number, NaN among them. */
static bool is_same(double a, double b) {
    return a == b || (a != a && b != b);
}

static bool says(const struct study *s, const struct study_measurement *m,
                 const struct study_report *r, size_t nr) {
    size_t n = 0;
    if (!nr || m->step != r[0].step || m->elapsed != r[0].at) {
        return false;
    }
    for (size_t j = 0; j < study_spec(s)->tune.nr_metrics; j++) {
        n += m->v[j].is_set;
    }
    for (size_t i = 0; i < nr; i++) {
        if (!m->v[r[i].metric].is_set || !is_same(m->v[r[i].metric].value, r[i].value)) {
            return false;
        }
    }
    return n == nr;
}

int study_wish_measure(const struct study_view *v, struct study_batch *b, uint64_t trial,
                       const struct study_report *reports, size_t nr, struct err *err) {
    const struct study_trial *t;
    if (find(v, trial, &t, err)) {
        return -1;
    }
    for (size_t i = t->nr_measurements; i > 0; i--) {
        struct study_measurement m = study_trial_measurement(v->study, t, i - 1);
        if (says(v->study, &m, reports, nr)) {
            return 0;
        }
    }
    return add(v, b,
               &(struct study_event){.type = STUDY_EV_MEASURED,
                                     .trial = trial,
                                     .reports = reports,
                                     .nr_reports = nr,
                                     .is_whole = true},
               err);
}

static bool ended_so(const struct study *s, const struct study_trial *t,
                     const struct study_wish_end *in) {
    if (in->is_infeasible) {
        return t->state == STUDY_TRIAL_INFEASIBLE;
    }
    return t->state == STUDY_TRIAL_SUCCEEDED && in->nr_final &&
           says(s, &t->final, in->final, in->nr_final);
}

int study_wish_complete(const struct study_view *v, struct study_batch *b, uint64_t trial,
                        const struct study_wish_end *in, struct err *err) {
    const struct study_trial *t;
    struct study_event ev = {.type = STUDY_EV_TRIAL_ENDED, .trial = trial};
    if (find(v, trial, &t, err)) {
        return -1;
    }
    if (study_trial_is_over(t->state) && ended_so(v->study, t, in)) {
        return 0;
    }
    if (in->is_infeasible) {
        ev.state = STUDY_TRIAL_INFEASIBLE;
        ev.reason = in->reason;
    } else if (in->nr_final) {
        ev.state = STUDY_TRIAL_SUCCEEDED;
        ev.has_final = true;
        ev.reports = in->final;
        ev.nr_reports = in->nr_final;
    } else {
        auto_buf struct buf why = BUF_INIT(1024);
        struct study_measurement m;
        if (study_final(v->study, t, b->arena, &m, &why)) {
            ev.is_predicted = t->stop_by_rule && study_predict(v->study, t, b->arena, &m);
            ev.state = STUDY_TRIAL_SUCCEEDED;
            ev.has_final = true;
            ev.reports = study_reports_of(v->study, &m, b->arena, &ev.nr_reports);
        } else {
            ev.state = STUDY_TRIAL_INFEASIBLE;
            ev.reason =
                arena_printf(b->arena, "The trial was completed without a final measurement: %.*s.",
                             STR_ARG(buf_str(&why)));
        }
    }
    return add(v, b, &ev, err);
}

int study_wish_stop(const struct study_view *v, struct study_batch *b, uint64_t trial,
                    struct err *err) {
    const struct study_trial *t;
    if (find(v, trial, &t, err)) {
        return -1;
    }
    if (t->state == STUDY_TRIAL_STOPPING) {
        return 0;
    }
    return add(v, b, &(struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = trial}, err);
}

int study_wish_check(const struct study_view *v, struct study_batch *b, uint64_t trial,
                     bool *ret_should_stop, struct err *err) {
    const struct study_trial *t;
    struct study_measurement predicted;
    bool has;
    if (find(v, trial, &t, err)) {
        return -1;
    }
    *ret_should_stop = t->state == STUDY_TRIAL_STOPPING || study_trial_is_over(t->state);
    if (t->state != STUDY_TRIAL_ACTIVE ||
        !study_should_stop(v->study, t, b->arena, &predicted, &has)) {
        return 0;
    }
    *ret_should_stop = true;
    return add(
        v, b,
        &(struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = trial, .by_rule = true},
        err);
}

int study_wish_delete(const struct study_view *v, struct study_batch *b, uint64_t trial,
                      struct err *err) {
    const struct study_trial *t;
    if (find(v, trial, &t, err)) {
        return -1;
    }
    return add(v, b, &(struct study_event){.type = STUDY_EV_TRIAL_DELETED, .trial = trial}, err);
}
