/* Which jobs of a project have a log, and when: what a list that names no job looks at instead of
 * every directory. A job whose log may still grow has a mark (DIR/logs/projects/NUMBER/JOB,
 * owner.c); one whose log is complete has a record in DIR/logs/projects/NUMBER/.ended:
 *
 *   "cusp-ended 1\n", padded with NUL to 16 bytes; then records of 40 bytes, little-endian:
 *   u64 job   u64 time of its first line   u64 of its last   u64 bytes   u32 0   u32 CRC-32C of the
 * 36
 *
 * Records are appended, durably, before the mark goes; a torn last one is not there. The file says
 * nothing that the logs themselves do not: when it is damaged it is made again. Blocking; the lane.
 * One writer at a time (retain.c); readers at any time. */
#ifndef CUSP_LOGS_CATALOG_H
#define CUSP_LOGS_CATALOG_H

#include "logs/logs_int.h"

struct catalog_item {
    uint64_t job;
    usec_t first, last;
    uint64_t bytes;
    bool is_open; /* it may grow: no times, no bytes */
};
struct catalog {
    VEC_OF(struct catalog_item) items;
};
void catalog_fini(struct catalog *c);

/* The jobs that may have lines within [from, to]. A job that is moved meanwhile is there once.
 * DATA_LOSS: the file is damaged; what could be read is there. */
int catalog_load(struct logs *g, uint64_t project, usec_t from, usec_t to, struct catalog *ret,
                 struct err *err) MUST_CHECK;
/* Appends records, durably, then removes the marks of their jobs. */
int catalog_add(struct logs *g, uint64_t project, const struct catalog_item *items, size_t nr,
                struct err *err) MUST_CHECK;
/* Writes the file anew with these. */
int catalog_replace(struct logs *g, uint64_t project, const struct catalog *c,
                    struct err *err) MUST_CHECK;
/* Names of streams ("workerpool0-0") that complete logs of the project have had: an empty file each
 * in DIR/logs/projects/NUMBER/.tasks, whose time of change is when the newest line of that name was
 * read. */
int catalog_add_task(struct logs *g, uint64_t project, const char *task, usec_t last,
                     struct err *err) MUST_CHECK;
void catalog_each_task(struct logs *g, uint64_t project,
                       void (*fn)(void *arg, struct str task, usec_t last), void *arg);
/* Every project that has logs. */
void catalog_each_project(struct logs *g, void (*fn)(void *arg, uint64_t project), void *arg);

#endif
