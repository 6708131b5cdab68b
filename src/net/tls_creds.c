/* Loading certificate and key, and what the server insists on: TLS 1.2 or later, forward secrecy,
 * AEAD ciphers (the only ones HTTP/2 allows, RFC 9113 9.2.2), no renegotiation, no compression.
 * Sessions resume by tickets, which cost the server no memory; their keys live as long as the
 * context, so a reload ends them. */
#include "net/tls_creds.h"

#include "base/log.h"
#include "base/time.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const alpn_ours[] = {"h2", "http/1.1"};

void tls_reason(char *out, size_t n) {
    unsigned long e = ERR_get_error();
    const char *why = e ? ERR_reason_error_string(e) : "";
    snprintf(out, n, "%s", why ? why : "unknown OpenSSL error");
    ERR_clear_error();
}

/* Our order of preference. A client that offers only what we do not speak is told so (RFC 7301
 * 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                   const unsigned char *offered, unsigned int n, void *arg) {
    (void)ssl;
    (void)arg;
    for (size_t i = 0; i < NR_OF(alpn_ours); i++) {
        size_t want = strlen(alpn_ours[i]);
        for (unsigned at = 0; at < n && at + 1 + offered[at] <= n; at += 1u + offered[at]) {
            if (offered[at] == want && memcmp(offered + at + 1, alpn_ours[i], want) == 0) {
                *out = offered + at + 1;
                *out_n = (unsigned char)want;
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* There is one certificate: a name it does not carry is the client's to judge. */
static int on_server_name(SSL *ssl, int *alert, void *arg) {
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    X509 *own = SSL_get_certificate(ssl);
    (void)alert;
    (void)arg;
    if (name && own && X509_check_host(own, name, 0, 0, NULL) != 1) {
        log_debug("TLS client asks for a name the certificate does not carry", "name=%.200s", name);
        return SSL_TLSEXT_ERR_NOACK;
    }
    return SSL_TLSEXT_ERR_OK;
}

/* A server cannot be asked for a pass phrase. */
static int no_phrase(char *buf, int size, int rwflag, void *arg) {
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

static int check_readable(const char *what, const char *path, struct err *err) {
    struct stat st;
    if (stat(path, &st) || access(path, R_OK)) {
        return err_sys(err, errno, "%s %s", what, path);
    }
    return 0;
}

static int bad_file(const char *what, const char *path, const char *rule, struct err *err) {
    char why[200];
    tls_reason(why, sizeof(why));
    return err_set(err, ERR_INVALID_ARGUMENT, "%s %s: %s (%s)", what, path, rule, why);
}

static int64_t unix_time(const ASN1_TIME *t) {
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static int64_t earliest_end(SSL_CTX *ctx) {
    STACK_OF(X509) *chain = NULL;
    int64_t end = unix_time(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)));
    (void)SSL_CTX_get0_chain_certs(ctx, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t at = unix_time(X509_get0_notAfter(sk_X509_value(chain, i)));
        end = at < end ? at : end;
    }
    return end;
}

static void set_policy(SSL_CTX *ctx) {
    static const unsigned char id[] = "cusp";
    (void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    (void)SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    (void)SSL_CTX_set_ciphersuites(
        ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    (void)SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384");
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
    (void)SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_default_passwd_cb(ctx, no_phrase);
}

static int load_files(SSL_CTX *ctx, const char *cert_path, const char *key_path, struct err *err) {
    if (check_readable("tls_cert", cert_path, err) || check_readable("tls_key", key_path, err)) {
        return -1;
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_path) != 1) {
        return bad_file("tls_cert", cert_path, "not a PEM certificate that may be used", err);
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1) {
        return bad_file("tls_key", key_path,
                        "not a PEM private key without pass phrase that belongs to tls_cert", err);
    }
    return 0;
}

int tls_creds_load(struct tls_creds *ret, const char *cert_path, const char *key_path,
                   struct err *err) {
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        return bad_file("tls_cert", cert_path, "no TLS context", err);
    }
    set_policy(ctx);
    if (load_files(ctx, cert_path, key_path, err)) {
        SSL_CTX_free(ctx);
        return -1;
    }
    *ret = (struct tls_creds){.ctx = ctx, .expires_at = earliest_end(ctx)};
    return 0;
}

void tls_creds_free(struct tls_creds *c) {
    SSL_CTX_free(c->ctx);
    c->ctx = NULL;
}
