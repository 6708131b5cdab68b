/* The log of one replica: frames of base/seg.h appended to segment files. Writing is batched (add,
 * then one flush a wake-up); data reaches the disk within SEGLOG_SYNC_USEC.
 *
 * When the disk refuses, memory stays bounded: SEGLOG_PENDING_MAX bytes wait, what comes then is
 * counted and dropped, and once there is room a service frame says how much is missing. Nothing
 * here ever fails the run. Single thread. */
#ifndef CUSP_SYS_SEGLOG_H
#define CUSP_SYS_SEGLOG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/seg.h"

#define SEGLOG_SYNC_USEC USEC_PER_SEC
#define SEGLOG_RETRY_USEC (250 * USEC_PER_MSEC)
#define SEGLOG_PENDING_MAX (1u << 20)
#define SEGLOG_PUSH_BYTES (4u << 20)
#define SEGLOG_ROOM_MIN (4u << 20) /* free bytes before writing again after the disk was full */

struct seglog {
    int dir_fd, fd;
    uint32_t index;    /* number of the current file */
    uint64_t file_len; /* bytes in it, a torn frame included */
    uint64_t pushed;   /* of them: their way to the disk has begun */
    uint64_t seq;      /* of the next frame added */
    usec_t last;       /* the latest time of the frames before it */
    uint64_t written;  /* frames completely in files */
    struct buf out;    /* frames not completely written; begins at a frame */
    size_t part;       /* bytes of out already in the file */
    bool dirty;        /* written since the last sync */
    int refused;       /* errno of the last write, 0: fine */
    uint64_t lost;     /* bytes dropped and not yet reported in the log */
    uint64_t lost_total;
    usec_t next_sync, next_try; /* monotonic */
};

/* Numbers of the segment files in a directory: [*ret_first, *ret_end), both 0 when there is none or
 * no directory. Older files go first when a log is cut short (logs/retain.h). */
void seg_range(const char *dir, uint32_t *ret_first, uint32_t *ret_end);

/* Opens the directory (made when missing). A torn frame at the end is cut off and the numbers go
 * on from the last whole one. */
int seglog_open(struct seglog *s, const char *dir, usec_t now, struct err *err) MUST_CHECK;
void seglog_fini(struct seglog *s);
void seglog_add(struct seglog *s, const struct seg_frame *f); /* seq is filled in */
/* The time to give a frame that was read at t. Readers of a replica's log look for times by
 * bisection: when the clock was set back its lines have the time of the one before them, until it
 * has caught up. */
usec_t seglog_in_order(const struct seglog *s, usec_t t);
/* Writes what is waiting, syncs when due. */
void seglog_flush(struct seglog *s, usec_t now);
/* When flush wants to be called again although nothing was added; USEC_NEVER: not. */
usec_t seglog_due(const struct seglog *s);
/* Writes the SEG_EOF frame and syncs; what cannot be written now is dropped and counted. */
void seglog_finish(struct seglog *s, usec_t wall, usec_t now);

#endif
