#include "logs/entry.h"

#include "pb/pb.h"

#define SERVICE_POOL 0xffu

/* "workerpool1-3"; "service" is the last pool. */
static void task_rank(const char *task, uint32_t *ret_pool, uint32_t *ret_replica) {
    unsigned pool = SERVICE_POOL, replica = 0;
    if (sscanf(task, "workerpool%u-%u", &pool, &replica) != 2) {
        /* Packages and other streams come before the program that they are for. */
        pool = strcmp(task, "service") == 0 ? SERVICE_POOL : 0;
        replica = 0;
    }
    *ret_pool = pool & 0xff;
    *ret_replica = replica & 0xffff;
}

void entry_insert_id(char ret[40], struct str job_id, const char *task, uint32_t attempt,
                     uint64_t seq) {
    uint32_t pool, replica;
    task_rank(task, &pool, &replica);
    snprintf(ret, 40, "%04x%02x%04x%012llx%08x", attempt & 0xffff, pool, replica,
             (unsigned long long)(seq & 0xffffffffffff), (unsigned)str_hash(job_id));
}

static size_t sequence(struct str s) { /* length of the well-formed character at the start, or 0 */
    static const uint8_t lengths[] = {1, 2, 3, 4};
    for (size_t i = 0; i < NR_OF(lengths) && lengths[i] <= s.n; i++) {
        if (str_is_utf8(str_sub(s, 0, lengths[i]))) {
            return lengths[i];
        }
    }
    return 0;
}

char *entry_text(struct arena *a, struct str bytes) {
    if (str_is_utf8(bytes) && !(bytes.n && memchr(bytes.p, 0, bytes.n))) {
        return arena_strndup(a, bytes.p ? bytes.p : "", bytes.n);
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    while (bytes.n) {
        size_t n = bytes.p[0] ? sequence(bytes) : 0;
        buf_put_str(&b, n ? str_sub(bytes, 0, n) : STR("\xef\xbf\xbd"));
        bytes = str_sub(bytes, n ? n : 1, bytes.n);
    }
    return arena_strndup(a, b.p ? b.p : "", b.n);
}

/* ---- JSON lines */

/* True: the line says it in a key that is taken for nothing else. */
static bool object_severity(const Google__Protobuf__Struct *s, bool strict, int *ret) {
    if (special_severity(special_find(s, "severity"), false, ret)) {
        return true;
    }
    /* kept: other readers know these by their own name */
    (void)(!strict && (special_severity(special_find(s, "level"), true, ret) ||
                       special_severity(special_find(s, "levelname"), true, ret) ||
                       special_severity(special_find(s, "lvl"), true, ret)));
    return false;
}

void entry_object_severity(struct arena *a, struct str line, bool strict, int *ret) {
    ProtobufCMessage *m;
    struct violations vs;
    struct err err;
    if (str_find(line, STR("\"severity\"")) < 0 && str_find(line, STR("\"level")) < 0 &&
        str_find(line, STR("\"lvl\"")) < 0) {
        return;
    }
    violations_init(&vs, a);
    if (pb_from_json(a, &google__protobuf__struct__descriptor, PB_V1, str_trim(line), NULL, &m, &vs,
                     &err) == 0) {
        (void)object_severity((Google__Protobuf__Struct *)m, strict, ret);
    }
}

static bool json_line(struct arena *a, Google__Logging__V2__LogEntry *e, const struct captured *c,
                      bool strict) {
    ProtobufCMessage *m;
    struct violations vs;
    struct err err;
    violations_init(&vs, a);
    if (pb_from_json(a, &google__protobuf__struct__descriptor, PB_V1, str_trim(c->text), NULL, &m,
                     &vs, &err)) {
        return false;
    }
    Google__Protobuf__Struct *s = (Google__Protobuf__Struct *)m;
    int severity = (int)e->severity;
    if (object_severity(s, strict, &severity)) {
        special_take(s, "severity");
    }
    e->severity = (Google__Logging__Type__LogSeverity)severity;
    special_lift(a, s, e, c->is_own || strict);
    if (!strict && !special_find(s, "message")) { /* what readers print */
        Google__Protobuf__Value *v = special_find(s, "msg");
        v = v ? v : special_find(s, "event");
        if (v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
            Google__Protobuf__Struct__FieldsEntry **all =
                arena_calloc(a, s->n_fields + 1, sizeof(*all));
            Google__Protobuf__Struct__FieldsEntry *f = arena_own(a, sizeof(*f));
            google__protobuf__struct__fields_entry__init(f);
            f->key = arena_strdup(a, "message");
            f->value = v;
            if (!all || !f->key) {
                return false;
            }
            memcpy(all, s->fields, s->n_fields * sizeof(*all));
            all[s->n_fields++] = f;
            s->fields = all;
        }
    }
    e->payload_case = GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_JSON_PAYLOAD;
    e->json_payload = s;
    return true;
}

/* ---- the entry */

static void add_label(struct arena *a, Google__Logging__V2__LogEntry *e, const char *key,
                      char *value) {
    Google__Logging__V2__LogEntry__LabelsEntry *l = arena_own(a, sizeof(*l));
    google__logging__v2__log_entry__labels_entry__init(l);
    l->key = (char *)(uintptr_t)key;
    l->value = value;
    e->labels[e->n_labels++] = l;
}

static void add_resource_label(struct arena *a, Google__Api__MonitoredResource *r, const char *key,
                               char *value) {
    Google__Api__MonitoredResource__LabelsEntry *l = arena_own(a, sizeof(*l));
    google__api__monitored_resource__labels_entry__init(l);
    l->key = (char *)(uintptr_t)key;
    l->value = value;
    r->labels[r->n_labels++] = l;
}

static Google__Protobuf__Timestamp *stamp(struct arena *a, usec_t t) {
    Google__Protobuf__Timestamp *m = arena_own(a, sizeof(*m));
    google__protobuf__timestamp__init(m);
    m->seconds = (int64_t)(t / USEC_PER_SEC);
    m->nanos = (int32_t)(t % USEC_PER_SEC) * 1000;
    return m;
}

Google__Logging__V2__LogEntry *entry_make(struct arena *a, const struct entry_origin *o,
                                          const struct captured *c) {
    Google__Logging__V2__LogEntry *e = arena_own(a, sizeof(*e));
    char id[40];
    google__logging__v2__log_entry__init(e);
    bool is_service = o->attempt == 0;
    char *own = arena_strndup(a, o->job_id.p, o->job_id.n);
    char *job = o->shown_as.p ? arena_strndup(a, o->shown_as.p, o->shown_as.n) : own;
    e->log_name = is_service
                      ? arena_printf(a, "projects/%.*s/logs/ml.googleapis.com%%2F%s",
                                     STR_ARG(o->project), job ? job : "")
                      : arena_printf(a, "projects/%.*s/logs/%s", STR_ARG(o->project), o->task);
    entry_insert_id(id, o->job_id, o->task, o->attempt, c->seq);
    e->insert_id =
        c->insert_id.n ? arena_strndup(a, c->insert_id.p, c->insert_id.n) : arena_strdup(a, id);
    e->timestamp = stamp(a, c->time);
    e->receive_timestamp = stamp(a, c->read);
    e->severity = (Google__Logging__Type__LogSeverity)c->severity;

    e->resource = arena_own(a, sizeof(*e->resource));
    google__api__monitored_resource__init(e->resource);
    e->resource->type = (char *)(uintptr_t) "ml_job";
    e->resource->labels = arena_own_array(a, 3, sizeof(*e->resource->labels));
    add_resource_label(a, e->resource, "project_id", arena_strndup(a, o->project.p, o->project.n));
    add_resource_label(a, e->resource, "job_id", job);
    add_resource_label(a, e->resource, "task_name", arena_strdup(a, o->task));
    e->labels = arena_own_array(a, 4, sizeof(*e->labels));
    add_label(a, e, "ml.googleapis.com/job_id", job);
    if (o->shown_as.p) {
        add_label(a, e, "ml.googleapis.com/trial_id", arena_strdup(a, o->trial));
        add_label(a, e, "ml.googleapis.com/custom_job_id", own);
    }
    if (!is_service) {
        add_label(a, e, "compute.googleapis.com/resource_name",
                  arena_printf(a, "cusp-%s-a%u-%s", own ? own : "", o->attempt, o->task));
    }
    if (!c->is_object || !json_line(a, e, c, o->strict)) {
        e->payload_case = GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_TEXT_PAYLOAD;
        e->text_payload = entry_text(a, c->text);
    }
    bool whole = e->log_name && e->insert_id && job && own && e->labels[e->n_labels - 1]->value &&
                 e->resource->labels[0]->value && e->resource->labels[2]->value &&
                 (e->payload_case == GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_JSON_PAYLOAD ||
                  e->text_payload);
    return whole ? e : NULL;
}
