/* Private to the remote_*.c files: a session's insides. */
#ifndef CUSP_ENGINE_IMAGE_REMOTE_INT_H
#define CUSP_ENGINE_IMAGE_REMOTE_INT_H

#include "base/vec.h"
#include "engine/image/remote.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

/* Somewhere the image may be had from. */
struct remote_spot {
    const char
        *base; /* "https://registry-1.docker.io", no slash at the end; scheme may change once */
    const char *host; /* for people, and for credentials: "docker.io" */
    const char *ca;
    bool insecure, scheme_is_known;
    /* lock held: */
    char *authorization;    /* header line, NULL: none yet */
    unsigned authorized;    /* how often it was made anew */
    const char *creds_from; /* whose they are, NULL: anonymous */
};

struct remote_session {
    const struct remote_config *config;
    const struct remote_ref *ref;
    const char *actions;
    struct arena *arena; /* lock held after the construction */
    struct remote_spot *spots;
    size_t nr_spots;
    atomic_bool cancelled, answered; /* answered: some place of it has, once */
    pthread_mutex_t lock;            /* authorisation, idle handles, the arena */
    pthread_cond_t wake;             /* cancelled */
    VEC_OF(CURL *) idle;             /* with their connections */
};

/* One transfer without any cleverness: no redirect, no authorisation but what is given. */
int remote_transfer(struct remote_session *s, const struct remote_spot *spot, const char *url,
                    const char *authorization, struct remote_req *q, char **ret_redirect,
                    struct buf *ret_challenge, struct err *err);
/* Makes the header line of spot anew, as `challenge` asks; not when that was done since the line
 * number `seen` was refused. */
int remote_authorize(struct remote_session *s, struct remote_spot *spot, struct str challenge,
                     unsigned seen, struct err *err);
/* That line, copied; NULL: none yet. */
char *remote_authorization(struct remote_session *s, struct remote_spot *spot, unsigned *ret_seen);

#endif
