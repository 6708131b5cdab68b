/* Signed URLs, V4 (GOOG4-RSA-SHA256, GOOG4-HMAC-SHA256) and, with gcs_sign_v2.c, V2: a request
 * whose query carries a signature does what it says only when the signature is right and not
 * expired. HMAC secrets are those of the hmacKeys methods; RSA public keys lie in
 * DATA_DIR/signing-keys/EMAIL.pem (key or certificate). */
#include "api/gcs_int.h"
#include "api/gcs_sign.h"

#include "base/enc.h"
#include "base/time.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#define LIFE_MAX (7 * 24 * 3600) /* as the real service */
#define SKEW (15 * 60ull * USEC_PER_SEC)
#define KEY_FILE_MAX 16384

static int cmp_pair(const void *x, const void *y) {
    const struct sign_param *a = x, *b = y;
    int c = str_cmp(a->key, b->key);
    return c ? c : str_cmp(a->value, b->value);
}

static int refuse(struct err *err, const char *field, const char *why) {
    return err_field(err, ERR_INVALID_ARGUMENT, field, "%s: %s", field, why);
}

/* Every parameter is decoded and encoded again, so that it does not matter who escaped what. */
static int read_query(struct arena *a, struct str query, struct sign_url *u, struct err *err) {
    struct str rest = query;
    size_t n = 1;
    for (size_t i = 0; i < query.n; i++) {
        n += query.p[i] == '&';
    }
    u->params = arena_own_array(a, n, sizeof(*u->params));
    while (rest.p && rest.n) {
        struct str value = str_cut(&rest, '&'), key = str_cut(&value, '=');
        struct sign_param *p = &u->params[u->nr_params];
        if (!enc_unpercent(a, key, false, &p->key) ||
            !enc_unpercent(a, value.p ? value : STR(""), false, &p->value)) {
            return err_set(err, ERR_INVALID_ARGUMENT, "Malformed escape in the query");
        }
        struct {
            const char *name;
            struct str *to;
        } known[] = {{"X-Goog-Algorithm", &u->algorithm},
                     {"X-Goog-Credential", &u->credential},
                     {"X-Goog-Date", &u->date},
                     {"X-Goog-Expires", &u->expires},
                     {"X-Goog-SignedHeaders", &u->headers},
                     {"X-Goog-Signature", &u->signature}};
        for (size_t i = 0; i < NR_OF(known); i++) {
            if (str_ieq(p->key, str_of(known[i].name))) {
                *known[i].to = p->value;
            }
        }
        if (!str_ieq(p->key, STR("X-Goog-Signature"))) {
            u->nr_params++;
        }
    }
    qsort(u->params, u->nr_params, sizeof(*u->params), cmp_pair);
    return 0;
}

/* "20240501T101112Z" */
static bool read_date(struct str s, usec_t *ret) {
    if (s.n != 16 || s.p[8] != 'T' || s.p[15] != 'Z') {
        return false;
    }
    char text[32];
    snprintf(text, sizeof(text),
             "%.4s-%.2s-%.2s"
             "T%.2s:%.2s:%.2sZ",
             s.p, s.p + 4, s.p + 6, s.p + 9, s.p + 11, s.p + 13);
    return time_parse_rfc3339(str_of(text), ret, NULL) == 0;
}

int sign_parse(struct arena *a, struct str query, usec_t now, struct sign_url *u, struct err *err) {
    uint64_t life;
    usec_t made;
    *u = (struct sign_url){0};
    if (read_query(a, query, u, err) < 0) {
        return -1;
    }
    u->is_hmac = str_eqc(u->algorithm, "GOOG4-HMAC-SHA256");
    if (!u->is_hmac && !str_eqc(u->algorithm, "GOOG4-RSA-SHA256")) {
        return refuse(err, "X-Goog-Algorithm", "must be GOOG4-RSA-SHA256 or GOOG4-HMAC-SHA256");
    }
    if (!read_date(u->date, &made)) {
        return refuse(err, "X-Goog-Date", "must be a time like 20240501T101112Z");
    }
    if (!str_to_u64(u->expires, &life) || life == 0 || life > LIFE_MAX) {
        return refuse(err, "X-Goog-Expires", "must be a number of seconds up to 604800");
    }
    u->scope = u->credential;
    u->key_id = str_cut(&u->scope, '/');
    if (!u->key_id.n || !str_starts(u->scope, str_sub(u->date, 0, 8)) ||
        !str_ends(u->scope, STR("/storage/goog4_request"))) {
        return refuse(
            err, "X-Goog-Credential",
            "must be KEY/DATE/LOCATION/storage/goog4_request with the date of X-Goog-Date");
    }
    if (!u->headers.n || !u->signature.n || u->signature.n % 2 || u->signature.n > 2048) {
        return refuse(err, u->headers.n ? "X-Goog-Signature" : "X-Goog-SignedHeaders",
                      "is missing or malformed");
    }
    if (now + SKEW < made) {
        return err_field(err, ERR_PERMISSION_DENIED, "X-Goog-Expires",
                         "Request is not valid yet: it is dated %.*s.", STR_ARG(u->date));
    }
    if (made + life * USEC_PER_SEC < now) {
        auto_buf struct buf at = BUF_INIT(64);
        time_format_rfc3339(&at, made + life * USEC_PER_SEC);
        return err_field(err, ERR_PERMISSION_DENIED, "X-Goog-Expires",
                         "Request signature expired at: %s", buf_cstr(&at));
    }
    return 0;
}

/* Spaces at the ends go, runs within become one. */
static void put_trimmed(struct buf *b, struct str v) {
    v = str_trim(v);
    for (size_t i = 0; i < v.n; i++) {
        bool is_space = v.p[i] == ' ' || v.p[i] == '\t';
        if (!is_space || (i && v.p[i - 1] != ' ' && v.p[i - 1] != '\t')) {
            buf_putc(b, is_space ? ' ' : v.p[i]);
        }
    }
}

int sign_canonical(struct arena *a, const struct sign_url *u, const struct xch_head *h,
                   struct buf *b, struct err *err) {
    struct str path, names = u->headers, hash = {0};
    if (!enc_unpercent(a, h->path, false, &path)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "Malformed escape in the path");
    }
    buf_put_str(b, h->method);
    buf_putc(b, '\n');
    enc_percent(b, path, "/");
    buf_putc(b, '\n');
    for (size_t i = 0; i < u->nr_params; i++) {
        buf_puts(b, i ? "&" : "");
        enc_percent(b, u->params[i].key, "");
        buf_putc(b, '=');
        enc_percent(b, u->params[i].value, "");
    }
    buf_putc(b, '\n');
    while (names.p && names.n) {
        struct str name = str_cut(&names, ';'), value = {0};
        bool found = str_eqc(name, "host");
        value = found ? h->authority : value;
        for (size_t i = 0; i < h->headers.n && !found; i++) {
            found = str_ieq(h->headers.p[i].name, name);
            value = found ? h->headers.p[i].value : value;
        }
        if (!found) {
            return err_field(err, ERR_PERMISSION_DENIED, "X-Goog-Signature",
                             "The header %.*s was signed and is not in the request.",
                             (int)(name.n > 100 ? 100 : name.n), name.p);
        }
        hash = str_eqc(name, "x-goog-content-sha256") ? value : hash;
        buf_put_str(b, name);
        buf_putc(b, ':');
        put_trimmed(b, value);
        buf_putc(b, '\n');
    }
    buf_putc(b, '\n');
    buf_put_str(b, u->headers);
    buf_putc(b, '\n');
    buf_put_str(b, hash.n ? hash : STR("UNSIGNED-PAYLOAD"));
    return 0;
}

void sign_string(const struct sign_url *u, struct str canonical, struct buf *b) {
    uint8_t sum[32];
    unsigned n = sizeof(sum);
    CHECK(EVP_Digest(canonical.p, canonical.n, sum, &n, EVP_sha256(), NULL) == 1);
    buf_printf(b, "%.*s\n%.*s\n%.*s\n", STR_ARG(u->algorithm), STR_ARG(u->date), STR_ARG(u->scope));
    enc_hex(b, sum, n);
}

static void hmac(const void *key, size_t key_n, struct str text, uint8_t out[32]) {
    unsigned n = 32;
    CHECK(HMAC(EVP_sha256(), key, (int)key_n, (const uint8_t *)text.p, text.n, out, &n) && n == 32);
}

bool sign_check_hmac(const struct sign_url *u, struct str secret, struct str to_sign) {
    uint8_t key[32], given[32];
    auto_buf struct buf first = BUF_INIT(BUF_NO_MAX);
    struct str scope = u->scope;
    buf_puts(&first, "GOOG4");
    buf_put_str(&first, secret);
    hmac(first.p, first.n, str_cut(&scope, '/'), key);
    while (scope.p) {
        uint8_t next[32];
        hmac(key, sizeof(key), str_cut(&scope, '/'), next);
        memcpy(key, next, sizeof(key));
    }
    uint8_t want[32];
    hmac(key, sizeof(key), to_sign, want);
    return u->signature.n == 64 && enc_unhex(u->signature, given) &&
           CRYPTO_memcmp(want, given, sizeof(want)) == 0;
}

/* A public key, a certificate, or a private key, whichever the file holds. */
static EVP_PKEY *read_key(struct str pem) {
    EVP_PKEY *key = NULL;
    for (int kind = 0; kind < 3 && !key; kind++) {
        BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
        if (kind == 0) {
            key = PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
        } else if (kind == 1) {
            X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
            key = cert ? X509_get_pubkey(cert) : NULL;
            X509_free(cert);
        } else {
            key = PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)"");
        }
        BIO_free(in);
    }
    return key;
}

bool sign_rsa_is_right(struct str pem, struct str signature, struct str to_sign) {
    EVP_PKEY *key = read_key(pem);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = key && EVP_PKEY_base_id(key) == EVP_PKEY_RSA &&
              EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(md, (const uint8_t *)signature.p, signature.n,
                               (const uint8_t *)to_sign.p, to_sign.n) == 1;
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(key);
    return ok;
}

bool sign_check_rsa(const struct sign_url *u, struct str pem, struct str to_sign) {
    uint8_t given[1024];
    return enc_unhex(u->signature, given) &&
           sign_rsa_is_right(pem, str_n((const char *)given, u->signature.n / 2), to_sign);
}

/* ---- over a call ---- */

static int mismatch(struct err *err) {
    return err_field(err, ERR_PERMISSION_DENIED, "X-Goog-Signature",
                     "The request signature we calculated does not match the signature you "
                     "provided. Check your secret key and signing method.");
}

int sign_check(struct arena *a, const struct sign_url *u, const struct xch_head *h,
               struct str bucket_of_host, struct str key, struct buf *canonical,
               struct buf *to_sign, struct err *err) {
    struct xch_head head = *h;
    struct str port = h->authority;
    head.authority = str_cut(&port, ':');
    const struct xch_head *ways[] = {h, port.p ? &head : NULL};
    if (u->is_v2) {
        sign_v2_string(a, u, h, bucket_of_host, to_sign);
        return sign_v2_check(u, key, buf_str(to_sign)) ? 0 : mismatch(err);
    }
    /* Some clients sign the host without the port they send: the last way tried is the one shown
     * when neither is right. */
    for (int i = 1; i >= 0; i--) {
        if (!ways[i]) {
            continue;
        }
        buf_clear(canonical);
        buf_clear(to_sign);
        if (sign_canonical(a, u, ways[i], canonical, err) < 0) {
            return -1;
        }
        sign_string(u, buf_str(canonical), to_sign);
        if (u->is_hmac ? sign_check_hmac(u, key, buf_str(to_sign))
                       : sign_check_rsa(u, key, buf_str(to_sign))) {
            return 0;
        }
    }
    return mismatch(err);
}

static void verified(struct gcs_call *c, const struct sign_url *u, struct str key) {
    auto_buf struct buf canonical = BUF_INIT(BUF_NO_MAX), to_sign = BUF_INIT(BUF_NO_MAX);
    const struct xch_head *h = xch_head(c->x);
    struct err err;
    bool in_host =
        str_starts(h->authority, str_of(arena_printf(c->a, "%.*s.storage.", STR_ARG(c->bucket))));
    if (sign_check(c->a, u, h, in_host ? c->bucket : STR(""), key, &canonical, &to_sign, &err) <
        0) {
        c->why_not = str_of(arena_printf(c->a, "%s", buf_cstr(&to_sign)));
        c->why_canonical = str_of(arena_printf(c->a, "%s", buf_cstr(&canonical)));
        gcs_fail(c, &err);
        return;
    }
    c->next(c);
}

struct verifying {
    struct gcs_call *c;
    struct sign_url url;
    struct gcs_hmac_key key;
};

static void unknown_key(struct gcs_call *c, const struct sign_url *u) {
    struct err err;
    err_field(&err, ERR_PERMISSION_DENIED, "X-Goog-Credential",
              u->is_hmac ? "The HMAC key %.*s does not exist or is not active here."
                         : "The key of %.*s is not known here: put its public key or certificate "
                           "into DATA_DIR/signing-keys/EMAIL.pem.",
              (int)(u->key_id.n > 200 ? 200 : u->key_id.n), u->key_id.p);
    gcs_fail(c, &err);
}

static void hmac_found(struct gcs_hmac_key *k, const struct err *err) {
    struct verifying *v = k->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        gcs_fail(v->c, err);
    } else if (err || !str_eqc(k->state, "ACTIVE")) {
        unknown_key(v->c, &v->url);
    } else {
        verified(v->c, &v->url, k->secret);
    }
}

/* A small file of our own directory, read where it is needed: keys appear without a restart. */
static bool read_pem(struct gcs_call *c, struct str email, struct buf *ret) {
    for (size_t i = 0; i < email.n; i++) {
        if (email.p[i] == '/' || email.p[i] == 0 || (i == 0 && email.p[i] == '.')) {
            return false;
        }
    }
    auto_free char *path =
        xasprintf("%s/signing-keys/%.*s.pem", c->g->data_dir, (int)email.n, email.p);
    auto_close int fd = email.n < 200 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    char *p = buf_reserve(ret, KEY_FILE_MAX);
    ssize_t n = fd < 0 ? -1 : read(fd, p, KEY_FILE_MAX);
    buf_commit(ret, n > 0 ? (size_t)n : 0);
    return n > 0;
}

bool gcs_is_signed(const struct gcs_call *c) {
    return str_find(c->q.raw, STR("X-Goog-Signature=")) >= 0 || sign_is_v2(c->q.raw);
}

void gcs_verify(struct gcs_call *c, void (*next)(struct gcs_call *)) {
    struct err err;
    struct verifying *v = arena_own(c->a, sizeof(*v));
    auto_buf struct buf pem = BUF_INIT(2 * KEY_FILE_MAX);
    c->next = next;
    v->c = c;
    bool is_v2 = sign_is_v2(c->q.raw);
    if ((is_v2 ? sign_v2_parse : sign_parse)(c->a, c->q.raw, time_wall(), &v->url, &err) < 0) {
        gcs_fail(c, &err);
    } else if (v->url.is_hmac) {
        v->key = (struct gcs_hmac_key){.access_id = v->url.key_id, .cb = hmac_found, .arg = v};
        gcs_hmac_find(c->g, c->a, &v->key);
    } else if (!read_pem(c, v->url.key_id, &pem)) {
        unknown_key(c, &v->url);
    } else {
        verified(c, &v->url, buf_str(&pem));
    }
}
