#include "cuspd/suggestions.h"

#include "base/mem.h"
#include "sys/lane.h"

/* One study computes one at a time; two that are tuned at once should not wait for each other. */
#define THREADS 2

struct suggestions {
    struct suggest_pool pool;
    struct suggest_runner runner;
    struct lane *lane;
};

/* On its way through the lane. */
struct passage {
    struct lane_work lane;
    struct suggest_work *work;
};

static void run(struct lane_work *w) {
    struct suggest_work *work = CONTAINER_OF(w, struct passage, lane)->work;
    work->run(work);
}

static void done(struct lane_work *w) {
    struct passage *p = CONTAINER_OF(w, struct passage, lane);
    p->work->done(p->work); /* cancelled: nobody listens any more */
    free(p);
}

static void submit(struct suggest_runner *r, struct suggest_work *work) {
    struct suggestions *s = CONTAINER_OF(r, struct suggestions, runner);
    struct passage *p = xcalloc(1, sizeof(*p));
    *p = (struct passage){.lane = {.run = run, .done = done}, .work = work};
    lane_submit(s->lane, &p->lane);
}

struct suggestions *suggestions_new(struct loop *loop) {
    struct suggestions *s = xcalloc(1, sizeof(*s));
    s->runner.submit = submit;
    s->lane = lane_new(loop, "suggest", THREADS);
    suggest_pool_init(&s->pool, &s->runner);
    return s;
}

struct suggest_pool *suggestions_pool(struct suggestions *s) {
    return &s->pool;
}

void suggestions_free(struct suggestions *s) {
    if (s) {
        lane_close(s->lane);
        free(s);
    }
}

void suggestions_metrics(struct suggestions *s, struct buf *b) {
    struct lane_stats l;
    lane_get_stats(s->lane, &l);
    buf_printf(b,
               "# TYPE cusp_suggestions_total counter\ncusp_suggestions_total %llu\n"
               "# TYPE cusp_suggestion_usec_total counter\ncusp_suggestion_usec_total %llu\n"
               "# TYPE cusp_suggestions_waiting gauge\ncusp_suggestions_waiting %u\n"
               "# TYPE cusp_tuners gauge\ncusp_tuners %zu\n",
               (unsigned long long)l.finished, (unsigned long long)l.run_total, l.depth,
               s->pool.nr_warm);
}
