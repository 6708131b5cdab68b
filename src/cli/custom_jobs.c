/* cusp custom-jobs: gcloud's verbs and flags, plus a timeline. */
#include "cli/cli.h"

#include "base/time.h"

#include <unistd.h>

static const char help[] =
    "cusp custom-jobs: run training jobs\n\n"
    "  create --display-name=NAME --worker-pool-spec=KEY=VALUE,…  [--config=FILE] [--args=A,B] "
    "[--command=C]\n"
    "         [--python-package-uris=gs://…,…] [--base-output-dir=gs://…] [--labels=K=V,…] "
    "[--timeout=3600s]\n"
    "         [--service-account= --network= --persistent-resource-id= --enable-web-access] "
    "[--stream-logs]\n"
    "         pool keys: machine-type replica-count accelerator-type accelerator-count "
    "boot-disk-type\n"
    "         boot-disk-size container-image-uri executor-image-uri python-module\n"
    "  list [--filter=EXPR] [--limit=N] [--order-by=FIELD]   newest first\n"
    "  describe JOB                                          state, error, where the time went\n"
    "  timeline JOB                                          every event of its life\n"
    "  stream-logs JOB [--task-name=workerpool0-0] [--no-follow]\n"
    "  wait JOB                                              until it ends; exit code 5 when it "
    "failed\n"
    "  cancel JOB      delete JOB\n\n"
    "JOB is an id or a full resource name. Global flags: --region --project --endpoint "
    "--format=json\n\n"
    "Example:\n"
    "  cusp custom-jobs create --display-name=hello \\\n"
    "    "
    "--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,container-image-uri=sklearn-cpu "
    "\\\n"
    "    --command=python3,-c --args='print(6*7)' --stream-logs\n";

char *job_path(const struct cli *c, const char *prefix, const char *id) {
    if (strchr(id, '/')) {
        return xasprintf("%s/%s", prefix, id);
    }
    auto_free char *e = http_escape(str_of(id));
    return xasprintf("%s/projects/%s/locations/%s/customJobs/%s", prefix, c->project, c->region, e);
}

static const char *field(json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static const char *short_state(const char *state) {
    return strncmp(state, "JOB_STATE_", 10) == 0 ? state + 10 : state;
}

static bool is_terminal(const char *state) {
    return strstr(state, "SUCCEEDED") || strstr(state, "FAILED") || strstr(state, "CANCELLED");
}

static const char *id_of(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static int wait_for(const struct cli *c, const char *id, json_t **ret, struct err *err) {
    auto_free char *path = job_path(c, "/v1", id);
    for (useconds_t pause_us = 20000;; pause_us = pause_us < 500000 ? pause_us * 3 / 2 : pause_us) {
        json_t *job;
        if (http_json(c, "GET", path, NULL, &job, err)) {
            return -1;
        }
        if (is_terminal(field(job, "state"))) {
            *ret = job;
            return 0;
        }
        json_decref(job);
        usleep(pause_us);
    }
}

static int outcome(const struct cli *c, const char *id, struct err *err) {
    json_t *job;
    if (wait_for(c, id, &job, err)) {
        return -1;
    }
    const char *state = field(job, "state");
    bool ok = strcmp(state, "JOB_STATE_SUCCEEDED") == 0;
    if (c->json) {
        out_json(job);
    } else {
        printf("%s%s%s\n", state_colour(c, state), short_state(state), colour_off(c));
        const char *msg = field(json_object_get(job, "error"), "message");
        if (*msg) {
            printf("%s\n", msg);
        }
    }
    json_decref(job);
    return ok ? EXIT_OK : EXIT_JOB_FAILED;
}

static int create(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = CREATE_FLAGS;
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    json_t *body = job_body_from_flags(&a, err), *job;
    auto_free char *path =
        xasprintf("/v1/projects/%s/locations/%s/customJobs", c->project, c->region);
    if (!body) {
        return -1;
    }
    int rc = http_json(c, "POST", path, body, &job, err);
    json_decref(body);
    if (rc) {
        return -1;
    }
    auto_free char *name = xstrdup(field(job, "name"));
    bool follow = args_get(&a, "--stream-logs") != NULL;
    if (c->json && !follow) {
        out_json(job);
    } else if (!c->quiet) {
        fprintf(stderr, "CustomJob [%s] is submitted.\n", name);
        if (!follow) {
            fprintf(stderr,
                    "\nFollow its log:   cusp custom-jobs stream-logs %s\nSee how it fares: cusp "
                    "custom-jobs describe %s\n",
                    id_of(name), id_of(name));
            printf("%s\n", id_of(name));
        }
    }
    json_decref(job);
    if (!follow) {
        return 0;
    }
    return job_logs(c, name, NULL, true, err) ? -1 : outcome(c, name, err);
}

static void age_text(struct buf *b, const char *when) {
    usec_t t;
    if (time_parse_rfc3339(str_of(when), &t, NULL) == 0) {
        usec_t now = time_wall();
        duration_text(b, now > t ? (double)(now - t) / USEC_PER_SEC : 0.001);
        buf_puts(b, " ago");
    }
}

static void run_text(struct buf *b, json_t *job) {
    usec_t from, to;
    if (time_parse_rfc3339(str_of(field(job, "startTime")), &from, NULL) == 0) {
        if (time_parse_rfc3339(str_of(field(job, "endTime")), &to, NULL)) {
            to = time_wall();
        }
        duration_text(b, (double)(to - from) / USEC_PER_SEC);
    }
}

static int list(const struct cli *c, int argc, char **argv, struct err *err) {
    static const char *const heads[] = {"JOB", "NAME", "STATE", "CREATED", "RAN"};
    struct flag flags[] = {{.name = "--filter"}, {.name = "--limit"}, {.name = "--order-by"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    uint64_t limit = 100;
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (args_get(&a, "--limit") && !str_to_u64(str_of(args_get(&a, "--limit")), &limit)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--limit must be a number");
    }
    auto_free char *filter =
        http_escape(str_of(args_get(&a, "--filter") ? args_get(&a, "--filter") : ""));
    auto_free char *order =
        http_escape(str_of(args_get(&a, "--order-by") ? args_get(&a, "--order-by") : ""));
    auto_free char *token = xstrdup("");
    json_t *all = json_array();
    do {
        json_t *page, *job;
        size_t i;
        auto_free char *path = xasprintf(
            "/v1/projects/%s/locations/%s/customJobs?pageSize=%llu%s%s%s%s%s%s", c->project,
            c->region, (unsigned long long)(limit < 1000 ? limit : 1000), *filter ? "&filter=" : "",
            filter, *order ? "&orderBy=" : "", order, *token ? "&pageToken=" : "", token);
        if (http_json(c, "GET", path, NULL, &page, err)) {
            json_decref(all);
            return -1;
        }
        json_array_foreach(json_object_get(page, "customJobs"), i, job) {
            if (json_array_size(all) < limit) {
                json_array_append(all, job);
            }
        }
        free(token);
        token = http_escape(str_of(field(page, "nextPageToken")));
        json_decref(page);
    } while (*token && json_array_size(all) < limit);
    if (c->json) {
        out_json(all);
    } else if (!json_array_size(all)) {
        fprintf(stderr, "No jobs in projects/%s/locations/%s.\n", c->project, c->region);
    } else {
        struct table *t = table_new(NR_OF(heads), heads);
        size_t i;
        json_t *job;
        json_array_foreach(all, i, job) {
            auto_buf struct buf age = BUF_INIT(64);
            auto_buf struct buf ran = BUF_INIT(64);
            age_text(&age, field(job, "createTime"));
            run_text(&ran, job);
            const char *cells[] = {id_of(field(job, "name")), field(job, "displayName"),
                                   short_state(field(job, "state")), buf_cstr(&age),
                                   buf_cstr(&ran)};
            table_row(t, cells);
        }
        table_print(t, stdout);
    }
    json_decref(all);
    return 0;
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
        printf("  %-11s %9s  %.*s\n", rows[i].what, buf_cstr(&b), bar,
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
    const char *state = field(job, "state");
    printf("name:         %s\ndisplayName:  %s\nstate:        %s%s%s\n", field(job, "name"),
           field(job, "displayName"), state_colour(c, state), short_state(state), colour_off(c));
    static const struct {
        const char *label, *name;
    } times[] = {
        {"createTime:", "createTime"}, {"startTime:", "startTime"}, {"endTime:", "endTime"}};
    for (size_t i = 0; i < NR_OF(times); i++) {
        if (*field(job, times[i].name)) {
            printf("%-13s %s\n", times[i].label, field(job, times[i].name));
        }
    }
    if (http_json(c, "GET", events, NULL, &timeline, err) == 0) {
        if (*field(timeline, "waitingFor")) {
            printf("waitingFor:   %s\n", field(timeline, "waitingFor"));
        }
        print_seconds(timeline);
        json_decref(timeline);
    }
    const char *msg = field(json_object_get(job, "error"), "message");
    if (*msg) {
        printf("error:\n  %s\n", msg);
    }
    printf("jobSpec:\n");
    json_dumpf(json_object_get(job, "jobSpec"), stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(job);
    return 0;
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
        (void)time_parse_rfc3339(str_of(field(ev, "time")), &at, NULL);
        first = first ? first : at;
        printf("%+10.3f s  %-20s", (double)(at - first) / USEC_PER_SEC, field(ev, "type"));
        json_object_foreach(json_object_get(ev, "facts"), key, v) {
            printf(" %s=%.60s", key, json_string_value(v));
        }
        putchar('\n');
    }
    json_decref(t);
    return 0;
}

static int simple(const struct cli *c, const char *method, const char *id, const char *verb,
                  const char *done, struct err *err) {
    auto_free char *base = job_path(c, "/v1", id);
    auto_free char *path = xasprintf("%s%s", base, verb);
    json_t *body = strcmp(method, "POST") == 0 ? json_object() : NULL;
    int rc = http_json(c, method, path, body, NULL, err);
    json_decref(body);
    if (rc == 0 && !c->quiet) {
        fprintf(stderr, "%s [%s].\n", done, id);
    }
    return rc;
}

static int logs(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--task-name"},
                           {.name = "--no-follow", .is_bool = true},
                           {.name = "--polling-interval"},
                           {.name = "--allow-multiline-logs", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp custom-jobs stream-logs JOB");
    }
    return job_logs(c, a.words[0], args_get(&a, "--task-name"), !args_get(&a, "--no-follow"), err);
}

int cmd_custom_jobs(const struct cli *c, int argc, char **argv, struct err *err) {
    const char *verb = argc ? argv[0] : "--help";
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "help") == 0 ||
        (argc > 1 && strcmp(argv[1], "--help") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    if (strcmp(verb, "create") == 0) {
        return create(c, argc - 1, argv + 1, err);
    }
    if (strcmp(verb, "list") == 0) {
        return list(c, argc - 1, argv + 1, err);
    }
    if (strcmp(verb, "stream-logs") == 0) {
        return logs(c, argc - 1, argv + 1, err);
    }
    static const char *const with_job[] = {"describe", "timeline", "wait", "cancel", "delete"};
    for (size_t i = 0; i < NR_OF(with_job); i++) {
        if (strcmp(verb, with_job[i]) != 0) {
            continue;
        }
        if (argc != 2) {
            return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp custom-jobs %s JOB", verb);
        }
        switch (i) {
        case 0:
            return describe(c, argv[1], err);
        case 1:
            return timeline(c, argv[1], err);
        case 2:
            return outcome(c, argv[1], err);
        case 3:
            return simple(c, "POST", argv[1], ":cancel", "Cancellation requested for", err);
        default:
            return simple(c, "DELETE", argv[1], "", "Deleted", err);
        }
    }
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "custom-jobs has no command \"%s\" (see cusp custom-jobs --help)", verb);
}
