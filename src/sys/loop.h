/* CONTRACT. Thin helpers over one libuv loop: the loop thread owns sockets, ctl, timers. Everything
 * here is loop-thread only unless it says "any thread". */
#ifndef CUSP_SYS_LOOP_H
#define CUSP_SYS_LOOP_H

#include "base/list.h"
#include "base/time.h"

struct loop;
struct uv_loop_s;

struct loop *loop_new(void);
struct uv_loop_s *loop_uv(struct loop *l); /* for net and sys only */
/* Until loop_stop was called, posted tasks ran and every descriptor is unwatched. Armed timers do
 * not keep it going. May be called again. A loop_stop before the run makes it return as soon as it
 * can. */
void loop_run(struct loop *l);
void loop_turn(
    struct loop *l); /* one turn: waits for one event and handles what is ready (tests) */
void loop_stop(struct loop *l);
void loop_free(struct loop *l); /* NULL is fine; CHECKs that nothing is watched any more */

/* The real clock (base/time.h ops) on this loop: one uv timer under a heap. */
struct clock *loop_clock(struct loop *l);

/* Runs fn once, soon, from the loop and never from within the call. Embedded; may be re-posted once
 * it ran. Posting a pending one is a no-op. */
struct loop_task {
    void (*fn)(struct loop_task *);
    struct list link;
    bool pending;
};
void loop_task_init(struct loop_task *t, void (*fn)(struct loop_task *));
void loop_post(struct loop *l, struct loop_task *t);
void loop_unpost(struct loop *l, struct loop_task *t);
/* Any thread: same, through a wake-up. The task must not be pending from another thread. */
void loop_post_any(struct loop *l, struct loop_task *t);

/* Descriptor readiness (pidfd, inotify, sockets). Level-triggered. fn runs on the loop. On an error
 * of the descriptor fn is called with both true and the watch rests until loop_fd_set. NULL when
 * the kernel cannot poll the descriptor (a regular file). One watch a descriptor. */
struct loop_fd;
struct loop_fd *loop_fd_watch(struct loop *l, int fd, bool read, bool write,
                              void (*fn)(void *arg, bool readable, bool writable), void *arg);
/* Changes what is watched; 0 rests. LOOP_FD_HUP: the peer's hang-up, reported as readable. */
enum { LOOP_FD_READ = 1, LOOP_FD_WRITE = 2, LOOP_FD_HUP = 4 };
void loop_fd_set(struct loop_fd *w, unsigned events);
void loop_fd_unwatch(
    struct loop_fd *w); /* NULL is fine; does not close fd; after this fn is never called */

/* Called when the loop is about to sleep (group commit closes its batch here). One hook list;
 * hooks stay until loop_free. A hook may post tasks: the loop then does not sleep. */
struct loop_idle_hook {
    void (*fn)(struct loop_idle_hook *);
    struct list link;
};
void loop_add_idle_hook(struct loop *l, struct loop_idle_hook *h);

/* Longest time one turn of the loop took since the last call (metric; > 20 ms is logged). */
usec_t loop_take_worst_turn(struct loop *l);
/* The turn that runs counts from now: what came before kept nobody waiting (start-up). */
void loop_begin_turn(struct loop *l);
/* CHECKs that the caller is the loop's thread. */
void loop_check_owner(const struct loop *l);

#endif
