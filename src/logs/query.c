/* The tree on an entry, and what the tree says about where to look. */
#include "logs/query_int.h"

#include "base/vec.h"
#include "logs/recognise.h"
#include "pb/aip.h"

typedef Google__Logging__V2__LogEntry entry_msg;

/* ---- one value against one test */

static bool contains(struct str text, struct str part) {
    if (!part.n) {
        return true;
    }
    for (size_t i = 0; i + part.n <= text.n; i++) {
        if (str_ieq(str_sub(text, i, part.n), part)) {
            return true;
        }
    }
    return false;
}

static bool order(enum query_op op, int cmp) {
    switch (op) {
    case OP_EQ:
    case OP_HAS:
        return cmp == 0;
    case OP_NE:
        return cmp != 0;
    case OP_GT:
        return cmp > 0;
    case OP_GE:
        return cmp >= 0;
    case OP_LT:
        return cmp < 0;
    case OP_LE:
        return cmp <= 0;
    case OP_MATCH:
    case OP_NO_MATCH:
    case OP_TEXT:
        break;
    }
    return false;
}

static int compare(double a, double b) {
    return a < b ? -1 : a > b;
}

static int compare_text(struct str a, struct str b, bool exact) {
    if (exact) {
        return str_cmp(a, b);
    }
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        int x = a.p[i] >= 'A' && a.p[i] <= 'Z' ? a.p[i] + 32 : (uint8_t)a.p[i];
        int y = b.p[i] >= 'A' && b.p[i] <= 'Z' ? b.p[i] + 32 : (uint8_t)b.p[i];
        if (x != y) {
            return x - y;
        }
    }
    return a.n < b.n ? -1 : a.n > b.n;
}

static bool test_text(const struct query_node *n, const char *c, bool exact) {
    struct str text = str_of(c);
    if (n->op == OP_MATCH || n->op == OP_NO_MATCH) {
        return pattern_matches(n->pattern, text) == (n->op == OP_MATCH);
    }
    if (n->op == OP_HAS) {
        return str_eqc(n->value, "*") ? text.n > 0 : contains(text, n->value);
    }
    double number;
    if (n->is_number && !n->is_quoted && n->op != OP_EQ && n->op != OP_NE && !exact &&
        str_to_double(text, &number)) {
        return order(n->op, compare(number, n->number));
    }
    return order(n->op, compare_text(text, n->value, exact));
}

static bool test_number(const struct query_node *n, double v) {
    if (n->op == OP_HAS && str_eqc(n->value, "*")) {
        return true;
    }
    return n->is_number && order(n->op, compare(v, n->number));
}

static bool test_severity(const struct query_node *n, int severity) {
    if (n->op == OP_MATCH || n->op == OP_NO_MATCH) {
        return test_text(n, severity_word(severity), false);
    }
    if (n->op == OP_HAS && str_eqc(n->value, "*")) {
        return severity > 0;
    }
    return order(n->op, compare(severity, n->severity));
}

static bool test_time(const struct query_node *n, const Google__Protobuf__Timestamp *t) {
    if (!t || !n->is_time) {
        return t && n->op == OP_HAS;
    }
    int cmp = t->seconds != n->sec ? (t->seconds < n->sec ? -1 : 1)
                                   : (t->nanos > n->nanos) - (t->nanos < n->nanos);
    return order(n->op, cmp);
}

static bool test_struct(const struct query_node *n, unsigned at, const Google__Protobuf__Struct *s);

static bool test_value(const struct query_node *n, unsigned at, const Google__Protobuf__Value *v) {
    if (!v) {
        return false;
    }
    switch (v->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        if (at == n->nr_path) { /* a.b:* or text anywhere in it */
            return n->op == OP_HAS && str_eqc(n->value, "*");
        }
        return test_struct(n, at, v->struct_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        for (size_t i = 0; i < v->list_value->n_values; i++) { /* some element */
            if (test_value(n, at, v->list_value->values[i])) {
                return true;
            }
        }
        return false;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return at == n->nr_path && test_text(n, v->string_value, false);
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return at == n->nr_path && test_number(n, v->number_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return at == n->nr_path && test_text(n, v->bool_value ? "true" : "false", false);
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    case _GOOGLE__PROTOBUF__VALUE__KIND__CASE_IS_INT_SIZE:
        break;
    }
    return false;
}

static bool test_struct(const struct query_node *n, unsigned at,
                        const Google__Protobuf__Struct *s) {
    if (at == n->nr_path) {
        return n->op == OP_HAS && str_eqc(n->value, "*") && s->n_fields > 0;
    }
    for (size_t i = 0; i < s->n_fields; i++) {
        if (str_eqc(n->path[at], s->fields[i]->key) && test_value(n, at + 1, s->fields[i]->value)) {
            return true;
        }
    }
    return false;
}

/* ---- text anywhere */

static bool value_has(const Google__Protobuf__Value *v, struct str text) {
    char number[32];
    if (!v) {
        return false;
    }
    switch (v->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return contains(str_of(v->string_value), text);
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        snprintf(number, sizeof(number), "%.15g", v->number_value);
        return contains(str_of(number), text);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        for (size_t i = 0; i < v->struct_value->n_fields; i++) {
            if (value_has(v->struct_value->fields[i]->value, text)) {
                return true;
            }
        }
        return false;
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        for (size_t i = 0; i < v->list_value->n_values; i++) {
            if (value_has(v->list_value->values[i], text)) {
                return true;
            }
        }
        return false;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    case _GOOGLE__PROTOBUF__VALUE__KIND__CASE_IS_INT_SIZE:
        break;
    }
    return false;
}

static bool entry_has(const entry_msg *e, struct str text) {
    if (contains(str_of(e->log_name), text) || contains(str_of(e->insert_id), text) ||
        contains(str_of(e->trace), text) ||
        contains(str_of(severity_word((int)e->severity)), text)) {
        return true;
    }
    if (e->payload_case == GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_TEXT_PAYLOAD &&
        contains(str_of(e->text_payload), text)) {
        return true;
    }
    if (e->payload_case == GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_JSON_PAYLOAD) {
        for (size_t i = 0; i < e->json_payload->n_fields; i++) {
            if (value_has(e->json_payload->fields[i]->value, text)) {
                return true;
            }
        }
    }
    for (size_t i = 0; i < e->n_labels; i++) {
        if (contains(str_of(e->labels[i]->value), text)) {
            return true;
        }
    }
    for (size_t i = 0; e->resource && i < e->resource->n_labels; i++) {
        if (contains(str_of(e->resource->labels[i]->value), text)) {
            return true;
        }
    }
    return false;
}

/* ---- fields */

static bool field(const struct query_node *n, unsigned at, const char *camel, const char *snake) {
    return at < n->nr_path &&
           (str_ieq(n->path[at], str_of(camel)) || (snake && str_eqc(n->path[at], snake)));
}

/* Keys of labels may hold dots: whoever wrote them without quotes means the rest of the path. */
static bool key_is(const struct query_node *n, unsigned at, const char *key) {
    struct str rest = str_of(key);
    for (unsigned i = at; i < n->nr_path; i++) {
        if (!str_starts(rest, n->path[i])) {
            return false;
        }
        rest = str_sub(rest, n->path[i].n, rest.n);
        if (i + 1 < n->nr_path) {
            if (!rest.n || rest.p[0] != '.') {
                return false;
            }
            rest = str_sub(rest, 1, rest.n);
        }
    }
    return rest.n == 0 && at < n->nr_path;
}

static bool test_resource(const struct query_node *n, const Google__Api__MonitoredResource *r) {
    if (!r) {
        return false;
    }
    if (n->nr_path == 2 && field(n, 1, "type", NULL)) {
        return test_text(n, r->type, false);
    }
    for (size_t i = 0; field(n, 1, "labels", NULL) && i < r->n_labels; i++) {
        if (key_is(n, 2, r->labels[i]->key)) {
            return test_text(n, r->labels[i]->value, false);
        }
    }
    return false;
}

static bool test_labels(const struct query_node *n, const entry_msg *e) {
    for (size_t i = 0; i < e->n_labels; i++) {
        if (n->nr_path == 1 && n->op == OP_HAS) { /* labels:key */
            if (contains(str_of(e->labels[i]->key), n->value) || str_eqc(n->value, "*")) {
                return true;
            }
        } else if (key_is(n, 1, e->labels[i]->key)) {
            return test_text(n, e->labels[i]->value, false);
        }
    }
    return false;
}

static bool test_log_name(const struct query_node *n, const char *log) {
    struct query_node id = *n;
    const char *cut = strstr(log, "/logs/");
    if (field(n, 0, "log_id", NULL)) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX); /* ids are given unescaped */
        for (const char *p = cut ? cut + 6 : log; *p; p++) {
            bool slash = strncmp(p, "%2F", 3) == 0 || strncmp(p, "%2f", 3) == 0;
            buf_putc(&b, slash ? '/' : *p);
            p += slash ? 2 : 0;
        }
        return test_text(&id, buf_cstr(&b), false);
    }
    return test_text(n, log, false);
}

/* "requestMethod" and "request_method" are request_method. */
static bool is_named(struct str word, const char *snake) {
    for (; *snake; snake++) {
        if (word.n && *word.p == *snake) {
            word = str_sub(word, 1, word.n);
        } else if (*snake == '_') {
            continue;
        } else if (word.n && *snake >= 'a' && *snake <= 'z' && *word.p == *snake - 32) {
            word = str_sub(word, 1, word.n);
        } else {
            return false;
        }
    }
    return word.n == 0;
}

/* "0.5s", or the number alone, are seconds. */
static bool test_duration(const struct query_node *n, const Google__Protobuf__Duration *d) {
    double seconds;
    struct str text = n->value;
    if (n->op == OP_HAS && str_eqc(text, "*")) {
        return true;
    }
    if (text.n && text.p[text.n - 1] == 's') {
        text.n--;
    }
    return str_to_double(text, &seconds) &&
           order(n->op, compare((double)d->seconds + (double)d->nanos / 1e9, seconds));
}

static bool test_member(const struct query_node *n, ProtobufCType type, const void *at) {
    if (type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(char *const *)at;
        return *text && test_text(n, text, false);
    }
    if (type == PROTOBUF_C_TYPE_BOOL) {
        return test_text(n, *(const protobuf_c_boolean *)at ? "true" : "false", false);
    }
    if (type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *m = *(const ProtobufCMessage *const *)at;
        return m && m->descriptor == &google__protobuf__duration__descriptor &&
               test_duration(n, (const Google__Protobuf__Duration *)m);
    }
    double number = type == PROTOBUF_C_TYPE_INT64   ? (double)*(const int64_t *)at
                    : type == PROTOBUF_C_TYPE_INT32 ? *(const int32_t *)at
                                                    : 0;
    return number != 0 && test_number(n, number);
}

/* A field of a part of the entry that is a message: httpRequest.status and its kin. Texts and
 * numbers that are not set are not there. */
static bool test_message(const struct query_node *n, const ProtobufCMessage *m) {
    if (!m || n->nr_path < 2) {
        return m && n->op == OP_HAS && str_eqc(n->value, "*");
    }
    for (unsigned i = 0; n->nr_path == 2 && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (is_named(n->path[1], f->name)) {
            return test_member(n, f->type, (const char *)m + f->offset);
        }
    }
    return false;
}

static bool is_part(const struct query_node *n, const entry_msg *e, const ProtobufCMessage **ret) {
    if (field(n, 0, "sourceLocation", "source_location")) {
        *ret = e->source_location ? &e->source_location->base : NULL;
    } else if (field(n, 0, "httpRequest", "http_request")) {
        *ret = e->http_request ? &e->http_request->base : NULL;
    } else if (field(n, 0, "operation", NULL)) {
        *ret = e->operation ? &e->operation->base : NULL;
    } else if (field(n, 0, "split", NULL)) {
        *ret = e->split ? &e->split->base : NULL;
    } else {
        return false;
    }
    return true;
}

static bool test(const struct query_node *n, const entry_msg *e) {
    if (n->op == OP_TEXT) {
        return entry_has(e, n->value);
    }
    const ProtobufCMessage *part;
    if (is_part(n, e, &part)) {
        return test_message(n, part);
    }
    if (n->nr_path > 1) {
        if (field(n, 0, "resource", NULL)) {
            return test_resource(n, e->resource);
        }
        if (field(n, 0, "jsonPayload", "json_payload")) {
            return e->payload_case == GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_JSON_PAYLOAD &&
                   test_struct(n, 1, e->json_payload);
        }
        return field(n, 0, "labels", NULL) && test_labels(n, e);
    }
    if (field(n, 0, "severity", NULL)) {
        return test_severity(n, (int)e->severity);
    }
    if (field(n, 0, "timestamp", NULL)) {
        return test_time(n, e->timestamp);
    }
    if (field(n, 0, "receiveTimestamp", "receive_timestamp")) {
        return test_time(n, e->receive_timestamp);
    }
    if (field(n, 0, "insertId", "insert_id")) {
        return test_text(n, e->insert_id, true);
    }
    if (field(n, 0, "logName", "log_name") || field(n, 0, "log_id", NULL)) {
        return test_log_name(n, e->log_name);
    }
    if (field(n, 0, "textPayload", "text_payload")) {
        return e->payload_case == GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_TEXT_PAYLOAD &&
               test_text(n, e->text_payload, false);
    }
    if (field(n, 0, "jsonPayload", "json_payload")) { /* jsonPayload:text */
        if (e->payload_case != GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_JSON_PAYLOAD ||
            n->op != OP_HAS) {
            return false;
        }
        for (size_t i = 0; i < e->json_payload->n_fields; i++) {
            if (str_eqc(n->value, "*") || value_has(e->json_payload->fields[i]->value, n->value)) {
                return true;
            }
        }
        return false;
    }
    if (field(n, 0, "trace", NULL) && e->trace[0]) {
        return test_text(n, e->trace, false);
    }
    if (field(n, 0, "spanId", "span_id") && e->span_id[0]) {
        return test_text(n, e->span_id, false);
    }
    if (field(n, 0, "traceSampled", "trace_sampled")) {
        return test_text(n, e->trace_sampled ? "true" : "false", false);
    }
    return field(n, 0, "labels", NULL) && test_labels(n, e);
}

static bool matches(const struct query_node *n, const entry_msg *e) {
    switch (n->kind) {
    case Q_AND:
        return matches(n->l, e) && matches(n->r, e);
    case Q_OR:
        return matches(n->l, e) || matches(n->r, e);
    case Q_NOT:
        return !matches(n->l, e);
    case Q_TEST:
        break;
    }
    return test(n, e);
}

bool query_matches(const struct query *q, const entry_msg *e) {
    return !q || !q->root || matches(q->root, e);
}

/* ---- scope */

struct scope {
    struct arena *a;
    usec_t from, to;
    bool any_job;
    VEC_OF(struct str) jobs;
    struct str task;
};

static bool is_path(const struct query_node *n, const char *a, const char *b, const char *c) {
    const char *want[] = {a, b, c};
    for (unsigned i = 0; i < 3; i++) {
        if (want[i] ? !field(n, i, want[i], NULL) : n->nr_path > i) {
            return false;
        }
    }
    return true;
}

/* ml.googleapis.com/job_id as a label, quoted or not. */
static bool is_job_label(const struct query_node *n) {
    return field(n, 0, "labels", NULL) && key_is(n, 1, "ml.googleapis.com/job_id");
}

static void scope_test(struct scope *s, const struct query_node *n) {
    if (is_path(n, "timestamp", NULL, NULL) && n->is_time) {
        usec_t t = (usec_t)n->sec * USEC_PER_SEC + (usec_t)n->nanos / 1000;
        if (n->op == OP_GT || n->op == OP_GE || n->op == OP_EQ) {
            s->from = t;
        }
        if (n->op == OP_LT || n->op == OP_LE || n->op == OP_EQ) {
            s->to = t;
        }
    } else if (n->op == OP_EQ && (is_path(n, "resource", "labels", "job_id") || is_job_label(n))) {
        s->any_job = false;
        vec_push(&s->jobs, n->value);
    } else if (n->op == OP_EQ && is_path(n, "resource", "labels", "task_name")) {
        s->task = n->value;
    }
}

static bool in_jobs(const struct scope *s, struct str job) {
    for (size_t i = 0; i < s->jobs.n; i++) {
        if (str_eq(s->jobs.p[i], job)) {
            return true;
        }
    }
    return false;
}

static void scope_of(const struct query_node *n, struct scope *ret);

static void scope_both(const struct query_node *n, struct scope *ret) {
    struct scope l = {.a = ret->a}, r = {.a = ret->a};
    bool is_and = n->kind == Q_AND;
    scope_of(n->l, &l);
    scope_of(n->r, &r);
    ret->from = (l.from > r.from) == is_and ? l.from : r.from;
    ret->to = (l.to < r.to) == is_and ? l.to : r.to;
    ret->any_job = is_and ? l.any_job && r.any_job : l.any_job || r.any_job;
    if (is_and) {
        ret->task = l.task.p ? l.task : r.task;
    } else if (l.task.p && r.task.p && str_eq(l.task, r.task)) {
        ret->task = l.task;
    }
    for (size_t i = 0; !ret->any_job && i < l.jobs.n; i++) {
        if (!l.any_job && (!is_and || r.any_job || in_jobs(&r, l.jobs.p[i]))) {
            vec_push(&ret->jobs, l.jobs.p[i]);
        }
    }
    for (size_t i = 0; !ret->any_job && i < r.jobs.n; i++) {
        if (!r.any_job && (!is_and || l.any_job) && !in_jobs(ret, r.jobs.p[i])) {
            vec_push(&ret->jobs, r.jobs.p[i]);
        }
    }
    vec_fini(&l.jobs);
    vec_fini(&r.jobs);
}

static void scope_of(const struct query_node *n, struct scope *ret) {
    *ret = (struct scope){.a = ret->a, .to = UINT64_MAX, .any_job = true};
    if (n->kind == Q_TEST) {
        scope_test(ret, n);
    } else if (n->kind == Q_AND || n->kind == Q_OR) {
        scope_both(n, ret);
    }
}

void query_get_scope(const struct query *q, struct arena *a, struct query_scope *ret) {
    struct scope s = {.a = a, .to = UINT64_MAX, .any_job = true};
    if (q && q->root) {
        scope_of(q->root, &s);
    }
    struct str *jobs = arena_own_array(a, s.jobs.n + 1, sizeof(*jobs));
    for (size_t i = 0; i < s.jobs.n; i++) {
        jobs[i] = s.jobs.p[i];
    }
    *ret = (struct query_scope){.from = s.from,
                                .to = s.to,
                                .jobs = jobs,
                                .nr_jobs = s.jobs.n,
                                .any_job = s.any_job,
                                .task = s.task};
    vec_fini(&s.jobs);
}
