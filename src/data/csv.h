/* Records of CSV files, one after the other, as they stand in the file: RFC 4180 as Python and
 * pandas read it. A field may be quoted when the quote is its first character; within it "" is a
 * quote and commas and line breaks are text; a quote anywhere else is itself. Lines end with LF or
 * CR LF, the last one also with the file. A UTF-8 byte order mark is skipped, so are empty lines.
 * Files that begin with gzip's magic number are unpacked.
 *
 * Blocks, so for lanes' threads. Memory: limits.max_csv_record and two buffers, whatever the file.
 */
#ifndef CUSP_DATA_CSV_H
#define CUSP_DATA_CSV_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct csv_reader;

struct csv_record {
    struct str text; /* without its line break; valid until the next csv_next */
    uint64_t line;   /* of the file, from 1, where the record begins */
    size_t columns;  /* at least 1 */
    bool has_quotes; /* false: no byte of it is a quote */
};

/* Takes fd, which stands at its beginning. uri names the file in errors; it is copied. */
struct csv_reader *csv_open(int fd, struct str uri);
void csv_close(struct csv_reader *r); /* NULL is fine */

/* 1: a record; 0: the end; -1: INVALID_ARGUMENT naming file, line and what is wrong (a quote that
 * is never closed, a record over limits.max_csv_record, damaged gzip data, UTF-16), or what reading
 * the file failed with. */
int csv_next(struct csv_reader *r, struct csv_record *ret, struct err *err) MUST_CHECK;

/* Field number `index` (from 0) without quotes: a view of the record or of scratch, which is
 * cleared. False when there are not so many. */
bool csv_field(const struct csv_record *rec, size_t index, struct buf *scratch, struct str *ret);

/* All of them: rec->columns views of the record or of the arena. */
struct str *csv_fields(const struct csv_record *rec, struct arena *a);

/* Bytes of the file that were read: of the packed ones when it is packed. */
uint64_t csv_bytes_read(const struct csv_reader *r);
/* INVALID_ARGUMENT "URI, line N: ..."; returns -1. */
int csv_fail(const struct csv_reader *r, uint64_t line, struct err *err, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
