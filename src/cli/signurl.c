/* cusp storage sign-url: a V4 signed URL (GOOG4-RSA-SHA256), made here with the key of a service
 * account; no server is asked. The endpoint's host and port are part of what is signed. */
#include "cli/gsuri.h"
#include "pki/pki.h"
#include "cli/transfer.h"

#include "base/enc.h"

#include <errno.h>
#include <openssl/evp.h>
#include <time.h>

#define EXPIRES_MAX (7 * 86400u) /* the service's own limit */
#define KEY_FILE_MAX (64u << 10)

/* "90s", "15m", "1h", "7d"; a bare number is seconds. */
static int parse_duration(const char *text, uint64_t *ret, struct err *err) {
    struct str s = str_of(text);
    uint64_t unit = 1, n = 0;
    if (s.n && strchr("smhd", s.p[s.n - 1])) {
        char u = s.p[--s.n];
        unit = u == 'm' ? 60 : u == 'h' ? 3600 : u == 'd' ? 86400 : 1;
    }
    if (!str_to_u64(s, &n) || !n || n > EXPIRES_MAX || n * unit > EXPIRES_MAX) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--duration is 1s to 7d, not \"%s\"", text);
    }
    *ret = n * unit;
    return 0;
}

struct signer {
    char *email;
    struct pki key;
};

static void signer_fini(struct signer *s) {
    free(s->email);
    pki_fini(&s->key);
}

static int load_signer(const char *file, struct signer *ret, struct err *err) {
    json_error_t e;
    json_t *j = json_load_file(file, JSON_REJECT_DUPLICATES, &e);
    const char *email = json_string_value(json_object_get(j, "client_email"));
    const char *pem = json_string_value(json_object_get(j, "private_key"));
    struct signer s = {0};
    int rc = 0;
    if (!email || !pem) {
        rc = err_set(err, ERR_INVALID_ARGUMENT,
                     "%s is no service account key (JSON with client_email and private_key)%s%s",
                     file, j ? "" : ": ", j ? "" : e.text);
    } else if (pki_read_key(str_of(pem), &s.key.key, err)) {
        rc = err_wrap(err, "%s", file);
    } else if (EVP_PKEY_get_base_id(s.key.key) != EVP_PKEY_RSA) {
        rc = err_set(err, ERR_INVALID_ARGUMENT, "the key in %s is not RSA", file);
    } else {
        s.email = xstrdup(email);
        *ret = s;
        s = (struct signer){0};
    }
    signer_fini(&s);
    json_decref(j);
    return rc;
}

static void put_digest(struct buf *b, struct str text) {
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_Digest(text.p, text.n, md, &n, EVP_sha256(), NULL);
    enc_hex(b, md, n);
}

/* The query of the signed URL without the signature: names in order, as they are signed. */
static void put_query(struct buf *b, const char *email, const char *scope, const char *stamp,
                      uint64_t expires) {
    auto_free char *credential = xasprintf("%s/%s", email, scope);
    buf_puts(b, "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=");
    enc_percent(b, str_of(credential), "");
    buf_printf(b, "&X-Goog-Date=%s&X-Goog-Expires=%llu&X-Goog-SignedHeaders=host", stamp,
               (unsigned long long)expires);
}

static int sign(const struct signer *s, const char *method, const char *host, const char *path,
                uint64_t expires, struct buf *url_query, struct err *err) {
    char stamp[32], scope[64];
    struct tm tm;
    time_t now = (time_t)(time_wall() / USEC_PER_SEC);
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    snprintf(scope, sizeof(scope), "%.8s/auto/storage/goog4_request", stamp);
    auto_buf struct buf request = BUF_INIT(1 << 16);
    auto_buf struct buf text = BUF_INIT(1 << 16);
    auto_buf struct buf signature = BUF_INIT(1 << 16);
    put_query(url_query, s->email, scope, stamp, expires);
    buf_printf(&request, "%s\n%s\n%s\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD", method, path,
               buf_cstr(url_query), host);
    buf_printf(&text, "GOOG4-RSA-SHA256\n%s\n%s\n", stamp, scope);
    put_digest(&text, buf_str(&request));
    if (pki_sign(s->key.key, buf_str(&text), &signature, err)) {
        return -1;
    }
    buf_puts(url_query, "&X-Goog-Signature=");
    enc_hex(url_query, signature.p, signature.n);
    return 0;
}

int storage_sign_url(const struct cli *c, const struct args *a, struct err *err) {
    static const char *const verbs[] = {"GET", "HEAD", "PUT", "POST", "DELETE"};
    const char *method = args_get(a, "--http-verb"), *file = args_get(a, "--private-key-file");
    const char *duration = args_get(a, "--duration");
    __attribute__((cleanup(signer_fini))) struct signer s = {0};
    auto_uri struct uri u = {0};
    uint64_t expires = 3600;
    bool known = !method;
    for (size_t i = 0; method && i < NR_OF(verbs); i++) {
        known |= strcmp(method, verbs[i]) == 0;
    }
    if (a->nr_words != 1 || !file) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp storage sign-url gs://BUCKET/NAME --private-key-file=KEY.json");
    }
    if (!known) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "--http-verb is GET, HEAD, PUT, POST or DELETE, not \"%s\"", method);
    }
    if ((duration && parse_duration(duration, &expires, err)) || uri_parse(a->words[0], &u, err) ||
        load_signer(file, &s, err)) {
        return -1;
    }
    if (!*u.raw_name) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" names a bucket, not an object",
                       a->words[0]);
    }
    auto_buf struct buf path = BUF_INIT(1 << 16);
    auto_buf struct buf query = BUF_INIT(1 << 16);
    const char *host = strstr(c->endpoint, "://");
    host = host ? host + 3 : c->endpoint;
    buf_printf(&path, "/%s/", u.bucket);
    enc_percent(&path, str_of(u.raw_name), "/");
    if (sign(&s, method ? method : "GET", host, buf_cstr(&path), expires, &query, err)) {
        return -1;
    }
    auto_free char *url = xasprintf("%s%s?%s", c->endpoint, buf_cstr(&path), buf_cstr(&query));
    if (c->json) {
        json_t *j = json_pack("{s:s, s:s, s:s, s:I}", "resource", a->words[0], "httpVerb",
                              method ? method : "GET", "signedUrl", url, "expiresSeconds",
                              (json_int_t)expires);
        out_json(j);
        json_decref(j);
    } else {
        puts(url);
    }
    return 0;
}
