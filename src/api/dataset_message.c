/* See dataset_message.h. */
#include "api/dataset_message.h"

#include "api/datasets.h"
#include "api/etag.h"
#include "api/spec.h"
#include "base/limits.h"
#include "data/item_line.h"
#include "pb/pb.h"
#include "pb/pbcheck.h"
#include "pb/wkt.h"

#define METADATA_ROOT "gs://google-cloud-aiplatform/schema/dataset/metadata/"
#define DATA_ITEM_ROOT "gs://google-cloud-aiplatform/schema/dataset/dataitem/"
#define SCHEMA_LABEL "aiplatform.googleapis.com/dataset_metadata_schema"

static const struct {
    const char *name, *uri, *label;
    enum item_media media;
} types[] = {
    [DATASET_TYPE_NONE] = {"", "", "", ITEM_MEDIA_NONE},
    [DATASET_TABULAR] = {"tabular", METADATA_ROOT "tabular_1.0.0.yaml", "TABLE", ITEM_MEDIA_NONE},
    [DATASET_TIME_SERIES] = {"time_series", METADATA_ROOT "time_series_1.0.0.yaml", "TIME_SERIES",
                             ITEM_MEDIA_NONE},
    [DATASET_IMAGE] = {"image", METADATA_ROOT "image_1.0.0.yaml", "IMAGE", ITEM_IMAGE},
    [DATASET_TEXT] = {"text", METADATA_ROOT "text_1.0.0.yaml", "TEXT", ITEM_TEXT},
    [DATASET_VIDEO] = {"video", METADATA_ROOT "video_1.0.0.yaml", "VIDEO", ITEM_VIDEO},
};

enum dataset_type dataset_type_of(struct str uri) {
    for (unsigned i = 1; i < NR_OF(types); i++) {
        if (str_eqc(uri, types[i].uri)) {
            return (enum dataset_type)i;
        }
    }
    return DATASET_TYPE_NONE;
}

const char *dataset_type_name(enum dataset_type t) {
    return types[t].name;
}

enum item_media dataset_type_media(enum dataset_type t) {
    return types[t].media;
}

/* ---- metadata: {"inputConfig": {"gcsSource": {"uri": [...]}}} ---- */

/* A member in either spelling; NULL when v is no object or has none. */
static const Google__Protobuf__Value *member(const Google__Protobuf__Value *v, const char *camel,
                                             const char *snake) {
    if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE) {
        return NULL;
    }
    for (size_t i = 0; i < v->struct_value->n_fields; i++) {
        const char *key = v->struct_value->fields[i]->key;
        if (strcmp(key, camel) == 0 || strcmp(key, snake) == 0) {
            return v->struct_value->fields[i]->value;
        }
    }
    return NULL;
}

static const char *string_of(const Google__Protobuf__Value *v) {
    return v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? v->string_value : NULL;
}

static bool is_null(const Google__Protobuf__Value *v) {
    return !v || v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE ||
           v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET;
}

struct table {
    const Google__Protobuf__Value *input, *gcs, *bigquery, *uri;
};

static struct table table_of(const Aip__Dataset *ds) {
    struct table t = {.input = member(ds->metadata, "inputConfig", "input_config")};
    t.gcs = member(t.input, "gcsSource", "gcs_source");
    t.bigquery = member(t.input, "bigquerySource", "bigquery_source");
    t.gcs = is_null(t.gcs) ? NULL : t.gcs;
    t.bigquery = is_null(t.bigquery) ? NULL : t.bigquery;
    t.uri = member(t.gcs, "uri", "uri");
    if (!t.uri) {
        t.uri = member(t.gcs, "uris", "uris"); /* as import configs call it */
    }
    return t;
}

void dataset_table_sources(struct arena *a, const Aip__Dataset *ds, const char ***ret,
                           size_t *ret_nr, const char **ret_bigquery) {
    struct table t = table_of(ds);
    size_t n = 0;
    bool is_list = t.uri && t.uri->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
    size_t most = is_list ? t.uri->list_value->n_values : 1;
    const char **list = arena_own_array(a, most + 1, sizeof(*list));
    for (size_t i = 0; i < most; i++) {
        const char *s = string_of(is_list ? t.uri->list_value->values[i] : t.uri);
        if (s) {
            list[n++] = s;
        }
    }
    *ret = list;
    *ret_nr = n;
    if (ret_bigquery) {
        *ret_bigquery = string_of(member(t.bigquery, "uri", "uri"));
    }
}

static void check_gs(const char *field, const char *uri, struct violations *vs) {
    struct str rest = str_of(uri), bucket;
    rest = str_starts(rest, STR("gs://")) ? str_sub(rest, 5, rest.n) : STR("");
    bucket = str_cut(&rest, '/');
    if (!bucket.n || !rest.n) {
        violations_add(vs, field,
                       "\"%.200s\" is not the Cloud Storage URI of a file, such as "
                       "gs://BUCKET/PATH.csv.",
                       uri);
    }
}

static void check_uris(const struct table *t, struct violations *vs) {
    const char *field = "dataset.metadata.input_config.gcs_source.uri";
    if (string_of(t->uri)) {
        check_gs(field, t->uri->string_value, vs);
        return;
    }
    if (!t->uri || t->uri->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE ||
        t->uri->list_value->n_values == 0) {
        violations_add(vs, field, "Required: a list of Cloud Storage URIs of CSV files.");
        return;
    }
    if (t->uri->list_value->n_values > limits.max_import_files) {
        limits_hit(&limits.max_import_files);
        violations_add(vs, field,
                       "At most %llu URIs may be given (max_import_files); wildcards "
                       "stand for many files.",
                       (unsigned long long)limits.max_import_files);
        return;
    }
    for (size_t i = 0; i < t->uri->list_value->n_values; i++) {
        char at[120];
        const char *s = string_of(t->uri->list_value->values[i]);
        snprintf(at, sizeof(at), "%s[%zu]", field, i);
        if (s) {
            check_gs(at, s, vs);
        } else {
            violations_add(vs, at, "Must be a string.");
        }
    }
}

static void check_table(const Aip__Dataset *ds, struct violations *vs) {
    const char *field = "dataset.metadata.input_config";
    struct table t = table_of(ds);
    if (is_null(ds->metadata)) {
        violations_add(vs, "dataset.metadata",
                       "Required for a %s dataset: {\"inputConfig\": {\"gcsSource\": {\"uri\": "
                       "[\"gs://BUCKET/PATH.csv\"]}}}.",
                       types[dataset_type_of(str_of(ds->metadata_schema_uri))].name);
        return;
    }
    if (!t.gcs && !t.bigquery) {
        violations_add(vs, field, "One of `gcs_source` and `bigquery_source` must be set.");
        return;
    }
    if (t.gcs && t.bigquery) {
        violations_add(vs, field, "`gcs_source` and `bigquery_source` cannot be set together.");
        return;
    }
    if (t.gcs) {
        check_uris(&t, vs);
        return;
    }
    const char *uri = string_of(member(t.bigquery, "uri", "uri"));
    if (!uri || !str_starts(str_of(uri), STR("bq://"))) {
        violations_add(vs, "dataset.metadata.input_config.bigquery_source.uri",
                       "\"%.200s\" is not a BigQuery URI such as bq://PROJECT.DATASET.TABLE.",
                       uri ? uri : "");
    }
}

/* ---- rules ---- */

/* Without the label that is ours: it is no rule of the client's. */
static void check_labels(const Aip__Dataset *ds, struct violations *vs) {
    Aip__CustomJob__LabelsEntry **own = xcalloc(ds->n_labels + 1, sizeof(void *));
    size_t n = 0;
    for (size_t i = 0; i < ds->n_labels; i++) {
        if (strcmp(ds->labels[i]->key, SCHEMA_LABEL) != 0) {
            /* Entries of maps are one type by many names. */
            own[n++] = (Aip__CustomJob__LabelsEntry *)ds->labels[i];
        }
    }
    labels_check("dataset.labels", n, own, vs);
    free(own);
}

void dataset_check_changed(const Aip__Dataset *ds, struct violations *vs) {
    display_name_check("dataset.display_name", ds->display_name, vs);
    check_labels(ds, vs);
}

static void check_saved_query(const Aip__SavedQuery *q, enum dataset_type type,
                              struct violations *vs) {
    const struct import_format *f = import_format_of_problem(str_of(q->problem_type));
    struct str display = str_of(q->display_name);
    if (!display.n || str_utf8_len(display) > DISPLAY_NAME_MAX) {
        violations_add(vs, "dataset.saved_queries[0].display_name",
                       display.n ? "At most %u characters are allowed."
                                 : "Required field is not set (at most %u characters).",
                       DISPLAY_NAME_MAX);
    }
    if (!f || annotation_media(f->kind) != types[type].media) {
        violations_add(vs, "dataset.saved_queries[0].problem_type",
                       "\"%.100s\" is no problem type of a %s dataset.", q->problem_type,
                       types[type].name);
    }
}

void dataset_check(const Aip__Dataset *ds, struct violations *vs) {
    enum dataset_type type = dataset_type_of(str_of(ds->metadata_schema_uri));
    dataset_check_changed(ds, vs);
    if (!ds->metadata_schema_uri[0]) {
        violations_add(vs, "dataset.metadata_schema_uri", "Required field is not set.");
    } else if (type == DATASET_TYPE_NONE) {
        violations_add(vs, "dataset.metadata_schema_uri",
                       "\"%.200s\" is not a schema that is supported: " METADATA_ROOT
                       "{tabular,time_series,image,text,video}_1.0.0.yaml are.",
                       ds->metadata_schema_uri);
    } else if (types[type].media == ITEM_MEDIA_NONE) {
        check_table(ds, vs);
    }
    if (ds->n_saved_queries > 1) {
        violations_add(vs, "dataset.saved_queries",
                       "At most one saved query may be made with a dataset; the request has %zu.",
                       ds->n_saved_queries);
    } else if (ds->n_saved_queries == 1 && type != DATASET_TYPE_NONE) {
        check_saved_query(ds->saved_queries[0], type, vs);
    }
}

void dataset_fill(struct arena *a, Aip__Dataset *ds) {
    enum dataset_type type = dataset_type_of(str_of(ds->metadata_schema_uri));
    Aip__Dataset__LabelsEntry **labels = arena_own_array(a, ds->n_labels + 1, sizeof(void *));
    size_t n = 0;
    for (size_t i = 0; i < ds->n_labels; i++) {
        if (strcmp(ds->labels[i]->key, SCHEMA_LABEL) != 0) {
            labels[n++] = ds->labels[i];
        }
    }
    labels[n] = arena_own(a, sizeof(**labels));
    aip__dataset__labels_entry__init(labels[n]);
    labels[n]->key = arena_strdup(a, SCHEMA_LABEL);
    labels[n++]->value = arena_strdup(a, types[type].label);
    ds->labels = labels;
    ds->n_labels = n;
    if (types[type].media != ITEM_MEDIA_NONE && is_null(ds->metadata)) {
        struct violations vs;
        ProtobufCMessage *m;
        violations_init(&vs, a);
        const char *json = arena_printf(
            a, "{\"dataItemSchemaUri\":\"" DATA_ITEM_ROOT "%s_1.0.0.yaml\"}", types[type].name);
        if (pb_from_json(a, &google__protobuf__value__descriptor, PB_V1, str_of(json), NULL, &m,
                         &vs, NULL) == 0) {
            ds->metadata = (Google__Protobuf__Value *)m;
        }
    }
}

bool dataset_pack(struct arena *a, const Aip__Dataset *ds, struct str *ret_spec,
                  struct store_label **ret_labels, size_t *ret_nr_labels) {
    Aip__Dataset *own = (Aip__Dataset *)pb_clone(a, &ds->base);
    if (!own) {
        return false;
    }
    pb_clear_output_only(&own->base);
    own->etag = (char *)protobuf_c_empty_string;
    if (own->n_saved_queries) { /* output only, but who else would know them */
        own->saved_queries = ds->saved_queries;
    }
    struct store_label *labels = arena_own_array(a, ds->n_labels + 1, sizeof(*labels));
    for (size_t i = 0; i < ds->n_labels; i++) {
        labels[i] = (struct store_label){str_of(ds->labels[i]->key), str_of(ds->labels[i]->value)};
    }
    *ret_labels = labels;
    *ret_nr_labels = ds->n_labels;
    return pb_pack_in(a, &own->base, ret_spec);
}

/* ---- rows -> messages ---- */

static int lost(const struct store_row *row, struct err *err) {
    if (err) {
        err->code = ERR_DATA_LOSS;
    }
    return err_wrap(err, "read %.*s", STR_ARG(row->name));
}

int dataset_message(struct arena *a, const struct store_row *row, Aip__Dataset **ret,
                    struct err *err) {
    ProtobufCMessage *m;
    struct dataset_status st;
    if (pb_unpack(a, &aip__dataset__descriptor, row->spec, &m, err) ||
        dataset_status_decode(row, &st, err)) {
        return lost(row, err);
    }
    Aip__Dataset *ds = (Aip__Dataset *)m;
    ds->name = arena_strndup(a, row->name.p, row->name.n);
    ds->create_time = wkt_timestamp(a, row->create_time);
    ds->update_time = wkt_timestamp(a, row->update_time);
    ds->etag = (char *)etag_of(a, row).p;
    ds->data_item_count = (int64_t)st.counts.items;
    for (size_t i = 0; i < ds->n_saved_queries; i++) {
        Aip__SavedQuery *q = ds->saved_queries[i];
        q->annotation_spec_count =
            st.counts.specs > INT32_MAX ? INT32_MAX : (int32_t)st.counts.specs;
    }
    *ret = ds;
    return 0;
}

int dataset_version_message(struct arena *a, const struct store_row *row, Aip__DatasetVersion **ret,
                            struct err *err) {
    ProtobufCMessage *m;
    if (pb_unpack(a, &aip__dataset_version__descriptor, row->spec, &m, err)) {
        return lost(row, err);
    }
    Aip__DatasetVersion *v = (Aip__DatasetVersion *)m;
    v->name = arena_strndup(a, row->name.p, row->name.n);
    v->create_time = wkt_timestamp(a, row->create_time);
    v->update_time = wkt_timestamp(a, row->update_time);
    v->etag = (char *)etag_of(a, row).p;
    *ret = v;
    return 0;
}

static ProtobufCMessage *decode_dataset(struct arena *a, const struct store_row *row) {
    Aip__Dataset *ds;
    return dataset_message(a, row, &ds, NULL) ? NULL : &ds->base;
}

static ProtobufCMessage *decode_version(struct arena *a, const struct store_row *row) {
    Aip__DatasetVersion *v;
    return dataset_version_message(a, row, &v, NULL) ? NULL : &v->base;
}

const struct filter_schema dataset_schema = {&aip__dataset__descriptor, decode_dataset};
const struct filter_schema dataset_version_schema = {&aip__dataset_version__descriptor,
                                                     decode_version};

Aip__SavedQuery *dataset_saved_query(const Aip__Dataset *ds, struct str id,
                                     enum annotation_kind *ret_kind, struct str *ret_set) {
    for (size_t i = 0; i < ds->n_saved_queries; i++) {
        Aip__SavedQuery *q = ds->saved_queries[i];
        struct str tail = str_of(q->name);
        if (tail.n > id.n && str_ends(tail, id) && tail.p[tail.n - id.n - 1] == '/') {
            const struct import_format *f = import_format_of_problem(str_of(q->problem_type));
            *ret_kind = f ? f->kind : ANNOTATION_NONE;
            *ret_set = str_of(q->display_name);
            return q;
        }
    }
    return NULL;
}
