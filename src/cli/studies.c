/* cusp studies: Vizier's studies, to look at and to ask and tell from a shell. */
#include "cli/hp_tuning.h"
#include "cli/resource.h"

#define COLLECTION "studies"
#define TRIALS_SHOWN 50u

static int usage(struct err *err, const char *what) {
    return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp studies %s", what);
}

static bool is_number(const char *text) {
    uint64_t n;
    return str_to_u64(str_of(text), &n);
}

/* "/v1/NAME" of an id, a whole name, or a display name, which is looked up; owned. */
static char *find_study(const struct cli *c, const char *study, struct err *err) {
    if (is_number(study) || strchr(study, '/')) {
        return resource_path(c, "/v1", COLLECTION, study);
    }
    auto_free char *base = resource_path(c, "/v1", COLLECTION, "");
    auto_free char *path = xasprintf("%s:lookup", base);
    json_t *body = json_pack("{s:s}", "displayName", study), *found;
    int rc = http_json(c, "POST", path, body, &found, err);
    json_decref(body);
    if (rc) {
        return NULL;
    }
    char *ret = xasprintf("/v1/%s", json_text(found, "name"));
    json_decref(found);
    return ret;
}

/* ---- create, list, delete ---- */

static int create(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--display-name"}, {.name = "--config"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words || !args_get(&a, "--config")) {
        return usage(err, "create --config=FILE [--display-name=NAME]");
    }
    json_t *body = configfile_load(args_get(&a, "--config"), err), *made;
    if (!body) {
        return -1;
    }
    if (json_object_get(body, "parameters") && !json_object_get(body, "studySpec")) {
        body = json_pack("{s:o}", "studySpec", body); /* a StudySpec alone will do */
    }
    if (args_get(&a, "--display-name")) {
        json_object_set_new(body, "displayName", json_string(args_get(&a, "--display-name")));
    }
    auto_free char *base = resource_path(c, "/v1", COLLECTION, "");
    int rc = http_json(c, "POST", base, body, &made, err);
    json_decref(body);
    if (rc) {
        return -1;
    }
    if (c->json) {
        out_json(made);
    } else {
        printf("%s\n", name_id(json_text(made, "name")));
    }
    json_decref(made);
    return 0;
}

static void print_studies(const json_t *all) {
    static const char *const heads[] = {"STUDY", "NAME", "STATE", "METRIC", "CREATED"};
    struct table *t = table_new(NR_OF(heads), heads);
    size_t i;
    json_t *s;
    json_array_foreach(all, i, s) {
        auto_buf struct buf age = BUF_INIT(64);
        const json_t *metrics = json_object_get(json_object_get(s, "studySpec"), "metrics");
        age_text(&age, json_text(s, "createTime"));
        const char *cells[] = {name_id(json_text(s, "name")), json_text(s, "displayName"),
                               json_text(s, "state"),
                               json_text(json_array_get(metrics, 0), "metricId"), buf_cstr(&age)};
        table_row(t, cells);
    }
    table_print(t, stdout);
}

static int list(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--limit"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words) {
        return usage(err, "list [--limit=N]");
    }
    auto_free char *base = resource_path(c, "/v1", COLLECTION, "");
    return resource_print_list(c, base, COLLECTION, "filter", &a, "studies", print_studies, err);
}

static int delete_one(const struct cli *c, int argc, char **argv, struct err *err) {
    auto_args struct args a = {NULL, 0, NULL, 0};
    json_t *reply;
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return usage(err, "delete STUDY");
    }
    auto_free char *path = find_study(c, a.words[0], err);
    if (!path || http_json(c, "DELETE", path, NULL, &reply, err)) {
        return -1;
    }
    json_decref(reply);
    if (!c->quiet) {
        fprintf(stderr, "Deleted [%s].\n", a.words[0]);
    }
    return 0;
}

/* ---- describe ---- */

/* The study with all of its trials as a member, as a tuning job has them. */
static json_t *with_trials(const struct cli *c, const char *path, struct err *err) {
    auto_buf struct buf at = BUF_INIT(BUF_NO_MAX);
    json_t *study, *all = json_array(), *page;
    if (http_json(c, "GET", path, NULL, &study, err)) {
        json_decref(all);
        return NULL;
    }
    json_object_set_new(study, "trials", all);
    buf_printf(&at, "%s/trials", path);
    for (;;) {
        if (http_json(c, "GET", buf_cstr(&at), NULL, &page, err)) {
            json_decref(study);
            return NULL;
        }
        (void)json_array_extend(all, json_object_get(page, "trials"));
        auto_free char *token = http_escape(str_of(json_text(page, "nextPageToken")));
        json_decref(page);
        if (!*token) {
            return study;
        }
        buf_clear(&at);
        buf_printf(&at, "%s/trials?pageToken=%s", path, token);
    }
}

static void print_counts(const struct hp_view *v) {
    static const char *const states[] = {"SUCCEEDED", "INFEASIBLE", "ACTIVE", "STOPPING",
                                         "REQUESTED"};
    const char *sep = " (";
    printf("trials:       %zu", v->trials.n);
    for (size_t i = 0; i < NR_OF(states); i++) {
        size_t n = 0;
        for (size_t k = 0; k < v->trials.n; k++) {
            n += strcmp(v->trials.p[k].state, states[i]) == 0;
        }
        if (n) {
            auto_free char *word = xstrdup(states[i]);
            for (char *p = word; *p; p++) {
                *p = (char)(*p | 0x20);
            }
            printf("%s%zu %s", sep, n, word);
            sep = ", ";
        }
    }
    printf("%s\n", *sep == ',' ? ")" : "");
}

static void print_best(const struct cli *c, const struct hp_view *v) {
    if (!v->best) {
        return;
    }
    printf("best:         trial %s, %s = %s%.6g%s\n", v->best->id, v->metric,
           c->colour ? "\033[32m" : "", v->best->value, colour_off(c));
}

static void print_study(const struct cli *c, const json_t *study, size_t limit) {
    auto_hp_view struct hp_view v;
    hp_view_init(&v, study);
    printf("name:         %s\ndisplayName:  %s\nstate:        %s\ncreateTime:   %s\n",
           json_text(study, "name"), json_text(study, "displayName"), json_text(study, "state"),
           json_text(study, "createTime"));
    printf("metric:       %s, %s\n", v.metric, v.minimize ? "minimized" : "maximized");
    print_counts(&v);
    print_best(c, &v);
    hp_print_all(c, &v, limit, stdout);
}

static void print_csv(const json_t *study) {
    auto_hp_view struct hp_view v;
    hp_view_init(&v, study);
    hp_print_csv(&v, stdout);
}

static int describe(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--limit"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    uint64_t limit = TRIALS_SHOWN;
    if (args_parse(&a, argc, argv, err) || hp_number_flag(&a, "--limit", 0, &limit, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return usage(err, "describe STUDY [--limit=N]");
    }
    auto_free char *path = find_study(c, a.words[0], err);
    json_t *study = path ? with_trials(c, path, err) : NULL;
    if (!study) {
        return -1;
    }
    if (c->json) {
        out_json(study);
    } else if (c->csv) {
        print_csv(study);
    } else {
        print_study(c, study, (size_t)limit);
    }
    json_decref(study);
    return 0;
}

/* ---- ask and tell ---- */

/* Its operation, until it is done. */
static json_t *ask(const struct cli *c, const char *path, json_t *body, struct err *err) {
    json_t *op;
    if (http_json(c, "POST", path, body, &op, err)) {
        return NULL;
    }
    while (!json_is_true(json_object_get(op, "done"))) {
        auto_free char *wait = xasprintf("/v1/%s:wait", json_text(op, "name"));
        json_t *none = json_object();
        json_decref(op);
        int rc = http_json(c, "POST", wait, none, &op, err);
        json_decref(none);
        if (rc) {
            return NULL;
        }
    }
    json_t *error = json_object_get(op, "error"), *response = json_object_get(op, "response");
    if (error) {
        err_set(err, ERR_FAILED_PRECONDITION, "%s", json_text(error, "message"));
        response = NULL;
    }
    json_incref(response);
    json_decref(op);
    return response;
}

/* What was suggested, as a study of these trials alone. */
static int print_suggested(const struct cli *c, const char *path, const json_t *response,
                           struct err *err) {
    json_t *study, *trials = json_object_get(response, "trials");
    if (c->json) {
        json_t *all = trials ? json_incref(trials) : json_array();
        out_json(all);
        json_decref(all);
        return 0;
    }
    if (!json_array_size(trials)) {
        fprintf(stderr, "Nothing is left to try: the study is %s.\n",
                json_text(response, "studyState"));
        return 0;
    }
    if (http_json(c, "GET", path, NULL, &study, err)) {
        return -1;
    }
    json_object_set(study, "trials", trials);
    if (c->csv) {
        print_csv(study);
    } else {
        auto_hp_view struct hp_view v;
        hp_view_init(&v, study);
        hp_print_trials(&v, 0, stdout);
    }
    json_decref(study);
    return 0;
}

static int suggest(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--client-id"}, {.name = "--count"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    uint64_t count = 1;
    if (args_parse(&a, argc, argv, err) || hp_number_flag(&a, "--count", 1, &count, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return usage(err, "suggest STUDY [--count=N] [--client-id=ID]");
    }
    const char *client = args_get(&a, "--client-id");
    auto_free char *path = find_study(c, a.words[0], err);
    if (!path) {
        return -1;
    }
    auto_free char *at = xasprintf("%s/trials:suggest", path);
    json_t *body = json_pack("{s:I, s:s}", "suggestionCount", (json_int_t)count, "clientId",
                             client ? client : "cusp");
    json_t *response = ask(c, at, body, err);
    json_decref(body);
    if (!response) {
        return -1;
    }
    int rc = print_suggested(c, path, response, err);
    json_decref(response);
    return rc;
}

/* NAME=NUMBER,.. as a Measurement; NULL: *err. */
static json_t *measurement_of(const struct args *a, struct err *err) {
    uint64_t step = 0;
    const char *key;
    json_t *value, *pairs, *list = json_array();
    if (hp_number_flag(a, "--step", 0, &step, err) ||
        !(pairs = flag_pairs("--metrics", args_get(a, "--metrics"), err))) {
        json_decref(list);
        return NULL;
    }
    json_object_foreach(pairs, key, value) {
        double d;
        if (!str_to_double(str_of(json_string_value(value)), &d)) {
            err_set(err, ERR_INVALID_ARGUMENT, "--metrics: \"%s\" is no number",
                    json_string_value(value));
            json_decref(list);
            list = NULL;
            break;
        }
        json_array_append_new(list, json_pack("{s:s, s:f}", "metricId", key, "value", d));
    }
    json_decref(pairs);
    return list ? json_pack("{s:o, s:I}", "metrics", list, "stepCount", (json_int_t)step) : NULL;
}

static int tell(const struct cli *c, const struct args *a, const char *verb, json_t *body,
                struct err *err) {
    json_t *trial = NULL;
    auto_free char *path = find_study(c, a->words[0], err);
    int rc = -1;
    if (path) {
        auto_free char *at = xasprintf("%s/trials/%s:%s", path, a->words[1], verb);
        rc = http_json(c, "POST", at, body, &trial, err);
    }
    json_decref(body);
    if (rc) {
        return -1;
    }
    if (c->json) {
        out_json(trial);
    } else if (!c->quiet) {
        fprintf(stderr, "Trial %s is %s.\n", a->words[1], json_text(trial, "state"));
    }
    json_decref(trial);
    return 0;
}

static int measure(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--metrics"}, {.name = "--step"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 2 || !args_get(&a, "--metrics")) {
        return usage(err, "measure STUDY TRIAL --metrics=NAME=NUMBER,... [--step=N]");
    }
    json_t *m = measurement_of(&a, err);
    return m ? tell(c, &a, "addTrialMeasurement", json_pack("{s:o}", "measurement", m), err) : -1;
}

static int complete(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--metrics"},
                           {.name = "--step"},
                           {.name = "--infeasible", .is_bool = true},
                           {.name = "--reason"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    bool is_infeasible = args_on(&a, "--infeasible");
    if (a.nr_words != 2 || (is_infeasible && args_get(&a, "--metrics"))) {
        return usage(err, "complete STUDY TRIAL [--metrics=NAME=NUMBER,... [--step=N] | "
                          "--infeasible [--reason=TEXT]]");
    }
    json_t *body = json_object();
    if (is_infeasible) {
        json_object_set_new(body, "trialInfeasible", json_true());
    }
    if (args_get(&a, "--reason")) {
        json_object_set_new(body, "infeasibleReason", json_string(args_get(&a, "--reason")));
    }
    if (args_get(&a, "--metrics")) {
        json_t *m = measurement_of(&a, err);
        if (!m) {
            json_decref(body);
            return -1;
        }
        json_object_set_new(body, "finalMeasurement", m);
    }
    return tell(c, &a, "complete", body, err);
}

int cmd_studies(const struct cli *c, int argc, char **argv, struct err *err) {
    static const struct {
        const char *verb;
        int (*run)(const struct cli *, int, char **, struct err *);
    } verbs[] = {{"create", create},    {"list", list},       {"describe", describe},
                 {"suggest", suggest},  {"measure", measure}, {"complete", complete},
                 {"delete", delete_one}};
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        if (strcmp(argv[0], verbs[i].verb) == 0) {
            return verbs[i].run(c, argc - 1, argv + 1, err);
        }
    }
    return no_verb("studies", argv[0], err);
}
