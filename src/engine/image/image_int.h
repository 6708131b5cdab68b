/* Private to the image module: the store's insides and the steps of an import. */
#ifndef CUSP_ENGINE_IMAGE_INT_H
#define CUSP_ENGINE_IMAGE_INT_H

#include "base/list.h"
#include "base/rec.h"
#include "base/vec.h"
#include "engine/image/image.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHA256_HEX_LEN 64

struct image_ref {
    char *name;                   /* canonical, see image_name_canonical */
    char hex[SHA256_HEX_LEN + 1]; /* image digest without "sha256:" */
};

struct image_alias {
    char *pattern, *local;
};

struct image_store {
    char *dir; /* absolute */
    int dir_fd;
    pthread_mutex_t lock; /* refs, aliases, and the moment a layer gets or loses its final name */
    VEC_OF(struct image_ref) refs;
    VEC_OF(struct image_alias) aliases;
    unsigned importing; /* imports between their first layer and their reference: no sweep then */
    /* the registry's */
    struct list uploads; /* struct registry_upload, those somebody asked for since the start */
    unsigned nr_uploads, own_port;
    pthread_mutex_t unpack_lock; /* one pushed image is unpacked at a time, and only once */
    struct list pins, claims;    /* of pulls under way (registry_pull.c) */
    pthread_cond_t unclaimed;
};

/* ---- digests (hash.c) */
struct hash;
struct hash *hash_new(void);
void hash_free(struct hash *h);
void hash_add(struct hash *h, const void *p, size_t n);
void hash_hex(struct hash *h, char ret_hex[SHA256_HEX_LEN + 1]); /* ends it */
void hash_of(struct str bytes, char ret_hex[SHA256_HEX_LEN + 1]);
/* "sha256:HEX" with 64 lower-case digits; ret_hex gets the digits. */
bool digest_parse(struct str digest, char ret_hex[SHA256_HEX_LEN + 1]);
bool hex_is_sha256(struct str hex);

/* ---- names (alias.c) */
/* Without ":latest" and without the registries that are implied ("docker.io/library/",
 * "localhost/"). */
char *image_name_canonical(struct arena *a, struct str name);
/* INVALID_ARGUMENT for what no registry would take. */
int image_name_check(struct str name, struct err *err);
/* The i-th local name that a published URI may stand for, best first; NULL after the last.
 * *ret_recipe: the recipe that builds one, or NULL when we have none. */
const char *alias_builtin(struct arena *a, struct str uri, size_t i, const char **ret_recipe);
bool alias_matches(struct str pattern, struct str uri);

/* ---- unpacking (layer.c, entry.c) */
struct unpack {
    int root_fd;    /* borrowed: where entries go */
    bool is_base;   /* nothing is below: whiteouts are dropped instead of translated */
    bool keep_meta; /* owners, modes, times, xattrs (a layer); else plain files of ours (an archive)
                     */
    /* results */
    uint64_t bytes, entries, skipped;
    /* work */
    int parent_fd;
    char *parent; /* path of parent_fd below the root */
    VEC_OF(struct unpack_dir) dirs;
};
struct unpack_dir {
    char *path;
    uint32_t mode, uid, gid;
    struct timespec mtime;
};
struct archive;
struct archive_entry;
void unpack_init(struct unpack *u, int root_fd);
void unpack_fini(struct unpack *u);
/* One entry: checked, then written. INVALID_ARGUMENT for what no honest archive holds. */
int unpack_entry(struct unpack *u, struct archive *ar, struct archive_entry *e, struct err *err);
/* Directories' modes and times, which writing below them would have disturbed. */
int unpack_finish(struct unpack *u, struct err *err);
/* Strips "./" and slashes; *ret is "" for the root itself. Refuses absolute paths, "..", NUL,
 * length. */
int unpack_clean_path(const char *path, struct buf *ret, struct err *err);

struct layer_want {
    const char *blob_hex; /* digest of the file as stored, or NULL */
    const char *diff_hex; /* digest of the uncompressed tar, or NULL */
};
/* A tar (plain, gz, zst, xz, bz2) from the start of fd to its end into layers/HEX, once. */
int layer_import(struct image_store *s, int fd, const struct layer_want *want, bool is_base,
                 char ret_hex[SHA256_HEX_LEN + 1], struct err *err);
bool layer_exists(struct image_store *s, const char *hex);
uint64_t layer_size(struct image_store *s, const char *hex);
/* Plain files of an image archive into an existing directory. */
int archive_spill(int fd, int dir_fd, struct err *err);
enum archive_kind { ARCHIVE_ROOTFS = 1, ARCHIVE_IMAGE };
/* Looks at entry names until it is sure; leaves fd at its start. */
int archive_sniff(int fd, enum archive_kind *ret, struct err *err);

/* ---- records and references (store.c) */
struct image_record {
    char hex[SHA256_HEX_LEN + 1];
    const char *kind;   /* "oci", "docker", "rootfs" */
    struct str *layers; /* diff ids, lowest first */
    size_t nr_layers;
    const char **entrypoint, **cmd, **env; /* NULL-terminated, may be NULL */
    const char *workdir, *user;
    char blobs[2][SHA256_HEX_LEN + 1]; /* manifest and config it came with; "" when none */
    usec_t created;
};
int store_put_blob(struct image_store *s, const char *hex, struct str bytes, struct err *err);
int store_write_record(struct image_store *s, const struct image_record *r, struct err *err);
/* Writes the record durably; then name points to it. */
int store_publish(struct image_store *s, const struct image_record *r, const char *name,
                  struct err *err);
bool store_has_record(struct image_store *s, const char *hex);
int store_read_record(struct image_store *s, struct arena *a, const char *hex, struct rec *ret,
                      struct err *err);
/* Lock held; NULL when there is none of that name. */
struct image_ref *store_find_ref(struct image_store *s, struct str canonical);
/* Fresh directory under tmp/, swept at the next open if we die. Path below dir_fd; owned by arena.
 */
char *store_tmp_dir(struct image_store *s, struct arena *a, struct err *err);
void store_drop_tmp(struct image_store *s, const char *tmp); /* gone already: fine */
int store_load(struct image_store *s, struct arena *a, const char *hex, const char *ref,
               struct image *ret, struct err *err);
/* Imports in progress are not swept by a removal that runs beside them. */
void store_import_begin(struct image_store *s);
void store_import_end(struct image_store *s);

/* ---- what nothing reaches (store_sweep.c) */
struct image_prune;
/* Takes it away, unless an import is under way. Lock held (or before there are threads). p may be
 * NULL. Layers only change their place, as the files of one may take minutes to go: *ret_gone is
 * the directory below tmp/ that holds them (NULL: none), the caller's, also after a failure, to be
 * given to store_sweep_gone once the lock is released. */
int store_sweep(struct image_store *s, struct image_prune *p, char **ret_gone, struct err *err);
/* Removes the files. gone may be NULL; frees it. After a failure or a crash the next open does it.
 */
int store_sweep_gone(struct image_store *s, char *gone, struct err *err);

/* ---- names in jobs (store_find.c) */
/* NAME, NAME@sha256:HEX, sha256:HEX. Copies the reference out, so the lock can be dropped. */
bool store_lookup(struct image_store *s, struct arena *a, struct str uri, struct image_ref *ret);

/* ---- whole images (import_oci.c) */
/* Read by other threads while an image is unpacked. */
struct unpack_progress {
    atomic_uint layers, done; /* layers 0: not begun */
};
/* dir_fd: an OCI layout or an unpacked `docker save`. is_ours: nobody else has its files. ret_hex:
 * the first image's. */
int import_layout(struct image_store *s, int dir_fd, bool is_ours, const char *name,
                  char ret_hex[SHA256_HEX_LEN + 1], char **ret_name, struct err *err);
bool layout_is_image(int dir_fd);
/* A manifest (no index) whose blobs are all in the store: its layers, then its record. */
int import_stored(struct image_store *s, const char *hex, struct unpack_progress *progress,
                  struct err *err);
/* import_stored, unless the record is there. progress may be NULL. */
int store_unpack(struct image_store *s, const char *hex, struct unpack_progress *progress,
                 struct err *err);
/* image_resolve, which tells how far it is with unpacking. */
int store_resolve(struct image_store *s, struct arena *a, const char *uri,
                  struct unpack_progress *progress, struct image *ret, struct err *err);
/* Where a name leads today. */
enum store_source {
    STORE_NONE, /* nowhere */
    STORE_OWN,  /* to what was imported or pushed; or our own registry is meant and does not have it
                 */
    STORE_COPY, /* to a copy of another registry's */
};
enum store_source store_source(struct image_store *s, const char *uri);
/* As images spell it: "amd64". */
const char *image_native_arch(void);
/* env with the usual PATH in front when it names none. Strings borrowed. */
const char **image_env_with_path(struct arena *a, const char *const *env);

#endif
