/* Running client drivers. */
#include "cli/driver.h"

#include "sys/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 10)
#define TALK_MAX (4u << 10) /* kept of stderr, from its end */
#define SHORT_LIMIT (20 * (usec_t)USEC_PER_SEC)
#define CANNOT_RUN 77
#define TRANSPORTS_MAX 32

const struct driver_case driver_cases[DRIVER_CASES] = {
    {"create", "create"},         {"get", "get"},           {"list_paging", "paging"},
    {"filter", "filter"},         {"cancel", "cancel"},     {"delete", "delete"},
    {"wait_real_job", "wait"},    {"failed_job", "failed"}, {"error_mapping", "errors"},
    {"operations", "operations"},
};
static const char *const order[] = {"python", "node", "java", "go", "curl", "reflection", "gcloud"};

/* ---- what a driver says */

static int case_of(const char *name) {
    for (int i = 0; name && i < DRIVER_CASES; i++) {
        if (strcmp(driver_cases[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static void set_text(char **at, const char *text) {
    if (text && *text) {
        free(*at);
        *at = xstrdup(text);
    }
}

static void count(struct driver_run *r) {
    r->ok = r->failed = r->skipped = 0;
    for (int i = 0; i < DRIVER_CASES; i++) {
        r->ok += r->cases[i].verdict == DRIVER_OK;
        r->failed += r->cases[i].verdict == DRIVER_FAILED;
        r->skipped += r->cases[i].verdict == DRIVER_SKIPPED;
    }
}

bool driver_line(struct driver_run *r, struct str line) {
    json_t *j = json_loadb(line.p, line.n, 0, NULL);
    const char *skip = json_string_value(json_object_get(j, "skip"));
    json_t *ok = json_object_get(j, "ok");
    int i = case_of(json_string_value(json_object_get(j, "case")));
    bool told = false;
    set_text(&r->version, json_string_value(json_object_get(j, "version")));
    if (skip && !json_object_get(j, "case")) {
        set_text(&r->not_run, skip);
        set_text(&r->install, json_string_value(json_object_get(j, "install")));
        told = true;
    } else if (i >= 0 && (json_is_boolean(ok) || json_is_true(json_object_get(j, "skip")))) {
        struct driver_result *c = &r->cases[i];
        enum driver_verdict v = !json_is_boolean(ok) ? DRIVER_SKIPPED
                                : json_is_true(ok)   ? DRIVER_OK
                                                     : DRIVER_FAILED;
        if (c->verdict != DRIVER_FAILED) {
            c->verdict = v;
            c->ms = json_number_value(json_object_get(j, "ms"));
            set_text(&c->detail, json_string_value(json_object_get(j, "detail")));
        }
        told = true;
        count(r);
    }
    json_decref(j);
    return told;
}

void driver_run_fini(struct driver_run *r) {
    free(r->version);
    free(r->not_run);
    free(r->install);
    for (int i = 0; i < DRIVER_CASES; i++) {
        free(r->cases[i].detail);
    }
}

/* ---- running one */

struct running {
    pid_t pid;
    int out, talk; /* read ends of stdout and stderr; -1 when at their end */
};

/* Ours with the given ones on top. The vector is owned, the strings are not. */
static char **merged(char *const *env) {
    extern char **environ;
    VEC_OF(char *) v = {0};
    for (char **e = environ; *e; e++) {
        size_t n = strcspn(*e, "=") + 1;
        bool replaced = false;
        for (size_t i = 0; env && env[i]; i++) {
            replaced |= strncmp(env[i], *e, n) == 0;
        }
        if (!replaced) {
            vec_push(&v, *e);
        }
    }
    for (size_t i = 0; env && env[i]; i++) {
        vec_push(&v, env[i]);
    }
    vec_push(&v, NULL);
    return v.p;
}

/* talk: a pipe for stderr, or ours. */
static int start(struct running *r, char *const *argv, char *const *env, bool talk,
                 struct err *err) {
    int out[2] = {-1, -1}, msg[2] = {-1, -1};
    if (pipe2(out, O_CLOEXEC) || (talk && pipe2(msg, O_CLOEXEC))) {
        int e = errno;
        mem_auto_close(&out[0]);
        mem_auto_close(&out[1]);
        return err_sys(err, e, "make a pipe");
    }
    auto_free char **all = merged(env);
    int fds[3] = {-1, out[1], talk ? msg[1] : STDERR_FILENO};
    struct proc_spawn s = {.path = argv[0],
                           .argv = argv,
                           .env = all,
                           .fds = fds,
                           .nr_fds = 3,
                           .new_session = true,
                           .die_with_parent = true};
    r->pid = proc_spawn(&s, err);
    r->out = out[0];
    r->talk = msg[0];
    mem_auto_close(&out[1]);
    mem_auto_close(&msg[1]);
    if (r->pid < 0) {
        mem_auto_close(&r->out);
        mem_auto_close(&r->talk);
        return -1;
    }
    return 0;
}

/* Appends what can be read now; closes at the end. */
static void take_bytes(int *fd, struct buf *b) {
    char bytes[16384];
    ssize_t n = read(*fd, bytes, sizeof(bytes));
    if (n > 0) {
        (void)buf_put(b, bytes, (size_t)n);
    } else if (n == 0 || errno != EINTR) {
        close(*fd);
        *fd = -1;
    }
}

/* Until both pipes end or the time is over. lines(arg) is called whenever stdout grew. */
static bool drain(struct running *r, usec_t until, struct buf *out, struct buf *talk,
                  void (*lines)(void *), void *arg) {
    while (r->out >= 0 || r->talk >= 0) {
        usec_t now = time_mono();
        struct pollfd p[2] = {{.fd = r->out, .events = POLLIN}, {.fd = r->talk, .events = POLLIN}};
        if (now >= until) {
            return false;
        }
        int n = poll(p, 2, (int)((until - now) / USEC_PER_MSEC) + 1);
        if (n > 0 && p[0].revents) {
            take_bytes(&r->out, out);
            lines(arg);
        }
        if (n > 0 && p[1].revents) {
            take_bytes(&r->talk, talk);
            if (talk->n > TALK_MAX * 2) {
                buf_consume(talk, talk->n - TALK_MAX);
            }
        }
    }
    return true;
}

/* Whatever is left of its session goes with it; the wait status. */
static int finish(struct running *r, bool in_time) {
    int status = 0;
    if (!in_time) {
        kill(-r->pid, SIGKILL);
    }
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR) {
    }
    kill(-r->pid, SIGKILL);
    mem_auto_close(&r->out);
    mem_auto_close(&r->talk);
    return status;
}

struct reading {
    struct driver_run *run;
    struct buf out;
    void (*told)(void *);
    void *arg;
};

static void read_lines(void *arg) {
    struct reading *x = arg;
    for (;;) {
        ptrdiff_t nl = str_chr(buf_str(&x->out), '\n');
        if (nl < 0) {
            break;
        }
        if (driver_line(x->run, str_n(x->out.p, (size_t)nl)) && x->told) {
            x->told(x->arg);
        }
        buf_consume(&x->out, (size_t)nl + 1);
        x->out.full = false;
    }
    if (x->out.full) { /* a line without an end is talk */
        buf_clear(&x->out);
    }
}

static char *last_lines(struct buf *talk) {
    struct str s = str_n(talk->p, talk->n);
    while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' ')) {
        s.n--;
    }
    size_t from = s.n;
    for (int lines = 0; from > 0 && s.n - from < 600; from--) {
        if (s.p[from - 1] == '\n' && ++lines == 5) {
            break;
        }
    }
    return str_dup(str_sub(s, from, s.n));
}

/* A last line may have no end. */
static void read_rest(struct reading *x) {
    if (x->out.n && driver_line(x->run, buf_str(&x->out)) && x->told) {
        x->told(x->arg);
    }
    buf_fini(&x->out);
}

/* What was not told has failed, and why. */
static void fail_untold(struct driver_run *r, const char *how, struct buf *talk) {
    auto_free char *words = last_lines(talk);
    for (int i = 0; i < DRIVER_CASES; i++) {
        if (r->cases[i].verdict == DRIVER_UNTOLD) {
            r->cases[i].verdict = DRIVER_FAILED;
            free(r->cases[i].detail);
            r->cases[i].detail =
                xasprintf("%s without telling about it%s%s", how, *words ? ":\n" : "", words);
        }
    }
    count(r);
}

int driver_execute(struct driver_run *r, char *const *env, usec_t limit, void (*told)(void *arg),
                   void *arg, struct err *err) {
    struct reading x = {r, BUF_INIT(LINE_MAX_BYTES), told, arg};
    auto_buf struct buf talk = BUF_INIT(BUF_NO_MAX);
    auto_buf struct buf how = BUF_INIT(256);
    auto_free char *path = xasprintf("%s/run", r->driver->folder);
    char *argv[] = {path, (char *)(uintptr_t) "--transport", (char *)(uintptr_t)r->transport, NULL};
    struct running p;
    usec_t began = time_mono();
    if (start(&p, argv, env, true, err)) {
        return -1;
    }
    bool in_time = drain(&p, began + limit, &x.out, &talk, read_lines, &x);
    struct proc_exit e = proc_exit_decode(finish(&p, in_time));
    r->seconds = (double)(time_mono() - began) / USEC_PER_SEC;
    read_rest(&x);
    if (in_time && !e.signaled && e.value == CANNOT_RUN && !r->ok && !r->failed) {
        set_text(&r->not_run, r->not_run ? NULL : "the driver says it cannot run here");
        return 0;
    }
    free(r->not_run);
    r->not_run = NULL;
    if (in_time) {
        buf_puts(&how, "the driver ended (");
        proc_exit_text(e, &how);
        buf_puts(&how, ")");
    } else {
        buf_printf(&how, "the driver ran out of time (%.0f s)", (double)limit / USEC_PER_SEC);
    }
    fail_untold(r, buf_cstr(&how), &talk);
    if (in_time && !r->failed && (e.signaled || e.value)) { /* it knows something it did not say */
        r->cases[DRIVER_CASES - 1].verdict = DRIVER_FAILED;
        free(r->cases[DRIVER_CASES - 1].detail);
        auto_free char *words = last_lines(&talk);
        r->cases[DRIVER_CASES - 1].detail = xasprintf("%s though every case was well%s%s",
                                                      buf_cstr(&how), *words ? ":\n" : "", words);
        count(r);
    }
    return 0;
}

/* setup and --check: exit code 0, or 77 with a line that says why. */
static int ask(struct driver_run *r, char *const *argv, char *const *env, bool show, usec_t limit,
               struct err *err) {
    struct reading x = {r, BUF_INIT(LINE_MAX_BYTES), NULL, NULL};
    auto_buf struct buf talk = BUF_INIT(BUF_NO_MAX);
    struct running p;
    if (start(&p, argv, env, !show, err)) {
        return -1;
    }
    bool in_time = drain(&p, time_mono() + limit, &x.out, &talk, read_lines, &x);
    struct proc_exit e = proc_exit_decode(finish(&p, in_time));
    read_rest(&x);
    if (in_time && !e.signaled && e.value == CANNOT_RUN) {
        set_text(&r->not_run, r->not_run ? NULL : "the driver says it cannot run here");
        return 0;
    }
    free(r->not_run);
    r->not_run = NULL;
    if (!in_time || e.signaled || e.value) {
        auto_buf struct buf how = BUF_INIT(256);
        auto_free char *words = last_lines(&talk);
        proc_exit_text(e, &how);
        return err_set(err, ERR_UNKNOWN, "%s: %s%s%s", argv[0],
                       in_time ? buf_cstr(&how) : "out of time", *words ? "\n" : "", words);
    }
    return 0;
}

int driver_check(struct driver_run *r, char *const *env, struct err *err) {
    auto_free char *path = xasprintf("%s/run", r->driver->folder);
    char *argv[] = {path, (char *)(uintptr_t) "--check", NULL};
    return ask(r, argv, env, false, SHORT_LIMIT, err);
}

int driver_setup(struct driver_run *r, char *const *env, usec_t limit, struct err *err) {
    auto_free char *path = xasprintf("%s/setup", r->driver->folder);
    char *argv[] = {path, NULL};
    if (access(path, X_OK)) {
        return 0; /* nothing to prepare */
    }
    return ask(r, argv, env, true, limit, err);
}

/* ---- finding them */

static void nothing(void *arg) {}

static int list_transports(struct driver *d, struct err *err) {
    auto_buf struct buf out = BUF_INIT(LINE_MAX_BYTES);
    auto_buf struct buf talk = BUF_INIT(BUF_NO_MAX);
    auto_free char *path = xasprintf("%s/run", d->folder);
    char *argv[] = {path, (char *)(uintptr_t) "--list", NULL};
    struct running p;
    if (start(&p, argv, NULL, true, err)) {
        return -1;
    }
    bool in_time = drain(&p, time_mono() + SHORT_LIMIT, &out, &talk, nothing, NULL);
    struct proc_exit e = proc_exit_decode(finish(&p, in_time));
    struct str rest = buf_str(&out);
    while (rest.p) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.n && d->transports.n < TRANSPORTS_MAX) {
            vec_push(&d->transports, str_dup(line));
        }
    }
    if (!in_time || e.signaled || e.value || !d->transports.n) {
        auto_free char *words = last_lines(&talk);
        return err_set(err, ERR_INTERNAL, "%s --list names no transports: %s", path, words);
    }
    return 0;
}

static size_t rank_of(const char *client) {
    size_t i = 0;
    while (i < NR_OF(order) && strcmp(order[i], client) != 0) {
        i++;
    }
    return i;
}

static int by_rank(const void *a, const void *b) {
    const struct driver *x = a, *y = b;
    size_t rx = rank_of(x->client), ry = rank_of(y->client);
    return rx != ry ? (rx < ry ? -1 : 1) : strcmp(x->client, y->client);
}

int drivers_find(const char *folder, struct drivers *ret, struct err *err) {
    struct drivers all = {0};
    struct dirent *e;
    DIR *dir = opendir(folder);
    int rc = dir ? 0 : err_sys(err, errno, "open %s", folder);
    while (rc == 0 && (e = readdir(dir))) {
        auto_free char *run = xasprintf("%s/%s/run", folder, e->d_name);
        if (e->d_name[0] == '.' || access(run, X_OK)) {
            continue;
        }
        struct driver d = {.client = xstrdup(e->d_name),
                           .folder = xasprintf("%s/%s", folder, e->d_name)};
        rc = list_transports(&d, err);
        vec_push(&all.v, d);
    }
    if (dir) {
        closedir(dir);
    }
    if (rc) {
        drivers_fini(&all);
        return -1;
    }
    if (all.v.n) {
        qsort(all.v.p, all.v.n, sizeof(*all.v.p), by_rank);
    }
    *ret = all;
    return 0;
}

void drivers_fini(struct drivers *d) {
    for (size_t i = 0; i < d->v.n; i++) {
        struct driver *x = &d->v.p[i];
        free(x->client);
        free(x->folder);
        for (size_t k = 0; k < x->transports.n; k++) {
            free(x->transports.p[k]);
        }
        vec_fini(&x->transports);
    }
    vec_fini(&d->v);
}
