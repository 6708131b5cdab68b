/* cusp models: gcloud's verbs and flags for the model registry, plus update, verify and export. */
#include "cli/cli.h"
#include "cli/resource.h"

#include <unistd.h>

#define COLLECTION "models"

static const char *field(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static const char *id_of(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static char *model_path(const struct cli *c, const char *prefix, const char *id) {
    return resource_path(c, prefix, COLLECTION, id);
}

/* "projects/…/models/ID" of an id or a full name; owned. */
static char *model_name(const struct cli *c, const char *region, const char *id) {
    return strchr(id, '/')
               ? xstrdup(id)
               : xasprintf("projects/%s/locations/%s/" COLLECTION "/%s", c->project, region, id);
}

static int parse(struct args *a, int argc, char **argv, const char *usage, size_t words,
                 struct err *err) {
    if (args_parse(a, argc, argv, err)) {
        return -1;
    }
    if (a->nr_words != words) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp models %s", usage);
    }
    return 0;
}

/* ---- operations ---- */

static int operation_error(const json_t *op, struct err *err) {
    const json_t *e = json_object_get(op, "error");
    if (!e) {
        return 0;
    }
    return err_set(err, (enum err_code)json_integer_value(json_object_get(e, "code")), "%s",
                   field(e, "message"));
}

/* Until it is done, over a restart of the server too. Takes the reference of op. */
static int wait_for(const struct cli *c, json_t *op, json_t **ret, struct err *err) {
    auto_free char *path = xasprintf("/v1/%s:wait?timeout=20s", field(op, "name"));
    struct outage out = {.reached = true};
    while (!json_is_true(json_object_get(op, "done"))) {
        json_t *now;
        struct err e = {0};
        if (http_json(c, "POST", path, NULL, &now, &e) == 0) {
            json_decref(op);
            op = now;
            out = (struct outage){.reached = true};
        } else if (!server_may_return(c, &e, &out)) {
            json_decref(op);
            *err = e;
            return -1;
        }
    }
    if (operation_error(op, err)) {
        json_decref(op);
        return -1;
    }
    *ret = op;
    return 0;
}

/* Sends, waits, and gives the operation as it ended. */
static int run(const struct cli *c, const char *method, const char *path, json_t *body,
               json_t **ret, struct err *err) {
    json_t *op;
    return http_json(c, method, path, body, &op, err) || wait_for(c, op, ret, err) ? -1 : 0;
}

/* ---- upload ---- */

static void set_text(json_t *obj, const char *key, const char *value) {
    if (value) {
        json_object_set_new(obj, key, json_string(value));
    }
}

static int set_count(json_t *obj, const char *key, const struct args *a, const char *flag,
                     const char *suffix, struct err *err) {
    const char *text = args_get(a, flag);
    uint64_t n;
    if (!text) {
        return 0;
    }
    if (!str_to_u64(str_of(text), &n)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s must be a number, not \"%s\"", flag, text);
    }
    auto_free char *value = xasprintf("%llu%s", (unsigned long long)n, suffix);
    json_object_set_new(obj, key, json_string(value));
    return 0;
}

static json_t *ports_of(const char *text) {
    json_t *names = flag_list(text), *ports = json_array(), *one;
    size_t i;
    json_array_foreach(names, i, one) {
        json_array_append_new(ports, json_pack("{s:o}", "containerPort", json_incref(one)));
    }
    json_decref(names);
    return ports;
}

static int put_env(json_t *spec, const char *text, struct err *err) {
    json_t *pairs = text ? flag_pairs("--container-env-vars", text, err) : NULL, *value;
    json_t *env = json_array();
    const char *key;
    json_object_foreach(pairs, key, value) {
        json_array_append_new(env, json_pack("{s:s,s:O}", "name", key, "value", value));
    }
    json_decref(pairs);
    if (json_array_size(env)) {
        json_object_set(spec, "env", env);
    }
    json_decref(env);
    return text && !pairs ? -1 : 0;
}

static json_t *container_of(const struct args *a, struct err *err) {
    json_t *spec = json_object();
    set_text(spec, "imageUri", args_get(a, "--container-image-uri"));
    set_text(spec, "predictRoute", args_get(a, "--container-predict-route"));
    set_text(spec, "healthRoute", args_get(a, "--container-health-route"));
    if (args_get(a, "--container-command")) {
        json_object_set_new(spec, "command", flag_list(args_get(a, "--container-command")));
    }
    if (args_get(a, "--container-args")) {
        json_object_set_new(spec, "args", flag_list(args_get(a, "--container-args")));
    }
    if (args_get(a, "--container-ports")) {
        json_object_set_new(spec, "ports", ports_of(args_get(a, "--container-ports")));
    }
    if (args_get(a, "--container-grpc-ports")) {
        json_object_set_new(spec, "grpcPorts", ports_of(args_get(a, "--container-grpc-ports")));
    }
    if (put_env(spec, args_get(a, "--container-env-vars"), err) ||
        set_count(spec, "deploymentTimeout", a, "--container-deployment-timeout-seconds", "s",
                  err) ||
        set_count(spec, "sharedMemorySizeMb", a, "--container-shared-memory-size-mb", "", err)) {
        json_decref(spec);
        return NULL;
    }
    return spec;
}

static int set_labels(json_t *model, const char *text, struct err *err) {
    json_t *labels = text ? flag_pairs("--labels", text, err) : NULL;
    if (labels) {
        json_object_set_new(model, "labels", labels);
    }
    return text && !labels ? -1 : 0;
}

/* The request, or NULL. */
static json_t *upload_body(const struct cli *c, const struct args *a, struct err *err) {
    json_t *model = json_object(), *spec = container_of(a, err), *body;
    if (!spec || set_labels(model, args_get(a, "--labels"), err)) {
        json_decref(spec);
        json_decref(model);
        return NULL;
    }
    if (json_object_size(spec)) {
        json_object_set(model, "containerSpec", spec);
    }
    json_decref(spec);
    set_text(model, "displayName", args_get(a, "--display-name"));
    set_text(model, "artifactUri", args_get(a, "--artifact-uri"));
    set_text(model, "description", args_get(a, "--description"));
    set_text(model, "versionDescription", args_get(a, "--version-description"));
    if (args_get(a, "--version-aliases")) {
        json_object_set_new(model, "versionAliases", flag_list(args_get(a, "--version-aliases")));
    }
    body = json_pack("{s:o}", "model", model);
    set_text(body, "modelId", args_get(a, "--model-id"));
    if (args_get(a, "--parent-model")) {
        auto_free char *parent = model_name(c, c->region, args_get(a, "--parent-model"));
        set_text(body, "parentModel", parent);
    }
    return body;
}

static void print_made(const struct cli *c, const json_t *op, const char *what) {
    const json_t *r = json_object_get(op, "response");
    if (c->json) {
        out_json(op);
        return;
    }
    if (!c->quiet) {
        fprintf(stderr, "Model [%s], version %s, %s.\n", field(r, "model"),
                field(r, "modelVersionId"), what);
    }
    printf("%s@%s\n", id_of(field(r, "model")), field(r, "modelVersionId"));
}

static int upload(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--display-name"},
                           {.name = "--container-image-uri"},
                           {.name = "--artifact-uri"},
                           {.name = "--description"},
                           {.name = "--version-description"},
                           {.name = "--version-aliases"},
                           {.name = "--model-id"},
                           {.name = "--parent-model"},
                           {.name = "--labels"},
                           {.name = "--container-command"},
                           {.name = "--container-args"},
                           {.name = "--container-env-vars"},
                           {.name = "--container-ports"},
                           {.name = "--container-grpc-ports"},
                           {.name = "--container-predict-route"},
                           {.name = "--container-health-route"},
                           {.name = "--container-deployment-timeout-seconds"},
                           {.name = "--container-shared-memory-size-mb"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *body, *op;
    if (parse(&a, argc, argv, "upload --display-name=NAME [flags]", 0, err)) {
        return -1;
    }
    if (!args_get(&a, "--display-name")) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--display-name is required");
    }
    body = upload_body(c, &a, err);
    if (!body) {
        return -1;
    }
    auto_free char *base = model_path(c, "/v1", "");
    auto_free char *path = xasprintf("%s:upload", base);
    int rc = run(c, "POST", path, body, &op, err);
    json_decref(body);
    if (rc == 0) {
        print_made(c, op, "is registered");
        json_decref(op);
    }
    return rc;
}

static int copy(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--source-model"},
                           {.name = "--destination-model-id"},
                           {.name = "--destination-parent-model"},
                           {.name = "--kms-key-name"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *op;
    if (parse(&a, argc, argv, "copy --source-model=MODEL [flags]", 0, err)) {
        return -1;
    }
    if (!args_get(&a, "--source-model")) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--source-model is required");
    }
    auto_free char *source = model_name(c, c->region, args_get(&a, "--source-model"));
    json_t *body = json_pack("{s:s}", "sourceModel", source);
    set_text(body, "modelId", args_get(&a, "--destination-model-id"));
    if (args_get(&a, "--destination-parent-model")) {
        auto_free char *parent =
            model_name(c, c->region, args_get(&a, "--destination-parent-model"));
        set_text(body, "parentModel", parent);
    }
    if (args_get(&a, "--kms-key-name")) {
        json_object_set_new(body, "encryptionSpec",
                            json_pack("{s:s}", "kmsKeyName", args_get(&a, "--kms-key-name")));
    }
    auto_free char *base = model_path(c, "/v1", "");
    auto_free char *path = xasprintf("%s:copy", base);
    int rc = run(c, "POST", path, body, &op, err);
    json_decref(body);
    if (rc == 0) {
        print_made(c, op, "is a copy");
        json_decref(op);
    }
    return rc;
}

/* ---- lists ---- */

static void join_list(struct buf *b, const json_t *list) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        buf_printf(b, "%s%s", i ? "," : "", json_string_value(one));
    }
}

static void model_row(struct table *t, const json_t *m, bool of_versions) {
    auto_buf struct buf aliases = BUF_INIT(BUF_NO_MAX), age = BUF_INIT(BUF_NO_MAX);
    join_list(&aliases, json_object_get(m, "versionAliases"));
    age_text(&age, field(m, of_versions ? "versionCreateTime" : "updateTime"));
    if (of_versions) {
        table_row(t, (const char *[]){field(m, "versionId"), buf_cstr(&aliases),
                                      field(m, "versionDescription"), buf_cstr(&age)});
    } else {
        table_row(t, (const char *[]){id_of(field(m, "name")), field(m, "displayName"),
                                      field(m, "versionId"), buf_cstr(&aliases), buf_cstr(&age)});
    }
}

static int list(const struct cli *c, int argc, char **argv, bool of_versions, struct err *err) {
    static const char *const heads[] = {"MODEL_ID", "DISPLAY_NAME", "VERSION", "ALIASES",
                                        "UPDATED"};
    static const char *const version_heads[] = {"VERSION", "ALIASES", "DESCRIPTION", "CREATED"};
    struct flag flags[] = {{.name = "--filter"}, {.name = "--limit"}, {.name = "--order-by"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *all, *m;
    size_t i;
    if (parse(&a, argc, argv, of_versions ? "list-version MODEL [flags]" : "list [flags]",
              of_versions, err)) {
        return -1;
    }
    auto_free char *model = model_path(c, "/v1", of_versions ? a.words[0] : "");
    auto_free char *path = xasprintf("%s%s", model, of_versions ? ":listVersions" : "");
    if (resource_list(c, path, "models", "filter", &a, &all, err)) {
        return -1;
    }
    if (c->json) {
        out_json(all);
    } else {
        struct table *t = of_versions ? table_new(NR_OF(version_heads), version_heads)
                                      : table_new(NR_OF(heads), heads);
        json_array_foreach(all, i, m) {
            model_row(t, m, of_versions);
        }
        table_print(t, stdout);
    }
    json_decref(all);
    return 0;
}

/* ---- one model ---- */

static void print_line(const char *label, const char *value) {
    if (*value) {
        printf("%-19s %s\n", label, value);
    }
}

static void print_strings(const char *label, const json_t *list) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        print_line(i ? "" : label, json_string_value(one));
    }
}

static void print_sealed(const json_t *seal) {
    auto_buf struct buf size = BUF_INIT(64);
    uint64_t bytes = 0;
    if (*field(seal, "digest")) {
        (void)str_to_u64(str_of(field(seal, "bytes")), &bytes);
        bytes_text(&size, bytes);
        printf("%-19s %s files, %s, %s\n", "sealed:", field(seal, "files"), buf_cstr(&size),
               field(seal, "digest"));
    }
}

static const char *state_words(const char *state) {
    return strcmp(state, "UNCHANGED") == 0 ? "as registered"
           : strcmp(state, "CHANGED") == 0 ? "CHANGED since the version was registered"
           : strcmp(state, "MISSING") == 0 ? "MISSING"
                                           : "";
}

static int cusp_view(const struct cli *c, const char *id, const char *verb, json_t **ret,
                     struct err *err) {
    auto_free char *base = model_path(c, "/cusp/v1", id);
    auto_free char *path = xasprintf("%s%s", base, verb);
    return http_json(c, "GET", path, NULL, ret, err);
}

static void print_lineage(const json_t *l) {
    print_line("made by:", field(l, "trainingPipeline"));
    print_strings("job:", json_object_get(l, "jobs"));
    print_strings("dataset:", json_object_get(l, "datasets"));
    print_line("annotations:", field(l, "annotationSchemaUri"));
    print_strings("training image:", json_object_get(l, "images"));
    print_strings("image digest:", json_object_get(l, "imageDigests"));
    print_strings("package:", json_object_get(l, "packages"));
    print_line("copied from:", field(l, "copiedFrom"));
    print_strings("copied to:", json_object_get(l, "copies"));
    print_line("serving image:", field(l, "servingImage"));
}

static int lineage(const struct cli *c, const char *id, struct err *err) {
    json_t *l;
    if (cusp_view(c, id, ":lineage", &l, err)) {
        return -1;
    }
    if (c->json) {
        out_json(l);
    } else {
        print_line("name:", field(l, "name"));
        print_line("created:", field(l, "createTime"));
        print_line("artefact:", field(json_object_get(l, "artifact"), "artifactUri"));
        print_sealed(json_object_get(l, "artifact"));
        print_lineage(l);
    }
    json_decref(l);
    return 0;
}

static void print_model(const struct cli *c, const json_t *m) {
    auto_buf struct buf aliases = BUF_INIT(BUF_NO_MAX), labels = BUF_INIT(BUF_NO_MAX);
    const char *key;
    json_t *value;
    join_list(&aliases, json_object_get(m, "versionAliases"));
    json_object_foreach(json_object_get(m, "labels"), key, value) {
        buf_printf(&labels, "%s%s=%s", labels.n ? "," : "", key, json_string_value(value));
    }
    print_line("name:", field(m, "name"));
    print_line("displayName:", field(m, "displayName"));
    print_line("description:", field(m, "description"));
    print_line("version:", field(m, "versionId"));
    print_line("aliases:", buf_cstr(&aliases));
    print_line("versionDescription:", field(m, "versionDescription"));
    print_line("labels:", buf_cstr(&labels));
    print_line("versionCreateTime:", field(m, "versionCreateTime"));
    print_line("updateTime:", field(m, "updateTime"));
    print_line("artefact:", field(m, "artifactUri"));
}

static int describe(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--lineage", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *m, *view;
    if (parse(&a, argc, argv, "describe MODEL[@VERSION] [--lineage]", 1, err)) {
        return -1;
    }
    if (args_on(&a, "--lineage")) {
        return lineage(c, a.words[0], err);
    }
    auto_free char *path = model_path(c, "/v1", a.words[0]);
    if (http_json(c, "GET", path, NULL, &m, err)) {
        return -1;
    }
    if (c->json) {
        out_json(m);
        json_decref(m);
        return 0;
    }
    print_model(c, m);
    if (cusp_view(c, a.words[0], ":verify?quick=true", &view, NULL) == 0) {
        print_sealed(view);
        print_line("files:", state_words(field(view, "state")));
        json_decref(view);
    }
    if (cusp_view(c, a.words[0], ":lineage", &view, NULL) == 0) {
        print_lineage(view);
        json_decref(view);
    }
    json_decref(m);
    return 0;
}

/* Exit code 1 when something has changed: for scripts. */
static int verify(const struct cli *c, const char *id, struct err *err) {
    static const char *const heads[] = {"FILE", "WHAT", "THEN", "NOW"};
    json_t *view, *d;
    size_t i;
    if (cusp_view(c, id, ":verify", &view, err)) {
        return -1;
    }
    const char *state = field(view, "state");
    bool is_good = strcmp(state, "UNCHANGED") == 0 || strcmp(state, "NO_ARTIFACT") == 0;
    if (c->json) {
        out_json(view);
    } else {
        print_line("name:", field(view, "name"));
        print_line("artefact:", field(view, "artifactUri"));
        print_sealed(view);
        print_line("files:", *state_words(state) ? state_words(state) : "none: it has no artefact");
        if (json_array_size(json_object_get(view, "differences"))) {
            struct table *t = table_new(NR_OF(heads), heads);
            json_array_foreach(json_object_get(view, "differences"), i, d) {
                table_row(t, (const char *[]){field(d, "file"), field(d, "what"),
                                              field(d, "sizeThen"), field(d, "sizeNow")});
            }
            table_print(t, stdout);
        }
    }
    json_decref(view);
    return is_good ? EXIT_OK : EXIT_FAILED;
}

/* ---- changes ---- */

static int merge(const struct cli *c, const char *path, json_t *changes, json_t **m,
                 struct err *err) {
    auto_free char *full = xasprintf("%s:mergeVersionAliases", path);
    json_t *body = json_pack("{s:O}", "versionAliases", changes);
    json_decref(*m);
    *m = NULL;
    int rc = http_json(c, "POST", full, body, m, err);
    json_decref(body);
    return rc;
}

/* "prod,beta" as "-prod", "-beta" for removals. */
static void add_changes(json_t *changes, const char *text, const char *sign) {
    json_t *names = text ? flag_list(text) : NULL, *one;
    size_t i;
    json_array_foreach(names, i, one) {
        auto_free char *change = xasprintf("%s%s", sign, json_string_value(one));
        json_array_append_new(changes, json_string(change));
    }
    json_decref(names);
}

static int patch(const struct cli *c, const char *path, const struct args *a, const char *name,
                 json_t **ret, struct err *err) {
    static const struct {
        const char *flag, *key;
    } fields[] = {{"--display-name", "displayName"},
                  {"--description", "description"},
                  {"--version-description", "versionDescription"}};
    json_t *body = json_pack("{s:s}", "name", name);
    auto_buf struct buf mask = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < NR_OF(fields); i++) {
        if (args_get(a, fields[i].flag)) {
            set_text(body, fields[i].key, args_get(a, fields[i].flag));
            buf_printf(&mask, "%s%s", mask.n ? "," : "", fields[i].key);
        }
    }
    int rc = set_labels(body, args_get(a, "--labels"), err);
    if (rc == 0 && args_get(a, "--labels")) {
        buf_printf(&mask, "%slabels", mask.n ? "," : "");
    }
    if (rc == 0 && mask.n) {
        auto_free char *full = xasprintf("%s?updateMask=%s", path, buf_cstr(&mask));
        json_decref(*ret);
        *ret = NULL;
        rc = http_json(c, "PATCH", full, body, ret, err);
    }
    json_decref(body);
    return rc;
}

static int update(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--display-name"}, {.name = "--description"},
                           {.name = "--labels"},       {.name = "--version-description"},
                           {.name = "--add-aliases"},  {.name = "--remove-aliases"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *m = NULL, *changes = json_array();
    if (parse(&a, argc, argv, "update MODEL[@VERSION] FLAG…", 1, err)) {
        json_decref(changes);
        return -1;
    }
    auto_free char *path = model_path(c, "/v1", a.words[0]);
    auto_free char *name = model_name(c, c->region, a.words[0]);
    add_changes(changes, args_get(&a, "--add-aliases"), "");
    add_changes(changes, args_get(&a, "--remove-aliases"), "-");
    int rc = patch(c, path, &a, name, &m, err);
    if (rc == 0 && json_array_size(changes)) {
        rc = merge(c, path, changes, &m, err);
    }
    if (rc == 0 && !m) {
        rc = err_set(err, ERR_INVALID_ARGUMENT, "nothing to update: see cusp models update --help");
    }
    if (rc == 0 && c->json) {
        out_json(m);
    } else if (rc == 0 && !c->quiet) {
        fprintf(stderr, "Updated %s.\n", field(m, "name"));
    }
    json_decref(m);
    json_decref(changes);
    return rc;
}

static int remove_it(const struct cli *c, const char *id, bool is_version, struct err *err) {
    auto_free char *base = model_path(c, "/v1", id);
    auto_free char *path = xasprintf("%s%s", base, is_version ? ":deleteVersion" : "");
    json_t *op;
    if (run(c, "DELETE", path, NULL, &op, err)) {
        return -1;
    }
    if (c->json) {
        out_json(op);
    } else if (!c->quiet) {
        fprintf(stderr, "Deleted %s.\n", id);
    }
    json_decref(op);
    return 0;
}

static int export(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--destination"}, {.name = "--export-format-id"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *op;
    if (parse(&a, argc, argv, "export MODEL[@VERSION] --destination=gs://…", 1, err)) {
        return -1;
    }
    if (!args_get(&a, "--destination")) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--destination is required");
    }
    json_t *config = json_pack("{s:{s:s}}", "artifactDestination", "outputUriPrefix",
                               args_get(&a, "--destination"));
    set_text(config, "exportFormatId", args_get(&a, "--export-format-id"));
    json_t *body = json_pack("{s:o}", "outputConfig", config);
    auto_free char *base = model_path(c, "/v1", a.words[0]);
    auto_free char *path = xasprintf("%s:export", base);
    int rc = run(c, "POST", path, body, &op, err);
    json_decref(body);
    if (rc == 0 && c->json) {
        out_json(op);
    } else if (rc == 0) {
        printf("%s\n", field(json_object_get(json_object_get(op, "metadata"), "outputInfo"),
                             "artifactOutputUri"));
    }
    if (rc == 0) {
        json_decref(op);
    }
    return rc;
}

int cmd_models(const struct cli *c, int argc, char **argv, struct err *err) {
    static const struct {
        const char *verb;
        int (*run)(const struct cli *, int, char **, struct err *);
    } verbs[] = {{"upload", upload},
                 {"copy", copy},
                 {"describe", describe},
                 {"update", update},
                 {"export", export}};
    const char *verb = argv[0];
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        if (strcmp(verb, verbs[i].verb) == 0) {
            return verbs[i].run(c, argc - 1, argv + 1, err);
        }
    }
    if (strcmp(verb, "list") == 0 || strcmp(verb, "list-version") == 0) {
        return list(c, argc - 1, argv + 1, strcmp(verb, "list-version") == 0, err);
    }
    static const char *const with_model[] = {"verify", "delete", "delete-version"};
    for (size_t i = 0; i < NR_OF(with_model); i++) {
        if (strcmp(verb, with_model[i]) != 0) {
            continue;
        }
        if (argc != 2) {
            return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp models %s MODEL%s", verb,
                           i == 1 ? "" : "[@VERSION]");
        }
        return i == 0 ? verify(c, argv[1], err) : remove_it(c, argv[1], i == 2, err);
    }
    return no_verb("models", verb, err);
}
