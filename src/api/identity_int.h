/* Private to identity*.c, metadata*.c and access.c. */
#ifndef CUSP_API_IDENTITY_INT_H
#define CUSP_API_IDENTITY_INT_H

#include "api/identity.h"
#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "sys/lane.h"

#define TOKEN_LIFE_S 3599 /* as Google's; clients renew some minutes early */

/* One replica of a job. */
struct caller {
    uint64_t id;
    char *job; /* full resource name */
    char *job_id, *replica, *project_id, *location, *email;
    uint64_t project_number;
    unsigned nr_waiting; /* its metadata requests that wait for a change */
};

struct identity {
    struct clock *clock;
    struct projects *projects;
    struct token_keys *keys;
    struct access_log *access;
    struct map callers; /* struct caller by id, as text */
    uint64_t next_id;
    struct list waiting; /* metadata_serve.c */
};

/* By the door that the exchange came in; NULL: by none, or the job has ended. */
struct caller *identity_caller(const struct identity *d, const struct xch *x);
/* The answer of the token endpoints: a fresh access token, as JSON. */
void identity_put_token(struct identity *d, const struct caller *c, struct buf *b);
/* Answers …/identity?audience=A&format=F, later. */
void identity_sign(struct identity *d, struct xch *x);

/* ---- identity_token.c */

struct token_keys;
struct token_keys *token_keys_open(struct lane *disk, const char *dir, struct err *err);
void token_keys_free(struct token_keys *k);

/* Appends an access token for the caller, valid for TOKEN_LIFE_S from now (wall). */
void bearer_make(const struct token_keys *k, const struct caller *c, usec_t now, struct buf *b);
/* It looks like one of ours, good or bad; anything else is a stranger's and none of our business.
 */
bool bearer_is_ours(struct str token);
/* BODY and MAC around claims; bearer_make's last step. */
void bearer_seal(const struct token_keys *k, struct str claims_json, struct buf *b);
/* What a token says, in the arena. False: not ours or tampered with. Expired ones are told too. */
struct token_claims {
    struct str job, email, scope;
    uint64_t issued, expires; /* Unix seconds */
};
bool bearer_read(const struct token_keys *k, struct arena *a, struct str token,
                 struct token_claims *ret);

/* The RSA key is made at the first call: answers later, never within the call. At the end of the
 * server waiting ones are dropped unanswered. */
struct token_wait {
    struct list link;
    void (*ready)(struct token_wait *, const struct err *err);
};
void token_keys_need(struct token_keys *k, struct token_wait *w);
/* After `ready` without an error. An identity token (RS256). */
int token_make_identity(const struct token_keys *k, const struct caller *c, struct str audience,
                        bool full, usec_t now, struct buf *b, struct err *err);
/* The public half: a JSON Web Key Set, or {"KEY ID": "PEM certificate"}. */
int token_put_certs(const struct token_keys *k, bool jwks, struct buf *b, struct err *err);

/* ---- metadata.c: a path below /computeMetadata/v1/, without query, for text and JSON. */

enum metadata_form { METADATA_TEXT, METADATA_JSON };
/* False: there is no such path. */
bool metadata_get(const struct caller *c, struct arena *a, struct str path, bool recursive,
                  const char *alt, struct buf *b, enum metadata_form *ret_form);

/* ---- metadata_serve.c: requests of a job to its metadata server, answered now or at a change. */
void metadata_serve(struct identity *d, struct xch *x, const struct caller *c);
void metadata_answer(struct xch *x, int status, struct str type, struct str etag, struct str body);
void metadata_refuse(struct xch *x, int status, const char *why);

/* ---- access.c */

struct access_log;
struct access_log *access_log_new(struct loop *loop, struct lane *disk, const char *data_dir);
void access_log_free(struct access_log *l);
/* One line; the newline is added. */
void access_log_put(struct access_log *l, struct str line);

#endif
