/* Names that lead to other registries. Pure. */
#include "engine/image/registry_int.h"
#include "engine/image/remote.h"

#define SHELF_MAX 255 /* a repository is one directory */

bool remote_is_google(struct str host) {
    return str_ends(host, STR("-docker.pkg.dev")) || str_eqc(host, "docker.pkg.dev") ||
           str_eqc(host, "gcr.io") || str_ends(host, STR(".gcr.io"));
}

static bool is_docker_hub(const char *host) {
    return strcmp(host, "index.docker.io") == 0 || strcmp(host, "registry-1.docker.io") == 0 ||
           strcmp(host, "registry.hub.docker.com") == 0;
}

/* Labels of letters, digits and '-' (not first, not last) with dots between, then perhaps ":PORT".
 */
static bool host_is_good(const char *host) {
    const char *colon = strchr(host, ':');
    size_t n = colon != NULL ? (size_t)(colon - host) : strlen(host);
    uint64_t port;
    for (size_t i = 0; i < n; i++) {
        char c = host[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || i + 1 == n || (c != '.' && c != '-') || host[i + 1] == '.' ||
                       host[i - 1] == '.')) {
            return false;
        }
    }
    return n > 0 && (colon == NULL || (str_to_u64(str_of(colon + 1), &port) && port <= 65535));
}

/* HOST:PORT is no part of a repository's name; no host has a "__" of its own. */
static const char *shelf_of(struct arena *a, const char *host, const char *repo) {
    struct str port = str_of(host);
    struct str name = str_cut(&port, ':');
    return port.p != NULL ? arena_printf(a, "%.*s__%.*s/%s", STR_ARG(name), STR_ARG(port), repo)
                          : arena_printf(a, "%s/%s", host, repo);
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
    /* A NUL byte, which JSON can say, would end the host for us alone. */
    if (host != NULL && (strlen(host) != n.host.n || !host_is_good(host))) {
        return err_field(err, ERR_INVALID_ARGUMENT, "image",
                         "\"%.300s\" cannot be pulled from: a host is a name or an IPv4 address, "
                         "with or without a port",
                         host);
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
