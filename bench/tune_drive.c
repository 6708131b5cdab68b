/* The tuner as a program: one JSON object a line in, one a line out, so that harnesses in any
 * language can ask and tell (bench/hpo does).
 *
 *   {"study": {"params": [...], "metrics": [...], ...}}    starts over; answers {"ok": true}
 *     param:  {"type": "double" | "integer", "lo": 0, "hi": 1} | {"type": "discrete", "values": []}
 *             | {"type": "categorical", "count": 3}; "scale": "log" | "reverse_log"; "default": x;
 *             "parent": index of an earlier param, "when": [its values]
 *     metric: {"goal": "minimize" | "maximize"}; "safety_threshold": x, "min_safe_fraction": x
 *     also:   "noise": "low" | "high", "algorithm": "grid" | "random", "seed": 1
 *   {"ask": 4}    {"trials": [{"id": 0, "setting": [0.5, 2, null]}], "cpu_ms": 1.5}; fewer than
 *                 asked: nothing is left to try. A setting has one number a parameter (categories:
 *                 the index), null where a parameter is not active.
 *   {"tell": 0, "metrics": [0.25]}    metrics null: the trial failed; {"ok": true, "cpu_ms": 3}
 *   {"add": [0.5, 2, null], "metrics": [0.25]}    a trial that was not asked for; {"id": 7}
 *
 * cpu_ms is processor time of this process: of an ask the suggestion alone, of a tell the work that
 * a server does ahead in the background. Bad input: {"error": "..."} and the line has no effect. */
#include "base/mem.h"
#include "tune/tuner.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#define PARAMS_MAX 512
#define METRICS_MAX 16

struct study {
    struct tuner *tuner;
    size_t nr_params, nr_metrics;
    double *numbers[3 * PARAMS_MAX]; /* what the parameters point to */
    size_t nr_numbers;
    struct trial {
        enum tune_state state;
        double *setting, *metrics;
    } * trials;
    size_t nr, cap;
    size_t *ended; /* trial numbers in the order they ended */
    size_t nr_ended;
    uint64_t serial;
};

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void answer(json_t *o) {
    char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
    puts(line);
    fflush(stdout);
    free(line);
    json_decref(o);
}

static void study_close(struct study *s) {
    tuner_free(s->tuner);
    for (size_t i = 0; i < s->nr_numbers; i++) {
        free(s->numbers[i]);
    }
    for (size_t i = 0; i < s->nr; i++) {
        free(s->trials[i].setting);
        free(s->trials[i].metrics);
    }
    free(s->trials);
    free(s->ended);
    *s = (struct study){0};
}

static double number_of(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static bool is_word(const json_t *o, const char *key, const char *word) {
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) && !strcmp(json_string_value(v), word);
}

/* An array of numbers, null as NAN; NULL when it is none. */
static double *numbers_of(const json_t *a, size_t *ret_n) {
    if (!json_is_array(a)) {
        return NULL;
    }
    *ret_n = json_array_size(a);
    double *v = xcalloc(*ret_n + 1, sizeof(*v));
    for (size_t i = 0; i < *ret_n; i++) {
        const json_t *e = json_array_get(a, i);
        v[i] = json_is_number(e) ? json_number_value(e) : NAN;
    }
    return v;
}

static const double *keep(struct study *s, const json_t *o, const char *key, size_t *ret_n) {
    double *v = numbers_of(json_object_get(o, key), ret_n);
    if (v) {
        s->numbers[s->nr_numbers++] = v;
    }
    return v;
}

static bool read_param(struct study *s, const json_t *o, struct tune_param *p) {
    p->type = is_word(o, "type", "double")        ? TUNE_DOUBLE
              : is_word(o, "type", "integer")     ? TUNE_INTEGER
              : is_word(o, "type", "discrete")    ? TUNE_DISCRETE
              : is_word(o, "type", "categorical") ? TUNE_CATEGORICAL
                                                  : 0;
    p->scale = is_word(o, "scale", "log")           ? TUNE_LOG
               : is_word(o, "scale", "reverse_log") ? TUNE_REVERSE_LOG
                                                    : TUNE_LINEAR;
    p->lo = number_of(o, "lo", 0);
    p->hi = number_of(o, "hi", 0);
    p->nr_values = (size_t)number_of(o, "count", 0);
    if (p->type == TUNE_DISCRETE) {
        p->values = keep(s, o, "values", &p->nr_values);
    }
    p->has_default = json_is_number(json_object_get(o, "default"));
    p->default_value = number_of(o, "default", 0);
    p->parent = (int)number_of(o, "parent", -1);
    p->when = keep(s, o, "when", &p->nr_when);
    return p->type && (p->type != TUNE_DISCRETE || p->values);
}

static json_t *study_open(struct study *s, const json_t *o) {
    const json_t *params = json_object_get(o, "params"), *metrics = json_object_get(o, "metrics");
    size_t nr = json_array_size(params), nr_metrics = json_array_size(metrics);
    if (!nr || nr > PARAMS_MAX || nr_metrics > METRICS_MAX) {
        return json_pack("{ss}", "error", "a study has 1 to 512 params, at most 16 metrics");
    }
    struct tune_param p[PARAMS_MAX] = {0};
    struct tune_metric m[METRICS_MAX] = {{.minimize = true}};
    for (size_t i = 0; i < nr; i++) {
        if (!read_param(s, json_array_get(params, i), &p[i])) {
            return json_pack("{ss}", "error", "a param has no type, or no values");
        }
    }
    for (size_t i = 0; i < nr_metrics; i++) {
        const json_t *e = json_array_get(metrics, i);
        m[i].minimize = !is_word(e, "goal", "maximize");
        m[i].is_safety = json_is_number(json_object_get(e, "safety_threshold"));
        m[i].threshold = number_of(e, "safety_threshold", 0);
        m[i].min_safe_fraction = number_of(e, "min_safe_fraction", 0);
    }
    struct tune_study study = {
        .params = p,
        .nr_params = nr,
        .metrics = m,
        .nr_metrics = nr_metrics ? nr_metrics : 1,
        .noise = is_word(o, "noise", "high")  ? TUNE_NOISE_HIGH
                 : is_word(o, "noise", "low") ? TUNE_NOISE_LOW
                                              : TUNE_NOISE_UNSPECIFIED,
        .algorithm = is_word(o, "algorithm", "grid")     ? TUNE_GRID
                     : is_word(o, "algorithm", "random") ? TUNE_RANDOM
                                                         : TUNE_BAYES,
        .seed = (uint64_t)number_of(o, "seed", 0),
    };
    struct err err;
    s->nr_params = nr;
    s->nr_metrics = study.nr_metrics;
    s->tuner = tuner_new(&study, &err);
    return s->tuner ? json_pack("{sb}", "ok", 1) : json_pack("{ss}", "error", err.msg);
}

static size_t add_trial(struct study *s, double *setting) {
    if (s->nr == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->trials = xrealloc_array(s->trials, s->cap, sizeof(*s->trials));
        s->ended = xrealloc_array(s->ended, s->cap, sizeof(*s->ended));
    }
    s->trials[s->nr] = (struct trial){.setting = setting};
    return s->nr++;
}

/* As the tuner wants them: the ended ones as they ended, then the pending ones as they were made.
 */
static struct tune_trial *history(const struct study *s) {
    struct tune_trial *h = xcalloc(s->nr + 1, sizeof(*h));
    size_t n = 0;
    for (size_t i = 0; i < s->nr_ended; i++) {
        const struct trial *t = &s->trials[s->ended[i]];
        h[n++] = (struct tune_trial){t->state, t->setting, t->metrics};
    }
    for (size_t i = 0; i < s->nr; i++) {
        if (s->trials[i].state == TUNE_PENDING) {
            h[n++] = (struct tune_trial){.setting = s->trials[i].setting};
        }
    }
    return h;
}

static json_t *setting_json(const double *v, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(a, isnan(v[i]) ? json_null() : json_real(v[i]));
    }
    return a;
}

static json_t *ask(struct study *s, size_t count) {
    count = count < 1 ? 1 : count > 4096 ? 4096 : count;
    auto_free struct tune_trial *h = history(s);
    auto_free double *v = xcalloc(count * s->nr_params, sizeof(*v));
    double start = cpu_ms();
    size_t n = tuner_suggest(s->tuner, h, s->nr, s->serial, count, v);
    double took = cpu_ms() - start;
    s->serial += n;
    json_t *trials = json_array();
    for (size_t i = 0; i < n; i++) {
        double *own = xcalloc(s->nr_params, sizeof(*own));
        memcpy(own, v + i * s->nr_params, s->nr_params * sizeof(*own));
        size_t id = add_trial(s, own);
        json_array_append_new(trials, json_pack("{sIso}", "id", (json_int_t)id, "setting",
                                                setting_json(own, s->nr_params)));
    }
    return json_pack("{sosf}", "trials", trials, "cpu_ms", took);
}

static json_t *tell(struct study *s, size_t id, const json_t *metrics) {
    size_t n = 0;
    if (id >= s->nr || s->trials[id].state != TUNE_PENDING) {
        return json_pack("{ss}", "error", "no such pending trial");
    }
    double *v = numbers_of(metrics, &n);
    bool ok = v && n == s->nr_metrics;
    for (size_t k = 0; ok && k < n; k++) {
        ok = isfinite(v[k]);
    }
    s->trials[id].state = ok ? TUNE_DONE : TUNE_FAILED;
    s->trials[id].metrics = v;
    s->ended[s->nr_ended++] = id;
    auto_free struct tune_trial *h = history(s);
    double start = cpu_ms();
    tuner_prepare(s->tuner, h, s->nr);
    return json_pack("{sbsf}", "ok", 1, "cpu_ms", cpu_ms() - start);
}

static json_t *add(struct study *s, const json_t *setting, const json_t *metrics) {
    size_t n = 0;
    double *v = numbers_of(setting, &n);
    if (n != s->nr_params) {
        free(v);
        return json_pack("{ss}", "error", "a setting has one number a param");
    }
    size_t id = add_trial(s, v);
    json_decref(tell(s, id, metrics));
    return json_pack("{sI}", "id", (json_int_t)id);
}

static json_t *obey(struct study *s, const json_t *line) {
    const json_t *v;
    if ((v = json_object_get(line, "study"))) {
        study_close(s);
        return study_open(s, v);
    }
    if (!s->tuner) {
        return json_pack("{ss}", "error", "no study yet");
    }
    if ((v = json_object_get(line, "ask"))) {
        return ask(s, (size_t)json_number_value(v));
    }
    if ((v = json_object_get(line, "tell"))) {
        return tell(s, (size_t)json_number_value(v), json_object_get(line, "metrics"));
    }
    if ((v = json_object_get(line, "add"))) {
        return add(s, v, json_object_get(line, "metrics"));
    }
    return json_pack("{ss}", "error", "study, ask, tell or add");
}

int main(void) {
    struct study s = {0};
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        json_error_t e;
        json_t *o = json_loads(line, 0, &e);
        answer(o ? obey(&s, o) : json_pack("{ss}", "error", e.text));
        json_decref(o);
    }
    study_close(&s);
    free(line);
    return 0;
}
