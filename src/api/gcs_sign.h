/* Signatures of URLs, V4 and V2, the pure part: what was signed, and is it right. */
#ifndef CUSP_API_GCS_SIGN_H
#define CUSP_API_GCS_SIGN_H

#include "base/buf.h"
#include "base/time.h"
#include "net/xch.h"

struct sign_param {
    struct str key, value; /* decoded */
};

struct sign_url {
    struct str algorithm, credential, date, expires, headers, signature;
    struct str key_id, scope; /* credential, cut: "KEY" and "20240501/auto/storage/goog4_request" */
    bool is_hmac, is_v2;
    struct sign_param *params; /* sorted, without the signature */
    size_t nr_params;
};

/* INVALID_ARGUMENT naming the parameter; PERMISSION_DENIED when expired or not yet valid. */
int sign_parse(struct arena *a, struct str query, usec_t now, struct sign_url *ret,
               struct err *err);
/* Appends the canonical request. PERMISSION_DENIED when a signed header is missing. */
int sign_canonical(struct arena *a, const struct sign_url *u, const struct xch_head *h,
                   struct buf *ret, struct err *err);
void sign_string(const struct sign_url *u, struct str canonical, struct buf *ret);
bool sign_check_hmac(const struct sign_url *u, struct str secret, struct str to_sign);
/* pem: public key, certificate or private key. */
bool sign_check_rsa(const struct sign_url *u, struct str pem, struct str to_sign);
bool sign_rsa_is_right(struct str pem, struct str signature, struct str to_sign);

/* All of it, either version: is the signature right with this key (PEM or secret)? The buffers get
 * what should have been signed; canonical stays empty for V2. bucket_of_host as below. */
int sign_check(struct arena *a, const struct sign_url *u, const struct xch_head *h,
               struct str bucket_of_host, struct str key, struct buf *canonical,
               struct buf *to_sign, struct err *err);

/* ---- V2 (gcs_sign_v2.c). params are those that count as part of the resource. */
bool sign_is_v2(struct str query);
int sign_v2_parse(struct arena *a, struct str query, usec_t now, struct sign_url *ret,
                  struct err *err);
/* bucket_of_host: of a request to BUCKET.storage.googleapis.com, else empty. */
void sign_v2_string(struct arena *a, const struct sign_url *u, const struct xch_head *h,
                    struct str bucket_of_host, struct buf *ret);
/* key: an HMAC key's secret, or PEM as above. */
bool sign_v2_check(const struct sign_url *u, struct str key, struct str to_sign);

#endif
