/* Certificates of a local CA: made, read and described with libcrypto. No files, no clock of its
 * own; every function returns 0 or -1 with *err and leaves its outputs alone on failure.
 *
 * Keys are ECDSA P-256: the one elliptic curve that BoringSSL (gRPC), Go, Java 8 and later, OpenSSL
 * and Node all accept in a server certificate, and its signatures are some ten times cheaper than
 * RSA's. No name constraints on the CA: its names follow the machine's (new addresses, --host) and
 * a CA is installed at clients once; a constraint would force a new one. */
#ifndef CUSP_PKI_PKI_H
#define CUSP_PKI_PKI_H

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"
#include "base/vec.h"

#include <openssl/x509.h>

/* A certificate and its private key; either may be NULL. Owner frees with pki_fini. */
struct pki {
    X509 *cert;
    EVP_PKEY *key;
};
void pki_fini(struct pki *p);
#define auto_pki __attribute__((cleanup(pki_fini)))

/* Host names and addresses of a certificate, canonical (lower case, addresses as inet_ntop has
 * them), in order, each once. */
struct pki_names {
    VEC_OF(char *) v;
};
/* INVALID_ARGUMENT when text is neither an address nor a host name ("*." may begin one). A name
 * that is there already is not added again. */
int pki_name_add(struct pki_names *n, const char *text, struct err *err);
bool pki_names_same(const struct pki_names *a, const struct pki_names *b); /* as sets */
void pki_names_fini(struct pki_names *n);
#define auto_names __attribute__((cleanup(pki_names_fini)))

int pki_make_key(struct pki *p, struct err *err);
/* p->key signs its own certificate, valid for `days` from an hour before now (clocks differ). */
int pki_make_ca(struct pki *p, const char *common_name, usec_t now, unsigned days, struct err *err);
/* A certificate for p->key and the names, signed by ca; it never outlives the CA. */
int pki_make_server(struct pki *p, const struct pki *ca, const struct pki_names *names, usec_t now,
                    unsigned days, struct err *err);

/* PEM text. Reading takes the first certificate or key of the text and never asks for a passphrase.
 */
int pki_read_cert(struct str pem, X509 **ret, struct err *err);
int pki_read_key(struct str pem, EVP_PKEY **ret, struct err *err);
int pki_put_cert(struct buf *b, X509 *cert, struct err *err);
int pki_put_key(struct buf *b, EVP_PKEY *key, struct err *err);
/* All certificates of the text, at most max; what lies between them or cannot be read is passed
 * over. Owned by the caller. */
size_t pki_read_certs(struct str pem, X509 **ret, size_t max);
/* A PKCS #12 trust store with the certificates as trusted entries "alias", "alias-1", …: Java shows
 * an entry without a key only when it carries Oracle's trusted-key-usage attribute
 * (2.16.840.1.113894.746875.1.1, any usage). */
int pki_trust_store(struct buf *b, X509 *const *certs, size_t nr, const char *alias,
                    const char *password, struct err *err);

/* Appends the signature of the bytes with SHA-256 (RSA: PKCS #1 v1.5). */
int pki_sign(EVP_PKEY *key, struct str text, struct buf *signature, struct err *err);

bool pki_key_fits(const struct pki *p);   /* both there, and the key is the certificate's */
bool pki_is_ca(X509 *cert);               /* may sign certificates */
bool pki_issued_by(X509 *cert, X509 *ca); /* name and signature */
void pki_names_of(X509 *cert, struct pki_names *ret); /* its subject alternative names */
usec_t pki_not_before(const X509 *cert);
usec_t pki_not_after(const X509 *cert);
void pki_subject(struct buf *b, X509 *cert);           /* "CN=…" */
void pki_fingerprint(struct buf *b, const X509 *cert); /* SHA-256, "AB:CD:…" */

#endif
