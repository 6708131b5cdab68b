/* Following a job's log, and fetching it whole: JSON lines from the server, one line each. The job
 * outlives a restart of its server, so its reader does too: it asks again for what is behind the
 * lines that it has. */
#include "cli/cli.h"

#include "base/time.h"

#include <errno.h>
#include <unistd.h>

#define PATIENCE (60 * (usec_t)USEC_PER_SEC) /* for a server that restarts */
#define PAUSE_FIRST_US 50000
#define PAUSE_MAX_US 1000000
#define LINE_OVERHEAD 32 /* of a line in the server's files */
#define AFTER_MAX                                                                                  \
    100 /* streams named when asking again; what is sent twice of others is passed over */

/* How far a replica's attempt has been printed: the server tells each one's lines in order of seq.
 */
struct place {
    char *task;
    json_int_t attempt, seq;
};

struct printer {
    const struct cli *cli;
    struct buf line;
    VEC_OF(struct place) places;
    size_t latest;
    usec_t heard; /* mono, of the latest bytes */
    /* of a download: */
    FILE *file; /* NULL: it is none */
    struct http_reply reply;
    uint64_t lines, bytes, total; /* bytes as the server keeps them; total: about, 0 not known */
    usec_t began, shown;
    bool tty;
};

static struct place *place_of(struct printer *p, const char *task, json_int_t attempt) {
    for (size_t i = 0; i < p->places.n; i++) { /* lines of one replica come in runs */
        struct place *at = &p->places.p[(p->latest + i) % p->places.n];
        if (at->attempt == attempt && strcmp(at->task, task) == 0) {
            p->latest = (p->latest + i) % p->places.n;
            return at;
        }
    }
    vec_push(&p->places, ((struct place){xstrdup(task), attempt, -1}));
    p->latest = p->places.n - 1;
    return &p->places.p[p->latest];
}

/* False: printed before the connection broke. */
static bool is_new(struct printer *p, json_t *j) {
    const char *task = json_string_value(json_object_get(j, "task"));
    json_t *seq = json_object_get(j, "seq");
    if (!task || !json_is_integer(seq)) {
        return true;
    }
    struct place *at = place_of(p, task, json_integer_value(json_object_get(j, "attempt")));
    if (json_integer_value(seq) <= at->seq) {
        return false;
    }
    at->seq = json_integer_value(seq);
    return true;
}

static const char *colour_of(const struct printer *p, const char *severity, const char *task) {
    if (!p->cli->colour) {
        return "";
    }
    return strcmp(severity, "ERROR") == 0     ? "\033[31m"
           : strcmp(severity, "WARNING") == 0 ? "\033[33m"
           : strcmp(task, "service") == 0     ? "\033[2m"
                                              : "";
}

/* "TIME SEVERITY TASK MESSAGE", or the object as it came. */
static void save_line(struct printer *p, json_t *j, struct str text) {
    json_t *msg = json_object_get(j, "message");
    const char *time = json_string_value(json_object_get(j, "timestamp"));
    const char *severity = json_string_value(json_object_get(j, "severity"));
    const char *task = json_string_value(json_object_get(j, "task"));
    if (p->cli->json) {
        fwrite(text.p, 1, text.n, p->file);
    } else {
        fprintf(p->file, "%s %s %s ", time ? time : "", severity ? severity : "", task ? task : "");
        fwrite(json_string_value(msg) ? json_string_value(msg) : "", 1, json_string_length(msg),
               p->file);
    }
    putc('\n', p->file);
    p->lines++;
    p->bytes += json_string_length(msg) + LINE_OVERHEAD;
}

static void print_line(struct printer *p, struct str text) {
    json_t *j = json_loadb(text.p, text.n, 0, NULL);
    if (!is_new(p, j)) {
        json_decref(j);
        return;
    }
    if (p->file) {
        save_line(p, j, text);
        json_decref(j);
        return;
    }
    if (p->cli->json) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
        json_decref(j);
        return;
    }
    const char *time = json_string_value(json_object_get(j, "timestamp"));
    const char *severity = json_string_value(json_object_get(j, "severity"));
    const char *task = json_string_value(json_object_get(j, "task"));
    json_t *msg = json_object_get(j, "message");
    if (time && strlen(time) > 11 && severity && task && json_is_string(msg)) {
        const char *col = colour_of(p, severity, task);
        struct str rest = str_n(json_string_value(msg), json_string_length(msg));
        struct str line = str_cut(&rest, '\n');
        printf("%s%-7s  %.12s  %-14s  ", col, severity, time + 11, task);
        fwrite(line.p, 1, line.n, stdout);
        while (rest.p) { /* under the first line's words */
            line = str_cut(&rest, '\n');
            printf("\n%*s", line.n ? 39 : 0, "");
            fwrite(line.p, 1, line.n, stdout);
        }
        printf("%s\n", col[0] ? "\033[0m" : "");
    }
    json_decref(j);
}

static void show_progress(struct printer *p) {
    usec_t now = time_mono();
    if (!p->tty || now - p->began < USEC_PER_SEC || now - p->shown < USEC_PER_SEC / 10) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(256);
    (void)str_to_u64(str_of(p->reply.log_bytes), &p->total);
    bytes_text(&b, p->bytes);
    if (p->total) {
        double part = (double)p->bytes * 100 / (double)p->total;
        buf_puts(&b, " of ");
        bytes_text(&b, p->total);
        buf_printf(&b, " (%.0f%%)", part > 99 ? 99 : part);
    }
    fprintf(stderr, "\rdownloading log  %llu lines, %s  ", (unsigned long long)p->lines,
            buf_cstr(&b));
    p->shown = now;
}

static bool on_bytes(void *arg, struct str bytes) {
    struct printer *p = arg;
    p->heard = time_mono();
    if (buf_put_str(&p->line, bytes)) {
        return false;
    }
    struct str rest = buf_str(&p->line);
    for (ptrdiff_t nl; (nl = str_chr(rest, '\n')) >= 0;) {
        print_line(p, str_sub(rest, 0, (size_t)nl));
        rest = str_sub(rest, (size_t)nl + 1, rest.n);
    }
    buf_consume(&p->line, p->line.n - rest.n);
    if (p->file) {
        show_progress(p);
        return !ferror(p->file);
    }
    fflush(stdout);
    return !ferror(stdout);
}

bool server_may_return(const struct cli *c, const struct err *err, struct outage *o) {
    usec_t now = time_mono();
    if (err->code != ERR_UNAVAILABLE || (!o->reached && err->sys == ECONNREFUSED)) {
        return false; /* a refusal, or there was never a server */
    }
    if (!o->since) {
        o->since = now;
        o->pause_us = PAUSE_FIRST_US;
        if (!c->quiet) {
            fprintf(stderr, "cusp: the server is gone; waiting for it to come back\n");
        }
    }
    if (now - o->since > PATIENCE) {
        return false;
    }
    usleep(o->pause_us);
    o->pause_us = o->pause_us * 2 < PAUSE_MAX_US ? o->pause_us * 2 : PAUSE_MAX_US;
    o->reached = true;
    return true;
}

/* A server that stops ends its replies properly: the log is whole only when the job is over. */
static int check_over(const struct cli *c, const char *id, struct err *err) {
    auto_free char *path = job_path(c, "/v1", id);
    json_t *job = NULL;
    int rc = http_json(c, "GET", path, NULL, &job, err);
    const char *state = json_string_value(json_object_get(job, "state"));
    if (rc == 0 && state && !job_is_over(state)) {
        rc = err_set(err, ERR_UNAVAILABLE, "the server ended the log before the job was over");
    }
    json_decref(job);
    return rc && err->code == ERR_NOT_FOUND ? 0 : rc; /* deleted meanwhile */
}

static char *log_path(const struct cli *c, const struct printer *p, const char *id,
                      const char *task, bool follow) {
    auto_free char *base = job_path(c, "/cusp/v1", id);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b, "%s:streamLogs?follow=%s", base, follow ? "true" : "false");
    if (task) {
        auto_free char *escaped = http_escape(str_of(task));
        buf_printf(&b, "&task=%s", escaped);
    }
    for (size_t i = 0; i < p->places.n && i < AFTER_MAX; i++) {
        const struct place *at = &p->places.p[i];
        auto_free char *escaped = http_escape(str_of(at->task));
        buf_printf(&b, "%s%s:%lld:%lld", i ? "," : "&after=", escaped, (long long)at->attempt,
                   (long long)at->seq);
    }
    return buf_take(&b, NULL);
}

static int fetch(const struct cli *c, struct printer *p, const char *path, struct err *err) {
    if (!p->file) {
        return http_stream(c, path, on_bytes, p, err);
    }
    struct http_req q = {.method = "GET", .path = path, .sink = on_bytes, .arg = p};
    int rc = http_do(c, &q, &p->reply, err);
    if (rc == 0) {
        http_reply_fini(&p->reply);
    }
    return rc;
}

static int read_log(const struct cli *c, struct printer *p, const char *id, const char *task,
                    bool follow, struct err *err) {
    struct outage out = {0};
    int rc;
    do {
        auto_free char *path = log_path(c, p, id, task, follow);
        usec_t began = time_mono();
        buf_clear(&p->line);
        rc = fetch(c, p, path, err);
        bool answered = rc == 0 || p->heard >= began;
        rc = rc || !follow ? rc : check_over(c, id, err);
        if (answered) { /* it was there again, for a while */
            out = (struct outage){.reached = true};
        }
    } while (rc && !ferror(p->file ? p->file : stdout) && (follow || p->file) &&
             server_may_return(c, err, &out));
    for (size_t i = 0; i < p->places.n; i++) {
        free(p->places.p[i].task);
    }
    vec_fini(&p->places);
    return rc;
}

int job_logs(const struct cli *c, const char *id, const char *task, bool follow, struct err *err) {
    struct printer p = {.cli = c, .line = BUF_INIT(64 << 20)};
    struct err e = {0};
    int rc = read_log(c, &p, id, task, follow, &e);
    bool lost = ferror(stdout) || p.line.full;
    buf_fini(&p.line);
    if (rc && err) {
        *err = e;
    }
    return rc == 0 && lost ? err_set(err, ERR_UNKNOWN, "the log could not be written out") : rc;
}

/* A file appears whole or not at all. */
int job_log_download(const struct cli *c, const char *id, const char *task, const char *to,
                     struct err *err) {
    bool is_stdout = strcmp(to, "-") == 0;
    bool stream = !is_stdout && out_is_stream(to);
    auto_free char *part = stream ? xstrdup(to) : xasprintf("%s.cusp-part", to);
    struct printer p = {.cli = c,
                        .line = BUF_INIT(64 << 20),
                        .file = is_stdout ? stdout : fopen(part, "we"),
                        .began = time_mono(),
                        .tty = isatty(STDERR_FILENO) && !c->quiet};
    if (!p.file) {
        return err_sys(err, errno, "open %s", part);
    }
    struct err e = {0};
    int rc = read_log(c, &p, id, task, false, &e);
    if (p.shown) {
        fprintf(stderr, "\r%*s\r", 78, "");
    }
    if (rc == 0 && (p.line.full || fflush(p.file) || ferror(p.file))) {
        rc = err_sys(&e, errno ? errno : EIO, "write %s", to);
    }
    if (!is_stdout) {
        if (fclose(p.file) && rc == 0) {
            rc = err_sys(&e, errno, "write %s", to);
        }
        if (rc == 0 && !stream && rename(part, to)) {
            rc = err_sys(&e, errno, "rename %s", part);
        }
        if (rc && !stream) {
            (void)unlink(part);
        } else if (rc == 0 && !c->quiet) {
            fprintf(stderr, "%llu lines in %s\n", (unsigned long long)p.lines, to);
        }
    }
    buf_fini(&p.line);
    if (rc) {
        *err = e;
    }
    return rc;
}
