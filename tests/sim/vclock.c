/* Virtual clock. */
#include "vclock.h"

static struct vclock *vclock_of(struct clock *c) {
    return CONTAINER_OF(c, struct vclock, base);
}

static usec_t v_wall(struct clock *c) {
    return vclock_of(c)->now + vclock_of(c)->wall_offset;
}

static usec_t v_mono(struct clock *c) {
    return vclock_of(c)->now;
}

static void v_disarm(struct clock *c, struct timer *t) {
    heap_remove(&vclock_of(c)->timers, &t->node);
}

static void v_arm(struct clock *c, struct timer *t, usec_t when) {
    struct vclock *v = vclock_of(c);
    heap_remove(&v->timers, &t->node);
    t->when = when < v->now ? v->now : when;
    heap_push(&v->timers, &t->node);
}

static const struct clock_ops ops = {
    .wall = v_wall, .mono = v_mono, .arm = v_arm, .disarm = v_disarm};

static bool less(const struct heap_node *a, const struct heap_node *b) {
    return CONTAINER_OF(a, struct timer, node)->when < CONTAINER_OF(b, struct timer, node)->when;
}

void vclock_init(struct vclock *v) {
    *v = (struct vclock){.base = {.ops = &ops}, .now = USEC_PER_SEC};
    v->wall_offset = UINT64_C(1700000000) * USEC_PER_SEC;
    heap_init(&v->timers, less);
}

void vclock_fini(struct vclock *v) {
    heap_fini(&v->timers);
}

bool vclock_fire_next(struct vclock *v) {
    struct heap_node *top = heap_top(&v->timers);
    if (!top) {
        return false;
    }
    struct timer *t = CONTAINER_OF(top, struct timer, node);
    heap_remove(&v->timers, top);
    v->now = t->when > v->now ? t->when : v->now;
    t->fn(t);
    return true;
}

void vclock_advance(struct vclock *v, usec_t d) {
    usec_t until = v->now + d;
    struct heap_node *top;
    while ((top = heap_top(&v->timers)) != NULL &&
           CONTAINER_OF(top, struct timer, node)->when <= until) {
        vclock_fire_next(v);
    }
    v->now = until;
}
