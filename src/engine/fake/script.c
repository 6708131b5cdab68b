/* Labels to script. */
#include "engine/fake/script.h"

#include <signal.h>
#include <stdlib.h>

static const char *label(const struct job_spec *spec, const char *key) {
    for (size_t i = 0; i < spec->nr_labels; i++) {
        if (strcmp(spec->labels[i].name, key) == 0) {
            return spec->labels[i].value;
        }
    }
    return NULL;
}

static uint64_t number(const struct job_spec *spec, const char *key, uint64_t otherwise) {
    uint64_t v;
    const char *text = label(spec, key);
    return text && str_to_u64(str_of(text), &v) ? v : otherwise;
}

static void read_mischief(const struct job_spec *spec, struct script *s) {
    const char *fail = label(spec, "cusp-test-fail");
    if (label(spec, "cusp-test-signal")) {
        s->kind = EXIT_SIGNAL;
        s->value = (int)number(spec, "cusp-test-signal", SIGKILL);
    } else if (number(spec, "cusp-test-oom", 0)) {
        s->kind = EXIT_OOM;
        s->value = 128 + SIGKILL;
    } else if (number(spec, "cusp-test-runtime-error", 0)) {
        s->kind = EXIT_RUNTIME;
        s->value = 127;
    } else {
        s->value = (int)number(spec, "cusp-test-exit", 0);
    }
    s->lose = number(spec, "cusp-test-lose", 0) != 0;
    if (label(spec, "cusp-test-lose-replica")) {
        s->lose = true;
        s->actor = (uint32_t)number(spec, "cusp-test-lose-replica", 0);
    }
    if (fail) {
        s->fail = strcmp(fail, "stage") == 0 ? SCRIPT_FAIL_STAGE : SCRIPT_FAIL_LAUNCH;
        s->fail_code =
            (enum err_code)number(spec, "cusp-test-fail-code",
                                  s->fail == SCRIPT_FAIL_STAGE ? ERR_NOT_FOUND : ERR_INTERNAL);
    }
}

/* ---- what a trial reports ---- */
#define STEPS_MAX 1000000u

static double value_of(const char *text) {
    char *end;
    double v = strtod(text, &end);
    return *text && !*end ? v : (double)strlen(text) / 10;
}

/* Something that every parameter bears upon, and that tests can work out by themselves. */
static double objective(const struct job_spec *spec) {
    double sum = 0;
    for (const char **a = spec->nr_pools ? spec->pools[0].args : NULL; a && *a; a++) {
        const char *eq = strchr(*a, '=');
        if (strncmp(*a, "--", 2) == 0 && eq) {
            double d = value_of(eq + 1) - 0.5;
            sum += d * d;
        }
    }
    return sum;
}

static void read_metric(const struct job_spec *spec, bool is_tame, struct script *s) {
    const char *as = is_tame ? NULL : label(spec, "cusp-test-metric-as");
    s->metric = spec->trial_id ? label(spec, "cusp-test-metric") : NULL;
    uint64_t steps = number(spec, "cusp-test-metric-steps", 3);
    s->steps = steps < STEPS_MAX ? (uint32_t)steps : STEPS_MAX;
    s->metric_end = objective(spec);
    if (as && strcmp(as, "nothing") == 0) {
        s->metric = NULL;
    } else if (as) {
        s->metric_as = strcmp(as, "nan") == 0   ? SCRIPT_METRIC_NAN
                       : strcmp(as, "inf") == 0 ? SCRIPT_METRIC_INF
                                                : SCRIPT_METRIC_OTHER;
    }
}

/* Mischief is meant for this trial, or for every one. */
static bool is_chosen(const struct job_spec *spec) {
    const char *trials = label(spec, "cusp-test-trials");
    struct str rest = str_of(trials ? trials : "");
    while (trials && spec->trial_id && rest.n > 0) {
        if (str_eqc(str_cut(&rest, '_'), spec->trial_id)) {
            return true;
        }
    }
    return trials == NULL;
}

void script_read(const struct job_spec *spec, uint32_t attempt, struct script *ret) {
    bool is_tame =
        attempt > number(spec, "cusp-test-until-attempt", UINT32_MAX) || !is_chosen(spec);
    *ret = (struct script){.kind = EXIT_CODE};
    ret->stage = number(spec, "cusp-test-stage-ms", 0) * USEC_PER_MSEC;
    ret->run = number(spec, "cusp-test-run-ms", 10) * USEC_PER_MSEC;
    ret->ignore_term = number(spec, "cusp-test-ignore-term", 0) != 0;
    ret->actor = (uint32_t)number(spec, "cusp-test-replica", 0);
    read_metric(spec, is_tame, ret);
    if (!is_tame) {
        read_mischief(spec, ret);
    }
}
