/* Requests that wait for something to end, for a while: a GET of a job that is about to be
 * finished, WaitOperation. Bounded in number and time; each is let go exactly once: when what it
 * waits for has ended, when its time is up, when its client is gone, or when the server stops. Loop
 * thread. */
#ifndef CUSP_API_HOLD_H
#define CUSP_API_HOLD_H

#include "api/call.h"
#include "base/list.h"

struct holds;

enum hold_kind { HOLD_GET, HOLD_WAIT, HOLD_KIND_NR };

enum hold_end {
    HOLD_TIME_UP,
    HOLD_ENDED,   /* holds_release named it */
    HOLD_GONE,    /* nobody waits for the answer; the call is still to be ended */
    HOLD_CLOSING, /* the server stops */
};

struct hold {
    /* caller: */
    enum hold_kind kind;
    struct str name;   /* canonical name of what is waited for; kept valid until fn */
    struct call *call; /* NULL in tests: no client that could go away */
    /* Once, on a later turn of the loop than hold_begin. The hold may be freed in it. */
    void (*fn)(struct hold *, enum hold_end);
    void *arg;
    /* ours: */
    struct holds *holds;
    struct list link;
    struct timer timer;
    enum hold_end end;
};

struct holds *holds_new(struct clock *clock);
void holds_free(struct holds *h); /* after holds_close has let everything go; NULL is fine */

/* until: mono. False, and fn is never called: too many of this kind are held (hold_get_max,
 * max_operation_waits), or the server stops. */
bool hold_begin(struct holds *h, struct hold *w, usec_t until);
/* What `name` stands for has ended, durably. */
void holds_release(struct holds *h, struct str name);
/* Lets everything go, and holds nothing from now on. */
void holds_close(struct holds *h);

struct hold_stats {
    uint64_t held[HOLD_KIND_NR], total[HOLD_KIND_NR], ended[HOLD_KIND_NR]; /* ended: in time */
};
void holds_get_stats(const struct holds *h, struct hold_stats *ret);

/* The rule for GETs of things that run (docs/internals/api.md): mono time until which this one may
 * be held, 0: not at all. last_step: wall time when it was created, started, or began to end,
 * whichever came last. */
usec_t hold_get_until(const struct call *c, usec_t last_step);

#endif
