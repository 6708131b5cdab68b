/* Processes: see proc.h. The child side of proc_spawn runs in a vfork child: it shares our memory,
 * so it makes system calls on values prepared beforehand and nothing else. */
#include "sys/proc.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct child_plan {
    const struct proc_spawn *s;
    const char *oom_text;
    char *const *env;
    pid_t parent;
    volatile int *failed; /* errno for the parent, which shares the memory */
    const char *volatile *step;
};

static void child_fail(const struct child_plan *c, const char *step) {
    *c->failed = errno ? errno : EIO;
    *c->step = step;
    _exit(127);
}

static void child_signals(void) {
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++) {
        sigaction(sig, &dfl, NULL); /* fails for KILL and STOP, which have no disposition */
    }
    /* The C library keeps 32 and 33 to itself and refuses them above, but a parent may have handed
     * them down as ignored: the kernel is asked directly, with its own layout. */
    const struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } kernel_dfl = {0};
    for (int sig = 32; sig <= 33; sig++) {
        syscall(SYS_rt_sigaction, sig, &kernel_dfl, NULL, sizeof(kernel_dfl.mask));
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Moves the sources above the targets first, so that no dup2 overwrites a source still needed. */
static void child_fds(const struct child_plan *c) {
    const struct proc_spawn *s = c->s;
    int moved[PROC_MAX_FDS];
    for (size_t i = 0; i < s->nr_fds; i++) {
        int fd = s->fds[i] >= 0 ? s->fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        moved[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, PROC_MAX_FDS);
        if (moved[i] < 0) {
            child_fail(c, "duplicate descriptors");
        }
    }
    for (size_t i = 0; i < s->nr_fds; i++) {
        if (dup2(moved[i], (int)i) < 0) {
            child_fail(c, "place descriptors");
        }
    }
    if (syscall(SYS_close_range, (unsigned)s->nr_fds, ~0u, 0) < 0) {
        child_fail(c, "close descriptors");
    }
}

static __attribute__((noinline)) void child_main(const struct child_plan *c) {
    const struct proc_spawn *s = c->s;
    if (s->die_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != c->parent) {
            _exit(127); /* the parent ended before the request took effect */
        }
    }
    if (s->new_session) {
        setsid();
    }
    if (s->set_oom_score_adj) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            /* best effort: lowering needs a capability we may lack */
            ssize_t ignored = write(fd, c->oom_text, strlen(c->oom_text));
            (void)ignored;
            close(fd);
        }
    }
    if (s->cwd && chdir(s->cwd) < 0) {
        child_fail(c, "change directory");
    }
    child_fds(c);
    child_signals();
    execve(s->path, s->argv, c->env);
    child_fail(c, "execute");
}

pid_t proc_spawn(const struct proc_spawn *s, struct err *err) {
    CHECK(s->nr_fds >= 3 && s->nr_fds <= PROC_MAX_FDS);
    auto_free char *oom_text = xasprintf("%d", s->oom_score_adj);
    volatile int failed = 0;
    const char *volatile step = NULL;
    const struct child_plan plan = {s,        oom_text, s->env ? s->env : environ,
                                    getpid(), &failed,  &step};

    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler may run in the child */
    pid_t pid = vfork();
    if (pid == 0) {
        child_main(&plan);
    }
    int fork_errno = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (pid < 0) {
        return err_sys(err, fork_errno, "fork for %s", s->path);
    }
    if (failed) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return err_sys(err, failed, "start %s: %s", s->path, step);
    }
    return pid;
}

/* Feeds input and collects output until the child closes its end. */
static int run_exchange(int in_fd, int out_fd, struct str input, struct buf *output,
                        struct err *err) {
    auto_close int in = in_fd;
    auto_close int out = out_fd;
    for (;;) {
        if (in >= 0 && input.n == 0) {
            close(take_fd(&in));
        }
        struct pollfd p[2] = {{out, POLLIN, 0}, {in, POLLOUT, 0}};
        if (poll(p, 2, -1) < 0) {
            if (errno == EINTR) {
                continue;
            }
            return err_sys(err, errno, "poll");
        }
        if (p[1].revents) {
            ssize_t n = write(in, input.p, input.n);
            /* EPIPE: it does not want the rest; its status will tell */
            input = n < 0 ? str_n(NULL, 0) : str_sub(input, (size_t)n, input.n);
        }
        if (p[0].revents) {
            char chunk[4096];
            ssize_t n = read(out, chunk, sizeof(chunk));
            if (n <= 0) {
                return 0;
            }
            buf_put(output, chunk, (size_t)n);
        }
    }
}

int proc_run(const char *path, char *const *argv, struct str input, struct buf *output,
             int *ret_status, struct err *err) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0) {
        return err_sys(err, errno, "pipe");
    }
    auto_close int in_r = in[0];
    auto_close int in_w = in[1];
    if (pipe2(out, O_CLOEXEC) < 0) {
        return err_sys(err, errno, "pipe");
    }
    auto_close int out_r = out[0];
    auto_close int out_w = out[1];
    fcntl(in_w, F_SETFL, O_NONBLOCK);
    const int fds[3] = {in_r, out_w, out_w};
    const struct proc_spawn s = {.path = path, .argv = argv, .fds = fds, .nr_fds = 3};
    pid_t pid = proc_spawn(&s, err);
    if (pid < 0) {
        return -1;
    }
    close(take_fd(&in_r));
    close(take_fd(&out_w));
    sigset_t pipe_set, old;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    int rc = run_exchange(take_fd(&in_w), take_fd(&out_r), input, output, err);
    const struct timespec now = {0};
    sigtimedwait(&pipe_set, NULL, &now); /* takes back a SIGPIPE of ours, if any */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    while (waitpid(pid, ret_status, 0) < 0) {
        if (errno != EINTR) {
            return err_sys(err, errno, "wait for %s", path);
        }
    }
    return rc;
}

char *proc_find(const char *name) {
    const char *env = getenv("PATH");
    auto_free char *dirs = xasprintf(
        "%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", env ? env : "");
    struct str rest = str_of(dirs);
    while (rest.p) {
        struct str dir = str_cut(&rest, ':');
        if (dir.n && dir.p[0] == '/') {
            char *path = xasprintf("%.*s/%s", STR_ARG(dir), name);
            if (access(path, X_OK) == 0) {
                return path;
            }
            free(path);
        }
    }
    return NULL;
}

int proc_pidfd_open(pid_t pid, struct err *err) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by definition */
    if (fd < 0 && errno == ESRCH) {
        return err_set(err, ERR_NOT_FOUND, "no process %d", (int)pid);
    }
    return fd < 0 ? err_sys(err, errno, "pidfd_open %d", (int)pid) : fd;
}

int proc_pidfd_signal(int pidfd, int sig, struct err *err) {
    if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) == 0) {
        return 0;
    }
    if (errno == ESRCH) {
        return err_set(err, ERR_NOT_FOUND, "the process has ended");
    }
    return err_sys(err, errno, "send signal %d", sig);
}

int proc_start_time(pid_t pid, uint64_t *ret, struct err *err) {
    auto_free char *path = xasprintf("/proc/%d/stat", (int)pid);
    auto_buf struct buf b = BUF_INIT(4096);
    struct err why;
    if (file_read(AT_FDCWD, path, &b, &why) < 0) {
        return err_set(err, why.sys == ENOENT || why.sys == ESRCH ? ERR_NOT_FOUND : why.code,
                       "no process %d", (int)pid);
    }
    /* Fields are counted from the last ')': the name before it may hold anything. Start time is
     * field 22, the name is field 2. */
    const char *end = strrchr(buf_cstr(&b), ')');
    struct str rest = str_of(end ? end + 1 : NULL);
    rest = str_trim(rest);
    for (int field = 3; rest.p; field++) {
        struct str value = str_cut(&rest, ' ');
        if (field == 22 && str_to_u64(value, ret)) {
            return 0;
        }
    }
    return err_set(err, ERR_DATA_LOSS, "%s has no start time", path);
}

int proc_boot_id(struct buf *out, struct err *err) {
    auto_buf struct buf b = BUF_INIT(128);
    if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &b, err) < 0) {
        return -1;
    }
    struct str s = buf_str(&b);
    buf_put_str(out, str_cut(&s, '\n'));
    return 0;
}

struct proc_exit proc_exit_decode(int wait_status) {
    if (WIFSIGNALED(wait_status)) {
        return (struct proc_exit){true, WTERMSIG(wait_status)};
    }
    return (struct proc_exit){false, WEXITSTATUS(wait_status)};
}

void proc_exit_text(struct proc_exit x, struct buf *out) {
    if (x.signaled) {
        const char *what = sigdescr_np(x.value);
        buf_printf(out, "signal %d (%s)", x.value, what ? what : "unknown");
    } else {
        buf_printf(out, "exit code %d", x.value);
    }
}
