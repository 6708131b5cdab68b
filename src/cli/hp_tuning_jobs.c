/* cusp hp-tuning-jobs: gcloud's verbs and flags. */
#include "cli/hp_tuning.h"
#include "cli/resource.h"

#include <ctype.h>

#define COLLECTION HP_COLLECTION
#define TRIALS_SHOWN 50u

static char *path_of(const struct cli *c, const char *id) {
    return resource_path(c, "/v1", COLLECTION, id);
}

static void print_error(const json_t *job) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    indent_text(&b, json_text(json_object_get(job, "error"), "message"), "  ");
    fputs(buf_cstr(&b), stdout);
}

static void print_best(const struct cli *c, const struct hp_view *v, const char *label) {
    if (!v->best) {
        return;
    }
    printf("%strial %s, %s = %s%.6g%s", label, v->best->id, v->metric, c->colour ? "\033[32m" : "",
           v->best->value, colour_off(c));
    for (size_t i = 0; i < v->params.n; i++) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        hp_param_text(&b, v->best, v->params.p[i].id);
        if (b.n) {
            printf("%s%s=%s", i ? " " : " with ", v->params.p[i].id, buf_cstr(&b));
        }
    }
    putchar('\n');
}

static void print_end(const struct cli *c, const json_t *job) {
    auto_hp_view struct hp_view v;
    hp_view_init(&v, job);
    print_best(c, &v, "  best: ");
    print_error(job);
}

static int outcome(const struct cli *c, const char *id, bool after_log, struct err *err) {
    auto_free char *path = path_of(c, id);
    return resource_outcome(c, path, after_log, print_end, err);
}

/* ---- what its trials print ---- */

struct watch {
    const struct cli *c;
    const char *path;
};

static bool is_over(void *arg) {
    const struct watch *w = arg;
    struct err err;
    json_t *job;
    if (http_json(w->c, "GET", w->path, NULL, &job, &err)) {
        return err.code == ERR_NOT_FOUND; /* else: the next look tells */
    }
    bool over = job_is_over(json_text(job, "state"));
    json_decref(job);
    return over;
}

static int trial_logs(const struct cli *c, const char *id, const char *task, bool follow,
                      struct err *err) {
    auto_free char *path = path_of(c, id);
    auto_free char *state = xasprintf("%s?$fields=name,state", path);
    struct watch w = {c, state};
    json_t *job;
    if (http_json(c, "GET", state, NULL, &job, err)) {
        return -1;
    }
    json_decref(job);
    return job_entries(c, name_id(id), task, follow, is_over, &w, err);
}

/* ---- create ---- */

static json_t *child(json_t *obj, const char *key) {
    json_t *c = json_object_get(obj, key);
    if (!json_is_object(c)) {
        c = json_object();
        json_object_set_new(obj, key, c);
    }
    return c;
}

/* "random-search", as gcloud has it, or the enum's own name. */
static void set_algorithm(json_t *body, const char *text) {
    auto_free char *name = xstrdup(text);
    for (char *p = name; *p; p++) {
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    }
    json_object_set_new(child(body, "studySpec"), "algorithm", json_string(name));
}

/* gcloud's order: the file, 1 where neither it nor a flag says a count, flags on top. */
static int set_count(json_t *body, const struct args *a, const char *flag, const char *key,
                     struct err *err) {
    uint64_t n = 0;
    if (hp_number_flag(a, flag, 1, &n, err)) {
        return -1;
    }
    if (n || !json_object_get(body, key)) {
        json_object_set_new(body, key, json_integer(n ? (json_int_t)n : 1));
    }
    return 0;
}

static int body_of(const struct args *a, json_t **ret, struct err *err) {
    static const struct {
        const char *flag, *key;
        bool is_bool;
    } spec[] = {{"--service-account", "serviceAccount", false},
                {"--network", "network", false},
                {"--enable-web-access", "enableWebAccess", true},
                {"--enable-dashboard-access", "enableDashboardAccess", true}};
    const char *v = args_get(a, "--config");
    if (!v) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--config is required (see --help)");
    }
    json_t *body = configfile_load(v, err);
    if (!body) {
        return -1;
    }
    if ((v = args_get(a, "--display-name"))) {
        json_object_set_new(body, "displayName", json_string(v));
    }
    if (!json_object_get(body, "displayName")) {
        err_set(err, ERR_INVALID_ARGUMENT, "--display-name is required");
        goto fail;
    }
    if (set_count(body, a, "--max-trial-count", "maxTrialCount", err) ||
        set_count(body, a, "--parallel-trial-count", "parallelTrialCount", err)) {
        goto fail;
    }
    for (size_t i = 0; i < NR_OF(spec); i++) {
        if ((v = args_get(a, spec[i].flag))) {
            json_object_set_new(child(body, "trialJobSpec"), spec[i].key,
                                spec[i].is_bool ? json_boolean(strcmp(v, "false") != 0)
                                                : json_string(v));
        }
    }
    if ((v = args_get(a, "--algorithm"))) {
        set_algorithm(body, v);
    }
    if ((v = args_get(a, "--kms-key"))) {
        json_object_set_new(child(body, "encryptionSpec"), "kmsKeyName", json_string(v));
    }
    if ((v = args_get(a, "--labels"))) {
        json_t *labels = flag_pairs("--labels", v, err);
        if (!labels) {
            goto fail;
        }
        json_object_set_new(body, "labels", labels);
    }
    *ret = body;
    return 0;
fail:
    json_decref(body);
    return -1;
}

static const struct resource_words made_words = {"HyperparameterTuningJob", "hp-tuning-jobs",
                                                 "its trials' log", trial_logs, outcome};

static int create(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--display-name"},
                           {.name = "--config"},
                           {.name = "--max-trial-count"},
                           {.name = "--parallel-trial-count"},
                           {.name = "--algorithm"},
                           {.name = "--labels"},
                           {.name = "--service-account"},
                           {.name = "--network"},
                           {.name = "--kms-key"},
                           {.name = "--enable-web-access", .is_bool = true},
                           {.name = "--enable-dashboard-access", .is_bool = true},
                           {.name = "--stream-logs", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *body;
    if (args_parse_flags(&a, argc, argv, err) || body_of(&a, &body, err)) {
        return -1;
    }
    auto_free char *path = path_of(c, "");
    return resource_create(c, path, &a, body, &made_words, err);
}

/* ---- list ---- */

static void print_jobs(const json_t *all) {
    static const char *const heads[] = {"JOB", "NAME", "STATE", "TRIALS", "CREATED"};
    struct table *t = table_new(NR_OF(heads), heads);
    size_t i;
    json_t *job;
    json_array_foreach(all, i, job) {
        auto_buf struct buf age = BUF_INIT(64);
        auto_free char *trials =
            xasprintf("%lld", (long long)json_integer_value(json_object_get(job, "maxTrialCount")));
        age_text(&age, json_text(job, "createTime"));
        const char *cells[] = {name_id(json_text(job, "name")), json_text(job, "displayName"),
                               state_short(json_text(job, "state")), trials, buf_cstr(&age)};
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
    auto_free char *base = path_of(c, "");
    return resource_print_list(c, base, COLLECTION, "filter", &a, "tuning jobs", print_jobs, err);
}

/* ---- describe ---- */

static void print_counts(const struct hp_view *v) {
    static const char *const states[] = {"SUCCEEDED", "INFEASIBLE", "ACTIVE", "STOPPING",
                                         "REQUESTED"};
    static const char *const words[] = {"succeeded", "infeasible", "running", "stopping",
                                        "waiting"};
    const char *sep = " (";
    printf("trials:       %zu of %lld", v->trials.n,
           (long long)json_integer_value(json_object_get(v->job, "maxTrialCount")));
    for (size_t i = 0; i < NR_OF(states); i++) {
        size_t n = 0;
        for (size_t k = 0; k < v->trials.n; k++) {
            n += strcmp(v->trials.p[k].state, states[i]) == 0;
        }
        if (n) {
            printf("%s%zu %s", sep, n, words[i]);
            sep = ", ";
        }
    }
    printf("%s, %lld in parallel\n", *sep == ',' ? ")" : "",
           (long long)json_integer_value(json_object_get(v->job, "parallelTrialCount")));
}

static void print_job(const struct cli *c, const json_t *job, size_t limit) {
    static const char *const times[] = {"createTime", "startTime", "endTime"};
    const char *state = json_text(job, "state");
    auto_hp_view struct hp_view v;
    hp_view_init(&v, job);
    printf("name:         %s\ndisplayName:  %s\nstate:        %s%s%s\n", json_text(job, "name"),
           json_text(job, "displayName"), state_colour(c, state), state_short(state),
           colour_off(c));
    for (size_t i = 0; i < NR_OF(times); i++) {
        if (*json_text(job, times[i])) {
            printf("%s:%*s%s\n", times[i], (int)(13 - strlen(times[i])), "",
                   json_text(job, times[i]));
        }
    }
    printf("metric:       %s, %s\n", v.metric, v.minimize ? "minimized" : "maximized");
    print_counts(&v);
    print_best(c, &v, "best:         ");
    if (json_object_get(job, "error")) {
        printf("error:\n");
        print_error(job);
    }
    hp_print_all(c, &v, limit, stdout);
}

static int describe(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--limit"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    uint64_t limit = TRIALS_SHOWN;
    json_t *job;
    if (args_parse(&a, argc, argv, err) || hp_number_flag(&a, "--limit", 0, &limit, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return hp_usage(err, "describe JOB [--limit=N]");
    }
    auto_free char *path = path_of(c, a.words[0]);
    if (http_json(c, "GET", path, NULL, &job, err)) {
        return -1;
    }
    if (c->json) {
        out_json(job);
    } else if (c->csv) {
        auto_hp_view struct hp_view v;
        hp_view_init(&v, job);
        hp_print_csv(&v, stdout);
    } else {
        print_job(c, job, (size_t)limit);
    }
    json_decref(job);
    return 0;
}

/* ---- the rest of gcloud's verbs ---- */

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
        return hp_usage(err, "stream-logs JOB");
    }
    return trial_logs(c, a.words[0], args_get(&a, "--task-name"), !args_on(&a, "--no-follow"), err);
}

int cmd_hp_tuning_jobs(const struct cli *c, int argc, char **argv, struct err *err) {
    static const struct {
        const char *verb;
        int (*run)(const struct cli *, int, char **, struct err *);
    } verbs[] = {{"create", create},
                 {"list", list},
                 {"describe", describe},
                 {"stream-logs", logs},
                 {"update", hp_update},
                 {"add-trial", hp_add_trial},
                 {"stop-trial", hp_stop_trial},
                 {"rerun-trial", hp_rerun_trial}};
    static const char *const with_one[] = {"wait", "cancel", "delete"};
    const char *verb = argv[0];
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        if (strcmp(verb, verbs[i].verb) == 0) {
            return verbs[i].run(c, argc - 1, argv + 1, err);
        }
    }
    for (size_t i = 0; i < NR_OF(with_one); i++) {
        if (strcmp(verb, with_one[i]) != 0) {
            continue;
        }
        if (argc != 2) {
            return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp hp-tuning-jobs %s JOB", verb);
        }
        auto_free char *path = path_of(c, argv[1]);
        return i == 0   ? outcome(c, argv[1], false, err)
               : i == 1 ? resource_act(c, "POST", path, ":cancel", argv[1],
                                       "Cancellation requested for", err)
                        : resource_act(c, "DELETE", path, "", argv[1], "Deleted", err);
    }
    return no_verb("hp-tuning-jobs", verb, err);
}
