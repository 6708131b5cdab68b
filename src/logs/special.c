#include "logs/special.h"

#include "logs/recognise.h"
#include "pb/pb.h"

#define PREFIX "logging.googleapis.com/"
#define LABELS_MAX 64u             /* of one entry, as in Cloud Logging */
#define SECONDS_END 253402300800.0 /* the year 10000 */

Google__Protobuf__Value *special_find(const Google__Protobuf__Struct *s, const char *key) {
    for (size_t i = 0; i < s->n_fields; i++) {
        if (strcmp(s->fields[i]->key, key) == 0) {
            return s->fields[i]->value;
        }
    }
    return NULL;
}

void special_take(Google__Protobuf__Struct *s, const char *key) {
    for (size_t i = 0; i < s->n_fields; i++) {
        if (strcmp(s->fields[i]->key, key) == 0) {
            memmove(s->fields + i, s->fields + i + 1, (--s->n_fields - i) * sizeof(*s->fields));
            return;
        }
    }
}

static const char *string_of(const Google__Protobuf__Value *v) {
    return v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? v->string_value : NULL;
}

static Google__Protobuf__Struct *object_of(const Google__Protobuf__Value *v) {
    return v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE ? v->struct_value : NULL;
}

bool special_severity(const Google__Protobuf__Value *v, bool python, int *ret) {
    if (string_of(v)) {
        return severity_from_word(str_of(string_of(v)), ret);
    }
    if (v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE && v->number_value >= 0 &&
        v->number_value <= SEVERITY_EMERGENCY) {
        static const int levels[] = {SEVERITY_DEFAULT, SEVERITY_DEBUG, SEVERITY_INFO,
                                     SEVERITY_WARNING, SEVERITY_ERROR, SEVERITY_CRITICAL};
        int n = (int)v->number_value;
        *ret = python && n <= 50 ? levels[n / 10] : n;
        return true;
    }
    return false;
}

/* ---- its place */

/* A whole number below the end, also as text: the agents take both. */
static bool whole_number(const Google__Protobuf__Value *v, double end, uint64_t *ret) {
    if (string_of(v)) {
        return str_to_u64(str_of(string_of(v)), ret) && (double)*ret < end;
    }
    if (v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE && v->number_value >= 0 &&
        v->number_value < end) {
        *ret = (uint64_t)v->number_value;
        return (double)*ret == v->number_value;
    }
    return false;
}

static bool seconds_and_nanos(const Google__Protobuf__Value *seconds,
                              const Google__Protobuf__Value *nanos, usec_t *ret) {
    uint64_t s, n;
    if (!whole_number(seconds, SECONDS_END, &s) || !whole_number(nanos, 1e9, &n)) {
        return false;
    }
    *ret = s * USEC_PER_SEC + n / 1000;
    return true;
}

/* The time that the line gives, and the one or two keys that say it; in the agents' order. */
static bool own_time(const Google__Protobuf__Struct *s, usec_t *ret, const char *ret_keys[2]) {
    const Google__Protobuf__Value *v = special_find(s, "timestamp");
    const Google__Protobuf__Struct *o = object_of(v);
    ret_keys[0] = "timestamp";
    ret_keys[1] = NULL;
    if (o && seconds_and_nanos(special_find(o, "seconds"), special_find(o, "nanos"), ret)) {
        return true;
    }
    if (seconds_and_nanos(special_find(s, "timestampSeconds"), special_find(s, "timestampNanos"),
                          ret)) {
        ret_keys[0] = "timestampSeconds";
        ret_keys[1] = "timestampNanos";
        return true;
    }
    static const char *const texts[] = {"time", "timestamp"};
    for (size_t i = 0; i < NR_OF(texts); i++) {
        const char *text = string_of(special_find(s, texts[i]));
        if (text && !time_parse_rfc3339(str_of(text), ret, NULL)) {
            ret_keys[0] = texts[i];
            return true;
        }
    }
    return false;
}

static const char *own_insert_id(const Google__Protobuf__Struct *s) {
    const char *id = string_of(special_find(s, PREFIX "insertId"));
    return id && *id && strlen(id) <= INSERT_ID_MAX ? id : NULL;
}

void special_place(struct arena *a, struct str line, struct special_place *ret) {
    ProtobufCMessage *m;
    struct violations vs;
    struct err err;
    const char *keys[2];
    *ret = (struct special_place){0};
    if (str_find(line, STR("\"time")) < 0 && str_find(line, STR("insertId")) < 0) {
        return;
    }
    violations_init(&vs, a);
    if (pb_from_json(a, &google__protobuf__struct__descriptor, PB_V1, str_trim(line), NULL, &m, &vs,
                     &err)) {
        return;
    }
    const Google__Protobuf__Struct *s = (const Google__Protobuf__Struct *)m;
    const char *id = own_insert_id(s);
    ret->has_time = own_time(s, &ret->time, keys);
    ret->insert_id = id ? str_of(id) : (struct str){0};
}

/* ---- its fields */

static ProtobufCMessage *as_message(struct arena *a, const ProtobufCMessageDescriptor *desc,
                                    const Google__Protobuf__Struct *s) {
    ProtobufCMessage *m;
    struct violations vs;
    struct err err;
    violations_init(&vs, a);
    return pb_from_value(a, desc, PB_V1, &s->base, NULL, &m, &vs, &err) ? NULL : m;
}

/* The object under a key as a message. Of one that has more in it than the message knows, or other
 * types, the rest stays. */
static ProtobufCMessage *take_message(struct arena *a, Google__Protobuf__Struct *s, const char *key,
                                      const ProtobufCMessageDescriptor *desc) {
    Google__Protobuf__Struct *o = object_of(special_find(s, key));
    if (!o || !o->n_fields) {
        return NULL;
    }
    ProtobufCMessage *m = as_message(a, desc, o);
    if (m) {
        special_take(s, key);
        return m;
    }
    Google__Protobuf__Struct__FieldsEntry **fits = arena_calloc(a, o->n_fields, sizeof(*fits));
    Google__Protobuf__Struct__FieldsEntry **rest = arena_calloc(a, o->n_fields, sizeof(*rest));
    Google__Protobuf__Struct part = GOOGLE__PROTOBUF__STRUCT__INIT;
    size_t nr_fits = 0, nr_rest = 0;
    if (!fits || !rest) {
        return NULL;
    }
    part.n_fields = 1;
    for (size_t i = 0; i < o->n_fields; i++) {
        part.fields = &o->fields[i];
        if (as_message(a, desc, &part)) {
            fits[nr_fits++] = o->fields[i];
        } else {
            rest[nr_rest++] = o->fields[i];
        }
    }
    part.fields = fits;
    part.n_fields = nr_fits;
    m = nr_fits ? as_message(a, desc, &part) : NULL;
    if (m) { /* else one field twice, in both spellings */
        o->fields = rest;
        o->n_fields = nr_rest;
    }
    return m;
}

static bool has_label(const Google__Logging__V2__LogEntry *e, const char *key) {
    for (size_t i = 0; i < e->n_labels; i++) {
        if (strcmp(e->labels[i]->key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* Texts become labels. Those of the platform are not a program's to set. */
static void take_labels(struct arena *a, Google__Protobuf__Struct *s,
                        Google__Logging__V2__LogEntry *e) {
    Google__Protobuf__Struct *o = object_of(special_find(s, PREFIX "labels"));
    Google__Logging__V2__LogEntry__LabelsEntry **all =
        o && o->n_fields ? arena_calloc(a, LABELS_MAX, sizeof(*all)) : NULL;
    size_t kept = 0;
    if (!all || e->n_labels > LABELS_MAX) {
        return;
    }
    memcpy(all, e->labels, e->n_labels * sizeof(*all));
    e->labels = all;
    for (size_t i = 0; i < o->n_fields; i++) {
        const char *text = string_of(o->fields[i]->value);
        if (!text || e->n_labels == LABELS_MAX || has_label(e, o->fields[i]->key)) {
            o->fields[kept++] = o->fields[i];
            continue;
        }
        Google__Logging__V2__LogEntry__LabelsEntry *l = arena_own(a, sizeof(*l));
        google__logging__v2__log_entry__labels_entry__init(l);
        l->key = o->fields[i]->key;
        l->value = (char *)(uintptr_t)text;
        e->labels[e->n_labels++] = l;
    }
    o->n_fields = kept;
    if (!kept) {
        special_take(s, PREFIX "labels");
    }
}

static void take_text(Google__Protobuf__Struct *s, const char *key, char **ret) {
    const char *text = string_of(special_find(s, key));
    if (text) {
        *ret = (char *)(uintptr_t)text;
        special_take(s, key);
    }
}

void special_lift(struct arena *a, Google__Protobuf__Struct *s, Google__Logging__V2__LogEntry *e,
                  bool take_time) {
    const char *keys[2], *id = own_insert_id(s);
    usec_t time;
    if (take_time && own_time(s, &time, keys)) {
        special_take(s, keys[0]);
        if (keys[1]) {
            special_take(s, keys[1]);
        }
    }
    if (id && e->insert_id && strcmp(id, e->insert_id) == 0) {
        special_take(s, PREFIX "insertId");
    }
    take_text(s, PREFIX "trace", &e->trace);
    take_text(s, PREFIX "spanId", &e->span_id);
    const Google__Protobuf__Value *sampled = special_find(s, PREFIX "trace_sampled");
    if (sampled && sampled->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE) {
        e->trace_sampled = sampled->bool_value;
        special_take(s, PREFIX "trace_sampled");
    }
    e->http_request = (Google__Logging__Type__HttpRequest *)take_message(
        a, s, "httpRequest", &google__logging__type__http_request__descriptor);
    e->operation = (Google__Logging__V2__LogEntryOperation *)take_message(
        a, s, PREFIX "operation", &google__logging__v2__log_entry_operation__descriptor);
    e->source_location = (Google__Logging__V2__LogEntrySourceLocation *)take_message(
        a, s, PREFIX "sourceLocation", &google__logging__v2__log_entry_source_location__descriptor);
    take_labels(a, s, e);
}
