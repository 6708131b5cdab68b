/* A TLS client for tests: OpenSSL over memory on one end of a socket pair, and a certificate made
 * on the spot. Include after harness.h; static functions only. */
#ifndef CUSP_TESTS_NET_TLS_CLIENT_H
#define CUSP_TESTS_NET_TLS_CLIENT_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static char cert_path[64], key_path[64];

/* A self-signed certificate of P-256 and its key, in files that make_certificate's caller unlinks.
 */
static void make_certificate(void) {
    snprintf(cert_path, sizeof(cert_path), "/tmp/cusp-cert-XXXXXX");
    snprintf(key_path, sizeof(key_path), "/tmp/cusp-key-XXXXXX");
    FILE *cert = fdopen(mkstemp(cert_path), "w"), *keyf = fdopen(mkstemp(key_path), "w");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    assert_true(cert && keyf && key);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 90 * 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, name);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(cert, x), 1);
    assert_int_equal(PEM_write_PrivateKey(keyf, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(cert);
    fclose(keyf);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void drop_certificate(void) {
    unlink(cert_path);
    unlink(key_path);
}

struct tls_client {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf rx; /* decrypted */
    bool eof, goodbye, broken;
};

static void tls_client_open(struct tls_client *c, int fd) {
    *c = (struct tls_client){.fd = fd, .rx = BUF_INIT(BUF_NO_MAX)};
    c->ctx = SSL_CTX_new(TLS_client_method());
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, fd);
    SSL_set_connect_state(c->ssl);
}

static void tls_client_close(struct tls_client *c) {
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    buf_fini(&c->rx);
    mem_auto_close(&c->fd);
    c->fd = -1;
}

/* Handshake as far as bytes are there. */
static bool tls_client_step(struct tls_client *c) {
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1) {
        int why = SSL_get_error(c->ssl, rc);
        c->broken = why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE;
    }
    return rc == 1;
}

static void tls_client_read(struct tls_client *c) {
    char piece[65536];
    int r;
    ERR_clear_error();
    while ((r = SSL_read(c->ssl, piece, sizeof(piece))) > 0) {
        buf_put(&c->rx, piece, (size_t)r);
    }
    int why = SSL_get_error(c->ssl, r);
    c->goodbye = c->goodbye || why == SSL_ERROR_ZERO_RETURN;
    c->broken = c->broken || why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL;
    c->eof = c->goodbye || c->broken;
}

#endif
