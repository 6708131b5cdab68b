/* Following a job's log: JSON lines from the server, one printed line each. */
#include "cli/cli.h"

struct printer {
    const struct cli *cli;
    struct buf line;
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

int job_logs(const struct cli *c, const char *id, const char *task, bool follow, struct err *err) {
    struct printer p = {.cli = c, .line = BUF_INIT(64 << 20)};
    auto_free char *base = job_path(c, "/cusp/v1", id);
    auto_free char *escaped = task ? http_escape(str_of(task)) : NULL;
    auto_free char *path = xasprintf("%s:streamLogs?follow=%s%s%s", base, follow ? "true" : "false",
                                     task ? "&task=" : "", task ? escaped : "");
    int rc = http_stream(c, path, on_bytes, &p, err);
    bool lost = ferror(stdout) || p.line.full;
    buf_fini(&p.line);
    return rc == 0 && lost ? err_set(err, ERR_UNKNOWN, "the log could not be written out") : rc;
}
