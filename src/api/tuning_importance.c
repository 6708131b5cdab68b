/* See tuning_importance.h. */
#include "api/tuning_importance.h"

#include "api/call.h"
#include "api/cusp_path.h"
#include "api/study_message.h"
#include "api/tuning_message.h"
#include "api/vizier_message.h"
#include "base/limits.h"
#include "ctl/suggest.h"
#include "tune/importance.h"

#include <math.h>

#define REPLY_MAX ((size_t)16 << 20)

struct ask {
    struct api *api;
    struct xch *xch;
    struct name_parts name;
    struct tuning_read read;  /* of a tuning job */
    struct study_change look; /* of a study */
    struct suggest_work work;
    /* While it is computed: nobody but the lane looks at what is in this arena. */
    struct arena *own;
    struct study_plan plan;
    const struct tune_trial *trials;
    size_t nr_trials, nr_done;
    struct tune_importance *ret; /* by metric, by parameter */
    bool *known;                 /* by metric */
};

static unsigned nr_asked; /* in this process: there is one loop */

static void end(struct ask *q) {
    arena_free(q->own);
    xch_unref(q->xch);
    nr_asked--;
}

static void fail(struct ask *q, const struct err *err) {
    reply_error(q->xch, err);
    end(q);
}

static void put_best(struct jw *w, const struct study_plan *p, size_t i, double best) {
    if (isnan(best)) {
        return;
    }
    jw_key(w, "best");
    if (p->study.params[i].type == TUNE_CATEGORICAL) {
        jw_str(w, str_of(p->params[i]->categorical_value_spec->values[(size_t)best]));
    } else {
        jw_double(w, best);
    }
}

static void put_metric(struct jw *w, const struct ask *q, size_t m) {
    size_t n = q->plan.study.nr_params;
    jw_object(w);
    jw_kv(w, "metricId", q->plan.spec->metrics[m]->metric_id);
    jw_key(w, "parameters");
    jw_array(w);
    for (size_t i = 0; q->known[m] && i < n; i++) {
        const struct tune_importance *x = &q->ret[m * n + i];
        jw_object(w);
        jw_kv(w, "parameterId", q->plan.params[i]->parameter_id);
        jw_key(w, "share");
        jw_double(w, x->share);
        jw_key(w, "effect");
        jw_double(w, x->effect);
        put_best(w, &q->plan, i, x->best);
        jw_end_object(w);
    }
    jw_end_array(w);
    jw_end_object(w);
}

static void done(struct suggest_work *work) {
    struct ask *q = CONTAINER_OF(work, struct ask, work);
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct jw w;
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_key(&w, "name");
    jw_str(&w, q->name.canonical);
    jw_key(&w, "trials"); /* that it is learnt from */
    jw_u64(&w, q->nr_done);
    jw_key(&w, "trialsNeeded");
    jw_u64(&w, TUNE_IMPORTANCE_TRIALS);
    jw_key(&w, "metrics");
    jw_array(&w);
    for (size_t m = 0; m < q->plan.study.nr_metrics; m++) {
        put_metric(&w, q, m);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    buf_putc(&b, '\n');
    reply_json(q->xch, 200, buf_str(&b));
    end(q);
}

static void run(struct suggest_work *work) {
    struct ask *q = CONTAINER_OF(work, struct ask, work);
    for (size_t m = 0; m < q->plan.study.nr_metrics; m++) {
        q->known[m] = tuner_importance(&q->plan.study, q->trials, q->nr_trials, m,
                                       q->ret + m * q->plan.study.nr_params);
    }
}

static void compute(struct ask *q, const Aip__StudySpec *spec, const struct study *study) {
    study_plan_init(&q->plan, q->own, spec, 0);
    q->trials = study_history(study, q->own, &q->nr_trials);
    for (size_t i = 0; i < q->nr_trials; i++) {
        q->nr_done += q->trials[i].state == TUNE_DONE;
    }
    size_t n = q->plan.study.nr_metrics;
    q->known = arena_own_array(q->own, n + 1, sizeof(*q->known));
    q->ret = arena_own_array(q->own, n * q->plan.study.nr_params + 1, sizeof(*q->ret));
    q->work = (struct suggest_work){.run = run, .done = done};
    q->api->suggestions->runner->submit(q->api->suggestions->runner, &q->work);
}

/* The study may be forgotten while we compute: its spec is read again, for ourselves. */
static void on_study(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct ask *q = ch->arg;
    struct err why;
    Aip__Study *m;
    if (err || vizier_study_message(q->own, v->row, &m, &why)) {
        fail(q, err ? err : &why);
    } else {
        compute(q, m->study_spec, v->study);
    }
}

static void on_read(struct tuning_read *r, const struct store_row *row,
                    const struct tuning_status *status, const struct study *study,
                    const struct err *err) {
    struct ask *q = r->arg;
    Aip__HyperparameterTuningJob *m;
    struct err e;
    if (!err && !row) {
        err_set(&e, ERR_NOT_FOUND, "The HyperparameterTuningJob \"%.*s\" does not exist.",
                STR_ARG(r->name));
        err = &e;
    } else if (!err && tuning_message(q->own, row, status, &m, &e)) {
        err = &e;
    }
    if (err) {
        fail(q, err);
        return;
    }
    compute(q, m->study_spec, study);
}

bool tuning_importance_handle(struct api *a, struct xch *x) {
    struct str name;
    struct err err;
    if (!cusp_path_match(x, ":importance", &name)) {
        return false;
    }
    struct ask *q = arena_own(xch_arena(x), sizeof(*q));
    bool is_study = str_find(name, STR("/studies/")) >= 0;
    if (name_parse_in(a->projects, xch_arena(x), name,
                      is_study ? "studies" : "hyperparameterTuningJobs", "name", &q->name, &err)) {
        reply_error(x, &err);
        return true;
    }
    if (nr_asked >= limits.max_importances) {
        limits_hit(&limits.max_importances);
        err_set(&err, ERR_RESOURCE_EXHAUSTED,
                "Too many at once ask which parameters matter (limit max_importances is %llu).",
                (unsigned long long)limits.max_importances);
        reply_error(x, &err);
        return true;
    }
    nr_asked++;
    q->api = a;
    q->xch = xch_ref(x);
    q->own = arena_new(ARENA_NO_MAX);
    if (is_study) {
        q->look = (struct study_change){.name = q->name.canonical, .cb = on_study, .arg = q};
        study_read(a->studies, &q->look);
        return true;
    }
    q->read = (struct tuning_read){.name = q->name.canonical, .cb = on_read, .arg = q};
    ctl_tuning_read(a->ctl, &q->read);
    return true;
}
