/* google.logging.v2, reading: entries, names of logs, resource types (reference 23). */
#include "api/svc_logging.h"

#include "api/names.h"
#include "api/svc.h"
#include "base/enc.h"
#include "base/limits.h"
#include "logs/written.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define PAGE_DEFAULT 50u
#define TOKEN_MAX 1024u
#define TAG_BYTES 16

typedef Google__Logging__V2__ListLogEntriesRequest list_req;

/* ---- whose logs */

int log_scope_parse(struct call *c, struct arena *a, const char *name, const char *field,
                    struct log_scope *ret, struct str *ret_log, struct err *err) {
    struct str rest = str_of(name), none = {NULL, 0};
    struct str first = str_cut(&rest, '/');
    struct str project = str_cut(&rest, '/');
    if (!str_eqc(first, "projects") || !name_is_project(project) || str_of(name).n > 600) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "\"%.200s\" is not a project's name: expected projects/PROJECT", name);
    }
    bool is_log = str_starts(rest, STR("logs/")) && rest.n > 5;
    if (ret_log) {
        *ret_log = is_log ? str_sub(rest, 5, rest.n) : none;
    }
    if (ret_log ? !is_log : rest.n && !str_starts(rest, STR("locations/"))) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         ret_log ? "\"%.200s\" is not a log's name: expected "
                                   "projects/PROJECT/logs/LOG, with slashes in LOG as %%2F"
                                 : "\"%.200s\" is neither a project nor a view of one",
                         name);
    }
    for (size_t i = 0; ret_log && i < ret_log->n; i++) {
        char ch = ret_log->p[i];
        bool fine = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                    (ch >= '0' && ch <= '9') || strchr("_-.%", ch);
        if (!fine || ret_log->n >= 512) {
            return err_field(err, ERR_INVALID_ARGUMENT, field,
                             "A log's id has up to 511 letters, digits and _ - . with %%2F for a "
                             "slash: \"%.200s\"",
                             name);
        }
    }
    ret->project = projects_number(c->api->projects, project);
    char *id = projects_id(c->api->projects, a, ret->project);
    ret->id = str_of(id ? id : "");
    return 0;
}

int log_scopes_of(struct call *c, struct arena *a, char *const *names, size_t nr,
                  struct log_scope **ret, size_t *ret_nr, struct err *err) {
    if (!nr || nr > LOG_SCOPES_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "resource_names",
                         nr ? "resource_names has more than %u names"
                            : "resource_names is empty: name at least one project",
                         LOG_SCOPES_MAX);
    }
    struct log_scope *all = arena_own_array(a, nr, sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < nr; i++) {
        bool is_there = false;
        if (log_scope_parse(c, a, names[i], "resource_names", &all[n], NULL, err)) {
            return -1;
        }
        for (size_t k = 0; k < n; k++) {
            is_there = is_there || all[k].project == all[n].project;
        }
        n += !is_there;
    }
    *ret = all;
    *ret_nr = n;
    return 0;
}

/* ---- page tokens: base64url(position || tag); the tag binds the list they belong to */

static void sign(const struct call *c, const struct log_search *s, struct str filter,
                 struct str payload, uint8_t tag[TAG_BYTES]) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    uint8_t full[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    enc_varint(&b, s->nr_scopes);
    for (size_t i = 0; i < s->nr_scopes; i++) {
        enc_varint(&b, s->scopes[i].project);
    }
    enc_varint(&b, s->descending);
    enc_varint(&b, filter.n);
    (void)buf_put_str(&b, filter);
    (void)buf_put_str(&b, payload);
    CHECK(HMAC(EVP_sha256(), logs_page_key(c->api->logs), LOGS_KEY_BYTES, (const uint8_t *)b.p, b.n,
               full, &n));
    memcpy(tag, full, TAG_BYTES);
}

static char *token_make(struct call *c, const struct log_search *s, struct str filter) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX), text = BUF_INIT(BUF_NO_MAX);
    uint8_t tag[TAG_BYTES];
    enc_varint(&b, (uint64_t)s->last.sec);
    enc_varint(&b, (uint64_t)s->last.nanos);
    (void)buf_puts(&b, s->last.insert_id);
    sign(c, s, filter, buf_str(&b), tag);
    (void)buf_put(&b, tag, sizeof(tag));
    enc_base64url(&text, b.p, b.n);
    return arena_strdup(c->arena, buf_cstr(&text));
}

static int token_open(struct call *c, struct log_search *s, struct str filter, struct str token,
                      struct err *err) {
    auto_buf struct buf b = BUF_INIT(TOKEN_MAX);
    uint8_t tag[TAG_BYTES];
    uint64_t sec, nanos;
    if (token.n <= TOKEN_MAX && enc_unbase64(token, &b) && b.n > TAG_BYTES) {
        struct str payload = str_sub(buf_str(&b), 0, b.n - TAG_BYTES), rest = payload;
        sign(c, s, filter, payload, tag);
        if (CRYPTO_memcmp(tag, b.p + payload.n, TAG_BYTES) == 0 && enc_unvarint(&rest, &sec) &&
            enc_unvarint(&rest, &nanos) && rest.n <= INSERT_ID_MAX) {
            s->after.sec = (int64_t)sec;
            s->after.nanos = (int32_t)nanos;
            memcpy(s->after.insert_id, rest.p, rest.n);
            s->after.insert_id[rest.n] = 0;
            s->has_after = true;
            return 0;
        }
    }
    return err_field(err, ERR_INVALID_ARGUMENT, "page_token",
                     "page_token is not one that this list gave out: the other parameters must be "
                     "those of the request before");
}

/* ---- entries:list */

struct listing {
    struct log_search search;
    struct call *call;
    struct query *query;
    struct str filter;
};

static void on_entries(struct log_search *s, const struct err *err) {
    struct listing *l = CONTAINER_OF(s, struct listing, search);
    struct call *c = l->call;
    query_close(l->query);
    if (err) {
        call_fail(c, err);
        return;
    }
    Google__Logging__V2__ListLogEntriesResponse resp =
        GOOGLE__LOGGING__V2__LIST_LOG_ENTRIES_RESPONSE__INIT;
    resp.entries = s->entries;
    resp.n_entries = s->nr_entries;
    if (s->more) {
        resp.next_page_token = token_make(c, s, l->filter);
    }
    c->json.fixed_times = true; /* clients compare them as texts */
    call_reply(c, &resp.base);
}

static int order_of(const char *text, bool *ret_descending, struct err *err) {
    struct str s = str_trim(str_of(text));
    *ret_descending = str_ieq(s, STR("timestamp desc"));
    if (*ret_descending || !s.n || str_ieq(s, STR("timestamp asc")) ||
        str_ieq(s, STR("timestamp"))) {
        return 0;
    }
    return err_field(err, ERR_INVALID_ARGUMENT, "order_by",
                     "order_by is \"timestamp asc\" or \"timestamp desc\", not \"%.100s\"", text);
}

void svc_logging_list(struct call *c) {
    const list_req *req = (const list_req *)c->req;
    struct listing *l = arena_own(c->arena, sizeof(*l));
    struct log_scope *scopes;
    struct err err;
    l->call = c;
    l->filter = str_of(req->filter);
    if (log_scopes_of(c, c->arena, req->resource_names, req->n_resource_names, &scopes,
                      &l->search.nr_scopes, &err) ||
        order_of(req->order_by, &l->search.descending, &err)) {
        call_fail(c, &err);
        return;
    }
    unsigned max = (unsigned)(limits.max_page_size < 1000 ? limits.max_page_size : 1000);
    l->search.page_size = req->page_size <= 0              ? PAGE_DEFAULT
                          : (unsigned)req->page_size > max ? max
                                                           : (unsigned)req->page_size;
    l->search.scopes = scopes;
    if ((req->page_token[0] &&
         token_open(c, &l->search, l->filter, str_of(req->page_token), &err)) ||
        query_parse(c->arena, l->filter, &l->query, &err)) {
        call_fail(c, &err);
        return;
    }
    l->search.query = l->query;
    l->search.arena = c->arena;
    l->search.cb = on_entries;
    log_search_start(c->api->logs, &l->search);
}

/* ---- names of logs */

struct naming {
    struct log_names names;
    struct call *call;
    struct log_scope scope;
    const char *after;
    unsigned page_size;
};

static void on_names(struct log_names *n, const struct err *err) {
    struct naming *l = CONTAINER_OF(n, struct naming, names);
    struct call *c = l->call;
    if (err) {
        call_fail(c, err);
        return;
    }
    Google__Logging__V2__ListLogsResponse resp = GOOGLE__LOGGING__V2__LIST_LOGS_RESPONSE__INIT;
    resp.log_names = arena_own_array(c->arena, l->page_size, sizeof(*resp.log_names));
    for (size_t i = 0; i < n->nr_ids; i++) {
        char *name = arena_printf(c->arena, "projects/%.*s/logs/%.*s", STR_ARG(l->scope.id),
                                  STR_ARG(n->ids[i]));
        if (!name || strcmp(name, l->after) <= 0) { /* a token is the last name that was sent */
            continue;
        }
        if (resp.n_log_names == l->page_size) {
            resp.next_page_token = resp.log_names[resp.n_log_names - 1];
            break;
        }
        resp.log_names[resp.n_log_names++] = name;
    }
    call_reply(c, &resp.base);
}

void svc_logging_logs(struct call *c) {
    const Google__Logging__V2__ListLogsRequest *req =
        (const Google__Logging__V2__ListLogsRequest *)c->req;
    struct naming *l = arena_own(c->arena, sizeof(*l));
    struct err err;
    if (log_scope_parse(c, c->arena, req->parent, "parent", &l->scope, NULL, &err)) {
        call_fail(c, &err);
        return;
    }
    l->call = c;
    l->after = req->page_token;
    l->page_size = req->page_size > 0 && req->page_size < 1000 ? (unsigned)req->page_size : 1000;
    l->names.project = l->scope.project;
    l->names.arena = c->arena;
    l->names.cb = on_names;
    log_names_start(c->api->logs, &l->names);
}

struct deletion {
    struct log_delete del;
    struct call *call;
};

static void on_deleted(struct log_delete *d, const struct err *err) {
    struct call *c = CONTAINER_OF(d, struct deletion, del)->call;
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    if (err) {
        call_fail(c, err);
    } else {
        call_reply(c, &empty.base);
    }
}

void svc_logging_delete(struct call *c) {
    const Google__Logging__V2__DeleteLogRequest *req =
        (const Google__Logging__V2__DeleteLogRequest *)c->req;
    struct deletion *d = arena_own(c->arena, sizeof(*d));
    struct log_scope scope;
    struct err err;
    if (log_scope_parse(c, c->arena, req->log_name, "log_name", &scope, &d->del.log_id, &err)) {
        call_fail(c, &err);
        return;
    }
    d->call = c;
    d->del.project = scope.project;
    d->del.log_id = arena_str(c->arena, d->del.log_id);
    d->del.cb = on_deleted;
    log_delete_start(c->api->logs, &d->del);
}

/* ---- resource types: the two that entries here have */

static void describe(struct call *c, Google__Api__MonitoredResourceDescriptor *d, const char *type,
                     const char *name, const char *const *labels, size_t nr) {
    google__api__monitored_resource_descriptor__init(d);
    d->type = arena_strdup(c->arena, type);
    d->display_name = arena_strdup(c->arena, name);
    d->labels = arena_own_array(c->arena, nr, sizeof(*d->labels));
    for (size_t i = 0; i < nr; i++) {
        Google__Api__LabelDescriptor *l = arena_own(c->arena, sizeof(*l));
        google__api__label_descriptor__init(l);
        l->key = arena_strdup(c->arena, labels[i]);
        d->labels[d->n_labels++] = l;
    }
}

void svc_logging_resources(struct call *c) {
    static const char *const job[] = {"project_id", "job_id", "task_name"};
    Google__Logging__V2__ListMonitoredResourceDescriptorsResponse resp =
        GOOGLE__LOGGING__V2__LIST_MONITORED_RESOURCE_DESCRIPTORS_RESPONSE__INIT;
    Google__Api__MonitoredResourceDescriptor all[2], *list[] = {&all[0], &all[1]};
    describe(c, &all[0], "global", "Global", job, 1);
    describe(c, &all[1], "ml_job", "Vertex AI Job", job, NR_OF(job));
    resp.resource_descriptors = list;
    resp.n_resource_descriptors = NR_OF(list);
    call_reply(c, &resp.base);
}
