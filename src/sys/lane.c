/* Lanes: see lane.h. One mutex a lane guards its two queues; works are linked through their own
 * nodes. Finished works wait in a list that one loop task takes as a batch, so however many finish
 * between two turns of the loop, it is woken once. */
#include "sys/lane.h"

#include "base/mem.h"
#include "sys/loop.h"

#include <pthread.h>
#include <signal.h>

struct lane {
    struct loop *loop;
    const char *name;
    unsigned nr_threads;
    pthread_t *threads;
    struct loop_task deliver;
    bool delivering; /* loop thread: inside some `done` */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list queued, finished;
    unsigned nr_queued, nr_running;
    bool closing;
    uint64_t nr_finished;
    usec_t wait_total, run_total;
};

static void *thread_main(void *arg) {
    struct lane *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (list_is_empty(&l->queued) && !l->closing) {
            pthread_cond_wait(&l->wake, &l->lock);
        }
        if (l->closing) {
            break; /* what is still queued is cancelled by lane_close */
        }
        struct lane_work *w = list_first(&l->queued, struct lane_work, link);
        list_del(&w->link);
        l->nr_queued--;
        l->nr_running++;
        usec_t began = time_mono();
        l->wait_total += began - w->queued_at;
        pthread_mutex_unlock(&l->lock);

        w->run(w);

        pthread_mutex_lock(&l->lock);
        l->run_total += time_mono() - began;
        l->nr_running--;
        l->nr_finished++;
        bool first = list_is_empty(&l->finished);
        list_push_tail(&l->finished, &w->link);
        if (first) {
            /* Under the lock: the task is then never posted by two threads at once. */
            loop_post_any(l->loop, &l->deliver);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Next work to be told done, or NULL. */
static struct lane_work *take_finished(struct lane *l) {
    struct lane_work *w = NULL;
    pthread_mutex_lock(&l->lock);
    if (!list_is_empty(&l->finished)) {
        w = list_first(&l->finished, struct lane_work, link);
        list_del(&w->link);
    }
    pthread_mutex_unlock(&l->lock);
    return w;
}

/* One batch a turn: what finishes while the batch is told (often because a `done` submitted again)
 * waits for the next one, so that a busy lane cannot keep timers and sockets waiting. */
static void deliver(struct loop_task *t) {
    struct lane *l = CONTAINER_OF(t, struct lane, deliver);
    struct list batch;
    list_init(&batch);
    pthread_mutex_lock(&l->lock);
    list_move_all(&l->finished, &batch);
    pthread_mutex_unlock(&l->lock);
    l->delivering = true;
    while (!list_is_empty(&batch)) {
        struct lane_work *w = list_first(&batch, struct lane_work, link);
        list_del(&w->link);
        w->done(w);
    }
    l->delivering = false;
}

struct lane *lane_new(struct loop *loop, const char *name, unsigned threads) {
    CHECK(threads > 0);
    struct lane *l = xcalloc(1, sizeof(*l));
    l->loop = loop;
    l->name = name;
    l->nr_threads = threads;
    l->threads = xcalloc(threads, sizeof(*l->threads));
    list_init(&l->queued);
    list_init(&l->finished);
    loop_task_init(&l->deliver, deliver);
    CHECK(pthread_mutex_init(&l->lock, NULL) == 0 && pthread_cond_init(&l->wake, NULL) == 0);

    /* Signals are the loop thread's business. Small stacks keep an idle server small. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 1024 * 1024) == 0);
    for (unsigned i = 0; i < threads; i++) {
        CHECK(pthread_create(&l->threads[i], &attr, thread_main, l) == 0);
        char label[16]; /* the kernel's limit */
        snprintf(label, sizeof(label), "%s", name);
        (void)pthread_setname_np(l->threads[i], label); /* for people with a debugger */
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return l;
}

void lane_submit(struct lane *l, struct lane_work *w) {
    w->cancelled = false;
    w->queued_at = time_mono();
    pthread_mutex_lock(&l->lock);
    list_push_tail(&l->queued, &w->link);
    l->nr_queued++;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static struct lane_work *take_queued(struct lane *l) {
    if (list_is_empty(&l->queued)) {
        return NULL;
    }
    struct lane_work *w = list_first(&l->queued, struct lane_work, link);
    list_del(&w->link);
    l->nr_queued--;
    return w;
}

void lane_close(struct lane *l) {
    if (!l) {
        return;
    }
    CHECK(!l->delivering); /* a `done` cannot close its own lane: post a task for it */
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->nr_threads; i++) {
        CHECK(pthread_join(l->threads[i], NULL) == 0);
    }
    loop_unpost(l->loop, &l->deliver);
    /* The threads are gone. A `done` may still submit: that work is cancelled in its turn. */
    struct lane_work *w;
    while ((w = take_finished(l))) {
        w->done(w);
    }
    while ((w = take_queued(l))) {
        w->cancelled = true;
        w->done(w);
    }
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l->threads);
    free(l);
}

void lane_get_stats(struct lane *l, struct lane_stats *ret) {
    pthread_mutex_lock(&l->lock);
    *ret = (struct lane_stats){.name = l->name,
                               .threads = l->nr_threads,
                               .depth = l->nr_queued + l->nr_running,
                               .finished = l->nr_finished,
                               .wait_total = l->wait_total,
                               .run_total = l->run_total};
    pthread_mutex_unlock(&l->lock);
}
