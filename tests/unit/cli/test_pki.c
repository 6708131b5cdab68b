/* Unit tests of the local CA: names, certificates as OpenSSL's own verifier sees them, the folder's
 * life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pki/tls.h"

#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY (86400ull * USEC_PER_SEC)
#define NOW (1800000000ull * USEC_PER_SEC)

static void ok(int rc, const struct err *err) {
    if (rc) {
        fail_msg("%s", err->msg);
    }
}

static void check_name(const char *text, const char *canonical) {
    auto_names struct pki_names n = {0};
    struct err err = {0};
    int rc = pki_name_add(&n, text, &err);
    if (!canonical) {
        assert_int_equal(rc, -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_int_equal(n.v.n, 0);
        return;
    }
    ok(rc, &err);
    assert_string_equal(n.v.p[0], canonical);
    assert_int_equal(pki_name_add(&n, canonical, &err), 0);
    assert_int_equal(n.v.n, 1);
}

static void test_names_are_hosts_or_addresses(void **state) {
    char longest[255], too_long[256];
    check_name("LocalHost", "localhost");
    check_name("*.GoogleAPIs.com", "*.googleapis.com");
    check_name("a_b-c.d", "a_b-c.d");
    check_name("10.0.0.1", "10.0.0.1");
    check_name("0:0::1", "::1");
    check_name("2001:DB8::0:1", "2001:db8::1");
    check_name("1a.2b", "1a.2b");
    static const char *const bad[] = {"",    ".",      "a.",          ".a",         "a..b",
                                      "*",   "a.*.b",  "x*.b",        "-a",         "a-",
                                      "a b", "a/b",    "10.0.0",      "10.0.0.256", "::g",
                                      "1:2", "a:8780", "caf\xc3\xa9", "a,DNS:b",    "a\nb"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        check_name(bad[i], NULL);
    }
    memset(longest, 'a', sizeof(longest) - 1);
    memset(too_long, 'a', sizeof(too_long) - 1);
    for (size_t i = 63; i < sizeof(longest) - 2; i += 64) {
        longest[i] = too_long[i] = '.';
    }
    longest[253] = too_long[254] = 0;
    check_name(longest, longest);
    check_name(too_long, NULL);
}

static void make(struct pki *ca, struct pki *server, struct pki_names *names) {
    struct err err = {0};
    ok(pki_make_key(ca, &err) || pki_make_ca(ca, "a CA", NOW, 100, &err), &err);
    ok(pki_name_add(names, "localhost", &err) || pki_name_add(names, "*.googleapis.com", &err) ||
           pki_name_add(names, "127.0.0.1", &err) || pki_name_add(names, "fd00::2", &err),
       &err);
    ok(pki_make_key(server, &err) || pki_make_server(server, ca, names, NOW, 30, &err), &err);
}

/* X509_V_OK or the verifier's complaint, strictly, as a TLS client for `host` would. */
static int verify(X509 *cert, X509 *ca, const char *host, usec_t at) {
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_time(p, (time_t)(at / USEC_PER_SEC));
    if (strchr(host, ':') || (*host >= '0' && *host <= '9')) {
        assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(p, host), 1);
    } else {
        assert_int_equal(X509_VERIFY_PARAM_set1_host(p, host, 0), 1);
    }
    int rc = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}

static void test_a_strict_verifier_accepts_the_certificate(void **state) {
    auto_pki struct pki ca = {0}, server = {0}, other = {0};
    auto_names struct pki_names names = {0}, found = {0};
    struct err err = {0};
    make(&ca, &server, &names);
    assert_int_equal(verify(server.cert, ca.cert, "localhost", NOW), X509_V_OK);
    assert_int_equal(verify(server.cert, ca.cert, "us-central1-aiplatform.googleapis.com", NOW),
                     X509_V_OK);
    assert_int_equal(verify(server.cert, ca.cert, "127.0.0.1", NOW), X509_V_OK);
    assert_int_equal(verify(server.cert, ca.cert, "fd00::2", NOW), X509_V_OK);
    assert_int_equal(verify(server.cert, ca.cert, "localhost", NOW - USEC_PER_SEC * 3500),
                     X509_V_OK);
    assert_int_equal(verify(server.cert, ca.cert, "a.b.googleapis.com", NOW),
                     X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(verify(server.cert, ca.cert, "127.0.0.2", NOW),
                     X509_V_ERR_IP_ADDRESS_MISMATCH);
    assert_int_equal(verify(server.cert, ca.cert, "localhost", NOW + 31 * DAY),
                     X509_V_ERR_CERT_HAS_EXPIRED);
    assert_int_equal(verify(server.cert, ca.cert, "localhost", NOW - DAY),
                     X509_V_ERR_CERT_NOT_YET_VALID);
    assert_true(pki_is_ca(ca.cert) && !pki_is_ca(server.cert));
    assert_true(pki_issued_by(server.cert, ca.cert) && pki_key_fits(&server));
    pki_names_of(server.cert, &found);
    assert_true(pki_names_same(&names, &found));
    ok(pki_make_key(&other, &err) || pki_make_ca(&other, "a CA", NOW, 100, &err), &err);
    assert_false(pki_issued_by(server.cert, other.cert)); /* the same name, another key */
    assert_int_not_equal(verify(server.cert, other.cert, "localhost", NOW), X509_V_OK);
    ok(pki_make_server(&server, &ca, &names, NOW, 500, &err), &err);
    assert_true(pki_not_after(server.cert) == pki_not_after(ca.cert));
}

static void test_pem_there_and_back(void **state) {
    auto_pki struct pki ca = {0}, server = {0}, back = {0};
    auto_names struct pki_names names = {0};
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct err err = {0};
    make(&ca, &server, &names);
    ok(pki_put_cert(&b, server.cert, &err) || pki_put_key(&b, server.key, &err), &err);
    ok(pki_read_cert(buf_str(&b), &back.cert, &err) || pki_read_key(buf_str(&b), &back.key, &err),
       &err);
    assert_true(pki_key_fits(&back) && X509_cmp(back.cert, server.cert) == 0);
    assert_int_equal(pki_read_cert(STR("junk"), &ca.cert, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(pki_read_key(STR(""), &ca.key, &err), -1);
    struct str half = str_n(b.p, b.n / 3);
    assert_int_equal(pki_read_cert(half, &ca.cert, &err), -1);
}

static void test_the_trust_store_has_a_trusted_entry(void **state) {
    auto_pki struct pki ca = {0}, server = {0};
    auto_names struct pki_names names = {0};
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct err err = {0};
    make(&ca, &server, &names);
    ok(pki_trust_store(&b, &ca.cert, 1, "cusp", "changeit", &err), &err);
    BIO *in = BIO_new_mem_buf(b.p, (int)b.n);
    PKCS12 *p12 = d2i_PKCS12_bio(in, NULL);
    STACK_OF(X509) *certs = NULL;
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    assert_int_equal(PKCS12_verify_mac(p12, "wrong", -1), 0);
    assert_int_equal(PKCS12_parse(p12, "changeit", &key, &cert, &certs), 1);
    assert_null(key);
    assert_int_equal(sk_X509_num(certs), 1);
    assert_int_equal(X509_cmp(sk_X509_value(certs, 0), ca.cert), 0);
    static const unsigned char usage[] = {0x60, 0x86, 0x48, 0x01, 0x86, 0xf9,
                                          0x66, 0xad, 0xca, 0x7b, 0x01, 0x01};
    assert_true(str_find(buf_str(&b), str_n((const char *)usage, sizeof(usage))) > 0);
    sk_X509_pop_free(certs, X509_free);
    PKCS12_free(p12);
    BIO_free(in);
}

/* ---- the folder */

static char *folder(void) {
    char *dir = xstrdup("/tmp/cusp-tls-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void drop(char *dir) {
    auto_free char *cmd = xasprintf("rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
    free(dir);
}

static struct tls_done run(const char *dir, usec_t now, const char *host, bool anew) {
    struct tls_wish w = {.dir = dir,
                         .hosts = &host,
                         .nr_hosts = host ? 1 : 0,
                         .days = 100,
                         .anew = anew,
                         .now = now};
    struct tls_done done = {0};
    struct err err = {0};
    ok(tls_make(&w, &done, &err), &err);
    auto_tls_files struct tls_files f = {0};
    ok(tls_look(dir, now, &f, &err), &err);
    assert_null(f.bad);
    return done;
}

static void check_refused(const char *dir, const char *why) {
    struct tls_wish w = {.dir = dir, .days = 100, .now = NOW};
    struct tls_done done;
    struct err err = {0};
    assert_int_equal(tls_make(&w, &done, &err), -1);
    assert_int_equal(err.code, ERR_FAILED_PRECONDITION);
    if (!strstr(err.msg, why) || !strstr(err.msg, "--force")) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
    }
}

static void swap(const char *dir, const char *a, const char *b) {
    auto_free char *from = xasprintf("%s/%s", dir, a);
    auto_free char *to = xasprintf("%s/%s", dir, b);
    assert_int_equal(rename(from, to), 0);
}

static void test_the_ca_stays_and_the_certificate_follows(void **state) {
    char *dir = folder();
    struct tls_done d = run(dir, NOW, NULL, false);
    assert_true(d.ca == TLS_MADE && d.server == TLS_MADE);
    d = run(dir, NOW + DAY, NULL, false);
    assert_true(d.ca == TLS_KEPT && d.server == TLS_KEPT);
    d = run(dir, NOW + DAY, "one.example", false);
    assert_true(d.ca == TLS_KEPT && d.server == TLS_RENEWED);
    assert_string_equal(d.why, "the names changed");
    d = run(dir, NOW + DAY, NULL, false); /* remembered */
    assert_true(d.server == TLS_KEPT);
    d = run(dir, NOW + 70 * DAY, NULL, false);
    assert_true(d.server == TLS_KEPT);
    d = run(dir, NOW + 72 * DAY, NULL, false);
    assert_string_equal(d.why, "it was about to expire");
    d = run(dir, NOW, NULL, true);
    assert_true(d.ca == TLS_MADE && d.server == TLS_MADE);
    drop(dir);
}

static void test_keys_are_private_and_repaired(void **state) {
    char *dir = folder();
    (void)run(dir, NOW, NULL, false);
    static const char *const keys[] = {"ca.key", "server.key"};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < NR_OF(keys); i++) {
            struct stat st;
            auto_free char *path = xasprintf("%s/%s", dir, keys[i]);
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_mode & 07777, 0600);
            assert_int_equal(chmod(path, 0644), 0);
        }
        (void)run(dir, NOW, NULL, false);
    }
    swap(dir, "server.key", "lost");
    struct tls_done d = run(dir, NOW, NULL, false);
    assert_string_equal(d.why, "its key was another");
    auto_free char *pem = xasprintf("%s/server.pem", dir);
    assert_int_equal(truncate(pem, 100), 0);
    d = run(dir, NOW, NULL, false);
    assert_int_equal(d.server, TLS_MADE);
    drop(dir);
}

static void test_a_ca_that_cannot_sign_is_never_replaced_in_passing(void **state) {
    char *dir = folder(), *other = folder();
    (void)run(dir, NOW, NULL, false);
    (void)run(other, NOW, NULL, false);
    swap(dir, "ca.key", "kept");
    check_refused(dir, "has no ca.key");
    auto_free char *cmd = xasprintf("cp %s/ca.key %s/ca.key", other, dir);
    assert_int_equal(system(cmd), 0);
    check_refused(dir, "does not belong");
    swap(dir, "kept", "ca.key");
    assert_int_equal(run(dir, NOW, NULL, false).server, TLS_KEPT);
    struct tls_wish late = {.dir = dir, .days = 100, .now = NOW + 3651 * DAY};
    struct tls_done done;
    struct err err = {0};
    assert_int_equal(tls_make(&late, &done, &err), -1);
    assert_non_null(strstr(err.msg, "has expired"));
    swap(dir, "server.pem", "ca.pem"); /* a certificate that is no CA's */
    check_refused(dir, "does not belong");
    swap(dir, "server.key", "ca.key");
    check_refused(dir, "is no CA certificate");
    drop(dir);
    drop(other);
}

static void test_an_init_that_died_is_finished_by_the_next(void **state) {
    static const char *const steps[] = {"ca.pem", "ca.p12", "server.pem"};
    for (size_t i = 0; i < NR_OF(steps); i++) {
        char *dir = folder();
        (void)run(dir, NOW, NULL, false);
        for (size_t k = i; k < NR_OF(steps); k++) {
            auto_free char *path = xasprintf("%s/%s", dir, steps[k]);
            assert_int_equal(unlink(path), 0);
        }
        (void)run(dir, NOW, NULL, false);
        auto_free char *p12 = xasprintf("%s/ca.p12", dir);
        assert_int_equal(access(p12, R_OK), 0);
        drop(dir);
    }
}

static void test_looking_says_what_a_client_would_refuse(void **state) {
    char *dir = folder();
    struct err err = {0};
    auto_tls_files struct tls_files f = {0};
    assert_int_equal(tls_look(dir, NOW, &f, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    (void)run(dir, NOW, NULL, false);
    ok(tls_look(dir, NOW + 101 * DAY, &f, &err), &err);
    assert_non_null(strstr(f.bad, "has expired"));
    tls_files_fini(&f);
    f = (struct tls_files){0};
    swap(dir, "server.pem", "gone");
    ok(tls_look(dir, NOW, &f, &err), &err);
    assert_non_null(strstr(f.bad, "no server.pem"));
    drop(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_hosts_or_addresses),
        cmocka_unit_test(test_a_strict_verifier_accepts_the_certificate),
        cmocka_unit_test(test_pem_there_and_back),
        cmocka_unit_test(test_the_trust_store_has_a_trusted_entry),
        cmocka_unit_test(test_the_ca_stays_and_the_certificate_follows),
        cmocka_unit_test(test_keys_are_private_and_repaired),
        cmocka_unit_test(test_a_ca_that_cannot_sign_is_never_replaced_in_passing),
        cmocka_unit_test(test_an_init_that_died_is_finished_by_the_next),
        cmocka_unit_test(test_looking_says_what_a_client_would_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
