/* See job_trial.h. */
#include "api/job_trial.h"

#include "base/enc.h"

#define FIELD 0x1fffffffu /* the largest number of a field */
#define TAG ((uint64_t)FIELD << 3 | 2u)

void job_trial_put(struct buf *b, const struct job_trial *t) {
    enc_varint(b, TAG);
    enc_varint(b, t->tuning.n + 1 + t->trial.n);
    buf_printf(b, "%.*s/%.*s", STR_ARG(t->tuning), STR_ARG(t->trial));
}

struct str job_trial_cut(struct str spec, struct job_trial *ret) {
    struct str rest = spec;
    uint64_t tag, n;
    if (ret) {
        *ret = (struct job_trial){0};
    }
    if (!rest.n || !enc_unvarint(&rest, &tag) || tag != TAG || !enc_unvarint(&rest, &n) ||
        n > rest.n) {
        return spec;
    }
    struct str mark = str_sub(rest, 0, n);
    if (ret) {
        ret->tuning = str_cut(&mark, '/');
        ret->trial = mark;
    }
    return str_sub(rest, n, rest.n);
}
