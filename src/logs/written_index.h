/* Where in a segment of written entries what lies: a block for every so many frames, with their
 * times and, as 64-bit Bloom filters, their jobs. Made by reading the segment once; of a segment
 * that is full it is kept beside it (out.NNNNNN.idx), of the one being written in memory and
 * continued. Derived: may be removed at any time. Blocking; any thread of the lane. */
#ifndef CUSP_LOGS_WRITTEN_INDEX_H
#define CUSP_LOGS_WRITTEN_INDEX_H

#include "logs/logs_int.h"

#define WRITTEN_BLOCK_BYTES (64u * 1024u) /* a block ends with the frame that passes it */
#define WRITTEN_NAMES_MAX 10000u /* log ids remembered of one segment; more are not listed */

struct written_block {
    uint64_t offset; /* in the segment's file */
    uint32_t bytes, frames;
    usec_t min, max; /* timestamps, whole microseconds */
    uint64_t jobs;   /* index_bit of each job label's value */
};
struct written_name {
    char *id;    /* escaped as in names */
    usec_t last; /* when the last entry of it was received */
};
struct written_index {
    uint32_t file;
    uint64_t upto; /* what lies before is in blocks; 0: nothing yet */
    VEC_OF(struct written_block) blocks;
    VEC_OF(struct written_name) names; /* each once */
    struct map seen;                   /* id -> its place in names, plus 1 */
};
void written_index_init(struct written_index *x, uint32_t file);
void written_index_fini(struct written_index *x);
uint64_t written_index_bit(struct str job);

/* All there is to know of segment `file` of dir. is_last: it may grow; x goes on where it stopped.
 */
int written_index_update(struct written_index *x, const char *dir, bool is_last,
                         struct err *err) MUST_CHECK;

#endif
