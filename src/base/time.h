/* Time: microseconds, RFC 3339 and protobuf durations as text, and the clock that decision code is
 * given (real under libuv, simulated in tests). Decision code never asks the system for the time.
 */
#ifndef CUSP_BASE_TIME_H
#define CUSP_BASE_TIME_H

#include "base/buf.h"
#include "base/err.h"
#include "base/heap.h"

typedef uint64_t usec_t; /* since the Unix epoch (wall) or an arbitrary start (mono) */
#define USEC_PER_SEC 1000000u
#define USEC_PER_MSEC 1000u
#define USEC_NEVER UINT64_MAX

usec_t time_wall(void); /* CLOCK_REALTIME */
usec_t time_mono(void); /* CLOCK_MONOTONIC */

/* "2024-05-01T10:00:00.123456Z"; fraction omitted when zero, else 3 or 6 digits. */
void time_format_rfc3339(struct buf *b, usec_t t);
/* Always nine fraction digits, as log readers need (reference 11 §3). */
void time_format_rfc3339_nano(struct buf *b, usec_t t);
/* Accepts Z or an offset, 0-9 fraction digits (past microseconds is cut off), years 1970-9999. */
int time_parse_rfc3339(struct str s, usec_t *ret, struct err *err);
/* "3600s", "1.5s"; non-negative only. */
int time_parse_duration(struct str s, usec_t *ret, struct err *err);
void time_format_duration(struct buf *b, usec_t d);

/* A timer belongs to its owner's struct; fn runs once, on the loop thread, when the clock passes
 * `when` (monotonic). Re-arm from fn is allowed. */
struct timer {
    struct heap_node node;
    usec_t when;
    void (*fn)(struct timer *);
};

struct clock {
    const struct clock_ops *ops;
};

struct clock_ops {
    usec_t (*wall)(struct clock *);
    usec_t (*mono)(struct clock *);
    void (*arm)(struct clock *, struct timer *, usec_t when); /* moves it when already armed */
    void (*disarm)(struct clock *, struct timer *);           /* no-op when not armed */
};

#endif
