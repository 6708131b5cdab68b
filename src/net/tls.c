/* The filter on OpenSSL. Its BIO reads from what was fed and writes to a buffer, both in memory:
 * one recv may feed many records and many records leave in one send, and OpenSSL never wants to
 * write. Between calls an idle connection holds no buffer of ours, and with
 * SSL_MODE_RELEASE_BUFFERS none of OpenSSL's. */
#include "net/tls.h"

#include "net/tls_creds.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define KEPT_MAX (512u * 1024u) /* one read's worth; conn never feeds more at a time */

struct tls {
    SSL *ssl;
    struct buf kept; /* ciphertext from earlier, used before `fed` */
    size_t kept_at;
    struct str fed;
    struct buf out;
    size_t out_at;
    enum tls_rc end; /* sticky: TLS_EOF or TLS_BROKEN; else TLS_AGAIN */
    bool ended;      /* our close_notify is out */
    char why[120];
};

/* ---- the BIO */

static int bio_read(BIO *b, char *p, size_t n, size_t *ret_n) {
    struct tls *t = BIO_get_data(b);
    struct str kept = str_sub(buf_str(&t->kept), t->kept_at, t->kept.n);
    struct str *from = kept.n ? &kept : &t->fed;
    BIO_clear_retry_flags(b);
    if (from->n == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    *ret_n = from->n < n ? from->n : n;
    memcpy(p, from->p, *ret_n);
    if (from == &t->fed) {
        t->fed = str_sub(t->fed, *ret_n, t->fed.n);
    } else if ((t->kept_at += *ret_n) == t->kept.n) {
        buf_fini(&t->kept);
        t->kept_at = 0;
    }
    return 1;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *ret_n) {
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    buf_put(&t->out, p, n);
    *ret_n = n;
    return 1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr) {
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

/* One for the process; OpenSSL frees it with the library. */
static const BIO_METHOD *bio_method(void) {
    static BIO_METHOD *m;
    if (!m) {
        m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
        CHECK(m);
        BIO_meth_set_read_ex(m, bio_read);
        BIO_meth_set_write_ex(m, bio_write);
        BIO_meth_set_ctrl(m, bio_ctrl);
    }
    return m;
}

/* ---- life */

struct tls *tls_open(const struct tls_creds *creds) {
    struct tls *t = xcalloc(1, sizeof(*t));
    BIO *bio = BIO_new(bio_method());
    t->ssl = SSL_new(creds->ctx);
    if (!bio || !t->ssl) {
        BIO_free(bio);
        SSL_free(t->ssl);
        free(t);
        return NULL;
    }
    t->kept = BUF_INIT(KEPT_MAX);
    t->out = BUF_INIT(BUF_NO_MAX);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_close(struct tls *t) {
    if (t) {
        /* A session broken off is not to be resumed; with tickets there is nothing to forget. */
        SSL_free(t->ssl);
        buf_fini(&t->kept);
        buf_fini(&t->out);
        free(t);
    }
}

/* ---- in */

void tls_feed(struct tls *t, struct str cipher) {
    CHECK(t->fed.n == 0);
    t->fed = cipher;
}

void tls_settle(struct tls *t) {
    if (t->fed.n) {
        CHECK(buf_put_str(&t->kept, t->fed) == 0);
        t->fed = (struct str){NULL, 0};
    }
}

/* What a call that did not succeed means. */
static enum tls_rc outcome(struct tls *t, int rc) {
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return TLS_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        t->end = TLS_EOF;
        break;
    default:
        tls_reason(t->why, sizeof(t->why));
        t->end = TLS_BROKEN;
    }
    return t->end;
}

enum tls_rc tls_handshake(struct tls *t) {
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    return rc == 1 ? TLS_OK : outcome(t, rc);
}

enum tls_rc tls_read(struct tls *t, char *p, size_t n, size_t *ret_n) {
    if (t->end) {
        return t->end;
    }
    ERR_clear_error();
    int rc = SSL_read_ex(t->ssl, p, n, ret_n);
    return rc == 1 ? TLS_OK : outcome(t, rc);
}

bool tls_has_pending(const struct tls *t) {
    return t->end || t->kept.n > t->kept_at || SSL_pending(t->ssl) > 0;
}

/* ---- out */

enum tls_rc tls_write(struct tls *t, const char *p, size_t n) {
    size_t done;
    if (t->end == TLS_BROKEN) {
        return TLS_BROKEN;
    }
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, p, n, &done) == 1) {
        return TLS_OK;
    }
    tls_reason(t->why, sizeof(t->why));
    return t->end = TLS_BROKEN;
}

void tls_end(struct tls *t) {
    if (!t->ended && t->end != TLS_BROKEN) {
        ERR_clear_error();
        if (SSL_is_init_finished(t->ssl)) {
            (void)SSL_shutdown(t->ssl); /* 0 is "sent, the peer's is not here": enough for us */
        }
        ERR_clear_error();
    }
    t->ended = true;
}

struct buf *tls_out(struct tls *t, size_t **ret_at) {
    *ret_at = &t->out_at;
    return &t->out;
}

void tls_sent(struct tls *t) {
    t->out_at = 0;
    buf_fini(&t->out); /* encrypting costs more than allocating; idle connections are many */
}

size_t tls_queued(const struct tls *t) {
    return t->out.n - t->out_at;
}

/* ---- what became of it */

const char *tls_why(const struct tls *t) {
    return t->why;
}

struct str tls_protocol(const struct tls *t) {
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(t->ssl, &p, &n);
    return str_n((const char *)p, n);
}

bool tls_was_resumed(const struct tls *t) {
    return SSL_session_reused(t->ssl) == 1;
}
