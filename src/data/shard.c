#include "data/shard.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/fail.h"
#include "data/split.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BUFFER ((size_t)512 << 10)
#define PAGE 4096
#define WRITEBACK_STEP (8u << 20) /* starts writeback this often, so that the fsync is short */

void shards_init(struct shards *s, const struct shard_place *place, uint64_t max_bytes,
                 struct str header) {
    *s = (struct shards){.place = place, .max_bytes = max_bytes, .fd = -1};
    s->header = header.n ? str_dup(header) : NULL;
    s->header_n = header.n;
    s->p = aligned_alloc(PAGE, BUFFER);
    CHECK(s->p);
}

void shards_release(struct shards *s) {
    s->done.n = 0;
}

void shards_fini(struct shards *s) {
    if (s->fd >= 0) {
        close(take_fd(&s->fd));
        s->place->drop(s->place->arg, s->cur.id);
    }
    for (size_t i = 0; i < s->done.n; i++) {
        s->place->drop(s->place->arg, s->done.p[i].id);
    }
    vec_fini(&s->done);
    free(take(&s->header));
    free(take(&s->p));
}

static int write_out(struct shards *s, const char *p, size_t n, struct err *err) {
    if (FAIL_POINT("data.shard.write", err) < 0) {
        return -1;
    }
    s->cur.crc32c = enc_crc32c(s->cur.crc32c, p, n);
    while (n) {
        ssize_t put = write(s->fd, p, n);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return err_sys(err, errno, "write exported data");
        }
        p += put;
        n -= (size_t)put;
        s->cur.size += (uint64_t)put;
    }
    if (s->cur.size - s->flushed >= WRITEBACK_STEP) {
        (void)sync_file_range(s->fd, (off_t)s->flushed, (off_t)(s->cur.size - s->flushed),
                              SYNC_FILE_RANGE_WRITE);
        s->flushed = s->cur.size; /* only a hint: the fsync decides */
    }
    return 0;
}

static int flush(struct shards *s, struct err *err) {
    size_t n = s->n;
    s->n = 0;
    return n ? write_out(s, s->p, n, err) : 0;
}

/* Every write but a shard's last is of whole buffers: in the file and in memory bytes then have the
 * same place in their page, without which the kernel copies at a quarter of the speed. */
static int put_bytes(struct shards *s, const char *p, size_t n, struct err *err) {
    while (n) {
        size_t part = n < BUFFER - s->n ? n : BUFFER - s->n;
        memcpy(s->p + s->n, p, part);
        s->n += part;
        p += part;
        n -= part;
        if (s->n == BUFFER && flush(s, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int begin(struct shards *s, struct err *err) {
    s->cur = (struct shard){.size = 0};
    s->flushed = 0;
    if (s->place->make(s->place->arg, s->cur.id, &s->fd, err) < 0) {
        return -1;
    }
    return s->header_n ? put_bytes(s, s->header, s->header_n, err) : 0;
}

static int end(struct shards *s, struct err *err) {
    if (flush(s, err) < 0 || FAIL_POINT("data.shard.before_fsync", err) < 0) {
        return -1;
    }
    if (fsync(s->fd) < 0) {
        return err_sys(err, errno, "store exported data");
    }
    close(take_fd(&s->fd));
    vec_push(&s->done, s->cur);
    return 0;
}

int shards_put(struct shards *s, struct str record, struct err *err) {
    uint64_t size = s->cur.size + s->n;
    if (s->fd >= 0 && size > s->header_n && size + record.n + 1 > s->max_bytes && end(s, err) < 0) {
        return -1;
    }
    if ((s->fd < 0 && begin(s, err) < 0) || put_bytes(s, record.p, record.n, err) < 0 ||
        put_bytes(s, "\n", 1, err) < 0) {
        return -1;
    }
    s->records++;
    return 0;
}

int shards_finish(struct shards *s, struct err *err) {
    if (s->fd < 0 && s->done.n == 0 && begin(s, err) < 0) {
        return -1;
    }
    return s->fd >= 0 ? end(s, err) : 0;
}

void shard_name(struct buf *b, const char *set, size_t at, size_t of, const char *ext) {
    buf_printf(b, "%s-%05zu-of-%05zu.%s", set, at, of, ext);
}

static bool is_shard_of(struct str name, const char *set) {
    struct str rest = str_sub(name, strlen(set), name.n);
    uint64_t at, of;
    return str_starts(name, str_of(set)) && rest.n > sizeof("-00000-of-00001.") - 1 &&
           rest.p[0] == '-' && str_to_u64(str_sub(rest, 1, 5), &at) &&
           str_eq(str_sub(rest, 6, 4), STR("-of-")) && str_to_u64(str_sub(rest, 10, 5), &of) &&
           (str_eq(str_sub(rest, 15, rest.n), STR(".csv")) ||
            str_eq(str_sub(rest, 15, rest.n), STR(".jsonl"))) &&
           at < of;
}

bool shard_name_is(struct str name, const char *extra) {
    for (enum split_set s = SPLIT_TRAINING; s < SPLIT_NR; s++) {
        if (is_shard_of(name, split_set_name(s))) {
            return true;
        }
    }
    return extra && is_shard_of(name, extra);
}
