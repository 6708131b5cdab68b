/* The life of a run. The order of things is the protocol:
 * prepare (cgroup, mounts, network, pipes, socket) -> OCI runtime -> status, "started" -> pump
 * until init has ended -> log closed -> exit record on disk -> cleanup -> lock released by exiting.
 *
 * The runtime runs detached and leaves; its container's init becomes our child (we are a
 * subreaper), so that the kernel tells us its true status and no runtime process stays in memory.
 */
#include "runner/run.h"
#include "base/fail.h"
#include "engine/bundle/rundir.h"
#include "sys/mnt.h"
#include "runner/net.h"
#include "runner/record.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PID_FILE "container.pid"
#define CONTAINER_OOM_ADJ 300          /* the container dies before us and the server */
#define RUNNER_OOM_ADJ "-900"          /* granted only with CAP_SYS_RESOURCE */
#define KILL_LIMIT (10 * USEC_PER_SEC) /* for processes in uninterruptible sleep */
#define DRAIN_LIMIT (5 * USEC_PER_SEC) /* for pipes held open by somebody unkillable */
#define POLL_MAX (4 + CTLSOCK_CLIENTS)

static void note(struct run *r, const char *what, const struct err *err) {
    dprintf(r->log_fd, "cusp-runner: %s: %s\n", what, err->msg);
}

static void ready_say(struct run *r, const char *line) {
    if (r->ready_fd >= 0) {
        /* nobody there to hear it: the files tell the same */
        ssize_t ignored = write(r->ready_fd, line, strlen(line));
        (void)ignored;
        close(take_fd(&r->ready_fd));
    }
}

static void ready_failed(struct run *r, const char *why) {
    auto_buf struct buf b = BUF_INIT(8192);
    buf_puts(&b, "failed ");
    for (const char *p = why; *p; p++) {
        buf_putc(&b, *p == '\n' ? ' ' : *p);
    }
    buf_putc(&b, '\n');
    ready_say(r, buf_cstr(&b));
}

static void outcome_set(struct run *r, const char *kind, int value, const char *why) {
    CHECK(r->phase != RUN_ENDED);
    r->phase = RUN_ENDED;
    r->ended_at = time_wall();
    r->outcome = (struct outcome){kind, value, xstrdup(why)};
}

/* --- prepare ------------------------------------------------------------------------------ */

static int prepare_self(struct run *r, struct err *err) {
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        return err_sys(err, errno, "become subreaper");
    }
    (void)!file_poke(AT_FDCWD, "/proc/self/oom_score_adj", RUNNER_OOM_ADJ);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    /* A service manager's or a terminal's wish to stop us is not the job's end. */
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < NR_OF(ignored); i++) {
        signal(ignored[i], SIG_IGN);
    }
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return r->signal_fd < 0 ? err_sys(err, errno, "signalfd") : 0;
}

static int prepare_cgroup(struct run *r, struct err *err) {
    if (cgroup_layout_open(&r->cgroups, err) < 0) {
        return -1;
    }
    if (!r->conf.cgroup || r->cgroups.kind == CGROUP_NONE) {
        return 0;
    }
    const struct cgroup_limits limits = {r->conf.mem_limit, r->conf.cpu_milli, r->conf.pids_limit};
    return cgroup_make(&r->cgroups, r->conf.cgroup, &limits, err);
}

/* Removing a mounted layer would empty the files of a running job, and the server that could say
 * who uses it may be restarting. So every runner keeps a shared lock on its layers as long as it
 * lives; the image store removes only what it can lock alone. The descriptors stay open on purpose.
 */
static int hold_layers(const struct run *r, struct err *err) {
    for (size_t i = 0; i < r->conf.nr_lower; i++) {
        int fd = open(r->conf.lower[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_SH) < 0) {
            int e = errno;
            if (fd >= 0) {
                close(fd);
            }
            return err_sys(err, e, "image layer %s", r->conf.lower[i]);
        }
    }
    return 0;
}

static int prepare_mounts(struct run *r, struct err *err) {
    if (mnt_private(err) < 0) {
        return -1;
    }
    for (size_t i = 0; r->conf.hide_unified && i < r->cgroups.nr; i++) {
        const struct cgroup_hierarchy *h = &r->cgroups.h[i];
        if (h->unified && h->mount[0] && r->cgroups.kind == CGROUP_HYBRID &&
            mnt_hide(h->mount, err) < 0) {
            return -1;
        }
    }
    if (r->conf.nr_lower == 0) {
        return 0;
    }
    if (hold_layers(r, err) < 0) {
        return -1;
    }
    auto_free char *upper = xasprintf("%s/upper", r->dir);
    auto_free char *work = xasprintf("%s/work", r->dir);
    auto_free char *target = xasprintf("%s/rootfs", r->dir);
    if (file_mkdirs(AT_FDCWD, upper, 0755, err) < 0 || file_mkdirs(AT_FDCWD, work, 0755, err) < 0 ||
        file_mkdirs(AT_FDCWD, target, 0755, err) < 0) {
        return -1;
    }
    return mnt_overlay(r->conf.lower, r->conf.nr_lower, upper, work, target, err);
}

static int prepare_reserve(struct run *r, struct err *err) {
    auto_close int fd = openat(r->dir_fd, RUNDIR_RESERVE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "create %s", RUNDIR_RESERVE);
    }
    int e = posix_fallocate(fd, 0, RUNDIR_RESERVE_BYTES);
    return e ? err_sys(err, e, "reserve room for the exit record") : 0;
}

static void answer(void *arg, struct str line, struct ctlsock_answer *ret);

static int prepare(struct run *r, int ret_child[2], struct err *err) {
    ctlsock_init(&r->ctl, answer, r);
    if (pump_open(&r->pump, r->conf.log_dir, time_mono(), ret_child, err) < 0 ||
        prepare_self(r, err) < 0 || prepare_reserve(r, err) < 0 || prepare_cgroup(r, err) < 0) {
        return -1;
    }
    if (ctlsock_open(&r->ctl, r->dir_fd, RUNDIR_SOCK, err) < 0 || record_status(r, err) < 0) {
        return -1;
    }
    if (prepare_mounts(r, err) < 0 || net_enter(&r->conf, err) < 0 ||
        net_doors(&r->conf, r->doors, err) < 0) {
        return -1;
    }
    r->nr_doors = r->conf.nr_doors;
    return 0;
}

/* --- the OCI runtime ---------------------------------------------------------------------- */

static int start_runtime(struct run *r, const int child[2], struct err *err) {
    if (FAIL_POINT("runner.start.before_runtime", err) < 0) {
        return -1;
    }
    struct stat st;
    r->log_start = fstat(r->log_fd, &st) == 0 ? st.st_size : 0;
    unlinkat(r->dir_fd, PID_FILE, 0);
    auto_free char *bundle = xasprintf("%s/bundle", r->dir);
    auto_free char *pid_file = xasprintf("%s/%s", r->dir, PID_FILE);
    auto_free char *log = xasprintf("%s/%s", r->dir, RUNDIR_LOG);
    char *const argv[] = {(char *)r->conf.runtime,
                          "--root",
                          (char *)r->conf.runtime_root,
                          "--log",
                          log,
                          "run",
                          "--detach",
                          "--bundle",
                          bundle,
                          "--pid-file",
                          pid_file,
                          (char *)r->conf.container,
                          NULL};
    const int fds[3] = {-1, child[0], child[1]};
    const struct proc_spawn s = {.path = r->conf.runtime,
                                 .argv = argv,
                                 .fds = fds,
                                 .nr_fds = 3,
                                 .new_session = true,
                                 .die_with_parent = true,
                                 .oom_score_adj = CONTAINER_OOM_ADJ,
                                 .set_oom_score_adj = true};
    r->runtime = proc_spawn(&s, err);
    if (r->runtime < 0) {
        return -1;
    }
    r->phase = RUN_STARTING;
    return 0;
}

static int read_pid_file(struct run *r, pid_t *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(64);
    if (file_read(r->dir_fd, PID_FILE, &b, err) < 0) {
        return -1;
    }
    uint64_t pid;
    struct str s = buf_str(&b);
    if (!str_to_u64(str_cut(&s, '\n'), &pid) || pid < 2 || pid > INT32_MAX) {
        return err_set(err, ERR_DATA_LOSS, "the runtime's pid file holds no pid");
    }
    *ret = (pid_t)pid;
    return 0;
}

/* Out of the server's groups, so that what is done to the server's service is not done to us. After
 * the start, because moving between cgroups can wait for an RCU grace period. */
static void leave_server_groups(struct run *r) {
    struct err err;
    if (r->conf.runner_cgroup &&
        cgroup_enter(&r->cgroups, r->conf.runner_cgroup, getpid(), &err) < 0) {
        note(r, "move to own cgroup", &err);
    }
}

static void runtime_succeeded(struct run *r) {
    struct err err;
    if (read_pid_file(r, &r->init, &err) < 0) {
        r->init = 0;
        outcome_set(r, "runtime", 0, err.msg);
        ready_failed(r, err.msg);
        return;
    }
    r->phase = RUN_RUNNING;
    r->started_at = time_wall();
    r->init_fd = proc_pidfd_open(r->init, &err);
    if (r->init_fd < 0) {
        note(r, "watch container", &err);
    }
    if (record_status(r, &err) < 0) {
        note(r, "write status", &err); /* disk full: the run itself is not harmed */
    }
    ready_say(r, "started\n");
    leave_server_groups(r);
    (void)FAIL_POINT("runner.run.after_started", NULL); /* only abort and delay make sense here */
    if (r->pending_signal && r->init_fd >= 0 &&
        proc_pidfd_signal(r->init_fd, r->pending_signal, &err) < 0) {
        note(r, "deliver early signal", &err);
    }
}

static void runtime_failed(struct run *r, int wait_status) {
    if (r->kill_asked) {
        outcome_set(r, "signal", SIGKILL, NULL);
        ready_failed(r, "killed while starting");
        return;
    }
    while (!pump_ended(&r->pump) && r->pump.in[1].fd >= 0) {
        /* its last words are in the pipe; whoever else holds the other end is dead or will be */
        size_t before = r->pump.log.seq + r->pump.in[1].lines.held.n;
        pump_read(&r->pump, 1);
        if (before == r->pump.log.seq + r->pump.in[1].lines.held.n) {
            break;
        }
    }
    auto_buf struct buf why = BUF_INIT(TAIL_BYTES * 4);
    record_runtime_words(r, &why);
    if (why.n == 0) {
        buf_puts(&why, "the runtime said nothing: ");
        proc_exit_text(proc_exit_decode(wait_status), &why);
    }
    outcome_set(r, "runtime", proc_exit_decode(wait_status).value, buf_cstr(&why));
    ready_failed(r, r->outcome.why);
}

/* --- the end ------------------------------------------------------------------------------ */

static void read_final_stats(struct run *r) {
    struct err err;
    if (r->conf.cgroup && cgroup_read_stats(&r->cgroups, r->conf.cgroup, &r->stats, &err) < 0) {
        note(r, "read cgroup", &err);
    }
}

static void init_ended(struct run *r, int wait_status) {
    struct proc_exit x = proc_exit_decode(wait_status);
    read_final_stats(r);
    /* An init that only passes on how its child died says 128 + 9. */
    bool killed = x.signaled ? x.value == SIGKILL : x.value == 128 + SIGKILL;
    if (killed && r->stats.oom_kills && !r->kill_asked) {
        outcome_set(r, "oom", x.signaled ? 128 + x.value : x.value, NULL);
    } else {
        outcome_set(r, x.signaled ? "signal" : "code", x.value, NULL);
    }
}

/* The runtime is waited for first: its container's init becomes ours only when it has left. */
static void reap(struct run *r) {
    int status;
    if (r->phase == RUN_STARTING && waitpid(r->runtime, &status, WNOHANG) == r->runtime) {
        r->runtime = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            runtime_succeeded(r);
        } else {
            runtime_failed(r, status);
        }
    }
    while (r->phase == RUN_RUNNING || r->phase == RUN_ENDED) {
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            return;
        }
        if (pid == r->init && r->phase == RUN_RUNNING) {
            init_ended(r, status);
        }
    }
}

/* --- requests ----------------------------------------------------------------------------- */

static void answer_signal(struct run *r, struct str number, struct buf *ret) {
    uint64_t sig;
    struct err err;
    if (!str_to_u64(number, &sig) || sig < 1 || sig >= NSIG) {
        buf_puts(ret, "err not a signal number");
    } else if (r->phase == RUN_ENDED) {
        buf_puts(ret, "err the container has ended");
    } else if (r->phase != RUN_RUNNING) {
        r->pending_signal = (int)sig;
        buf_puts(ret, "ok");
    } else if (r->init_fd < 0 || proc_pidfd_signal(r->init_fd, (int)sig, &err) < 0) {
        buf_printf(ret, "err %s", r->init_fd < 0 ? "the container is not watched" : err.msg);
    } else {
        buf_puts(ret, "ok");
    }
}

static void answer_kill(struct run *r, struct buf *ret) {
    struct err err;
    r->kill_asked = true;
    if (r->phase == RUN_STARTING) {
        kill(-r->runtime, SIGKILL); /* with whatever it has started and not put into the cgroup */
    }
    if (r->phase == RUN_RUNNING && r->init_fd >= 0) {
        (void)!proc_pidfd_signal(r->init_fd, SIGKILL, NULL); /* ended already: that is fine */
    }
    if (r->conf.cgroup && cgroup_kill_all(&r->cgroups, r->conf.cgroup, USEC_PER_SEC, &err) < 0) {
        buf_printf(ret, "err %s", err.msg);
        return;
    }
    buf_puts(ret, "ok");
}

static void answer_stats(struct run *r, struct buf *ret) {
    struct cgroup_stats s;
    struct err err;
    if (!r->conf.cgroup || cgroup_read_stats(&r->cgroups, r->conf.cgroup, &s, &err) < 0) {
        buf_puts(ret, "err no statistics");
        return;
    }
    buf_printf(ret, "ok cpu_usec=%llu mem_bytes=%llu mem_peak=%llu pids=%llu oom_kills=%llu",
               (unsigned long long)s.cpu_usec, (unsigned long long)s.mem_bytes,
               (unsigned long long)s.mem_peak, (unsigned long long)s.pids,
               (unsigned long long)s.oom_kills);
}

static void answer(void *arg, struct str line, struct ctlsock_answer *ret_answer) {
    struct run *r = arg;
    struct buf *ret = &ret_answer->text;
    struct str rest = line;
    struct str verb = str_cut(&rest, ' ');
    if (str_eqc(verb, "signal")) {
        answer_signal(r, rest, ret);
    } else if (str_eqc(line, "kill")) {
        answer_kill(r, ret);
    } else if (str_eqc(line, "stats")) {
        answer_stats(r, ret);
    } else if (str_eqc(line, "doors")) {
        buf_printf(ret, "ok %zu", r->nr_doors);
        ret_answer->fds = r->doors;
        ret_answer->nr_fds = r->nr_doors;
    } else {
        buf_puts(ret, "err unknown request");
    }
}

/* --- the loop ----------------------------------------------------------------------------- */

static int timeout_ms(usec_t due, usec_t now) {
    if (due == USEC_NEVER) {
        return -1;
    }
    return due <= now ? 0
                      : (int)((due - now + 999) / 1000 > 60000 ? 60000 : (due - now + 999) / 1000);
}

/* One wake-up: output, requests, children, then one write of what came. */
static void turn(struct run *r, usec_t until) {
    struct pollfd p[POLL_MAX];
    size_t n = 0;
    p[n++] = (struct pollfd){r->signal_fd, POLLIN, 0};
    p[n++] = (struct pollfd){r->pump.in[0].fd, POLLIN, 0}; /* poll skips negative ones */
    p[n++] = (struct pollfd){r->pump.in[1].fd, POLLIN, 0};
    size_t nr_ctl = ctlsock_poll(&r->ctl, p + n);
    usec_t now = time_mono(), due = seglog_due(&r->pump.log);
    if (poll(p, n + nr_ctl, timeout_ms(due < until ? due : until, now)) < 0) {
        return; /* EINTR: the next turn asks again */
    }
    for (size_t i = 0; i < 2; i++) {
        if (p[1 + i].revents) {
            pump_read(&r->pump, i);
        }
    }
    seglog_flush(&r->pump.log, time_mono());
    ctlsock_serve(&r->ctl, p + n, nr_ctl);
    if (p[0].revents) {
        struct signalfd_siginfo info;
        while (read(r->signal_fd, &info, sizeof(info)) > 0) {
        }
        reap(r);
    }
}

/* Nothing of the container is left when this returns; its last output is taken. */
static void settle(struct run *r) {
    struct err err;
    if (r->conf.cgroup && cgroup_kill_all(&r->cgroups, r->conf.cgroup, KILL_LIMIT, &err) < 0) {
        note(r, "kill leftovers", &err);
    }
    usec_t end = time_mono() + DRAIN_LIMIT;
    while (!pump_ended(&r->pump) && time_mono() < end) {
        turn(r, end);
    }
    pump_finish(&r->pump, time_wall(), time_mono());
}

static void cleanup(struct run *r) {
    struct err err;
    reap(r);
    /* What the runtime's own delete would do for a dead container without hooks: its state
     * directory and cgroups. Ours takes no process start. */
    auto_free char *state = xasprintf("%s/%s", r->conf.runtime_root, r->conf.container);
    if (file_remove_tree(AT_FDCWD, state, &err) < 0) {
        note(r, "remove runtime state", &err);
    }
    if (r->conf.cgroup && cgroup_remove(&r->cgroups, r->conf.cgroup, &err) < 0) {
        note(r, "remove cgroup", &err);
    }
    ctlsock_fini(&r->ctl);
    while (r->nr_doors > 0) {
        close(r->doors[--r->nr_doors]);
    }
    unlinkat(r->dir_fd, RUNDIR_SOCK, 0);
    unlinkat(r->dir_fd, RUNDIR_RESERVE, 0);
    unlinkat(r->dir_fd, PID_FILE, 0);
}

int run_main(struct run *r) {
    struct err err;
    int child[2] = {-1, -1};
    if (prepare(r, child, &err) < 0 || start_runtime(r, child, &err) < 0) {
        outcome_set(r, "runtime", 0, err.msg);
        ready_failed(r, err.msg);
    }
    mem_auto_close(&child[0]);
    mem_auto_close(&child[1]);
    while (r->phase != RUN_ENDED) {
        turn(r, USEC_NEVER);
    }
    settle(r);
    (void)FAIL_POINT("runner.exit.before_write", NULL); /* abort and delay only */
    record_exit(r);
    (void)FAIL_POINT("runner.exit.after_write", NULL);
    cleanup(r);
    pump_fini(&r->pump);
    cgroup_layout_close(&r->cgroups);
    free(r->outcome.why);
    return strcmp(r->outcome.kind, "runtime") == 0;
}
