/* A blob module with its loop, lane and SQLite store in a fresh directory; calls made synchronous.
 */
#ifndef CUSP_TEST_BLOB_RIG_H
#define CUSP_TEST_BLOB_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "blob/blob_int.h"

struct brig {
    char dir[64];
    struct loop *loop;
    struct lane *disk;
    struct store *store;
    struct blob *blob;
    bool done;
    struct err err; /* of the last call; code ERR_OK when it worked */
};

/* A fresh directory; in memory where there is such a file system, because these tests fsync a lot.
 */
void brig_make_dir(char path[64]);
void brig_new(struct brig *r);   /* fresh directory, started */
void brig_start(struct brig *r); /* on what is there */
void brig_stop(struct brig *r);
void brig_free(struct brig *r);   /* stops and removes */
void brig_remove(struct brig *r); /* the directory, after brig_stop */
void brig_wait(struct brig *r);   /* until done */

bool brig_bucket(struct brig *r, const char *bucket);
/* pre may be NULL. True: *ret (may be NULL) has generation and size, no views. */
bool brig_put(struct brig *r, const char *bucket, struct str name, struct str data,
              const struct blob_precond *pre, struct blob_meta *ret);
/* Starts req (inited, filled) with fn and waits. */
bool brig_call(struct brig *r, struct blob_req *req, void (*fn)(struct blob *, struct blob_req *));
/* Facts and whole content (owned). */
bool brig_get(struct brig *r, const char *bucket, struct str name, struct blob_meta *ret,
              char **ret_data);
bool brig_delete(struct brig *r, const char *bucket, struct str name);
unsigned brig_uploads(const struct brig *r); /* files in DIR/uploads */

#endif
