/* The tuner as a program, for harnesses in any language: the protocol of bench/hpo/README.md, one
 * JSON object a line in, one a line out. An ask's time is what a caller of the service would wait
 * for; a tell's is the work that a server does in the background before the next ask. */
#include "base/mem.h"
#include "tune/tuner.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#define PARAMS_MAX 512
#define METRICS_MAX 15

struct trial {
    json_int_t id; /* the harness's */
    enum tune_state state;
    double *setting, *metrics;
};

struct study {
    struct tuner *tuner;
    json_t *start; /* the line it began with */
    size_t nr_params, nr_metrics;
    double *numbers[2 * PARAMS_MAX]; /* what the parameters point to */
    size_t nr_numbers;
    struct trial *trials;
    size_t nr, cap;
    size_t *ended; /* which trials, in the order they ended */
    size_t nr_ended;
};

static double seconds(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool is_word(const json_t *o, const char *key, const char *word) {
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) && !strcmp(json_string_value(v), word);
}

static double number_of(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static json_t *complaint(const char *what) {
    return json_pack("{ss}", "error", what);
}

/* Where v is in the list of values; -1: it is not. */
static double place_of(const json_t *values, const json_t *v) {
    for (size_t i = 0; i < json_array_size(values); i++) {
        if (json_equal(json_array_get(values, i), v)) {
            return (double)i;
        }
    }
    return -1;
}

static const json_t *param_json(const struct study *s, size_t i) {
    return json_array_get(json_object_get(s->start, "params"), i);
}

static bool is_category(const json_t *param) {
    return is_word(param, "type", "categorical");
}

static double *keep(struct study *s, size_t n) {
    return s->numbers[s->nr_numbers++] = xcalloc(n + 1, sizeof(double));
}

static bool read_parent(struct study *s, size_t i, struct tune_param *p) {
    const json_t *o = param_json(s, i), *name = json_object_get(o, "parent"),
                 *when = json_object_get(o, "when");
    p->parent = -1;
    if (!name) {
        return true;
    }
    for (size_t k = 0; k < i; k++) {
        if (json_equal(json_object_get(param_json(s, k), "name"), name)) {
            p->parent = (int)k;
        }
    }
    if (p->parent < 0) {
        return false;
    }
    const json_t *of = param_json(s, (size_t)p->parent);
    double *values = keep(s, json_array_size(when));
    for (size_t k = 0; k < json_array_size(when); k++) {
        const json_t *v = json_array_get(when, k);
        values[k] =
            is_category(of) ? place_of(json_object_get(of, "values"), v) : json_number_value(v);
    }
    p->when = values;
    p->nr_when = json_array_size(when);
    return true;
}

static bool read_param(struct study *s, size_t i, struct tune_param *p) {
    const json_t *o = param_json(s, i), *values = json_object_get(o, "values");
    p->type = is_word(o, "type", "double")     ? TUNE_DOUBLE
              : is_word(o, "type", "integer")  ? TUNE_INTEGER
              : is_word(o, "type", "discrete") ? TUNE_DISCRETE
              : is_category(o)                 ? TUNE_CATEGORICAL
                                               : 0;
    p->scale = is_word(o, "scale", "log")           ? TUNE_LOG
               : is_word(o, "scale", "reverse_log") ? TUNE_REVERSE_LOG
                                                    : TUNE_LINEAR;
    p->lo = number_of(o, "lo", 0);
    p->hi = number_of(o, "hi", 0);
    p->nr_values = json_array_size(values);
    const json_t *first = json_object_get(o, "default");
    p->has_default = first;
    p->default_value =
        p->type == TUNE_CATEGORICAL ? place_of(values, first) : number_of(o, "default", 0);
    if (p->type == TUNE_DISCRETE) {
        double *v = keep(s, p->nr_values);
        for (size_t k = 0; k < p->nr_values; k++) {
            v[k] = json_number_value(json_array_get(values, k));
        }
        p->values = v;
    }
    return p->type && read_parent(s, i, p) &&
           !(p->has_default && p->default_value < 0 && is_category(o));
}

static json_t *start(struct study *s, json_t *line) {
    const json_t *metrics = json_object_get(line, "metrics");
    s->start = json_incref(line);
    s->nr_params = json_array_size(json_object_get(line, "params"));
    s->nr_metrics = json_array_size(metrics);
    if (!s->nr_params || s->nr_params > PARAMS_MAX || !s->nr_metrics ||
        s->nr_metrics > METRICS_MAX) {
        return complaint("a study has 1 to 512 params and 1 to 15 metrics");
    }
    struct tune_param p[PARAMS_MAX] = {0};
    struct tune_metric m[METRICS_MAX] = {0};
    for (size_t i = 0; i < s->nr_params; i++) {
        if (!read_param(s, i, &p[i])) {
            return complaint(
                "a param has no type that is known, or a parent that does not come before it");
        }
    }
    for (size_t i = 0; i < s->nr_metrics; i++) {
        const json_t *e = json_array_get(metrics, i);
        m[i] = (struct tune_metric){.minimize = is_word(e, "goal", "minimize"),
                                    .is_safety = json_object_get(e, "safety_threshold"),
                                    .threshold = number_of(e, "safety_threshold", 0)};
    }
    struct tune_study study = {
        .params = p,
        .nr_params = s->nr_params,
        .metrics = m,
        .nr_metrics = s->nr_metrics,
        .noise = is_word(line, "noise", "high")  ? TUNE_NOISE_HIGH
                 : is_word(line, "noise", "low") ? TUNE_NOISE_LOW
                                                 : TUNE_NOISE_UNSPECIFIED,
        .algorithm = is_word(line, "algorithm", "grid")     ? TUNE_GRID
                     : is_word(line, "algorithm", "random") ? TUNE_RANDOM
                                                            : TUNE_BAYES,
        .seed = (uint64_t)number_of(line, "seed", 0),
    };
    struct err err;
    s->tuner = tuner_new(&study, &err);
    return s->tuner ? json_pack("{sbss}", "ok", 1, "version", "cusp") : complaint(err.msg);
}

/* As the tuner wants them: ended ones as they ended, then pending ones as they were made. */
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

static json_t *setting_json(const struct study *s, const double *v) {
    json_t *o = json_object();
    for (size_t i = 0; i < s->nr_params; i++) {
        const json_t *p = param_json(s, i);
        const char *name = json_string_value(json_object_get(p, "name"));
        if (!isnan(v[i])) {
            json_t *value =
                is_category(p)
                    ? json_incref(json_array_get(json_object_get(p, "values"), (size_t)v[i]))
                : is_word(p, "type", "integer") ? json_integer((json_int_t)v[i])
                                                : json_real(v[i]);
            json_object_set_new(o, name ? name : "", value);
        }
    }
    return o;
}

static json_t *ask(struct study *s, const json_t *line) {
    auto_free struct tune_trial *h = history(s);
    double *v = xcalloc(s->nr_params, sizeof(*v));
    if (!tuner_suggest(s->tuner, h, s->nr, s->nr, 1, v)) {
        free(v);
        return json_pack("{sb}", "exhausted", 1);
    }
    if (s->nr == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->trials = xrealloc_array(s->trials, s->cap, sizeof(*s->trials));
        s->ended = xrealloc_array(s->ended, s->cap, sizeof(*s->ended));
    }
    s->trials[s->nr++] = (struct trial){
        .id = json_integer_value(json_object_get(line, "id")), .state = TUNE_PENDING, .setting = v};
    return json_pack("{so}", "setting", setting_json(s, v));
}

static json_t *tell(struct study *s, const json_t *line) {
    json_int_t id = json_integer_value(json_object_get(line, "id"));
    size_t i = s->nr;
    while (i > 0 && (s->trials[i - 1].id != id || s->trials[i - 1].state != TUNE_PENDING)) {
        i--;
    }
    if (!i--) {
        return complaint("no pending trial has this id");
    }
    const json_t *values = json_object_get(line, "values");
    double *v = xcalloc(s->nr_metrics, sizeof(*v));
    bool ok = json_array_size(values) == s->nr_metrics;
    for (size_t k = 0; k < s->nr_metrics; k++) {
        const json_t *e = json_array_get(values, k);
        ok = ok && json_is_number(e);
        v[k] = json_number_value(e);
    }
    s->trials[i].state = ok ? TUNE_DONE : TUNE_FAILED;
    s->trials[i].metrics = v;
    s->ended[s->nr_ended++] = i;
    auto_free struct tune_trial *h = history(s);
    tuner_prepare(s->tuner, h, s->nr);
    return json_object();
}

static json_t *obey(struct study *s, json_t *line) {
    if (is_word(line, "op", "start") && !s->start) {
        return start(s, line);
    }
    if (!s->tuner) {
        return complaint("a study starts once, and first");
    }
    return is_word(line, "op", "ask")    ? ask(s, line)
           : is_word(line, "op", "tell") ? tell(s, line)
                                         : complaint("op is start, ask or tell");
}

static void answer(struct study *s, json_t *line, const char *wrong) {
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    json_t *o = line ? obey(s, line) : complaint(wrong);
    json_object_set_new(o, "cpu", json_real(seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu));
    json_object_set_new(o, "wall", json_real(seconds(CLOCK_MONOTONIC) - wall));
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
    puts(text);
    fflush(stdout);
    free(text);
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
    json_decref(s->start);
}

int main(void) {
    struct study s = {0};
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        json_error_t e;
        json_t *o = json_loads(line, 0, &e);
        answer(&s, o, e.text);
        json_decref(o);
    }
    study_close(&s);
    free(line);
    return 0;
}
