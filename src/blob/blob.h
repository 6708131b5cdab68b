/* CONTRACT. Object bytes: buckets are directories, objects are plain files (architecture notes §15 Blobs), so a
 * file that training code writes under /gcs is an object at once. Metadata that a file cannot carry
 * (custom metadata, content type, generation, checksums) lives in the store's kv spaces "bucket" and
 * "object"; a file without a record is an object all the same (computed on first read, cached by
 * inode, size, ctime). Everything asynchronous runs on the disk lane and completes on the loop. */
#ifndef CUSP_BLOB_BLOB_H
#define CUSP_BLOB_BLOB_H

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"
#include "store/store.h"

struct loop;
struct lane;
struct blob;

struct blob *blob_open(struct loop *l, struct lane *disk, struct store *st, const char *data_dir, struct err *err);
void blob_close(struct blob *b, void (*cb)(void *arg), void *arg);

/* gs://BUCKET/NAME -> file path (owned), pure path arithmetic plus escape rules plus an existence check; any
 * thread. INVALID_ARGUMENT for malformed URIs, NOT_FOUND naming the bucket or the object. */
int blob_object_path(const char *data_dir, const char *gs_uri, char **ret_path, struct err *err);

/* The rest (buckets, objects, uploads, lists) is this module's to define below. */

#endif
