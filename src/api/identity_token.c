/* Tokens. An access token is "cusp." BODY "." MAC, both base64url: BODY is JSON that says whose it
 * is and until when, MAC is HMAC-SHA-256 over it with the key of this data directory. */
#include "api/identity_int.h"
#include "base/enc.h"
#include "base/jw.h"
#include "base/rng.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define KEY_BYTES 32
#define MAC_BYTES 32
#define PREFIX "cusp."
#define TOKEN_MAX 8192
#define RSA_BITS 2048
#define SIGNING_FILE "signing.pem"
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define CERT_DAYS 3650

struct token_keys {
    struct lane *disk;
    char *dir;
    uint8_t key[KEY_BYTES];
    EVP_PKEY *rsa;
    struct list waiting;
    struct lane_work work;
    bool working;
    /* lane: */
    EVP_PKEY *made;
    struct err err;
};

/* ---- the key of access tokens */

static int load_key(struct token_keys *k, struct err *err) {
    auto_free char *path = xasprintf("%s/token.key", k->dir);
    auto_buf struct buf b = BUF_INIT(4096);
    struct err e;
    if (file_read(AT_FDCWD, path, &b, &e) < 0) {
        if (e.code != ERR_NOT_FOUND) {
            *err = e;
            return -1;
        }
        rng_secret(k->key, sizeof(k->key));
        return file_write_atomic(AT_FDCWD, path, str_n((char *)k->key, KEY_BYTES), 0600, FILE_SYNC,
                                 err);
    }
    if (b.n != KEY_BYTES) {
        return err_set(err, ERR_DATA_LOSS,
                       "%s has %zu bytes instead of %d: remove it (running "
                       "jobs get new tokens by themselves)",
                       path, b.n, KEY_BYTES);
    }
    memcpy(k->key, b.p, KEY_BYTES);
    explicit_bzero(b.p, b.n);
    return 0;
}

struct token_keys *token_keys_open(struct lane *disk, const char *dir, struct err *err) {
    struct token_keys *k = xcalloc(1, sizeof(*k));
    k->disk = disk;
    k->dir = xstrdup(dir);
    list_init(&k->waiting);
    if (file_mkdirs(AT_FDCWD, dir, 0700, err) < 0 || load_key(k, err) < 0) {
        token_keys_free(k);
        return NULL;
    }
    return k;
}

void token_keys_free(struct token_keys *k) {
    if (k) {
        EVP_PKEY_free(k->rsa);
        explicit_bzero(k->key, sizeof(k->key));
        free(k->dir);
        free(k);
    }
}

/* ---- access tokens */

static void mac(const struct token_keys *k, struct str body, uint8_t ret[MAC_BYTES]) {
    unsigned n = MAC_BYTES;
    CHECK(HMAC(EVP_sha256(), k->key, KEY_BYTES, (const uint8_t *)body.p, body.n, ret, &n));
}

static void put_u64(struct jw *w, const char *name, uint64_t v) {
    jw_key(w, name);
    jw_u64(w, v);
}

void bearer_seal(const struct token_keys *k, struct str claims_json, struct buf *b) {
    auto_buf struct buf body = BUF_INIT(TOKEN_MAX);
    uint8_t m[MAC_BYTES];
    enc_base64url(&body, claims_json.p, claims_json.n);
    mac(k, buf_str(&body), m);
    buf_puts(b, PREFIX);
    buf_put_str(b, buf_str(&body));
    buf_putc(b, '.');
    enc_base64url(b, m, sizeof(m));
}

void bearer_make(const struct token_keys *k, const struct caller *c, usec_t now, struct buf *b) {
    auto_buf struct buf json = BUF_INIT(TOKEN_MAX);
    uint64_t salt, seconds = now / USEC_PER_SEC;
    struct jw w;
    rng_secret(&salt, sizeof(salt));
    jw_init(&w, &json, 0);
    jw_object(&w);
    jw_kv(&w, "job", c->job);
    jw_kv(&w, "replica", c->replica);
    jw_kv(&w, "email", c->email);
    put_u64(&w, "iat", seconds);
    put_u64(&w, "exp", seconds + TOKEN_LIFE_S);
    put_u64(&w, "jti",
            salt >> 1); /* no two tokens are the same; JSON readers have signed numbers */
    jw_end_object(&w);
    bearer_seal(k, buf_str(&json), b);
}

static struct str claim(struct arena *a, json_t *root, const char *name) {
    const char *s = json_string_value(json_object_get(root, name));
    return str_of(arena_strdup(a, s ? s : ""));
}

bool bearer_is_ours(struct str token) {
    return str_starts(token, STR(PREFIX));
}

bool bearer_read(const struct token_keys *k, struct arena *a, struct str token,
                 struct token_claims *ret) {
    auto_buf struct buf given = BUF_INIT(TOKEN_MAX), json = BUF_INIT(TOKEN_MAX);
    uint8_t m[MAC_BYTES];
    if (token.n > TOKEN_MAX || !bearer_is_ours(token)) {
        return false;
    }
    struct str rest = str_sub(token, sizeof(PREFIX) - 1, token.n);
    struct str body = str_cut(&rest, '.');
    mac(k, body, m);
    if (!enc_unbase64(rest, &given) || given.n != MAC_BYTES ||
        CRYPTO_memcmp(given.p, m, MAC_BYTES) != 0 || !enc_unbase64(body, &json)) {
        return false;
    }
    json_t *root = json_loadb(json.p, json.n, 0, NULL);
    if (!root) {
        return false;
    }
    *ret = (struct token_claims){
        .job = claim(a, root, "job"),
        .email = claim(a, root, "email"),
        .scope = STR(SCOPE),
        .issued = (uint64_t)json_integer_value(json_object_get(root, "iat")),
        .expires = (uint64_t)json_integer_value(json_object_get(root, "exp")),
    };
    json_decref(root);
    return true;
}

/* ---- the key of identity tokens */

static int crypto_failed(struct err *err, const char *what) {
    ERR_clear_error();
    return err_set(err, ERR_INTERNAL, "cannot %s", what);
}

static int load_rsa(struct token_keys *k, const char *path, struct err *err) {
    auto_buf struct buf b = BUF_INIT(1 << 16);
    if (file_read(AT_FDCWD, path, &b, err) < 0) {
        return -1;
    }
    BIO *in = BIO_new_mem_buf(b.p, (int)b.n);
    k->made = PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)"");
    BIO_free(in);
    explicit_bzero(b.p, b.n);
    return k->made ? 0 : crypto_failed(err, "read the key of identity tokens (" SIGNING_FILE ")");
}

static int make_rsa(struct token_keys *k, const char *path, struct err *err) {
    BIO *out = BIO_new(BIO_s_mem());
    char *p;
    int rc;
    k->made = EVP_RSA_gen(RSA_BITS);
    if (!k->made || PEM_write_bio_PrivateKey(out, k->made, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(out);
        return crypto_failed(err, "make a key for identity tokens");
    }
    long n = BIO_get_mem_data(out, &p);
    rc = file_write_atomic(AT_FDCWD, path, str_n(p, (size_t)n), 0600, FILE_SYNC, err);
    BIO_free(out);
    return rc;
}

static void work_run(struct lane_work *w) {
    struct token_keys *k = CONTAINER_OF(w, struct token_keys, work);
    auto_free char *path = xasprintf("%s/" SIGNING_FILE, k->dir);
    k->err = (struct err){0};
    if (load_rsa(k, path, &k->err) == 0) {
        return;
    }
    if (k->err.code != ERR_NOT_FOUND || make_rsa(k, path, &k->err) < 0) {
        EVP_PKEY_free(take(&k->made));
    } else {
        k->err = (struct err){0};
    }
}

static void work_done(struct lane_work *w) {
    struct token_keys *k = CONTAINER_OF(w, struct token_keys, work);
    k->working = false;
    k->rsa = k->rsa ? k->rsa : take(&k->made);
    if (w->cancelled) {
        err_set(&k->err, ERR_UNAVAILABLE, "The server is stopping.");
    }
    while (!list_is_empty(&k->waiting)) {
        struct token_wait *t = list_first(&k->waiting, struct token_wait, link);
        list_del(&t->link);
        t->ready(t, k->rsa ? NULL : &k->err);
    }
}

void token_keys_need(struct token_keys *k, struct token_wait *t) {
    list_init(&t->link);
    list_push_tail(&k->waiting, &t->link);
    if (!k->working) { /* with the key there already it is a turn of the lane for nothing */
        k->working = true;
        k->work.run = work_run;
        k->work.done = work_done;
        lane_submit(k->disk, &k->work);
    }
}

/* ---- identity tokens */

static void key_id(const struct token_keys *k, struct buf *b) {
    uint8_t *der = NULL, md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int der_n = i2d_PUBKEY(k->rsa, &der);
    if (der_n > 0 && EVP_Digest(der, (size_t)der_n, md, &n, EVP_sha256(), NULL) == 1) {
        enc_hex(b, md, 20);
    }
    OPENSSL_free(der);
}

/* 21 digits, the same for an account always. */
static void subject(const struct caller *c, char ret[32]) {
    uint64_t h = str_hash(str_of(c->email));
    (void)snprintf(ret, 32, "1%020llu", (unsigned long long)h);
}

static void put_claims(struct jw *w, const struct caller *c, struct str audience, bool full,
                       uint64_t now) {
    char sub[32];
    subject(c, sub);
    jw_object(w);
    jw_key(w, "aud");
    jw_str(w, audience);
    jw_kv(w, "azp", sub);
    jw_kv(w, "email", c->email);
    jw_key(w, "email_verified");
    jw_bool(w, true);
    put_u64(w, "exp", now + TOKEN_LIFE_S + 1);
    if (full) {
        jw_key(w, "google");
        jw_object(w);
        jw_key(w, "compute_engine");
        jw_object(w);
        jw_kv(w, "instance_id", c->job_id);
        jw_kv(w, "instance_name", c->replica);
        jw_kv(w, "project_id", c->project_id);
        put_u64(w, "project_number", c->project_number);
        auto_free char *zone = xasprintf("%s-a", c->location);
        jw_kv(w, "zone", zone);
        jw_end_object(w);
        jw_end_object(w);
    }
    put_u64(w, "iat", now);
    jw_kv(w, "iss", "https://accounts.google.com");
    jw_kv(w, "sub", sub);
    jw_end_object(w);
}

int token_make_identity(const struct token_keys *k, const struct caller *c, struct str audience,
                        bool full, usec_t now, struct buf *b, struct err *err) {
    auto_buf struct buf head = BUF_INIT(1024), claims = BUF_INIT(TOKEN_MAX), kid = BUF_INIT(128);
    uint8_t sig[RSA_BITS / 8];
    size_t sig_n = sizeof(sig), from = b->n;
    struct jw w;
    key_id(k, &kid);
    buf_printf(&head, "{\"alg\":\"RS256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", buf_cstr(&kid));
    jw_init(&w, &claims, 0);
    put_claims(&w, c, audience, full, now / USEC_PER_SEC);
    enc_base64url(b, head.p, head.n);
    buf_putc(b, '.');
    enc_base64url(b, claims.p, claims.n);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->rsa) == 1 &&
              EVP_DigestSign(ctx, sig, &sig_n, (const uint8_t *)b->p + from, b->n - from) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok) {
        return crypto_failed(err, "sign an identity token");
    }
    buf_putc(b, '.');
    enc_base64url(b, sig, sig_n);
    return 0;
}

/* ---- the public half */

static void put_number(struct jw *w, const struct token_keys *k, const char *name,
                       const char *param) {
    auto_buf struct buf text = BUF_INIT(4096);
    uint8_t raw[RSA_BITS / 8];
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(k->rsa, param, &n) == 1) {
        enc_base64url(&text, raw, (size_t)BN_bn2bin(n, raw));
    }
    BN_free(n);
    jw_kv(w, name, buf_cstr(&text));
}

/* Self-signed: verifiers want the key wrapped in a certificate and look at nothing else in it. */
static int put_certificate(const struct token_keys *k, struct buf *b, struct err *err) {
    X509 *c = X509_new();
    BIO *out = BIO_new(BIO_s_mem());
    X509_NAME *name = c ? X509_get_subject_name(c) : NULL;
    bool ok = name && out && X509_set_version(c, X509_VERSION_3) &&
              ASN1_INTEGER_set(X509_get_serialNumber(c), 1) &&
              X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                         (const uint8_t *)"cusp identity tokens", -1, -1, 0) &&
              X509_set_issuer_name(c, name) && X509_gmtime_adj(X509_getm_notBefore(c), -86400) &&
              X509_time_adj_ex(X509_getm_notAfter(c), CERT_DAYS, 0, NULL) &&
              X509_set_pubkey(c, k->rsa) && X509_sign(c, k->rsa, EVP_sha256()) > 0 &&
              PEM_write_bio_X509(out, c) == 1;
    char *p;
    long n = ok ? BIO_get_mem_data(out, &p) : 0;
    if (ok) {
        buf_put(b, p, (size_t)n);
    }
    BIO_free(out);
    X509_free(c);
    return ok ? 0 : crypto_failed(err, "make a certificate of the signing key");
}

int token_put_certs(const struct token_keys *k, bool jwks, struct buf *b, struct err *err) {
    auto_buf struct buf kid = BUF_INIT(128), pem = BUF_INIT(1 << 16);
    struct jw w;
    key_id(k, &kid);
    jw_init(&w, b, 2);
    jw_object(&w);
    if (jwks) {
        jw_key(&w, "keys");
        jw_array(&w);
        jw_object(&w);
        jw_kv(&w, "kty", "RSA");
        jw_kv(&w, "alg", "RS256");
        jw_kv(&w, "use", "sig");
        jw_kv(&w, "kid", buf_cstr(&kid));
        put_number(&w, k, "n", OSSL_PKEY_PARAM_RSA_N);
        put_number(&w, k, "e", OSSL_PKEY_PARAM_RSA_E);
        jw_end_object(&w);
        jw_end_array(&w);
    } else {
        if (put_certificate(k, &pem, err) < 0) {
            return -1;
        }
        jw_kv(&w, buf_cstr(&kid), buf_cstr(&pem));
    }
    jw_end_object(&w);
    return 0;
}
