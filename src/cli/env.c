/* cusp env: finds out how the server is reached and whom to trust, and prints it for shells,
 * programs and people. */
#include "cli/env.h"

#include "cli/cli.h"
#include "cli/trust.h"
#include "sys/files.h"

#include <arpa/inet.h>
#include <fcntl.h>

#define CA_MAX (1u << 20)

/* The CA's text: from --ca, --data-dir or the server itself. *tls and *clear say what the server
 * takes. */
static int find_ca(const struct cli *c, const struct args *a, struct buf *pem, bool *tls,
                   bool *clear, struct err *err) {
    const char *data = args_get(a, "--data-dir"), *ca = args_get(a, "--ca");
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

/* ---- three ways to print */

struct seen { /* several clients share variables: each is printed once */
    VEC_OF(char *) names;
    bool comments;
};

static bool is_plain(const char *s) {
    for (; *s; s++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+[]",
                    *s)) {
            return false;
        }
    }
    return true;
}

static void shell_variable(void *arg, const char *name, const char *value) {
    struct seen *s = arg;
    for (size_t i = 0; i < s->names.n; i++) {
        if (strcmp(s->names.p[i], name) == 0) {
            return;
        }
    }
    vec_push(&s->names, xstrdup(name));
    printf("export %s=", name);
    if (is_plain(value) && !strchr(value, '[')) {
        puts(value);
        return;
    }
    putchar('\'');
    for (; *value; value++) { /* a quote ends the text, stands for itself, begins it again */
        fputs(*value == '\'' ? "'\\''" : (char[]){*value, 0}, stdout);
    }
    puts("'");
}

static void shell_snippet(void *arg, const char *transport, const char *title, const char *code) {
    struct seen *s = arg;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (s->comments) {
        indent_text(&b, code, "#     ");
        printf("#\n# %s: %s\n%s", transport, title, buf_cstr(&b));
    }
}

static void json_variable(void *arg, const char *name, const char *value) {
    json_object_set_new(json_object_get(arg, "variables"), name, json_string(value));
}

static void json_snippet(void *arg, const char *transport, const char *title, const char *code) {
    json_array_append_new(
        json_object_get(arg, "snippets"),
        json_pack("{s:s, s:s, s:s}", "transport", transport, "title", title, "code", code));
}

static void print_json(const struct env_facts *f, size_t only) {
    json_t *clients = json_object();
    for (size_t i = 0; i < ENV_CLIENTS; i++) {
        if (only == ENV_CLIENTS || i == only) {
            json_t *one = json_pack("{s:{}, s:[]}", "variables", "snippets");
            env_notes(i, f, &(struct env_sink){one, json_variable, json_snippet});
            json_object_set_new(clients, env_clients[i], one);
        }
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:b, s:b, s:s?, s:s?, s:s?}", "endpoint", f->url, "host",
                          f->tls_host, "port", f->port, "clearText", f->clear, "tls", f->tls,
                          "caFile", f->ca, "caBundle", f->bundle, "javaTrustStore", f->store);
    json_object_set_new(j, "clients", clients);
    out_json(j);
    json_decref(j);
}

static void print_shell(const struct env_facts *f, size_t only, bool comments) {
    struct seen s = {.comments = comments};
    for (size_t i = 0; i < ENV_CLIENTS; i++) {
        if (only == ENV_CLIENTS || i == only) {
            if (comments) {
                printf("%s# ---- %s\n", i && only == ENV_CLIENTS ? "\n" : "", env_clients[i]);
            }
            env_notes(i, f, &(struct env_sink){&s, shell_variable, shell_snippet});
        }
    }
    for (size_t i = 0; i < s.names.n; i++) {
        free(s.names.p[i]);
    }
    vec_fini(&s.names);
}

static int which_client(const struct args *a, size_t *ret, struct err *err) {
    *ret = ENV_CLIENTS;
    if (a->nr_words > 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp env [--shell|--json] [CLIENT]");
    }
    for (size_t i = 0; a->nr_words && i < ENV_CLIENTS; i++) {
        *ret = strcmp(a->words[0], env_clients[i]) == 0 ? i : *ret;
    }
    if (a->nr_words && *ret == ENV_CLIENTS) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "no notes for client \"%s\": python, node, java, go, gcloud or curl",
                       a->words[0]);
    }
    return 0;
}

int cmd_env(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--shell", .is_bool = true},
                           {.name = "--json", .is_bool = true},
                           {.name = "--ca"},
                           {.name = "--data-dir"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    auto_buf struct buf pem = BUF_INIT(CA_MAX);
    auto_trust struct trust trust = {0};
    auto_free char *host = NULL, *port = NULL, *url = NULL;
    bool tls = false, clear = true;
    size_t client;
    if (args_parse(&a, argc, argv, err) || which_client(&a, &client, err)) {
        return -1;
    }
    bool json = c->json || args_on(&a, "--json");
    if (json && args_on(&a, "--shell")) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--shell and --json exclude each other");
    }
    if (find_ca(c, &a, &pem, &tls, &clear, err) ||
        (pem.n && trust_make(&trust, buf_str(&pem), err))) {
        return -1;
    }
    split(c->endpoint, &host, &port);
    const char *tls_host = is_loopback(host) ? "localhost" : host;
    url = clear ? xstrdup(c->endpoint) : xasprintf("https://%s:%s", tls_host, port);
    auto_free char *no_proxy = no_proxy_of(host);
    struct env_facts f = {.url = url,
                          .no_proxy = no_proxy,
                          .host = host,
                          .tls_host = tls_host,
                          .port = port,
                          .clear = clear,
                          .tls = tls,
                          .project = c->project,
                          .region = c->region,
                          .ca = trust.ca,
                          .bundle = trust.bundle,
                          .store = trust.store};
    if (json) {
        print_json(&f, client);
    } else {
        print_shell(&f, client, !args_on(&a, "--shell"));
    }
    return 0;
}
