/* What an export is asked to do, checked: reference 05 §6, 08 §5. Pure but for one look whether the
 * destination's bucket exists. */
#include "api/dataset_export_int.h"

#include "api/names.h"
#include "api/svc.h"
#include "base/limits.h"

#define SHOWN 200 /* bytes of a value that an error shows */

static const char *const filter_names[] = {"training_filter", "validation_filter", "test_filter"};

struct path {
    char text[192];
};

static struct path at(const struct dataset_export_check *c, const char *rest) {
    struct path p;
    snprintf(p.text, sizeof(p.text), "%s.%s", c->field, rest);
    return p;
}

#define COMPLAIN(c, rest, ...) violations_add((c)->vs, at(c, rest).text, __VA_ARGS__)

static const char *own(const struct dataset_export_check *c, const char *rest) {
    return arena_printf(c->arena, "%s.%s", c->field, rest);
}

/* ---- the dataset's name ---- */

bool export_plan_check_early(const struct dataset_export_check *c, struct str *ret_name) {
    struct str id = str_of(c->config->dataset_id);
    struct projects *projects = c->x->api->projects;
    if (!id.n) {
        COMPLAIN(c, "dataset_id", "Required field is not set.");
        return false;
    }
    if (str_chr(id, '/') < 0) {
        *ret_name =
            str_of(arena_printf(c->arena, "%.*s/datasets/%.*s", STR_ARG(c->parent), STR_ARG(id)));
        return true;
    }
    struct name_parts n, here;
    struct err err;
    if (name_parse_in(projects, c->arena, id, "datasets", "dataset_id", &n, &err)) {
        COMPLAIN(c, "dataset_id", "%s", err.msg);
        return false;
    }
    if (name_parse(projects, c->arena, c->parent, "parent", &here, &err) == 0 &&
        !str_eq(n.location, here.location)) {
        COMPLAIN(
            c, "dataset_id",
            "Dataset \"%.*s\" is in location \"%.*s\"; it must be in the same location as what "
            "uses it, \"%.*s\".",
            id.n > SHOWN ? SHOWN : (int)id.n, id.p, STR_ARG(n.location), STR_ARG(here.location));
        return false;
    }
    *ret_name = n.canonical;
    return true;
}

/* ---- where to ---- */

static void plan_folder(const struct dataset_export_check *c, struct export_plan *p,
                        const Aip__Dataset *ds) {
    auto_buf struct buf when = BUF_INIT(64);
    struct str name = p->row->name;
    const char *id = memrchr(name.p, '/', name.n);
    const char *kind = p->is_table          ? "tabular"
                       : p->annotation_kind ? annotation_schema_title(p->annotation_kind)
                                            : "all";
    time_format_rfc3339(&when, c->timestamp - c->timestamp % USEC_PER_SEC);
    char *z = memchr(when.p, 'Z', when.n);
    int sec = z ? (int)(z - when.p) : (int)when.n;
    unsigned ms = (unsigned)(c->timestamp % USEC_PER_SEC / USEC_PER_MSEC);
    char *folder;
    if (c->use == DATASET_EXPORT_PLAIN) {
        char *shown = arena_strdup(c->arena, ds->display_name);
        for (char *s = shown; *s; s++) {
            *s = *s == '/' || (unsigned char)*s < ' ' || *s == 0x7f ? '_' : *s;
        }
        folder = arena_printf(c->arena, "export-data-%s-%.*s.%03uZ/", shown, sec, when.p, ms);
    } else {
        int id_n = id ? (int)(name.n - (size_t)(id + 1 - name.p)) : 0;
        folder = arena_printf(c->arena, "dataset-%.*s-%s-%.*s.%03uZ/", id_n, id ? id + 1 : "", kind,
                              sec, when.p, ms);
    }
    p->folder = arena_printf(c->arena, "%s%s", p->folder, folder);
    p->directory = arena_printf(c->arena, "gs://%s/%s", p->bucket, p->folder);
}

static int check_destination(const struct dataset_export_check *c, struct export_plan *p,
                             struct err *err) {
    const Aip__InputDataConfig *in = c->config;
    if (in->destination_case == AIP__INPUT_DATA_CONFIG__DESTINATION_BIGQUERY_DESTINATION) {
        if (p->is_table) {
            return err_field(err, ERR_FAILED_PRECONDITION, at(c, "bigquery_destination").text,
                             "BigQuery is not configured on this server; use "
                             "gcs_destination.output_uri_prefix.");
        }
        COMPLAIN(c, "bigquery_destination",
                 "Only tabular datasets whose source is BigQuery can be exported to BigQuery; the "
                 "dataset is of type %s.",
                 dataset_type_name(p->type));
        return 0;
    }
    const char *uri = in->destination_case == AIP__INPUT_DATA_CONFIG__DESTINATION_GCS_DESTINATION
                          ? in->gcs_destination->output_uri_prefix
                          : "";
    struct str rest = str_of(uri), bucket;
    struct err why;
    if (!rest.n) {
        COMPLAIN(c, "gcs_destination.output_uri_prefix",
                 "Required field is not set: data are exported to a folder below it.");
        return 0;
    }
    if (!str_starts(rest, STR("gs://"))) {
        COMPLAIN(c, "gcs_destination.output_uri_prefix", "\"%.*s\" must begin with gs://BUCKET.",
                 SHOWN, uri);
        return 0;
    }
    rest = str_sub(rest, 5, rest.n);
    bucket = str_cut(&rest, '/');
    if (blob_check_bucket_name(bucket, &why) || (rest.n && blob_check_object_name(rest, &why))) {
        COMPLAIN(c, "gcs_destination.output_uri_prefix", "\"%.*s\": %.300s", SHOWN, uri, why.msg);
        return 0;
    }
    if (rest.n + 200 > limits.max_object_name) {
        COMPLAIN(c, "gcs_destination.output_uri_prefix",
                 "The prefix has %zu bytes; at most %llu leave room for the names of files.",
                 rest.n, (unsigned long long)limits.max_object_name - 200);
        return 0;
    }
    if (!blob_bucket_is_here(c->x->blob, bucket)) {
        COMPLAIN(c, "gcs_destination.output_uri_prefix", "Bucket \"%.*s\" does not exist.",
                 STR_ARG(bucket));
        return 0;
    }
    p->bucket = arena_str(c->arena, bucket).p;
    bool slash = rest.n && rest.p[rest.n - 1] != '/';
    p->folder = arena_printf(c->arena, "%.*s%s", STR_ARG(rest), slash ? "/" : "");
    return 0;
}

/* ---- splits ---- */

static void plan_fractions(const struct dataset_export_check *c, struct export_plan *p,
                           const char *where, double training, double validation, double test) {
    struct split_fractions sent = {{training, validation, test}};
    struct err why;
    if (split_fractions_normalise(&sent, &p->fractions, &why)) {
        const char *rest = why.field[0] ? arena_printf(c->arena, "%s.%s", where, why.field) : where;
        COMPLAIN(c, rest, "%s", why.msg);
    }
}

static void plan_key(const struct dataset_export_check *c, struct export_plan *p,
                     enum split_kind kind, const char *where, const char *key) {
    const char *rest = arena_printf(c->arena, "%s.key", where);
    p->kind = kind;
    p->key = key;
    p->key_field = own(c, rest);
    if (!p->is_table) {
        COMPLAIN(c, where,
                 "Only tabular datasets can be split by a column; the dataset is of type %s.",
                 dataset_type_name(p->type));
    } else if (!key[0]) {
        COMPLAIN(c, rest, "Required field is not set: the name of a column.");
    }
}

static void plan_filters(const struct dataset_export_check *c, struct export_plan *p,
                         const Aip__FilterSplit *f) {
    const char *const texts[] = {f->training_filter, f->validation_filter, f->test_filter};
    p->kind = SPLIT_BY_FILTER;
    if (p->is_table) {
        COMPLAIN(c, "filter_split",
                 "Filters choose data items, which a tabular dataset has not. Use fraction_split, "
                 "predefined_split, timestamp_split or stratified_split.");
        return;
    }
    for (int i = 0; i < SPLIT_NR; i++) {
        struct export_filter *x = &p->filters[i];
        struct err why;
        const char *rest = arena_printf(c->arena, "filter_split.%s", filter_names[i]);
        *x = (struct export_filter){
            .text = texts[i], .field = own(c, rest), .is_none = strcmp(texts[i], "-") == 0};
        if (!texts[i][0]) {
            COMPLAIN(
                c, rest,
                "Required field is not set. A set that is to stay empty has the filter \"-\".");
        } else if (!x->is_none &&
                   filter_parse(c->arena, str_of(texts[i]), &item_schema, &x->filter, &why)) {
            COMPLAIN(c, rest, "%s", why.msg);
        }
    }
}

static void plan_split(const struct dataset_export_check *c, struct export_plan *p) {
    const Aip__InputDataConfig *in = c->config;
    p->has_split = in->split_case != AIP__INPUT_DATA_CONFIG__SPLIT__NOT_SET;
    p->kind = SPLIT_BY_FRACTION;
    p->fractions = (struct split_fractions){{0.8, 0.1, 0.1}};
    switch (in->split_case) {
    case AIP__INPUT_DATA_CONFIG__SPLIT__NOT_SET:
        p->keeps_use = true; /* nobody asked for chance: what an import said stays */
        break;
    case AIP__INPUT_DATA_CONFIG__SPLIT_FRACTION_SPLIT: {
        const Aip__FractionSplit *f = in->fraction_split;
        plan_fractions(c, p, "fraction_split", f->training_fraction, f->validation_fraction,
                       f->test_fraction);
        break;
    }
    case AIP__INPUT_DATA_CONFIG__SPLIT_FILTER_SPLIT:
        plan_filters(c, p, in->filter_split);
        break;
    case AIP__INPUT_DATA_CONFIG__SPLIT_PREDEFINED_SPLIT:
        plan_key(c, p, SPLIT_BY_PREDEFINED, "predefined_split", in->predefined_split->key);
        break;
    case AIP__INPUT_DATA_CONFIG__SPLIT_TIMESTAMP_SPLIT: {
        const Aip__TimestampSplit *f = in->timestamp_split;
        plan_key(c, p, SPLIT_BY_TIMESTAMP, "timestamp_split", f->key);
        plan_fractions(c, p, "timestamp_split", f->training_fraction, f->validation_fraction,
                       f->test_fraction);
        break;
    }
    case AIP__INPUT_DATA_CONFIG__SPLIT_STRATIFIED_SPLIT: {
        const Aip__StratifiedSplit *f = in->stratified_split;
        plan_key(c, p, SPLIT_BY_STRATIFIED, "stratified_split", f->key);
        plan_fractions(c, p, "stratified_split", f->training_fraction, f->validation_fraction,
                       f->test_fraction);
        break;
    }
#ifdef PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE
    case _AIP__INPUT_DATA_CONFIG__SPLIT__CASE_IS_INT_SIZE:
#endif
    default:
        break;
    }
}

/* ---- annotations ---- */

static void refuse_annotations(const struct dataset_export_check *c) {
    static const char why[] = "A tabular dataset has no annotations; leave this field out.";
    if (c->config->annotations_filter[0]) {
        COMPLAIN(c, "annotations_filter", "%s", why);
    }
    if (c->config->annotation_schema_uri[0]) {
        COMPLAIN(c, "annotation_schema_uri", "%s", why);
    }
    if (c->config->saved_query_id[0]) {
        COMPLAIN(c, "saved_query_id", "%s", why);
    }
}

static void plan_schema(const struct dataset_export_check *c, struct export_plan *p) {
    const char *uri = c->config->annotation_schema_uri;
    p->annotation_kind = annotation_kind_of(str_of(uri));
    p->selection_field = own(c, "annotation_schema_uri");
    p->selection = arena_printf(c->arena, "of schema \"%s\"", uri);
    if (!p->annotation_kind ||
        annotation_media(p->annotation_kind) != dataset_type_media(p->type)) {
        auto_buf struct buf known = BUF_INIT(2048);
        for (enum annotation_kind k = 1; k < ANNOTATION_KIND_NR; k++) {
            if (annotation_media(k) == dataset_type_media(p->type)) {
                buf_printf(&known, "%s%s", known.n ? ", " : "", annotation_schema_uri(k));
            }
        }
        COMPLAIN(c, "annotation_schema_uri",
                 "\"%.*s\" is no annotation schema of a dataset of type %s; there are %s.", SHOWN,
                 uri, dataset_type_name(p->type), buf_cstr(&known));
    }
}

static void plan_annotations(const struct dataset_export_check *c, struct export_plan *p,
                             const Aip__Dataset *ds) {
    const Aip__InputDataConfig *in = c->config;
    struct err why;
    p->selection = "at all";
    p->selection_field = own(c, "annotation_schema_uri");
    if (in->annotation_schema_uri[0] && in->saved_query_id[0]) {
        COMPLAIN(c, "saved_query_id",
                 "saved_query_id and annotation_schema_uri cannot be set together: both say which "
                 "annotations are used.");
    } else if (in->annotation_schema_uri[0]) {
        plan_schema(c, p);
    } else if (in->saved_query_id[0]) {
        p->selection_field = own(c, "saved_query_id");
        p->selection = arena_printf(c->arena, "of saved query \"%s\"", in->saved_query_id);
        if (!dataset_saved_query(ds, str_of(in->saved_query_id), &p->annotation_kind,
                                 &p->set_name)) {
            COMPLAIN(c, "saved_query_id", "Saved query \"%.*s\" does not exist in the dataset.",
                     SHOWN, in->saved_query_id);
        }
    } else if (c->use == DATASET_EXPORT_TRAINING) {
        COMPLAIN(
            c, "annotation_schema_uri",
            "A dataset of type %s needs annotation_schema_uri or saved_query_id: they say which "
            "annotations are used.",
            dataset_type_name(p->type));
    }
    if (in->annotations_filter[0]) {
        if (filter_parse(c->arena, str_of(in->annotations_filter), &annotation_schema,
                         &p->annotations, &why)) {
            COMPLAIN(c, "annotations_filter", "%s", why.msg);
        } else {
            p->selection_field = own(c, "annotations_filter");
            p->selection = arena_printf(c->arena, "%s that matches \"%s\"", p->selection,
                                        in->annotations_filter);
        }
    }
}

/* ---- all of it ---- */

int export_plan_make(struct arena *a, const struct store_row *row,
                     const struct dataset_export_check *c, struct export_plan *p, struct err *err) {
    Aip__Dataset *ds;
    const char *bigquery = NULL;
    size_t before = c->vs->n;
    *p = (struct export_plan){.row = row};
    if (dataset_message(a, row, &ds, err)) {
        return -1;
    }
    p->type = dataset_type_of(str_of(ds->metadata_schema_uri));
    p->is_table = dataset_type_media(p->type) == ITEM_MEDIA_NONE;
    p->persists = c->config->persist_ml_use_assignment && !p->is_table;
    if (p->is_table && c->items_only) {
        violations_add(c->vs, "name",
                       "The dataset is of type %s: there are no data items to export. Its data are "
                       "the files that its metadata name.",
                       dataset_type_name(p->type));
        return 0;
    }
    if (check_destination(c, p, err)) {
        return -1;
    }
    plan_split(c, p);
    if (!p->is_table) {
        plan_annotations(c, p, ds);
    } else {
        refuse_annotations(c);
        dataset_table_sources(a, ds, &p->sources, &p->nr_sources, &bigquery);
        if (!p->nr_sources) {
            return err_field(
                err, ERR_FAILED_PRECONDITION, at(c, "dataset_id").text,
                "BigQuery is not configured on this server, and the dataset's data are "
                "in \"%.*s\".",
                SHOWN, bigquery ? bigquery : "");
        }
    }
    if (c->vs->n == before) {
        plan_folder(c, p, ds);
    }
    return 0;
}
