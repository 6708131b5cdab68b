/* Which trials a client that asks for some is given: first those that it has and has not ended,
 * then those that were REQUESTED, then new ones as the study suggests. The same client asking again
 * is given the same; no trial is given to two clients. Loop thread. */
#ifndef CUSP_CTL_STUDY_ASK_H
#define CUSP_CTL_STUDY_ASK_H

#include "ctl/studies.h"
#include "ctl/study_context.h"

struct study_ask {
    const char *client_id;
    const study_context *contexts; /* count, one a trial; NULL: none has any */
    size_t count;                  /* > 0 */
};

struct study_given {
    uint64_t id;
    enum { GIVEN_ITS_OWN, GIVEN_REQUESTED, GIVEN_NEW } how;
    const double *setting; /* GIVEN_NEW, and GIVEN_REQUESTED of an open one: in the batch's arena.
                              Else NULL */
};

/* given: of count. STUDY_SAVE: *ret_nr of them, fewer than count when the study is over or every
 * setting was tried (then it is COMPLETED in the same batch). */
enum study_verdict study_ask(const struct study_view *v, struct study_batch *b,
                             const struct study_ask *ask, struct study_given *given, size_t *ret_nr,
                             struct err *err);

#endif
