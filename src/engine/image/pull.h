/* CONTRACT. Pulling and pushing: an image of another registry becomes one of the shelf
 * (registry.h) and is unpacked; one of the shelf goes to another registry.
 *
 *   name -> manifest (tag or digest) -> the entry for this machine -> blobs that are not here yet,
 *   several at once: partial/HEX grows by ranges -> digest right? -> blobs/sha256/HEX
 *   -> manifests on the shelf, then the tag -> layers unpacked
 *
 * Nothing is kept whose digest is not what the manifest says. What was fetched of a layer is kept
 * when the server dies or everybody stops waiting, and the next pull goes on from there. One pull
 * serves all that want the same name at the same time; a layer that two pulls need is fetched once.
 *
 * All calls and callbacks: loop thread; callbacks never from within a call. */
#ifndef CUSP_ENGINE_IMAGE_PULL_H
#define CUSP_ENGINE_IMAGE_PULL_H

#include "base/list.h"
#include "engine/image/image.h"
#include "engine/image/remote.h"

struct loop;
struct puller;

enum pull_policy {
    PULL_MISSING, /* a tag that is here is used as it is */
    PULL_ALWAYS,  /* a tag of another registry is looked up there first */
    PULL_NEVER    /* offline: only what is here */
};

struct puller_opts { /* everything outlives the puller */
    struct loop *loop;
    struct image_store *images;
    struct remote_config remote;
    enum pull_policy policy;
};
struct puller *puller_new(const struct puller_opts *o);
/* Ends what is under way (blocks for a moment); waiting callers hear CANCELLED first. */
void puller_free(struct puller *p);
enum pull_policy puller_policy(const struct puller *p);

struct transfer_state {
    enum transfer_phase {
        TRANSFER_WAITING, /* behind others */
        TRANSFER_ASKING,  /* what the name means */
        TRANSFER_MOVING,
        TRANSFER_UNPACKING
    } phase;
    uint64_t done, total; /* bytes to move; unpacking: layers */
    uint64_t parts_done, parts;
    uint64_t per_second;
};

/* One who waits. Caller-owned, alive until done or puller_forget. */
struct pull_wait {
    const char *uri;
    enum pull_policy policy; /* PULL_NEVER: unpacks what is here, goes nowhere */
    void (*note)(struct pull_wait *, int severity, const char *text); /* for a log: few */
    void (*progress)(struct pull_wait *,
                     const struct transfer_state *); /* each second; may be NULL */
    /* why NULL: image_find now has it. */
    void (*done)(struct pull_wait *, const struct err *why);
    struct list link; /* the puller's */
    struct pull *pull;
};
void puller_pull(struct puller *p, struct pull_wait *w);
/* w hears nothing more. A pull that nobody waits for stops. */
void puller_forget(struct puller *p, struct pull_wait *w);

struct push_wait {
    const char *image; /* a name that is here */
    const char *to;    /* where it goes: HOST/NAME:TAG */
    void (*note)(struct push_wait *, int severity, const char *text);
    void (*progress)(struct push_wait *, const struct transfer_state *);
    void (*done)(struct push_wait *, const char *digest, const struct err *why);
    struct push *push; /* the puller's */
};
void puller_push(struct puller *p, struct push_wait *w);
void puller_forget_push(struct puller *p, struct push_wait *w);

/* "pulling IMAGE: 12 MB of 1.0 GB (1 %), 2 of 7 layers, 40 MB/s" */
void transfer_text(const struct transfer_state *t, const char *verb, const char *image,
                   struct buf *out);

#endif
