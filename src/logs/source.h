/* One replica's log as a source of entries: read in blocks, forwards or backwards, a head at a
 * time. Blocking; the lane. */
#ifndef CUSP_LOGS_SOURCE_H
#define CUSP_LOGS_SOURCE_H

#include "logs/gather.h"
#include "logs/logs_int.h"
#include "logs/query.h"

struct source {
    char *job_id, *task;
    char *shown_as, *trial; /* of a trial that is listed with its tuning job: its id; else NULL */
    uint32_t attempt;
    size_t scope; /* whose it is: the search's number of the project */
    struct seg_cursor cursor;
    struct arena *arena;
    struct gather gather;
    bool opened, finished;
    size_t at, end; /* items still to be given: [at, end), backwards when descending */
    unsigned block;
    uint64_t next_seq; /* ascending: next frame to read; descending: frames below it are left */
    /* descending: what of the frames that were read is not given: below this frame, and before
     * this time. Lines that say their own time can stand before ones that were written earlier. */
    uint64_t end_seq;
    usec_t end_time;
    /* head; until it is opened: a time before which (descending: after which) it has nothing. */
    usec_t key;
    char id[INSERT_ID_MAX + 1];
};

/* How all sources of one search are read. */
struct source_rules {
    bool descending, strict;
    usec_t from, to; /* of the query's scope */
    usec_t blocked;  /* ascending: something at this time is not complete yet; USEC_NEVER */
    struct str task; /* .p NULL: any */
};

/* NULL: it has nothing within the rules. */
struct source *source_new(const struct source_rules *r, const char *job_id, const char *dir,
                          const char *task, uint32_t attempt);
void source_free(struct source *s);
static inline bool source_has_head(const struct source *s) {
    return s->opened && s->at < s->end;
}
/* Until there is a head or it has finished. */
int source_fill(struct source_rules *r, struct source *s, struct err *err) MUST_CHECK;
const struct captured *source_head(const struct source_rules *r, const struct source *s);
void source_drop_head(const struct source_rules *r, struct source *s);

#endif
