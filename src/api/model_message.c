/* See model_message.h. */
#include "api/model_message.h"

#include "api/etag.h"
#include "pb/pb.h"
#include "pb/pbcheck.h"
#include "pb/wkt.h"

/* What a model of one's own can do (reference 07 §2). */
static const char *const input_formats[] = {"jsonl",     "bigquery",       "csv",
                                            "tf-record", "tf-record-gzip", "file-list"};
static const char *const output_formats[] = {"jsonl", "bigquery"};

static char *text(struct arena *a, struct str s) {
    return arena_strndup(a, s.p ? s.p : "", s.n);
}

static char **texts(struct arena *a, const char *const *list, size_t n) {
    char **out = arena_own_array(a, n, sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        out[i] = arena_strdup(a, list[i]);
    }
    return out;
}

int model_view_read(struct arena *a, const struct store_row *row, struct model_view *ret,
                    struct err *err) {
    ret->row = row;
    return model_record_decode(a, row->status, &ret->record, err)
               ? err_wrap(err, "read %.*s", STR_ARG(row->name))
               : 0;
}

static void put_labels(struct arena *a, const struct store_row *row, Aip__Model *m) {
    m->labels = arena_own_array(a, row->nr_labels + 1, sizeof(*m->labels));
    m->n_labels = row->nr_labels;
    for (size_t i = 0; i < row->nr_labels; i++) {
        m->labels[i] = arena_own(a, sizeof(*m->labels[i]));
        aip__model__labels_entry__init(m->labels[i]);
        m->labels[i]->key = text(a, row->labels[i].key);
        m->labels[i]->value = text(a, row->labels[i].value);
    }
}

/* What every model that was not made by somebody else's service can do. */
static void put_abilities(struct arena *a, Aip__Model *m) {
    if (m->artifact_uri[0]) {
        Aip__Model__ExportFormat *f = arena_own(a, sizeof(*f));
        aip__model__export_format__init(f);
        f->id = arena_strdup(a, "custom-trained");
        f->exportable_contents = arena_own_array(a, 1, sizeof(*f->exportable_contents));
        f->exportable_contents[0] = AIP__MODEL__EXPORT_FORMAT__EXPORTABLE_CONTENT__ARTIFACT;
        f->n_exportable_contents = 1;
        m->supported_export_formats = arena_own_array(a, 1, sizeof(f));
        m->supported_export_formats[0] = f;
        m->n_supported_export_formats = 1;
    }
    if (m->container_spec) {
        m->supported_deployment_resources_types =
            arena_own_array(a, 1, sizeof(*m->supported_deployment_resources_types));
        m->supported_deployment_resources_types[0] =
            AIP__MODEL__DEPLOYMENT_RESOURCES_TYPE__DEDICATED_RESOURCES;
        m->n_supported_deployment_resources_types = 1;
        m->supported_input_storage_formats = texts(a, input_formats, NR_OF(input_formats));
        m->n_supported_input_storage_formats = NR_OF(input_formats);
        m->supported_output_storage_formats = texts(a, output_formats, NR_OF(output_formats));
        m->n_supported_output_storage_formats = NR_OF(output_formats);
    }
}

static void put_data_stats(struct arena *a, const struct rec *facts, Aip__Model *m) {
    if (!rec_get(facts, MODEL_FACT_TRAINING_ITEMS).p) {
        return;
    }
    m->data_stats = arena_own(a, sizeof(*m->data_stats));
    aip__model__data_stats__init(m->data_stats);
    m->data_stats->training_data_items_count = rec_get_i64(facts, MODEL_FACT_TRAINING_ITEMS, 0);
    m->data_stats->validation_data_items_count = rec_get_i64(facts, MODEL_FACT_VALIDATION_ITEMS, 0);
    m->data_stats->test_data_items_count = rec_get_i64(facts, MODEL_FACT_TEST_ITEMS, 0);
}

static void put_source(struct arena *a, const struct rec *facts, Aip__Model *m) {
    struct str pipeline = rec_get(facts, MODEL_FACT_PIPELINE);
    struct str original = rec_get(facts, MODEL_FACT_SOURCE);
    if (pipeline.n) {
        m->training_pipeline = text(a, pipeline);
    }
    m->model_source_info = arena_own(a, sizeof(*m->model_source_info));
    aip__model_source_info__init(m->model_source_info);
    m->model_source_info->source_type = AIP__MODEL_SOURCE_INFO__MODEL_SOURCE_TYPE__CUSTOM;
    if (original.n) {
        m->model_source_info->copy = true;
        m->original_model_info = arena_own(a, sizeof(*m->original_model_info));
        aip__model__original_model_info__init(m->original_model_info);
        m->original_model_info->model = text(a, original);
    }
}

static void put_version(struct arena *a, const struct version_record *v, Aip__Model *m) {
    m->version_id = arena_printf(a, "%llu", (unsigned long long)v->version);
    m->version_create_time = wkt_timestamp(a, v->create_time);
    m->version_update_time = wkt_timestamp(a, v->update_time);
    m->version_description = text(a, v->description);
    put_source(a, &v->facts, m);
    put_data_stats(a, &v->facts, m);
    put_abilities(a, m);
}

static void put_aliases(struct arena *a, const struct model_state *s, uint64_t version,
                        Aip__Model *m) {
    const struct str *list = model_state_aliases(s, version, &m->n_version_aliases);
    m->version_aliases = arena_own_array(a, m->n_version_aliases + 1, sizeof(char *));
    for (size_t i = 0; i < m->n_version_aliases; i++) {
        m->version_aliases[i] = text(a, list[i]);
    }
}

/* ---- etags: those of rows that hold what may be changed, and nothing else ---- */

static struct str labels_text(struct arena *a, struct model_labels l) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < l.n; i++) {
        buf_put_str(&b, l.p[i].key);
        buf_putc(&b, '=');
        buf_put_str(&b, l.p[i].value);
        buf_putc(&b, '\n');
    }
    return arena_str(a, buf_str(&b));
}

static struct store_row models_part(struct arena *a, const struct model_view *m) {
    return (struct store_row){.name = m->row->name,
                              .display_name = m->row->display_name,
                              .spec = m->record.description,
                              .status = labels_text(a, m->record.labels),
                              .update_time = m->row->create_time};
}

static struct store_row versions_part(struct arena *a, const struct model_view *m,
                                      const struct version_record *v) {
    return (struct store_row){.name = m->row->name,
                              .spec = v->description,
                              .status = labels_text(a, v->labels),
                              .update_time = v->create_time};
}

struct str model_etag(struct arena *a, const struct model_view *m, const struct version_record *v) {
    struct store_row one = models_part(a, m), two = versions_part(a, m, v);
    return str_of(
        arena_printf(a, "%.*s.%.*s", STR_ARG(etag_of(a, &one)), STR_ARG(etag_of(a, &two))));
}

int model_etag_check(struct arena *a, struct str given, const struct model_view *m,
                     const struct version_record *v, bool is_versions, struct err *err) {
    struct store_row row = is_versions ? versions_part(a, m, v) : models_part(a, m);
    struct str second = given;
    struct str first = str_cut(&second, '.');
    if (!given.n || str_eqc(given, "*")) {
        return 0;
    }
    struct str part = is_versions ? second : first;
    return etag_check(part.n ? part : STR("?"), &row, err);
}

int model_message(struct arena *a, const struct model_view *model, const struct store_row *version,
                  Aip__Model **ret, struct err *err) {
    const struct store_row *row = version ? version : model->row;
    struct str status = version ? version->status : model->record.default_status;
    struct version_record v;
    ProtobufCMessage *msg;
    if (version_record_decode(a, status, &v, err) ||
        pb_unpack(a, &aip__model__descriptor, row->spec, &msg, err)) {
        if (err) { /* what we stored ourselves: not the client's fault */
            err->code = ERR_DATA_LOSS;
        }
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    Aip__Model *m = (Aip__Model *)msg;
    m->name = text(a, row->name);
    m->display_name = text(a, model->row->display_name);
    m->description = text(a, model->record.description);
    m->create_time = wkt_timestamp(a, model->row->create_time);
    m->update_time = wkt_timestamp(a, model->row->update_time);
    m->etag = text(a, model_etag(a, model, &v));
    put_aliases(a, &model->record.state, v.version, m);
    put_labels(a, row, m);
    put_version(a, &v, m);
    *ret = m;
    return 0;
}

bool model_message_pack(struct arena *a, const Aip__Model *m, struct str *ret) {
    Aip__Model *copy = (Aip__Model *)pb_clone(a, &m->base);
    if (!copy) {
        return false;
    }
    pb_clear_output_only(&copy->base);
    /* Kept beside the message, where they can change. */
    copy->name = copy->display_name = copy->description = copy->version_description = copy->etag =
        arena_strdup(a, "");
    copy->n_labels = 0;
    copy->n_version_aliases = 0;
    return pb_pack_in(a, &copy->base, ret);
}

struct str model_artifact_folder(struct arena *a, struct str uri) {
    while (uri.n > 5 && uri.p[uri.n - 1] == '/') {
        uri.n--;
    }
    return uri.n ? str_of(arena_printf(a, "%.*s/", STR_ARG(uri))) : STR("");
}

/* ---- filters ---- */

static ProtobufCMessage *decode_model(struct arena *a, const struct store_row *row) {
    struct model_view view;
    Aip__Model *m;
    return model_view_read(a, row, &view, NULL) || model_message(a, &view, NULL, &m, NULL)
               ? NULL
               : &m->base;
}

static ProtobufCMessage *decode_version(struct arena *a, const struct store_row *row) {
    struct version_record v;
    ProtobufCMessage *m;
    if (version_record_decode(a, row->status, &v, NULL) ||
        pb_unpack(a, &aip__model__descriptor, row->spec, &m, NULL)) {
        return NULL;
    }
    put_version(a, &v, (Aip__Model *)m);
    return m;
}

const struct filter_schema model_version_schema = {&aip__model__descriptor, decode_version, NULL,
                                                   0};

const struct filter_schema *model_schema(struct arena *a, struct str parent) {
    struct filter_schema *s = arena_own(a, sizeof(*s));
    struct filter_alias *aliases = arena_own_array(a, 2, sizeof(*aliases));
    aliases[0] = (struct filter_alias){.name = "model", .camel = "model"};
    if (str_find(parent, STR("/-")) < 0) {
        aliases[0].before = str_of(arena_printf(a, "%.*s/models/", STR_ARG(parent)));
    }
    aliases[1] = (struct filter_alias){
        .name = "base_model_name",
        .camel = "baseModelName",
        .path = "base_model_source.model_garden_source.public_model_name",
    };
    *s = (struct filter_schema){&aip__model__descriptor, decode_model, aliases, 2};
    return s;
}
