/* What tests of exports share: files in memory behind struct export_io. */
#ifndef CUSP_TESTS_DATA_RIG_H
#define CUSP_TESTS_DATA_RIG_H

#include "base/buf.h"
#include "data/export.h"

#define RIG_FILES 64

struct rig {
    char dir[64]; /* where shards are made */
    struct {
        char *uri, *text;
        size_t n;
    } files[RIG_FILES];
    size_t nr_files;
    unsigned made, dropped, opened;
    unsigned fail_make_at; /* the n-th file cannot be made; 0: never */
    struct export_io io;
    struct export_watch watch;
};

void rig_open(struct rig *r);
void rig_close(struct rig *r);
void rig_file(struct rig *r, const char *uri, const char *text, size_t n);
/* The content of a shard. */
void rig_read(struct rig *r, const struct shard *s, struct buf *ret);
unsigned rig_left(struct rig *r);       /* files in the directory */
int rig_fd(const char *text, size_t n); /* a file with this content, at its beginning */

#endif
