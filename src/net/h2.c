/* HTTP/2 by nghttp2 1.52. The library keeps frames, HPACK, windows and the state of streams; we
 * keep what belongs to exchanges. It calls us back while it is fed or drained (h2_input,
 * h2_output), and only there are streams freed; what handlers do in between is queued with it and
 * kicks the connection. This file is the connection: its session, its streams' lives, its time. */
#include "net/h2_int.h"

#include "base/limits.h"
#include "base/log.h"

#define STREAM_WINDOW                                                                              \
    262144                  /* request bytes held for one exchange that gave no credit, at most    \
                             */
#define CONN_WINDOW 1048576 /* for all of a connection */
#define OUT_HIGH 262144u    /* frames are taken from nghttp2 while less is queued to the socket */
#define CONTINUATIONS 8     /* a head of max_header_bytes needs four; a flood gets GOAWAY */

/* ---- callbacks of nghttp2 */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    struct h2 *h = arg;
    h->head_since = h2_mono(h);
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct stream *st = xcalloc(1, sizeof(*st));
    st->h = h;
    st->id = frame->hd.stream_id;
    st->file = -1;
    st->in = BUF_INIT(STREAM_WINDOW);
    st->out = BUF_INIT(BUF_NO_MAX);
    st->out_left = -1;
    st->x = xch_new(h->conn->server, &h2_ops, st);
    list_push_tail(&h->streams, &st->link);
    (void)nghttp2_session_set_stream_user_data(session, st->id, st);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    struct h2 *h = arg;
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        h->settled = true;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        h->draining = true;
    } else if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
        struct stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (frame->hd.type == NGHTTP2_HEADERS) {
            h->head_since = 0;
        }
        if (!st) {
            return 0;
        }
        if (!st->dispatched) {
            h2_head_complete(st, !last);
        } else if (last) {
            st->in_end = true;
            h2_end_body(st);
        }
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg) {
    struct stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (!st) {
        (void)nghttp2_session_consume(session, id, n);
    } else {
        h2_take_body(st, str_n((const char *)p, n));
    }
    return 0;
}

static void stream_free(struct stream *st) {
    struct xch *x = st->x;
    struct h2 *h = st->h;
    list_del(&st->link);
    h->nr_bodies -= st->dispatched && st->has_body;
    h->idle_since = h2_mono(h);
    (void)nghttp2_session_set_stream_user_data(h->session, st->id, NULL);
    if (!st->dispatched) {
        x->finished = true; /* no handler has seen it */
        h->head_since = 0;
    }
    if (x->finished) {
        xch_served(x);
    } else {
        xch_lost(x);
    }
    mem_auto_close(&st->file);
    buf_fini(&st->in);
    buf_fini(&st->out);
    free(st);
}

/* A request that was dispatched and came to nothing by the client's doing: reset by it, or by us
 * because it broke a rule (CVE-2023-44487, CVE-2025-8671). nghttp2's own limit sees only the
 * former, and not in every version. */
static void count_broken(struct stream *st, uint32_t code) {
    struct h2 *h = st->h;
    usec_t now = h2_mono(h);
    if (!st->dispatched || st->x->finished || code == NGHTTP2_NO_ERROR) {
        return;
    }
    uint64_t forgiven = (now - h->broken_at) / USEC_PER_SEC *
                        (limits.max_h2_resets / 10 ? limits.max_h2_resets / 10 : 1);
    if (forgiven) {
        h->broken_off -= forgiven < h->broken_off ? forgiven : h->broken_off;
        h->broken_at = now;
    }
    if (++h->broken_off > limits.max_h2_resets) {
        limits_hit(&limits.max_h2_resets);
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg) {
    struct stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (st) {
        count_broken(st, code);
        if (st->in.n) { /* the connection's window is for the other streams */
            (void)nghttp2_session_consume_connection(session, st->in.n);
        }
        stream_free(st);
    }
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    bool reply = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (reply && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        /* Answered before the request was read to its end: the rest need not be sent (RFC
         * 9113 8.1). */
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_NO_ERROR);
    }
    return 0;
}

/* ---- the connection */

static void lose_streams(struct h2 *h) {
    while (!list_is_empty(&h->streams)) {
        stream_free(list_first(&h->streams, struct stream, link));
    }
}

static void end(struct h2 *h) {
    lose_streams(h);
    conn_finish(h->conn);
}

static int new_session(struct h2 *h) {
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int rc = -1;
    if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(cb, h2_on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
        nghttp2_option_set_no_auto_window_update(opt, 1);
        nghttp2_option_set_no_closed_streams(opt, 1);
#ifdef HAVE_NGHTTP2_RESET_LIMIT
        uint64_t rate = limits.max_h2_resets / 10;
        nghttp2_option_set_stream_reset_rate_limit(opt, limits.max_h2_resets, rate ? rate : 1);
#endif
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
        nghttp2_option_set_max_continuations(opt, CONTINUATIONS);
#endif
        rc = nghttp2_session_server_new2(&h->session, cb, h, opt);
    }
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return rc;
}

struct h2 *h2_open(struct conn *c, usec_t now) {
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)limits.max_h2_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits.max_header_bytes},
    };
    struct h2 *h = xcalloc(1, sizeof(*h));
    h->conn = c;
    h->opened_at = h->idle_since = h->broken_at = now;
    list_init(&h->streams);
    if (new_session(h) ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, NR_OF(settings)) ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW)) {
        h2_close(h);
        return NULL;
    }
    return h;
}

void h2_close(struct h2 *h) {
    if (h) {
        lose_streams(h);
        nghttp2_session_del(h->session);
        free(h);
    }
}

static bool is_flood(ssize_t error) {
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
    if (error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
        return true;
    }
#endif
    return error == NGHTTP2_ERR_FLOODED;
}

void h2_input(struct h2 *h, struct str bytes, usec_t now) {
    ssize_t r = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
    if (r < 0) {
        log_info("HTTP/2 client broken off", "peer=%s error=\"%s\"", h->conn->peer,
                 nghttp2_strerror((int)r));
        (void)nghttp2_session_terminate_session(h->session, is_flood(r) ? NGHTTP2_ENHANCE_YOUR_CALM
                                                                        : NGHTTP2_PROTOCOL_ERROR);
        h2_output(h, now);
        if (h->conn->state == CONN_H2) {
            end(h);
        }
    }
}

size_t h2_want(const struct h2 *h) {
    if (transport_queued(&h->conn->t) > OUT_HIGH) {
        return 0;
    }
    return h->nr_bodies ? NET_READ_BODY : NET_READ_HEAD;
}

void h2_output(struct h2 *h, usec_t now) {
    struct stream *st;
    do {
        h->granted = false;
        list_each (st, &h->streams, link) {
            h2_pump_body(st);
        }
    } while (h->granted);
    list_each (st, &h->streams, link) {
        if (st->head_due) {
            h2_submit_head(st);
        }
    }
    h->full = false;
    for (;;) {
        const uint8_t *p;
        if (transport_queued(&h->conn->t) > OUT_HIGH) {
            h->full = true;
            return;
        }
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n <= 0) {
            if (n < 0) {
                end(h);
                return;
            }
            break;
        }
        buf_put(transport_out(&h->conn->t), p, (size_t)n);
    }
    if (!nghttp2_session_want_read(h->session) || (h->draining && list_is_empty(&h->streams))) {
        end(h);
    }
}

void h2_drained(struct h2 *h) {
    struct stream *st;
    list_each (st, &h->streams, link) {
        if (h2_queued(st) <= limits.max_write_queue / 8) {
            xch_drained(st->x);
        }
    }
    if (h->full && transport_queued(&h->conn->t) <= OUT_HIGH) {
        h->conn->again = true;
    }
}

void h2_eof(struct h2 *h, usec_t now) {
    struct stream *st;
    list_each (st, &h->streams, link) {
        if (!st->x->finished) {
            h->conn->state = CONN_DEAD; /* whoever waits for the reply is gone */
            return;
        }
    }
    h2_output(h, now);
    if (h->conn->state == CONN_H2 && !h->full) {
        end(h);
    }
}

void h2_retire(struct h2 *h) {
    if (!h->draining) {
        h->draining = true;
        (void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(h->session),
                                    NGHTTP2_NO_ERROR, NULL, 0);
    }
}

void h2_break_endless(struct h2 *h) {
    struct stream *st;
    list_each (st, &h->streams, link) {
        if (st->x->endless && !st->x->finished) {
            h2_reset_stream(st, NGHTTP2_CANCEL);
        }
    }
}

/* ---- time */

static bool waits_for_body(const struct stream *st) {
    return st->dispatched && st->has_body && !st->in_end && st->x->credit > 0 &&
           !st->x->may_pause && !xch_body_unwanted(st->x);
}

static bool waits_for_window(const struct stream *st) {
    return !st->head_due && (h2_queued(st) > 0 || st->file_left > 0);
}

usec_t h2_deadline(const struct h2 *h) {
    usec_t d = USEC_NEVER, at;
    struct stream *st;
    if (!h->settled) {
        d = h->opened_at + limits.header_timeout_ms * USEC_PER_MSEC;
    } else if (list_is_empty(&h->streams)) {
        d = h->idle_since + limits.keepalive_timeout_ms * USEC_PER_MSEC;
    }
    if (h->head_since) {
        at = h->head_since + limits.header_timeout_ms * USEC_PER_MSEC;
        d = at < d ? at : d;
    }
    list_each (st, &h->streams, link) {
        if (waits_for_body(st)) {
            at = st->body_since + limits.body_idle_timeout_ms * USEC_PER_MSEC;
            d = at < d ? at : d;
        }
        if (waits_for_window(st)) {
            at = st->out_since + limits.write_stall_timeout_ms * USEC_PER_MSEC;
            d = at < d ? at : d;
        }
    }
    return d;
}

static void stream_timeout(struct stream *st, usec_t now) {
    struct err err;
    if (waits_for_body(st) && now >= st->body_since + limits.body_idle_timeout_ms * USEC_PER_MSEC) {
        limits_hit(&limits.body_idle_timeout_ms);
        err_set(&err, ERR_DEADLINE_EXCEEDED,
                "The request body paused longer than the limit body_idle_timeout_ms (%llu ms).",
                (unsigned long long)limits.body_idle_timeout_ms);
        xch_body_end(st->x, &err);
    }
    if (waits_for_window(st) &&
        now >= st->out_since + limits.write_stall_timeout_ms * USEC_PER_MSEC) {
        limits_hit(&limits.write_stall_timeout_ms);
        st->out_since = now;
        h2_reset_stream(st, NGHTTP2_CANCEL);
    }
}

void h2_timeout(struct h2 *h, usec_t now) {
    usec_t head = limits.header_timeout_ms * USEC_PER_MSEC;
    struct stream *st;
    if ((!h->settled && now >= h->opened_at + head) ||
        (h->head_since && now >= h->head_since + head)) {
        limits_hit(&limits.header_timeout_ms);
        h->settled = true;
        h->head_since = 0;
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (list_is_empty(&h->streams) &&
               now >= h->idle_since + limits.keepalive_timeout_ms * USEC_PER_MSEC) {
        h->idle_since = now;
        h2_retire(h);
    } else {
        list_each (st, &h->streams, link) {
            stream_timeout(st, now);
        }
    }
}
