/* The folder of TLS files: what is there, what is stale, what must never be replaced. */
#include "pki/tls.h"

#include "sys/files.h"
#include "sys/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define CA_DAYS 3650
#define RENEW_DAYS 30
#define HOSTS_MAX 256
#define KEY_MODE 0600
#define CERT_MODE 0644

struct folder {
    int fd;
    const char *path;
    uid_t uid; /* of the folder: root makes the files for the server's user */
    gid_t gid;
};

/* 1: read, 0: there is no such file. */
static int read_file(const struct folder *d, const char *name, struct buf *b, struct err *err) {
    if (faccessat(d->fd, name, F_OK, 0) && errno == ENOENT) {
        return 0;
    }
    return file_read(d->fd, name, b, err) ? err_wrap(err, "%s/%s", d->path, name) : 1;
}

static int write_file(const struct folder *d, const char *name, struct str text, mode_t mode,
                      struct err *err) {
    if (file_write_atomic(d->fd, name, text, mode, FILE_SYNC, err)) {
        return err_wrap(err, "%s", d->path);
    }
    if (geteuid() == 0 && d->uid && fchownat(d->fd, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW)) {
        return err_sys(err, errno, "give %s/%s to the folder's owner", d->path, name);
    }
    return 0;
}

static int read_cert(const struct folder *d, const char *name, X509 **ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    int got = read_file(d, name, &b, err);
    if (got == 1 && pki_read_cert(buf_str(&b), ret, err)) {
        return err_wrap(err, "%s/%s", d->path, name);
    }
    return got;
}

static int read_key(const struct folder *d, const char *name, EVP_PKEY **ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    int got = read_file(d, name, &b, err);
    if (got == 1 && pki_read_key(buf_str(&b), ret, err)) {
        got = err_wrap(err, "%s/%s", d->path, name);
    }
    if (b.p) {
        explicit_bzero(b.p, b.n);
    }
    return got;
}

static int write_key(const struct folder *d, const char *name, EVP_PKEY *key, struct err *err) {
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    int rc = pki_put_key(&b, key, err);
    rc = rc ? rc : write_file(d, name, buf_str(&b), KEY_MODE, err);
    if (b.p) {
        explicit_bzero(b.p, b.n);
    }
    return rc;
}

/* The key there is, made readable by its owner only; or a new one. */
static int have_key(const struct folder *d, const char *name, struct pki *p, struct err *err) {
    int got = read_key(d, name, &p->key, err);
    if (got == 1 && fchmodat(d->fd, name, KEY_MODE, 0)) {
        return err_sys(err, errno, "protect %s/%s", d->path, name);
    }
    if (got == 0) {
        return pki_make_key(p, err) || write_key(d, name, p->key, err) ? -1 : 0;
    }
    return got < 0 ? -1 : 0;
}

static int open_folder(const char *path, bool make, struct folder *d, struct err *err) {
    struct stat st;
    if (make && file_mkdirs(AT_FDCWD, path, 0755, err)) {
        return -1;
    }
    *d = (struct folder){.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .path = path};
    if (d->fd < 0 || fstat(d->fd, &st)) {
        return err_sys(err, errno, "open %s", path);
    }
    d->uid = st.st_uid;
    d->gid = st.st_gid;
    if (make && st.st_uid == 0 && geteuid() == 0) { /* we made it: look at who owns the data */
        if (fstatat(d->fd, "..", &st, 0) == 0 && st.st_uid &&
            fchown(d->fd, st.st_uid, st.st_gid) == 0) {
            d->uid = st.st_uid;
            d->gid = st.st_gid;
        }
    }
    return 0;
}

static usec_t in_days(usec_t now, unsigned days) {
    return now + (usec_t)days * 86400 * USEC_PER_SEC;
}

/* ---- the CA */

static int write_trust(const struct folder *d, X509 *ca, struct err *err) {
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    return pki_trust_store(&b, &ca, 1, "cusp", TLS_TRUST_PASSWORD, err) ||
                   write_file(d, "ca.p12", buf_str(&b), CERT_MODE, err)
               ? -1
               : 0;
}

static int make_ca(const struct folder *d, struct pki *ca, usec_t now, struct err *err) {
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    char host[200] = "", name[65]; /* X.520: a common name has at most 64 characters */
    (void)gethostname(host, sizeof(host) - 1);
    snprintf(name, sizeof(name), "cusp local CA (%.48s)", host[0] ? host : "this machine");
    return have_key(d, "ca.key", ca, err) || pki_make_ca(ca, name, now, CA_DAYS, err) ||
                   pki_put_cert(&b, ca->cert, err) || write_trust(d, ca->cert, err) ||
                   write_file(d, "ca.pem", buf_str(&b), CERT_MODE, err)
               ? -1
               : 0;
}

static int refuse(const struct folder *d, const char *what, struct err *err) {
    return err_set(err, ERR_FAILED_PRECONDITION,
                   "%s/ca.pem %s, so no certificate can be signed with it. Put the right ca.key "
                   "back, or begin anew with --force: every client must then be given the new "
                   "ca.pem",
                   d->path, what);
}

/* Clients must hear of another CA from a person, never from us in passing. */
static int have_ca(const struct folder *d, struct pki *ca, usec_t now, struct tls_done *done,
                   struct err *err) {
    int cert = read_cert(d, "ca.pem", &ca->cert, err);
    if (cert == 0) { /* with the key of an init that died before ca.pem, if there is one */
        done->ca = TLS_MADE;
        return make_ca(d, ca, now, err);
    }
    int key = cert < 0 ? -1 : read_key(d, "ca.key", &ca->key, err);
    if (key < 0) {
        return -1;
    }
    if (key == 0) {
        return refuse(d, "has no ca.key beside it", err);
    }
    if (!pki_key_fits(ca)) {
        return refuse(d, "does not belong to the ca.key beside it", err);
    }
    if (!pki_is_ca(ca->cert)) {
        return refuse(d, "is no CA certificate", err);
    }
    if (pki_not_after(ca->cert) <= now) {
        return refuse(d, "has expired", err);
    }
    if (fchmodat(d->fd, "ca.key", KEY_MODE, 0)) {
        return err_sys(err, errno, "protect %s/ca.key", d->path);
    }
    done->ca = TLS_KEPT;
    return faccessat(d->fd, "ca.p12", F_OK, 0) ? write_trust(d, ca->cert, err) : 0;
}

/* Nothing may be left that belongs to the CA that goes; the old one stays to be looked at. */
static int forget(const struct folder *d, struct err *err) {
    static const char *const files[][2] = {{"server.pem", NULL},
                                           {"server.key", NULL},
                                           {"ca.p12", NULL},
                                           {"ca.pem", "ca.pem.old"},
                                           {"ca.key", "ca.key.old"}};
    for (size_t i = 0; i < NR_OF(files); i++) {
        int rc = files[i][1] ? renameat(d->fd, files[i][0], d->fd, files[i][1])
                             : unlinkat(d->fd, files[i][0], 0);
        if (rc && errno != ENOENT) {
            return err_sys(err, errno, "remove %s/%s", d->path, files[i][0]);
        }
    }
    return 0;
}

/* ---- the server's certificate */

/* Names given now and earlier; one a line in `hosts`. */
static int remember_hosts(const struct folder *d, const struct tls_wish *w, struct pki_names *asked,
                          struct err *err) {
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    auto_buf struct buf out = BUF_INIT(FILE_MAX);
    int got = read_file(d, "hosts", &b, err);
    if (got < 0) {
        return -1;
    }
    struct str rest = buf_str(&b);
    while (got && rest.p) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        auto_free char *name = str_dup(line);
        if (line.n && pki_name_add(asked, name, err)) {
            return err_wrap(err, "%s/hosts", d->path);
        }
    }
    size_t before = asked->v.n;
    for (size_t i = 0; i < w->nr_hosts; i++) {
        if (pki_name_add(asked, w->hosts[i], err)) {
            return err_wrap(err, "--host");
        }
    }
    if (asked->v.n > HOSTS_MAX) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "%zu names with --host; at most %d fit (%s/hosts)", asked->v.n, HOSTS_MAX,
                       d->path);
    }
    for (size_t i = 0; i < asked->v.n; i++) {
        buf_printf(&out, "%s\n", asked->v.p[i]);
    }
    return asked->v.n == before ? 0 : write_file(d, "hosts", buf_str(&out), CERT_MODE, err);
}

/* Why the certificate there is will not do, or NULL. */
static const char *stale(const struct pki *server, const struct pki *ca,
                         const struct pki_names *names, usec_t now) {
    auto_names struct pki_names has = {0};
    if (!pki_key_fits(server)) {
        return "its key was another";
    }
    if (!pki_issued_by(server->cert, ca->cert)) {
        return "the CA had not signed it";
    }
    if (pki_not_after(server->cert) < in_days(now, RENEW_DAYS) &&
        pki_not_after(server->cert) < pki_not_after(ca->cert)) {
        return "it was about to expire";
    }
    pki_names_of(server->cert, &has);
    return pki_names_same(&has, names) ? NULL : "the names changed";
}

static int have_server(const struct folder *d, const struct tls_wish *w, const struct pki *ca,
                       struct tls_done *done, struct err *err) {
    auto_pki struct pki server = {0};
    auto_names struct pki_names asked = {0}, names = {0};
    auto_buf struct buf b = BUF_INIT(FILE_MAX);
    if (remember_hosts(d, w, &asked, err) || have_key(d, "server.key", &server, err)) {
        return -1;
    }
    for (size_t i = 0; w->only && w->only[i]; i++) {
        if (pki_name_add(&names, w->only[i], err)) {
            return -1;
        }
    }
    if (!w->only) {
        cert_names(&names, &asked);
    }
    struct err broken = {0};
    int got = read_cert(d, "server.pem", &server.cert, &broken);
    if (got < 0 && broken.code != ERR_INVALID_ARGUMENT) { /* half a file is made anew */
        *err = broken;
        return -1;
    }
    done->why = got == 1 ? stale(&server, ca, &names, w->now) : NULL;
    done->server = got < 1 ? TLS_MADE : done->why ? TLS_RENEWED : TLS_KEPT;
    if (done->server == TLS_KEPT) {
        return 0;
    }
    return pki_make_server(&server, ca, &names, w->now, w->days, err) ||
                   pki_put_cert(&b, server.cert, err) || pki_put_cert(&b, ca->cert, err) ||
                   write_file(d, "server.pem", buf_str(&b), CERT_MODE, err)
               ? -1
               : 0;
}

int tls_make(const struct tls_wish *w, struct tls_done *ret, struct err *err) {
    struct folder d;
    struct tls_done done = {TLS_KEPT, TLS_KEPT, NULL};
    auto_pki struct pki ca = {0};
    if (open_folder(w->dir, true, &d, err)) {
        return -1;
    }
    auto_close int fd = d.fd;
    auto_close int lock = lockfile_take(fd, ".lock", err);
    if (lock < 0) {
        return err_wrap(err, "%s", w->dir);
    }
    if ((w->anew && forget(&d, err)) || have_ca(&d, &ca, w->now, &done, err) ||
        have_server(&d, w, &ca, &done, err)) {
        return -1;
    }
    *ret = done;
    return 0;
}

/* ---- looking */

static const char *what_is_bad(const struct tls_files *f, usec_t now) {
    if (!f->server.cert) {
        return "there is no server.pem: run cusp tls init";
    }
    return pki_not_after(f->ca.cert) <= now             ? "the CA has expired"
           : !pki_issued_by(f->server.cert, f->ca.cert) ? "server.pem is not signed by ca.pem"
           : pki_not_after(f->server.cert) <= now ? "server.pem has expired: run cusp tls init"
           : pki_not_before(f->server.cert) > now
               ? "server.pem is not valid yet: is the clock right?"
               : NULL;
}

int tls_look(const char *dir, usec_t now, struct tls_files *ret, struct err *err) {
    struct folder d;
    struct tls_files f = {0};
    if (open_folder(dir, false, &d, err)) {
        return -1;
    }
    auto_close int fd = d.fd;
    int got = read_cert(&d, "ca.pem", &f.ca.cert, err);
    if (got == 0) {
        err_set(err, ERR_NOT_FOUND, "no ca.pem in %s; cusp tls init makes one", dir);
    }
    if (got < 1 || read_cert(&d, "server.pem", &f.server.cert, err) < 0) {
        tls_files_fini(&f);
        return -1;
    }
    if (f.server.cert) {
        pki_names_of(f.server.cert, &f.names);
    }
    f.bad = what_is_bad(&f, now);
    *ret = f;
    return 0;
}

void tls_files_fini(struct tls_files *f) {
    pki_fini(&f->ca);
    pki_fini(&f->server);
    pki_names_fini(&f->names);
}
