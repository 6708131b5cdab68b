/* How the server is reached and whom clients should trust. */
#include "cli/cli.h"
#include "cli/env.h"
#include "pki/tls.h"
#include "sys/files.h"

#include <fcntl.h>

#define CA_MAX (1u << 20)

/* The CA's text: from --ca, --data-dir or the server itself. *tls and *clear say what the server
 * takes. */
static int find_ca(const struct cli *c, const char *ca, const char *data, struct buf *pem,
                   bool *tls, bool *clear, struct err *err) {
    const char *known = getenv("CUSP_CA");
    auto_free char *in_data = data ? xasprintf("%s/tls/ca.pem", data) : NULL;
    const char *file = ca ? ca : in_data;
    json_t *j = NULL;
    struct err e = {0};
    *clear = strncmp(c->endpoint, "https:", 6) != 0;
    if (!file && !*clear && known && *known) {
        file = known;
    }
    if (file) { /* whether the server has TLS is then the user's knowledge, if we cannot ask */
        *tls = true;
        if (file_read(AT_FDCWD, file, pem, err)) {
            return err_wrap(err, "%s", file);
        }
    }
    if (!*clear && !file) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "%s has TLS: say whom to trust with --ca FILE, --data-dir DIR (the "
                       "server's) or CUSP_CA",
                       c->endpoint);
    }
    if (!*clear) {
        return 0;
    }
    if (http_json(c, "GET", "/cusp/v1/tls", NULL, &j, &e)) {
        if (!file && !c->quiet) {
            fprintf(stderr,
                    "cusp: %s does not say whether it has TLS (%s): notes for clear text only. "
                    "--data-dir or --ca would tell\n",
                    c->endpoint, e.code == ERR_UNAVAILABLE ? "no answer" : e.msg);
        }
        return 0;
    }
    const char *mode = json_string_value(json_object_get(j, "mode"));
    const char *text = json_string_value(json_object_get(j, "caPem"));
    *tls = mode && strcmp(mode, "off") != 0;
    *clear = !mode || strcmp(mode, "required") != 0;
    if (*tls && !file && text) {
        (void)buf_puts(pem, text);
    } else if (*tls && !file && !c->quiet) {
        fprintf(stderr,
                "cusp: the server's certificate is not from cusp tls init: clients must trust "
                "its CA already, or give it with --ca\n");
    }
    json_decref(j);
    return 0;
}

/* "http://[::1]:8780" -> "[::1]" and "8780". Owned. */
static void split(const char *url, char **host, char **port) {
    bool tls = strncmp(url, "https:", 6) == 0;
    struct str rest = str_of(url);
    ptrdiff_t at = str_find(rest, STR("://"));
    rest = at < 0 ? rest : str_sub(rest, (size_t)at + 3, rest.n);
    rest = str_cut(&rest, '/');
    ptrdiff_t end = rest.n && rest.p[0] == '[' ? str_chr(rest, ']') : 0;
    struct str after = str_sub(rest, end < 0 ? 0 : (size_t)end, rest.n);
    ptrdiff_t colon = str_chr(after, ':');
    struct str h = colon < 0 ? rest : str_sub(rest, 0, (size_t)(end < 0 ? 0 : end) + (size_t)colon);
    struct str p =
        colon < 0 ? str_of(tls ? "443" : "80") : str_sub(after, (size_t)colon + 1, after.n);
    *host = str_dup(h);
    *port = str_dup(p);
}

static bool is_loopback(const char *host) {
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
}

/* The clients heed the usual variables; the server is not behind any proxy. Owned, or NULL. */
static char *no_proxy_of(const char *host) {
    static const char *const proxies[] = {"http_proxy",  "https_proxy", "all_proxy", "HTTP_PROXY",
                                          "HTTPS_PROXY", "ALL_PROXY",   "grpc_proxy"};
    const char *old = getenv("NO_PROXY") ? getenv("NO_PROXY") : getenv("no_proxy");
    for (size_t i = 0; i < NR_OF(proxies); i++) {
        if (getenv(proxies[i])) {
            return old && strstr(old, host) ? xstrdup(old)
                                            : xasprintf("localhost,127.0.0.1,%s%s%s", host,
                                                        old && *old ? "," : "", old ? old : "");
        }
    }
    return NULL;
}

int env_find(struct env_facts *ret, const struct cli *c, const char *ca, const char *data_dir,
             struct err *err) {
    auto_buf struct buf pem = BUF_INIT(CA_MAX);
    struct trust trust = {0};
    bool tls = false, clear = true;
    if (find_ca(c, ca, data_dir, &pem, &tls, &clear, err) ||
        (pem.n && trust_make(&trust, buf_str(&pem), err))) {
        return -1;
    }
    struct env_facts f = {.clear = clear, .tls = tls, .project = c->project, .region = c->region};
    split(c->endpoint, &f.host, &f.port);
    f.tls_host = xstrdup(is_loopback(f.host) ? "localhost" : f.host);
    f.url = clear ? xstrdup(c->endpoint) : xasprintf("https://%s:%s", f.tls_host, f.port);
    f.no_proxy = no_proxy_of(f.host);
    f.trust = trust;
    *ret = f;
    return 0;
}

void env_facts_fini(struct env_facts *f) {
    free(f->url);
    free(f->host);
    free(f->tls_host);
    free(f->port);
    free(f->no_proxy);
    trust_fini(&f->trust);
}
