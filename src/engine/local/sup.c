/* Supervision of one run directory. The files in it are the truth; the readiness pipe and the
 * runner's pidfd only say when to look at them (rundir_look, on the disk lane). */
#include "engine/local/sup.h"

#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/bundle/rundir.h"
#include "engine/local/local_int.h"
#include "engine/local/rundirs.h"
#include "sys/files.h"
#include "sys/loop.h"
#include "sys/proc.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_LIMIT (10 * USEC_PER_SEC)
#define LOOK_AGAIN (10 * USEC_PER_MSEC)
#define LOOK_LATER (500 * USEC_PER_MSEC)
#define ASK_TIMEOUT_SEC 5

static void submit_look(struct sup *s);

static void unwatch(struct loop_fd **watch, int *fd) {
    if (*watch != NULL) {
        loop_fd_unwatch(*watch);
        *watch = NULL;
    }
    if (*fd >= 0) {
        close(take_fd(fd));
    }
}

static void let_go(struct sup *s) {
    unwatch(&s->ready_watch, &s->ready_fd);
    unwatch(&s->runner_watch, &s->runner_fd);
    s->eng->clock->ops->disarm(s->eng->clock, &s->again);
}

static void tell_end(struct sup *s, enum sup_end how, const struct exit_info *x,
                     const struct err *why) {
    let_go(s);
    s->over = true;
    (void)FAIL_POINT("engine.exit.before_report", NULL); /* abort and delay only */
    s->ended(s, how, x, why);
}

static void tell_started(struct sup *s, usec_t at) {
    if (!s->told_started) {
        s->told_started = true;
        s->started(s, at);
    }
}

/* -- asking the runner ------------------------------------------------------------------------ */

struct ask {
    struct lane_work work;
    struct local *eng;
    char *dir;
    int signo; /* SIGKILL: everything */
};

/* One request, one answer. The runner is single-threaded and answers within microseconds, or after
 * the second its own kill may take. */
static int ask_runner(int dirfd, int signo, struct err *err) {
    auto_close int fd = sock_unix_connect(dirfd, RUNDIR_SOCK, err);
    if (fd < 0) {
        return -1;
    }
    const struct timeval limit = {.tv_sec = ASK_TIMEOUT_SEC};
    char line[256];
    int n = signo == SIGKILL ? snprintf(line, sizeof(line), "kill\n")
                             : snprintf(line, sizeof(line), "signal %d\n", signo);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        send(fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
        return err_sys(err, errno, "ask the runner");
    }
    ssize_t got = recv(fd, line, sizeof(line) - 1, 0);
    if (got <= 0) {
        return err_sys(err, got < 0 ? errno : EPIPE, "answer of the runner");
    }
    return str_starts(str_n(line, (size_t)got), STR("ok"))
               ? 0
               : err_set(err, ERR_UNAVAILABLE, "runner: %.*s", (int)got, line);
}

static void ask_run(struct lane_work *w) {
    struct ask *q = CONTAINER_OF(w, struct ask, work);
    auto_close int fd = open(q->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ask_runner(fd, q->signo, NULL) == 0 || q->signo != SIGKILL) {
        return; /* gone already, or the exit will tell */
    }
    struct rundir_look look;
    if (rundir_look(q->dir, &look, NULL) < 0) {
        return;
    }
    /* A deaf runner: its container is killed behind its back; it still records the exit. */
    if (look.cgroup[0] != 0 && look.state != RUNDIR_EXITED) {
        (void)!cgroup_kill_all(&q->eng->cgroups, look.cgroup, KILL_LIMIT, NULL);
    }
    mem_auto_close(&look.pidfd);
}

static void ask_done(struct lane_work *w) {
    struct ask *q = CONTAINER_OF(w, struct ask, work);
    struct local *eng = q->eng;
    free(q->dir);
    free(q);
    (void)local_done(eng);
}

void sup_signal(struct sup *s, int signo) {
    if (s->over || s->stopping) {
        return;
    }
    struct ask *q = xcalloc(1, sizeof(*q));
    q->work.run = ask_run;
    q->work.done = ask_done;
    q->eng = s->eng;
    q->dir = xstrdup(s->dir);
    q->signo = signo;
    local_submit(s->eng, &q->work);
}

void sup_kill(struct sup *s) {
    s->kill_wanted = true;
    if (s->told_started || !s->working) {
        sup_signal(s, SIGKILL);
    }
}

/* -- looking ---------------------------------------------------------------------------------- */

static void look_run(struct lane_work *w) {
    struct sup *s = CONTAINER_OF(w, struct sup, work);
    s->rc = FAIL_POINT("engine.look.before_open", &s->err) < 0
                ? -1
                : rundir_look(s->dir, s->look, &s->err);
    if (s->rc < 0) {
        return;
    }
    bool other =
        s->look->nonce[0] != 0 && s->nonce != NULL && strcmp(s->look->nonce, s->nonce) != 0;
    s->gave_up = s->look->state == RUNDIR_STARTING && s->overdue;
    if (s->look->state == RUNDIR_DEAD || (other && s->look->state != RUNDIR_ABSENT) || s->gave_up ||
        (s->look->state == RUNDIR_FRESH && !s->spawned_here)) {
        /* A dead runner's container must not go on unwatched. What was never started is removed
         * under the lock, so that it never will be. */
        if (s->look->is_copy) {
            log_warn("this data directory is a copy: what runs for the original is left alone, and "
                     "begun again here",
                     "run=%s", s->dir);
        }
        if (s->look->state == RUNDIR_DEAD && !other) {
            s->rc = !s->look->cgroup[0]
                        ? 0
                        : cgroup_kill_all(&s->eng->cgroups, s->look->cgroup, KILL_LIMIT, &s->err);
        } else {
            mem_auto_close(&s->look->pidfd);
            s->look->pidfd = -1;
            s->rc = rundir_remove(s->eng->run_root, s->dir, &s->eng->cgroups, &s->err);
            s->look->state = RUNDIR_ABSENT;
        }
    }
}

static void on_runner_gone(void *arg, bool readable, bool writable) {
    struct sup *s = arg;
    (void)readable;
    (void)writable;
    unwatch(&s->runner_watch, &s->runner_fd);
    submit_look(s);
}

static void on_again(struct timer *t) {
    submit_look(CONTAINER_OF(t, struct sup, again));
}

static void watch_runner(struct sup *s) {
    unwatch(&s->runner_watch, &s->runner_fd);
    s->runner_fd = s->look->pidfd;
    s->look->pidfd = -1;
    s->runner_watch = loop_fd_watch(s->eng->loop, s->runner_fd, true, false, on_runner_gone, s);
}

static void exited(struct sup *s, const struct exit_info *x) {
    if (x->kind == EXIT_RUNTIME && !s->told_started && x->started_at == 0) {
        struct err why;
        (void)err_set(&why, ERR_INTERNAL, "%s", x->why);
        tell_end(s, SUP_FAILED, x, &why);
        return;
    }
    tell_started(s, x->started_at);
    if (!s->stopping) {
        tell_end(s, SUP_EXITED, x, NULL);
    }
}

static void lost(struct sup *s, enum err_code code, const char *text) {
    struct err why;
    (void)err_set(&why, code, "%s", text);
    tell_end(s, s->spawned_here && !s->told_started ? SUP_FAILED : SUP_LOST, NULL, &why);
}

static void judge_failed_start(struct sup *s) {
    struct rundir_look *l = s->look;
    if (l->state != RUNDIR_RUNNING && l->state != RUNDIR_STARTING) {
        tell_end(s, SUP_FAILED, NULL, &s->fail_why);
    } else if (l->pidfd >= 0) {
        watch_runner(s);
    } else {
        s->eng->clock->ops->arm(s->eng->clock, &s->again, time_mono() + LOOK_AGAIN);
    }
}

/* Says nothing about the replica, only about us: too many descriptors, or memory. */
static bool may_pass(const struct err *err) {
    return err->sys == EMFILE || err->sys == ENFILE || err->sys == ENOMEM;
}

static void judge(struct sup *s) {
    struct rundir_look *l = s->look;
    if (s->rc < 0 && may_pass(&s->err)) {
        s->eng->clock->ops->arm(s->eng->clock, &s->again, time_mono() + LOOK_LATER);
        return;
    }
    if (s->rc < 0) {
        tell_end(s, SUP_LOST, NULL, &s->err);
        return;
    }
    if (s->start_failed) {
        judge_failed_start(s);
        return;
    }
    switch (l->state) {
    case RUNDIR_RUNNING:
        watch_runner(s);
        tell_started(s, l->started_at);
        break;
    case RUNDIR_STARTING:
        /* Only after a restart in the middle of a launch: its pipe went with the old server. The
         * whole server waits for this one before it is ready, so not for ever. */
        if (s->attached_at + limits.reattach_start_ms * USEC_PER_MSEC <= time_mono()) {
            s->overdue = true;
            limits_hit(&limits.reattach_start_ms);
        }
        s->eng->clock->ops->arm(s->eng->clock, &s->again, time_mono() + LOOK_AGAIN);
        break;
    case RUNDIR_EXITED:
        exited(s, &l->exit);
        break;
    case RUNDIR_DEAD:
        lost(s, ERR_UNAVAILABLE, "its supervisor was killed");
        break;
    case RUNDIR_FRESH:
        lost(s, ERR_INTERNAL, "the runner ended before it did anything");
        break;
    case RUNDIR_ABSENT:
        lost(s, ERR_NOT_FOUND,
             s->gave_up ? "it had not started long after the server's restart (reattach_start_ms)"
                        : "it was never started");
        break;
    }
}

static void look_done(struct lane_work *w) {
    struct sup *s = CONTAINER_OF(w, struct sup, work);
    if (local_done(s->eng)) {
        return;
    }
    s->working = false;
    struct rundir_look *look = s->look;
    if (s->stopping) {
        s->stopped(s);
    } else if (!w->cancelled) {
        judge(s);
        if (s->kill_wanted && !s->over && look->state == RUNDIR_RUNNING) {
            sup_signal(s, SIGKILL);
        }
    }
}

static void submit_look(struct sup *s) {
    CHECK(!s->working);
    s->working = true;
    mem_auto_close(&s->look->pidfd);
    *s->look = (struct rundir_look){.pidfd = -1};
    s->work.run = look_run;
    s->work.done = look_done;
    local_submit(s->eng, &s->work);
}

/* -- spawning --------------------------------------------------------------------------------- */

/* Takes what the pipe has: 1 a whole line, 0 not yet, -1 closed without one. */
static int read_line(struct sup *s) {
    for (;;) {
        ssize_t n = read(s->ready_fd, s->line + s->line_n, sizeof(s->line) - 1 - s->line_n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return 0;
        }
        if (n <= 0) {
            return -1;
        }
        s->line_n += (size_t)n;
        char *nl = memchr(s->line, '\n', s->line_n);
        if (nl != NULL || s->line_n == sizeof(s->line) - 1) {
            s->line[nl != NULL ? (size_t)(nl - s->line) : s->line_n] = 0;
            return 1;
        }
    }
}

/* The runner says why first and cleans up after that: the end is told when nothing of it is left.
 */
static void failed_line(struct sup *s) {
    const char *text = str_starts(str_of(s->line), STR("failed ")) ? s->line + 7 : s->line;
    (void)err_set(&s->fail_why, ERR_INTERNAL, "%s", text);
    s->start_failed = true;
}

static void on_ready(void *arg, bool readable, bool writable) {
    struct sup *s = arg;
    (void)readable;
    (void)writable;
    int rc = read_line(s);
    if (rc == 0) {
        return;
    }
    unwatch(&s->ready_watch, &s->ready_fd);
    if (rc > 0 && strcmp(s->line, "started") != 0) {
        failed_line(s);
    }
    submit_look(s);
}

/* The child we start leaves at once: it hands over to its detached grandchild after it has taken
 * the lock, and its exit code says when it could not. */
static int spawn_runner(struct sup *s, struct err *err) {
    int p[2];
    if (FAIL_POINT("engine.launch.before_spawn", err) < 0) {
        return -1;
    }
    if (pipe2(p, O_CLOEXEC) < 0) {
        return err_sys(err, errno, "pipe");
    }
    s->ready_fd = p[0];
    auto_close int write_end = p[1];
    (void)fcntl(s->ready_fd, F_SETFL, O_NONBLOCK);
    char *argv[] = {(char *)s->eng->opts.runner_path, (char *)s->dir, NULL};
    const int fds[] = {-1, -1, -1, write_end};
    const struct proc_spawn spawn = {
        .path = s->eng->opts.runner_path, .argv = argv, .fds = fds, .nr_fds = NR_OF(fds)};
    pid_t pid = proc_spawn(&spawn, err);
    if (pid < 0) {
        return -1;
    }
    (void)FAIL_POINT("engine.launch.after_spawn", NULL); /* abort and delay only */
    close(take_fd(&write_end));
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    struct proc_exit x = proc_exit_decode(status);
    if (!x.signaled && x.value == 0) {
        return 0;
    }
    if (read_line(s) > 0 && str_starts(str_of(s->line), STR("failed "))) {
        return err_set(err, ERR_INTERNAL, "%s", s->line + 7);
    }
    auto_buf struct buf b = BUF_INIT(256);
    proc_exit_text(x, &b);
    return err_set(err, ERR_INTERNAL, "cusp-runner: %s", buf_cstr(&b));
}

static void spawn_run(struct lane_work *w) {
    struct sup *s = CONTAINER_OF(w, struct sup, work);
    s->rc = spawn_runner(s, &s->err);
}

static void spawn_done(struct lane_work *w) {
    struct sup *s = CONTAINER_OF(w, struct sup, work);
    if (local_done(s->eng)) {
        return;
    }
    s->working = false;
    if (s->stopping) {
        s->stopped(s);
    } else if (w->cancelled || s->rc < 0) {
        if (w->cancelled) {
            (void)err_set(&s->err, ERR_CANCELLED, "the server is stopping");
        }
        tell_end(s, SUP_FAILED, NULL, &s->err);
    } else {
        s->ready_watch = loop_fd_watch(s->eng->loop, s->ready_fd, true, false, on_ready, s);
        if (s->kill_wanted) {
            sup_signal(s, SIGKILL);
        }
    }
}

static void prepare(struct sup *s) {
    s->ready_fd = s->runner_fd = -1;
    s->again.fn = on_again;
    s->look = xcalloc(1, sizeof(*s->look));
    s->look->pidfd = -1;
}

void sup_spawn(struct sup *s) {
    prepare(s);
    s->spawned_here = true;
    s->working = true;
    s->work.run = spawn_run;
    s->work.done = spawn_done;
    local_submit(s->eng, &s->work);
}

void sup_attach(struct sup *s) {
    prepare(s);
    s->attached_at = time_mono();
    submit_look(s);
}

void sup_fini(struct sup *s) {
    if (s->look == NULL) {
        return; /* never begun */
    }
    let_go(s);
    mem_auto_close(&s->look->pidfd);
    free(take(&s->look));
}

void sup_let_go(struct sup *s) {
    s->stopping = true;
    if (s->look != NULL) {
        let_go(s);
    }
}

void sup_stop(struct sup *s) {
    s->stopping = true;
    if (s->look != NULL) {
        let_go(s);
    }
    if (!s->working) {
        s->stopped(s);
    }
}
