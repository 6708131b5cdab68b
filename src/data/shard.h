/* Records into files of about the same size: the shards of one set of an export. Files are made
 * aside and get their names, which say how many there are, when all are written
 * ("training-00000-of-00002.csv"). Each is on the disk when its successor is begun, the last one
 * when shards_finish returns.
 *
 * Blocks, so for lanes' threads; one thread at a time. Once a buffer is full a thread of its own
 * writes it while the next one is filled; what goes wrong there is told by the next call. Memory:
 * four buffers of 512 KiB. */
#ifndef CUSP_DATA_SHARD_H
#define CUSP_DATA_SHARD_H

#include "base/err.h"
#include "base/buf.h"
#include "base/vec.h"

#define SHARD_ID_SIZE 40

/* Where files are made and what becomes of those that nobody wants; called on the writing thread.
 */
struct shard_place {
    /* A new empty file: a descriptor that the writer closes, and what it is called meanwhile. */
    int (*make)(void *arg, char ret_id[SHARD_ID_SIZE], int *ret_fd, struct err *err);
    void (*drop)(void *arg, const char *id);
    void *arg;
};

struct shard {
    char id[SHARD_ID_SIZE];
    uint64_t size;
    uint32_t crc32c;
};

struct shard_writer;

struct shards {
    const struct shard_place *place;
    uint64_t max_bytes;
    char *header; /* of every shard; NULL: none */
    size_t header_n;
    uint64_t records, annotations; /* annotations: the caller's to count */
    VEC_OF(struct shard) done;
    /* the module's */
    struct shard cur; /* size: of what was given to the writer */
    int fd;           /* -1: the next record begins a shard */
    struct shard_writer *w;
    char *p; /* the buffer that is being filled */
    size_t n;
};

/* header (may be empty) with its line break; copied. place stays the caller's. */
void shards_init(struct shards *s, const struct shard_place *place, uint64_t max_bytes,
                 struct str header);
/* Drops every file that was not given away (shards_release). */
void shards_fini(struct shards *s);
/* One record, which ends up whole in one shard; '\n' is added. */
int shards_put(struct shards *s, struct str record, struct err *err) MUST_CHECK;
/* What is in the buffers goes to the disk; a set without records gets one file with the header.
 * Then `done` is complete. */
int shards_finish(struct shards *s, struct err *err) MUST_CHECK;
/* The files are the caller's from now on. */
void shards_release(struct shards *s);

/* "training-00000-of-00002.csv". */
void shard_name(struct buf *b, const char *set, size_t at, size_t of, const char *ext);
/* Is this the name of a shard of one of the three sets, or of `extra` (may be NULL)? */
bool shard_name_is(struct str name, const char *extra);

#endif
