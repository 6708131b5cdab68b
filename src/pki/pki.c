/* A local CA with libcrypto. */
#include "pki/pki.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define SKEW_S                                                                                     \
    3600 /* validity begins this much earlier: clocks of containers and laptops differ             \
          */
#define SERIAL_BITS 159 /* RFC 5280: positive, at most 20 bytes */
#define PKCS12_ITERATIONS 10000
#define TRUSTED_KEY_USAGE "2.16.840.1.113894.746875.1.1"

/* libcrypto's own reason, and its queue emptied. */
static int fail(struct err *err, const char *what) {
    char why[160] = "unknown reason";
    unsigned long e = ERR_peek_last_error();
    if (e) {
        ERR_error_string_n(e, why, sizeof(why));
    }
    ERR_clear_error();
    return err_set(err, ERR_INTERNAL, "%s: %s", what, why);
}

void pki_fini(struct pki *p) {
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
    *p = (struct pki){0};
}

/* ---- names */

static bool is_label(struct str s, bool first) {
    if (first && str_eqc(s, "*")) {
        return true;
    }
    if (!s.n || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) { /* underscores: host names of containers have them */
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '_') {
            return false;
        }
    }
    return true;
}

static bool is_host(struct str s) {
    struct str rest = s;
    bool ok = s.n > 0 && s.n <= 253 && !str_eqc(s, "*"), digits = false;
    for (bool first = true; ok && rest.p; first = false) {
        struct str label = str_cut(&rest, '.');
        uint64_t n;
        ok = is_label(label, first);
        digits = str_to_u64(label, &n);
    }
    return ok && !digits; /* a last label of digits is a broken address */
}

int pki_name_add(struct pki_names *n, const char *text, struct err *err) {
    unsigned char a[16];
    char canonical[256] = "";
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, a) == 1) {
        inet_ntop(family, a, canonical, sizeof(canonical));
    } else if (is_host(str_of(text))) {
        for (size_t i = 0; text[i]; i++) {
            canonical[i] = (char)tolower((unsigned char)text[i]);
        }
    } else {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%.80s\" is neither a host name nor an address",
                       text);
    }
    for (size_t i = 0; i < n->v.n; i++) {
        if (strcmp(n->v.p[i], canonical) == 0) {
            return 0;
        }
    }
    vec_push(&n->v, xstrdup(canonical));
    return 0;
}

bool pki_names_same(const struct pki_names *a, const struct pki_names *b) {
    if (a->v.n != b->v.n) {
        return false;
    }
    for (size_t i = 0; i < a->v.n; i++) { /* each once, so one direction is enough */
        bool found = false;
        for (size_t k = 0; k < b->v.n && !found; k++) {
            found = strcmp(a->v.p[i], b->v.p[k]) == 0;
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

void pki_names_fini(struct pki_names *n) {
    for (size_t i = 0; i < n->v.n; i++) {
        free(n->v.p[i]);
    }
    vec_fini(&n->v);
}

/* ---- making */

int pki_make_key(struct pki *p, struct err *err) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (!key) {
        return fail(err, "make a key");
    }
    EVP_PKEY_free(p->key);
    p->key = key;
    return 0;
}

static bool set_serial(X509 *c) {
    BIGNUM *n = BN_new();
    bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(c));
    BN_free(n);
    return ok;
}

static bool set_name(X509 *c, const char *common_name) {
    X509_NAME *n = X509_get_subject_name(c);
    const unsigned char *cn = (const unsigned char *)common_name;
    return X509_NAME_add_entry_by_txt(n, "O", MBSTRING_ASC, (const unsigned char *)"cusp", -1, -1,
                                      0) &&
           X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, cn, -1, -1, 0);
}

static bool add_ext(X509 *c, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, c, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(c, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

static bool add_names(X509 *c, const struct pki_names *names) {
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    bool ok = all != NULL;
    for (size_t i = 0; ok && i < names->v.n; i++) {
        const char *s = names->v.p[i];
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(s);
        GENERAL_NAME *g = GENERAL_NAME_new();
        if (ip) {
            GENERAL_NAME_set0_value(g, GEN_IPADD, ip);
        } else {
            ASN1_IA5STRING *dns = ASN1_IA5STRING_new();
            ok = ASN1_STRING_set(dns, s, -1) == 1;
            GENERAL_NAME_set0_value(g, GEN_DNS, dns);
        }
        ok = sk_GENERAL_NAME_push(all, g) > 0 && ok;
    }
    ERR_clear_error(); /* a2i_IPADDRESS leaves one for every host name */
    ok = ok && X509_add1_ext_i2d(c, NID_subject_alt_name, all, 0, 0) == 1;
    GENERAL_NAMES_free(all);
    return ok;
}

/* Everything but the extensions and the signature. NULL on failure. */
static X509 *begin_cert(EVP_PKEY *key, const char *common_name, usec_t now, usec_t until) {
    X509 *c = X509_new();
    if (c && X509_set_version(c, X509_VERSION_3) && set_serial(c) && set_name(c, common_name) &&
        X509_set_pubkey(c, key) &&
        ASN1_TIME_set(X509_getm_notBefore(c), (time_t)(now / USEC_PER_SEC) - SKEW_S) &&
        ASN1_TIME_set(X509_getm_notAfter(c), (time_t)(until / USEC_PER_SEC))) {
        return c;
    }
    X509_free(c);
    return NULL;
}

static usec_t after_days(usec_t now, unsigned days) {
    return now + (usec_t)days * 86400 * USEC_PER_SEC;
}

int pki_make_ca(struct pki *p, const char *common_name, usec_t now, unsigned days,
                struct err *err) {
    X509 *c = begin_cert(p->key, common_name, now, after_days(now, days));
    if (!c || !X509_set_issuer_name(c, X509_get_subject_name(c)) ||
        !add_ext(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_ext(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_ext(c, c, NID_subject_key_identifier, "hash") ||
        !add_ext(c, c, NID_authority_key_identifier, "keyid:always") ||
        !X509_sign(c, p->key, EVP_sha256())) {
        X509_free(c);
        return fail(err, "make the CA certificate");
    }
    X509_free(p->cert);
    p->cert = c;
    return 0;
}

int pki_make_server(struct pki *p, const struct pki *ca, const struct pki_names *names, usec_t now,
                    unsigned days, struct err *err) {
    usec_t until = after_days(now, days), ca_until = pki_not_after(ca->cert);
    const char *first = names->v.n && strlen(names->v.p[0]) <= 64 ? names->v.p[0] : "cusp server";
    X509 *c = begin_cert(p->key, first, now, until < ca_until ? until : ca_until);
    if (!c || !X509_set_issuer_name(c, X509_get_subject_name(ca->cert)) ||
        !add_ext(c, ca->cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_ext(c, ca->cert, NID_key_usage, "critical,digitalSignature") ||
        !add_ext(c, ca->cert, NID_ext_key_usage, "serverAuth") ||
        !add_ext(c, ca->cert, NID_subject_key_identifier, "hash") ||
        !add_ext(c, ca->cert, NID_authority_key_identifier, "keyid:always") ||
        !add_names(c, names) || !X509_sign(c, ca->key, EVP_sha256())) {
        X509_free(c);
        return fail(err, "make the server certificate");
    }
    X509_free(p->cert);
    p->cert = c;
    return 0;
}

/* ---- PEM and PKCS #12 */

static int no_passphrase(char *buf, int size, int rwflag, void *arg) {
    return -1;
}

int pki_read_cert(struct str pem, X509 **ret, struct err *err) {
    BIO *in = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    X509 *c = PEM_read_bio_X509(in, NULL, no_passphrase, NULL);
    BIO_free(in);
    ERR_clear_error();
    if (!c) {
        return err_set(err, ERR_INVALID_ARGUMENT, "no PEM certificate in it");
    }
    *ret = c;
    return 0;
}

size_t pki_read_certs(struct str pem, X509 **ret, size_t max) {
    BIO *in = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    size_t n = 0;
    while (n < max && (ret[n] = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)) != NULL) {
        n++;
    }
    BIO_free(in);
    ERR_clear_error();
    return n;
}

int pki_read_key(struct str pem, EVP_PKEY **ret, struct err *err) {
    BIO *in = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    EVP_PKEY *k = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    BIO_free(in);
    ERR_clear_error();
    if (!k) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "no PEM private key in it, or one with a passphrase");
    }
    *ret = k;
    return 0;
}

static void put_bio(struct buf *b, BIO *bio) {
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    (void)buf_put(b, p, (size_t)n);
}

int pki_put_cert(struct buf *b, X509 *cert, struct err *err) {
    BIO *out = BIO_new(BIO_s_mem());
    bool ok = out && PEM_write_bio_X509(out, cert) == 1;
    if (ok) {
        put_bio(b, out);
    }
    BIO_free(out);
    return ok ? 0 : fail(err, "write a certificate");
}

int pki_put_key(struct buf *b, EVP_PKEY *key, struct err *err) {
    BIO *out = BIO_new(BIO_s_mem());
    bool ok = out && PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok) {
        put_bio(b, out);
    }
    BIO_free(out);
    return ok ? 0 : fail(err, "write a key");
}

static bool add_trusted(STACK_OF(PKCS12_SAFEBAG) * *bags, X509 *cert, const char *alias) {
    ASN1_OBJECT *any = OBJ_nid2obj(NID_anyExtendedKeyUsage);
    PKCS12_SAFEBAG *bag = PKCS12_add_cert(bags, cert);
    return bag && PKCS12_add_friendlyname_utf8(bag, alias, -1) &&
           PKCS12_add1_attr_by_txt(bag, TRUSTED_KEY_USAGE, V_ASN1_OBJECT,
                                   (const unsigned char *)any, -1);
}

int pki_trust_store(struct buf *b, X509 *const *certs, size_t nr, const char *alias,
                    const char *password, struct err *err) {
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    STACK_OF(PKCS7) *safes = NULL;
    PKCS12 *p12 = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    bool ok = true;
    for (size_t i = 0; ok && i < nr; i++) {
        auto_free char *name = i ? xasprintf("%s-%zu", alias, i) : xstrdup(alias);
        ok = add_trusted(&bags, certs[i], name);
    }
    /* Certificates are public: a MAC against mix-ups, no encryption that an old Java lacks. */
    ok = ok && PKCS12_add_safe(&safes, bags, -1, 0, NULL) &&
         (p12 = PKCS12_add_safes(safes, 0)) != NULL &&
         PKCS12_set_mac(p12, password, -1, NULL, 0, PKCS12_ITERATIONS, EVP_sha256()) &&
         i2d_PKCS12_bio(out, p12) == 1;
    if (ok) {
        put_bio(b, out);
    }
    PKCS12_free(p12);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    BIO_free(out);
    return ok && !b->full ? 0 : fail(err, "make the trust store");
}

int pki_sign(EVP_PKEY *key, struct str text, struct buf *signature, struct err *err) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char out[1024]; /* RSA of 8192 bits */
    size_t n = sizeof(out);
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(ctx, out, &n, (const unsigned char *)text.p, text.n) == 1 &&
              buf_put(signature, out, n) == 0;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : fail(err, "sign");
}

/* ---- looking */

bool pki_key_fits(const struct pki *p) {
    bool fits = p->cert && p->key && X509_check_private_key(p->cert, p->key) == 1;
    ERR_clear_error();
    return fits;
}

bool pki_is_ca(X509 *cert) {
    return X509_check_ca(cert) == 1;
}

bool pki_issued_by(X509 *cert, X509 *ca) {
    bool issued =
        X509_check_issued(ca, cert) == X509_V_OK && X509_verify(cert, X509_get0_pubkey(ca)) == 1;
    ERR_clear_error();
    return issued;
}

void pki_names_of(X509 *cert, struct pki_names *ret) {
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        char text[INET6_ADDRSTRLEN];
        if (g->type == GEN_DNS) {
            struct str s = {(const char *)ASN1_STRING_get0_data(g->d.dNSName),
                            (size_t)ASN1_STRING_length(g->d.dNSName)};
            auto_free char *name = str_dup(s);
            (void)pki_name_add(ret, name, NULL); /* what is no host name is of no use to us */
        } else if (g->type == GEN_IPADD) {
            int n = ASN1_STRING_length(g->d.iPAddress);
            const unsigned char *a = ASN1_STRING_get0_data(g->d.iPAddress);
            if ((n == 4 || n == 16) &&
                inet_ntop(n == 4 ? AF_INET : AF_INET6, a, text, sizeof(text))) {
                (void)pki_name_add(ret, text, NULL);
            }
        }
    }
    GENERAL_NAMES_free(all);
}

static usec_t time_of(const ASN1_TIME *t) {
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1) {
        return 0;
    }
    time_t s = timegm(&tm);
    return s > 0 ? (usec_t)s * USEC_PER_SEC : 0;
}

usec_t pki_not_before(const X509 *cert) {
    return time_of(X509_get0_notBefore(cert));
}

usec_t pki_not_after(const X509 *cert) {
    return time_of(X509_get0_notAfter(cert));
}

void pki_subject(struct buf *b, X509 *cert) {
    BIO *out = BIO_new(BIO_s_mem());
    X509_NAME_print_ex(out, X509_get_subject_name(cert), 0,
                       XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    put_bio(b, out);
    BIO_free(out);
}

void pki_fingerprint(struct buf *b, const X509 *cert) {
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    X509_digest(cert, EVP_sha256(), md, &n);
    for (unsigned i = 0; i < n; i++) {
        buf_printf(b, "%s%02X", i ? ":" : "", md[i]);
    }
}
