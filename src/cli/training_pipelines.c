/* cusp training-pipelines: create, list, describe, stream-logs, wait, cancel, delete. */
#include "cli/resource.h"

#define CUSTOM_TASK                                                                                \
    "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
#define COLLECTION "trainingPipelines"

static char *path_of(const struct cli *c, const char *id) {
    return resource_path(c, "/v1", COLLECTION, id);
}

static const char *child_of(const json_t *p) {
    return json_text(json_object_get(p, "trainingTaskMetadata"), "backingCustomJob");
}

static const char *model_of(const json_t *p) {
    return json_text(json_object_get(p, "modelToUpload"), "name");
}

static const char *version_of(const json_t *p) {
    return json_text(json_object_get(p, "modelToUpload"), "versionId");
}

/* ---- waiting ---- */

static bool has_child(const json_t *p) {
    return *child_of(p) != 0;
}

static void print_model(const json_t *p) {
    if (*model_of(p)) {
        printf("  model %s, version %s\n", model_of(p), version_of(p));
    }
}

static void print_error(const json_t *p) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    indent_text(&b, json_text(json_object_get(p, "error"), "message"), "  ");
    fputs(buf_cstr(&b), stdout);
}

static void print_end(const struct cli *c, const json_t *p) {
    print_model(p);
    print_error(p);
}

static int outcome(const struct cli *c, const char *id, bool after_log, struct err *err) {
    auto_free char *path = path_of(c, id);
    return resource_outcome(c, path, after_log, print_end, err);
}

/* The log of its job, as soon as there is one. */
static int stream(const struct cli *c, const char *id, const char *task, bool follow,
                  struct err *err) {
    json_t *p;
    auto_free char *path = path_of(c, id);
    if (wait_for_resource(c, path, has_child, &p, err)) {
        return -1;
    }
    auto_free char *child = xstrdup(child_of(p));
    json_decref(p);
    return *child ? job_logs(c, child, task, follow, err) : 0;
}

/* ---- create ---- */

static void set_text(json_t *obj, const char *key, const char *value) {
    if (value) {
        json_object_set_new(obj, key, json_string(value));
    }
}

static json_t *names_of(const char *list) {
    json_t *all = json_array();
    struct str rest = str_of(list);
    while (rest.p && rest.n) {
        struct str one = str_cut(&rest, ',');
        json_array_append_new(all, json_stringn(one.p, one.n));
    }
    return all;
}

/* "0.8,0.1,0.1" */
static int fractions_of(const char *text, json_t **ret, struct err *err) {
    static const char *const keys[] = {"trainingFraction", "validationFraction", "testFraction"};
    struct str rest = str_of(text);
    json_t *split = json_object();
    for (size_t i = 0; i < NR_OF(keys); i++) {
        double d;
        struct str one = str_cut(&rest, ',');
        if (!str_to_double(one, &d)) {
            json_decref(split);
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "--fraction-split takes TRAINING,VALIDATION,TEST such as 0.8,0.1,0.1");
        }
        json_object_set_new(split, keys[i], json_real(d));
    }
    *ret = split;
    return 0;
}

static int put_dataset(json_t *body, const struct args *a, struct err *err) {
    const char *dataset = args_get(a, "--dataset"), *prefix = args_get(a, "--dataset-output-dir");
    const char *fractions = args_get(a, "--fraction-split"),
               *column = args_get(a, "--predefined-split");
    if (!dataset) {
        return fractions || column || prefix
                   ? err_set(err, ERR_INVALID_ARGUMENT, "splits need a --dataset")
                   : 0;
    }
    json_t *in = json_object(), *split = NULL;
    json_object_set_new(body, "inputDataConfig", in);
    json_object_set_new(in, "datasetId", json_string(name_id(dataset)));
    set_text(in, "annotationSchemaUri", args_get(a, "--annotation-schema-uri"));
    prefix = prefix ? prefix : args_get(a, "--base-output-dir");
    if (prefix) {
        json_t *to = json_object();
        json_object_set_new(to, "outputUriPrefix", json_string(prefix));
        json_object_set_new(in, "gcsDestination", to);
    }
    if (fractions && fractions_of(fractions, &split, err)) {
        return -1;
    }
    if (split) {
        json_object_set_new(in, "fractionSplit", split);
    }
    if (column) {
        json_t *key = json_object();
        json_object_set_new(key, "key", json_string(column));
        json_object_set_new(in, "predefinedSplit", key);
    }
    return 0;
}

static void put_model(json_t *body, const struct args *a) {
    const char *name = args_get(a, "--model-display-name"),
               *image = args_get(a, "--model-container-image-uri"),
               *aliases = args_get(a, "--model-version-aliases");
    set_text(body, "modelId", args_get(a, "--model-id"));
    set_text(body, "parentModel", args_get(a, "--parent-model"));
    if (!name && !image) {
        return;
    }
    json_t *model = json_object(), *container = json_object();
    set_text(model, "displayName", name);
    set_text(container, "imageUri", image);
    json_object_set_new(model, "containerSpec", container);
    set_text(model, "artifactUri", args_get(a, "--model-artifact-uri"));
    set_text(model, "versionDescription", args_get(a, "--model-version-description"));
    if (aliases) {
        json_object_set_new(model, "versionAliases", names_of(aliases));
    }
    json_object_set_new(body, "modelToUpload", model);
}

/* Flags of custom-jobs make the task's inputs; the rest is the pipeline's. */
static int body_of(const struct args *a, json_t **ret, struct err *err) {
    if (args_get(a, "--request")) {
        *ret = configfile_load(args_get(a, "--request"), err);
        return *ret ? 0 : -1;
    }
    json_t *job = job_body_from_flags(a, err), *body;
    if (!job) {
        return -1;
    }
    body = json_object();
    json_object_set(body, "displayName", json_object_get(job, "displayName"));
    if (json_object_get(job, "labels")) {
        json_object_set(body, "labels", json_object_get(job, "labels"));
    }
    json_object_set_new(body, "trainingTaskDefinition", json_string(CUSTOM_TASK));
    json_object_set(body, "trainingTaskInputs", json_object_get(job, "jobSpec"));
    json_decref(job);
    put_model(body, a);
    if (put_dataset(body, a, err)) {
        json_decref(body);
        return -1;
    }
    *ret = body;
    return 0;
}

static const struct resource_words made_words = {"TrainingPipeline", "training-pipelines",
                                                 "its job's log", stream, outcome};

static int create(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag job_flags[] = CREATE_FLAGS;
    static const char *const more[] = {"--request",
                                       "--dataset",
                                       "--dataset-output-dir",
                                       "--fraction-split",
                                       "--predefined-split",
                                       "--annotation-schema-uri",
                                       "--model-display-name",
                                       "--model-container-image-uri",
                                       "--model-artifact-uri",
                                       "--model-id",
                                       "--parent-model",
                                       "--model-version-aliases",
                                       "--model-version-description"};
    struct flag flags[NR_OF(job_flags) + NR_OF(more)];
    for (size_t i = 0; i < NR_OF(flags); i++) {
        flags[i] =
            i < NR_OF(job_flags) ? job_flags[i] : (struct flag){.name = more[i - NR_OF(job_flags)]};
    }
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *body;
    if (args_parse_flags(&a, argc, argv, err) || body_of(&a, &body, err)) {
        return -1;
    }
    auto_free char *path = path_of(c, "");
    return resource_create(c, path, &a, body, &made_words, err);
}

/* ---- list, describe ---- */

static void print_table(const json_t *all) {
    static const char *const heads[] = {"PIPELINE", "NAME", "STATE", "CREATED", "MODEL"};
    struct table *t = table_new(NR_OF(heads), heads);
    size_t i;
    json_t *p;
    json_array_foreach(all, i, p) {
        auto_buf struct buf age = BUF_INIT(64);
        auto_free char *model =
            *model_of(p) ? xasprintf("%s@%s", name_id(model_of(p)), version_of(p)) : xstrdup("");
        age_text(&age, json_text(p, "createTime"));
        const char *cells[] = {name_id(json_text(p, "name")), json_text(p, "displayName"),
                               state_short(json_text(p, "state")), buf_cstr(&age), model};
        table_row(t, cells);
    }
    table_print(t, stdout);
}

static int list(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--filter"}, {.name = "--limit"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse_flags(&a, argc, argv, err)) {
        return -1;
    }
    auto_free char *base = path_of(c, "");
    return resource_print_list(c, base, COLLECTION, "filter", &a, "training pipelines", print_table,
                               err);
}

static void print_inputs(const json_t *p, const char *key) {
    char *text = json_shown(json_object_get(p, key), 2);
    auto_buf struct buf lines = BUF_INIT(BUF_NO_MAX);
    if (*text) {
        indent_text(&lines, text, "  ");
        printf("%s:\n%s", key, buf_cstr(&lines));
    }
    free(text);
}

static int describe(const struct cli *c, const char *id, struct err *err) {
    auto_free char *path = path_of(c, id);
    json_t *p;
    if (http_json(c, "GET", path, NULL, &p, err)) {
        return -1;
    }
    if (c->json) {
        out_json(p);
        json_decref(p);
        return 0;
    }
    const char *state = json_text(p, "state");
    printf("name:         %s\ndisplayName:  %s\nstate:        %s%s%s\n", json_text(p, "name"),
           json_text(p, "displayName"), state_colour(c, state), state_short(state), colour_off(c));
    static const char *const times[] = {"createTime", "startTime", "endTime"};
    for (size_t i = 0; i < NR_OF(times); i++) {
        if (*json_text(p, times[i])) {
            printf("%s:%*s%s\n", times[i], (int)(13 - strlen(times[i])), "",
                   json_text(p, times[i]));
        }
    }
    if (*child_of(p)) {
        printf("job:          %s\n", child_of(p));
    }
    if (*model_of(p)) {
        printf("model:        %s@%s\n", model_of(p), version_of(p));
    }
    if (json_object_get(p, "error")) {
        printf("error:\n");
        print_error(p);
    }
    print_inputs(p, "inputDataConfig");
    print_inputs(p, "trainingTaskInputs");
    json_decref(p);
    return 0;
}

/* ---- the rest ---- */

static int logs(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--task-name"}, {.name = "--no-follow", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 1) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp training-pipelines stream-logs PIPELINE");
    }
    return stream(c, a.words[0], args_get(&a, "--task-name"), !args_on(&a, "--no-follow"), err);
}

int cmd_training_pipelines(const struct cli *c, int argc, char **argv, struct err *err) {
    const char *verb = argv[0];
    if (strcmp(verb, "create") == 0) {
        return create(c, argc - 1, argv + 1, err);
    }
    if (strcmp(verb, "list") == 0) {
        return list(c, argc - 1, argv + 1, err);
    }
    if (strcmp(verb, "stream-logs") == 0) {
        return logs(c, argc - 1, argv + 1, err);
    }
    static const char *const with_one[] = {"describe", "wait", "cancel", "delete"};
    for (size_t i = 0; i < NR_OF(with_one); i++) {
        if (strcmp(verb, with_one[i]) != 0) {
            continue;
        }
        if (argc != 2) {
            return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp training-pipelines %s PIPELINE",
                           verb);
        }
        auto_free char *path = path_of(c, argv[1]);
        switch (i) {
        case 0:
            return describe(c, argv[1], err);
        case 1:
            return outcome(c, argv[1], false, err);
        case 2:
            return resource_act(c, "POST", path, ":cancel", argv[1], "Cancellation requested for",
                                err);
        default:
            return resource_act(c, "DELETE", path, "", argv[1], "Deleted", err);
        }
    }
    return no_verb("training-pipelines", verb, err);
}
