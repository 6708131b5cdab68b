/* Routes of the Cloud Storage API: which path and method is whose. */
#include "api/gcs_int.h"

#include "base/enc.h"
#include "base/limits.h"

struct api_gcs *api_gcs_new(struct blob *b, struct store *st, const char *data_dir) {
    struct api_gcs *g = xcalloc(1, sizeof(*g));
    g->blob = b;
    g->store = st;
    g->data_dir = data_dir;
    return g;
}

void api_gcs_enable_retry_tests(struct api_gcs *g, struct loop *l) {
    g->retry = gcs_retry_new(l);
}

void api_gcs_free(struct api_gcs *g) {
    gcs_retry_free(g->retry);
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

void gcs_answer_err(struct gcs_call *c, const struct err *err) {
    if (c->is_xml) {
        gcs_xml_err(c, err);
    } else {
        gcs_reply_err(c->x, err);
    }
}

void gcs_fail(struct gcs_call *c, const struct err *err) {
    gcs_answer_err(c, err);
    gcs_call_free(c);
}

void gcs_not_built(struct gcs_call *c) {
    struct err err;
    const struct xch_head *h = xch_head(c->x);
    err_set(&err, ERR_UNIMPLEMENTED, "%.*s %.*s of the Cloud Storage API is not implemented here.",
            STR_ARG(h->method), (int)(h->path.n > 300 ? 300 : h->path.n), h->path.p);
    gcs_fail(c, &err);
}

struct gcs_call *gcs_call_of(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = r->arg;
    if (err) {
        gcs_fail(c, err);
        return NULL;
    }
    return c;
}

static void edit_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct gcs_call *c = arg;
    if (why) {
        gcs_fail(c, why);
        return;
    }
    c->body = body;
    c->start(c->g->blob, &c->req);
}

void gcs_edit(struct gcs_call *c, int (*edit)(struct blob_req *, struct err *),
              void (*cb)(struct blob_req *, const struct err *),
              void (*start)(struct blob *, struct blob_req *)) {
    c->req.edit = edit;
    c->req.cb = cb;
    c->start = start;
    xch_collect_plain(c->x, limits.max_object_metadata, edit_body, c);
}

void gcs_gone_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        gcs_reply_empty(c->x, 204);
        gcs_call_free(c);
    }
}

int gcs_page(struct gcs_call *c, struct err *err) {
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

int gcs_unpercent(struct gcs_call *c, struct str raw, struct str *ret, struct err *err) {
    if (!enc_unpercent(c->a, raw, false, ret)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "Malformed escape in the path");
    }
    return 0;
}

/* ---- routes ---- */

enum door {
    DOOR_NONE,
    DOOR_PLAIN,
    DOOR_UPLOAD,
    DOOR_DOWNLOAD,
    DOOR_PROJECT,
    DOOR_BATCH,
    DOOR_OTHER
};

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
        {"/storage/v1/projects", DOOR_PROJECT},
        {"/batch/storage/v1", DOOR_BATCH},
        {"/batch", DOOR_BATCH},
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
    return str_starts(path, STR("/storage/v1/")) ? DOOR_OTHER : DOOR_NONE;
}

/* Java's HTTP library cannot say PATCH and tunnels it through POST. */
static struct str method_of(const struct xch *x) {
    struct str override = xch_header(x, "x-http-method-override");
    return str_eqc(xch_head(x)->method, "POST") && override.n ? override : xch_head(x)->method;
}

/* "/o", "/o/NAME" and what hangs on it. */
static void route_objects(struct gcs_call *c, enum door door, struct str method, struct str raw) {
    struct err err;
    if (!raw.p || raw.n == 0) {
        if (door == DOOR_UPLOAD) {
            gcs_upload(c);
        } else {
            gcs_objects(c, method);
        }
        return;
    }
    if (door == DOOR_PLAIN && gcs_object_verb(c, method, raw)) {
        return;
    }
    if (gcs_unpercent(c, raw, &c->name, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    if (door == DOOR_DOWNLOAD) {
        c->q.alt = STR("media");
    }
    gcs_object(c, method);
}

static void route(struct gcs_call *c, enum door door, struct str rest) {
    const struct xch_head *h = xch_head(c->x);
    struct str method = method_of(c->x);
    struct err err;
    if (c->g->retry && gcs_retry_intercept(c->g->retry, c->x, method, h->path, false, &c->fault)) {
        gcs_call_free(c);
        return;
    }
    if (gcs_parse_query(c->a, h->query, &c->q, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    if (door == DOOR_BATCH && str_eqc(method, "POST")) {
        gcs_batch(c);
        return;
    }
    if (door == DOOR_BATCH || door == DOOR_OTHER) {
        gcs_not_built(c);
        return;
    }
    rest = rest.n ? str_sub(rest, 1, rest.n) : rest;
    if (door == DOOR_PROJECT) {
        gcs_project(c, method, rest);
        return;
    }
    if (rest.n == 0) {
        gcs_buckets(c, method);
        return;
    }
    struct str tail = rest;
    if (gcs_unpercent(c, str_cut(&tail, '/'), &c->bucket, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    struct str raw_name = tail;
    if (tail.p && str_eqc(str_cut(&raw_name, '/'), "o")) {
        route_objects(c, door, method, raw_name);
    } else {
        gcs_bucket(c, method, tail);
    }
}

bool api_gcs_handle(struct api_gcs *g, struct xch *x) {
    struct str rest = STR("");
    if (g->retry && gcs_retry_handle(g->retry, x)) {
        return true;
    }
    enum door door = find_door(xch_head(x)->path, &rest);
    if (door == DOOR_NONE) {
        return false;
    }
    route(gcs_call_new(g, x), door, rest);
    return true;
}
