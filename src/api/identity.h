/* Who a request comes from, when it comes from a job: by the door it came in (net_door_open; a
 * socket inside the job's own network namespace, which nobody else can reach), or by the token it
 * bears. Also answers what the job's libraries ask about themselves: the metadata server of
 * reference 22 §2, and Google's token endpoints. Loop thread.
 *
 * Kept in DIR/identity: token.key (access tokens are signed with it and need no other memory, so
 * that they outlive a restart), signing.pem (identity tokens, RSA, made at the first one). */
#ifndef CUSP_API_IDENTITY_H
#define CUSP_API_IDENTITY_H

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

struct identity;
struct job_spec;
struct lane;
struct loop;
struct projects;
struct xch;

struct identity *identity_new(struct loop *loop, struct lane *disk, const char *data_dir,
                              struct projects *projects, struct err *err);
/* After disk was closed. */
void identity_free(struct identity *d);

/* What requests by one door are: the job's, by one of its replicas. Copies. Never 0. */
uint64_t identity_open(struct identity *d, const struct job_spec *spec, const char *replica);
void identity_close(struct identity *d, uint64_t id);

/* Answers and returns true, or returns false when it is none of ours. First in line: a job's
 * metadata server is no name of this machine (origin.h). */
bool identity_handle(struct identity *d, struct xch *x);
/* True for what came by a door. Web pages do not get there (origin.h). */
bool identity_is_job(const struct xch *x);
/* Answers 403 and returns true when a job asks (by its door, or anywhere with a job's token, good
 * or expired) for what administers the server (/cusp/, /metrics): code that somebody submitted must
 * not import host paths as images or read other jobs' events. */
bool identity_refuse(struct identity *d, struct xch *x);
/* Answers 401 and returns true when the request bears an access token of ours that has expired or
 * is not genuine: clients fetch a fresh one then. Other people's tokens are not looked at. After
 * identity_handle: whoever asks for a fresh one may bear the old one. said (may be NULL) answers
 * where an API of its own words was asked, and returns true. */
bool identity_reject(struct identity *d, struct xch *x,
                     bool (*said)(struct xch *, const struct err *err));

/* net_config.finished: a line in DIR/access.log for every request of a job. */
void identity_finished(struct identity *d, struct xch *x, int status);

#endif
