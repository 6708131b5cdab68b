#include "steps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void submit(struct suggest_runner *r, struct suggest_work *w) {
    struct steps *st = (struct steps *)r;
    assert_true(st->nr < NR_OF(st->work));
    st->work[st->nr++] = w;
}

void steps_init(struct steps *st) {
    *st = (struct steps){.runner.submit = submit};
}

bool steps_take(struct steps *st) {
    if (!st->nr) {
        return false;
    }
    struct suggest_work *w = st->work[0];
    memmove(st->work, st->work + 1, --st->nr * sizeof(*st->work));
    st->nr_run++;
    w->run(w);
    w->done(w);
    return true;
}
