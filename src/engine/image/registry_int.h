/* Private to the registry's files and to store.c, which asks what pushed manifests keep alive. */
#ifndef CUSP_ENGINE_IMAGE_REGISTRY_INT_H
#define CUSP_ENGINE_IMAGE_REGISTRY_INT_H

#include "engine/image/image_int.h"
#include "engine/image/registry.h"

#define REGISTRY_REC_MAX ((size_t)16 << 20)

/* A set of digests: filled, then sealed, then asked. */
struct hexset {
    VEC_OF(struct hexset_item) v;
};
struct hexset_item {
    char hex[SHA256_HEX_LEN + 1];
};
void hexset_add(struct hexset *h, struct str hex); /* others than digests are ignored */
void hexset_seal(struct hexset *h);
bool hexset_has(const struct hexset *h, const char *hex);
void hexset_fini(struct hexset *h);

/* "repos/a+b/PART[/NAME]" */
char *repo_path(struct arena *a, struct str repo, const char *part, const char *name);
struct str repo_of_dir(struct arena *a, const char *dir);
/* Names in a directory of the store, unsorted, without those that are being written (".tmp"). A
 * directory that is not there is empty. */
int store_names(struct image_store *s, struct arena *a, const char *path, char ***ret,
                size_t *ret_n, struct err *err);
/* The repository's directories, durably; TOOMANYREQUESTS past limits.registry_max_repos. */
int repo_make(struct image_store *s, struct str repo, struct err *err);
/* An empty file, durably. */
int store_mark(struct image_store *s, struct arena *a, const char *dir, const char *name,
               struct err *err);
int store_blob_size(struct image_store *s, const char *hex, uint64_t *ret); /* 0 or -1 */
bool repo_has_blob(struct image_store *s, struct str repo, const char *hex);

/* The rec of a manifest of repo. MANIFEST_UNKNOWN. */
int manifest_rec(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                 struct rec *ret, struct err *err);
/* The manifest, its tags, its place among the referrers. Lock held. */
int manifest_remove(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                    struct err *err);
/* Tag or digest -> HEX. */
int manifest_find(struct image_store *s, struct str repo, struct str reference,
                  char ret_hex[SHA256_HEX_LEN + 1], struct err *err);

/* ---- for pulls (registry_pull.c) */
/* Blobs and manifests that a prune leaves alone, whatever their age. Links and sealing are the
 * store's; the set is the caller's until then. */
struct registry_pin {
    struct list link;
    struct hexset blobs;
};
void registry_pin(struct image_store *s, struct registry_pin *p);
void registry_unpin(struct image_store *s,
                    struct registry_pin *p);                     /* frees the set; twice is fine */
bool registry_is_pinned(struct image_store *s, const char *hex); /* lock held */
/* One thread at a time fetches a blob. False: another has it and has had it for a moment; ask
 * again. */
struct store_claim {
    struct list link;
    const char *hex;
};
bool store_claim(struct image_store *s, struct store_claim *c, const char *hex);
void store_unclaim(struct image_store *s, struct store_claim *c);
/* The flushed file at `path` below the store's directory becomes blob HEX, and repository repo has
 * it. path NULL: the blob is here already. */
int registry_blob_adopt(struct image_store *s, struct str repo, const char *hex, const char *path,
                        struct err *err);
/* Repository repo holds copies (of another registry's images, of imported files), of which a prune
 * takes what no tag leads to. A repository that somebody pushed to stays what it is. */
int registry_mark_pulled(struct image_store *s, struct str repo, struct err *err);
/* What somebody asked for by its digest stays, whatever becomes of the tags. */
int registry_keep_digest(struct image_store *s, struct str repo, const char *hex, struct err *err);
/* registry_manifest_put for those copies: a put by a client makes the repository the client's. */
int registry_manifest_copy(struct image_store *s, struct arena *a, struct str repo,
                           struct str reference, struct str media_type, struct str bytes,
                           struct registry_manifest *ret, struct err *err);
bool registry_is_pulled(struct image_store *s, struct str repo);
/* Takes a copy off the shelf that turned out to be no image: the manifests (either may be the
 * other), their tags, and their blobs unless another repository has them or another pull wants
 * them. */
int registry_reject_copy(struct image_store *s, struct str repo, const char *top, const char *image,
                         struct err *err);
/* Parts of blobs that nobody fetches; with `all` the young ones too. Lock held, or not yet shared.
 */
void registry_expire_parts(struct image_store *s, bool all);

/* ---- called by store.c */
/* Adds what the shelf keeps: manifests (their records), and blobs. With drop, marks of blobs that
 * nothing refers to and nobody is pushing are taken away first. Lock held. */
int registry_live(struct image_store *s, bool drop, struct hexset *images, struct hexset *blobs,
                  struct err *err);
/* Forgets of all repositories of copies what no tag leads to, with its blobs, however young. Lock
 * held. */
int registry_drop_copies(struct image_store *s, struct err *err);
/* Uploads that nobody continued. */
void registry_expire_uploads(struct image_store *s);
void registry_close(struct image_store *s);
/* A name of ours -> the manifest for this platform. False: the shelf does not have that name.
 * *ret_is_ours: the host names this server. Lock held or not. */
bool registry_find(struct image_store *s, struct arena *a, struct str name, bool need_host,
                   char ret_hex[SHA256_HEX_LEN + 1], bool *ret_is_ours, struct err *err);
/* Our port, when the name's host is this machine and its port another; else 0. */
unsigned registry_other_port(struct image_store *s, struct str name);
/* registry_find for a name of another registry: what was pulled from there, or was pushed here
 * under the path of an Artifact Registry name. *ret_repo (may be NULL): where on the shelf. */
bool registry_find_foreign(struct image_store *s, struct arena *a, struct str name,
                           char ret_hex[SHA256_HEX_LEN + 1], struct str *ret_repo, struct err *err);
/* A manifest stands for itself, an index for its entry for this machine. Takes the lock. */
int registry_pick(struct image_store *s, struct str repo, const char *hex,
                  char ret_hex[SHA256_HEX_LEN + 1], struct err *err);
/* All tags: "REPO:TAG" and the manifest for this platform (those without one are left out). */
struct registry_tag {
    const char *repo, *tag;
    char *name; /* for people: a copy asked for by its digest is REPO@sha256:HEX */
    char hex[SHA256_HEX_LEN + 1];
};
int registry_all_tags(struct image_store *s, struct arena *a, struct registry_tag **ret,
                      size_t *ret_n, struct err *err);

#endif
