/* CONTRACT. Suggestions computed away from the loop, and ahead of being asked for. One suggester a
 * study; all calls on the loop thread; only a work's run is called elsewhere. The same history
 * gives the same suggestion, whether it was computed ahead, on demand, or by a fresh process: an
 * answer is used only while the study is what it was computed for. */
#ifndef CUSP_CTL_SUGGEST_H
#define CUSP_CTL_SUGGEST_H

#include "base/list.h"
#include "ctl/study.h"

/* One computation. The runner calls run once, on any thread, then done, on the loop, never from
 * within submit. */
struct suggest_work {
    void (*run)(struct suggest_work *);
    void (*done)(struct suggest_work *);
    void *runner_priv; /* the runner's */
};
struct suggest_runner {
    void (*submit)(struct suggest_runner *, struct suggest_work *);
};

/* What all suggesters share: who runs them, and how many keep what their tuner has learnt
 * (limits.max_tuners; the one used least recently forgets, and learns again when asked). */
struct suggest_pool {
    struct suggest_runner *runner; /* NULL: computed in the call itself */
    struct list warm;              /* suggesters with a tuner, the latest used last */
    size_t nr_warm;
};
void suggest_pool_init(struct suggest_pool *p, struct suggest_runner *runner);

struct suggester;
/* ready: after LATER, there may be an answer now. Never from within a call here. */
struct suggester *suggester_new(struct suggest_pool *p, void (*ready)(void *arg), void *arg);
/* What is being computed ends by itself, unheard. NULL is fine. */
void suggester_free(struct suggester *s);

enum suggest_answer {
    SUGGEST_READY,
    SUGGEST_LATER, /* is being computed; ready follows */
    SUGGEST_NONE   /* every setting was tried */
};
/* The next setting of the study as it is now; valid until the next call of this suggester. Asking
 * again without a change of the study gives the same. */
enum suggest_answer suggester_take(struct suggester *s, const struct study *study,
                                   const double **ret);
/* Up to count (> 0) of them, each as if the ones before it ran: *ret has *ret_nr settings, fewer
 * than count when no more are left to try. Fewer asked for at once are the first of more. */
enum suggest_answer suggester_take_some(struct suggester *s, const struct study *study,
                                        size_t count, const double **ret, size_t *ret_nr);
/* Computes ahead what take would answer, as many as were asked for last, up to 8, when no trial
 * runs; else one. ready is not
 * called for it; but when the study changed while an answer was being computed, ready follows that
 * one, so that this can be called again. Nothing happens without a runner. */
void suggester_prepare(struct suggester *s, const struct study *study);

#endif
