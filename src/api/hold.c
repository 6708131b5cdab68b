/* See hold.h. */
#include "api/hold.h"

#include "base/limits.h"

/* What an answer needs to arrive before the client's deadline. */
#define DEADLINE_MARGIN (1 * (usec_t)USEC_PER_SEC)

struct holds {
    struct clock *clock;
    struct list all; /* struct hold */
    struct hold_stats stats;
    bool closing;
};

struct holds *holds_new(struct clock *clock) {
    struct holds *h = xcalloc(1, sizeof(*h));
    h->clock = clock;
    list_init(&h->all);
    return h;
}

void holds_free(struct holds *h) {
    CHECK(!h || list_is_empty(&h->all));
    free(h);
}

static void ignore_gone(struct xch *x, void *arg) {}

/* What comes after the hold is its owner's. */
static void unwatch_client(struct hold *w) {
    static const struct call_listener none = {0};
    if (w->call->ops->listen) {
        call_listen(w->call, &none, NULL);
    } else {
        xch_on_gone(w->call->xch, ignore_gone, NULL);
    }
}

static void let_go(struct hold *w, enum hold_end end) {
    struct holds *h = w->holds;
    h->clock->ops->disarm(h->clock, &w->timer);
    list_del(&w->link);
    h->stats.held[w->kind]--;
    h->stats.ended[w->kind] += end == HOLD_ENDED;
    if (w->call && end != HOLD_GONE) {
        unwatch_client(w);
    }
    w->fn(w, end);
}

static void on_timer(struct timer *t) {
    struct hold *w = CONTAINER_OF(t, struct hold, timer);
    let_go(w, w->end);
}

static void on_gone(struct xch *x, void *arg) {
    let_go(arg, HOLD_GONE);
}

static void on_cancelled(struct call *c, void *arg) {
    let_go(arg, HOLD_GONE);
}

static void watch_client(struct hold *w) {
    static const struct call_listener listener = {.cancelled = on_cancelled};
    if (w->call->ops->listen) {
        call_listen(w->call, &listener, w);
    } else {
        xch_on_gone(w->call->xch, on_gone, w);
    }
}

bool hold_begin(struct holds *h, struct hold *w, usec_t until) {
    static const uint64_t *const max[HOLD_KIND_NR] = {
        [HOLD_GET] = &limits.hold_get_max,
        [HOLD_WAIT] = &limits.max_operation_waits,
    };
    if (h->closing || (w->call && xch_is_gone(w->call->xch))) {
        return false;
    }
    if (h->stats.held[w->kind] >= *max[w->kind]) {
        limits_hit(max[w->kind]);
        return false;
    }
    w->holds = h;
    w->end = HOLD_TIME_UP;
    w->timer = (struct timer){.fn = on_timer};
    list_push_tail(&h->all, &w->link);
    h->stats.held[w->kind]++;
    h->stats.total[w->kind]++;
    h->clock->ops->arm(h->clock, &w->timer, until);
    if (w->call) {
        watch_client(w);
    }
    return true;
}

/* From a timer: who releases may be in the middle of something, and answers lead anywhere. */
static void let_go_soon(struct hold *w, enum hold_end end) {
    struct holds *h = w->holds;
    w->end = end;
    h->clock->ops->arm(h->clock, &w->timer, h->clock->ops->mono(h->clock));
}

void holds_release(struct holds *h, struct str name) {
    struct hold *w;
    list_each (w, &h->all, link) {
        if (w->end == HOLD_TIME_UP && str_eq(w->name, name)) {
            let_go_soon(w, HOLD_ENDED);
        }
    }
}

void holds_close(struct holds *h) {
    struct hold *w;
    h->closing = true;
    list_each (w, &h->all, link) {
        if (w->end == HOLD_TIME_UP) {
            let_go_soon(w, HOLD_CLOSING);
        }
    }
}

void holds_get_stats(const struct holds *h, struct hold_stats *ret) {
    *ret = h->stats;
}

/* ---- the rule ---- */

/* Seconds that the client itself offers to wait (RFC 7240: "Prefer: wait=2"); -1: it says nothing.
 */
static int64_t preference(const struct call *c) {
    struct str rest = xch_header(c->xch, "prefer");
    while (rest.p) {
        struct str one = str_trim(str_cut(&rest, ','));
        uint64_t seconds;
        if (str_starts(one, STR("wait=")) && str_to_u64(str_sub(one, 5, one.n), &seconds)) {
            return seconds < 3600 ? (int64_t)seconds : 3600;
        }
    }
    return -1;
}

usec_t hold_get_until(const struct call *c, usec_t last_step) {
    struct clock *k = c->api->clock;
    usec_t window = limits.hold_get_ms * USEC_PER_MSEC;
    int64_t offered = preference(c);
    /* Official libraries poll with pauses of seconds and name themselves; a person at a terminal
     * wants to see what is, unless she says otherwise. */
    bool polls = offered < 0 ? xch_header(c->xch, "x-goog-api-client").n > 0 : offered > 0;
    usec_t wall = k->ops->wall(k), mono = k->ops->mono(k);
    if (!polls || !c->api->holds || wall < last_step || wall - last_step >= window) {
        return 0;
    }
    usec_t left = last_step + window - wall;
    if (offered > 0 && (usec_t)offered * USEC_PER_SEC < left) {
        left = (usec_t)offered * USEC_PER_SEC;
    }
    if (c->deadline != USEC_NEVER && c->deadline < mono + left + DEADLINE_MARGIN) {
        return 0;
    }
    return mono + left;
}
