/* HTTP/2 replies: the codec's functions for handlers, which queue in the stream, and the callback
 * by which nghttp2 takes from there when the windows allow. */
#include "net/h2_int.h"

#include "base/limits.h"
#include "base/log.h"

#include <unistd.h>

/* ---- what nghttp2 asks for */

static ssize_t end_of_reply(struct stream *st, uint32_t *flags) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (st->trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(st->h->session, st->id, st->trailers, st->nr_trailers);
    }
    return 0;
}

static ssize_t read_reply(nghttp2_session *session, int32_t id, uint8_t *p, size_t max,
                          uint32_t *flags, nghttp2_data_source *source, void *arg) {
    struct stream *st = source->ptr;
    ssize_t r = 0;
    if (h2_queued(st) > 0) {
        r = (ssize_t)(h2_queued(st) < max ? h2_queued(st) : max);
        memcpy(p, st->out.p + st->out_at, (size_t)r);
        st->out_at += (size_t)r;
        if (h2_queued(st) == 0) {
            buf_clear(&st->out);
            st->out_at = 0;
        }
    } else if (st->file >= 0 && st->file_left > 0) {
        r = pread(st->file, p, st->file_left < max ? st->file_left : max, (off_t)st->file_at);
        if (r <= 0) { /* truncated under us: the promised length cannot be kept */
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
        st->file_at += (uint64_t)r;
        st->file_left -= (uint64_t)r;
    }
    st->out_since = h2_mono(st->h);
    if (h2_queued(st) == 0 && st->file_left == 0 && st->ended) {
        (void)end_of_reply(st, flags);
    } else if (r == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return r;
}

/* ---- replies */

static nghttp2_nv nv(struct str name, struct str value) {
    return (nghttp2_nv){.name = (uint8_t *)name.p,
                        .namelen = name.n,
                        .value = (uint8_t *)value.p,
                        .valuelen = value.n};
}

/* Copies into the arena; NULL when that is full. */
static nghttp2_nv *copy_headers(struct arena *a, const struct headers *hs, size_t spare,
                                size_t *ret_n) {
    nghttp2_nv *out = arena_calloc(a, hs->n + spare + 1, sizeof(*out));
    size_t n = spare;
    for (size_t i = 0; out && i < hs->n; i++) {
        if (!net_header_sendable(&hs->p[i])) {
            log_error("bug: reply header dropped", "name=%.*s", STR_ARG(hs->p[i].name));
            continue;
        }
        out[n++] = nv(arena_str(a, hs->p[i].name), arena_str(a, hs->p[i].value));
    }
    *ret_n = n;
    return out;
}

static struct str number(struct arena *a, int64_t v) {
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)v);
    const char *p = arena_strdup(a, text);
    return p ? str_of(p) : STR("0");
}

/* The head waits until it is known whether anything follows: a reply without body ends with it, as
 * gRPC's errors must. */
static void send_head(struct xch *x, int status, const struct headers *hs, int64_t length) {
    struct stream *st = x->stream;
    st->no_body = str_eqc(x->head.method, "HEAD") || status == 204 || status == 304;
    st->out_left = st->no_body ? -1 : length;
    st->head = copy_headers(x->arena, hs, 2, &st->nr_head);
    if (!st->head) {
        h2_reset_stream(st, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    st->head[0] = nv(STR(":status"), number(x->arena, status));
    st->head[1] = nv(STR("date"), arena_str(x->arena, str_of(net_date(st->h->conn->server))));
    if (length >= 0 && status != 204 && status != 304) {
        st->head[st->nr_head++] = nv(STR("content-length"), number(x->arena, length));
    }
    st->head_due = true;
    st->out_since = h2_mono(st->h);
    conn_kick(st->h->conn);
}

void h2_submit_head(struct stream *st) {
    nghttp2_data_provider source = {.source = {.ptr = st}, .read_callback = read_reply};
    bool bare = st->no_body || (st->ended && h2_queued(st) == 0 && st->file < 0);
    st->head_due = false;
    if (bare && st->trailers) { /* nothing between them: one block says it all */
        size_t n = st->nr_head + st->nr_trailers;
        nghttp2_nv *all = arena_calloc(st->x->arena, n, sizeof(*all));
        if (all) {
            memcpy(all, st->head, st->nr_head * sizeof(*all));
            memcpy(all + st->nr_head, st->trailers, st->nr_trailers * sizeof(*all));
            st->head = all;
            st->nr_head = n;
        }
    }
    if (nghttp2_submit_response(st->h->session, st->id, st->head, st->nr_head,
                                bare ? NULL : &source)) {
        h2_reset_stream(st, NGHTTP2_INTERNAL_ERROR);
    }
}

/* Counts n more bytes against the promised length; false (and broken off) when they do not fit. */
static bool count_out(struct stream *st, uint64_t n, bool more) {
    if (st->no_body || st->out_left < 0) {
        return true;
    }
    if (n > (uint64_t)st->out_left || (!more && n < (uint64_t)st->out_left)) {
        log_error("bug: reply does not have its promised length", "left=%lld given=%llu",
                  (long long)st->out_left, (unsigned long long)n);
        h2_reset_stream(st, NGHTTP2_INTERNAL_ERROR);
        return false;
    }
    st->out_left -= (int64_t)n;
    return true;
}

/* New bytes, or the end: nghttp2 is to ask again. */
static void resume(struct stream *st) {
    if (!st->head_due) {
        (void)nghttp2_session_resume_data(st->h->session, st->id);
    }
    conn_kick(st->h->conn);
}

static bool send_body(struct xch *x, const struct str *slices, size_t nr, bool more) {
    struct stream *st = x->stream;
    uint64_t n = 0;
    for (size_t i = 0; i < nr; i++) {
        n += slices[i].n;
    }
    if (!count_out(st, n, more)) {
        return true;
    }
    if (h2_queued(st) == 0) {
        st->out_since = h2_mono(st->h);
    } else if (st->out_at > 65536 && st->out_at > st->out.n / 2) {
        buf_consume(&st->out, st->out_at);
        st->out_at = 0;
    }
    for (size_t i = 0; i < nr && !st->no_body; i++) {
        buf_put_str(&st->out, slices[i]);
    }
    st->ended = !more;
    resume(st);
    return h2_queued(st) <= limits.max_write_queue / 4; /* many streams share a connection */
}

static void send_trailers(struct xch *x, const struct headers *hs) {
    struct stream *st = x->stream;
    st->trailers = copy_headers(x->arena, hs, 0, &st->nr_trailers);
    if (!st->trailers) {
        h2_reset_stream(st, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    (void)send_body(x, NULL, 0, false);
}

static void send_file(struct xch *x, int fd, uint64_t offset, uint64_t len) {
    struct stream *st = x->stream;
    if (!count_out(st, len, false) || st->no_body || len == 0) {
        mem_auto_close(&fd);
        st->ended = true;
        resume(st);
        return;
    }
    st->file = fd;
    st->file_at = offset;
    st->file_left = len;
    st->ended = true;
    st->out_since = h2_mono(st->h);
    resume(st);
}

static void grant(struct xch *x) {
    struct stream *st = x->stream;
    if (st->expect && !x->started) {
        nghttp2_nv status = nv(STR(":status"), STR("100"));
        (void)nghttp2_submit_headers(st->h->session, NGHTTP2_FLAG_NONE, st->id, NULL, &status, 1,
                                     NULL);
    }
    st->expect = false;
    st->body_since = h2_mono(st->h);
    st->h->granted = true;
    conn_kick(st->h->conn);
}

static void reset(struct xch *x, enum reset_why why) {
    (void)why;
    h2_reset_stream(x->stream, NGHTTP2_INTERNAL_ERROR);
}

const struct codec_ops h2_ops = {
    .name = "h2",
    .send_head = send_head,
    .send_body = send_body,
    .send_trailers = send_trailers,
    .send_file = send_file,
    .grant = grant,
    .reset = reset,
};
