/* Blobs: reading them, and the uploads that become them. Body bytes go to the lane in slices while
 * the next ones arrive; credit comes back as slices are written, so that memory holds two of them
 * whatever the client does. */
#include "api/gcs_range.h"
#include "api/registry_int.h"
#include "base/limits.h"

#define WINDOW ((size_t)1 << 20)

static bool take_digest(struct reg_call *c, struct str digest) {
    if (registry_check_digest(digest, c->hex, &c->err) < 0) {
        return false;
    }
    c->has_digest = true;
    return true;
}

/* ---- GET, HEAD, DELETE of a blob */

static void block_open(struct reg_call *c) {
    if (registry_blob_open(c->g->store, c->repo, c->hex, c->is_head, &c->fd, &c->size, &c->err) <
        0) {
        return; /* c->err says it */
    }
}

static void done_open(struct reg_call *c) {
    uint64_t first = 0, n = c->size;
    if (c->err.code != ERR_OK) {
        reg_fail(c);
        return;
    }
    enum range_kind kind =
        c->is_head ? RANGE_WHOLE : range_parse(xch_header(c->x, "range"), c->size, &first, &n);
    if (kind == RANGE_UNSATISFIABLE) {
        reg_header(c, "content-range", "bytes */%llu", (unsigned long long)c->size);
        (void)err_field(&c->err, ERR_OUT_OF_RANGE, "RANGE_INVALID",
                        "the blob has %llu bytes: nothing lies in that range",
                        (unsigned long long)c->size);
        reg_fail(c);
        return;
    }
    if (kind == RANGE_WHOLE) {
        first = 0;
        n = c->size;
    } else {
        reg_header(c, "content-range", "bytes %llu-%llu/%llu", (unsigned long long)first,
                   (unsigned long long)(first + n - 1), (unsigned long long)c->size);
    }
    reg_header(c, "content-type", "application/octet-stream");
    reg_header(c, "docker-content-digest", "sha256:%s", c->hex);
    reg_header(c, "etag", "\"sha256:%s\"", c->hex);
    reg_header(c, "accept-ranges", "bytes");
    xch_start(c->x, kind == RANGE_PART ? 206 : 200, c->h, c->nr_h, (int64_t)n);
    if (n == 0 || c->is_head) {
        xch_end(c->x);
    } else {
        xch_warm_file(c->x); /* its client hashes it */
        xch_send_file(c->x, c->fd, first, n);
    }
    reg_free(c);
}

static void block_delete(struct reg_call *c) {
    if (registry_blob_delete(c->g->store, c->repo, c->hex, &c->err) < 0) {
        return;
    }
}

static void done_empty_202(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else {
        reg_reply(c, 202, STR(""));
    }
}

void reg_blob(struct reg_call *c) {
    if (!take_digest(c, c->reference)) {
        reg_fail(c);
    } else if (str_eqc(c->method, "GET") || c->is_head) {
        reg_submit(c, block_open, done_open);
    } else if (str_eqc(c->method, "DELETE")) {
        reg_submit(c, block_delete, done_empty_202);
    } else {
        reg_no_method(c, "GET, HEAD, DELETE");
    }
}

/* ---- what an upload answers */

static void put_state(struct reg_call *c, const char *id, uint64_t size) {
    reg_header(c, "location", "/v2/%.*s/blobs/uploads/%s", STR_ARG(c->repo), id);
    reg_header(c, "docker-upload-uuid", "%s", id);
    reg_header(c, "range", "0-%llu", (unsigned long long)(size > 0 ? size - 1 : 0));
}

/* The upload goes back to the store before the answer: what the client hears next it may rely on.
 */
static void block_release(struct reg_call *c) {
    registry_upload_release(c->u);
}

static void reply_created(struct reg_call *c) {
    reg_header(c, "location", "/v2/%.*s/blobs/sha256:%s", STR_ARG(c->repo), c->hex);
    reg_header(c, "docker-content-digest", "sha256:%s", c->hex);
    reg_reply(c, 201, STR(""));
}

static void done_finish(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else {
        reply_created(c);
    }
}

static void block_finish(struct reg_call *c) {
    if (registry_upload_finish(c->u, c->hex, &c->err) < 0) {
        return;
    }
}

static void done_part(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else {
        reg_reply(c, 202, STR(""));
    }
}

static void block_cancel(struct reg_call *c) {
    registry_upload_cancel(c->u);
}

static void done_fail(struct reg_call *c) {
    reg_fail(c);
}

/* ---- the body */

static void upload_step(struct reg_call *c);

static void block_write(struct reg_call *c) {
    struct err why = {0};
    if (registry_upload_write(c->u, buf_str(&c->writing), &why) < 0) {
        c->write_err = why;
    }
}

static void done_write(struct reg_call *c) {
    size_t n = c->writing.n;
    c->busy = false;
    buf_clear(&c->writing);
    if (c->write_err.code != ERR_OK) {
        c->err = c->write_err;
    }
    if (c->err.code != ERR_OK) {
        c->ended = true; /* nobody needs the rest */
    } else if (!c->ended) {
        xch_grant(c->x, n);
    }
    upload_step(c);
}

static bool is_broken_off(const struct err *err) {
    return err->code == ERR_CANCELLED || err->code == ERR_DEADLINE_EXCEEDED;
}

static void body_done(struct reg_call *c) {
    if (c->err.code == ERR_OK && c->has_range && c->got != c->last - c->first + 1) {
        (void)err_field(&c->err, ERR_INVALID_ARGUMENT, "SIZE_INVALID",
                        "Content-Range announced %llu bytes, %llu came",
                        (unsigned long long)(c->last - c->first + 1), (unsigned long long)c->got);
    }
    if (is_broken_off(&c->err)) {
        reg_submit(c, block_release, done_fail); /* the client may come back and go on */
    } else if (c->err.code != ERR_OK) {
        reg_submit(c, block_cancel, done_fail);
    } else if (c->has_digest) {
        reg_submit(c, block_finish, done_finish);
    } else {
        put_state(c, registry_upload_id(c->u), registry_upload_size(c->u));
        reg_submit(c, block_release, done_part);
    }
}

static void upload_step(struct reg_call *c) {
    if (c->busy) {
        return;
    }
    /* What came before a line broke is kept as well: the client need not send it again. */
    bool good = c->err.code == ERR_OK || (c->ended && is_broken_off(&c->err));
    if (c->pending.n > 0 && good) {
        struct buf swap = c->writing;
        c->writing = c->pending;
        c->pending = swap;
        c->busy = true;
        reg_submit(c, block_write, done_write);
    } else if (c->ended) {
        body_done(c);
    }
}

static char *on_room(struct xch *x, void *arg, size_t *ret_n) {
    struct reg_call *c = arg;
    size_t room = c->pending.max - c->pending.n;
    if (c->ended || room == 0) {
        return NULL;
    }
    *ret_n = room;
    return buf_reserve(&c->pending, room);
}

static void on_data(struct xch *x, void *arg, struct str bytes) {
    struct reg_call *c = arg;
    if (c->ended) {
        return;
    }
    c->got += bytes.n;
    if (c->pending.p != NULL && bytes.p == c->pending.p + c->pending.n) {
        buf_commit(&c->pending, bytes.n); /* read straight to where it belongs */
    } else if (buf_put_str(&c->pending, bytes) < 0) {
        (void)err_set(&c->err, ERR_INTERNAL, "more body than was asked for");
        c->ended = true;
    }
    upload_step(c);
}

static void on_end(struct xch *x, void *arg, const struct err *err) {
    struct reg_call *c = arg;
    if (c->ended) {
        return;
    }
    c->ended = true;
    if (err != NULL && c->err.code == ERR_OK) {
        c->err = *err;
        if (err->code == ERR_RESOURCE_EXHAUSTED) {
            /* Of docker's two words for it the one after which it does not send it all again. */
            (void)err_field(&c->err, ERR_RESOURCE_EXHAUSTED, "DENIED",
                            "the blob has more than %llu bytes (limit registry_max_blob)",
                            (unsigned long long)limits.registry_max_blob);
            limits_hit(&limits.registry_max_blob);
        }
    }
    upload_step(c);
}

static void read_body(struct reg_call *c) {
    static const struct body_sink sink = {.data = on_data, .end = on_end, .room = on_room};
    uint64_t size = registry_upload_size(c->u);
    uint64_t left = size < limits.registry_max_blob ? limits.registry_max_blob - size : 0;
    if (xch_is_gone(c->x)) {
        (void)err_set(&c->err, ERR_CANCELLED, "the client went away");
    }
    if (c->err.code != ERR_OK || !xch_head(c->x)->has_body) {
        c->ended = true;
        upload_step(c);
        return;
    }
    buf_init(&c->pending, 2 * WINDOW);
    buf_init(&c->writing, 2 * WINDOW);
    xch_read_body(c->x, left, &sink, c);
    xch_grant(c->x, 2 * WINDOW);
}

/* ---- POST: a new upload, a whole blob, or a mount */

static void block_start(struct reg_call *c) {
    if (registry_upload_start(c->g->store, c->repo, &c->u, &c->err) < 0) {
        return;
    }
    if (!c->has_digest) { /* the client comes back with the bytes */
        put_state(c, registry_upload_id(c->u), 0);
        registry_upload_release(c->u);
    }
}

static void done_start(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else if (c->has_digest) {
        read_body(c);
    } else {
        reg_reply(c, 202, STR(""));
    }
}

static void block_mount(struct reg_call *c) {
    struct err why = {0};
    if (registry_blob_mount(c->g->store, c->repo, c->from, c->hex, &why) < 0) {
        if (why.code != ERR_NOT_FOUND) {
            c->err = why;
            return;
        }
        c->has_digest = false; /* not there: an ordinary upload begins instead */
        block_start(c);
    }
}

static void done_mount(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else if (c->has_digest) {
        reply_created(c);
    } else {
        reg_reply(c, 202, STR(""));
    }
}

void reg_upload_start(struct reg_call *c) {
    struct str mount, digest;
    if (!str_eqc(c->method, "POST")) {
        reg_no_method(c, "POST");
        return;
    }
    if (!reg_query(c, "mount", &mount) || !reg_query(c, "from", &c->from) ||
        !reg_query(c, "digest", &digest) || (mount.p != NULL && !take_digest(c, mount)) ||
        (mount.p == NULL && digest.p != NULL && !take_digest(c, digest)) ||
        (c->from.p != NULL && registry_check_repo(c->from, &c->err) < 0)) {
        reg_fail(c);
        return;
    }
    if (mount.p != NULL && c->from.p != NULL) {
        reg_submit(c, block_mount, done_mount);
        return;
    }
    c->has_digest = c->has_digest && mount.p == NULL; /* a mount from nowhere: an upload */
    reg_submit(c, block_start, done_start);
}

/* ---- PATCH, PUT, GET, DELETE of an upload */

/* "FIRST-LAST"; RANGE_INVALID otherwise. */
static bool take_range(struct reg_call *c, struct str range) {
    struct str rest = range;
    struct str first = str_cut(&rest, '-');
    int64_t length = xch_head(c->x)->content_length;
    if (rest.p == NULL || !str_to_u64(first, &c->first) || !str_to_u64(rest, &c->last) ||
        c->last < c->first || c->last - c->first > (uint64_t)INT64_MAX - 1) {
        (void)err_field(&c->err, ERR_OUT_OF_RANGE, "RANGE_INVALID",
                        "Content-Range \"%.*s\" is not FIRST-LAST", STR_ARG(str_sub(range, 0, 64)));
        return false;
    }
    if (length >= 0 && (uint64_t)length != c->last - c->first + 1) {
        (void)err_field(&c->err, ERR_INVALID_ARGUMENT, "SIZE_INVALID",
                        "Content-Range announces %llu bytes, Content-Length %lld",
                        (unsigned long long)(c->last - c->first + 1), (long long)length);
        return false;
    }
    c->has_range = true;
    return true;
}

static void block_take(struct reg_call *c) {
    if (registry_upload_open(c->g->store, c->repo, c->reference, &c->u, &c->err) < 0) {
        return;
    }
    uint64_t size = registry_upload_size(c->u);
    if (c->has_range && c->first != size) {
        put_state(c, registry_upload_id(c->u), size);
        registry_upload_release(c->u);
        (void)err_field(&c->err, ERR_OUT_OF_RANGE, "RANGE_INVALID",
                        "the upload has %llu bytes: go on there, not at %llu",
                        (unsigned long long)size, (unsigned long long)c->first);
    }
}

static void done_take(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else {
        read_body(c);
    }
}

static void block_state(struct reg_call *c) {
    if (registry_upload_open(c->g->store, c->repo, c->reference, &c->u, &c->err) < 0) {
        return;
    }
    put_state(c, registry_upload_id(c->u), registry_upload_size(c->u));
    registry_upload_release(c->u);
}

static void done_204(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else {
        reg_reply(c, 204, STR(""));
    }
}

static void block_drop(struct reg_call *c) {
    if (registry_upload_open(c->g->store, c->repo, c->reference, &c->u, &c->err) == 0) {
        registry_upload_cancel(c->u);
    }
}

void reg_upload(struct reg_call *c) {
    bool is_put = str_eqc(c->method, "PUT");
    if (str_eqc(c->method, "GET")) {
        reg_submit(c, block_state, done_204);
        return;
    }
    if (str_eqc(c->method, "DELETE")) {
        reg_submit(c, block_drop, done_204);
        return;
    }
    if (!is_put && !str_eqc(c->method, "PATCH")) {
        reg_no_method(c, "GET, PATCH, PUT, DELETE");
        return;
    }
    struct str digest = {0}, range = xch_header(c->x, "content-range");
    bool has_bytes = xch_head(c->x)->has_body && xch_head(c->x)->content_length != 0;
    bool good = !is_put || (reg_query(c, "digest", &digest) && take_digest(c, digest));
    if (good && range.p != NULL && has_bytes) {
        good = take_range(c, range);
    }
    if (!good) {
        reg_fail(c);
        return;
    }
    reg_submit(c, block_take, done_take);
}
