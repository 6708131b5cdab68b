/* Names that lead to other registries. Pure. */
#include "engine/image/registry_int.h"
#include "engine/image/remote.h"

#include <arpa/inet.h>

#define SHELF_MAX 255 /* a repository is one directory */

bool remote_is_google(struct str host) {
    return str_ends(host, STR("-docker.pkg.dev")) || str_eqc(host, "docker.pkg.dev") ||
           str_eqc(host, "gcr.io") || str_ends(host, STR(".gcr.io"));
}

static bool is_docker_hub(const char *host) {
    return strcmp(host, "index.docker.io") == 0 || strcmp(host, "registry-1.docker.io") == 0 ||
           strcmp(host, "registry.hub.docker.com") == 0;
}

static bool port_is_good(const char *rest) {
    uint64_t port;
    return *rest == '\0' || (*rest == ':' && str_to_u64(str_of(rest + 1), &port) && port <= 65535);
}

/* "[2001:db8::1]", perhaps with ":PORT", which *ret_rest begins with then. No zones. */
static bool ip6_parse(const char *host, struct in6_addr *ret, const char **ret_rest) {
    char text[INET6_ADDRSTRLEN];
    const char *end = strchr(host, ']');
    size_t n = host[0] == '[' && end != NULL ? (size_t)(end - host - 1) : sizeof(text);
    if (n >= sizeof(text)) {
        return false;
    }
    memcpy(text, host + 1, n);
    text[n] = '\0';
    *ret_rest = end + 1;
    return inet_pton(AF_INET6, text, ret) == 1 && port_is_good(*ret_rest);
}

/* Labels of letters, digits and '-' (not first, not last) with dots between, then perhaps ":PORT".
 */
static bool host_is_good(const char *host) {
    const char *colon = strchr(host, ':');
    size_t n = colon != NULL ? (size_t)(colon - host) : strlen(host);
    for (size_t i = 0; i < n; i++) {
        char c = host[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || i + 1 == n || (c != '.' && c != '-') || host[i + 1] == '.' ||
                       host[i - 1] == '.')) {
            return false;
        }
    }
    return n > 0 && port_is_good(colon != NULL ? colon : "");
}

/* ---- shelves: a repository's name has neither ':' nor '[', and no host has a "__" of its own.
 * "127.0.0.1:5000/x" is kept as "127.0.0.1__5000/x", "[::1]/x" as "ip6-0-0-0-0-0-0-0-1/x". ---- */

static const char *shelf_of(struct arena *a, const char *host, const char *repo) {
    struct in6_addr ip;
    const char *rest = strchr(host, ':'), *name;
    if (ip6_parse(host, &ip, &rest)) {
        auto_buf struct buf b = BUF_INIT(128);
        buf_puts(&b, "ip6");
        for (int i = 0; i < 16; i += 2) {
            buf_printf(&b, "-%x", (unsigned)(ip.s6_addr[i] << 8 | ip.s6_addr[i + 1]));
        }
        name = arena_strdup(a, buf_cstr(&b));
    } else {
        rest = rest != NULL ? rest : host + strlen(host);
        name = arena_strndup(a, host, (size_t)(rest - host));
    }
    return *rest == ':' ? arena_printf(a, "%s__%s/%s", name, rest + 1, repo)
                        : arena_printf(a, "%s/%s", name, repo);
}

static bool ip6_of_shelf(struct str name, char ret[INET6_ADDRSTRLEN]) {
    struct in6_addr ip;
    unsigned g[8];
    int end = 0;
    char text[64];
    if (name.n >= sizeof(text)) {
        return false;
    }
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (sscanf(text, "ip6-%4x-%4x-%4x-%4x-%4x-%4x-%4x-%4x%n", &g[0], &g[1], &g[2], &g[3], &g[4],
               &g[5], &g[6], &g[7], &end) != 8 ||
        text[end] != '\0') {
        return false;
    }
    for (int i = 0; i < 8; i++) {
        ip.s6_addr[2 * i] = (uint8_t)(g[i] >> 8);
        ip.s6_addr[2 * i + 1] = (uint8_t)g[i];
    }
    return inet_ntop(AF_INET6, &ip, ret, INET6_ADDRSTRLEN) != NULL;
}

const char *remote_name_of_shelf(struct arena *a, const char *repo) {
    char ip[INET6_ADDRSTRLEN];
    const char *slash = strchr(repo, '/'), *mark = strstr(repo, "__");
    uint64_t port;
    if (slash == NULL) {
        return repo;
    }
    if (mark != NULL &&
        (mark > slash || !str_to_u64(str_n(mark + 2, (size_t)(slash - mark - 2)), &port))) {
        mark = NULL;
    }
    struct str name = str_n(repo, (size_t)((mark != NULL ? mark : slash) - repo));
    const char *rest = mark != NULL ? mark + 2 : slash;
    if (ip6_of_shelf(name, ip)) {
        return arena_printf(a, "[%s]%s%s", ip, mark != NULL ? ":" : "", rest);
    }
    return mark != NULL ? arena_printf(a, "%.*s:%s", STR_ARG(name), rest) : repo;
}

int remote_ref_parse(struct arena *a, struct str name, struct remote_ref *ret, struct err *err) {
    struct registry_name n;
    struct remote_ref r = {0};
    if (!registry_parse_name(name, &n)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "image",
                         "\"%.*s\" is not the name of an image: [HOST[:PORT]/]NAME[:TAG][@sha256:"
                         "DIGEST], NAME in lower case",
                         (int)(name.n > 300 ? 300 : name.n), name.p != NULL ? name.p : "");
    }
    char *host = n.host.p != NULL ? arena_strndup(a, n.host.p, n.host.n) : NULL;
    for (char *c = host; c != NULL && *c != '\0'; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    struct in6_addr ip;
    const char *rest;
    bool is_ip6 = host != NULL && ip6_parse(host, &ip, &rest);
    /* A NUL byte, which JSON can say, would end the host for us alone. */
    if (host != NULL && (strlen(host) != n.host.n || !(is_ip6 || host_is_good(host)))) {
        return err_field(
            err, ERR_INVALID_ARGUMENT, "image",
            "\"%.300s\" cannot be pulled from: a host is a name, an IPv4 address or an "
            "IPv6 address in brackets, with or without a port",
            host);
    }
    char text[INET6_ADDRSTRLEN];
    if (is_ip6 && inet_ntop(AF_INET6, &ip, text, sizeof(text)) != NULL) {
        host = arena_printf(a, "[%s]%s", text, rest); /* one address, one name */
    }
    r.host = host == NULL || is_docker_hub(host) ? "docker.io" : host;
    r.repo = arena_strndup(a, n.repo.p, n.repo.n);
    if (strcmp(r.host, "docker.io") == 0 && strchr(r.repo, '/') == NULL) {
        r.repo = arena_printf(a, "library/%s", r.repo);
    }
    memcpy(r.hex, n.hex, sizeof(r.hex));
    if (n.tag.p != NULL) {
        r.tag = r.shelf_tag = r.reference = arena_strndup(a, n.tag.p, n.tag.n);
        r.hex[0] = '\0';
    } else {
        r.reference = arena_printf(a, "sha256:%s", r.hex);
        r.shelf_tag = arena_printf(a, "sha256-%s", r.hex);
    }
    r.text = arena_printf(a, "%s/%s%c%s", r.host, r.repo, r.tag != NULL ? ':' : '@', r.reference);
    r.shelf = shelf_of(a, r.host, r.repo);
    if (strlen(r.shelf) > SHELF_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "image",
                         "the name \"%.300s\" is longer than %d bytes", r.text, SHELF_MAX);
    }
    *ret = r;
    return 0;
}
