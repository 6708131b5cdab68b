#include "logs/locate.h"

#include "base/limits.h"
#include "sys/seglog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_BYTES (128u * 1024u) /* read through when what is sought lies within so much */
#define NO_FRAME UINT64_MAX

static uint64_t key_of(enum locate_by by, const struct seg_frame *f) {
    return by == LOCATE_SEQ ? f->seq : f->time;
}

static int segment_open(const char *dir, unsigned file) {
    char name[32];
    snprintf(name, sizeof(name), SEG_NAME_FMT, file);
    auto_free char *path = xasprintf("%s/%s", dir, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The first whole frame at or after `from` that begins before `to`. False: none. Bytes of a frame
 * inside a frame's payload can be taken for one only by whoever wrote that log, to his own harm. */
static bool frame_after(int fd, uint64_t from, uint64_t to, struct buf *b, uint64_t *ret_at,
                        struct seg_frame *ret) {
    static const char magic[4] = {0x43, 0x53, 0x45, 0x67};
    size_t want = 65536 + SEG_HEAD_LEN;
    while (from < to) {
        buf_clear(b);
        char *p = buf_reserve(b, want);
        ssize_t n = pread(fd, p, want, (off_t)from);
        if (n < (ssize_t)SEG_HEAD_LEN) {
            return false;
        }
        struct str all = str_n(p, (size_t)n);
        size_t at = 0;
        bool cut = false;
        while (from + at < to) {
            ptrdiff_t next = str_find(str_sub(all, at, all.n), str_n(magic, sizeof(magic)));
            if (next < 0) {
                at = all.n - 3;
                break;
            }
            at += (size_t)next;
            if (from + at >= to) {
                return false;
            }
            ssize_t len = seg_decode(str_sub(all, at, all.n), ret);
            if (len > 0) {
                *ret_at = from + at;
                return true;
            }
            if (len == 0 && (size_t)n == want) {
                cut = true;
                break;
            }
            at++;
        }
        if (cut && at == 0) {
            want *= 2; /* one frame larger than the window; bounded by what seg_decode takes */
        } else if (at == 0 || (size_t)n < want) {
            return false;
        }
        from += at;
    }
    return false;
}

/* Offset of a frame with a key below `key`, near the first one that is not. */
static uint64_t bisect(int fd, enum locate_by by, uint64_t key) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct stat st;
    uint64_t lo = SEG_FILE_HEADER_LEN;
    uint64_t hi = fstat(fd, &st) ? 0 : (uint64_t)st.st_size;
    while (hi > lo + SCAN_BYTES) {
        uint64_t mid = lo + (hi - lo) / 2, at;
        struct seg_frame f;
        if (frame_after(fd, mid, hi, &b, &at, &f) && key_of(by, &f) < key) {
            lo = at;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static uint64_t first_key(const char *dir, unsigned file, enum locate_by by) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    auto_close int fd = segment_open(dir, file);
    uint64_t at;
    struct seg_frame f;
    return fd >= 0 && frame_after(fd, SEG_FILE_HEADER_LEN, SEG_FILE_HEADER_LEN + 1, &b, &at, &f)
               ? key_of(by, &f)
               : NO_FRAME;
}

int seg_locate(struct seg_cursor *c, enum locate_by by, uint64_t key, uint64_t *ret_seq,
               usec_t *ret_time, struct err *err) {
    uint32_t lo, hi; /* the first key of file lo is below key */
    seg_range(c->dir, &lo, &hi);
    while (hi > lo + 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (first_key(c->dir, mid, by) < key) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    c->file = lo;
    c->offset = 0;
    c->eof_seen = false;
    *ret_seq = 0;
    *ret_time = USEC_NEVER;
    {
        auto_close int fd = segment_open(c->dir, lo);
        if (fd < 0) {
            return errno == ENOENT ? 0 : err_sys(err, errno, "open log segment %u", lo);
        }
        struct stat st;
        if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > SEG_FILE_HEADER_LEN + SCAN_BYTES) {
            c->offset = bisect(fd, by, key);
        }
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    for (;;) {
        buf_clear(&b);
        if (seg_cursor_read(c, &b, 1, err)) { /* 1: one read, which does not go over files */
            return -1;
        }
        struct str rest = buf_str(&b);
        struct seg_frame f;
        ssize_t n;
        if (!rest.n) {
            return 0;
        }
        while (rest.n && (n = seg_decode(rest, &f)) > 0) {
            if (key_of(by, &f) >= key) {
                *ret_seq = f.seq;
                *ret_time = f.time;
                c->offset -= rest.n;
                c->eof_seen = false;
                return 0;
            }
            *ret_seq = f.seq + 1;
            rest = str_sub(rest, (size_t)n, rest.n);
        }
    }
}

usec_t seg_first(const char *dir, usec_t *ret_last) {
    uint32_t first, end;
    struct stat st;
    seg_range(dir, &first, &end);
    *ret_last = 0;
    if (end) {
        char name[32];
        snprintf(name, sizeof(name), SEG_NAME_FMT, end - 1);
        auto_free char *last = xasprintf("%s/%s", dir, name);
        *ret_last = stat(last, &st) ? 0
                                    : (usec_t)st.st_mtim.tv_sec * USEC_PER_SEC +
                                          (usec_t)st.st_mtim.tv_nsec / 1000;
    }
    uint64_t t = first_key(dir, first, LOCATE_TIME);
    return t == NO_FRAME ? USEC_NEVER : t;
}

usec_t seg_last_line(const char *dir) {
    struct seg_cursor c;
    uint64_t end = 0, seq;
    usec_t time = USEC_NEVER;
    seg_cursor_init(&c, dir);
    bool ok = seg_locate(&c, LOCATE_SEQ, UINT64_MAX, &end, &time, NULL) == 0;
    uint64_t behind = c.eof_seen ? 2 : 1;
    ok = ok && end >= behind && seg_locate(&c, LOCATE_SEQ, end - behind, &seq, &time, NULL) == 0 &&
         time != USEC_NEVER;
    seg_cursor_fini(&c);
    return ok ? time : 0;
}
