/* A folder of TLS files: a local CA, and a certificate for this machine signed by it.
 *
 *   ca.pem      the CA's certificate: what clients are given        ca.key      its key (0600)
 *   server.pem  the server's certificate, then the CA's             server.key  its key (0600)
 *   ca.p12      ca.pem as a Java trust store (password "changeit")  hosts       names given with
 * --host
 *
 * DATA/tls is where the server looks. Every file is replaced whole; a renewed certificate keeps the
 * key, so a reader never meets a certificate and a key that do not belong together. The CA is made
 * once: clients that trust it would be cut off by another. */
#ifndef CUSP_PKI_TLS_H
#define CUSP_PKI_TLS_H

#include "pki/pki.h"

#define TLS_TRUST_PASSWORD "changeit" /* Java's own default; the store holds nothing secret */

/* certnames.c: this machine's names and addresses, those asked for, and Google's. */
void cert_names(struct pki_names *n, const struct pki_names *asked);

struct tls_wish {
    const char *dir;
    const char *const *hosts; /* more names; remembered in the folder */
    size_t nr_hosts;
    /* NULL-terminated: these names and no others, none of this machine's. Usually NULL. */
    const char *const *only;
    unsigned days; /* of a new server certificate */
    bool anew;     /* a new CA and key, whatever is there */
    usec_t now;
};
enum tls_did { TLS_KEPT, TLS_MADE, TLS_RENEWED };
struct tls_done {
    enum tls_did ca, server;
    const char *why; /* the server certificate was renewed; static */
};
/* Makes what is missing or stale. FAILED_PRECONDITION when a CA is there that cannot sign any more
 * (key gone, not its key, expired): only `anew` replaces it. ABORTED when another init runs. */
int tls_make(const struct tls_wish *w, struct tls_done *ret, struct err *err);

struct tls_files {
    struct pki ca, server; /* certificates only */
    struct pki_names names;
    const char *bad; /* what a client would refuse, or NULL; static */
};
/* NOT_FOUND when there is no CA in the folder; a missing server.pem is `bad`. */
int tls_look(const char *dir, usec_t now, struct tls_files *ret, struct err *err);
void tls_files_fini(struct tls_files *f);
#define auto_tls_files __attribute__((cleanup(tls_files_fini)))

#endif
