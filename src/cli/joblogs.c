/* Following a job's log: JSON lines from the server, one printed line each. The job outlives a
 * restart of its server, so its follower does too: it asks again and passes over what it has
 * printed. */
#include "cli/cli.h"

#include "base/time.h"

#include <errno.h>
#include <unistd.h>

#define PATIENCE (60 * (usec_t)USEC_PER_SEC) /* for a server that restarts */
#define PAUSE_FIRST_US 50000
#define PAUSE_MAX_US 1000000

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

static void print_line(struct printer *p, struct str text) {
    json_t *j = json_loadb(text.p, text.n, 0, NULL);
    if (!is_new(p, j)) {
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

static bool on_bytes(void *arg, struct str bytes) {
    struct printer *p = arg;
    p->heard = time_mono();
    if (buf_put_str(&p->line, bytes)) {
        return false;
    }
    for (;;) {
        ptrdiff_t nl = str_chr(buf_str(&p->line), '\n');
        if (nl < 0) {
            break;
        }
        print_line(p, str_n(p->line.p, (size_t)nl));
        buf_consume(&p->line, (size_t)nl + 1);
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

int job_logs(const struct cli *c, const char *id, const char *task, bool follow, struct err *err) {
    struct printer p = {.cli = c, .line = BUF_INIT(64 << 20)};
    struct outage out = {0};
    struct err e = {0};
    auto_free char *base = job_path(c, "/cusp/v1", id);
    auto_free char *escaped = task ? http_escape(str_of(task)) : NULL;
    auto_free char *path = xasprintf("%s:streamLogs?follow=%s%s%s", base, follow ? "true" : "false",
                                     task ? "&task=" : "", task ? escaped : "");
    int rc;
    do {
        usec_t began = time_mono();
        buf_clear(&p.line);
        rc = http_stream(c, path, on_bytes, &p, &e);
        bool answered = rc == 0 || p.heard >= began;
        rc = rc || !follow ? rc : check_over(c, id, &e);
        if (answered) { /* it was there again, for a while */
            out = (struct outage){.reached = true};
        }
    } while (rc && follow && server_may_return(c, &e, &out));
    bool lost = ferror(stdout) || p.line.full;
    for (size_t i = 0; i < p.places.n; i++) {
        free(p.places.p[i].task);
    }
    vec_fini(&p.places);
    buf_fini(&p.line);
    if (rc && err) {
        *err = e;
    }
    return rc == 0 && lost ? err_set(err, ERR_UNKNOWN, "the log could not be written out") : rc;
}
