/* Processes: spawning with explicit everything, pidfds, identity that survives pid reuse, and exit
 * statuses decoded. None logs. */
#ifndef CUSP_SYS_PROC_H
#define CUSP_SYS_PROC_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

#define PROC_MAX_FDS 16

struct proc_spawn {
    const char *path;  /* absolute */
    char *const *argv; /* NULL-terminated, argv[0] included */
    char *const *env;  /* NULL-terminated; NULL: ours */
    const char *cwd;   /* NULL: ours */
    /* fds[i] becomes descriptor i of the child; -1: /dev/null. Everything else is closed. */
    const int *fds;
    size_t nr_fds; /* >= 3, <= PROC_MAX_FDS */
    bool new_session;
    bool die_with_parent; /* SIGKILL when the thread that spawned it ends */
    int oom_score_adj;    /* written when set_oom_score_adj; raising always works */
    bool set_oom_score_adj;
};
/* Signals are unblocked and default in the child. The pid, or -1. A failing exec is reported here
 * (the child is reaped). The caller waits for the child. */
pid_t proc_spawn(const struct proc_spawn *s, struct err *err) MUST_CHECK;

/* Runs to the end with stdin = input, collecting stdout+stderr together into *output (bounded by
 * its max, the rest is dropped). Blocks; for short helper programs. 0 with the wait status. */
int proc_run(const char *path, char *const *argv, struct str input, struct buf *output,
             int *ret_status, struct err *err) MUST_CHECK;

/* Absolute path of a program in PATH or the usual sbin directories (owned), or NULL. */
char *proc_find(const char *name);

/* Descriptor >= 0 (readable when the process has ended), or -1 (NOT_FOUND when there is none). */
int proc_pidfd_open(pid_t pid, struct err *err) MUST_CHECK;
int proc_pidfd_signal(int pidfd, int sig, struct err *err) MUST_CHECK;
/* Start time in clock ticks since boot; with the boot id and the pid it names a process for ever.
 * NOT_FOUND when there is no such process. */
int proc_start_time(pid_t pid, uint64_t *ret, struct err *err) MUST_CHECK;
/* The kernel's random id of this boot (36 characters), appended. */
int proc_boot_id(struct buf *out, struct err *err) MUST_CHECK;

struct proc_exit {
    bool signaled;
    int value; /* exit code, or signal number */
};
/* From a wait status. */
struct proc_exit proc_exit_decode(int wait_status);
/* "exit code 3", "signal 9 (Killed)". */
void proc_exit_text(struct proc_exit x, struct buf *out);

#endif
