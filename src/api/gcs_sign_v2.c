/* Signed URLs of the older kind, V2: GoogleAccessId, Expires and Signature in the query; the string
 * to sign is a few lines of the request. RSA with SHA-256 for service accounts, HMAC with SHA-1 for
 * keys of projects.hmacKeys. */
#include "api/gcs_sign.h"

#include "base/enc.h"
#include "base/time.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

bool sign_is_v2(struct str query) {
    return str_find(query, STR("GoogleAccessId=")) >= 0 && str_find(query, STR("Signature=")) >= 0;
}

static int cmp_pair(const void *x, const void *y) {
    const struct sign_param *a = x, *b = y;
    int c = str_cmp(a->key, b->key);
    return c ? c : str_cmp(a->value, b->value);
}

int sign_v2_parse(struct arena *a, struct str query, usec_t now, struct sign_url *u,
                  struct err *err) {
    static const char *const unsigned_params[] = {"response-content-type",
                                                  "response-content-disposition", "generation"};
    struct str rest = query;
    uint64_t until;
    size_t n = 1;
    *u = (struct sign_url){.is_v2 = true};
    for (size_t i = 0; i < query.n; i++) {
        n += query.p[i] == '&';
    }
    u->params = arena_own_array(a, n, sizeof(*u->params));
    while (rest.p && rest.n) {
        struct str value = str_cut(&rest, '&'), raw = str_cut(&value, '=');
        struct sign_param *p = &u->params[u->nr_params];
        if (!enc_unpercent(a, raw, true, &p->key) ||
            (value.p && !enc_unpercent(a, value, true, &p->value))) {
            return err_set(err, ERR_INVALID_ARGUMENT, "Malformed escape in the query");
        }
        struct str *known = str_eqc(p->key, "GoogleAccessId") ? &u->key_id
                            : str_eqc(p->key, "Expires")      ? &u->expires
                            : str_eqc(p->key, "Signature")    ? &u->signature
                                                              : NULL;
        bool counts = !known;
        for (size_t i = 0; i < NR_OF(unsigned_params); i++) {
            counts = counts && !str_eqc(p->key, unsigned_params[i]);
        }
        if (known) {
            *known = p->value;
        }
        u->nr_params += counts;
    }
    qsort(u->params, u->nr_params, sizeof(*u->params), cmp_pair);
    u->is_hmac = str_chr(u->key_id, '@') < 0;
    if (!u->key_id.n || !u->signature.n || u->signature.n > 2048) {
        return err_field(err, ERR_INVALID_ARGUMENT, "Signature",
                         "GoogleAccessId or Signature is missing or malformed");
    }
    if (!str_to_u64(u->expires, &until) || until > UINT64_MAX / USEC_PER_SEC) {
        return err_field(err, ERR_INVALID_ARGUMENT, "Expires",
                         "Expires must be a time in seconds since 1970");
    }
    if (until * USEC_PER_SEC < now) {
        auto_buf struct buf at = BUF_INIT(64);
        time_format_rfc3339(&at, until * USEC_PER_SEC);
        return err_field(err, ERR_PERMISSION_DENIED, "X-Goog-Expires",
                         "Request signature expired at: %s", buf_cstr(&at));
    }
    return 0;
}

static struct str header(const struct xch_head *h, const char *name) {
    for (size_t i = 0; i < h->headers.n; i++) {
        if (str_eqc(h->headers.p[i].name, name)) {
            return h->headers.p[i].value;
        }
    }
    return STR("");
}

static int cmp_header(const void *x, const void *y) {
    const struct header *a = x, *b = y;
    return str_cmp(a->name, b->name);
}

/* "name:value\n" of each x-goog- header, sorted; values of one name joined by a comma. */
static void put_extension_headers(struct arena *a, const struct xch_head *h, struct buf *b) {
    struct header *x = arena_own_array(a, h->headers.n + 1, sizeof(*x));
    size_t n = 0;
    for (size_t i = 0; i < h->headers.n; i++) {
        struct str name = h->headers.p[i].name;
        if (str_starts(name, STR("x-goog-")) && !str_eqc(name, "x-goog-encryption-key") &&
            !str_eqc(name, "x-goog-encryption-key-sha256")) {
            x[n++] = h->headers.p[i];
        }
    }
    qsort(x, n, sizeof(*x), cmp_header);
    for (size_t i = 0; i < n; i++) {
        bool again = i > 0 && str_eq(x[i].name, x[i - 1].name);
        bool more = i + 1 < n && str_eq(x[i].name, x[i + 1].name);
        if (!again) {
            buf_put_str(b, x[i].name);
        }
        buf_putc(b, again ? ',' : ':');
        buf_put_str(b, str_trim(x[i].value));
        if (!more) {
            buf_putc(b, '\n');
        }
    }
}

void sign_v2_string(struct arena *a, const struct sign_url *u, const struct xch_head *h,
                    struct str bucket_of_host, struct buf *b) {
    buf_put_str(b, h->method);
    buf_putc(b, '\n');
    buf_put_str(b, header(h, "content-md5"));
    buf_putc(b, '\n');
    buf_put_str(b, header(h, "content-type"));
    buf_putc(b, '\n');
    buf_put_str(b, u->expires);
    buf_putc(b, '\n');
    put_extension_headers(a, h, b);
    if (bucket_of_host.n) {
        buf_putc(b, '/');
        buf_put_str(b, bucket_of_host);
    }
    buf_put_str(b, h->path);
    for (size_t i = 0; i < u->nr_params; i++) {
        buf_putc(b, i ? '&' : '?');
        enc_percent(b, u->params[i].key, "");
        if (u->params[i].value.p) { /* "?acl" and "?acl=" are signed as they are written */
            buf_putc(b, '=');
            enc_percent(b, u->params[i].value, "");
        }
    }
}

bool sign_v2_check(const struct sign_url *u, struct str key, struct str to_sign) {
    auto_buf struct buf given = BUF_INIT(2048);
    uint8_t want[20];
    unsigned n = sizeof(want);
    if (!enc_unbase64(u->signature, &given)) {
        return false;
    }
    if (!u->is_hmac) {
        return sign_rsa_is_right(key, buf_str(&given), to_sign);
    }
    CHECK(HMAC(EVP_sha1(), key.p, (int)key.n, (const uint8_t *)to_sign.p, to_sign.n, want, &n));
    return given.n == n && CRYPTO_memcmp(want, given.p, n) == 0;
}
