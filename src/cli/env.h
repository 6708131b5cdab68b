/* What each official client needs to talk to this server: the facts (facts.c finds them) and the
 * notes made of them (envnotes.c; reference 20 §2 says why each variable and line is as it is). */
#ifndef CUSP_CLI_ENV_H
#define CUSP_CLI_ENV_H

#include "cli/trust.h"

struct cli;

struct env_facts {
    char *url;      /* "http://127.0.0.1:8780", or https when the server takes TLS only */
    char *host;     /* of url, for URLs and clear text */
    char *tls_host; /* "localhost" for loopback addresses: a name the certificate has and clients
                       send as server name */
    char *port;
    char *no_proxy;     /* NULL: the user's environment has no proxy that would come between */
    struct trust trust; /* files, NULL without TLS or when the CA is unknown */
    bool clear, tls;    /* what the server takes */
    const char *project, *region;
};
/* facts.c: from the CA's file `ca`, the server's data directory, or the server itself; both may be
 * NULL. A server that does not answer counts as one without TLS, with a note on stderr. The caller
 * frees with env_facts_fini. */
int env_find(struct env_facts *ret, const struct cli *c, const char *ca, const char *data_dir,
             struct err *err);
void env_facts_fini(struct env_facts *f);
#define auto_facts __attribute__((cleanup(env_facts_fini)))

struct env_sink {
    void *arg;
    void (*variable)(void *arg, const char *name, const char *value);
    /* transport: "rest", "rest-tls", "grpc", "grpc-tls"; code: lines in the client's language */
    void (*snippet)(void *arg, const char *transport, const char *title, const char *code);
};

enum { ENV_CLIENTS = 6 };
extern const char *const env_clients[ENV_CLIENTS]; /* "python", … */
/* The variables (a client's own and those shared), then the snippets of client i. */
void env_notes(size_t i, const struct env_facts *f, const struct env_sink *to);

#endif
