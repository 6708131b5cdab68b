/* Reading segment directories: whole frames only, across files, tolerant of a tail being written.
 */
#include "logs/logs_int.h"

#include "sys/seglog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void seg_cursor_init(struct seg_cursor *c, const char *dir) {
    *c = (struct seg_cursor){.dir = xstrdup(dir)};
}

void seg_cursor_fini(struct seg_cursor *c) {
    free(c->dir);
    *c = (struct seg_cursor){0};
}

static char *segment_path(const char *dir, unsigned file) {
    char name[32];
    snprintf(name, sizeof(name), SEG_NAME_FMT, file);
    return xasprintf("%s/%s", dir, name);
}

static bool segment_exists(const char *dir, unsigned file) {
    auto_free char *path = segment_path(dir, file);
    return access(path, F_OK) == 0;
}

/* Counts the whole frames at the start of bytes; notes SEG_EOF. -1: corrupt. */
static ssize_t whole_frames(struct seg_cursor *c, struct str bytes) {
    size_t used = 0;
    while (used < bytes.n && !c->eof_seen) {
        struct seg_frame f;
        ssize_t n = seg_decode(str_sub(bytes, used, bytes.n), &f);
        if (n <= 0) {
            return n < 0 ? -1 : (ssize_t)used;
        }
        used += (size_t)n;
        c->eof_seen = f.stream == SEG_EOF;
    }
    return (ssize_t)used;
}

int seg_cursor_read(struct seg_cursor *c, struct buf *out, size_t max, struct err *err) {
    size_t started_with = out->n;
    while (!c->eof_seen && out->n - started_with < max) {
        auto_free char *path = segment_path(c->dir, c->file);
        auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) {
            uint32_t first, end;
            seg_range(c->dir, &first, &end);
            if (first <= c->file) {
                return 0;
            }
            c->file = first; /* what was before it has been removed */
            c->offset = 0;
            continue;
        }
        if (fd < 0) {
            return err_sys(err, errno, "open log segment %u", c->file);
        }
        if (c->offset == 0) {
            char head[SEG_FILE_HEADER_LEN];
            ssize_t n = pread(fd, head, sizeof(head), 0);
            if (n < (ssize_t)sizeof(head)) {
                return 0; /* the writer has only just made it */
            }
            if (memcmp(head, SEG_FILE_HEADER, sizeof(SEG_FILE_HEADER) - 1) != 0) {
                return err_set(err, ERR_DATA_LOSS, "log segment %u has no header", c->file);
            }
            c->offset = SEG_FILE_HEADER_LEN;
        }
        /* A frame may be larger than what is left of max: always leave room for one. */
        size_t want = 65536;
        for (;;) {
            char *to = buf_reserve(out, want);
            if (!to) {
                return err_set(err, ERR_RESOURCE_EXHAUSTED, "log read buffer is full");
            }
            ssize_t n = pread(fd, to, want, (off_t)c->offset);
            if (n < 0) {
                return err_sys(err, errno, "read log segment %u", c->file);
            }
            ssize_t whole = whole_frames(c, str_n(to, (size_t)n));
            if (whole < 0) {
                return err_set(err, ERR_DATA_LOSS, "log segment %u is corrupt after byte %llu",
                               c->file, (unsigned long long)c->offset);
            }
            buf_commit(out, (size_t)whole);
            c->offset += (uint64_t)whole;
            if (whole > 0) {
                break;
            }
            if ((size_t)n < want) { /* at the end of what is written so far */
                if (!segment_exists(c->dir, c->file + 1)) {
                    return 0;
                }
                struct stat st;
                if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > c->offset + (uint64_t)n) {
                    break; /* it grew meanwhile: read again before moving on */
                }
                c->file++;
                c->offset = 0;
                break;
            }
            want *= 2;
        }
    }
    return 0;
}

int seg_append_open(const char *dir, int *ret_fd, uint64_t *ret_seq, usec_t *ret_last,
                    bool *ret_ended, struct err *err) {
    uint64_t seq = 0;
    usec_t last = 0;
    struct seg_cursor c;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    seg_cursor_init(&c, dir);
    for (;;) {
        buf_clear(&b);
        if (seg_cursor_read(&c, &b, 1 << 20, err)) {
            seg_cursor_fini(&c);
            return -1;
        }
        struct str rest = buf_str(&b);
        struct seg_frame f;
        ssize_t n;
        if (rest.n == 0) {
            break;
        }
        while (rest.n && (n = seg_decode(rest, &f)) > 0) {
            seq = f.seq + 1;
            last = f.time > last ? f.time : last;
            rest = str_sub(rest, (size_t)n, rest.n);
        }
    }
    auto_free char *path = segment_path(dir, c.file);
    uint64_t keep = c.offset;
    *ret_ended = c.eof_seen;
    seg_cursor_fini(&c);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_sys(err, errno, "open service log");
    }
    if (keep == 0) {
        char head[SEG_FILE_HEADER_LEN] = SEG_FILE_HEADER;
        if (ftruncate(fd, 0) || pwrite(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head)) {
            return err_sys(err, errno, "start service log");
        }
        keep = sizeof(head);
    } else if (ftruncate(fd, (off_t)keep)) {
        return err_sys(err, errno, "cut torn service log");
    }
    if (lseek(fd, (off_t)keep, SEEK_SET) < 0) {
        return err_sys(err, errno, "seek service log");
    }
    *ret_fd = take_fd(&fd);
    *ret_seq = seq;
    *ret_last = last;
    return 0;
}
