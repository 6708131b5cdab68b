/* Inside src/logs: the shared object, segment directory cursors, the service writer. */
#ifndef CUSP_LOGS_INT_H
#define CUSP_LOGS_INT_H

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "logs/logs.h"
#include "logs/retain.h"
#include "sys/lane.h"
#include "sys/loop.h"

/* ---- reader.c: a position in one segment directory. Blocking; used on the disk lane by one work
 * at a time. */
struct seg_cursor {
    char *dir;
    unsigned file;   /* index of the segment being read */
    uint64_t offset; /* in it; 0 = header not checked yet */
    bool eof_seen;   /* SEG_EOF was read: nothing follows */
};
void seg_cursor_init(struct seg_cursor *c, const char *dir);
void seg_cursor_fini(struct seg_cursor *c);
/* Appends whole raw frames to out (at most max bytes of them). 0 and nothing added: no news.
 * A corrupt frame is an error (DATA_LOSS) naming file and offset. */
int seg_cursor_read(struct seg_cursor *c, struct buf *out, size_t max, struct err *err);

/* ---- writer side of service streams (service.c) */
struct service_writer;
void service_append(struct logs *g, const char *job_id, usec_t when, int severity, const char *text,
                    bool end);
void service_set_owner(struct logs *g, const char *job_id, uint64_t project);
void service_forget(struct logs *g, const char *job_id);
/* Finds the next seq and the last time, and cuts a torn tail off. Blocking. */
int seg_append_open(const char *dir, int *ret_fd, uint64_t *ret_seq, usec_t *ret_last,
                    bool *ret_ended, struct err *err);

struct logs {
    struct loop *loop;
    struct lane *disk;
    char *dir;          /* DIR/logs */
    struct map writers; /* job id -> struct service_writer */
    struct list follows;
    usec_t safety_poll; /* between looks that inotify did not ask for: it may lose an event */
    unsigned nr_follows;
    bool strict;
    uint8_t page_key[LOGS_KEY_BYTES];
    struct written *written;
    struct retain *retain; /* NULL: not started */
    struct log_usage usage;
};

/* ---- owner.c: whose a job's log is. On the lane. DIR/logs/JOB/owner holds the project's number;
 * DIR/logs/projects/NUMBER/JOB, an empty file, is its mark until the log is complete (catalog.h).
 */
int owner_write(struct logs *g, const char *job_id, uint64_t project, struct err *err) MUST_CHECK;
bool owner_read(struct logs *g, const char *job_id, uint64_t *ret);
/* True too for a log from before there were owners. */
bool owner_is(struct logs *g, const char *job_id, uint64_t project);
/* Every job of the project that has a mark. */
void owner_each(struct logs *g, uint64_t project, void (*fn)(void *arg, const char *job_id),
                void *arg);

/* The streams of one job: fn with each one's directory, task ("service": attempt 0) and attempt.
 * False: the job has no log. */
bool streams_each(struct logs *g, const char *job_id,
                  void (*fn)(void *arg, const char *dir, const char *task, uint32_t attempt),
                  void *arg);

/* ---- retain.c */
void retain_free(struct retain *r); /* after the lane is closed */

/* ---- follow.c */
void follow_stop_all(struct logs *g); /* closing: those their owners forgot to stop */

#endif
