/* Matching of request paths and binding of their parts. */
#include "api/route.h"

#include "base/enc.h"
#include "pb/pbinfo.h"

/* ---- matching ---- */

struct search {
    struct str seg[ROUTE_SEGMENTS_MAX];
    size_t n;
    struct str method, verb;
    struct route_match *ret;
};

static void add_allowed(struct route_match *ret, const char *method) {
    size_t n = strlen(ret->allow);
    ret->path_known = true;
    if (!strstr(ret->allow, method)) { /* no method's name is part of another's */
        snprintf(ret->allow + n, sizeof(ret->allow) - n, "%s%s", n ? ", " : "", method);
    }
}

static uint16_t child(const struct route_node *node, struct str seg) {
    size_t lo = node->lit, hi = lo + node->n_lit;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(seg, str_n(route_lits[mid].seg, route_lits[mid].len));
        if (c == 0) {
            return route_lits[mid].node;
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return 0;
}

/* Depth first, literal before wildcard; as deep as the templates are long. */
static const struct route *walk(struct search *s, uint16_t at, size_t i) {
    const struct route_node *node = &route_nodes[at];
    if (i == s->n) {
        for (unsigned t = node->term; t < (unsigned)node->term + node->n_term; t++) {
            const struct route *r = &route_table[route_terms[t]];
            if (!str_eqc(s->verb, r->verb)) {
                continue;
            }
            if (str_eqc(s->method, r->method)) {
                return r;
            }
            add_allowed(s->ret, r->method);
        }
        return NULL;
    }
    uint16_t next = child(node, s->seg[i]);
    const struct route *found = next ? walk(s, next, i + 1) : NULL;
    if (!found && node->star) {
        found = walk(s, node->star, i + 1);
    }
    return found;
}

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* google.api.http: in a variable of several segments "%2F" stays as it is, so that a slash inside a
 * segment is not mistaken for a border. */
static int decode_var(const struct search *s, const struct route_var *v, struct arena *a,
                      struct str *ret, struct err *err) {
    size_t max = v->n;
    for (size_t i = v->first; i < (size_t)v->first + v->n; i++) {
        max += s->seg[i].n;
    }
    char *out = arena_alloc(a, max + 1), *o = out;
    if (!out) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "Request needs more memory than allowed");
    }
    for (size_t i = v->first; i < (size_t)v->first + v->n; i++) {
        struct str seg = s->seg[i];
        if (i > v->first) {
            *o++ = '/';
        }
        for (size_t k = 0; k < seg.n; k++) {
            if (seg.p[k] != '%') {
                *o++ = seg.p[k];
                continue;
            }
            int hi = k + 2 < seg.n ? hex(seg.p[k + 1]) : -1;
            int lo = hi >= 0 ? hex(seg.p[k + 2]) : -1;
            int c = hi * 16 + lo;
            if (hi < 0 || lo < 0 || c == 0) {
                return err_field(err, ERR_INVALID_ARGUMENT, v->path,
                                 "Invalid percent-encoding in the request path");
            }
            if (c == '/' && v->n > 1) {
                memcpy(o, seg.p + k, 3);
                o += 3;
            } else {
                *o++ = (char)c;
            }
            k += 2;
        }
    }
    *ret = str_n(out, (size_t)(o - out));
    if (!str_is_utf8(*ret)) {
        return err_field(err, ERR_INVALID_ARGUMENT, v->path, "The request path is not valid UTF-8");
    }
    return 0;
}

static const struct route *unknown(struct str path, struct err *err) {
    (void)err_set(err, ERR_NOT_FOUND, "The requested URL %.*s was not found on this server.",
                  (int)(path.n < 200 ? path.n : 200), path.p ? path.p : "");
    return NULL;
}

const struct route *route_match(struct str method, struct str path, struct arena *a,
                                struct route_match *ret, struct err *err) {
    struct search s = {.method = method, .ret = ret};
    struct str rest = path, prefix = {0};
    uint16_t root = ROUTE_ROOT_V1;
    *ret = (struct route_match){0};
    while (rest.p) {
        struct str seg = str_cut(&rest, '/');
        if (!seg.n) {
            continue;
        }
        if (!prefix.n) {
            prefix = seg;
        } else if (s.n == ROUTE_SEGMENTS_MAX) {
            return unknown(path, err);
        } else {
            s.seg[s.n++] = seg;
        }
    }
    if (str_eq(prefix, STR("v1"))) {
        ret->prefix = ROUTE_PREFIX_V1;
    } else if (str_eq(prefix, STR("ui"))) {
        ret->prefix = ROUTE_PREFIX_UI;
    } else if (str_eq(prefix, STR("v1beta1"))) {
        ret->prefix = ROUTE_PREFIX_V1BETA1;
        root = ROUTE_ROOT_BETA;
    } else if (str_eq(prefix, STR("v2"))) {
        ret->prefix = ROUTE_PREFIX_V2;
        root = ROUTE_ROOT_V2;
    } else if (str_eq(prefix, STR("v3"))) {
        ret->prefix = ROUTE_PREFIX_V3;
        root = ROUTE_ROOT_V3;
    }
    if (ret->prefix == ROUTE_PREFIX_NONE || !s.n) {
        return unknown(path, err);
    }

    /* What follows the last colon is a verb if some template has it, else part of the name. */
    const struct route *found = NULL;
    struct str *last = &s.seg[s.n - 1], whole = *last;
    for (size_t i = whole.n; i > 1 && !found; i--) {
        if (whole.p[i - 1] == ':') {
            *last = str_n(whole.p, i - 1);
            s.verb = str_sub(whole, i, whole.n);
            found = s.verb.n ? walk(&s, root, 0) : NULL;
            break;
        }
    }
    if (!found && !ret->path_known) {
        *last = whole;
        s.verb = (struct str){0};
        found = walk(&s, root, 0);
    }
    if (!found && ret->path_known) {
        (void)err_set(err, ERR_NOT_FOUND, "Method %.*s is not allowed for %.*s; allowed: %s",
                      (int)(method.n < 20 ? method.n : 20), method.p ? method.p : "",
                      (int)(path.n < 200 ? path.n : 200), path.p ? path.p : "", ret->allow);
        return NULL;
    }
    if (!found) {
        return unknown(path, err);
    }
    CHECK(found->n_vars <= ROUTE_VARS_MAX);
    for (unsigned i = 0; i < found->n_vars; i++) {
        if (decode_var(&s, &found->vars[i], a, &ret->vars[i], err)) {
            return NULL;
        }
    }
    return found;
}

/* ---- query parameters ---- */

enum std_param {
    STD_NONE = 0,
    STD_ALT,
    STD_PRETTY,
    STD_FIELDS,
    STD_CALLBACK,
    STD_KEY,
    STD_TOKEN,
    STD_QUOTA_USER,
    STD_ERROR_FORM,
    STD_IGNORED
};

/* cloud.google.com/apis/docs/system-parameters: the names a message could have too exist with and
 * without '$', the later ones only with it. */
static enum std_param std_param(struct str name) {
    static const struct {
        const char *name;
        enum std_param which;
    } known[] = {
        {"alt", STD_ALT},
        {"prettyPrint", STD_PRETTY},
        {"pp", STD_PRETTY},
        {"fields", STD_FIELDS},
        {"callback", STD_CALLBACK},
        {"key", STD_KEY},
        {"access_token", STD_TOKEN},
        {"oauth_token", STD_TOKEN},
        {"bearer_token", STD_TOKEN},
        {"quotaUser", STD_QUOTA_USER},
        {"uploadType", STD_IGNORED},
        {"upload_protocol", STD_IGNORED},
        {"userIp", STD_IGNORED},
        {"trace", STD_IGNORED},
    };
    static const struct {
        const char *name;
        enum std_param which;
    } dollar_only[] = {
        {".xgafv", STD_ERROR_FORM},      {"apiKey", STD_KEY},
        {"apiVersion", STD_IGNORED},     {"userProject", STD_IGNORED},
        {"outputDefaults", STD_IGNORED}, {"unique", STD_IGNORED},
    };
    bool is_dollar = name.n && name.p[0] == '$';
    if (is_dollar) {
        name = str_sub(name, 1, name.n);
    }
    for (size_t i = 0; is_dollar && i < NR_OF(dollar_only); i++) {
        if (str_eqc(name, dollar_only[i].name)) {
            return dollar_only[i].which;
        }
    }
    for (size_t i = 0; i < NR_OF(known); i++) {
        if (str_eqc(name, known[i].name)) {
            return known[i].which;
        }
    }
    return STD_NONE;
}

struct query_iter {
    struct str rest;
    size_t n;
    struct arena *a;
    struct str name, value;
};

/* 1 with a parameter, 0 at the end, -1 with *err. */
static int query_next(struct query_iter *q, struct err *err) {
    while (q->rest.p) {
        struct str value = str_cut(&q->rest, '&');
        if (!value.n) {
            continue;
        }
        struct str name = str_cut(&value, '=');
        if (++q->n > ROUTE_QUERY_MAX) {
            return err_set(err, ERR_INVALID_ARGUMENT, "More than %d query parameters",
                           ROUTE_QUERY_MAX);
        }
        if (!enc_unpercent(q->a, name, true, &q->name) ||
            !enc_unpercent(q->a, value, true, &q->value)) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "Invalid percent-encoding in the query string");
        }
        return 1;
    }
    return 0;
}

static int set_alt(struct str value, struct std_params *ret, struct err *err) {
    struct str rest = value;
    struct str form = str_cut(&rest, ';');
    if (form.n && !str_ieq(form, STR("json"))) {
        return err_field(err, ERR_INVALID_ARGUMENT, "alt", "Unsupported output format: %.*s",
                         (int)(value.n < 100 ? value.n : 100), value.p);
    }
    while (rest.p) {
        struct str one = str_trim(str_cut(&rest, ';'));
        if (str_eq(one, STR("enum-encoding=int"))) {
            ret->enum_ints = true;
        }
    }
    return 0;
}

int route_std_params(struct str query, struct arena *a, struct std_params *ret, struct err *err) {
    struct query_iter q = {.rest = query, .a = a};
    int rc;
    *ret = (struct std_params){0};
    while ((rc = query_next(&q, err)) > 0) {
        switch (std_param(q.name)) {
        case STD_ALT:
            if (set_alt(q.value, ret, err)) {
                return -1;
            }
            break;
        case STD_PRETTY:
            ret->is_compact = str_ieq(q.value, STR("false")) || str_eq(q.value, STR("0"));
            break;
        case STD_FIELDS:
            ret->fields = q.value;
            break;
        case STD_CALLBACK:
            ret->callback = q.value;
            break;
        case STD_KEY:
            ret->key = q.value;
            break;
        case STD_TOKEN:
            ret->access_token = q.value;
            break;
        case STD_QUOTA_USER:
            ret->quota_user = q.value;
            break;
        case STD_ERROR_FORM:
            ret->old_errors = str_eqc(q.value, "1");
            break;
        case STD_NONE:
        case STD_IGNORED:
        default:
            break;
        }
    }
    return rc;
}

/* ---- the request message ---- */

static bool is_blank(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (!strchr(" \t\r\n", s.p[i]) || !s.p[i]) {
            return false;
        }
    }
    return true;
}

static ProtobufCMessage **field_slot(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    return (ProtobufCMessage **)((char *)m + f->offset);
}

static int decode_body(const struct route *route, enum pb_version version, struct str body,
                       struct arena *a, ProtobufCMessage **ret, struct violations *vs,
                       struct err *err) {
    const ProtobufCMessageDescriptor *d = route->rpc->input;
    int i =
        *route->body && strcmp(route->body, "*") != 0 ? pb_field_find(d, str_of(route->body)) : -1;
    if (is_blank(body)) {
        body = (struct str){0};
    }
    if (i < 0) { /* "*"; a body where none is expected is held to the same names */
        return pb_from_json(a, d, version, body, "", ret, vs, err);
    }
    const ProtobufCFieldDescriptor *f = &d->fields[i];
    ProtobufCMessage *m = pb_new(a, d), *sub = NULL;
    if (!m) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "Request needs more memory than allowed");
    }
    CHECK(f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED &&
          !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF));
    if (pb_from_json(a, f->descriptor, version, body, f->name, &sub, vs, err)) {
        return -1;
    }
    *field_slot(m, f) = sub;
    *ret = m;
    return 0;
}

int route_decode(const struct route *route, const struct route_match *match, struct str query,
                 struct str body, struct arena *a, ProtobufCMessage **ret, struct violations *vs,
                 struct err *err) {
    enum pb_version version = match->prefix == ROUTE_PREFIX_V1BETA1 ? PB_V1BETA1 : PB_V1;
    struct err e = {0};
    size_t before = vs->n;
    ProtobufCMessage *m = NULL;
    struct query_iter q = {.rest = query, .a = a};
    int rc;
    if (!route->rpc->input) {
        return err_set(err, ERR_UNIMPLEMENTED,
                       "Operation is not implemented, or supported, or enabled.");
    }
    if (decode_body(route, version, body, a, &m, vs, &e)) {
        if (vs->n == before) { /* not JSON at all, or out of memory */
            return err_set(err, e.code, "%s", e.msg);
        }
        m = pb_new(a, route->rpc->input); /* go on, to report everything at once */
        if (!m) {
            return err_set(err, ERR_RESOURCE_EXHAUSTED, "Request needs more memory than allowed");
        }
    }
    while ((rc = query_next(&q, err)) > 0) {
        if (std_param(q.name) != STD_NONE) {
            continue;
        }
        size_t n = vs->n;
        if (pb_set_from_text(a, m, version, q.name, q.value, vs, NULL, &e) && vs->n == n) {
            return err_set(err, e.code, "%s", e.msg);
        }
    }
    if (rc) {
        return -1;
    }
    for (unsigned i = 0; i < route->n_vars; i++) {
        size_t n = vs->n;
        if (pb_set_from_text(a, m, version, str_of(route->vars[i].path), match->vars[i], vs, NULL,
                             &e) &&
            vs->n == n) {
            return err_set(err, e.code, "%s", e.msg);
        }
    }
    if (vs->n > before) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        violations_plain_text(vs, &b);
        return err_field(err, ERR_INVALID_ARGUMENT, vs->v[before].field.p, "%s", buf_cstr(&b));
    }
    *ret = m;
    return 0;
}
