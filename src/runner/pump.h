/* From the container's pipes to its log: lines, frames, and the last stderr lines. Single thread;
 * never fails the run. */
#ifndef CUSP_RUNNER_PUMP_H
#define CUSP_RUNNER_PUMP_H

#include "runner/lines.h"
#include "sys/seglog.h"

#define PUMP_READ_BYTES 65536

struct pump_stream {
    struct pump *pump;
    int fd; /* -1: ended */
    uint8_t stream;
    struct lines lines;
    usec_t read_at; /* wall clock of the bytes being split */
};

struct pump {
    struct pump_stream in[2]; /* stdout, stderr */
    struct seglog log;
    struct tail tail; /* of stderr */
};

/* Makes the pipes; ret_child are the ends the container writes to (caller closes them). */
int pump_open(struct pump *p, const char *log_dir, usec_t now, int ret_child[2],
              struct err *err) MUST_CHECK;
void pump_fini(struct pump *p);
/* Reads what is there from stream i, once. */
void pump_read(struct pump *p, size_t i);
static inline bool pump_ended(const struct pump *p) {
    return p->in[0].fd < 0 && p->in[1].fd < 0;
}
/* No more output will be taken: unfinished lines go out, the log gets its end mark, everything is
 * on disk (as far as it will have it). */
void pump_finish(struct pump *p, usec_t wall, usec_t now);

#endif
