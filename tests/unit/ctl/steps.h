/* A runner of suggestions that runs nothing until told to. */
#ifndef CUSP_TESTS_STEPS_H
#define CUSP_TESTS_STEPS_H

#include "ctl/suggest.h"

struct steps {
    struct suggest_runner runner; /* first */
    struct suggest_work *work[8];
    unsigned nr, nr_run;
};
void steps_init(struct steps *st);
/* Runs the oldest; false: there is none. */
bool steps_take(struct steps *st);

#endif
