/* A study's trials: events applied, and what the tuner is told of them. Pure. */
#include "ctl/study_int.h"

#include <math.h>

static const double *copy_doubles(struct arena *a, const double *p, size_t n) {
    double *v = arena_own_array(a, n + 1, sizeof(*v));
    if (n) {
        memcpy(v, p, n * sizeof(*v));
    }
    return v;
}

static void copy_tune(struct arena *a, struct tune_study *to, const struct tune_study *from) {
    struct tune_param *params = arena_own_array(a, from->nr_params + 1, sizeof(*params));
    struct tune_metric *metrics = arena_own_array(a, from->nr_metrics + 1, sizeof(*metrics));
    *to = *from;
    for (size_t i = 0; i < from->nr_params; i++) {
        params[i] = from->params[i];
        if (params[i].values) {
            params[i].values = copy_doubles(a, params[i].values, params[i].nr_values);
        }
        if (params[i].when) {
            params[i].when = copy_doubles(a, params[i].when, params[i].nr_when);
        }
    }
    for (size_t i = 0; i < from->nr_metrics; i++) {
        metrics[i] = from->metrics[i];
    }
    to->params = params;
    to->metrics = metrics;
}

struct study *study_new(const struct study_spec *spec, usec_t created) {
    struct study *s = xcalloc(1, sizeof(*s));
    s->arena = arena_new(ARENA_NO_MAX);
    s->spec = *spec;
    s->created = created;
    copy_tune(s->arena, &s->spec.tune, &spec->tune);
    const char **ids = arena_own_array(s->arena, nr_metrics(s) + 1, sizeof(*ids));
    for (size_t i = 0; i < nr_metrics(s); i++) {
        ids[i] = arena_strdup(s->arena, spec->metric_id[i]);
    }
    s->spec.metric_id = ids;
    return s;
}

void study_free(struct study *s) {
    if (s) {
        for (size_t i = 0; i < s->trials.n; i++) {
            trial_free(s->trials.p[i]);
        }
        vec_fini(&s->trials);
        vec_fini(&s->ended);
        arena_free(s->arena);
        free(s);
    }
}

const struct study_spec *study_spec(const struct study *s) {
    return &s->spec;
}

uint64_t study_next_id(const struct study *s) {
    return s->trials.n + 1;
}

static struct trial *find(const struct study *s, uint64_t id) {
    return id && id <= s->trials.n ? s->trials.p[id - 1] : NULL;
}

const struct study_trial *study_trial(const struct study *s, uint64_t id) {
    struct trial *t = find(s, id);
    return t ? &t->pub : NULL;
}

const struct study_trial *study_trial_after(const struct study *s, uint64_t id) {
    for (uint64_t i = id; i < s->trials.n; i++) {
        if (s->trials.p[i]) {
            return &s->trials.p[i]->pub;
        }
    }
    return NULL;
}

struct study_counts study_counts(const struct study *s) {
    return s->counts;
}

bool study_is_stopped(const struct study *s, const char **ret_reason) {
    if (s->is_stopped && ret_reason) {
        *ret_reason = s->stop_reason;
    }
    return s->is_stopped;
}

uint64_t study_version(const struct study *s) {
    return s->version;
}

uint64_t study_serial(const struct study *s) {
    return s->serial;
}

const struct study_lesson *study_lessons(const struct study *s, size_t *ret_nr) {
    *ret_nr = s->nr_lessons;
    return s->lessons;
}

/* ---- does it fit ---- */

static int refuse_state(const struct trial *t, const char *what, struct err *err) {
    return err_set(err, ERR_FAILED_PRECONDITION, "Trial %llu is %s and cannot %s.",
                   (unsigned long long)t->pub.id, study_trial_state_name(t->pub.state), what);
}

static int check_new(const struct study *s, const struct study_event *ev, struct err *err) {
    if (ev->trial != study_next_id(s) || !ev->nr_trials) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "Trials would begin with number %llu; the study's next is %llu.",
                       (unsigned long long)ev->trial, (unsigned long long)study_next_id(s));
    }
    for (size_t i = 0; i < ev->nr_trials; i++) {
        if (ev->trials[i].state != STUDY_TRIAL_REQUESTED &&
            ev->trials[i].state != STUDY_TRIAL_ACTIVE) {
            return err_set(err, ERR_FAILED_PRECONDITION, "A trial begins REQUESTED or ACTIVE.");
        }
        if (ev->trials[i].is_open && ev->trials[i].state != STUDY_TRIAL_REQUESTED) {
            return err_set(err, ERR_FAILED_PRECONDITION, "An open trial begins REQUESTED.");
        }
    }
    return 0;
}

static int check_reports(const struct study *s, const struct study_event *ev, struct err *err) {
    for (size_t i = 0; i < ev->nr_reports; i++) {
        if (ev->reports[i].metric >= nr_metrics(s)) {
            return err_set(err, ERR_FAILED_PRECONDITION, "The study has no metric number %u.",
                           ev->reports[i].metric);
        }
    }
    return 0;
}

/* What an open trial can be: started, with all its values, or deleted. */
static int check_open(const struct trial *t, const struct study_event *ev, struct err *err) {
    if (t->pub.is_open != (ev->setting != NULL) && ev->type == STUDY_EV_TRIAL_STARTED) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "Trial %llu is started with a setting when it has none yet, only then.",
                       (unsigned long long)t->pub.id);
    }
    if (t->pub.is_open && ev->type != STUDY_EV_TRIAL_STARTED &&
        ev->type != STUDY_EV_TRIAL_DELETED) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "Trial %llu is REQUESTED, and some of its parameters are decided only when "
                       "it is handed out: ask for it with SuggestTrials first, or delete it.",
                       (unsigned long long)t->pub.id);
    }
    return 0;
}

int study_check(const struct study *s, const struct study_event *ev, struct err *err) {
    const struct trial *t = NULL;
    if (ev->type > STUDY_EV_TRIALS_CREATED && ev->type <= STUDY_EV_TRIAL_DELETED) {
        t = find(s, ev->trial);
        if (!t) {
            return err_set(err, ERR_NOT_FOUND, "The study has no trial %llu.",
                           (unsigned long long)ev->trial);
        }
        if (check_open(t, ev, err)) {
            return -1;
        }
    }
    bool is_over = t && study_trial_is_over(t->pub.state);
    switch (ev->type) {
    case STUDY_EV_TRIALS_CREATED:
        return check_new(s, ev, err);
    case STUDY_EV_TRIAL_STARTED:
        return t->pub.state == STUDY_TRIAL_REQUESTED ? 0 : refuse_state(t, "be started", err);
    case STUDY_EV_MEASURED:
        return is_over ? refuse_state(t, "be measured any more", err) : check_reports(s, ev, err);
    case STUDY_EV_TRIAL_STOPPING:
        return is_over || t->pub.state == STUDY_TRIAL_STOPPING ? refuse_state(t, "be stopped", err)
                                                               : 0;
    case STUDY_EV_TRIAL_ENDED:
        if (is_over) {
            return refuse_state(t, "be completed again", err);
        }
        if (!study_trial_is_over(ev->state) ||
            (ev->state == STUDY_TRIAL_SUCCEEDED && !ev->has_final)) {
            return err_set(err, ERR_FAILED_PRECONDITION,
                           "A trial ends SUCCEEDED with a final measurement, or INFEASIBLE.");
        }
        return check_reports(s, ev, err);
    case STUDY_EV_FINAL_REPLACED:
        return t->pub.has_final ? check_reports(s, ev, err)
                                : refuse_state(t, "have a new final measurement", err);
    case STUDY_EV_LEARNED:
        return s->trials.n || s->nr_lessons == STUDY_LESSONS
                   ? err_set(err, ERR_FAILED_PRECONDITION,
                             "A study learns from at most %d earlier ones, before its first trial.",
                             STUDY_LESSONS)
                   : 0;
    case STUDY_EV_STOPPED:
        return s->is_stopped ? err_set(err, ERR_FAILED_PRECONDITION, "The study has been stopped.")
                             : 0;
    case STUDY_EV_TRIAL_DELETED:
    case STUDY_EV_EDITED:
    case STUDY_EV_END:
        break;
    }
    return 0;
}

/* ---- facts ---- */

static uint32_t *counter(struct study *s, enum study_trial_state state) {
    switch (state) {
    case STUDY_TRIAL_REQUESTED:
        return &s->counts.requested;
    case STUDY_TRIAL_ACTIVE:
        return &s->counts.active;
    case STUDY_TRIAL_STOPPING:
        return &s->counts.stopping;
    case STUDY_TRIAL_SUCCEEDED:
        return &s->counts.succeeded;
    case STUDY_TRIAL_INFEASIBLE:
    case STUDY_TRIAL_UNSPECIFIED:
        break;
    }
    return &s->counts.infeasible;
}

static void set_state(struct study *s, struct trial *t, enum study_trial_state to) {
    --*counter(s, t->pub.state);
    ++*counter(s, to);
    t->pub.state = to;
}

static void begin(struct study *s, const struct study_new_trial *in, usec_t now) {
    struct trial *t = arena_own(s->arena, sizeof(*t));
    t->pub.id = study_next_id(s);
    t->pub.state = in->state;
    t->pub.setting = copy_doubles(s->arena, in->setting, nr_params(s));
    t->pub.start_time = in->state == STUDY_TRIAL_ACTIVE ? now : 0;
    t->pub.client_id = arena_strdup(s->arena, in->client_id);
    t->pub.job = arena_strdup(s->arena, in->job);
    t->pub.by_hand = in->by_hand;
    t->pub.is_open = in->is_open;
    vec_push(&s->trials, t);
    s->counts.total++;
    s->counts.ever++;
    ++*counter(s, in->state);
    s->serial += !in->by_hand;
}

static void set_text(struct study *s, const char **to, const char *from) {
    if (from) {
        *to = arena_strdup(s->arena, from);
    }
}

/* What an open trial is from now on. Of a grid it is no step: that counts what it has handed out.
 */
static void close_setting(struct study *s, struct trial *t, const double *setting) {
    t->pub.setting = copy_doubles(s->arena, setting, nr_params(s));
    t->pub.is_open = false;
    s->serial += s->spec.tune.algorithm != TUNE_GRID;
    s->version++;
}

static void end(struct study *s, struct trial *t, const struct study_event *ev) {
    if (ev->has_final) {
        trial_set_final(s, t, ev);
    }
    set_state(s, t, ev->state);
    set_text(s, &t->pub.reason, ev->reason);
    t->pub.end_time = ev->time > t->pub.start_time ? ev->time : t->pub.start_time;
    vec_push(&s->ended, t);
    study_stand(s, t);
}

static void drop(struct study *s, struct trial *t) {
    --*counter(s, t->pub.state);
    s->counts.total--;
    for (size_t i = s->ended.n; i > 0; i--) {
        if (s->ended.p[i - 1] == t) {
            vec_remove(&s->ended, i - 1);
            break;
        }
    }
    s->trials.p[t->pub.id - 1] = NULL;
    trial_free(t);
    study_stand_anew(s);
}

static void learn(struct study *s, const struct study_lesson *from) {
    struct tune_trial *t = arena_own_array(s->arena, from->nr + 1, sizeof(*t));
    for (size_t i = 0; i < from->nr; i++) {
        t[i] = (struct tune_trial){
            .state = TUNE_DONE,
            .setting = copy_doubles(s->arena, from->trials[i].setting, nr_params(s)),
            .metrics = copy_doubles(s->arena, from->trials[i].metrics, nr_metrics(s))};
    }
    s->lessons[s->nr_lessons++] =
        (struct study_lesson){arena_strdup(s->arena, from->from), t, from->nr};
}

static void drop_curve(struct trial *t) {
    free(t->curve.p);
    t->curve = (struct curve){0};
    t->has_curve = false;
}

int study_apply(struct study *s, const struct study_event *ev, struct err *err) {
    struct err why;
    if (study_check(s, ev, &why) != 0) {
        return err_set(err, ERR_DATA_LOSS, "event %llu (%s) does not fit: %s",
                       (unsigned long long)ev->seq, study_event_name(ev->type), why.msg);
    }
    struct trial *t = find(s, ev->trial);
    switch (ev->type) {
    case STUDY_EV_TRIALS_CREATED:
        for (size_t i = 0; i < ev->nr_trials; i++) {
            begin(s, &ev->trials[i], ev->time);
        }
        s->version++;
        break;
    case STUDY_EV_TRIAL_STARTED:
        set_state(s, t, STUDY_TRIAL_ACTIVE);
        t->pub.start_time = ev->time;
        set_text(s, &t->pub.client_id, ev->client_id);
        set_text(s, &t->pub.job, ev->job);
        if (ev->setting) {
            close_setting(s, t, ev->setting);
        }
        break;
    case STUDY_EV_MEASURED:
        trial_report(s, t, ev);
        break;
    case STUDY_EV_TRIAL_STOPPING:
        set_state(s, t, STUDY_TRIAL_STOPPING);
        t->pub.stop_by_rule = ev->by_rule;
        break;
    case STUDY_EV_TRIAL_ENDED:
        end(s, t, ev);
        s->version++;
        break;
    case STUDY_EV_FINAL_REPLACED:
        trial_set_final(s, t, ev);
        drop_curve(t);
        study_stand_replaced(s, t);
        s->version++;
        break;
    case STUDY_EV_TRIAL_DELETED:
        drop(s, t);
        s->version++;
        break;
    case STUDY_EV_EDITED:
        s->spec.budget = ev->budget;
        break;
    case STUDY_EV_STOPPED:
        s->is_stopped = true;
        set_text(s, &s->stop_reason, ev->reason);
        break;
    case STUDY_EV_LEARNED:
        learn(s, ev->lesson);
        s->version++;
        break;
    case STUDY_EV_END:
        CHECK(!"not an event type");
    }
    return 0;
}

/* ---- for the tuner ---- */

static void tell(const struct study *s, struct arena *a, const struct trial *t,
                 struct tune_trial *ret) {
    ret->setting = copy_doubles(a, t->pub.setting, nr_params(s));
    if (!study_trial_is_over(t->pub.state)) {
        ret->state = TUNE_PENDING;
    } else if (t->pub.state != STUDY_TRIAL_SUCCEEDED || !study_is_complete(s, &t->pub.final)) {
        ret->state = TUNE_FAILED;
    } else {
        double *m = arena_own_array(a, nr_metrics(s), sizeof(*m));
        for (size_t j = 0; j < nr_metrics(s); j++) {
            m[j] = t->pub.final.v[j].value;
        }
        ret->state = TUNE_DONE;
        ret->metrics = m;
    }
}

const struct tune_trial *study_history(const struct study *s, struct arena *a, size_t *ret_nr) {
    struct tune_trial *h = arena_own_array(a, s->counts.total + 1, sizeof(*h));
    size_t n = 0;
    for (size_t i = 0; i < s->ended.n; i++) {
        tell(s, a, s->ended.p[i], &h[n++]);
    }
    for (size_t i = 0; i < s->trials.n; i++) {
        const struct trial *t = s->trials.p[i];
        if (t && !study_trial_is_over(t->pub.state) && !t->pub.is_open) {
            tell(s, a, t, &h[n++]);
        }
    }
    CHECK(n <= s->counts.total);
    *ret_nr = n;
    return h;
}
