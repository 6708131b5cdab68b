/* A study's events to records and back. Numbers are positions in the spec: parameters and metrics
 * of a study never change. */
#include "ctl/study_int.h"

#include "base/rec.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const char *const names[] = {
    [STUDY_EV_TRIALS_CREATED - STUDY_EV_TRIALS_CREATED] = "TRIALS_CREATED",
    [STUDY_EV_TRIAL_STARTED - STUDY_EV_TRIALS_CREATED] = "TRIAL_STARTED",
    [STUDY_EV_MEASURED - STUDY_EV_TRIALS_CREATED] = "MEASURED",
    [STUDY_EV_TRIAL_STOPPING - STUDY_EV_TRIALS_CREATED] = "TRIAL_STOPPING",
    [STUDY_EV_TRIAL_ENDED - STUDY_EV_TRIALS_CREATED] = "TRIAL_ENDED",
    [STUDY_EV_FINAL_REPLACED - STUDY_EV_TRIALS_CREATED] = "FINAL_REPLACED",
    [STUDY_EV_TRIAL_DELETED - STUDY_EV_TRIALS_CREATED] = "TRIAL_DELETED",
    [STUDY_EV_EDITED - STUDY_EV_TRIALS_CREATED] = "EDITED",
    [STUDY_EV_STOPPED - STUDY_EV_TRIALS_CREATED] = "STOPPED",
    [STUDY_EV_LEARNED - STUDY_EV_TRIALS_CREATED] = "LEARNED",
};
static const char *const state_names[] = {
    [STUDY_TRIAL_UNSPECIFIED] = "STATE_UNSPECIFIED",
    [STUDY_TRIAL_REQUESTED] = "REQUESTED",
    [STUDY_TRIAL_ACTIVE] = "ACTIVE",
    [STUDY_TRIAL_STOPPING] = "STOPPING",
    [STUDY_TRIAL_SUCCEEDED] = "SUCCEEDED",
    [STUDY_TRIAL_INFEASIBLE] = "INFEASIBLE",
};

const char *study_event_name(uint32_t type) {
    return type >= STUDY_EV_TRIALS_CREATED && type < STUDY_EV_END
               ? names[type - STUDY_EV_TRIALS_CREATED]
               : NULL;
}

const char *study_trial_state_name(enum study_trial_state s) {
    return (size_t)s < NR_OF(state_names) ? state_names[s] : state_names[0];
}

/* ---- writing ---- */

static void put_flag(struct buf *b, const char *key, bool is) {
    if (is) {
        rec_put_u64(b, key, 1);
    }
}

static void put_values(struct buf *b, const double *v, size_t n) {
    for (size_t j = 0; j < n; j++) {
        if (isnan(v[j])) {
            buf_puts(b, " -");
        } else {
            buf_printf(b, " %.17g", v[j]);
        }
    }
}

/* new=STATE BY_HAND VALUE.. ; then the texts of that trial */
static void put_trials(struct buf *b, size_t nr_params, const struct study_event *ev) {
    for (size_t i = 0; i < ev->nr_trials; i++) {
        const struct study_new_trial *t = &ev->trials[i];
        buf_printf(b, "new=%s %d", study_trial_state_name(t->state), t->by_hand);
        put_values(b, t->setting, nr_params);
        buf_puts(b, "\n");
        rec_puts(b, "client", t->client_id);
        rec_puts(b, "job", t->job);
        put_flag(b, "open", t->is_open);
    }
}

/* r=METRIC STEP AT VALUE [ATTEMPT] */
static void put_reports(struct buf *b, const struct study_event *ev) {
    for (size_t i = 0; i < ev->nr_reports; i++) {
        const struct study_report *r = &ev->reports[i];
        buf_printf(b, "r=%u %lld %llu %.17g", r->metric, (long long)r->step,
                   (unsigned long long)r->at, r->value);
        if (r->attempt) {
            buf_printf(b, " %u", r->attempt);
        }
        buf_puts(b, "\n");
    }
}

/* setting=x VALUE.. ; a word first, so that a value never begins with a blank */
static void put_setting(struct buf *b, const struct study_spec *spec, const double *setting) {
    if (setting) {
        buf_puts(b, "setting=x");
        put_values(b, setting, spec->tune.nr_params);
        buf_puts(b, "\n");
    }
}

/* l=x VALUE.. METRIC.. */
static void put_lesson(struct buf *b, const struct study_spec *spec, const struct study_lesson *l) {
    rec_puts(b, "from", l->from);
    for (size_t i = 0; i < l->nr; i++) {
        buf_puts(b, "l=x"); /* a word, so that a value never begins with a blank */
        put_values(b, l->trials[i].setting, spec->tune.nr_params);
        put_values(b, l->trials[i].metrics, spec->tune.nr_metrics);
        buf_puts(b, "\n");
    }
}

void study_event_encode(struct buf *b, const struct study_spec *spec,
                        const struct study_event *ev) {
    rec_begin(b);
    if (ev->type <= STUDY_EV_TRIAL_DELETED) {
        rec_put_u64(b, "trial", ev->trial);
    }
    switch (ev->type) {
    case STUDY_EV_TRIALS_CREATED:
        put_trials(b, spec->tune.nr_params, ev);
        break;
    case STUDY_EV_TRIAL_STARTED:
        rec_puts(b, "client", ev->client_id);
        rec_puts(b, "job", ev->job);
        put_setting(b, spec, ev->setting);
        break;
    case STUDY_EV_MEASURED:
        put_flag(b, "whole", ev->is_whole);
        put_reports(b, ev);
        break;
    case STUDY_EV_TRIAL_STOPPING:
        put_flag(b, "by_rule", ev->by_rule);
        break;
    case STUDY_EV_TRIAL_ENDED:
        rec_puts(b, "state", study_trial_state_name(ev->state));
        rec_puts(b, "reason", ev->reason);
        put_flag(b, "final", ev->has_final);
        put_flag(b, "predicted", ev->is_predicted);
        put_reports(b, ev);
        break;
    case STUDY_EV_FINAL_REPLACED:
        put_flag(b, "predicted", ev->is_predicted);
        put_reports(b, ev);
        break;
    case STUDY_EV_TRIAL_DELETED:
        break;
    case STUDY_EV_EDITED:
        rec_put_u64(b, "max_trials", ev->budget.max_trials);
        rec_put_u64(b, "parallel", ev->budget.parallel);
        rec_put_u64(b, "max_failed", ev->budget.max_failed);
        break;
    case STUDY_EV_STOPPED:
        rec_puts(b, "reason", ev->reason);
        break;
    case STUDY_EV_LEARNED:
        put_lesson(b, spec, ev->lesson);
        break;
    case STUDY_EV_END:
        CHECK(!"not an event type");
    }
}

/* ---- reading ---- */

static int bad(struct err *err, const struct store_event *in, const char *what) {
    return err_set(err, ERR_DATA_LOSS, "event %llu (%s): bad %s", (unsigned long long)in->seq,
                   study_event_name(in->type), what);
}

/* Words of a line, each read by a strto function that must leave nothing of the word. */
struct words {
    const char *p;
    bool ok;
};

static void end_word(struct words *w, const char *end) {
    w->ok &= end != w->p && (*end == ' ' || !*end) && errno == 0;
    w->p = *end ? end + 1 : end;
}

static struct str whole_word(const struct words *w) {
    return str_n(w->p, strcspn(w->p, " "));
}

static void step_over(struct words *w, struct str word, bool ok) {
    w->ok &= ok;
    w->p += word.n + (w->p[word.n] == ' ');
}

static int64_t word_i64(struct words *w) {
    struct str word = whole_word(w);
    int64_t v = 0;
    step_over(w, word, str_to_i64(word, &v));
    return v;
}

static uint64_t word_u64(struct words *w) {
    struct str word = whole_word(w);
    uint64_t v = 0;
    step_over(w, word, str_to_u64(word, &v));
    return v;
}

static double word_double(struct words *w) {
    char *end;
    errno = 0;
    double v = strtod(w->p, &end);
    if (errno == ERANGE && fabs(v) < 1) {
        errno = 0; /* subnormal: as exact as it was */
    }
    end_word(w, end);
    return v;
}

static enum study_trial_state state_of(const char *word, size_t n) {
    for (size_t i = 1; i < NR_OF(state_names); i++) {
        if (strlen(state_names[i]) == n && memcmp(state_names[i], word, n) == 0) {
            return (enum study_trial_state)i;
        }
    }
    return STUDY_TRIAL_UNSPECIFIED;
}

static void get_values(struct words *w, double *ret, size_t n) {
    for (size_t j = 0; j < n; j++) {
        if (*w->p == '-' && (w->p[1] == ' ' || !w->p[1])) {
            ret[j] = NAN;
            w->p += w->p[1] ? 2 : 1;
        } else {
            ret[j] = word_double(w);
        }
    }
}

static bool get_trial(struct arena *a, size_t nr_params, const char *line,
                      struct study_new_trial *ret) {
    size_t n = strcspn(line, " ");
    struct words w = {line + n + (line[n] == ' '), true};
    double *setting = arena_own_array(a, nr_params + 1, sizeof(*setting));
    ret->state = state_of(line, n);
    ret->by_hand = word_u64(&w) != 0;
    get_values(&w, setting, nr_params);
    ret->setting = setting;
    return w.ok && !*w.p &&
           (ret->state == STUDY_TRIAL_REQUESTED || ret->state == STUDY_TRIAL_ACTIVE);
}

static bool get_report(size_t nr_metrics, const char *line, struct study_report *ret) {
    struct words w = {line, true};
    uint64_t metric = word_u64(&w);
    ret->step = word_i64(&w);
    ret->at = word_u64(&w);
    ret->value = word_double(&w);
    ret->metric = (uint32_t)metric;
    ret->attempt = *w.p ? (uint32_t)word_u64(&w) : 0;
    return w.ok && !*w.p && metric < nr_metrics;
}

static size_t count(const struct rec *r, const char *key) {
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        n += str_eqc(r->p[i].key, key);
    }
    return n;
}

static const char *get_trials(struct arena *a, const struct study_spec *spec, const struct rec *r,
                              struct study_event *ev) {
    struct study_new_trial *t = arena_own_array(a, count(r, "new") + 1, sizeof(*t));
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (str_eqc(r->p[i].key, "new")) {
            if (!get_trial(a, spec->tune.nr_params, r->p[i].value.p, &t[n])) {
                return "trial";
            }
            n++;
        } else if (n && str_eqc(r->p[i].key, "client")) {
            t[n - 1].client_id = r->p[i].value.p;
        } else if (n && str_eqc(r->p[i].key, "job")) {
            t[n - 1].job = r->p[i].value.p;
        } else if (n && str_eqc(r->p[i].key, "open")) {
            t[n - 1].is_open = true;
        }
    }
    ev->trials = t;
    ev->nr_trials = n;
    return n ? NULL : "list of trials";
}

static const char *get_reports(struct arena *a, const struct study_spec *spec, const struct rec *r,
                               struct study_event *ev) {
    struct study_report *x = arena_own_array(a, count(r, "r") + 1, sizeof(*x));
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (str_eqc(r->p[i].key, "r") &&
            !get_report(spec->tune.nr_metrics, r->p[i].value.p, &x[n++])) {
            return "report";
        }
    }
    ev->reports = x;
    ev->nr_reports = n;
    return NULL;
}

static const char *get_setting(struct arena *a, const struct study_spec *spec, const struct rec *r,
                               struct study_event *ev) {
    const char *line = rec_get_cstr(r, "setting");
    double *setting = arena_own_array(a, spec->tune.nr_params + 1, sizeof(*setting));
    if (!line) {
        return NULL;
    }
    struct words w = {line + (line[0] == 'x') + (line[0] && line[1] == ' '), true};
    get_values(&w, setting, spec->tune.nr_params);
    ev->setting = setting;
    return w.ok && !*w.p ? NULL : "setting";
}

static const char *get_lesson(struct arena *a, const struct study_spec *spec, const struct rec *r,
                              struct study_event *ev) {
    size_t wide = spec->tune.nr_params, deep = spec->tune.nr_metrics, n = 0;
    struct study_lesson *l = arena_own(a, sizeof(*l));
    struct tune_trial *t = arena_own_array(a, count(r, "l") + 1, sizeof(*t));
    for (size_t i = 0; i < r->n; i++) {
        if (str_eqc(r->p[i].key, "l")) {
            const char *line = r->p[i].value.p;
            struct words w = {line + (line[0] == 'x') + (line[0] && line[1] == ' '), true};
            double *setting = arena_own_array(a, wide + 1, sizeof(*setting));
            double *metrics = arena_own_array(a, deep + 1, sizeof(*metrics));
            get_values(&w, setting, wide);
            get_values(&w, metrics, deep);
            if (!w.ok || *w.p) {
                return "lesson";
            }
            t[n++] = (struct tune_trial){TUNE_DONE, setting, metrics};
        }
    }
    *l = (struct study_lesson){rec_get_cstr(r, "from"), t, n};
    ev->lesson = l;
    return l->from && n <= STUDY_LESSON_TRIALS ? NULL : "lesson";
}

int study_event_decode(struct arena *a, const struct study_spec *spec, const struct store_event *in,
                       struct study_event *ret, struct err *err) {
    struct rec r;
    if (!study_event_name(in->type)) {
        return err_set(err, ERR_DATA_LOSS,
                       "event %llu has type %u, which this version does not know",
                       (unsigned long long)in->seq, in->type);
    }
    if (in->version != STUDY_EVENT_VERSION) {
        return bad(err, in, "version");
    }
    if (rec_parse(a, in->body, &r, err) != 0) {
        return err_wrap(err, "event %llu (%s)", (unsigned long long)in->seq,
                        study_event_name(in->type));
    }
    struct study_event ev = {
        .type = (enum study_event_type)in->type, .seq = in->seq, .time = in->time};
    ev.trial = rec_get_u64(&r, "trial", 0);
    ev.client_id = rec_get_cstr(&r, "client");
    ev.job = rec_get_cstr(&r, "job");
    ev.is_whole = rec_get_u64(&r, "whole", 0) != 0;
    ev.has_final = rec_get_u64(&r, "final", 0) != 0;
    ev.is_predicted = rec_get_u64(&r, "predicted", 0) != 0;
    ev.by_rule = rec_get_u64(&r, "by_rule", 0) != 0;
    ev.reason = rec_get_cstr(&r, "reason");
    const char *wrong = NULL;
    if (ev.type == STUDY_EV_TRIALS_CREATED) {
        ev.client_id = ev.job = NULL;
        wrong = get_trials(a, spec, &r, &ev);
    } else if (ev.type == STUDY_EV_MEASURED || ev.type == STUDY_EV_TRIAL_ENDED ||
               ev.type == STUDY_EV_FINAL_REPLACED) {
        wrong = get_reports(a, spec, &r, &ev);
    }
    if (!wrong && ev.type == STUDY_EV_MEASURED && !ev.nr_reports) {
        wrong = "list of reports";
    }
    if (ev.type == STUDY_EV_TRIAL_STARTED) {
        wrong = get_setting(a, spec, &r, &ev);
    }
    if (ev.type == STUDY_EV_LEARNED) {
        wrong = get_lesson(a, spec, &r, &ev);
    }
    if (ev.type == STUDY_EV_TRIAL_ENDED) {
        struct str state = rec_get(&r, "state");
        ev.state = state.p ? state_of(state.p, state.n) : STUDY_TRIAL_UNSPECIFIED;
        wrong = wrong ? wrong : study_trial_is_over(ev.state) ? NULL : "state";
    }
    if (ev.type == STUDY_EV_EDITED) {
        ev.budget.max_trials = (uint32_t)rec_get_u64(&r, "max_trials", 0);
        ev.budget.parallel = (uint32_t)rec_get_u64(&r, "parallel", 0);
        ev.budget.max_failed = (uint32_t)rec_get_u64(&r, "max_failed", 0);
    }
    if (wrong) {
        return bad(err, in, wrong);
    }
    *ret = ev;
    return 0;
}
