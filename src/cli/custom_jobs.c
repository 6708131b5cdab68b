/* cusp custom-jobs: gcloud's verbs and flags, plus a timeline. */
#include "cli/resource.h"

#include "base/enc.h"
#include "base/time.h"

static char *escape_path(const char *text) {
    struct buf b = BUF_INIT(BUF_NO_MAX);
    enc_percent(&b, str_of(text), "/");
    return buf_take(&b, NULL);
}

char *resource_path(const struct cli *c, const char *prefix, const char *collection,
                    const char *id) {
    if (strchr(id, '/')) {
        auto_free char *name = escape_path(id);
        return xasprintf("%s/%s", prefix, name);
    }
    auto_free char *project = http_escape(str_of(c->project));
    auto_free char *region = http_escape(str_of(c->region));
    auto_free char *e = http_escape(str_of(id));
    return xasprintf("%s/projects/%s/locations/%s/%s%s%s", prefix, project, region, collection,
                     *e ? "/" : "", e);
}

char *job_path(const struct cli *c, const char *prefix, const char *id) {
    return resource_path(c, prefix, "customJobs", id);
}

static void print_error(const json_t *job, const char *indent) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    indent_text(&b, json_text(json_object_get(job, "error"), "message"), indent);
    fputs(buf_cstr(&b), stdout);
}

static void print_end(const struct cli *c, const json_t *job) {
    print_error(job, "  ");
}

static int outcome(const struct cli *c, const char *id, bool after_log, struct err *err) {
    auto_free char *path = job_path(c, "/v1", id);
    return resource_outcome(c, path, after_log, print_end, err);
}

static const struct resource_words made_words = {"CustomJob", "custom-jobs", "its log", job_logs,
                                                 outcome};

static int create(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = CREATE_FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse_flags(&a, argc, argv, err)) {
        return -1;
    }
    json_t *body = job_body_from_flags(&a, err);
    auto_free char *path = job_path(c, "/v1", "");
    return resource_create(c, path, &a, body, &made_words, err);
}

static void run_text(struct buf *b, json_t *job) {
    usec_t from, to;
    if (time_parse_rfc3339(str_of(json_text(job, "startTime")), &from, NULL) == 0) {
        if (time_parse_rfc3339(str_of(json_text(job, "endTime")), &to, NULL)) {
            to = time_wall();
        }
        duration_text(b, (double)(to - from) / USEC_PER_SEC);
    }
}

static void print_jobs(const json_t *all) {
    static const char *const heads[] = {"JOB", "NAME", "STATE", "CREATED", "RAN"};
    struct table *t = table_new(NR_OF(heads), heads);
    size_t i;
    json_t *job;
    json_array_foreach(all, i, job) {
        auto_buf struct buf age = BUF_INIT(64);
        auto_buf struct buf ran = BUF_INIT(64);
        age_text(&age, json_text(job, "createTime"));
        run_text(&ran, job);
        const char *cells[] = {name_id(json_text(job, "name")), json_text(job, "displayName"),
                               state_short(json_text(job, "state")), buf_cstr(&age),
                               buf_cstr(&ran)};
        table_row(t, cells);
    }
    table_print(t, stdout);
}

static int list(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--filter"}, {.name = "--limit"}, {.name = "--order-by"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse_flags(&a, argc, argv, err)) {
        return -1;
    }
    auto_free char *base = job_path(c, "/v1", "");
    return resource_print_list(c, base, "customJobs", "filter", &a, "jobs", print_jobs, err);
}

static void print_seconds(json_t *timeline) {
    static const struct {
        const char *key, *what;
    } rows[] = {{"queued", "queued"},        {"image", "image"}, {"packages", "packages"},
                {"bundle", "bundle"},        {"start", "start"}, {"running", "running"},
                {"collecting", "collecting"}};
    json_t *s = json_object_get(timeline, "seconds");
    double total = 0;
    for (size_t i = 0; i < NR_OF(rows); i++) {
        total += json_number_value(json_object_get(s, rows[i].key));
    }
    printf("time:\n");
    for (size_t i = 0; i < NR_OF(rows); i++) {
        double v = json_number_value(json_object_get(s, rows[i].key));
        auto_buf struct buf b = BUF_INIT(64);
        duration_text(&b, v);
        int bar = total > 0 ? (int)(v / total * 30 + 0.5) : 0;
        printf("  %-11s %9s%s%.*s\n", rows[i].what, buf_cstr(&b), bar ? "  " : "", bar,
               "##############################");
    }
}

static int describe(const struct cli *c, const char *id, struct err *err) {
    auto_free char *path = job_path(c, "/v1", id);
    auto_free char *base = job_path(c, "/cusp/v1", id);
    auto_free char *events = xasprintf("%s:events", base);
    json_t *job, *timeline;
    if (http_json(c, "GET", path, NULL, &job, err)) {
        return -1;
    }
    if (c->json) {
        out_json(job);
        json_decref(job);
        return 0;
    }
    const char *state = json_text(job, "state");
    printf("name:         %s\ndisplayName:  %s\nstate:        %s%s%s\n", json_text(job, "name"),
           json_text(job, "displayName"), state_colour(c, state), state_short(state),
           colour_off(c));
    static const struct {
        const char *label, *name;
    } times[] = {
        {"createTime:", "createTime"}, {"startTime:", "startTime"}, {"endTime:", "endTime"}};
    for (size_t i = 0; i < NR_OF(times); i++) {
        if (*json_text(job, times[i].name)) {
            printf("%-13s %s\n", times[i].label, json_text(job, times[i].name));
        }
    }
    if (http_json(c, "GET", events, NULL, &timeline, err) == 0) {
        if (*json_text(timeline, "waitingFor")) {
            printf("waitingFor:   %s\n", json_text(timeline, "waitingFor"));
        }
        print_seconds(timeline);
        json_decref(timeline);
    }
    if (json_object_get(job, "error")) {
        printf("error:\n");
        print_error(job, "  ");
    }
    char *spec = json_shown(json_object_get(job, "jobSpec"), 2);
    auto_buf struct buf lines = BUF_INIT(BUF_NO_MAX);
    indent_text(&lines, spec, "  ");
    printf("jobSpec:\n%s", buf_cstr(&lines));
    free(spec);
    json_decref(job);
    return 0;
}

/* The beginning of a fact, on one line. */
static void fact_text(struct buf *b, struct str s) {
    size_t n = s.n < 60 ? s.n : 60;
    while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80) {
        n--; /* not through the middle of a character */
    }
    for (size_t i = 0; i < n; i++) {
        buf_putc(b, (unsigned char)s.p[i] < 0x20 ? ' ' : s.p[i]);
    }
    buf_puts(b, n < s.n ? "\xe2\x80\xa6" : "");
}

static int timeline(const struct cli *c, const char *id, struct err *err) {
    auto_free char *base = job_path(c, "/cusp/v1", id);
    auto_free char *path = xasprintf("%s:events", base);
    json_t *t, *ev, *v;
    size_t i;
    usec_t first = 0;
    if (http_json(c, "GET", path, NULL, &t, err)) {
        return -1;
    }
    if (c->json) {
        out_json(t);
        json_decref(t);
        return 0;
    }
    json_array_foreach(json_object_get(t, "events"), i, ev) {
        usec_t at = 0;
        const char *key;
        (void)time_parse_rfc3339(str_of(json_text(ev, "time")), &at, NULL);
        first = first ? first : at;
        auto_buf struct buf line = BUF_INIT(BUF_NO_MAX);
        buf_printf(&line, "%+10.3f s  %-20s", (double)(at - first) / USEC_PER_SEC,
                   json_text(ev, "type"));
        json_object_foreach(json_object_get(ev, "facts"), key, v) {
            buf_printf(&line, " %s=", key);
            fact_text(&line,
                      str_of(json_string_value(json_is_array(v) ? json_array_get(v, 0) : v)));
            if (json_array_size(v) > 1) {
                buf_printf(&line, " (and %zu more)", json_array_size(v) - 1);
            }
        }
        while (line.p[line.n - 1] == ' ') {
            line.n--;
        }
        fwrite(line.p, 1, line.n, stdout);
        putchar('\n');
    }
    json_decref(t);
    return 0;
}

static int logs(const struct cli *c, int argc, char **argv, bool is_live, struct err *err) {
    struct flag flags[] = {{.name = "--task-name"},
                           {.name = "--no-follow", .is_bool = true},
                           {.name = "--download"},
                           {.name = "--polling-interval"},
                           {.name = "--allow-multiline-logs", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp custom-jobs %s JOB",
                       is_live ? "stream-logs" : "logs");
    }
    const char *task = args_get(&a, "--task-name"), *file = args_get(&a, "--download");
    return file ? job_log_download(c, a.words[0], task, file, err)
                : job_logs(c, a.words[0], task, is_live && !args_on(&a, "--no-follow"), err);
}

int cmd_custom_jobs(const struct cli *c, int argc, char **argv, struct err *err) {
    const char *verb = argv[0];
    if (strcmp(verb, "create") == 0) {
        return create(c, argc - 1, argv + 1, err);
    }
    if (strcmp(verb, "list") == 0) {
        return list(c, argc - 1, argv + 1, err);
    }
    if (strcmp(verb, "stream-logs") == 0 || strcmp(verb, "logs") == 0) {
        return logs(c, argc - 1, argv + 1, verb[0] == 's', err);
    }
    static const char *const with_job[] = {"describe", "timeline", "wait", "cancel", "delete"};
    for (size_t i = 0; i < NR_OF(with_job); i++) {
        if (strcmp(verb, with_job[i]) != 0) {
            continue;
        }
        if (argc != 2) {
            return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp custom-jobs %s JOB", verb);
        }
        auto_free char *path = job_path(c, "/v1", argv[1]);
        switch (i) {
        case 0:
            return describe(c, argv[1], err);
        case 1:
            return timeline(c, argv[1], err);
        case 2:
            return outcome(c, argv[1], false, err);
        case 3:
            return resource_act(c, "POST", path, ":cancel", argv[1], "Cancellation requested for",
                                err);
        default:
            return resource_act(c, "DELETE", path, "", argv[1], "Deleted", err);
        }
    }
    return no_verb("custom-jobs", verb, err);
}
