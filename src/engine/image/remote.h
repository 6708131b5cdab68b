/* CONTRACT. Other registries: which there are by configuration, how a name leads to one, and one
 * request to one of them (OCI distribution 1.1, docker's token protocol).
 *
 * A session is one image's conversation with one repository of one host: its places (mirrors
 * first), what was authorised, its connections. Any thread may use it, several at once; all calls
 * block [lane] unless they say pure. Every call ends soon after remote_cancel. Nothing is retried
 * here but what needs new authorisation; remote_pause is how callers wait before they try again.
 *
 * Trust: certificates are checked unless the configuration says `insecure` (loopback hosts are).
 * Credentials go to the host they are for and to the token service it names, never to where it
 * redirects. What bytes are is decided by their digest alone. */
#ifndef CUSP_ENGINE_IMAGE_REMOTE_H
#define CUSP_ENGINE_IMAGE_REMOTE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

#define REMOTE_HEX 64

struct image_store;

/* ---- configuration: [images] and [registry HOST] */
struct remote_host {
    const char *host; /* as names have it: "docker.io", "registry.example:5000" */
    const char
        *mirrors;   /* base URLs, separated by spaces or commas; asked before the host; "" none */
    const char *ca; /* PEM file that vouches for it beside the system's; "" none */
    const char *username, *password; /* "" none */
    bool insecure;                   /* clear text, or a certificate that nobody vouches for */
};
struct remote_config { /* borrowed by whoever is given it; does not change */
    const struct remote_host *hosts;
    size_t nr_hosts;
    const char *docker_config; /* docker's config.json; "" where docker keeps it */
};

/* ---- names: pure */
struct remote_ref {
    const char *host;         /* lower case; "docker.io" when the name has none */
    const char *repo;         /* "library/busybox" */
    const char *tag;          /* NULL with a digest */
    char hex[REMOTE_HEX + 1]; /* "" with a tag */
    const char *reference;    /* the tag, or "sha256:HEX" */
    const char *text;         /* in full: "docker.io/library/busybox:latest" */
    const char *shelf;        /* the repository it has here: "docker.io/library/busybox" */
    const char *shelf_tag;    /* and its tag there; "sha256-HEX" for a digest */
};
/* INVALID_ARGUMENT (field "image") for what no registry would take. */
int remote_ref_parse(struct arena *a, struct str name, struct remote_ref *ret, struct err *err);
/* "HOST[:PORT]/NAME" of a copy's repository on the shelf; other repositories are their own names.
 */
const char *remote_name_of_shelf(struct arena *a, const char *repo);
/* Hosts whose names may stand for what was pushed here under the path alone: Artifact Registry's
 * and gcr.io. */
bool remote_is_google(struct str host);

/* ---- credentials (remote_creds.c) */
struct remote_creds {
    const char *username, *password; /* NULL: none */
    const char *identity_token;      /* NULL: none */
    const char *from;                /* for people: where they were found */
};
/* The configuration's own, then docker's. None is no error; a helper program that fails is one. */
int remote_creds_find(struct arena *a, const struct remote_config *c, const char *host,
                      struct remote_creds *ret, struct err *err);
/* Of a config.json: pure but for the helper. */
int remote_creds_read(struct arena *a, struct str json, const char *path, const char *host,
                      struct remote_creds *ret, struct err *err);

/* ---- challenges (remote_auth.c): pure. One or several headers' values, separated by newlines. */
struct remote_challenge {
    enum { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER } scheme; /* Bearer is preferred */
    const char *realm, *service, *scope;                               /* NULL when absent */
};
void remote_challenge_parse(struct arena *a, struct str headers, struct remote_challenge *ret);

/* ---- sessions and requests (remote_http.c, remote_auth.c) */
struct remote_session;
/* actions: "pull" or "pull,push". ref outlives the session. UNAVAILABLE when no place of it can be
 * reached is not known before the first request. */
struct remote_session *remote_session_new(const struct remote_config *c,
                                          const struct remote_ref *ref, const char *actions);
void remote_session_free(struct remote_session *s);
void remote_cancel(
    struct remote_session *s); /* any thread, does not block; calls return CANCELLED */
bool remote_is_cancelled(struct remote_session *s);
size_t remote_places(const struct remote_session *s);                   /* mirrors, then the host */
const char *remote_place(const struct remote_session *s, size_t place); /* host part, for people */
/* What tells an operator's choice from a session's state: the mirrors are skipped. */
size_t remote_main_place(const struct remote_session *s);

struct remote_req {
    const char *method;
    const char *path;         /* below the repository ("manifests/latest"), or a whole URL */
    const char *accept;       /* NULL: none */
    const char *content_type; /* NULL: none */
    struct str body;          /* sent when has_body and fd is -1 */
    bool has_body;
    int fd; /* -1, or what to send: size bytes from its start */
    uint64_t fd_size;
    uint64_t from; /* > 0: Range, bytes from here on */
    size_t max;    /* of the reply's body, kept in `reply`; more is an error */
    /* The body of a 200 or 206 reply instead, as it comes; -1 stops. first: where it begins, 0 or
     * `from`. */
    int (*sink)(void *arg, uint64_t at, struct str bytes, struct err *err);
    void (*sent)(void *arg, uint64_t n); /* bytes of fd that went; may be NULL */
    void *arg;
    /* results */
    long status;
    struct buf reply; /* caller: buf_fini */
    char content_type_got[128], digest[80], location[4096], range[64];
    unsigned retry_after_s; /* 0: not said */
    bool can_retry;         /* of a failure: another try may go better */
    bool tls_failed;        /* no connection, or no handshake */
};
/* 0: *q has status and reply, whatever the status, 401 and redirects apart. -1: UNAVAILABLE,
 * DEADLINE_EXCEEDED (silence), UNAUTHENTICATED, PERMISSION_DENIED, CANCELLED, or what sink said. */
int remote_do(struct remote_session *s, size_t place, struct remote_req *q, struct err *err);
/* As remote_do, tried again while that may help (limits.pull_tries) ; a final status of 4xx or 5xx
 * is an error too, in the registry's words. what: "manifest latest". */
int remote_get(struct remote_session *s, size_t place, struct remote_req *q, const char *what,
               struct err *err);
/* After try number `tries` (from 1) ended as q and err say: waits, 0; or -1 when it is no use, *err
 * as it was or in better words. */
int remote_pause(struct remote_session *s, const struct remote_req *q, unsigned tries,
                 struct err *err);
/* A reply that is an error, in words. */
int remote_refused(struct remote_session *s, size_t place, const struct remote_req *q,
                   const char *what, struct err *err);

/* ---- manifests (remote_manifest.c): pure */
struct remote_blob {
    char hex[REMOTE_HEX + 1];
    uint64_t size;
};
struct remote_manifest {
    const char *media_type;
    bool is_index;
    struct remote_blob child;  /* index: the entry for this machine */
    struct remote_blob *blobs; /* image: config first, each once */
    size_t nr_blobs;
    uint64_t size; /* of all blobs */
};
/* media_type: of the reply. arch: "amd64". INVALID_ARGUMENT for what is none, NOT_FOUND for an
 * index that has nothing for this machine; both say why. */
int remote_manifest_read(struct arena *a, struct str media_type, struct str bytes, const char *arch,
                         struct remote_manifest *ret, struct err *err);
extern const char remote_manifest_types[]; /* for Accept */

#endif
