/* See item_message.h. What the lines of an import say flat (startOffset, startTime), annotations'
 * payloads hold in objects of their own (textSegment, timeSegment). */
#include "data/item_message.h"

#include "base/enc.h"
#include "pb/pb.h"
#include "pb/wkt.h"
#include "store/filter.h"

#include <jansson.h>

/* ---- JSON text -> Value ---- */

static Google__Protobuf__Value *value_of(struct arena *a, struct str json) {
    struct violations vs;
    ProtobufCMessage *m;
    violations_init(&vs, a);
    return pb_from_json(a, &google__protobuf__value__descriptor, PB_V1, json, NULL, &m, &vs, NULL)
               ? NULL
               : (Google__Protobuf__Value *)m;
}

static void put_json(struct jw *w, const json_t *v) {
    const char *key;
    json_t *each;
    size_t i;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        jw_object(w);
        json_object_foreach((json_t *)v, key, each) {
            jw_key(w, key);
            put_json(w, each);
        }
        jw_end_object(w);
        return;
    case JSON_ARRAY:
        jw_array(w);
        json_array_foreach(v, i, each) {
            put_json(w, each);
        }
        jw_end_array(w);
        return;
    case JSON_STRING:
        jw_str(w, str_n(json_string_value(v), json_string_length(v)));
        return;
    case JSON_INTEGER:
        jw_i64(w, json_integer_value(v));
        return;
    case JSON_REAL:
        jw_double(w, json_real_value(v));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        jw_bool(w, json_is_true(v));
        return;
    case JSON_NULL:
        jw_null(w);
        return;
    }
}

/* Where a member of the line goes in the payload. */
struct place {
    const char *key, *object, *name;
};
static const struct place places[] = {
    {"startOffset", "textSegment", "startOffset"}, {"endOffset", "textSegment", "endOffset"},
    {"content", "textSegment", "content"},         {"startTime", "timeSegment", "startTimeOffset"},
    {"endTime", "timeSegment", "endTimeOffset"},
};

static const struct place *place_of(const char *key) {
    for (size_t i = 0; i < NR_OF(places); i++) {
        if (strcmp(places[i].key, key) == 0) {
            return &places[i];
        }
    }
    return NULL;
}

static void put_body(struct jw *w, struct str body) {
    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    const char *key, *open = NULL;
    json_t *each;
    buf_putc(&text, '{');
    buf_put_str(&text, body);
    buf_putc(&text, '}');
    json_t *all = json_loadb(text.p, text.n, 0, NULL);
    json_object_foreach(all, key, each) {
        const struct place *at = place_of(key);
        if (open && (!at || strcmp(at->object, open) != 0)) {
            jw_end_object(w);
            open = NULL;
        }
        if (at && !open) {
            open = at->object;
            jw_key(w, open);
            jw_object(w);
        }
        jw_key(w, at ? at->name : key);
        put_json(w, each);
    }
    if (open) {
        jw_end_object(w);
    }
    json_decref(all);
}

static Google__Protobuf__Value *annotation_payload(struct arena *a,
                                                   const struct data_annotation *n) {
    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    char id[24];
    struct jw w;
    jw_init(&w, &text, 0);
    jw_object(&w);
    if (n->spec_id) {
        snprintf(id, sizeof(id), "%llu", (unsigned long long)n->spec_id);
        jw_kv(&w, "annotationSpecId", id);
        jw_key(&w, "displayName");
        jw_str(&w, n->display_name);
    }
    put_body(&w, n->body);
    jw_end_object(&w);
    return value_of(a, buf_str(&text));
}

static Google__Protobuf__Value *item_payload(struct arena *a, const struct data_item *item) {
    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    jw_init(&w, &text, 0);
    jw_object(&w);
    jw_key(&w, item->is_inline ? "textContent" : "gcsUri");
    jw_str(&w, item->text);
    if (item->mime.n) {
        jw_key(&w, "mimeType");
        jw_str(&w, item->mime);
    }
    jw_end_object(&w);
    return value_of(a, buf_str(&text));
}

/* ---- messages ---- */

/* Label entries of every message type look the same. */
#define PUT_LABEL(a, m, type, init, k, v)                                                          \
    do {                                                                                           \
        type *e_ = arena_own(a, sizeof(*e_));                                                      \
        init(e_);                                                                                  \
        e_->key = arena_strndup(a, (k).p, (k).n);                                                  \
        e_->value = arena_strndup(a, (v).p, (v).n);                                                \
        (m)->labels[(m)->n_labels++] = e_;                                                         \
    } while (0)

static char *etag(struct arena *a, uint64_t id, usec_t updated) {
    auto_buf struct buf bytes = BUF_INIT(64), text = BUF_INIT(64);
    enc_varint(&bytes, id);
    enc_varint(&bytes, updated);
    enc_base64(&text, bytes.p, bytes.n);
    return arena_strdup(a, buf_cstr(&text));
}

Aip__DataItem *data_item_message(struct arena *a, struct str dataset,
                                 const struct data_item *item) {
    Aip__DataItem *m = (Aip__DataItem *)pb_new(a, &aip__data_item__descriptor);
    if (!m) {
        return NULL;
    }
    m->name =
        arena_printf(a, "%.*s/dataItems/%llu", STR_ARG(dataset), (unsigned long long)item->id);
    m->create_time = wkt_timestamp(a, item->create_time);
    m->update_time = wkt_timestamp(a, item->update_time);
    m->etag = etag(a, item->id, item->update_time);
    m->labels = arena_own_array(a, item->labels.n + 1, sizeof(*m->labels));
    for (size_t i = 0; i < item->labels.n; i++) {
        PUT_LABEL(a, m, Aip__DataItem__LabelsEntry, aip__data_item__labels_entry__init,
                  item->labels.p[i].key, item->labels.p[i].value);
    }
    if (item->use != ML_USE_NONE) {
        PUT_LABEL(a, m, Aip__DataItem__LabelsEntry, aip__data_item__labels_entry__init,
                  STR(ML_USE_LABEL), str_of(ml_use_name(item->use)));
    }
    m->payload = item_payload(a, item);
    return m;
}

Aip__Annotation *data_annotation_message(struct arena *a, struct str dataset, uint64_t item,
                                         const struct data_annotation *n) {
    Aip__Annotation *m = (Aip__Annotation *)pb_new(a, &aip__annotation__descriptor);
    if (!m) {
        return NULL;
    }
    m->name = arena_printf(a, "%.*s/dataItems/%llu/annotations/%llu", STR_ARG(dataset),
                           (unsigned long long)item, (unsigned long long)n->id);
    m->payload_schema_uri = arena_strdup(a, annotation_schema_uri(n->kind));
    m->payload = annotation_payload(a, n);
    m->create_time = wkt_timestamp(a, n->create_time);
    m->update_time = wkt_timestamp(a, n->update_time);
    m->etag = etag(a, n->id, n->update_time);
    m->labels = arena_own_array(a, n->labels.n + 1, sizeof(*m->labels));
    for (size_t i = 0; i < n->labels.n; i++) {
        PUT_LABEL(a, m, Aip__Annotation__LabelsEntry, aip__annotation__labels_entry__init,
                  n->labels.p[i].key, n->labels.p[i].value);
    }
    PUT_LABEL(a, m, Aip__Annotation__LabelsEntry, aip__annotation__labels_entry__init,
              STR("aiplatform.googleapis.com/payload_schema"),
              str_of(annotation_schema_title(n->kind)));
    return m;
}

Aip__AnnotationSpec *data_spec_message(struct arena *a, struct str dataset,
                                       const struct data_spec *spec) {
    Aip__AnnotationSpec *m = (Aip__AnnotationSpec *)pb_new(a, &aip__annotation_spec__descriptor);
    if (!m) {
        return NULL;
    }
    m->name = arena_printf(a, "%.*s/annotationSpecs/%llu", STR_ARG(dataset),
                           (unsigned long long)spec->id);
    m->display_name = arena_strndup(a, spec->display_name.p, spec->display_name.n);
    m->create_time = m->update_time = wkt_timestamp(a, spec->create_time);
    m->etag = etag(a, spec->id, spec->create_time);
    return m;
}

/* ---- filters: a row whose spec is the place of what is at hand ---- */

struct at_hand {
    struct str dataset;
    uint64_t item_id;
    const struct data_item *item;
    const struct data_annotation *annotation;
};

static ProtobufCMessage *decode_item(struct arena *a, const struct store_row *row) {
    const struct at_hand *h = (const void *)row->spec.p;
    Aip__DataItem *m = data_item_message(a, h->dataset, h->item);
    return m ? &m->base : NULL;
}

static ProtobufCMessage *decode_annotation(struct arena *a, const struct store_row *row) {
    const struct at_hand *h = (const void *)row->spec.p;
    Aip__Annotation *m = data_annotation_message(a, h->dataset, h->item_id, h->annotation);
    return m ? &m->base : NULL;
}

const struct filter_schema item_schema = {&aip__data_item__descriptor, decode_item};
const struct filter_schema annotation_schema = {&aip__annotation__descriptor, decode_annotation};

bool item_matches(const struct filter *f, struct str dataset, const struct data_item *item,
                  struct arena *scratch) {
    if (!f) {
        return true;
    }
    arena_clear(scratch);
    const struct at_hand h = {.dataset = dataset, .item = item};
    struct store_label *labels = arena_own_array(scratch, item->labels.n + 1, sizeof(*labels));
    size_t n = 0;
    for (; n < item->labels.n; n++) {
        labels[n] = item->labels.p[n];
    }
    if (item->use != ML_USE_NONE) {
        labels[n++] = (struct store_label){STR(ML_USE_LABEL), str_of(ml_use_name(item->use))};
    }
    const struct store_row row = {
        .name = str_of(arena_printf(scratch, "%.*s/dataItems/%llu", STR_ARG(dataset),
                                    (unsigned long long)item->id)),
        .create_time = item->create_time,
        .update_time = item->update_time,
        .labels = labels,
        .nr_labels = n,
        .spec = str_n((const char *)&h, sizeof(h)),
    };
    return filter_matches(f, &row, scratch);
}

bool annotation_matches(const struct filter *f, struct str dataset, uint64_t item,
                        const struct data_annotation *n, struct arena *scratch) {
    if (!f) {
        return true;
    }
    arena_clear(scratch);
    const struct at_hand h = {.dataset = dataset, .item_id = item, .annotation = n};
    struct store_label *labels = arena_own_array(scratch, n->labels.n + 1, sizeof(*labels));
    for (size_t i = 0; i < n->labels.n; i++) {
        labels[i] = n->labels.p[i];
    }
    labels[n->labels.n] = (struct store_label){STR("aiplatform.googleapis.com/payload_schema"),
                                               str_of(annotation_schema_title(n->kind))};
    const struct store_row row = {
        .name =
            str_of(arena_printf(scratch, "%.*s/dataItems/%llu/annotations/%llu", STR_ARG(dataset),
                                (unsigned long long)item, (unsigned long long)n->id)),
        .create_time = n->create_time,
        .update_time = n->update_time,
        .labels = labels,
        .nr_labels = n->labels.n + 1,
        .spec = str_n((const char *)&h, sizeof(h)),
    };
    return filter_matches(f, &row, scratch);
}
