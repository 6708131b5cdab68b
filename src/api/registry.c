/* Routes of the registry, and the parts that all its requests share. */
#include "api/error.h"
#include "api/registry_int.h"
#include "base/enc.h"
#include "base/jw.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LANE_THREADS 4

/* ---- answers */

static const struct {
    const char *word;
    int status;
} words[] = {
    {"BLOB_UNKNOWN", 404},
    {"BLOB_UPLOAD_UNKNOWN", 404},
    {"BLOB_UPLOAD_INVALID", 409},
    {"DIGEST_INVALID", 400},
    {"MANIFEST_BLOB_UNKNOWN", 404},
    {"MANIFEST_INVALID", 400},
    {"MANIFEST_UNKNOWN", 404},
    {"NAME_INVALID", 400},
    {"NAME_UNKNOWN", 404},
    {"SIZE_INVALID", 400},
    {"TAG_INVALID", 400},
    {"UNSUPPORTED", 405},
    {"DENIED", 403},
    {"UNAUTHORIZED", 401},
    {"TOOMANYREQUESTS", 429},
    {"RANGE_INVALID", 416},
    {"PAGINATION_NUMBER_INVALID", 400},
};

static int status_of(const struct err *err) {
    for (size_t i = 0; i < NR_OF(words); i++) {
        if (strcmp(err->field, words[i].word) == 0) {
            return err->code == ERR_RESOURCE_EXHAUSTED && words[i].status != 429 ? 413
                                                                                 : words[i].status;
        }
    }
    /* A full disk: 507, as nobody tries again at once for it. */
    return err->code == ERR_RESOURCE_EXHAUSTED ? 507 : err_code_http(err->code);
}

void reg_free(struct reg_call *c) {
    mem_auto_close(&c->fd);
    buf_fini(&c->pending);
    buf_fini(&c->writing);
    arena_free(c->a);
    xch_unref(c->x);
    free(c);
}

void reg_header(struct reg_call *c, const char *name, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    CHECK(c->nr_h < REG_HEADERS_MAX && n >= 0);
    c->h[c->nr_h++] = (struct header){str_of(name), str_of(arena_strdup(c->a, text))};
}

void reg_reply(struct reg_call *c, int status, struct str body) {
    xch_reply(c->x, status, c->h, c->nr_h, body);
    reg_free(c);
}

static void write_error(struct buf *b, const struct err *err) {
    struct jw w;
    bool is_known = false;
    for (size_t i = 0; i < NR_OF(words); i++) {
        is_known = is_known || strcmp(err->field, words[i].word) == 0;
    }
    jw_init(&w, b, 0);
    jw_object(&w);
    jw_key(&w, "errors");
    jw_array(&w);
    jw_object(&w);
    jw_kv(&w, "code", is_known ? err->field : "UNKNOWN");
    jw_kv(&w, "message",
          api_error_is_private(err->code) ? "the server failed; its log says why" : err->msg);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
}

void reg_fail(struct reg_call *c) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    write_error(&b, &c->err);
    reg_header(c, "content-type", "application/json");
    reg_reply(c, status_of(&c->err), buf_str(&b));
}

void reg_no_method(struct reg_call *c, const char *allowed) {
    struct str path = xch_head(c->x)->path;
    (void)err_field(&c->err, ERR_UNIMPLEMENTED, "UNSUPPORTED", "%.*s is not possible at %.*s: %s",
                    STR_ARG(str_sub(c->method, 0, 32)), STR_ARG(str_sub(path, 0, 300)), allowed);
    reg_header(c, "allow", "%s", allowed);
    reg_fail(c);
}

/* ---- to a lane and back */

static void run(struct lane_work *w) {
    struct reg_call *c = CONTAINER_OF(w, struct reg_call, work);
    c->block(c);
}

static void done(struct lane_work *w) {
    struct reg_call *c = CONTAINER_OF(w, struct reg_call, work);
    if (w->cancelled) {
        (void)err_set(&c->err, ERR_UNAVAILABLE, "the server is stopping");
    }
    c->done(c);
}

void reg_submit(struct reg_call *c, void (*block)(struct reg_call *),
                void (*then)(struct reg_call *)) {
    c->block = block;
    c->done = then;
    c->work = (struct lane_work){.run = run, .done = done};
    lane_submit(c->g->lane, &c->work);
}

bool reg_query(struct reg_call *c, const char *key, struct str *ret) {
    struct str rest = xch_head(c->x)->query;
    *ret = (struct str){0};
    while (rest.p != NULL) {
        struct str value = str_cut(&rest, '&');
        struct str k = str_cut(&value, '=');
        if (str_eqc(k, key)) {
            if (!enc_unpercent(c->a, value, true, ret)) {
                (void)err_field(&c->err, ERR_INVALID_ARGUMENT, "UNSUPPORTED",
                                "query parameter %s is malformed", key);
                return false;
            }
            return true;
        }
    }
    return true;
}

/* ---- routes */

/* Cuts the last segment off *path. */
static struct str cut_last(struct str *path) {
    const char *slash = path->n > 0 ? memrchr(path->p, '/', path->n) : NULL;
    struct str last = *path;
    if (slash == NULL) {
        *path = (struct str){0};
        return last;
    }
    size_t i = (size_t)(slash - path->p);
    last = str_sub(*path, i + 1, path->n);
    *path = str_sub(*path, 0, i);
    return last;
}

/* path: what follows "/v2/". NULL: not ours. */
static void (*route(struct str path, struct str *ret_repo,
                    struct str *ret_reference))(struct reg_call *) {
    if (str_ends(path, STR("/blobs/uploads/"))) {
        path.n--; /* with and without the slash at the end */
    }
    struct str last = cut_last(&path);
    struct str kind = cut_last(&path);
    *ret_reference = last;
    *ret_repo = path;
    if (str_eqc(kind, "manifests")) {
        return reg_manifest;
    }
    if (str_eqc(kind, "blobs")) {
        return str_eqc(last, "uploads") ? reg_upload_start : reg_blob;
    }
    if (str_eqc(kind, "tags") && str_eqc(last, "list")) {
        return reg_tags;
    }
    if (str_eqc(kind, "referrers")) {
        return reg_referrers;
    }
    struct str before = path;
    if (str_eqc(kind, "uploads") && str_eqc(cut_last(&before), "blobs")) {
        *ret_repo = before;
        return reg_upload;
    }
    return NULL;
}

static void reg_ping(struct reg_call *c) {
    if (!str_eqc(c->method, "GET") && !c->is_head) {
        reg_no_method(c, "GET, HEAD");
        return;
    }
    reg_header(c, "content-type", "application/json");
    reg_header(c, "docker-distribution-api-version", "registry/2.0");
    reg_reply(c, 200, STR("{}"));
}

static struct reg_call *call_new(struct api_registry *g, struct xch *x) {
    struct reg_call *c = xcalloc(1, sizeof(*c));
    c->g = g;
    c->x = xch_ref(x);
    c->a = arena_new(ARENA_NO_MAX);
    c->fd = -1;
    c->method = arena_str(c->a, xch_head(x)->method);
    c->is_head = str_eqc(c->method, "HEAD");
    return c;
}

/* repo.p stays NULL where the path names none. NULL: not ours. */
static void (*handler(struct str path, struct str *repo,
                      struct str *reference))(struct reg_call *) {
    if (str_eqc(path, "/v2") || str_eqc(path, "/v2/")) {
        return reg_ping;
    }
    if (str_eqc(path, "/v2/_catalog")) {
        return reg_catalog;
    }
    return str_starts(path, STR("/v2/")) ? route(str_sub(path, 4, path.n), repo, reference) : NULL;
}

bool api_registry_refuse(struct xch *x, const struct err *err) {
    struct str repo = {0}, reference = {0};
    if (handler(xch_head(x)->path, &repo, &reference) == NULL) {
        return false;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct err e;
    bool is_401 = err->code == ERR_UNAUTHENTICATED;
    /* Any name and password will do, and so will none. */
    static const struct header h[] = {{STR("content-type"), STR("application/json")},
                                      {STR("www-authenticate"), STR("Basic realm=\"cusp\"")}};
    (void)err_field(&e, err->code, is_401 ? "UNAUTHORIZED" : "DENIED", "%s", err->msg);
    write_error(&b, &e);
    xch_reply(x, is_401 ? 401 : 403, h, is_401 ? 2 : 1, buf_str(&b));
    return true;
}

bool api_registry_handle(struct api_registry *g, struct xch *x) {
    struct str repo = {0}, reference = {0};
    void (*fn)(struct reg_call *) = handler(xch_head(x)->path, &repo, &reference);
    if (fn == NULL) {
        return false;
    }
    struct reg_call *c = call_new(g, x);
    if (fn != reg_ping && fn != reg_catalog) {
        if (!enc_unpercent(c->a, repo, false, &c->repo) ||
            !enc_unpercent(c->a, reference, false, &c->reference)) {
            (void)err_field(&c->err, ERR_INVALID_ARGUMENT, "NAME_INVALID",
                            "path \"%.*s\" is malformed: a %% begins two hexadecimal digits",
                            STR_ARG(str_sub(xch_head(x)->path, 0, 300)));
        } else {
            (void)registry_check_repo(c->repo, &c->err);
        }
        if (c->err.code != ERR_OK) {
            reg_fail(c);
            return true;
        }
    }
    fn(c);
    return true;
}

struct api_registry *api_registry_new(struct loop *loop, struct image_store *store) {
    struct api_registry *g = xcalloc(1, sizeof(*g));
    g->store = store;
    g->lane = lane_new(loop, "registry", LANE_THREADS);
    g->unpack = lane_new(loop, "unpack", 1);
    return g;
}

void api_registry_free(struct api_registry *g) {
    if (g != NULL) {
        lane_close(g->lane);
        lane_close(g->unpack);
        free(g);
    }
}
