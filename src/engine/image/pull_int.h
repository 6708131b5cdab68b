/* Private to the pull*.c files: the blocking steps of one image's way here. [lane] */
#ifndef CUSP_ENGINE_IMAGE_PULL_INT_H
#define CUSP_ENGINE_IMAGE_PULL_INT_H

#include "engine/image/pull.h"
#include "engine/image/registry_int.h"

#include <stdatomic.h>

struct plan_blob {
    struct remote_blob what;
    atomic_ullong got; /* bytes that are here */
    atomic_bool here;
};

/* One image on its way. Made by pull_plan; then the blobs, in any order and several at once; then
 * pull_keep. */
struct pull_plan {
    struct image_store *store;
    struct remote_session *session;
    const struct remote_ref *ref;
    struct arena *arena;
    size_t place;                      /* which answered */
    struct remote_manifest top, image; /* image: top, or the index's entry for us */
    struct str top_bytes, image_bytes;
    char top_hex[SHA256_HEX_LEN + 1], image_hex[SHA256_HEX_LEN + 1];
    struct plan_blob *blobs;
    size_t nr_blobs;
    bool is_current; /* the shelf's tag is this manifest already, with all its blobs */
    struct registry_pin pin;
};

/* Asks mirrors, then the host. The blobs are pinned from here to pull_unplan. */
int pull_plan(struct pull_plan *p, struct err *err);
int pull_blob(struct pull_plan *p, size_t i, struct err *err);
int pull_keep(struct pull_plan *p, struct err *err);
void pull_unplan(struct pull_plan *p);

/* push.c: one image out. sent: bytes of blobs; total: set once it is known. */
struct push_job {
    struct image_store *store;
    struct remote_session *session;
    const struct remote_ref *ref;
    const char *image;
    atomic_ullong sent, total, parts_done, parts;
    char digest[80]; /* result */
    bool gave_child; /* result: of an index only this machine's image could go */
};
int push_image(struct push_job *j, struct err *err);

#endif
