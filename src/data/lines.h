/* Lines of a text file, plain or packed with gzip: ends with LF or CR LF, the last one also with
 * the file; a UTF-8 byte order mark at the beginning is skipped. Blocks; one thread at a time. */
#ifndef CUSP_DATA_LINES_H
#define CUSP_DATA_LINES_H

#include "base/err.h"
#include "base/str.h"

struct lines;

/* Takes fd, which stands at its beginning. */
struct lines *lines_open(int fd);
void lines_close(struct lines *l); /* NULL is fine */
enum lines_step { LINES_END, LINES_LINE, LINES_TOO_LONG, LINES_ERROR };
/* LINES_LINE: *ret without its end, valid until the next call. LINES_TOO_LONG: a line of more than
 * limits.max_import_line bytes was skipped. LINES_ERROR: *err says why the file does not read. */
enum lines_step lines_next(struct lines *l, struct str *ret, struct err *err);
uint64_t lines_number(const struct lines *l);     /* of the last one, from 1 */
uint64_t lines_bytes_read(const struct lines *l); /* of the file as it is stored */

#endif
