/* CONTRACT. Images: a content-addressed store under DIR/images with shared overlay layers.
 * Layout: blobs/sha256/HEX (manifests and configs as they came), layers/HEX (HEX = diff id;
 * unpacked once, read-only by convention), records/HEX (rec: what running needs), refs (rec file,
 * atomic), repos/ (what clients pushed: registry.h), tmp/. A store has one process at a time (the
 * data directory's lock); any thread of it may call. Functions marked [lane] block and are called
 * on the disk lane; others are cheap. */
#ifndef CUSP_ENGINE_IMAGE_H
#define CUSP_ENGINE_IMAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"

struct image_store;

struct image {
    const char *ref; /* local name it was found under */
    const char
        *digest; /* "sha256:…" of the manifest (or of the root file system for plain imports) */
    const char **layers; /* absolute directories, topmost first, NULL-terminated */
    const char **entrypoint, **cmd, **env; /* NULL-terminated, never NULL */
    const char *workdir;                   /* "/" when unset */
    const char *user;                      /* "" = root */
    uint64_t size_bytes;
    usec_t created;
};

/* dir: DIR/images, made when missing (mode 0700). Removes what a crash left half-done. NULL + *err.
 * Unpacking owners and whiteouts needs root. */
struct image_store *image_store_open(const char *dir, struct err *err);
void image_store_close(struct image_store *s);
/* Additional alias lines "pattern = local name" (config); later wins. Pattern may use * once a
 * segment. */
int image_store_add_alias(struct image_store *s, const char *pattern, const char *local,
                          struct err *err);

/* Finds an image by what a job names: exact ref, ref without :latest, alias table of published
 * prebuilt training and prediction URIs (reference 12 §4). NOT_FOUND text says what to do, e.g.
 * `image "us-docker.pkg.dev/…/sklearn-cpu.1-6:latest" is not on this machine; build it with: cusp
 * images build sklearn-cpu`. [lane] Result lives in the arena. */
int image_resolve(struct image_store *s, struct arena *a, const char *uri, struct image *ret,
                  struct err *err);

/* As image_resolve, without unpacking anything: FAILED_PRECONDITION for a pushed image that no job
 * has asked for and that is not unpacked yet. Cheap enough for the loop. */
int image_find(struct image_store *s, struct arena *a, const char *uri, struct image *ret,
               struct err *err);

/* [lane] Imports an OCI archive, docker-save archive, OCI layout directory or root file system tar
 * (optionally gz/zst), told apart by content. name NULL: the archive's own names. Every entry
 * checked (path, type, link target, size, count) before it is written. Whiteouts translated for
 * overlayfs. */
int image_import(struct image_store *s, const char *path, const char *name, struct image *ret,
                 struct arena *a, struct err *err);
/* How a root file system without a configuration of its own runs; NULL = unset. Ignored for
 * archives that carry one. env: "NAME=value". The usual PATH is added when env has none. */
struct image_config {
    const char **entrypoint, **cmd, **env; /* NULL-terminated */
    const char *workdir, *user;
};
int image_import_with(struct image_store *s, const char *path, const char *name,
                      const struct image_config *config, struct image *ret, struct arena *a,
                      struct err *err); /* [lane] */
int image_list(struct image_store *s, struct arena *a, struct image **ret, size_t *ret_n,
               struct err *err); /* [lane] */
/* [lane] in_use(image digest) refuses removal of what running jobs use (FAILED_PRECONDITION);
 * called with the store locked, on the caller's thread. Layers that no other image uses go with it.
 */
int image_remove(struct image_store *s, const char *ref,
                 bool (*in_use)(void *arg, const char *digest), void *arg, struct err *err);

/* [lane] Removes what nothing needs: layers and blobs of images that were removed or replaced,
 * blobs that were pushed and never got a manifest (older than limits.registry_blob_grace_s),
 * uploads that nobody continued. Kept: named images, pushed manifests, what in_use says, what is
 * mounted. UNAVAILABLE while an import is under way. */
struct image_prune {
    bool (*in_use)(void *arg, const char *digest); /* may be NULL; called with the store locked */
    void *arg;
    /* results */
    uint64_t images, layers, blobs, bytes;
};
int image_prune(struct image_store *s, struct image_prune *p, struct err *err);

/* uid/gid/home of the image's USER ("name", "uid", "uid:gid", "name:group") from its passwd/group
 * files. [lane] */
struct image_user {
    uint32_t uid, gid;
    uint32_t extra_gids[32];
    size_t nr_extra;
    const char *home; /* "/root" for root, "/" when unknown */
};
int image_lookup_user(const struct image *img, struct arena *a, struct image_user *ret,
                      struct err *err);

#endif
