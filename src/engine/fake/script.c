/* Labels to script. */
#include "engine/fake/script.h"

#include <signal.h>

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

void script_read(const struct job_spec *spec, uint32_t attempt, struct script *ret) {
    *ret = (struct script){.kind = EXIT_CODE};
    ret->stage = number(spec, "cusp-test-stage-ms", 0) * USEC_PER_MSEC;
    ret->run = number(spec, "cusp-test-run-ms", 10) * USEC_PER_MSEC;
    ret->ignore_term = number(spec, "cusp-test-ignore-term", 0) != 0;
    ret->actor = (uint32_t)number(spec, "cusp-test-replica", 0);
    if (attempt <= number(spec, "cusp-test-until-attempt", UINT32_MAX)) {
        read_mischief(spec, ret);
    }
}
