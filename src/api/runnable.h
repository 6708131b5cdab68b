/* Resources that ctl runs to an end (jobs, pipelines): how they are got, cancelled and deleted by
 * name. Loop thread.
 *
 * A get may be held: one that official libraries poll with, of something about to end, is answered
 * when it has (api/hold.h; docs/internals/api.md). */
#ifndef CUSP_API_RUNNABLE_H
#define CUSP_API_RUNNABLE_H

#include "api/call.h"
#include "ctl/ctl.h"

struct runnable_kind {
    const char *word;       /* "CustomJob", in "The CustomJob "..." does not exist." */
    const char *collection; /* "customJobs" */
    /* How near its end a live one is; false when not live. */
    bool (*outlook)(struct ctl *, struct str name, struct job_outlook *ret);
    /* Answers with what the row stands for. */
    void (*reply)(struct call *, const struct store_row *row);
    void (*cancel)(struct ctl *, struct str name, struct ctl_call *);
    void (*remove)(struct ctl *, struct str name, struct ctl_call *);
    void (*removed)(struct call *); /* before that is answered; NULL: nothing follows from it */
};

/* name: as sent, of the call's request. Each answers the call: with the resource; with Empty; with
 * a finished operation. */
void runnable_held_get(struct call *c, const char *name, const struct runnable_kind *k);
void runnable_cancel(struct call *c, const char *name, const struct runnable_kind *k);
void runnable_delete(struct call *c, const char *name, const struct runnable_kind *k);

#endif
