/* cusp datasets: create, list, describe, import, export, delete, data-items. */
#include "cli/cli.h"
#include "cli/resource.h"

#include <unistd.h>

#define SCHEMAS "gs://google-cloud-aiplatform/schema/dataset/"
#define COLLECTION "datasets"
#define BAR_WIDTH 30

static char *path_of(const struct cli *c, const char *id) {
    return resource_path(c, "/v1", COLLECTION, id);
}

static const char *field(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static const char *id_of(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* "…/metadata/image_1.0.0.yaml" -> "image". */
static struct str type_of(const json_t *ds) {
    const char *base = id_of(field(ds, "metadataSchemaUri"));
    const char *end = strstr(base, "_1.");
    return str_n(base, end ? (size_t)(end - base) : strlen(base));
}

static int no_words(const struct args *a, struct err *err) {
    return a->nr_words
               ? err_set(err, ERR_INVALID_ARGUMENT, "unexpected \"%s\" (see --help)", a->words[0])
               : 0;
}

static int one_dataset(const struct args *a, const char *verb, struct err *err) {
    return a->nr_words == 1 ? 0
                            : err_set(err, ERR_INVALID_ARGUMENT,
                                      "usage: cusp datasets %s DATASET [flags]", verb);
}

/* ---- flags -> JSON ---- */

/* "a=1,b=2"; NULL gives no object. */
static int labels_of(const char *flag, const char *text, json_t **ret, struct err *err) {
    struct str rest = str_of(text);
    json_t *obj = text ? json_object() : NULL;
    while (rest.p && rest.n) {
        struct str value = str_cut(&rest, ',');
        struct str key = str_cut(&value, '=');
        if (!key.n || !value.p) {
            json_decref(obj);
            return err_set(err, ERR_INVALID_ARGUMENT, "%s takes KEY=VALUE,…", flag);
        }
        auto_free char *k = str_dup(key);
        json_object_set_new(obj, k, json_stringn(value.p, value.n));
    }
    *ret = obj;
    return 0;
}

/* Flags may be repeated, and each may hold several. */
static json_t *uris_of(const struct flag *f) {
    json_t *all = json_array();
    for (size_t i = 0; f && i < f->nr; i++) {
        struct str rest = str_of(f->values[i]);
        while (rest.p && rest.n) {
            struct str one = str_cut(&rest, ',');
            json_array_append_new(all, json_stringn(one.p, one.n));
        }
    }
    return all;
}

static void set_text(json_t *obj, const char *key, const char *value) {
    if (value) {
        json_object_set_new(obj, key, json_string(value));
    }
}

/* A short name of the published schemas, or a whole URI. */
static char *schema_uri(const char *folder, const char *name, const char *tail) {
    return str_starts(str_of(name), STR("gs://"))
               ? xstrdup(name)
               : xasprintf(SCHEMAS "%s/%s%s", folder, name, tail);
}

/* ---- waiting for operations ---- */

struct bar {
    bool shown, is_terminal;
    double began;
};

static void bar_clear(struct bar *b) {
    if (b->shown) {
        fputs("\r\033[K", stderr);
        b->shown = false;
    }
}

/* count of what: shown beside the bar; what NULL: nothing is counted but the part that is done. */
static void bar_draw(struct bar *b, double done, double total, double lines, double failed,
                     const char *what) {
    char text[BAR_WIDTH + 1];
    double seconds = (double)time_mono() / USEC_PER_SEC - b->began;
    double part = total > 0 ? done / total : 0;
    for (int i = 0; i < BAR_WIDTH; i++) {
        text[i] = i < (int)(part * BAR_WIDTH) ? '#' : '.';
    }
    text[BAR_WIDTH] = 0;
    fprintf(stderr, "\r\033[K[%s] %3.0f%%", text, part * 100);
    if (what) {
        fprintf(stderr, "  %.0f %s", lines, what);
    }
    if (failed > 0) {
        fprintf(stderr, ", %.0f failed", failed);
    }
    if (seconds > 1 && what) {
        fprintf(stderr, ", %.0f/s", lines / seconds);
    }
    fflush(stderr);
    b->shown = true;
}

static void show_export(struct bar *b, const json_t *x) {
    double done = json_number_value(json_object_get(x, "done"));
    double total = json_number_value(json_object_get(x, "total"));
    bool counts = strcmp(field(x, "unit"), "items") == 0;
    bar_draw(b, done, total, done, 0, counts ? "items" : NULL);
}

/* verb: "imports" or "exports". */
static void show_progress(const struct cli *c, struct bar *b, const char *verb, const char *dataset,
                          const char *op) {
    auto_free char *base = resource_path(c, "/cusp/v1", COLLECTION, dataset);
    auto_free char *path = xasprintf("%s:%s", base, verb);
    json_t *reply, *im;
    size_t i;
    if (http_json(c, "GET", path, NULL, &reply, NULL)) {
        return; /* a bar is no reason to fail */
    }
    json_array_foreach(json_object_get(reply, verb), i, im) {
        if (strcmp(field(im, "operation"), op) != 0) {
            continue;
        }
        if (strcmp(verb, "exports") == 0) {
            show_export(b, im);
        } else {
            bar_draw(b, json_number_value(json_object_get(im, "bytesDone")),
                     json_number_value(json_object_get(im, "bytesTotal")),
                     json_number_value(json_object_get(im, "lines")),
                     json_number_value(json_object_get(im, "failedLines")), "lines");
        }
    }
    json_decref(reply);
}

/* Until the operation is done; owned. verb: of which progress is shown, with its dataset; NULL for
 * others. */
static json_t *wait_for(const struct cli *c, const char *name, const char *verb,
                        const char *dataset, struct err *err) {
    auto_free char *path = xasprintf("/v1/%s", name);
    struct bar bar = {.is_terminal = isatty(2) && !c->quiet,
                      .began = (double)time_mono() / USEC_PER_SEC};
    struct outage out = {0};
    for (useconds_t pause_us = 20000;; pause_us = pause_us < 400000 ? pause_us * 3 / 2 : pause_us) {
        json_t *op;
        struct err e = {0};
        if (http_json(c, "GET", path, NULL, &op, &e)) {
            if (server_may_return(c, &e, &out)) {
                continue;
            }
            bar_clear(&bar);
            *err = e;
            return NULL;
        }
        out = (struct outage){.reached = true};
        if (json_is_true(json_object_get(op, "done"))) {
            bar_clear(&bar);
            return op;
        }
        json_decref(op);
        if (bar.is_terminal && verb) {
            show_progress(c, &bar, verb, dataset, name);
        }
        usleep(pause_us);
    }
}

static int op_error(const json_t *op, struct err *err) {
    const json_t *e = json_object_get(op, "error");
    return e ? err_set(err, (enum err_code)json_integer_value(json_object_get(e, "code")), "%s",
                       field(e, "message"))
             : 0;
}

static void print_failures(const json_t *op) {
    const json_t *list = json_object_get(
        json_object_get(json_object_get(op, "metadata"), "genericMetadata"), "partialFailures");
    json_t *f;
    size_t i;
    if (json_array_size(list)) {
        fprintf(stderr, "Lines that were left out:\n");
    }
    json_array_foreach(list, i, f) {
        fprintf(stderr, "  %s\n", field(f, "message"));
    }
}

/* ---- import ---- */

static int import_body(const struct args *a, json_t **ret, struct err *err) {
    const char *format = args_get(a, "--import-schema");
    json_t *uris = uris_of(args_flag(a, "--gcs-source")), *item = NULL, *note = NULL;
    if (!json_array_size(uris) || !format) {
        json_decref(uris);
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "an import needs --gcs-source=gs://… and --import-schema=FORMAT "
                       "(see cusp datasets import --help)");
    }
    if (labels_of("--data-item-labels", args_get(a, "--data-item-labels"), &item, err) ||
        labels_of("--annotation-labels", args_get(a, "--annotation-labels"), &note, err)) {
        json_decref(uris);
        json_decref(item);
        return -1;
    }
    auto_free char *uri = schema_uri("ioformat", format, "_io_format_1.0.0.yaml");
    json_t *cfg = json_object(), *source = json_object(), *list = json_array();
    json_object_set_new(source, "uris", uris);
    json_object_set_new(cfg, "gcsSource", source);
    json_object_set_new(cfg, "importSchemaUri", json_string(uri));
    if (item) {
        json_object_set_new(cfg, "dataItemLabels", item);
    }
    if (note) {
        json_object_set_new(cfg, "annotationLabels", note);
    }
    json_array_append_new(list, cfg);
    *ret = json_object();
    json_object_set_new(*ret, "importConfigs", list);
    return 0;
}

static int run_import(const struct cli *c, const struct args *a, const char *dataset,
                      struct err *err) {
    auto_free char *base = path_of(c, dataset);
    auto_free char *path = xasprintf("%s:import", base);
    json_t *body, *op;
    if (import_body(a, &body, err)) {
        return -1;
    }
    int rc = http_json(c, "POST", path, body, &op, err);
    json_decref(body);
    if (rc) {
        return -1;
    }
    auto_free char *name = xstrdup(field(op, "name"));
    if (args_on(a, "--async")) {
        if (c->json) {
            out_json(op);
        } else {
            printf("%s\n", name);
        }
        json_decref(op);
        return 0;
    }
    json_decref(op);
    op = wait_for(c, name, "imports", dataset, err);
    if (!op) {
        return -1;
    }
    rc = op_error(op, err);
    if (!c->quiet || rc) {
        print_failures(op);
    }
    if (rc == 0 && c->json) {
        out_json(op);
    }
    json_decref(op);
    json_t *ds;
    if (rc == 0 && !c->quiet && !c->json && http_json(c, "GET", base, NULL, &ds, NULL) == 0) {
        const char *count = field(ds, "dataItemCount");
        fprintf(stderr, "Imported. The dataset has %s items.\n", *count ? count : "0");
        json_decref(ds);
    }
    return rc;
}

#define IMPORT_FLAGS                                                                               \
    {.name = "--gcs-source"}, {.name = "--import-schema"}, {.name = "--data-item-labels"},         \
        {.name = "--annotation-labels"}, {                                                         \
        .name = "--async", .is_bool = true                                                         \
    }

static int import(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {IMPORT_FLAGS};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    return args_parse(&a, argc, argv, err) || one_dataset(&a, "import", err) ||
                   run_import(c, &a, a.words[0], err)
               ? -1
               : 0;
}

/* ---- create ---- */

static int create_body(const struct args *a, const char *type, json_t **ret, struct err *err) {
    auto_free char *uri = schema_uri("metadata", type, "_1.0.0.yaml");
    bool is_table = strstr(uri, "tabular") || strstr(uri, "time_series");
    json_t *labels = NULL, *body;
    if (labels_of("--labels", args_get(a, "--labels"), &labels, err)) {
        return -1;
    }
    body = json_object();
    set_text(body, "displayName", args_get(a, "--display-name"));
    set_text(body, "description", args_get(a, "--description"));
    set_text(body, "metadataSchemaUri", uri);
    if (labels) {
        json_object_set_new(body, "labels", labels);
    }
    if (is_table && (args_get(a, "--gcs-source") || args_get(a, "--bq-source"))) {
        json_t *meta = json_object(), *input = json_object(), *source = json_object();
        bool is_gcs = args_get(a, "--gcs-source");
        json_object_set_new(source, "uri",
                            is_gcs ? uris_of(args_flag(a, "--gcs-source"))
                                   : json_string(args_get(a, "--bq-source")));
        json_object_set_new(input, is_gcs ? "gcsSource" : "bigquerySource", source);
        json_object_set_new(meta, "inputConfig", input);
        set_text(meta, "timeColumn", args_get(a, "--time-column"));
        set_text(meta, "timeSeriesIdentifierColumn",
                 args_get(a, "--time-series-identifier-column"));
        json_object_set_new(body, "metadata", meta);
    }
    *ret = body;
    return 0;
}

static int create(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {IMPORT_FLAGS,
                           {.name = "--display-name"},
                           {.name = "--description"},
                           {.name = "--type"},
                           {.name = "--metadata-schema-uri"},
                           {.name = "--bq-source"},
                           {.name = "--time-column"},
                           {.name = "--time-series-identifier-column"},
                           {.name = "--labels"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *body, *op;
    if (args_parse(&a, argc, argv, err) || no_words(&a, err)) {
        return -1;
    }
    const char *type =
        args_get(&a, "--type") ? args_get(&a, "--type") : args_get(&a, "--metadata-schema-uri");
    if (!args_get(&a, "--display-name") || !type) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "--display-name and --type (tabular, time_series, image, text or video) are "
                       "required");
    }
    if (create_body(&a, type, &body, err)) {
        return -1;
    }
    auto_free char *path = path_of(c, "");
    int rc = http_json(c, "POST", path, body, &op, err);
    json_decref(body);
    if (rc) {
        return -1;
    }
    auto_free char *op_name = xstrdup(field(op, "name"));
    json_decref(op);
    op = wait_for(c, op_name, NULL, NULL, err);
    if (!op) {
        return -1;
    }
    rc = op_error(op, err);
    const json_t *ds = json_object_get(op, "response");
    auto_free char *name = xstrdup(field(ds, "name"));
    if (rc == 0 && c->json) {
        out_json(ds);
    } else if (rc == 0) {
        if (!c->quiet) {
            fprintf(stderr, "Created dataset [%s].\n", name);
        }
        printf("%s\n", id_of(name));
        fflush(stdout);
    }
    json_decref(op);
    return rc == 0 && args_get(&a, "--import-schema") ? run_import(c, &a, name, err) : rc;
}

/* ---- list, describe, data-items ---- */

static void print_datasets(const json_t *all) {
    static const char *const heads[] = {"DATASET", "NAME", "TYPE", "ITEMS", "CREATED"};
    struct table *t = table_new(NR_OF(heads), heads);
    json_t *ds;
    size_t i;
    json_array_foreach(all, i, ds) {
        auto_buf struct buf age = BUF_INIT(64);
        auto_free char *type = str_dup(type_of(ds));
        age_text(&age, field(ds, "createTime"));
        const char *cells[] = {id_of(field(ds, "name")), field(ds, "displayName"), type,
                               field(ds, "dataItemCount"), buf_cstr(&age)};
        table_row(t, cells);
    }
    table_print(t, stdout);
}

static int list(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--filter"}, {.name = "--limit"}, {.name = "--sort-by"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err) || no_words(&a, err)) {
        return -1;
    }
    auto_free char *base = path_of(c, "");
    return resource_print_list(c, base, COLLECTION, "filter", &a, "datasets", print_datasets, err);
}

static void print_json(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    char *text = v ? json_shown(v, 2) : NULL;
    auto_buf struct buf lines = BUF_INIT(BUF_NO_MAX);
    if (text) {
        indent_text(&lines, text, "  ");
        printf("%s:\n%s", key, buf_cstr(&lines));
    }
    free(text);
}

static int describe(const struct cli *c, const char *id, struct err *err) {
    auto_free char *path = path_of(c, id);
    json_t *ds;
    if (http_json(c, "GET", path, NULL, &ds, err)) {
        return -1;
    }
    if (c->json) {
        out_json(ds);
        json_decref(ds);
        return 0;
    }
    static const char *const keys[] = {"name",       "displayName",       "description",
                                       "createTime", "metadataSchemaUri", "dataItemCount",
                                       "updateTime"};
    for (size_t i = 0; i < NR_OF(keys); i++) {
        if (*field(ds, keys[i])) {
            printf("%s:%*s%s\n", keys[i], (int)(19 - strlen(keys[i])), "", field(ds, keys[i]));
        }
    }
    print_json(ds, "labels");
    print_json(ds, "metadata");
    print_json(ds, "savedQueries");
    json_decref(ds);
    return 0;
}

static void print_items(const json_t *views) {
    static const char *const heads[] = {"ITEM", "ML_USE", "CONTENT", "LABELS"};
    struct table *t = table_new(NR_OF(heads), heads);
    json_t *view, *note;
    size_t i, k;
    json_array_foreach(views, i, view) {
        const json_t *item = json_object_get(view, "dataItem");
        const json_t *payload = json_object_get(item, "payload");
        const char *uri = field(payload, "gcsUri");
        auto_buf struct buf labels = BUF_INIT(200);
        auto_buf struct buf text = BUF_INIT(64);
        json_array_foreach(json_object_get(view, "annotations"), k, note) {
            const char *name = field(json_object_get(note, "payload"), "displayName");
            buf_printf(&labels, "%s%s", labels.n ? ", " : "", name);
        }
        if (!*uri) { /* the beginning of the text, on one line */
            for (const char *s = field(payload, "textContent"); *s && text.n < 60; s++) {
                buf_putc(&text, *s == '\n' || *s == '\r' || *s == '\t' ? ' ' : *s);
            }
        }
        const char *cells[] = {
            id_of(field(item, "name")),
            field(json_object_get(item, "labels"), "aiplatform.googleapis.com/ml_use"),
            *uri ? uri : buf_cstr(&text), buf_cstr(&labels)};
        table_row(t, cells);
    }
    table_print(t, stdout);
}

/* Items with their annotations: pages of 100 are the most that a search gives. */
static int data_items(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--filter"}, {.name = "--limit"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err) || one_dataset(&a, "data-items", err)) {
        return -1;
    }
    auto_free char *dataset = path_of(c, a.words[0]);
    auto_free char *base = xasprintf("%s:searchDataItems", dataset);
    json_t *all;
    if (resource_list(c, base, "dataItemViews", "dataItemFilter", &a, &all, err)) {
        return -1;
    }
    if (c->json) {
        out_json(all);
    } else if (!json_array_size(all)) {
        fprintf(stderr, "No items.\n");
    } else {
        print_items(all);
    }
    json_decref(all);
    return 0;
}

/* ---- export, delete ---- */

static int export_body(const struct args *a, json_t **ret, struct err *err) {
    static const char *const keys[] = {"trainingFraction", "validationFraction", "testFraction"};
    const char *out = args_get(a, "--output-dir"), *fractions = args_get(a, "--fraction-split");
    json_t *cfg = json_object(), *to = json_object(), *split = NULL;
    set_text(to, "outputUriPrefix", out);
    json_object_set_new(cfg, "gcsDestination", to);
    set_text(cfg, "annotationsFilter", args_get(a, "--annotations-filter"));
    if (fractions) {
        struct str rest = str_of(fractions);
        split = json_object();
        json_object_set_new(cfg, "fractionSplit", split);
        for (size_t i = 0; i < NR_OF(keys); i++) {
            double d;
            if (!str_to_double(str_cut(&rest, ','), &d)) {
                json_decref(cfg);
                return err_set(err, ERR_INVALID_ARGUMENT,
                               "--fraction-split takes TRAINING,VALIDATION,TEST such as "
                               "0.8,0.1,0.1");
            }
            json_object_set_new(split, keys[i], json_real(d));
        }
    }
    *ret = json_object();
    json_object_set_new(*ret, "exportConfig", cfg);
    return 0;
}

static int export(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {
        {.name = "--output-dir"}, {.name = "--fraction-split"}, {.name = "--annotations-filter"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *body, *op, *uri;
    size_t i;
    if (args_parse(&a, argc, argv, err) || one_dataset(&a, "export", err)) {
        return -1;
    }
    if (!args_get(&a, "--output-dir")) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--output-dir=gs://… is required");
    }
    if (export_body(&a, &body, err)) {
        return -1;
    }
    auto_free char *base = path_of(c, a.words[0]);
    auto_free char *path = xasprintf("%s:export", base);
    int rc = http_json(c, "POST", path, body, &op, err);
    json_decref(body);
    if (rc) {
        return -1;
    }
    auto_free char *name = xstrdup(field(op, "name"));
    json_decref(op);
    op = wait_for(c, name, "exports", a.words[0], err);
    if (!op) {
        return -1;
    }
    rc = op_error(op, err);
    if (rc == 0 && c->json) {
        out_json(json_object_get(op, "response"));
    } else if (rc == 0) {
        json_array_foreach(json_object_get(json_object_get(op, "response"), "exportedFiles"), i,
                           uri) {
            printf("%s\n", json_string_value(uri));
        }
    }
    json_decref(op);
    return rc;
}

static int delete (const struct cli *c, const char *id, struct err *err) {
    auto_free char *path = path_of(c, id);
    json_t *op;
    if (http_json(c, "DELETE", path, NULL, &op, err)) {
        return -1;
    }
    int rc = op_error(op, err);
    if (rc == 0 && c->json) {
        out_json(op);
    } else if (rc == 0 && !c->quiet) {
        fprintf(stderr, "Deleted [%s].\n", id);
    }
    json_decref(op);
    return rc;
}

int cmd_datasets(const struct cli *c, int argc, char **argv, struct err *err) {
    static const struct {
        const char *verb;
        int (*run)(const struct cli *c, int argc, char **argv, struct err *err);
        int (*run_one)(const struct cli *c, const char *id, struct err *err);
    } verbs[] = {{"create", create, NULL},        {"list", list, NULL},
                 {"describe", NULL, describe},    {"import", import, NULL},
                 {"export", export, NULL},        {"delete", NULL, delete},
                 {"data-items", data_items, NULL}};
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        if (strcmp(argv[0], verbs[i].verb) != 0) {
            continue;
        }
        if (verbs[i].run) {
            return verbs[i].run(c, argc - 1, argv + 1, err);
        }
        return argc == 2
                   ? verbs[i].run_one(c, argv[1], err)
                   : err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp datasets %s DATASET", argv[0]);
    }
    return no_verb("datasets", argv[0], err);
}
