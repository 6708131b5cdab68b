/* Images over HTTP. An upload is written to a spool file by the disk lane, one piece at a time;
 * credit is given back as pieces reach the disk, so a fast client waits for a slow disk and never
 * fills memory. Then the same lane imports the file. Every request is one struct image_request in
 * its exchange's arena, holding a reference until it has answered. */
#include "api/images_int.h"

#include "api/cusp_path.h"
#include "base/limits.h"
#include "engine/image/image.h"
#include "sys/files.h"
#include "sys/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#define PREFIX "/cusp/v1/images"
#define UPLOAD_WINDOW ((uint64_t)1 << 20) /* unacknowledged body bytes in memory */
#define PATH_BODY_MAX ((uint64_t)1 << 20)
#define CONFIG_MAX_ITEMS 1024
#define LIST_MAX ((size_t)16 << 20)

struct image_request {
    struct lane_work work; /* first the spooling, then the blocking call */
    struct api_images *im;
    struct xch *x;
    void (*block)(struct image_request *); /* lane thread */
    struct err err;
    /* upload */
    char *spool;
    int fd;
    struct buf pending, writing;
    bool busy, ended, counted;
    /* import */
    const char *path, *name;
    struct image_config config;
    struct image image;
    /* list, remove */
    struct image *list;
    size_t nr_list;
    const char **in_use;
    struct image_prune prune;
    struct arena *arena; /* the lane's own while it works: an exchange's arena is the loop's */
};

/* ---- answers */

static void put_strings(struct jw *w, const char *key, const char **v) {
    if (v[0] == NULL) {
        return;
    }
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; v[i] != NULL; i++) {
        jw_cstr(w, v[i]);
    }
    jw_end_array(w);
}

void images_put(struct jw *w, const struct image *img) {
    auto_buf struct buf created = BUF_INIT(64);
    int64_t layers = 0;
    while (img->layers[layers] != NULL) {
        layers++;
    }
    time_format_rfc3339(&created, img->created);
    jw_object(w);
    jw_kv(w, "name", img->ref);
    jw_kv(w, "digest", img->digest);
    jw_key(w, "layers");
    jw_i64(w, layers);
    jw_kv_u64_string(w, "sizeBytes", img->size_bytes);
    jw_kv(w, "created", buf_cstr(&created));
    put_strings(w, "entrypoint", img->entrypoint);
    put_strings(w, "cmd", img->cmd);
    put_strings(w, "env", img->env);
    jw_kv(w, "workdir", img->workdir);
    jw_kv(w, "user", img->user[0] != '\0' ? img->user : NULL);
    jw_end_object(w);
}

/* The end of every request: answers (err or json), returns what it holds. */
static void finish(struct image_request *r, struct str json) {
    struct api_images *im = r->im;
    if (r->fd >= 0) {
        (void)close(r->fd);
    }
    if (r->spool != NULL) {
        (void)unlink(r->spool);
    }
    if (r->counted) {
        im->importing--;
    }
    if (r->err.code != ERR_OK) {
        reply_error(r->x, &r->err);
    } else {
        reply_json(r->x, 200, json);
    }
    buf_fini(&r->pending);
    buf_fini(&r->writing);
    arena_free(r->arena);
    r->arena = NULL;
    xch_unref(r->x);
}

static struct image_request *request_new(struct api_images *im, struct xch *x) {
    struct image_request *r = arena_alloc(xch_arena(x), sizeof(*r));
    if (r == NULL) {
        struct err err = {0};
        (void)err_set(&err, ERR_RESOURCE_EXHAUSTED, "the request is too large");
        reply_error(x, &err);
        return NULL;
    }
    r->im = im;
    r->x = xch_ref(x);
    r->fd = -1;
    r->arena = arena_new(ARENA_NO_MAX);
    return r;
}

static void lane_run(struct lane_work *w) {
    struct image_request *r = CONTAINER_OF(w, struct image_request, work);
    r->block(r);
}

static void submit(struct image_request *r, void (*block)(struct image_request *),
                   void (*done)(struct lane_work *)) {
    r->block = block;
    r->work = (struct lane_work){.run = lane_run, .done = done};
    lane_submit(r->im->disk, &r->work);
}

static bool was_cancelled(struct image_request *r) {
    if (r->work.cancelled) {
        (void)err_set(&r->err, ERR_UNAVAILABLE, "the server is stopping");
    }
    return r->err.code != ERR_OK;
}

/* ---- list and remove */

static void block_list(struct image_request *r) {
    if (image_list(r->im->store, r->arena, &r->list, &r->nr_list, &r->err) < 0) {
        return; /* r->err says it */
    }
}

static void done_list(struct lane_work *lw) {
    struct image_request *r = CONTAINER_OF(lw, struct image_request, work);
    auto_buf struct buf b = BUF_INIT(LIST_MAX);
    if (!was_cancelled(r)) {
        struct jw w;
        jw_init(&w, &b, 2);
        jw_object(&w);
        jw_key(&w, "images");
        jw_array(&w);
        for (size_t i = 0; i < r->nr_list; i++) {
            images_put(&w, &r->list[i]);
        }
        jw_end_array(&w);
        jw_end_object(&w);
        if (b.full) {
            (void)err_set(&r->err, ERR_RESOURCE_EXHAUSTED, "the list of images is too long");
        }
    }
    finish(r, buf_str(&b));
}

/* ---- one: what a job with that name would be given */

static void block_get(struct image_request *r) {
    r->list = arena_calloc(r->arena, 1, sizeof(*r->list));
    if (image_find(r->im->store, r->arena, r->name, r->list, &r->err) < 0) {
        return;
    }
}

static void done_get(struct lane_work *lw) {
    struct image_request *r = CONTAINER_OF(lw, struct image_request, work);
    auto_buf struct buf b = BUF_INIT(LIST_MAX);
    if (!was_cancelled(r)) {
        struct jw w;
        jw_init(&w, &b, 2);
        images_put(&w, r->list);
    }
    finish(r, buf_str(&b));
}

static bool digest_in_use(void *arg, const char *digest) {
    const struct image_request *r = arg;
    for (size_t i = 0; r->in_use != NULL && r->in_use[i] != NULL; i++) {
        if (strcmp(r->in_use[i], digest) == 0) {
            return true;
        }
    }
    return false;
}

static void block_remove(struct image_request *r) {
    if (image_remove(r->im->store, r->name, digest_in_use, r, &r->err) < 0) {
        return;
    }
}

static void tell_removed(const struct image_request *r) {
    if (r->im->removed != NULL && !r->work.cancelled) {
        r->im->removed(r->im->arg);
    }
}

static void done_remove(struct lane_work *lw) {
    struct image_request *r = CONTAINER_OF(lw, struct image_request, work);
    (void)was_cancelled(r);
    tell_removed(r);
    finish(r, STR("{}"));
}

static void block_prune(struct image_request *r) {
    r->prune = (struct image_prune){.in_use = digest_in_use, .arg = r};
    if (image_prune(r->im->store, &r->prune, &r->err) < 0) {
        return;
    }
}

static void done_prune(struct lane_work *lw) {
    struct image_request *r = CONTAINER_OF(lw, struct image_request, work);
    auto_buf struct buf b = BUF_INIT(LIST_MAX);
    struct jw w;
    (void)was_cancelled(r);
    tell_removed(r);
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_kv_u64_string(&w, "imagesRemoved", r->prune.images);
    jw_kv_u64_string(&w, "layersRemoved", r->prune.layers);
    jw_kv_u64_string(&w, "blobsRemoved", r->prune.blobs);
    jw_kv_u64_string(&w, "bytesFreed", r->prune.bytes);
    jw_end_object(&w);
    finish(r, buf_str(&b));
}

/* ---- import */

static void block_import(struct image_request *r) {
    if (image_import_with(r->im->store, r->path, r->name, &r->config, &r->image, r->arena,
                          &r->err) < 0) {
        return;
    }
}

static void done_import(struct lane_work *lw) {
    struct image_request *r = CONTAINER_OF(lw, struct image_request, work);
    auto_buf struct buf b = BUF_INIT(LIST_MAX);
    if (!was_cancelled(r)) {
        struct jw w;
        jw_init(&w, &b, 2);
        images_put(&w, &r->image);
    }
    finish(r, buf_str(&b));
}

/* Imports take long on a lane that others need too. */
static bool take_turn(struct image_request *r) {
    if (r->im->importing >= limits.image_max_imports) {
        limits_hit(&limits.image_max_imports);
        (void)err_set(
            &r->err, ERR_RESOURCE_EXHAUSTED,
            "%u images are being imported already (limit image_max_imports); try again later",
            r->im->importing);
        return false;
    }
    r->im->importing++;
    r->counted = true;
    return true;
}

/* ---- upload */

static void write_more(struct image_request *r);

static void block_write(struct image_request *r) {
    if (file_write_all(r->fd, buf_str(&r->writing), &r->err) < 0) {
        return;
    }
}

static void upload_step(struct image_request *r) {
    if (r->busy) {
        return;
    }
    if (r->err.code != ERR_OK && r->ended) {
        finish(r, STR(""));
    } else if (r->pending.n > 0 && r->err.code == ERR_OK) {
        write_more(r);
    } else if (r->ended) {
        (void)close(take_fd(&r->fd));
        submit(r, block_import, done_import);
    }
}

static void done_write(struct lane_work *lw) {
    struct image_request *r = CONTAINER_OF(lw, struct image_request, work);
    uint64_t n = r->writing.n;
    r->busy = false;
    buf_clear(&r->writing);
    if (was_cancelled(r) && !r->ended) {
        /* Nobody will read the rest: answer now, the codec deals with the body. */
        r->ended = true;
    } else if (!r->ended) {
        xch_grant(r->x, n);
    }
    upload_step(r);
}

static void write_more(struct image_request *r) {
    struct buf swap = r->writing;
    r->writing = r->pending;
    r->pending = swap;
    r->busy = true;
    submit(r, block_write, done_write);
}

static void on_data(struct xch *x, void *arg, struct str bytes) {
    struct image_request *r = arg;
    if (r->ended) {
        return; /* answered with an error while these were on their way */
    }
    if (buf_put_str(&r->pending, bytes) < 0) {
        (void)err_set(&r->err, ERR_INTERNAL, "more body than was asked for");
        r->ended = true;
    }
    upload_step(r);
}

static void on_end(struct xch *x, void *arg, const struct err *err) {
    struct image_request *r = arg;
    if (r->ended) {
        return;
    }
    r->ended = true;
    if (err != NULL && r->err.code == ERR_OK) {
        r->err = *err;
    }
    upload_step(r);
}

/* ---- reading requests */

/* All values of a repeated query parameter. */
static const char **query_list(struct xch *x, struct arena *a, const char *key, struct err *err) {
    const char **list = arena_calloc(a, CONFIG_MAX_ITEMS + 1, sizeof(*list));
    struct str rest = xch_head(x)->query;
    size_t n = 0;
    while (rest.p != NULL) {
        struct str pair = str_cut(&rest, '&'), value;
        struct str k = str_cut(&pair, '=');
        if (!str_eqc(k, key)) {
            continue;
        }
        if (n == CONFIG_MAX_ITEMS || !enc_unpercent(a, pair, true, &value)) {
            (void)err_field(err, ERR_INVALID_ARGUMENT, key, "query parameter %s is malformed", key);
            return list;
        }
        list[n++] = arena_strndup(a, value.p, value.n);
    }
    return list;
}

static const char *query_one(struct xch *x, struct arena *a, const char *key, struct err *err) {
    const char **v = query_list(x, a, key, err);
    if (v[0] != NULL && v[1] != NULL) {
        (void)err_field(err, ERR_INVALID_ARGUMENT, key, "query parameter %s is given twice", key);
    }
    return v[0];
}

static void handle_upload(struct api_images *im, struct xch *x) {
    static const struct body_sink sink = {.data = on_data, .end = on_end};
    struct image_request *r = request_new(im, x);
    if (r == NULL) {
        return;
    }
    r->name = query_one(x, r->arena, "name", &r->err);
    r->config.entrypoint = query_list(x, r->arena, "entrypoint", &r->err);
    r->config.cmd = query_list(x, r->arena, "cmd", &r->err);
    r->config.env = query_list(x, r->arena, "env", &r->err);
    r->config.workdir = query_one(x, r->arena, "workdir", &r->err);
    r->config.user = query_one(x, r->arena, "user", &r->err);
    if (r->err.code != ERR_OK || !take_turn(r)) {
        finish(r, STR(""));
        return;
    }
    r->spool = arena_printf(r->arena, "%s/upload-XXXXXX", im->spool_dir);
    r->fd = mkostemp(r->spool, O_CLOEXEC);
    if (r->fd < 0) {
        r->spool = NULL;
        (void)err_sys(&r->err, errno, "make a file for the upload");
        finish(r, STR(""));
        return;
    }
    r->path = r->spool;
    buf_init(&r->pending, UPLOAD_WINDOW);
    buf_init(&r->writing, UPLOAD_WINDOW);
    xch_read_body(x, limits.image_max_upload, &sink, r);
    xch_grant(x, UPLOAD_WINDOW);
}

static const char **json_strings(struct arena *a, const json_t *j, const char *key,
                                 struct err *err) {
    const json_t *list = json_object_get(j, key);
    size_t n = json_array_size(list);
    const char **v = arena_calloc(a, n + 1, sizeof(*v));
    if (list != NULL && !json_is_array(list)) {
        (void)err_field(err, ERR_INVALID_ARGUMENT, key, "config.%s is not a list of text", key);
        return v;
    }
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s == NULL) {
            (void)err_field(err, ERR_INVALID_ARGUMENT, key, "config.%s is not a list of text", key);
            return v;
        }
        v[i] = arena_strdup(a, s);
    }
    return v;
}

static const char *json_text(struct arena *a, const json_t *j, const char *key, struct err *err) {
    const json_t *v = json_object_get(j, key);
    if (v != NULL && !json_is_string(v)) {
        (void)err_field(err, ERR_INVALID_ARGUMENT, key, "%s is not text", key);
    }
    return arena_strdup(a, json_string_value(v));
}

static void read_path_request(struct image_request *r, struct str body) {
    json_error_t why;
    json_t *j = json_loadb(body.p != NULL ? body.p : "", body.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(j)) {
        (void)err_set(&r->err, ERR_INVALID_ARGUMENT, "the body is not a JSON object: %s", why.text);
    } else {
        const json_t *c = json_object_get(j, "config");
        r->path = json_text(r->arena, j, "path", &r->err);
        r->name = json_text(r->arena, j, "name", &r->err);
        r->config.entrypoint = json_strings(r->arena, c, "entrypoint", &r->err);
        r->config.cmd = json_strings(r->arena, c, "cmd", &r->err);
        r->config.env = json_strings(r->arena, c, "env", &r->err);
        r->config.workdir = json_text(r->arena, c, "workdir", &r->err);
        r->config.user = json_text(r->arena, c, "user", &r->err);
        if (r->err.code == ERR_OK && (r->path == NULL || r->path[0] != '/')) {
            (void)err_field(&r->err, ERR_INVALID_ARGUMENT, "path", "path is not an absolute path");
        }
    }
    json_decref(j);
}

static void on_path_body(struct xch *x, void *arg, struct str body, const struct err *err) {
    struct image_request *r = arg;
    if (err != NULL) {
        r->err = *err;
    } else {
        read_path_request(r, body);
    }
    if (r->err.code != ERR_OK || !take_turn(r)) {
        finish(r, STR(""));
        return;
    }
    submit(r, block_import, done_import);
}

/* A path means a file of this machine: only for somebody who is on it. */
static bool is_local(struct str peer) {
    return str_starts(peer, STR("127.")) || str_starts(peer, STR("[::1]")) || str_eqc(peer, "unix");
}

static void handle_path(struct api_images *im, struct xch *x) {
    struct image_request *r = request_new(im, x);
    if (r == NULL) {
        return;
    }
    if (!is_local(xch_head(x)->peer)) {
        (void)err_set(
            &r->err, ERR_PERMISSION_DENIED,
            "images:importPath is for clients on the server's machine; upload the file to "
            "images:import instead");
        finish(r, STR(""));
        return;
    }
    xch_collect_body(x, PATH_BODY_MAX, on_path_body, r);
}

/* NULL: answered. */
static struct image_request *request_named(struct api_images *im, struct xch *x,
                                           struct str encoded) {
    struct image_request *r = request_new(im, x);
    struct str name;
    if (r == NULL) {
        return NULL;
    }
    if (!enc_unpercent(r->arena, encoded, false, &name) || name.n == 0) {
        (void)err_field(&r->err, ERR_INVALID_ARGUMENT, "name", "the image's name is malformed");
        finish(r, STR(""));
        return NULL;
    }
    r->name = arena_strndup(r->arena, name.p, name.n);
    return r;
}

static void handle_get(struct api_images *im, struct xch *x, struct str encoded) {
    struct image_request *r = request_named(im, x, encoded);
    if (r != NULL) {
        submit(r, block_get, done_get);
    }
}

static void handle_remove(struct api_images *im, struct xch *x, struct str encoded) {
    struct image_request *r = request_named(im, x, encoded);
    if (r != NULL) {
        r->in_use = im->in_use != NULL ? im->in_use(im->arg, r->arena) : NULL;
        submit(r, block_remove, done_remove);
    }
}

static void handle_prune(struct api_images *im, struct xch *x) {
    struct image_request *r = request_new(im, x);
    if (r != NULL) {
        r->in_use = im->in_use != NULL ? im->in_use(im->arg, r->arena) : NULL;
        submit(r, block_prune, done_prune);
    }
}

static void handle_list(struct api_images *im, struct xch *x) {
    struct image_request *r = request_new(im, x);
    if (r != NULL) {
        submit(r, block_list, done_list);
    }
}

bool api_images_handle(struct api_images *im, struct xch *x) {
    const struct xch_head *h = xch_head(x);
    if (!str_starts(h->path, STR(PREFIX))) {
        return false;
    }
    struct str rest = str_sub(h->path, sizeof(PREFIX) - 1, h->path.n);
    if (rest.n == 0 && str_eqc(h->method, "GET")) {
        handle_list(im, x);
    } else if (str_eqc(rest, ":import") && str_eqc(h->method, "POST")) {
        handle_upload(im, x);
    } else if (str_eqc(rest, ":importPath") && str_eqc(h->method, "POST")) {
        handle_path(im, x);
    } else if (str_eqc(rest, ":prune") && str_eqc(h->method, "POST")) {
        handle_prune(im, x);
    } else if ((str_eqc(rest, ":pull") || str_eqc(rest, ":push")) && str_eqc(h->method, "POST")) {
        images_transfer(im, x, str_eqc(rest, ":push"));
    } else if (rest.n > 1 && rest.p[0] == '/' && str_eqc(h->method, "GET")) {
        handle_get(im, x, str_sub(rest, 1, rest.n));
    } else if (rest.n > 1 && rest.p[0] == '/' && str_eqc(h->method, "DELETE")) {
        handle_remove(im, x, str_sub(rest, 1, rest.n));
    } else {
        return false;
    }
    return true;
}

struct api_images *api_images_new(struct loop *loop, struct lane *disk, struct image_store *store,
                                  const char *data_dir,
                                  const char **(*in_use)(void *arg, struct arena *a), void *arg) {
    struct api_images *im = xcalloc(1, sizeof(*im));
    im->disk = disk;
    im->store = store;
    im->spool_dir = xasprintf("%s/images/tmp", data_dir);
    im->in_use = in_use;
    im->arg = arg;
    return im;
}

void api_images_set_puller(struct api_images *im, struct puller *puller) {
    im->puller = puller;
}

void api_images_on_removed(struct api_images *im, void (*fn)(void *arg)) {
    im->removed = fn;
}

void api_images_free(struct api_images *im) {
    if (im != NULL) {
        free(im->spool_dir);
        free(im);
    }
}
