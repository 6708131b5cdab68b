/* What a job's labels tell the fake engine to do. */
#ifndef CUSP_ENGINE_FAKE_SCRIPT_H
#define CUSP_ENGINE_FAKE_SCRIPT_H

#include "engine/engine.h"

enum script_fail { SCRIPT_FAIL_NO = 0, SCRIPT_FAIL_STAGE, SCRIPT_FAIL_LAUNCH };

struct script {
    usec_t stage, run;
    enum script_fail fail;
    enum err_code fail_code;
    uint32_t actor; /* the replica whose end is scripted; others exit 0 */
    enum exit_kind kind;
    int value;
    bool lose, ignore_term;
};

/* Of one attempt; later attempts may be told to behave. */
void script_read(const struct job_spec *spec, uint32_t attempt, struct script *ret);

#endif
