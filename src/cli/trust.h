/* Whom clients should trust, as files in the user's cache (~/.cache/cusp/trust/FINGERPRINT/):
 * replacing a client's trusted authorities with the local CA alone would cut it off from everybody
 * else, so the variables point to the system's authorities with ours on top. */
#ifndef CUSP_CLI_TRUST_H
#define CUSP_CLI_TRUST_H

#include "base/err.h"
#include "base/str.h"

struct trust {
    char *ca;     /* the local CA alone, PEM */
    char *bundle; /* the system's authorities and the CA, PEM; the CA alone on a system without */
    char *store;  /* the same as a Java trust store, password TLS_TRUST_PASSWORD */
};
/* Writes what is missing or differs. INVALID_ARGUMENT when the text is no CA certificate. */
int trust_make(struct trust *t, struct str ca_pem, struct err *err);
void trust_fini(struct trust *t);
#define auto_trust __attribute__((cleanup(trust_fini)))

#endif
