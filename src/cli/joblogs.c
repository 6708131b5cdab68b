/* Following a job's log: JSON lines from the server, one printed line each. */
#include "cli/cli.h"

#include <signal.h>
#include <unistd.h>

struct printer {
    const struct cli *cli;
    struct buf line;
    bool partial;
};

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
    if (p->cli->json) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
        return;
    }
    json_t *j = json_loadb(text.p, text.n, 0, NULL);
    const char *time = json_string_value(json_object_get(j, "timestamp"));
    const char *severity = json_string_value(json_object_get(j, "severity"));
    const char *task = json_string_value(json_object_get(j, "task"));
    json_t *msg = json_object_get(j, "message");
    if (time && severity && task && msg) {
        const char *col = colour_of(p, severity, task);
        printf("%s%-7s  %.12s  %-14s  ", col, severity, time + 11, task);
        fwrite(json_string_value(msg), 1, json_string_length(msg), stdout);
        printf("%s\n", col[0] ? "\033[0m" : "");
    }
    json_decref(j);
}

static bool on_bytes(void *arg, struct str bytes) {
    struct printer *p = arg;
    buf_put_str(&p->line, bytes);
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

int job_logs(const struct cli *c, const char *id, const char *task, bool follow, struct err *err) {
    struct printer p = {.cli = c, .line = BUF_INIT(64 << 20)};
    auto_free char *base = job_path(c, "/cusp/v1", id);
    auto_free char *escaped = task ? http_escape(str_of(task)) : NULL;
    auto_free char *path = xasprintf("%s:streamLogs?follow=%s%s%s", base, follow ? "true" : "false",
                                     task ? "&task=" : "", task ? escaped : "");
    int rc = http_stream(c, path, on_bytes, &p, err);
    buf_fini(&p.line);
    return rc;
}
