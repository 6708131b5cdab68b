/* Connections: reading, flushing, timing, closing. The codec decides what bytes mean.
 *
 * Everything happens in conn_run: take input, flush output, then set what to watch and until when.
 * Handlers and codecs only change state and kick; nothing here is re-entered, and a connection is
 * freed in one place, at the end of its run. */
#include "net/conn.h"

#include "base/limits.h"
#include "base/log.h"
#include "net/handshakes.h"
#include "net/net_int.h"
#include "net/sniff.h"

#define CONN_MAGIC 0x636f6e6eu
#define READS_A_RUN 8
#define LINGER_TIME (2 * USEC_PER_SEC)
#define LINGER_STOPPING                                                                            \
    (USEC_PER_SEC / 5) /* a client that does not close does not hold up a restart */
#define KEEP_IN 4096u  /* an empty input buffer larger than this gives its memory back */

static usec_t now_of(const struct conn *c) {
    return c->server->clock->ops->mono(c->server->clock);
}

void conn_kick(struct conn *c) {
    if (c->running) {
        c->again = true;
    } else if (list_is_empty(&c->dirty_link)) {
        list_push_tail(&c->server->dirty, &c->dirty_link);
        loop_post(c->server->loop, &c->server->work);
    }
}

void conn_finish(struct conn *c) {
    if (c->state < CONN_ENDING) {
        c->state = CONN_ENDING;
        buf_fini(&c->in);
    }
}

void conn_break(struct conn *c) {
    c->reset = true;
    c->state = CONN_DEAD;
}

/* ---- input */

static void choose_h2(struct conn *c, usec_t now) {
    c->h2 = h2_open(c, now);
    c->state = c->h2 ? CONN_H2 : CONN_DEAD;
}

/* Returns false when nothing can be done with the bytes yet. */
static bool choose_codec(struct conn *c, struct str bytes, usec_t now) {
    struct net_server *s = c->server;
    enum sniff what = sniff_first_bytes(bytes);
    if (what == SNIFF_MORE) {
        return false;
    }
    if (what == SNIFF_TLS && !c->t.tls) {
        if (tls_creds_are_there(&s->creds)) {
            c->state = CONN_HANDSHAKE;
            handshakes_want(c);
        } else {
            net_refuse_tls(s, transport_out(&c->t), c->peer);
            conn_finish(c);
        }
        return false;
    }
    if (s->tls == NET_TLS_REQUIRED && !c->t.tls) {
        net_refuse_cleartext(s, transport_out(&c->t), c->peer, what == SNIFF_H2);
        conn_finish(c);
        return false;
    }
    if (what == SNIFF_H2) {
        choose_h2(c, now);
    } else {
        c->state = CONN_H1;
    }
    return true;
}

/* Returns how many bytes were taken. */
static size_t take_input(struct conn *c, struct str bytes, usec_t now) {
    if (c->state == CONN_HANDSHAKE || (c->state == CONN_SNIFF && !choose_codec(c, bytes, now))) {
        return 0;
    }
    if (c->state == CONN_H2) {
        h2_input(c->h2, bytes, now);
    }
    return c->state == CONN_H1 ? h1_input(&c->h1, bytes, now) : bytes.n;
}

static void take_held(struct conn *c, usec_t now) {
    size_t used = take_input(c, buf_str(&c->in), now);
    if (c->state >= CONN_ENDING) {
        return; /* conn_finish dropped the buffer, or the connection is dead */
    }
    buf_consume(&c->in, used);
    if (c->in.n == 0 && c->in.cap > KEEP_IN) {
        buf_fini(&c->in);
    }
}

static size_t codec_want(const struct conn *c) {
    switch (c->state) {
    case CONN_SNIFF:
        return NET_READ_HEAD;
    case CONN_H1:
        return h1_want(&c->h1, c->in.n);
    case CONN_H2:
        return h2_want(c->h2);
    case CONN_HANDSHAKE: /* reads when it has its turn */
        return list_is_empty(&c->turn_link) ? NET_READ_HEAD : 0;
    case CONN_LINGER:
        return NET_READ_HEAD;
    case CONN_ENDING:
    case CONN_DEAD:
        break;
    }
    return 0;
}

/* How many bytes are worth reading. Not while what TLS itself answers (key updates) piles up. */
static size_t want(const struct conn *c) {
    return transport_encrypted(&c->t) > NET_READ_BODY ? 0 : codec_want(c);
}

/* One read; false when there is no point in another one now. */
static bool read_once(struct conn *c, usec_t now) {
    char *room = c->server->read_room;
    size_t n = want(c);
    if (n == 0 || c->eof) {
        return false;
    }
    n = n < NET_READ_BODY ? n : NET_READ_BODY;
    if (c->state == CONN_H1 && c->in.n == 0) {
        char *direct = h1_room(&c->h1, &n);
        room = direct ? direct : room;
    }
    ptrdiff_t r = transport_read(&c->t, room, n);
    if (r == TRANSPORT_AGAIN) {
        return false;
    }
    if (r == TRANSPORT_BROKEN) {
        if (c->t.tls && tls_why(c->t.tls)[0]) {
            bool progress;
            log_info("TLS connection broken off", "peer=%s why=\"%s\"", c->peer, tls_why(c->t.tls));
            (void)transport_flush(&c->t, &progress); /* the alert, if the socket takes it */
        }
        c->state = CONN_DEAD;
        return false;
    }
    if (r == TRANSPORT_EOF) {
        c->eof = true;
        return false;
    }
    c->server->stats.bytes_in += (uint64_t)r;
    if (c->state == CONN_LINGER) {
        return c->t.more;
    }
    if (c->in.n == 0) {
        size_t used = take_input(c, str_n(room, (size_t)r), now);
        if (c->state < CONN_ENDING && used < (size_t)r) {
            buf_put(&c->in, room + used, (size_t)r - used);
        }
    } else {
        buf_put(&c->in, room, (size_t)r);
        take_held(c, now);
    }
    if (c->in.full) {
        log_error("bug: input buffer overflow", "peer=%s", c->peer);
        c->state = CONN_DEAD;
    }
    return c->t.more;
}

static void handle_eof(struct conn *c, usec_t now) {
    switch (c->state) {
    case CONN_SNIFF:
    case CONN_HANDSHAKE:
    case CONN_LINGER:
        c->state = CONN_DEAD;
        break;
    case CONN_H1:
        h1_eof(&c->h1, c->in.n);
        break;
    case CONN_H2:
        h2_eof(c->h2, now);
        break;
    case CONN_ENDING: /* a half-closed peer still gets its reply */
    case CONN_DEAD:
        break;
    }
}

/* The handshake is over: its client speaks what it said it would, or what its bytes say. */
static void begin_protected(struct conn *c, usec_t now) {
    struct str protocol = tls_protocol(c->t.tls);
    handshakes_done(c, true);
    c->opened_at = now; /* the first request has its own time */
    c->state = CONN_SNIFF;
    h1_open(&c->h1, c, now);
    if (str_eqc(protocol, "h2")) {
        choose_h2(c, now);
    } else if (protocol.n) {
        c->state = CONN_H1;
    }
}

static void run_handshake(struct conn *c, usec_t now) {
    if (!c->t.tls) {
        int rc =
            transport_start_tls(&c->t, &c->server->creds, c->server->tls_room, buf_str(&c->in));
        buf_fini(&c->in);
        if (rc) {
            log_warn("no memory for a TLS connection", "peer=%s", c->peer);
            c->state = CONN_DEAD;
            return;
        }
    }
    ptrdiff_t r = transport_handshake(&c->t);
    if (r == 1) {
        begin_protected(c, now);
    } else if (r == TRANSPORT_EOF) {
        c->eof = true;
    } else if (r == TRANSPORT_BROKEN) {
        log_info("TLS handshake failed", "peer=%s why=\"%s\"", c->peer, tls_why(c->t.tls));
        handshakes_done(c, false);
        conn_finish(c);
    }
}

static void run_input(struct conn *c, bool readable, usec_t now) {
    if (c->state == CONN_HANDSHAKE) {
        if (c->has_turn) {
            c->has_turn = false;
            run_handshake(c, now);
        } else if (readable) {
            handshakes_want(c);
        }
        readable = c->state != CONN_HANDSHAKE;
    }
    /* Also with nothing held: a reply that was completed meanwhile makes way for the next request.
     */
    if (c->state == CONN_H1 || (c->state == CONN_SNIFF && c->in.n > 0)) {
        take_held(c, now);
    }
    /* A connection that was resting may have bytes waiting: look before watching again. */
    bool hidden = c->t.tls && c->t.more;
    if (c->state != CONN_HANDSHAKE && (readable || hidden || !(c->watched & LOOP_FD_READ))) {
        for (unsigned i = 0; i < READS_A_RUN && read_once(c, now); i++) {
        }
    }
    if (c->eof) {
        handle_eof(c, now);
    }
}

/* ---- output */

static void run_output(struct conn *c, usec_t now) {
    bool progress = false;
    uint64_t before = c->t.bytes_out;
    if (c->state == CONN_H2) {
        h2_output(c->h2, now);
    }
    bool idle = transport_is_flushed(&c->t);
    if (!idle && transport_flush(&c->t, &progress)) {
        c->state = CONN_DEAD;
        c->reset = true; /* in case it was the file that ended early */
        return;
    }
    c->server->stats.bytes_out += c->t.bytes_out - before;
    bool flushed = transport_is_flushed(&c->t);
    if (flushed) {
        c->stalled = false;
    } else if (progress || !c->stalled) {
        c->stalled = true;
        c->stalled_since = now;
    }
    if (c->state == CONN_ENDING && flushed && transport_end_output(&c->t)) {
        c->state = c->eof ? CONN_DEAD : CONN_LINGER;
        c->linger_until = now + (c->server->stopping ? LINGER_STOPPING : LINGER_TIME);
    } else if (c->state == CONN_H1) {
        h1_drained(&c->h1);
    } else if (c->state == CONN_H2) {
        h2_drained(c->h2);
    }
}

/* ---- time */

static usec_t deadline_of(const struct conn *c) {
    usec_t d = USEC_NEVER;
    if (c->state == CONN_SNIFF) {
        d = c->opened_at + limits.header_timeout_ms * USEC_PER_MSEC;
    } else if (c->state == CONN_HANDSHAKE) {
        d = c->opened_at + limits.tls_handshake_timeout_ms * USEC_PER_MSEC;
    } else if (c->state == CONN_H1 && !c->eof) {
        d = h1_deadline(&c->h1, c->in.n);
    } else if (c->state == CONN_H2) {
        d = h2_deadline(c->h2);
    } else if (c->state == CONN_LINGER) {
        d = c->linger_until;
    }
    if (c->stalled) {
        usec_t s = c->stalled_since + limits.write_stall_timeout_ms * USEC_PER_MSEC;
        d = s < d ? s : d;
    }
    return d;
}

/* Moving a deadline into the future costs nothing: the timer fires early and looks again. */
static void arm(struct conn *c) {
    struct clock *clock = c->server->clock;
    usec_t d = deadline_of(c);
    if (d != USEC_NEVER && (c->timer.node.at == 0 || d < c->timer.when)) {
        clock->ops->arm(clock, &c->timer, d);
    }
}

static void on_time(struct conn *c, usec_t now) {
    if (c->stalled && now >= c->stalled_since + limits.write_stall_timeout_ms * USEC_PER_MSEC) {
        limits_hit(&limits.write_stall_timeout_ms);
        conn_break(c);
    } else if (c->state == CONN_SNIFF && c->in.n == 0) {
        c->state = CONN_DEAD; /* connected and said nothing */
    } else if (c->state == CONN_HANDSHAKE) {
        limits_hit(&limits.tls_handshake_timeout_ms);
        c->state = CONN_DEAD;
    } else if (c->state == CONN_SNIFF) {
        c->state = CONN_H1;
        h1_timeout(&c->h1, c->in.n);
    } else if (c->state == CONN_H1) {
        h1_timeout(&c->h1, c->in.n);
    } else if (c->state == CONN_H2) {
        h2_timeout(c->h2, now);
    } else if (c->state == CONN_LINGER) {
        c->state = CONN_DEAD;
    }
}

/* ---- runs */

static void conn_free(struct conn *c) {
    struct net_server *s = c->server;
    c->running = true; /* callbacks below must not queue it again */
    h1_close(&c->h1);
    h2_close(c->h2);
    s->clock->ops->disarm(s->clock, &c->timer);
    list_del(&c->link);
    list_del(&c->dirty_link);
    handshakes_done(c, false);
    transport_close(&c->t, c->reset);
    buf_fini(&c->in);
    c->magic = 0;
    free(c);
    s->stats.connections_open--;
    net_conn_gone(s);
}

static void watch(struct conn *c) {
    unsigned events = transport_is_flushed(&c->t) ? 0 : LOOP_FD_WRITE;
    if (!c->eof && c->state != CONN_ENDING) {
        if (want(c) > 0) {
            events |= LOOP_FD_READ;
            c->again = c->again || (c->t.tls && c->t.more); /* the socket does not know of it */
        } else if (!c->h1.blocked && c->state != CONN_H2) {
            events |= LOOP_FD_HUP;
        }
    }
    c->watched = events;
    loop_fd_set(c->t.watch, events);
}

static void run(struct conn *c, bool readable, bool timed) {
    usec_t now = now_of(c);
    CHECK(c->magic == CONN_MAGIC && !c->running);
    c->running = true;
    if (timed && now >= deadline_of(c)) {
        on_time(c, now);
    }
    if (c->state != CONN_DEAD) {
        run_input(c, readable, now);
    }
    c->again = false; /* what input queued is flushed now */
    if (c->state != CONN_DEAD) {
        run_output(c, now);
    }
    c->running = false;
    if (c->state == CONN_DEAD) {
        conn_free(c);
        return;
    }
    watch(c);
    arm(c);
    if (c->again) {
        conn_kick(c);
    }
}

void conn_run(struct conn *c) {
    run(c, false, false);
}

static void on_event(void *arg, bool readable, bool writable) {
    struct conn *c = arg;
    (void)writable;
    if (readable && !(c->watched & LOOP_FD_READ)) {
        /* Not asked for: the peer hung up, or the socket is in error. */
        if (c->watched & LOOP_FD_HUP) {
            c->eof = true;
        } else {
            c->state = CONN_DEAD;
        }
        readable = false;
    }
    run(c, readable, false);
}

static void on_timer(struct timer *t) {
    run(CONTAINER_OF(t, struct conn, timer), false, true);
}

struct conn *conn_open(struct net_server *s, int fd, const char *peer) {
    struct conn *c = xcalloc(1, sizeof(*c));
    c->magic = CONN_MAGIC;
    c->server = s;
    buf_init(&c->in, (size_t)limits.max_header_bytes + 2 * NET_READ_BODY);
    list_init(&c->link);
    list_init(&c->dirty_link);
    list_init(&c->turn_link);
    snprintf(c->peer, sizeof(c->peer), "%s", peer);
    if (transport_open(&c->t, s->loop, fd, on_event, c)) {
        free(c);
        return NULL;
    }
    c->watched = LOOP_FD_READ;
    c->timer.fn = on_timer;
    c->opened_at = now_of(c);
    h1_open(&c->h1, c, c->opened_at);
    list_push_tail(&s->conns, &c->link);
    s->stats.connections_open++;
    s->stats.connections_total++;
    arm(c);
    return c;
}

void conn_retire(struct conn *c) {
    if (c->state == CONN_SNIFF || c->state == CONN_HANDSHAKE ||
        (c->state == CONN_H1 && h1_is_idle(&c->h1))) {
        conn_finish(c);
        if (transport_is_flushed(&c->t)) {
            c->state = CONN_DEAD; /* an idle client need not be waited for */
        }
    }
    if (c->state == CONN_H1 && h1_is_endless(&c->h1)) {
        h1_close(&c->h1);
        conn_finish(c); /* what was written still goes out, but for the end that HTTP has */
    }
    if (c->state == CONN_H2) {
        h2_retire(c->h2);
        h2_break_endless(c->h2);
    }
    c->h1.keep_alive = false;
    conn_kick(c);
}

void conn_kill(struct conn *c) {
    conn_break(c);
    conn_kick(c);
}
