/* See vizier_learn.h. */
#include "api/vizier_learn.h"

#include "api/api.h"
#include "api/study_message.h"
#include "base/log.h"
#include "pb/pb.h"

#include <math.h>

#define LOOKED_AT 200 /* studies of the place, newest first */

bool vizier_learn_wanted(const Aip__StudySpec *spec) {
    size_t objectives = 0;
    for (size_t i = 0; i < spec->n_metrics; i++) {
        objectives += !spec->metrics[i]->safety_config;
    }
    return spec->transfer_learning_config &&
           !spec->transfer_learning_config->disable_transfer_learning && objectives == 1 &&
           spec->algorithm == AIP__STUDY_SPEC__ALGORITHM__ALGORITHM_UNSPECIFIED;
}

/* ---- in this study's terms ---- */

static size_t find_param(const struct study_plan *p, const char *id) {
    size_t j = 0;
    while (j < p->study.nr_params && strcmp(p->params[j]->parameter_id, id) != 0) {
        j++;
    }
    return j;
}

/* The same thing to search: numbers are numbers, names are names. */
static bool is_alike(const struct study_plan *a, size_t i, const struct study_plan *b, size_t j) {
    return (a->study.params[i].type == TUNE_CATEGORICAL) ==
           (b->study.params[j].type == TUNE_CATEGORICAL);
}

static double category(const struct study_plan *from, size_t i, double index,
                       const struct study_plan *to, size_t j) {
    const Aip__StudySpec__ParameterSpec__CategoricalValueSpec *f =
        from->params[i]->categorical_value_spec;
    const Aip__StudySpec__ParameterSpec__CategoricalValueSpec *t =
        to->params[j]->categorical_value_spec;
    for (size_t k = 0; k < t->n_values; k++) {
        if (strcmp(t->values[k], f->values[(size_t)index]) == 0) {
            return (double)k;
        }
    }
    return NAN;
}

void vizier_learn_setting(const struct study_plan *from, const double *setting,
                          const struct study_plan *to, double *ret) {
    for (size_t j = 0; j < to->study.nr_params; j++) {
        size_t i = find_param(from, to->params[j]->parameter_id);
        ret[j] = NAN;
        if (i < from->study.nr_params && is_alike(from, i, to, j) && !isnan(setting[i])) {
            ret[j] = to->study.params[j].type == TUNE_CATEGORICAL
                         ? category(from, i, setting[i], to, j)
                         : setting[i];
        }
    }
}

static const Aip__StudySpec__MetricSpec *find_metric(const Aip__StudySpec *s, const char *id,
                                                     size_t *ret) {
    for (*ret = 0; *ret < s->n_metrics; ++*ret) {
        if (strcmp(s->metrics[*ret]->metric_id, id) == 0) {
            return s->metrics[*ret];
        }
    }
    return NULL;
}

static bool is_minimized(const Aip__StudySpec__MetricSpec *m) {
    return m->goal == AIP__STUDY_SPEC__METRIC_SPEC__GOAL_TYPE__MINIMIZE;
}

static bool is_useful(const struct vizier_learn *l, const Aip__StudySpec *earlier) {
    size_t at;
    for (size_t i = 0; i < l->spec->n_metrics; i++) {
        const Aip__StudySpec__MetricSpec *m = l->spec->metrics[i];
        const Aip__StudySpec__MetricSpec *e = find_metric(earlier, m->metric_id, &at);
        if (!e || is_minimized(e) != is_minimized(m)) {
            return false;
        }
    }
    struct study_plan p;
    study_plan_init(&p, l->a, earlier, 0);
    for (size_t j = 0; j < l->plan.study.nr_params; j++) {
        size_t i = find_param(&p, l->plan.params[j]->parameter_id);
        if (i < p.study.nr_params && is_alike(&p, i, &l->plan, j)) {
            return true;
        }
    }
    return false;
}

/* ---- what one found ---- */

static const double *metrics_of(const struct vizier_learn *l, const Aip__StudySpec *earlier,
                                const struct study_trial *t) {
    double *m = arena_own_array(l->a, l->spec->n_metrics + 1, sizeof(*m));
    for (size_t i = 0; i < l->spec->n_metrics; i++) {
        size_t at;
        (void)find_metric(earlier, l->spec->metrics[i]->metric_id, &at);
        if (!t->final.v[at].is_set || !isfinite(t->final.v[at].value)) {
            return NULL;
        }
        m[i] = t->final.v[at].value;
    }
    return m;
}

/* The newest trials, in the order they were made. */
static void take_lesson(struct vizier_learn *l, const struct study_view *v) {
    const struct vizier_parsed *p = v->parsed;
    struct study_lesson *out = &l->lessons[l->nr];
    struct tune_trial *t = arena_own_array(l->a, STUDY_LESSON_TRIALS, sizeof(*t));
    size_t skip = 0, nr = study_counts(v->study).succeeded, n = 0;
    skip = nr > STUDY_LESSON_TRIALS ? nr - STUDY_LESSON_TRIALS : 0;
    for (const struct study_trial *s = study_trial_after(v->study, 0); s && n < STUDY_LESSON_TRIALS;
         s = study_trial_after(v->study, s->id)) {
        const double *m = s->state == STUDY_TRIAL_SUCCEEDED && s->has_final
                              ? metrics_of(l, p->msg->study_spec, s)
                              : NULL;
        if (m && skip) {
            skip--;
        } else if (m) {
            double *x = arena_own_array(l->a, l->plan.study.nr_params + 1, sizeof(*x));
            vizier_learn_setting(&p->plan, s->setting, &l->plan, x);
            t[n++] = (struct tune_trial){TUNE_DONE, x, m};
        }
    }
    if (n) {
        *out = (struct study_lesson){arena_strndup(l->a, v->name.p, v->name.n), t, n};
        l->nr++;
    }
}

static void finish(struct vizier_learn *l) {
    Aip__StudySpec__TransferLearningConfig *c = l->spec->transfer_learning_config;
    c->prior_study_names = arena_own_array(l->a, l->nr + 1, sizeof(char *));
    for (size_t i = 0; i < l->nr; i++) {
        c->prior_study_names[c->n_prior_study_names++] = (char *)l->lessons[i].from;
    }
    l->cb(l, NULL);
}

static void read_next(struct vizier_learn *l);

/* One that was deleted meanwhile, or does not read, teaches nothing. */
static void on_read(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct vizier_learn *l = ch->arg;
    if (err && err->code == ERR_UNAVAILABLE) {
        l->cb(l, err);
        return;
    }
    if (!err) {
        take_lesson(l, v);
    }
    read_next(l);
}

/* The tuner goes by the latest first (tuner_learn): it is told of the newest last. */
static void read_next(struct vizier_learn *l) {
    if (l->next == l->nr_names) {
        finish(l);
        return;
    }
    l->read =
        (struct study_change){.name = l->names[l->nr_names - ++l->next], .cb = on_read, .arg = l};
    study_read(l->api->studies, &l->read);
}

static void on_listed(struct store_list *list, const struct store_row *rows, size_t nr,
                      struct str next_token, const struct err *err) {
    struct vizier_learn *l = list->arg;
    if (err) {
        l->cb(l, err);
        return;
    }
    for (size_t i = 0; i < nr && l->nr_names < STUDY_LESSONS; i++) {
        ProtobufCMessage *msg;
        if (!str_eqc(rows[i].state, STUDY_STATE_COMPLETED) ||
            pb_unpack(l->a, &aip__study__descriptor, rows[i].spec, &msg, NULL)) {
            continue;
        }
        const Aip__StudySpec *spec = ((const Aip__Study *)msg)->study_spec;
        if (spec && is_useful(l, spec)) {
            l->names[l->nr_names++] = arena_str(l->a, rows[i].name);
        }
    }
    read_next(l);
}

void vizier_learn(struct vizier_learn *l) {
    study_plan_init(&l->plan, l->a, l->spec, 0);
    study_spec_make(&l->plan, l->a, 0, &l->flat);
    l->list = (struct store_list){.kind = STR(STUDY_KIND),
                                  .parent = l->parent,
                                  .order = STORE_ORDER_CREATE_TIME,
                                  .descending = true,
                                  .page_size = LOOKED_AT,
                                  .arena = l->a,
                                  .cb = on_listed,
                                  .arg = l};
    l->api->store->ops->list(l->api->store, &l->list);
}
