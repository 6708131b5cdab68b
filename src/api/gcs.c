/* Routes of the Cloud Storage API, buckets, and the small object calls. */
#include "api/gcs_int.h"

#include "base/enc.h"
#include "base/jw.h"
#include "base/limits.h"
#include "base/project.h"

struct api_gcs *api_gcs_new(struct blob *b) {
    struct api_gcs *g = xcalloc(1, sizeof(*g));
    g->blob = b;
    return g;
}

void api_gcs_free(struct api_gcs *g) {
    free(g);
}

struct gcs_call *gcs_call_new(struct api_gcs *g, struct xch *x) {
    struct gcs_call *c = xcalloc(1, sizeof(*c));
    c->g = g;
    c->x = xch_ref(x);
    c->a = xch_arena(x);
    blob_req_init(&c->req);
    c->req.arg = c;
    return c;
}

void gcs_call_free(struct gcs_call *c) {
    blob_req_fini(&c->req);
    xch_unref(c->x);
    free(c);
}

static void fail(struct gcs_call *c, const struct err *err) {
    gcs_reply_err(c->x, err);
    gcs_call_free(c);
}

static void not_built(struct gcs_call *c) {
    struct err err;
    const struct xch_head *h = xch_head(c->x);
    err_set(&err, ERR_UNIMPLEMENTED, "%.*s %.*s of the Cloud Storage API is not implemented here.",
            STR_ARG(h->method), (int)(h->path.n > 300 ? 300 : h->path.n), h->path.p);
    fail(c, &err);
}

static struct gcs_call *call_of(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err) {
        fail(c, err);
        return NULL;
    }
    return c;
}

static int page(struct gcs_call *c, struct err *err) {
    uint64_t max = limits.max_page_size;
    auto_buf struct buf raw = BUF_INIT(4096);
    if (c->q.max_results.n && (!str_to_u64(c->q.max_results, &max) || max == 0)) {
        return err_field(
            err, ERR_INVALID_ARGUMENT, "maxResults", "Invalid value for maxResults: '%.*s'",
            (int)(c->q.max_results.n > 100 ? 100 : c->q.max_results.n), c->q.max_results.p);
    }
    c->req.max = (unsigned)(max < limits.max_page_size ? max : limits.max_page_size);
    if (c->q.page_token.n) {
        if (!enc_unbase64(c->q.page_token, &raw) || raw.n == 0) {
            return err_field(err, ERR_INVALID_ARGUMENT, "pageToken", "Invalid page token");
        }
        c->req.page_token = blob_req_str(&c->req, buf_str(&raw));
    }
    return 0;
}

/* ---- buckets ---- */

static void bucket_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_bucket(&b, c->x, r->bucket_info);
        gcs_reply_json(c->x, 200, &b);
        gcs_call_free(c);
    }
}

static void bucket_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct gcs_call *c = arg;
    struct err err;
    struct str name = {0}, location = {0}, class = {0};
    if (why) {
        fail(c, why);
        return;
    }
    if (gcs_parse_bucket(c->a, body, &name, &location, &class, &err) < 0 ||
        blob_check_bucket_name(name, &err) < 0) {
        fail(c, &err);
        return;
    }
    if (!c->q.project.n) {
        err_field(&err, ERR_INVALID_ARGUMENT, "project", "Required parameter: project");
        fail(c, &err);
        return;
    }
    char *upper = arena_strndup(c->a, location.p ? location.p : "", location.n);
    for (size_t i = 0; upper && i < location.n; i++) {
        upper[i] = (char)(upper[i] >= 'a' && upper[i] <= 'z' ? upper[i] - 'a' + 'A' : upper[i]);
    }
    c->req.bucket = name;
    c->req.location = str_n(upper, upper ? location.n : 0);
    c->req.storage_class = class;
    c->req.project = project_number(c->q.project);
    c->req.cb = bucket_out;
    blob_bucket_create(c->g->blob, &c->req);
}

static void buckets_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_buckets(&b, c->x, r);
        gcs_reply_json(c->x, 200, &b);
        gcs_call_free(c);
    }
}

static void layout_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = call_of(r, err);
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
    gcs_reply_json(c->x, 200, &b);
    gcs_call_free(c);
}

static void gone_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = call_of(r, err);
    if (c) {
        gcs_reply_empty(c->x, 204);
        gcs_call_free(c);
    }
}

static void on_buckets(struct gcs_call *c, struct str method) {
    struct err err;
    if (str_eqc(method, "POST")) {
        xch_collect_body(c->x, limits.max_object_metadata, bucket_body, c);
        return;
    }
    if (!str_eqc(method, "GET")) {
        not_built(c);
        return;
    }
    if (page(c, &err) < 0) {
        fail(c, &err);
        return;
    }
    c->req.project = c->q.project.n ? project_number(c->q.project) : 0;
    c->req.prefix = c->q.prefix;
    c->req.cb = buckets_out;
    blob_bucket_list(c->g->blob, &c->req);
}

static void patch_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct gcs_call *c = arg;
    if (why) {
        fail(c, why);
        return;
    }
    /* Nothing of a bucket that can be patched changes how we serve it: answer it as it is. */
    c->req.cb = bucket_out;
    blob_bucket_get(c->g->blob, &c->req);
}

static void on_bucket(struct gcs_call *c, struct str method, bool is_layout) {
    c->req.bucket = c->bucket;
    if (str_eqc(method, "GET")) {
        c->req.cb = is_layout ? layout_out : bucket_out;
        blob_bucket_get(c->g->blob, &c->req);
    } else if (str_eqc(method, "DELETE") && !is_layout) {
        c->req.cb = gone_out;
        blob_bucket_delete(c->g->blob, &c->req);
    } else if (str_eqc(method, "PATCH") && !is_layout) {
        xch_collect_body(c->x, limits.max_object_metadata, patch_body, c);
    } else {
        not_built(c);
    }
}

/* ---- objects ---- */

static void list_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_list(&b, c->x, r);
        gcs_reply_json(c->x, 200, &b);
        gcs_call_free(c);
    }
}

static void on_objects(struct gcs_call *c, struct str method) {
    struct err err;
    if (str_eqc(method, "POST")) { /* some clients leave /upload out for media */
        gcs_upload(c);
        return;
    }
    if (!str_eqc(method, "GET")) {
        not_built(c);
        return;
    }
    if (page(c, &err) < 0) {
        fail(c, &err);
        return;
    }
    c->req.bucket = c->bucket;
    c->req.prefix = c->q.prefix;
    c->req.delimiter = c->q.delimiter;
    c->req.start_offset = c->q.start_offset;
    c->req.end_offset = c->q.end_offset;
    c->req.cb = list_out;
    blob_object_list(c->g->blob, &c->req);
}

static void on_object(struct gcs_call *c, struct str method) {
    struct err err;
    c->req.bucket = c->bucket;
    c->req.name = c->name;
    c->req.pre = c->q.pre;
    if (c->q.generation.n && !str_to_u64(c->q.generation, &c->req.generation)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "generation", "Invalid generation: '%.*s'",
                  (int)(c->q.generation.n > 50 ? 50 : c->q.generation.n), c->q.generation.p);
        fail(c, &err);
        return;
    }
    if (str_eqc(method, "GET") || str_eqc(method, "HEAD")) {
        gcs_download(c);
    } else if (str_eqc(method, "DELETE")) {
        c->req.cb = gone_out;
        blob_object_delete(c->g->blob, &c->req);
    } else {
        not_built(c);
    }
}

/* ---- routes ---- */

enum door { DOOR_NONE, DOOR_PLAIN, DOOR_UPLOAD, DOOR_DOWNLOAD, DOOR_BATCH };

/* Which family the path belongs to; *rest is what follows "/b" ("" or "/..."). */
static enum door find_door(struct str path, struct str *rest) {
    static const struct {
        const char *prefix;
        enum door door;
    } doors[] = {
        {"/upload/storage/v1/b", DOOR_UPLOAD},
        {"/resumable/upload/storage/v1/b", DOOR_UPLOAD},
        {"/download/storage/v1/b", DOOR_DOWNLOAD},
        {"/storage/v1/b", DOOR_PLAIN},
        {"/upload/b", DOOR_UPLOAD},
        {"/download/b", DOOR_DOWNLOAD},
        {"/b", DOOR_PLAIN},
    };
    for (size_t i = 0; i < NR_OF(doors); i++) {
        struct str p = str_of(doors[i].prefix);
        if (str_starts(path, p) && (path.n == p.n || path.p[p.n] == '/')) {
            *rest = str_sub(path, p.n, path.n);
            return doors[i].door;
        }
    }
    return str_starts(path, STR("/storage/v1/")) || str_starts(path, STR("/batch/storage/v1"))
               ? DOOR_BATCH
               : DOOR_NONE;
}

static void route(struct gcs_call *c, enum door door, struct str rest) {
    const struct xch_head *h = xch_head(c->x);
    struct err err;
    if (gcs_parse_query(c->a, h->query, &c->q, &err) < 0) {
        fail(c, &err);
        return;
    }
    if (door == DOOR_BATCH) {
        not_built(c);
        return;
    }
    rest = rest.n ? str_sub(rest, 1, rest.n) : rest;
    if (rest.n == 0) {
        on_buckets(c, h->method);
        return;
    }
    struct str tail = rest;
    struct str raw_bucket = str_cut(&tail, '/');
    if (!enc_unpercent(c->a, raw_bucket, false, &c->bucket)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "Malformed escape in the path");
        fail(c, &err);
        return;
    }
    if (!tail.p || tail.n == 0) {
        on_bucket(c, h->method, false);
        return;
    }
    if (str_eqc(tail, "storageLayout")) {
        on_bucket(c, h->method, true);
        return;
    }
    struct str raw_name = tail;
    struct str what = str_cut(&raw_name, '/');
    if (!str_eqc(what, "o")) {
        not_built(c);
        return;
    }
    if (!raw_name.p || raw_name.n == 0) {
        if (door == DOOR_UPLOAD) {
            gcs_upload(c);
        } else {
            on_objects(c, h->method);
        }
        return;
    }
    if (!enc_unpercent(c->a, raw_name, false, &c->name)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "Malformed escape in the path");
        fail(c, &err);
        return;
    }
    if (door == DOOR_DOWNLOAD) {
        c->q.alt = STR("media");
    }
    if (str_eqc(h->method, "POST") || str_eqc(h->method, "PUT")) {
        not_built(c); /* copyTo, rewriteTo, moveTo, compose, update */
        return;
    }
    on_object(c, h->method);
}

bool api_gcs_handle(struct api_gcs *g, struct xch *x) {
    struct str rest = STR("");
    enum door door = find_door(xch_head(x)->path, &rest);
    if (door == DOOR_NONE) {
        return false;
    }
    route(gcs_call_new(g, x), door, rest);
    return true;
}
