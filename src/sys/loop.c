/* One libuv loop for one thread: tasks, a clock over one uv timer, descriptor watches, idle hooks.
 *
 * What runs when, in one turn: uv timers (our clock) -> prepare (posted tasks, then idle hooks) ->
 * poll (descriptors) -> check (posted tasks). A task posted while tasks run waits for the next
 * phase, so a task that posts itself again cannot starve the sockets. An idle handle is active
 * while tasks wait: its only purpose is to make the poll return at once.
 *
 * Deliberately absent: libuv's thread pool (see sys/lane.h) and its stream types (net reads and
 * writes its descriptors itself: sendfile, exact read sizes). */
#include "sys/loop.h"

#include "base/heap.h"
#include "base/log.h"
#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <uv.h>

#define SLOW_TURN (20 * USEC_PER_MSEC)

struct loop {
    uv_loop_t uv;
    uv_async_t wake; /* keeps the loop alive until loop_stop */
    uv_timer_t tick; /* the earliest timer of `timers`, or something earlier */
    uv_idle_t hurry; /* active while tasks are pending */
    uv_prepare_t prepare;
    uv_check_t check;
    pthread_t owner;
    bool stopping;

    struct clock clock;
    struct heap timers;
    usec_t tick_at; /* when `tick` will fire; USEC_NEVER when it is stopped */

    struct list tasks;    /* loop thread */
    pthread_mutex_t lock; /* guards `posted` only */
    struct list posted;   /* from any thread; moved to `tasks` by the wake-up */
    struct list hooks;

    usec_t turn_began, worst_turn, slow_logged_at;
    uint64_t idle_ns; /* uv_metrics_idle_time at turn_began */
};

struct loop_fd {
    uv_poll_t poll; /* first: the close callback frees by this address */
    struct loop *loop;
    int fd;
    unsigned events;
    void (*fn)(void *arg, bool readable, bool writable);
    void *arg;
};

void loop_check_owner(const struct loop *l) {
    CHECK(pthread_equal(l->owner, pthread_self()));
}

/* ---- tasks */

void loop_task_init(struct loop_task *t, void (*fn)(struct loop_task *)) {
    t->fn = fn;
    t->pending = false;
    list_init(&t->link);
}

static void hurry_cb(uv_idle_t *h) {
    (void)h;
}

void loop_post(struct loop *l, struct loop_task *t) {
    if (__atomic_exchange_n(&t->pending, true, __ATOMIC_ACQ_REL)) {
        return;
    }
    if (list_is_empty(&l->tasks)) {
        uv_idle_start(&l->hurry, hurry_cb);
    }
    list_push_tail(&l->tasks, &t->link);
}

void loop_unpost(struct loop *l, struct loop_task *t) {
    pthread_mutex_lock(&l->lock);
    if (__atomic_exchange_n(&t->pending, false, __ATOMIC_ACQ_REL)) {
        list_del(&t->link);
    }
    pthread_mutex_unlock(&l->lock);
}

void loop_post_any(struct loop *l, struct loop_task *t) {
    pthread_mutex_lock(&l->lock);
    bool was = __atomic_exchange_n(&t->pending, true, __ATOMIC_ACQ_REL);
    if (!was) {
        list_push_tail(&l->posted, &t->link);
    }
    pthread_mutex_unlock(&l->lock);
    if (!was) {
        uv_async_send(&l->wake);
    }
}

static void wake_cb(uv_async_t *h) {
    struct loop *l = h->data;
    pthread_mutex_lock(&l->lock);
    list_move_all(&l->posted, &l->tasks);
    pthread_mutex_unlock(&l->lock);
    if (!list_is_empty(&l->tasks)) {
        uv_idle_start(&l->hurry, hurry_cb);
    }
}

static void run_tasks(struct loop *l) {
    struct list now;
    if (list_is_empty(&l->tasks)) {
        return;
    }
    list_init(&now);
    list_move_all(&l->tasks, &now);
    while (!list_is_empty(&now)) {
        struct loop_task *t = list_first(&now, struct loop_task, link);
        list_del(&t->link);
        __atomic_store_n(&t->pending, false, __ATOMIC_RELEASE);
        t->fn(t); /* may free t, may unpost others of `now` */
    }
    if (list_is_empty(&l->tasks)) {
        uv_idle_stop(&l->hurry);
    }
}

/* ---- clock */

static usec_t clock_wall(struct clock *c) {
    (void)c;
    return time_wall();
}

static usec_t clock_mono(struct clock *c) {
    (void)c;
    return time_mono();
}

static void tick_cb(uv_timer_t *h);

/* Makes the uv timer fire no later than the earliest of ours. Firing early is harmless (it looks
 * and arms again), so moving timers into the future costs no libuv call. */
static void tick_arm(struct loop *l) {
    struct heap_node *top = heap_top(&l->timers);
    if (!top) {
        return;
    }
    usec_t when = CONTAINER_OF(top, struct timer, node)->when;
    if (l->tick_at <= when) {
        return;
    }
    usec_t now = time_mono();
    uint64_t ms = when > now ? (when - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC : 0;
    uv_update_time(&l->uv); /* the timeout counts from uv's cached time, which may be stale */
    uv_timer_start(&l->tick, tick_cb, ms, 0);
    l->tick_at = when;
}

static void tick_cb(uv_timer_t *h) {
    struct loop *l = h->data;
    usec_t now = time_mono();
    size_t most = l->timers.n; /* timers armed meanwhile for the past wait for the next turn */
    l->tick_at = 0;            /* no re-arming from within the callbacks below */
    for (struct heap_node *top; most > 0 && (top = heap_top(&l->timers)); most--) {
        struct timer *t = CONTAINER_OF(top, struct timer, node);
        if (t->when > now) {
            break;
        }
        heap_remove(&l->timers, top);
        t->fn(t);
    }
    l->tick_at = USEC_NEVER;
    tick_arm(l);
}

static void clock_arm(struct clock *c, struct timer *t, usec_t when) {
    struct loop *l = CONTAINER_OF(c, struct loop, clock);
    heap_remove(&l->timers, &t->node);
    t->when = when;
    heap_push(&l->timers, &t->node);
    tick_arm(l);
}

static void clock_disarm(struct clock *c, struct timer *t) {
    heap_remove(&CONTAINER_OF(c, struct loop, clock)->timers, &t->node);
}

static const struct clock_ops clock_ops = {
    .wall = clock_wall,
    .mono = clock_mono,
    .arm = clock_arm,
    .disarm = clock_disarm,
};

static bool timer_less(const struct heap_node *a, const struct heap_node *b) {
    return CONTAINER_OF(a, const struct timer, node)->when <
           CONTAINER_OF(b, const struct timer, node)->when;
}

struct clock *loop_clock(struct loop *l) {
    return &l->clock;
}

/* ---- turns */

/* Busy time of the turn that ends now: all time since it began, less what the poll slept. */
static void measure_turn(struct loop *l) {
    usec_t now = time_mono();
    uint64_t idle = uv_metrics_idle_time(&l->uv);
    usec_t slept = (idle - l->idle_ns) / 1000;
    usec_t all = now - l->turn_began;
    usec_t busy = all > slept ? all - slept : 0;
    l->turn_began = now;
    l->idle_ns = idle;
    if (busy > l->worst_turn) {
        l->worst_turn = busy;
    }
    if (busy > SLOW_TURN && now - l->slow_logged_at > USEC_PER_SEC) {
        l->slow_logged_at = now;
        log_warn("slow loop turn", "ms=%llu", (unsigned long long)(busy / USEC_PER_MSEC));
    }
}

static void prepare_cb(uv_prepare_t *h) {
    struct loop *l = h->data;
    run_tasks(l);
    struct loop_idle_hook *hook, *tmp;
    list_each_safe (hook, tmp, &l->hooks, link) {
        hook->fn(hook);
    }
    measure_turn(l);
}

static void check_cb(uv_check_t *h) {
    run_tasks(h->data);
}

void loop_add_idle_hook(struct loop *l, struct loop_idle_hook *h) {
    list_push_tail(&l->hooks, &h->link);
}

usec_t loop_take_worst_turn(struct loop *l) {
    usec_t w = l->worst_turn;
    l->worst_turn = 0;
    return w;
}

/* ---- life */

struct loop *loop_new(void) {
    struct loop *l = xcalloc(1, sizeof(*l));
    /* A peer that hangs up must be an EPIPE, not a death; sendfile(2) knows no MSG_NOSIGNAL. */
    signal(SIGPIPE, SIG_IGN);
    CHECK(uv_loop_init(&l->uv) == 0);
    uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME);
    l->owner = pthread_self();
    l->clock.ops = &clock_ops;
    heap_init(&l->timers, timer_less);
    l->tick_at = USEC_NEVER;
    list_init(&l->tasks);
    list_init(&l->posted);
    list_init(&l->hooks);
    pthread_mutex_init(&l->lock, NULL);
    CHECK(uv_async_init(&l->uv, &l->wake, wake_cb) == 0);
    uv_timer_init(&l->uv, &l->tick);
    uv_idle_init(&l->uv, &l->hurry);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    l->wake.data = l->tick.data = l->hurry.data = l->prepare.data = l->check.data = l;
    uv_prepare_start(&l->prepare, prepare_cb);
    uv_check_start(&l->check, check_cb);
    /* Only `wake` (until stopped), pending tasks and other people's descriptors keep a run going.
     */
    uv_unref((uv_handle_t *)&l->tick);
    uv_unref((uv_handle_t *)&l->prepare);
    uv_unref((uv_handle_t *)&l->check);
    l->turn_began = time_mono();
    return l;
}

struct uv_loop_s *loop_uv(struct loop *l) {
    return &l->uv;
}

void loop_begin_turn(struct loop *l) {
    uv_update_time(&l->uv);
    l->turn_began = time_mono();
    l->idle_ns = uv_metrics_idle_time(&l->uv);
}

static void begin_run(struct loop *l) {
    l->owner = pthread_self();
    loop_begin_turn(l);
}

void loop_run(struct loop *l) {
    begin_run(l);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    l->stopping = false;
    uv_ref((uv_handle_t *)&l->wake);
}

void loop_turn(struct loop *l) {
    begin_run(l);
    uv_run(&l->uv, UV_RUN_ONCE);
}

void loop_stop(struct loop *l) {
    if (!l->stopping) {
        l->stopping = true;
        uv_unref((uv_handle_t *)&l->wake);
    }
}

void loop_free(struct loop *l) {
    if (!l) {
        return;
    }
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->hurry, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&l->uv) == 0); /* else somebody left a handle open */
    heap_fini(&l->timers);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- descriptors */

static void poll_cb(uv_poll_t *p, int status, int events) {
    struct loop_fd *w = CONTAINER_OF(p, struct loop_fd, poll);
    if (status < 0) {
        /* libuv stopped the watch; the owner finds the error by reading or writing. */
        w->events = 0;
        w->fn(w->arg, true, true);
        return;
    }
    w->fn(w->arg, (events & (UV_READABLE | UV_DISCONNECT)) != 0, (events & UV_WRITABLE) != 0);
}

void loop_fd_set(struct loop_fd *w, unsigned events) {
    int uv = 0;
    if (w->events == events) {
        return;
    }
    w->events = events;
    uv |= events & LOOP_FD_READ ? UV_READABLE : 0;
    uv |= events & LOOP_FD_WRITE ? UV_WRITABLE : 0;
    uv |= events & LOOP_FD_HUP ? UV_DISCONNECT : 0;
    if (uv) {
        CHECK(uv_poll_start(&w->poll, uv, poll_cb) == 0);
    } else {
        uv_poll_stop(&w->poll);
    }
}

struct loop_fd *loop_fd_watch(struct loop *l, int fd, bool read, bool write,
                              void (*fn)(void *arg, bool readable, bool writable), void *arg) {
    struct loop_fd *w = xcalloc(1, sizeof(*w));
    w->loop = l;
    w->fd = fd;
    w->fn = fn;
    w->arg = arg;
    if (uv_poll_init(&l->uv, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    loop_fd_set(w, (read ? LOOP_FD_READ : 0) | (write ? LOOP_FD_WRITE : 0));
    return w;
}

static void watch_closed(uv_handle_t *h) {
    free(CONTAINER_OF(h, struct loop_fd, poll));
}

void loop_fd_unwatch(struct loop_fd *w) {
    if (w) {
        uv_close((uv_handle_t *)&w->poll, watch_closed);
    }
}
