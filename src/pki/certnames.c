/* The names a server certificate must carry: this machine's, and Google's that transparent mode
 * answers for (containers resolve them to this server). */
#include "pki/tls.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#define ADDRESSES_MAX 64 /* container hosts have an interface for each pod */

/* Wildcards stand for one label: REGION-aiplatform.googleapis.com, REGION-docker.pkg.dev,
 * BUCKET.storage.googleapis.com. */
static const char *const always[] = {
    "localhost",
    "127.0.0.1",
    "::1",
    "host.containers.internal", /* how Podman and Docker call this machine from inside */
    "host.docker.internal",
};
static const char *const google[] = {
    "googleapis.com",
    "*.googleapis.com",
    "*.aiplatform.googleapis.com",
    "*.storage.googleapis.com",
    "storage.googleapis.com",
    "www.googleapis.com",
    "oauth2.googleapis.com",
    "metadata.google.internal",
    "pkg.dev",
    "*.pkg.dev",
    "gcr.io",
    "*.gcr.io",
};

static void add_all(struct pki_names *n, const char *const *names, size_t nr) {
    for (size_t i = 0; i < nr; i++) {
        CHECK(pki_name_add(n, names[i], NULL) == 0);
    }
}

/* The host name and what the resolver makes of it; a machine without either has none. */
static void add_host(struct pki_names *n) {
    struct addrinfo *ai = NULL, hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM};
    char host[256] = "";
    if (gethostname(host, sizeof(host) - 1) || !host[0]) {
        return;
    }
    (void)pki_name_add(n, host, NULL);
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 0); /* no long wait for a silent name server */
    if (getaddrinfo(host, NULL, &hints, &ai) == 0) {
        if (ai->ai_canonname) {
            (void)pki_name_add(n, ai->ai_canonname, NULL);
        }
        freeaddrinfo(ai);
    }
}

static void add_addresses(struct pki_names *n) {
    struct ifaddrs *all = NULL;
    size_t nr = 0;
    if (getifaddrs(&all)) {
        return;
    }
    for (struct ifaddrs *i = all; i && nr < ADDRESSES_MAX; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        const void *a = NULL;
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP)) {
            continue;
        }
        if (i->ifa_addr->sa_family == AF_INET) {
            a = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            const struct in6_addr *a6 =
                &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
            a = IN6_IS_ADDR_LINKLOCAL(a6) ? NULL : a6; /* means nothing without its interface */
        }
        if (a && inet_ntop(i->ifa_addr->sa_family, a, text, sizeof(text)) &&
            pki_name_add(n, text, NULL) == 0) {
            nr++;
        }
    }
    freeifaddrs(all);
}

void cert_names(struct pki_names *n, const struct pki_names *asked) {
    add_all(n, always, NR_OF(always));
    add_host(n);
    for (size_t i = 0; i < asked->v.n; i++) {
        CHECK(pki_name_add(n, asked->v.p[i], NULL) == 0);
    }
    add_addresses(n);
    add_all(n, google, NR_OF(google));
}
