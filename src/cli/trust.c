/* CA bundles for clients of several languages. */
#include "cli/trust.h"

#include "pki/tls.h"
#include "sys/files.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#define BUNDLE_MAX (16u << 20)
#define CERTS_MAX 1000

/* Where distributions keep the authorities of the system. */
static const char *const systems[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch, Alpine */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
    "/etc/ssl/ca-bundle.pem",             /* SUSE */
    "/etc/ssl/cert.pem",
};

static char *cache_folder(struct err *err) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const struct passwd *pw = home && *home ? NULL : getpwuid(getuid());
    home = pw ? pw->pw_dir : home;
    if (cache && *cache == '/') {
        return xasprintf("%s/cusp/trust", cache);
    }
    if (home && *home == '/') {
        return xasprintf("%s/.cache/cusp/trust", home);
    }
    err_set(err, ERR_FAILED_PRECONDITION,
            "no place for the CA files of clients: set HOME or XDG_CACHE_HOME");
    return NULL;
}

static int write_changed(const char *path, struct str text, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUNDLE_MAX);
    if (file_read(AT_FDCWD, path, &b, NULL) == 0 && str_eq(buf_str(&b), text)) {
        return 0;
    }
    return file_write_atomic(AT_FDCWD, path, text, 0644, FILE_NO_SYNC, err);
}

/* The CA first: what reads only one certificate reads ours. */
static int make_bundle(struct buf *b, struct str ca, struct err *err) {
    (void)buf_put_str(b, ca);
    for (size_t i = 0; i < NR_OF(systems); i++) {
        if (access(systems[i], R_OK) == 0) {
            return file_read(AT_FDCWD, systems[i], b, err);
        }
    }
    return 0;
}

static int make_store(struct buf *b, struct str bundle, struct err *err) {
    X509 *certs[CERTS_MAX];
    size_t n = pki_read_certs(bundle, certs, NR_OF(certs));
    int rc = pki_trust_store(b, certs, n, "cusp", TLS_TRUST_PASSWORD, err);
    for (size_t i = 0; i < n; i++) {
        X509_free(certs[i]);
    }
    return rc;
}

/* Of the CA and the bundle: an update of the system's authorities makes a new store, else it stays
 * (a PKCS #12 file differs each time it is made). */
static char *folder_of(X509 *ca, struct err *err) {
    auto_buf struct buf print = BUF_INIT(128);
    auto_buf struct buf name = BUF_INIT(128);
    auto_free char *cache = cache_folder(err);
    pki_fingerprint(&print, ca);
    for (size_t i = 0; i < print.n && name.n < 16; i++) {
        if (print.p[i] != ':') {
            buf_putc(&name, print.p[i]);
        }
    }
    return cache ? xasprintf("%s/%s", cache, buf_cstr(&name)) : NULL;
}

int trust_make(struct trust *t, struct str ca_pem, struct err *err) {
    auto_pki struct pki ca = {0};
    auto_buf struct buf pem = BUF_INIT(BUNDLE_MAX);
    auto_buf struct buf bundle = BUF_INIT(BUNDLE_MAX);
    auto_buf struct buf store = BUF_INIT(BUNDLE_MAX);
    auto_buf struct buf old = BUF_INIT(BUNDLE_MAX);
    if (pki_read_cert(ca_pem, &ca.cert, err)) {
        return -1;
    }
    if (!pki_is_ca(ca.cert)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "that certificate is no CA's");
    }
    auto_free char *dir = folder_of(ca.cert, err);
    if (!dir || pki_put_cert(&pem, ca.cert, err) || file_mkdirs(AT_FDCWD, dir, 0755, err) ||
        make_bundle(&bundle, buf_str(&pem), err)) {
        return -1;
    }
    struct trust r = {xasprintf("%s/ca.pem", dir), xasprintf("%s/bundle.pem", dir),
                      xasprintf("%s/bundle.p12", dir)};
    bool same = access(r.store, R_OK) == 0 && file_read(AT_FDCWD, r.bundle, &old, NULL) == 0 &&
                str_eq(buf_str(&old), buf_str(&bundle));
    if ((!same &&
         (make_store(&store, buf_str(&bundle), err) ||
          file_write_atomic(AT_FDCWD, r.store, buf_str(&store), 0644, FILE_NO_SYNC, err))) ||
        write_changed(r.ca, buf_str(&pem), err) || write_changed(r.bundle, buf_str(&bundle), err)) {
        trust_fini(&r);
        return -1;
    }
    *t = r;
    return 0;
}

void trust_fini(struct trust *t) {
    free(t->ca);
    free(t->bundle);
    free(t->store);
}
