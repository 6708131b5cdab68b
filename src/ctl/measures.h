/* What the replicas of a tuning trial have reported, as the log of its job has it (MEASURED). Every
 * report is kept up to limits.max_trial_reports; of what comes then, the newest, the smallest and
 * the largest of each name, ever more seldom, and always before an exit. Loop thread. */
#ifndef CUSP_CTL_MEASURES_H
#define CUSP_CTL_MEASURES_H

#include "base/map.h"
#include "base/vec.h"
#include "engine/engine.h"

struct measure {
    uint32_t tag; /* index into tags */
    double value; /* may be NaN or infinite */
    int64_t step;
    usec_t timestamp; /* wall, the reporter's */
    uint32_t attempt; /* of the job, from 1 */
    uint64_t seq;     /* of the event; durable when the job's log is that far */
};

/* Later reports of one name than are kept one by one. */
struct measures_held {
    bool has;
    struct metric_report last, min, max; /* tag: unused */
};

struct measures {
    VEC_OF(struct measure) all;        /* as saved, in order */
    VEC_OF(char *) tags;               /* names, in the order they came; owned */
    VEC_OF(struct measures_held) held; /* by tag; memory only */
    struct map known;                  /* (attempt, timestamp, tag, step) of all */
    uint64_t nr_seen, next_keep;
};

void measures_init(struct measures *m);
void measures_fini(struct measures *m);
const char *measures_tag(const struct measures *m, const struct measure *x);

struct metric_vec {
    struct metric_report *p; /* owned */
    size_t n, cap;
};
/* Which of the reports of the job's attempt are to be saved: new ones only. Appended to ret (views
 * of `r` and of m, until the next call). flush: what was held back too. */
void measures_pick(struct measures *m, uint32_t attempt, const struct metric_report *r, size_t n,
                   bool flush, struct metric_vec *ret);
/* What was saved; attempt: of the job. */
void measures_apply(struct measures *m, uint64_t seq, uint32_t attempt,
                    const struct metric_report *r, size_t n);

#endif
