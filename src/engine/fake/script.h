/* What a job's labels tell the fake engine to do. */
#ifndef CUSP_ENGINE_FAKE_SCRIPT_H
#define CUSP_ENGINE_FAKE_SCRIPT_H

#include "engine/engine.h"

enum script_fail { SCRIPT_FAIL_NO = 0, SCRIPT_FAIL_STAGE, SCRIPT_FAIL_LAUNCH };

enum script_metric {
    SCRIPT_METRIC_PLAIN = 0,
    SCRIPT_METRIC_NAN,
    SCRIPT_METRIC_INF,
    SCRIPT_METRIC_OTHER
};

struct script {
    usec_t stage, run;
    enum script_fail fail;
    enum err_code fail_code;
    uint32_t actor; /* the replica whose end is scripted; others exit 0 */
    enum exit_kind kind;
    int value;
    bool lose, ignore_term;
    const char *metric; /* the spec's; NULL: it reports nothing */
    uint32_t steps;     /* how often */
    enum script_metric metric_as;
    double metric_end; /* value of the last step */
};

/* Of one attempt; later attempts may be told to behave. */
void script_read(const struct job_spec *spec, uint32_t attempt, struct script *ret);

#endif
