/* Finding a place in a replica's log by number or by time, without reading what lies before it:
 * frames are ordered by both. Blocking; the disk lane. */
#ifndef CUSP_LOGS_LOCATE_H
#define CUSP_LOGS_LOCATE_H

#include "logs/logs_int.h"

enum locate_by { LOCATE_SEQ, LOCATE_TIME };

/* Sets the cursor to the first frame whose number (or time) is at least key, or to the end of what
 * is written. *ret_seq: that frame's number, at the end the number the next frame will have;
 * *ret_time: its time, USEC_NEVER at the end. A directory that is missing is empty. */
int seg_locate(struct seg_cursor *c, enum locate_by by, uint64_t key, uint64_t *ret_seq,
               usec_t *ret_time, struct err *err) MUST_CHECK;
/* Time of the first frame, USEC_NEVER: there is none. Wall time of the last write in *ret_last. */
usec_t seg_first(const char *dir, usec_t *ret_last);
/* When the last line was read; 0: there is none. An end mark is no line. */
usec_t seg_last_line(const char *dir);

#endif
