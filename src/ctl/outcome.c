/* Outcome table and failure texts. */
#include "ctl/outcome.h"

#include <signal.h>

enum exit_class {
    CLASS_CLEAN = 0, /* exit code 0 */
    CLASS_USER,      /* any other code */
    CLASS_CRASH,     /* SIGABRT or SIGSEGV, by signal or as 6, 11, 134, 139 */
    CLASS_KILLED,    /* any other signal */
    CLASS_OOM,
    CLASS_RUNTIME,
    CLASS_LOST,
    CLASS_NEVER,
    CLASS_NR
};

/* [is_primary][class]. A worker that ends well ends alone; every other ending is the whole gang's,
 * because an engine launches a gang whole or not at all. */
static const enum policy table[2][CLASS_NR] = {
    [true] = {[CLASS_CLEAN] = POLICY_SUCCEED,
              [CLASS_USER] = POLICY_FAIL,
              [CLASS_CRASH] = POLICY_RETRY_CRASH,
              [CLASS_KILLED] = POLICY_FAIL,
              [CLASS_OOM] = POLICY_FAIL,
              [CLASS_RUNTIME] = POLICY_FAIL,
              [CLASS_LOST] = POLICY_RETRY_LOST,
              [CLASS_NEVER] = POLICY_RETRY_FREE},
    [false] = {[CLASS_CLEAN] = POLICY_NONE,
               [CLASS_USER] = POLICY_FAIL,
               [CLASS_CRASH] = POLICY_RETRY_CRASH,
               [CLASS_KILLED] = POLICY_FAIL,
               [CLASS_OOM] = POLICY_FAIL,
               [CLASS_RUNTIME] = POLICY_FAIL,
               [CLASS_LOST] = POLICY_RETRY_LOST,
               [CLASS_NEVER] = POLICY_RETRY_FREE},
};

static enum exit_class class_of(const struct ending *e) {
    if (e->is_lost) {
        return e->never_started ? CLASS_NEVER : CLASS_LOST;
    }
    int v = e->x->value;
    switch (e->x->kind) {
    case EXIT_CODE:
        if (v == 0) {
            return CLASS_CLEAN;
        }
        return v == SIGABRT || v == SIGSEGV || v == 128 + SIGABRT || v == 128 + SIGSEGV
                   ? CLASS_CRASH
                   : CLASS_USER;
    case EXIT_SIGNAL:
        return v == SIGABRT || v == SIGSEGV ? CLASS_CRASH : CLASS_KILLED;
    case EXIT_OOM:
        return CLASS_OOM;
    case EXIT_RUNTIME:
        return CLASS_RUNTIME;
    case EXIT_UNKNOWN:
        break;
    }
    return CLASS_LOST; /* an exit nobody can tell is never success */
}

enum policy outcome_of_ending(const struct ending *e) {
    return table[e->is_primary][class_of(e)];
}

enum policy outcome_of_failure(int code) {
    switch (code) {
    case ERR_CANCELLED:
    case ERR_UNKNOWN:
    case ERR_DEADLINE_EXCEEDED:
    case ERR_RESOURCE_EXHAUSTED:
    case ERR_ABORTED:
    case ERR_INTERNAL:
    case ERR_UNAVAILABLE:
    case ERR_DATA_LOSS:
        return POLICY_RETRY_FAULT;
    default:
        return POLICY_FAIL; /* the job as written cannot run: trying again changes nothing */
    }
}

static const uint32_t budget[POLICY_NR] = {
    [POLICY_RETRY_CRASH] = RETRY_MAX_CRASH,
    [POLICY_RETRY_LOST] = RETRY_MAX_LOST,
    [POLICY_RETRY_FAULT] = RETRY_MAX_FAULT,
};

enum verdict outcome_verdict(enum policy p, const uint32_t used[POLICY_NR], bool disable_retries) {
    switch (p) {
    case POLICY_NONE:
        return VERDICT_NONE;
    case POLICY_SUCCEED:
        return VERDICT_SUCCEEDED;
    case POLICY_CANCEL:
        return VERDICT_CANCELLED;
    case POLICY_RETRY_FREE:
        return VERDICT_RETRY;
    case POLICY_RETRY_CRASH:
    case POLICY_RETRY_LOST:
    case POLICY_RETRY_FAULT:
        return !disable_retries && used[p] < budget[p] ? VERDICT_RETRY : VERDICT_FAILED;
    case POLICY_FAIL:
    case POLICY_NR:
        break;
    }
    return VERDICT_FAILED;
}

usec_t outcome_backoff(enum policy p, uint32_t used, double random) {
    if (p != POLICY_RETRY_FAULT && p != POLICY_RETRY_LOST) {
        return 0;
    }
    usec_t base = (usec_t)USEC_PER_SEC << (used < 6 ? used : 6);
    return base / 2 + (usec_t)((double)base * random);
}

int outcome_code(const struct ending *e) {
    switch (class_of(e)) {
    case CLASS_OOM:
        return ERR_RESOURCE_EXHAUSTED;
    case CLASS_LOST:
    case CLASS_NEVER:
        return ERR_INTERNAL;
    case CLASS_CLEAN:
    case CLASS_USER:
    case CLASS_CRASH:
    case CLASS_KILLED:
    case CLASS_RUNTIME:
    case CLASS_NR:
        break;
    }
    return ERR_INVALID_ARGUMENT;
}

static const char *signal_name(int signo) {
    static const struct {
        int signo;
        const char *name;
    } names[] = {{SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"},
                 {SIGILL, "SIGILL"},   {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},
                 {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},   {SIGKILL, "SIGKILL"},
                 {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
                 {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"},
                 {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"}};
    for (size_t i = 0; i < NR_OF(names); i++) {
        if (names[i].signo == signo) {
            return names[i].name;
        }
    }
    return NULL;
}

static void put_signal(struct buf *b, int signo) {
    const char *name = signal_name(signo);
    buf_printf(b, "signal %d", signo);
    if (name) {
        buf_printf(b, " (%s)", name);
    }
}

static void put_bytes(struct buf *b, uint64_t bytes) {
    buf_printf(b, "%.1f MiB (%llu bytes)", (double)bytes / (1024.0 * 1024.0),
               (unsigned long long)bytes);
}

/* The first sentences are Vertex's, to the blank before the newline: people and tools match on
 * them. */
void outcome_sentence(struct buf *b, const char *replica, const struct ending *e, const char *why) {
    int v = e->is_lost ? 0 : e->x->value;
    switch (class_of(e)) {
    case CLASS_CLEAN:
    case CLASS_USER:
    case CLASS_CRASH:
    case CLASS_KILLED: {
        bool by_signal = e->x->kind == EXIT_SIGNAL;
        buf_printf(
            b, "The replica %s exited with a non-zero status of %d. Termination reason: Error. \n",
            replica, by_signal ? 128 + v : v);
        if (by_signal) {
            buf_puts(b, "It was ended by ");
            put_signal(b, v);
            buf_puts(b, ".\n");
        } else if (v > 128 && signal_name(v - 128)) {
            buf_printf(b, "Status %d usually means ", v);
            put_signal(b, v - 128);
            buf_puts(b, ".\n");
        }
        break;
    }
    case CLASS_OOM:
        buf_printf(b,
                   "The replica %s ran out of memory and exited with a non-zero status of %d. \n",
                   replica, v);
        if (e->x->mem_limit_bytes) {
            buf_puts(b, "Its memory limit is ");
            put_bytes(b, e->x->mem_limit_bytes);
            if (e->x->mem_peak_bytes) {
                buf_puts(b, ", its peak use was ");
                put_bytes(b, e->x->mem_peak_bytes);
            }
            buf_puts(b, ".\n");
        }
        break;
    case CLASS_RUNTIME:
        buf_printf(b,
                   "The replica %s exited with a non-zero status of %d. Termination reason: "
                   "ContainerCannotRun. \n%s\n",
                   replica, v ? v : 128, e->x->why);
        break;
    case CLASS_LOST:
    case CLASS_NEVER:
        buf_puts(b, "Internal error occurred for the current attempt. \n");
        buf_printf(b, "The replica %s was lost%s%s.\n", replica, why && why[0] ? ": " : "",
                   why ? why : "");
        break;
    case CLASS_NR:
        CHECK(!"not a class");
    }
}

void outcome_tail(struct buf *b, const char *stderr_tail) {
    enum { MAX_LINES = 20 };
    struct str tail = str_of(stderr_tail);
    while (tail.n && (tail.p[tail.n - 1] == '\n' || tail.p[tail.n - 1] == '\r')) {
        tail.n--;
    }
    size_t from = tail.n, lines = 0;
    while (from > 0 && !(tail.p[from - 1] == '\n' && ++lines == MAX_LINES)) {
        from--;
    }
    if (tail.n) {
        buf_put_str(b, str_sub(tail, from, tail.n - from));
        buf_putc(b, '\n');
    }
}

void outcome_pointer(struct buf *b, const char *console_url, uint64_t project_number,
                     const char *job_id) {
    buf_puts(b, "\nTo find out more about why your job exited please check the logs: ");
    if (console_url) {
        buf_printf(b,
                   "%s/logs/viewer?project=%llu&resource=ml_job%%2Fjob_id%%2F%s&advancedFilter="
                   "resource.type%%3D%%22ml_job%%22%%0Aresource.labels.job_id%%3D%%22%s%%22 (or: ",
                   console_url, (unsigned long long)project_number, job_id, job_id);
    }
    buf_printf(b, "cusp custom-jobs stream-logs %s%s", job_id, console_url ? ")" : "");
}
