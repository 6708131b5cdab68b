/* TLS on the one port: a connection on a socket pair, and a client that shakes hands as it should
 * until the input says otherwise: records cut, damaged, dropped, repeated, bytes that are no TLS,
 * key updates, early goodbyes, halves of everything. Nothing may leak, no exchange may be told
 * twice, and what comes out of the records is only what went in.
 *
 * Input: byte 0 what the client offers (ALPN) and how the handler answers, then steps: one byte
 * that says what to do (see step), some with an operand. */
#include "base/limits.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/net_int.h"

#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define assert_true(what) CHECK(what)
#define assert_int_equal(a, b) CHECK((a) == (b))
#include "../unit/net/tls_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct tls_creds creds;
static SSL_CTX *client_ctx;
static uint8_t how;

struct client {
    int fd;
    SSL *ssl;
    BIO *in, *out;
    struct buf cipher; /* the client's records, not sent yet */
    bool over;
};

static void on_body(struct xch *x, void *arg, struct str body, const struct err *err) {
    xch_reply(x, err ? 400 : 200, NULL, 0, err ? str_of(err->msg) : body);
}

static void handle(struct xch *x, void *arg) {
    static char large[300000];
    CHECK(str_eqc(xch_head(x)->scheme, "https"));
    if (how & 4) {
        xch_reply(x, 200, NULL, 0, str_n(large, sizeof(large)));
    } else {
        xch_collect_body(x, 1000, on_body, NULL);
    }
}

static void turn(void) {
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
}

static void send_raw(struct client *c, const void *p, size_t n) {
    const char *at = p;
    for (unsigned tries = 0; n > 0 && tries < 50; tries++) {
        ssize_t r = send(c->fd, at, n, MSG_NOSIGNAL);
        turn();
        if (r > 0) {
            at += r;
            n -= (size_t)r;
        } else if (r < 0 && errno != EAGAIN) {
            c->over = true;
            return;
        }
    }
}

/* What OpenSSL has written comes to the records that wait. */
static void gather(struct client *c) {
    char piece[16384];
    int n;
    while ((n = BIO_read(c->out, piece, sizeof(piece))) > 0) {
        buf_put(&c->cipher, piece, (size_t)n);
    }
}

static void deliver(struct client *c, size_t n) {
    n = n < c->cipher.n ? n : c->cipher.n;
    send_raw(c, c->cipher.p, n);
    buf_consume(&c->cipher, n);
}

/* Takes what the server said; the client goes on where it was. */
static void listen_and_go_on(struct client *c) {
    char piece[65536];
    ssize_t n;
    turn();
    while ((n = recv(c->fd, piece, sizeof(piece), 0)) > 0) {
        (void)BIO_write(c->in, piece, (int)n);
        turn();
    }
    c->over = c->over || n == 0;
    ERR_clear_error();
    if (!SSL_is_init_finished(c->ssl)) {
        (void)SSL_do_handshake(c->ssl);
    }
    while (SSL_is_init_finished(c->ssl) && SSL_read(c->ssl, piece, sizeof(piece)) > 0) {
    }
    ERR_clear_error();
    gather(c);
}

/* Returns the bytes of input it used. */
static size_t step(struct client *c, const uint8_t *p, size_t n) {
    size_t arg = p[0] & 31, rest = n - 1 < arg ? n - 1 : arg;
    switch (p[0] >> 5) {
    case 0: /* as it should be */
        listen_and_go_on(c);
        deliver(c, SIZE_MAX);
        return 1;
    case 1: /* bytes as they are */
        send_raw(c, p + 1, rest);
        return 1 + rest;
    case 2: /* text, protected if it can be */
        if (SSL_is_init_finished(c->ssl) && rest) {
            (void)SSL_write(c->ssl, p + 1, (int)rest);
            gather(c);
        }
        return 1 + rest;
    case 3: /* a request */
        if (SSL_is_init_finished(c->ssl)) {
            static const char get[] = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
            (void)SSL_write(c->ssl, get, sizeof(get) - 1);
            gather(c);
        }
        return 1;
    case 4: /* a part of what waits */
        deliver(c, arg * arg + 1);
        return 1;
    case 5: /* damage */
        if (c->cipher.n) {
            c->cipher.p[(arg * 37) % c->cipher.n] ^= (char)(1 + arg);
        }
        return 1;
    case 6: /* loss, or the same again */
        if (arg < 16) {
            buf_consume(&c->cipher, arg < c->cipher.n ? arg : c->cipher.n);
        } else if (c->cipher.n) {
            send_raw(c, c->cipher.p, c->cipher.n);
        }
        return 1;
    default:
        if (arg < 8 && SSL_is_init_finished(c->ssl)) {
            (void)SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
            (void)SSL_do_handshake(c->ssl);
            gather(c);
        } else if (arg < 16) {
            (void)SSL_shutdown(c->ssl);
            gather(c);
        } else if (arg < 24) {
            (void)shutdown(c->fd, SHUT_WR);
        }
        ERR_clear_error();
        return 1;
    }
}

static void client_open(struct client *c, int fd) {
    static const unsigned char h2[] = "\2h2", h1[] = "\x8http/1.1", none[] = "\4spdy";
    *c = (struct client){.fd = fd, .cipher = BUF_INIT(BUF_NO_MAX)};
    c->ssl = SSL_new(client_ctx);
    c->in = BIO_new(BIO_s_mem());
    c->out = BIO_new(BIO_s_mem());
    CHECK(c->ssl && c->in && c->out);
    SSL_set_bio(c->ssl, c->in, c->out);
    SSL_set_connect_state(c->ssl);
    if (how % 4 == 1) {
        (void)SSL_set_alpn_protos(c->ssl, h2, sizeof(h2) - 1);
    } else if (how % 4 == 2) {
        (void)SSL_set_alpn_protos(c->ssl, h1, sizeof(h1) - 1);
    } else if (how % 4 == 3 && (how & 8)) {
        (void)SSL_set_alpn_protos(c->ssl, none, sizeof(none) - 1);
    } else if (how % 4 == 3) {
        (void)SSL_set_max_proto_version(c->ssl, TLS1_2_VERSION);
    }
    if (!(how & 16)) { /* else the input speaks first */
        (void)SSL_do_handshake(c->ssl);
        gather(c);
    }
    ERR_clear_error();
}

static void begin(void) {
    struct err err;
    loop = loop_new();
    log_init(LOG_ERROR + 1, false);
    make_certificate();
    CHECK(tls_creds_load(&creds, cert_path, key_path, &err) == 0);
    drop_certificate();
    client_ctx = SSL_CTX_new(TLS_client_method());
    CHECK(client_ctx);
    limits.max_header_bytes = 2000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int pair[2];
    struct client c;
    if (size < 1 || size > 5000) {
        return 0;
    }
    if (!loop) {
        begin();
    }
    how = data[0];
    struct net_config cfg = {.handler = handle,
                             .tls = how & 32 ? NET_TLS_REQUIRED : NET_TLS_OPTIONAL};
    if (!(how & 32) && (how & 16)) {
        cfg.tls = NET_TLS_REQUIRED; /* clear text has another fuzzer; here it is to be refused */
    }
    struct net_server *s = net_new(loop, &cfg);
    s->creds = creds;
    CHECK(SSL_CTX_up_ref(creds.ctx) == 1);
    s->tls_room = xmalloc(TRANSPORT_ROOM);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK(net_adopt(s, pair[0], "fuzz") == 0);
    client_open(&c, pair[1]);
    for (size_t at = 1; at < size && !c.over;) {
        at += step(&c, data + at, size - at);
    }
    if (how & 64) {
        listen_and_go_on(&c);
    }
    SSL_free(c.ssl);
    buf_fini(&c.cipher);
    close(c.fd);
    while (s->stats.connections_open > 0) {
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    }
    turn();
    CHECK(s->stats.exchanges_open == 0 && s->handshakes.open == 0);
    net_free(s);
    turn();
    return 0;
}
