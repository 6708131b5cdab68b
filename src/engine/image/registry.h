/* CONTRACT. The registry's shelf: what clients push to /v2/, kept in the image store's directory so
 * that a pushed image is an image of this machine without a copy.
 *
 *   blobs/sha256/HEX             bytes of blobs and manifests, one file whoever pushed them
 *   repos/R/blobs/HEX            empty: repository R holds this blob (its age guards pushes under
 * way) repos/R/manifests/HEX        rec: media type, size, what it refers to repos/R/tags/TAG@ HEX:
 * what the tag points to (the @ keeps it apart from TAG.tmp) repos/R/referrers/SUBJECT/HEX  empty:
 * manifest HEX names SUBJECT as its subject repos/R/uploads/ID           an upload under way;
 * outlives the server
 *
 * R is the repository's name with '/' written '+'. Written in that order, each durable before the
 * next, so that a crash leaves at most bytes that nothing refers to; opening the store and
 * image_prune take those away.
 *
 * Everything here blocks [lane] unless it says pure; any thread. Errors: the code is ours,
 * err.field holds the distribution specification's word for it ("BLOB_UNKNOWN", "DIGEST_INVALID",
 * ...). */
#ifndef CUSP_ENGINE_IMAGE_REGISTRY_H
#define CUSP_ENGINE_IMAGE_REGISTRY_H

#include "base/arena.h"
#include "base/err.h"

#define REGISTRY_HEX 64 /* digits of a sha256 */

struct image_store;

/* ---- names: pure */
/* "a/b/c" of the specification's alphabet, at most 255 bytes: NAME_INVALID. */
int registry_check_repo(struct str repo, struct err *err);
int registry_check_tag(struct str tag, struct err *err); /* TAG_INVALID */
/* "sha256:HEX": DIGEST_INVALID. */
int registry_check_digest(struct str digest, char ret_hex[REGISTRY_HEX + 1], struct err *err);

/* A name as jobs give it: [HOST[:PORT]/]REPO[:TAG][@sha256:HEX]. False: it is not of that shape. */
struct registry_name {
    struct str host; /* .p NULL: none */
    struct str repo;
    struct str tag; /* "latest" when none is given; .p NULL with a digest */
    char hex[REGISTRY_HEX + 1];
};
bool registry_parse_name(struct str name, struct registry_name *ret);

/* Port of our own address: images named localhost:PORT/..., 127.x:PORT/..., MACHINE:PORT/... are
 * found on the shelf. Any thread. */
void registry_set_port(struct image_store *s, unsigned port);

/* ---- blobs */
/* *ret_fd (may be NULL): the blob opened, the caller's. touch: keeps a blob from being pruned that
 * a client relies on because we said it is here. BLOB_UNKNOWN. */
int registry_blob_open(struct image_store *s, struct str repo, const char *hex, bool touch,
                       int *ret_fd, uint64_t *ret_size, struct err *err);
/* Blob of repository `from` becomes one of `repo`, without a copy. BLOB_UNKNOWN. */
int registry_blob_mount(struct image_store *s, struct str repo, struct str from, const char *hex,
                        struct err *err);
/* BLOB_UNKNOWN; DENIED while a manifest of the repository refers to it. */
int registry_blob_delete(struct image_store *s, struct str repo, const char *hex, struct err *err);

/* ---- uploads. One request at a time has an upload: it is taken by start or open and given back by
 * release, finish or cancel, after which the pointer is dead. */
struct registry_upload;
/* TOOMANYREQUESTS past limits.registry_max_uploads. */
int registry_upload_start(struct image_store *s, struct str repo, struct registry_upload **ret,
                          struct err *err);
/* BLOB_UPLOAD_UNKNOWN; BLOB_UPLOAD_INVALID while another request has it. */
int registry_upload_open(struct image_store *s, struct str repo, struct str id,
                         struct registry_upload **ret, struct err *err);
const char *registry_upload_id(const struct registry_upload *u);
uint64_t registry_upload_size(const struct registry_upload *u);
/* Appends. After a failure the upload can only be given back, which removes it. */
int registry_upload_write(struct registry_upload *u, struct str bytes, struct err *err);
void registry_upload_release(struct registry_upload *u); /* stays for the next request */
void registry_upload_cancel(struct registry_upload *u);  /* its bytes go */
/* The bytes become blob HEX, durably; DIGEST_INVALID when they are not. Gone either way. */
int registry_upload_finish(struct registry_upload *u, const char *hex, struct err *err);

/* ---- manifests */
struct registry_manifest {
    char hex[REGISTRY_HEX + 1];
    const char *media_type;
    uint64_t size;
    struct str bytes;
    char subject[REGISTRY_HEX + 1]; /* put: "" when it names none */
    bool is_image;                  /* put: has layers to unpack (on some platform) */
};
/* reference: a tag, or "sha256:HEX" of these very bytes. media_type: of the request, or empty. All
 * blobs must be in the repository; children of an index need not. MANIFEST_INVALID,
 * MANIFEST_BLOB_UNKNOWN, SIZE_INVALID, DIGEST_INVALID, TAG_INVALID, TOOMANYREQUESTS. */
int registry_manifest_put(struct image_store *s, struct arena *a, struct str repo,
                          struct str reference, struct str media_type, struct str bytes,
                          struct registry_manifest *ret, struct err *err);
/* MANIFEST_UNKNOWN, NAME_UNKNOWN. want_bytes false: without the bytes. */
int registry_manifest_get(struct image_store *s, struct arena *a, struct str repo,
                          struct str reference, bool want_bytes, struct registry_manifest *ret,
                          struct err *err);
/* A tag: only the tag. A digest: the manifest and every tag on it. */
int registry_manifest_delete(struct image_store *s, struct str repo, struct str reference,
                             struct err *err);

/* ---- discovery. Sorted bytewise, those after `last` (.p NULL: from the start), at most max. */
struct registry_page {
    char **names;
    size_t n;
    bool has_more;
};
int registry_tags(struct image_store *s, struct arena *a, struct str repo, struct str last,
                  size_t max, struct registry_page *ret, struct err *err); /* NAME_UNKNOWN */
int registry_catalog(struct image_store *s, struct arena *a, struct str last, size_t max,
                     struct registry_page *ret, struct err *err);
/* An image index of the manifests whose subject is HEX; artifact_type .p NULL: all. */
int registry_referrers(struct image_store *s, struct arena *a, struct str repo, const char *hex,
                       struct str artifact_type, struct str *ret_json, struct err *err);

/* ---- for jobs */
/* Unpacks what a manifest means on this platform, unless that was done. What is no image, or none
 * for this platform: nothing to do. */
int registry_unpack(struct image_store *s, struct str repo, const char *hex, struct err *err);

#endif
