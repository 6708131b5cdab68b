/* A file's bytes, unpacked when it begins with gzip's magic number (several members one after the
 * other are one text, as gzip reads them). Blocks; one thread at a time. */
#ifndef CUSP_DATA_GZFILE_H
#define CUSP_DATA_GZFILE_H

#include "base/err.h"
#include "base/mem.h"

struct gzfile;

/* Takes fd, which stands at its beginning. */
struct gzfile *gzfile_new(int fd);
void gzfile_free(struct gzfile *f); /* NULL is fine */
/* At least one byte unless the end is reached. INVALID_ARGUMENT: damaged or cut off gzip data. */
int gzfile_read(struct gzfile *f, char *p, size_t max, size_t *ret_n, struct err *err) MUST_CHECK;
/* Of the file as it is stored. */
uint64_t gzfile_bytes_read(const struct gzfile *f);

#endif
