/* The server's certificate and key as an OpenSSL context that connections are made from. A context
 * never changes once loaded: a reload makes a new one, and connections keep theirs (OpenSSL counts
 * the references), so a bad new file never disturbs anybody. Loop thread only. */
#ifndef CUSP_NET_TLS_CREDS_H
#define CUSP_NET_TLS_CREDS_H

#include "base/err.h"

struct ssl_ctx_st;

struct tls_creds {
    struct ssl_ctx_st *ctx;
    int64_t expires_at; /* Unix seconds; the earliest of the chain */
};

/* Reads the chain (PEM, the server's own certificate first) and its private key (PEM, no pass
 * phrase). -1 names the file and why: NOT_FOUND when one is not there, INVALID_ARGUMENT when one is
 * unreadable as what it should be or the two do not belong together. An expired certificate loads:
 * clients decide. */
int tls_creds_load(struct tls_creds *ret, const char *cert_path, const char *key_path,
                   struct err *err);
void tls_creds_free(struct tls_creds *c); /* an empty one is fine */
static inline bool tls_creds_are_there(const struct tls_creds *c) {
    return c->ctx != NULL;
}
/* The oldest reason OpenSSL has queued, as text; clears the queue. "" when there is none. */
void tls_reason(char *out, size_t n);

#endif
