/* Copy and compose: sources are opened first (a copy is of what they were then), their bytes go
 * through an ordinary upload, and the object appears whole or not at all.
 *
 * A copy larger than max_bytes is a resumable session that the client drives call by call: the
 * session's file holds what is done, the token names the session and the generation it copies. */
#include "blob/upload_int.h"

#include <unistd.h>

#define SLICE (64ull << 20) /* bytes one lane thread copies in one go */

static void copy_done(struct blob_copy *c, const struct blob_meta *m, const struct err *err) {
    struct blob *b = c->b;
    struct blob_upload *u = take(&c->upload);
    struct arena *arena = take(&c->arena);
    struct blob_open_source *open = take(&c->open);
    struct err copy = err ? *err : (struct err){0};
    for (size_t i = 0; i < c->nr_src; i++) {
        if (open[i].fd >= 0) {
            close(open[i].fd);
        }
    }
    c->cb(c, m, err ? &copy : NULL); /* m lives in the upload; c may be gone afterwards */
    blob_upload_unref(u);
    arena_free(arena);
    free(open);
    blob_drop(b);
}

static void copy_fail(struct blob_copy *c, const struct err *err) {
    copy_done(c, NULL, err);
}

/* ---- bytes ---- */

static void copy_finished(struct blob_finish *f, const struct blob_meta *m, const struct err *err) {
    struct blob_copy *c = f->arg;
    c->copied = c->size;
    copy_done(c, m, err);
}

static void copy_next(struct blob_copy *c);

static void copy_written(struct blob_write *w, const struct err *err) {
    struct blob_copy *c = w->arg;
    if (err) {
        copy_fail(c, err);
        return;
    }
    if (w->sync) { /* this call's share is done and durable */
        c->copied = blob_upload_offset(c->upload);
        c->next_token = str_of(arena_printf(c->arena, "%s:%llu", blob_upload_id(c->upload),
                                            (unsigned long long)c->open[0].generation));
        copy_done(c, NULL, NULL);
        return;
    }
    c->offset += w->src_len;
    c->left -= w->src_len;
    copy_next(c);
}

static void copy_next(struct blob_copy *c) {
    while (c->cursor < c->nr_src && c->offset == c->open[c->cursor].size) {
        c->cursor++;
        c->offset = 0;
    }
    if (c->cursor == c->nr_src) {
        c->finish = (struct blob_finish){.epoch = c->epoch, .cb = copy_finished, .arg = c};
        blob_upload_finish(c->upload, &c->finish);
        return;
    }
    c->write = (struct blob_write){.epoch = c->epoch, .cb = copy_written, .arg = c};
    if (c->left == 0) {
        c->write.bytes = STR("");
        c->write.sync = true;
    } else {
        uint64_t n = c->open[c->cursor].size - c->offset;
        n = n < c->left ? n : c->left;
        c->write.from_file = true;
        c->write.src_fd = c->open[c->cursor].fd;
        c->write.src_offset = c->offset;
        c->write.src_len = n < SLICE ? n : SLICE;
    }
    blob_upload_write(c->upload, &c->write);
}

/* ---- the upload behind it ---- */

static void copy_session(struct blob_session *s, const struct err *err) {
    struct blob_copy *c = s->arg;
    struct err e;
    if (err) {
        copy_fail(c, err);
        return;
    }
    c->upload = s->upload;
    c->epoch = s->epoch;
    if (s->is_complete || !str_eq(blob_upload_put(c->upload)->bucket, c->put.bucket) ||
        !str_eq(blob_upload_put(c->upload)->name, c->put.name) ||
        blob_upload_offset(c->upload) > c->size) {
        err_field(&e, ERR_INVALID_ARGUMENT, "rewriteToken", "Invalid rewrite token");
        copy_fail(c, &e);
        return;
    }
    c->offset = blob_upload_offset(c->upload);
    copy_next(c);
}

static void copy_begin(struct blob_copy *c) {
    c->cursor = 0;
    c->offset = 0;
    c->left = c->max_bytes ? c->max_bytes : UINT64_MAX;
    c->put.size = (int64_t)c->size;
    c->session = (struct blob_session){.cb = copy_session, .arg = c};
    if (c->token.n) {
        struct str generation = c->token;
        uint64_t g;
        struct err err;
        c->session.id = str_cut(&generation, ':');
        if (c->nr_src != 1 || !str_to_u64(generation, &g) || g != c->open[0].generation) {
            err_field(&err, ERR_INVALID_ARGUMENT, "rewriteToken",
                      "Invalid rewrite token: it is not of this object, or the object changed");
            copy_fail(c, &err);
            return;
        }
        blob_session_resume(c->b, &c->session);
    } else if (c->nr_src == 1 && c->left < c->size) {
        blob_session_start(c->b, &c->session, &c->put);
    } else {
        c->upload = blob_upload_new(c->b, &c->put);
        c->epoch = 0;
        copy_next(c);
    }
}

/* ---- sources ---- */

static void source_next(struct blob_copy *c);

static void source_got(struct blob_req *r, const struct err *err) {
    struct blob_copy *c = r->arg;
    struct err e;
    if (err) {
        e = *err;
        blob_req_fini(r);
        copy_fail(c, &e);
        return;
    }
    bool failed = c->cursor == 0 && c->facts && c->facts(c, r->meta, &e) < 0;
    if (!failed && c->is_compose) {
        c->put.components += r->meta->components ? r->meta->components : 1;
    } else if (!failed) {
        c->put.components = r->meta->components;
    }
    c->open[c->cursor++] = (struct blob_open_source){
        .fd = take_fd(&r->fd), .size = r->meta->size, .generation = r->meta->generation};
    c->size += r->meta->size;
    blob_req_fini(r);
    if (failed) {
        copy_fail(c, &e);
    } else {
        source_next(c);
    }
}

static void source_next(struct blob_copy *c) {
    if (c->cursor == c->nr_src) {
        copy_begin(c);
        return;
    }
    const struct blob_source *s = &c->src[c->cursor];
    struct blob_req *r = &c->req;
    blob_req_init(r);
    r->bucket = s->bucket;
    r->name = s->name;
    r->generation = s->generation;
    r->pre = s->pre;
    r->want_fd = true;
    r->hashes = BLOB_HASH_KNOWN;
    r->cb = source_got;
    r->arg = c;
    blob_object_get(c->b, r);
}

void blob_object_copy(struct blob *b, struct blob_copy *c) {
    CHECK(c->nr_src > 0);
    c->b = b;
    c->arena = arena_new(ARENA_NO_MAX);
    c->open = xcalloc(c->nr_src, sizeof(*c->open));
    for (size_t i = 0; i < c->nr_src; i++) {
        c->open[i].fd = -1;
    }
    c->cursor = 0;
    c->size = c->copied = 0;
    c->next_token = (struct str){0};
    blob_hold(b);
    source_next(c);
}
