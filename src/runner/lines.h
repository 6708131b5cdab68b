/* Bytes into lines, and the last lines of a stream. Pure. */
#ifndef CUSP_RUNNER_LINES_H
#define CUSP_RUNNER_LINES_H

#include "base/buf.h"

/* A piece of output: a whole line without its newline, or a part of one (more follows). */
typedef void lines_fn(void *arg, struct str piece, bool partial);

/* Splits a stream. Holds at most `max` bytes: a longer line comes out in partial pieces of max
 * bytes and a last one that is not partial (and may be empty). */
struct lines {
    struct buf held; /* the beginning of a line whose end has not come */
    size_t max;
    bool in_line; /* partial pieces of the current line are out already */
};
void lines_init(struct lines *l, size_t max);
void lines_fini(struct lines *l);
void lines_feed(struct lines *l, struct str bytes, lines_fn *fn, void *arg);
/* The stream has ended: an unfinished line comes out as it is. */
void lines_end(struct lines *l, lines_fn *fn, void *arg);

#define TAIL_LINES 20
#define TAIL_BYTES 4000 /* newlines included */

/* The last TAIL_LINES lines, cut from the front to TAIL_BYTES. */
struct tail {
    char *line[TAIL_LINES]; /* ring */
    size_t n, next;
    bool joining; /* the newest one is unfinished */
};
void tail_fini(struct tail *t);
void tail_add(struct tail *t, struct str piece, bool partial);
/* Lines, oldest first, joined by newlines; none at the end. Never begins inside a UTF-8 sequence.
 */
void tail_text(const struct tail *t, struct buf *out);

#endif
