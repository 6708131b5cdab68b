/* cusp tls: the local CA that clients trust, and the certificate the server shows them. */
#include "pki/tls.h"

#include "cli/cli.h"

#include <unistd.h>

#define DAYS_DEFAULT 397
#define DAYS_MAX 825 /* what strict clients accept of any CA, private ones too */

/* Owned. */
static char *folder_of(const struct args *a, struct err *err) {
    const char *out = args_get(a, "--out"), *data = args_get(a, "--data-dir");
    const char *env = getenv("CUSP_DATA_DIR");
    if (out && data) {
        err_set(err, ERR_INVALID_ARGUMENT,
                "--out and --data-dir are two ways to say where: give one");
        return NULL;
    }
    data = data || out ? data : env;
    if (!out && !(data && *data)) {
        err_set(err, ERR_INVALID_ARGUMENT,
                "where? --data-dir DIR (the server's, files go to DIR/tls) or --out DIR");
        return NULL;
    }
    return out ? xstrdup(out) : xasprintf("%s/tls", data);
}

static json_t *names_json(const struct pki_names *n) {
    json_t *all = json_array();
    for (size_t i = 0; i < n->v.n; i++) {
        json_array_append_new(all, json_string(n->v.p[i]));
    }
    return all;
}

static json_t *cert_json(const char *dir, const char *file, X509 *cert) {
    auto_buf struct buf subject = BUF_INIT(4096);
    auto_buf struct buf from = BUF_INIT(64);
    auto_buf struct buf until = BUF_INIT(64);
    auto_buf struct buf print = BUF_INIT(128);
    auto_free char *path = xasprintf("%s/%s", dir, file);
    pki_subject(&subject, cert);
    pki_fingerprint(&print, cert);
    time_format_rfc3339(&from, pki_not_before(cert));
    time_format_rfc3339(&until, pki_not_after(cert));
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "path", path, "subject", buf_cstr(&subject),
                     "notBefore", buf_cstr(&from), "notAfter", buf_cstr(&until),
                     "sha256Fingerprint", buf_cstr(&print));
}

static json_t *files_json(const char *dir, const struct tls_files *f) {
    json_t *j = json_object(), *server;
    json_object_set_new(j, "ca", cert_json(dir, "ca.pem", f->ca.cert));
    if (f->server.cert) {
        server = cert_json(dir, "server.pem", f->server.cert);
        json_object_set_new(server, "names", names_json(&f->names));
        json_object_set_new(j, "server", server);
    }
    json_object_set_new(j, "ok", json_boolean(!f->bad));
    if (f->bad) {
        json_object_set_new(j, "problem", json_string(f->bad));
    }
    return j;
}

static void until_text(struct buf *b, usec_t until, usec_t now) {
    auto_buf struct buf t = BUF_INIT(64);
    long long days = ((long long)until - (long long)now) / 86400 / (long long)USEC_PER_SEC;
    time_format_rfc3339(&t, until);
    buf_printf(b, "%.10s (%lld days %s)", buf_cstr(&t), days < 0 ? -days : days,
               until <= now ? "ago" : "left");
}

static void print_cert(const char *dir, const char *file, X509 *cert, usec_t now) {
    auto_buf struct buf subject = BUF_INIT(4096);
    auto_buf struct buf until = BUF_INIT(128);
    auto_buf struct buf print = BUF_INIT(128);
    pki_subject(&subject, cert);
    pki_fingerprint(&print, cert);
    until_text(&until, pki_not_after(cert), now);
    printf("%s/%s\n  subject  %s\n  until    %s\n  sha256   %s\n", dir, file, buf_cstr(&subject),
           buf_cstr(&until), buf_cstr(&print));
}

/* Names in lines of a terminal's width. */
static void print_names(const struct pki_names *n) {
    size_t column = 0;
    for (size_t i = 0; i < n->v.n; i++) {
        size_t w = strlen(n->v.p[i]) + 1;
        if (!i || column + w > 90) {
            printf("%s  %-8s", i ? "\n" : "", i ? "" : "names");
            column = 10;
        }
        printf(" %s", n->v.p[i]);
        column += w;
    }
    puts("");
}

static int show(const struct cli *c, const char *dir, struct err *err) {
    auto_tls_files struct tls_files f = {0};
    usec_t now = time_wall();
    if (tls_look(dir, now, &f, err)) {
        return -1;
    }
    if (c->json) {
        json_t *j = files_json(dir, &f);
        out_json(j);
        json_decref(j);
    } else {
        print_cert(dir, "ca.pem", f.ca.cert, now);
        if (f.server.cert) {
            print_cert(dir, "server.pem", f.server.cert, now);
            print_names(&f.names);
        }
    }
    if (f.bad) {
        fprintf(stderr, "cusp: %s\n", f.bad);
    }
    return f.bad ? EXIT_FAILED : EXIT_OK;
}

static const char *word_of(enum tls_did did) {
    return did == TLS_MADE ? "made" : did == TLS_RENEWED ? "renewed" : "kept";
}

static int init(const struct cli *c, const char *dir, const struct args *a, struct err *err) {
    const struct flag *hosts = args_flag(a, "--host");
    const char *days_text = args_get(a, "--days");
    uint64_t days = DAYS_DEFAULT;
    struct tls_done done;
    auto_tls_files struct tls_files f = {0};
    if (days_text && (!str_to_u64(str_of(days_text), &days) || !days || days > DAYS_MAX)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "--days is 1 to %d (clients refuse longer ones), not \"%s\"", DAYS_MAX,
                       days_text);
    }
    struct tls_wish w = {.dir = dir,
                         .hosts = hosts->values,
                         .nr_hosts = hosts->nr,
                         .days = (unsigned)days,
                         .anew = args_on(a, "--force"),
                         .now = time_wall()};
    if (tls_make(&w, &done, err) || tls_look(dir, w.now, &f, err)) {
        return -1;
    }
    if (c->json) {
        json_t *j = files_json(dir, &f);
        json_object_set_new(json_object_get(j, "ca"), "action", json_string(word_of(done.ca)));
        json_object_set_new(json_object_get(j, "server"), "action",
                            json_string(word_of(done.server)));
        out_json(j);
        json_decref(j);
        return 0;
    }
    if (c->quiet) {
        return 0;
    }
    auto_buf struct buf ca_until = BUF_INIT(128);
    auto_buf struct buf until = BUF_INIT(128);
    until_text(&ca_until, pki_not_after(f.ca.cert), w.now);
    until_text(&until, pki_not_after(f.server.cert), w.now);
    printf("CA           %-8s %s/ca.pem, until %s\n", word_of(done.ca), dir, buf_cstr(&ca_until));
    printf("certificate  %-8s %s/server.pem, until %s%s%s\n", word_of(done.server), dir,
           buf_cstr(&until), done.why ? ": " : "", done.why ? done.why : "");
    print_names(&f.names);
    if (done.ca == TLS_MADE || done.server != TLS_KEPT) {
        fprintf(stderr, "\nA running server takes them on SIGHUP: kill -HUP $(pidof cuspd)\n"
                        "Clients: cusp env --help\n");
    }
    return 0;
}

int cmd_tls(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--data-dir"},
                           {.name = "--out"},
                           {.name = "--host"},
                           {.name = "--days"},
                           {.name = "--force", .is_bool = true}};
    const char *verb = argv[0];
    bool is_init = strcmp(verb, "init") == 0;
    auto_args struct args a = {flags, is_init ? NR_OF(flags) : 2, NULL, 0};
    if (!is_init && strcmp(verb, "show") != 0) {
        return no_verb("tls", verb, err);
    }
    if (args_parse_flags(&a, argc - 1, argv + 1, err)) {
        return -1;
    }
    auto_free char *dir = folder_of(&a, err);
    if (!dir) {
        return -1;
    }
    return is_init ? init(c, dir, &a, err) : show(c, dir, err);
}
