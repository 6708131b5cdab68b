/* Buckets: insert, list, get, patch, delete, their IAM policy and the small things that hang on
 * them (reference 21 §1, §2). */
#include "api/gcs_int.h"

#include "base/enc.h"
#include "base/jw.h"
#include "base/limits.h"
#include "base/project.h"

#include <jansson.h>

static void reply(struct gcs_call *c, struct buf *b) {
    gcs_reply_json(c->x, 200, b);
    gcs_call_free(c);
}

static void reply_kind(struct gcs_call *c, const char *kind) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b, "{\"kind\":\"%s\"}", kind);
    reply(c, &b);
}

/* ---- /b ---- */

static void bucket_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err && err->code == ERR_FAILED_PRECONDITION && strstr(err->field, "NotMatch") &&
        str_eqc(xch_head(c->x)->method, "GET")) {
        gcs_reply_empty(c->x, 304);
        gcs_call_free(c);
        return;
    }
    if (!gcs_call_of(r, err)) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    gcs_put_bucket(&b, c->x, r->bucket_info);
    reply(c, &b);
}

static void insert_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct gcs_call *c = arg;
    struct err err;
    struct blob_bucket k = {0};
    if (why) {
        gcs_fail(c, why);
        return;
    }
    if (gcs_parse_bucket(c->a, body, &k, &err) < 0 || blob_check_bucket_name(k.name, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    if (!c->q.project.n) {
        err_field(&err, ERR_INVALID_ARGUMENT, "project", "Required parameter: project");
        gcs_fail(c, &err);
        return;
    }
    char *upper = arena_strndup(c->a, k.location.p ? k.location.p : "", k.location.n);
    for (size_t i = 0; upper && i < k.location.n; i++) {
        upper[i] = (char)(upper[i] >= 'a' && upper[i] <= 'z' ? upper[i] - 'a' + 'A' : upper[i]);
    }
    c->req.bucket = k.name;
    c->req.location = str_n(upper, upper ? k.location.n : 0);
    c->req.storage_class = k.storage_class;
    c->req.doc = k.doc;
    c->req.project = project_number(c->q.project);
    c->req.cb = bucket_out;
    blob_bucket_create(c->g->blob, &c->req);
}

static void list_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_buckets(&b, c->x, r);
        reply(c, &b);
    }
}

void gcs_buckets(struct gcs_call *c, struct str method) {
    struct err err;
    if (str_eqc(method, "POST")) {
        xch_collect_plain(c->x, limits.max_object_metadata, insert_body, c);
        return;
    }
    if (!str_eqc(method, "GET")) {
        gcs_not_built(c);
        return;
    }
    if (gcs_page(c, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    c->req.project = c->q.project.n ? project_number(c->q.project) : 0;
    c->req.prefix = c->q.prefix;
    c->req.cb = list_out;
    blob_bucket_list(c->g->blob, &c->req);
}

/* ---- one bucket ---- */

static int edit_doc(struct blob_req *r, struct err *err) {
    struct gcs_call *c = r->arg;
    return gcs_edit_bucket(r->arena, c->body, c->is_update, r->bucket_info, err);
}

static void layout_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (!c) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_kv(&w, "kind", "storage#storageLayout");
    jw_key(&w, "bucket");
    jw_str(&w, r->bucket_info->name);
    jw_key(&w, "location");
    jw_str(&w, r->bucket_info->location);
    jw_kv(&w, "locationType",
          str_chr(r->bucket_info->location, '-') >= 0 ? "region" : "multi-region");
    jw_key(&w, "hierarchicalNamespace");
    jw_object(&w);
    jw_key(&w, "enabled");
    jw_bool(&w, false);
    jw_end_object(&w);
    jw_end_object(&w);
    reply(c, &b);
}

/* ---- IAM: the policy is kept for whoever reads it back; nothing is decided by it yet ---- */

static void policy_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (!c) {
        return;
    }
    const struct blob_bucket *k = r->bucket_info;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX), etag = BUF_INIT(64);
    json_t *policy = gcs_load_doc(k->policy);
    enc_base64(&etag, &k->metageneration, sizeof(k->metageneration));
    json_object_set_new(policy, "kind", json_string("storage#policy"));
    json_object_set_new(policy, "resourceId",
                        json_sprintf("projects/_/buckets/%.*s", STR_ARG(k->name)));
    json_object_set_new(policy, "etag", json_string(buf_cstr(&etag)));
    if (!json_object_get(policy, "version")) {
        json_object_set_new(policy, "version", json_integer(1));
    }
    if (!json_object_get(policy, "bindings")) {
        json_object_set_new(policy, "bindings", json_array());
    }
    char *text = json_dumps(policy, JSON_COMPACT);
    buf_puts(&b, text);
    free(text);
    json_decref(policy);
    reply(c, &b);
}

static int edit_policy(struct blob_req *r, struct err *err) {
    struct gcs_call *c = r->arg;
    json_t *policy;
    if (gcs_load_json(c->body, &policy, err) < 0) {
        return -1;
    }
    const json_t *bindings = json_object_get(policy, "bindings"), *etag;
    auto_buf struct buf now = BUF_INIT(64);
    enc_base64(&now, &r->bucket_info->metageneration, sizeof(r->bucket_info->metageneration));
    etag = json_object_get(policy, "etag");
    int result = 0;
    if (bindings && !json_is_array(bindings)) {
        result = err_field(err, ERR_INVALID_ARGUMENT, "bindings",
                           "Invalid value for bindings: must be a list");
    } else if (json_is_string(etag) && json_string_length(etag) &&
               strcmp(json_string_value(etag), buf_cstr(&now)) != 0) {
        result = err_field(err, ERR_FAILED_PRECONDITION, "etag",
                           "The policy was changed since it was read (etag).");
    } else {
        char *text = json_dumps(policy, JSON_COMPACT);
        r->bucket_info->policy = arena_str(r->arena, str_of(text));
        free(text);
    }
    json_decref(policy);
    return result;
}

/* Whoever may speak to us may do everything, so far. */
static void permissions_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (!c) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    struct str query = c->q.raw;
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_kv(&w, "kind", "storage#testIamPermissionsResponse");
    jw_key(&w, "permissions");
    jw_array(&w);
    while (query.p && query.n) {
        struct str value = str_cut(&query, '&'), permission;
        struct str key = str_cut(&value, '=');
        if (str_eqc(key, "permissions") && enc_unpercent(c->a, value, true, &permission)) {
            jw_str(&w, permission);
        }
    }
    jw_end_array(&w);
    jw_end_object(&w);
    reply(c, &b);
}

static void no_acl(struct gcs_call *c) {
    struct err err;
    err_set(
        &err, ERR_INVALID_ARGUMENT,
        "Cannot use ACL API to update bucket policy when uniform bucket-level access is enabled. "
        "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access");
    gcs_fail(c, &err);
}

static void read_then(struct gcs_call *c, void (*cb)(struct blob_req *, const struct err *)) {
    c->req.cb = cb;
    blob_bucket_get(c->g->blob, &c->req);
}

static void folders_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        reply_kind(c, "storage#managedFolders");
    }
}

void gcs_bucket(struct gcs_call *c, struct str method, struct str tail) {
    bool is_get = str_eqc(method, "GET"), is_put = str_eqc(method, "PUT");
    c->req.bucket = c->bucket;
    c->req.pre = c->q.pre;
    if (tail.n == 0 && is_get) {
        read_then(c, bucket_out);
    } else if (tail.n == 0 && str_eqc(method, "DELETE")) {
        c->req.cb = gcs_gone_out;
        blob_bucket_delete(c->g->blob, &c->req);
    } else if (tail.n == 0 && (is_put || str_eqc(method, "PATCH"))) {
        c->is_update = is_put;
        gcs_edit(c, edit_doc, bucket_out, blob_bucket_edit);
    } else if (is_get && str_eqc(tail, "storageLayout")) {
        read_then(c, layout_out);
    } else if (is_get && str_eqc(tail, "iam")) {
        read_then(c, policy_out);
    } else if (is_put && str_eqc(tail, "iam")) {
        gcs_edit(c, edit_policy, policy_out, blob_bucket_edit);
    } else if (is_get && str_eqc(tail, "iam/testPermissions")) {
        read_then(c, permissions_out);
    } else if (c->g->retry && str_eqc(method, "POST") && str_eqc(tail, "lockRetentionPolicy")) {
        gcs_edit(c, gcs_lock_retention, bucket_out, blob_bucket_edit);
    } else if (gcs_notifications(c, method, tail)) {
        return;
    } else if (is_get && (str_eqc(tail, "managedFolders") || str_eqc(tail, "folders"))) {
        read_then(c, folders_out);
    } else if (str_starts(tail, STR("acl")) || str_starts(tail, STR("defaultObjectAcl"))) {
        no_acl(c);
    } else {
        gcs_not_built(c);
    }
}

/* ---- /projects ---- */

void gcs_project(struct gcs_call *c, struct str method, struct str rest) {
    struct str tail = rest, project;
    struct err err;
    if (gcs_unpercent(c, str_cut(&tail, '/'), &project, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    if (str_eqc(method, "GET") && str_eqc(tail, "serviceAccount")) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        buf_printf(&b,
                   "{\"kind\":\"storage#serviceAccount\",\"email_address\":\"service-%llu@"
                   "gs-project-accounts.iam.gserviceaccount.com\"}",
                   (unsigned long long)project_number(project));
        reply(c, &b);
        return;
    }
    struct str id = tail;
    if (str_eqc(str_cut(&id, '/'), "hmacKeys") &&
        gcs_unpercent(c, id.p ? id : STR(""), &id, &err) == 0) {
        gcs_hmac_keys(c, method, project, id);
        return;
    }
    gcs_not_built(c);
}
