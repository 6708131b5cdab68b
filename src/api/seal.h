/* Sealing a folder of objects: every file's size and checksum, and one digest over all of them, so
 * that a later look can tell whether anything has changed. Loop thread; the bytes are read on the
 * blob module's lane, and only those whose checksum nobody has computed yet. Memory is bounded by
 * limits.max_model_files names.
 *
 * A seal as text, one file a line, in name order:
 *     SIZE CRC32C GENERATION NAME\n
 * SIZE and GENERATION decimal, CRC32C eight hex digits (of a file over limits.hash_on_read_bytes
 * "-"), NAME below the folder; it has no line breaks (object names have none). The digest is over
 * the lines without GENERATION: files written again with the same bytes keep it. */
#ifndef CUSP_API_SEAL_H
#define CUSP_API_SEAL_H

#include "blob/blob.h"

struct seal;

struct seal_file {
    struct str name; /* below the folder */
    uint64_t size, generation;
    bool has_crc32c;
    uint32_t crc32c;
};

struct seal_facts {
    uint64_t files, bytes;
    struct str digest; /* "sha256:…" */
    struct str text;   /* as above */
};

struct seal_wish {
    struct str folder; /* "gs://BUCKET/DIR", with or without a slash at its end */
    bool is_quick;     /* takes checksums where they are known and computes none */
    /* Every now and then; may be NULL. */
    void (*progress)(void *arg, uint64_t files, uint64_t bytes);
    /* Once, not from within seal_begin; f is valid during the call. INVALID_ARGUMENT: nothing is
     * there, or a file of that name; RESOURCE_EXHAUSTED: max_model_files; CANCELLED. */
    void (*cb)(void *arg, const struct seal_facts *f, const struct err *err);
    void *arg;
};
/* Copies folder. */
struct seal *seal_begin(struct blob *b, const struct seal_wish *w);
/* cb follows soon, with CANCELLED; until then s is there. */
void seal_cancel(struct seal *s);

/* "gs://B/dir" -> bucket "B", prefix "dir/" ("" for the whole bucket). INVALID_ARGUMENT on `field`
 * says what is wrong with it. Views of uri, and of the arena. */
int seal_folder(struct arena *a, struct str uri, const char *field, struct str *ret_bucket,
                struct str *ret_prefix, struct err *err) MUST_CHECK;

/* Files, bytes and digest of a seal's text; the digest lives in the arena. */
void seal_describe(struct arena *a, struct str text, struct seal_facts *ret);
/* The next line of a seal; false at the end, or when the rest does not read. */
bool seal_next(struct str *text, struct seal_file *ret);

enum seal_difference { SEAL_ADDED, SEAL_REMOVED, SEAL_CHANGED };
/* Both in name order. Calls fn for every file that differs, before and after NULL where there is
 * none. Without checksums on both sides, size and generation are compared. Returns how many. */
uint64_t seal_compare(struct str before, struct str after,
                      void (*fn)(void *arg, enum seal_difference d, const struct seal_file *before,
                                 const struct seal_file *after),
                      void *arg);

#endif
