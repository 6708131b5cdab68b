#include "api/vizier_message.h"

#include "api/study_message.h"
#include "pb/pb.h"
#include "pb/wkt.h"

#include <math.h>

/* ---- studies ---- */

int vizier_decode(void *arg, struct arena *a, const struct store_row *row, struct study_spec *ret,
                  const void **ret_parsed, struct err *err) {
    struct vizier_parsed *p = arena_alloc(a, sizeof(*p));
    ProtobufCMessage *msg;
    if (pb_unpack(a, &aip__study__descriptor, row->spec, &msg, err)) {
        err->code = ERR_DATA_LOSS;
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    p->msg = (Aip__Study *)msg;
    if (!p->msg->study_spec) {
        return err_set(err, ERR_DATA_LOSS, "read %.*s: no study_spec", STR_ARG(row->name));
    }
    /* The seed is the name: the same each time, another for each study. */
    study_plan_init(&p->plan, a, p->msg->study_spec, str_hash(row->name));
    study_spec_make(&p->plan, a, row->create_time, ret);
    *ret_parsed = p;
    return 0;
}

int vizier_study_message(struct arena *a, const struct store_row *row, Aip__Study **ret,
                         struct err *err) {
    ProtobufCMessage *msg;
    if (pb_unpack(a, &aip__study__descriptor, row->spec, &msg, err)) {
        if (err) {
            err->code = ERR_DATA_LOSS;
        }
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    Aip__Study *m = (Aip__Study *)msg;
    m->name = arena_strndup(a, row->name.p, row->name.n);
    m->create_time = wkt_timestamp(a, row->create_time);
    m->state = str_eqc(row->state, STUDY_STATE_COMPLETED) ? AIP__STUDY__STATE__COMPLETED
                                                          : AIP__STUDY__STATE__ACTIVE;
    *ret = m;
    return 0;
}

static ProtobufCMessage *decode_for_filter(struct arena *a, const struct store_row *row) {
    Aip__Study *m;
    return vizier_study_message(a, row, &m, NULL) ? NULL : &m->base;
}

const struct filter_schema vizier_study_schema = {&aip__study__descriptor, decode_for_filter};

/* ---- trials ---- */

Aip__Trial *vizier_trial_message(struct arena *a, const struct study_view *v,
                                 const struct study_trial *t, size_t measurements_max) {
    const struct vizier_parsed *p = v->parsed;
    Aip__Trial *m = study_trial_message(a, &p->plan, v->study, t, measurements_max);
    m->name = arena_printf(a, "%.*s/trials/%s", STR_ARG(v->name), m->id);
    return m;
}

/* ---- measurements ---- */

struct at {
    char text[160];
};

static struct at below(const char *prefix, const char *field) {
    struct at at;
    snprintf(at.text, sizeof(at.text), "%.80s.%.60s", prefix, field);
    return at;
}

static struct at metric_at(const char *prefix, size_t i, const char *field) {
    char text[40];
    snprintf(text, sizeof(text), "metrics[%zu].%s", i, field);
    return below(prefix, text);
}

static size_t metric_of(const Aip__StudySpec *s, const char *id) {
    size_t j = 0;
    while (j < s->n_metrics && strcmp(s->metrics[j]->metric_id, id) != 0) {
        j++;
    }
    return j;
}

/* Since the trial began, as the client says; else as our clock does. */
static bool read_elapsed(const Aip__Measurement *m, const char *prefix, usec_t started, usec_t now,
                         usec_t *ret, struct violations *vs) {
    const Google__Protobuf__Duration *d = m->elapsed_duration;
    if (!d) {
        *ret = started && now > started ? now - started : 0;
        return true;
    }
    if (d->seconds < 0 || d->nanos < 0 || d->nanos > 999999999 || d->seconds > 315576000000) {
        violations_add(vs, below(prefix, "elapsed_duration").text,
                       "A trial's elapsed time is at least 0; the request has %lld s and %d ns.",
                       (long long)d->seconds, d->nanos);
        return false;
    }
    *ret = (usec_t)d->seconds * USEC_PER_SEC + (usec_t)d->nanos / 1000;
    return true;
}

static void check_value(const Aip__StudySpec *s, size_t metric, double value, const char *field,
                        struct violations *vs) {
    if (!isfinite(value)) {
        violations_add(vs, field,
                       "The final measurement's %.80s is %s; it must be finite. A trial that has "
                       "no such value is completed with trial_infeasible.",
                       s->metrics[metric]->metric_id, isnan(value) ? "NaN" : "infinite");
    }
}

static void check_complete(const Aip__StudySpec *s, const bool *have, const char *prefix,
                           struct violations *vs) {
    for (size_t j = 0; j < s->n_metrics; j++) {
        if (!have[j]) {
            violations_add(vs, below(prefix, "metrics").text,
                           "The final measurement lacks the study's metric \"%.80s\".",
                           s->metrics[j]->metric_id);
        }
    }
}

int vizier_measurement_read(struct arena *a, const struct study_view *v, const Aip__Measurement *m,
                            const char *prefix, bool is_final, usec_t started, usec_t now,
                            struct vizier_reports *ret, struct violations *vs) {
    const Aip__StudySpec *s = ((const struct vizier_parsed *)v->parsed)->msg->study_spec;
    struct study_report *r = arena_own_array(a, s->n_metrics + 1, sizeof(*r));
    bool *have = arena_own_array(a, s->n_metrics + 1, sizeof(*have));
    size_t was = vs->n, n = 0;
    usec_t elapsed = 0;
    if (m->step_count < 0) {
        violations_add(vs, below(prefix, "step_count").text,
                       "A number of steps is at least 0; the request has %lld.",
                       (long long)m->step_count);
    }
    (void)read_elapsed(m, prefix, started, now, &elapsed, vs);
    for (size_t i = 0; i < m->n_metrics; i++) {
        size_t j = metric_of(s, m->metrics[i]->metric_id);
        if (j == s->n_metrics) {
            violations_add(vs, metric_at(prefix, i, "metric_id").text,
                           "\"%.80s\" is no metric of the study.", m->metrics[i]->metric_id);
        } else if (have[j]) {
            violations_add(vs, metric_at(prefix, i, "metric_id").text,
                           "The metric \"%.80s\" is given twice.", m->metrics[i]->metric_id);
        } else {
            have[j] = true;
            r[n++] = (struct study_report){.metric = (uint32_t)j,
                                           .value = m->metrics[i]->value,
                                           .step = m->step_count,
                                           .at = elapsed};
            if (is_final) {
                check_value(s, j, m->metrics[i]->value, metric_at(prefix, i, "value").text, vs);
            }
        }
    }
    if (!m->n_metrics) {
        violations_add(vs, below(prefix, "metrics").text,
                       "A measurement has a value of at least one of the study's metrics.");
    } else if (is_final && vs->n == was) {
        check_complete(s, have, prefix, vs);
    }
    if (vs->n != was) {
        return -1;
    }
    *ret = (struct vizier_reports){r, n};
    return 0;
}

/* ---- parameters, some of them ---- */

int vizier_context_read(struct arena *a, const struct study_view *v, const Aip__TrialContext *c,
                        const char *prefix, const double **ret, struct violations *vs) {
    const struct study_plan *p = &((const struct vizier_parsed *)v->parsed)->plan;
    double *value = arena_own_array(a, p->study.nr_params + 1, sizeof(*value));
    *ret = c->n_parameters ? value : NULL;
    return study_some_from_trial(p, c->parameters, c->n_parameters, prefix, value, vs);
}

int vizier_request_read(const struct study_view *v, const Aip__Trial *t, const char *prefix,
                        double *ret, bool *ret_is_open, struct violations *vs) {
    const struct study_plan *p = &((const struct vizier_parsed *)v->parsed)->plan;
    if (study_some_from_trial(p, t->parameters, t->n_parameters, prefix, ret, vs)) {
        return -1;
    }
    *ret_is_open = study_context_is_open(&p->study, ret);
    return 0;
}
