/* See wal_check.h. */
#include "store/wal_check.h"

#include "base/log.h"
#include "base/mem.h"
#include "sys/files.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x377f0682u /* the lowest bit: checksums are over big-endian words */
#define HEADER_BYTES 32u
#define FRAME_BYTES 24u
#define PAGE_MIN 512u
#define PAGE_MAX 65536u
#define COPY_BYTES 65536u

struct sum {
    uint32_t a, b;
};

static uint32_t be32_at(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return be32toh(v);
}

static struct sum sum_over(struct sum s, const uint8_t *p, size_t n, bool is_big) {
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint32_t w[2];
        memcpy(w, p + i, 8);
        s.a += (is_big ? be32toh(w[0]) : le32toh(w[0])) + s.b;
        s.b += (is_big ? be32toh(w[1]) : le32toh(w[1])) + s.a;
    }
    return s;
}

static bool sum_is_at(struct sum s, const uint8_t *p) {
    return be32_at(p) == s.a && be32_at(p + 4) == s.b;
}

/* 1: n bytes; 0: the file ends before; -1 with *err. */
static int read_at(int fd, uint8_t *to, size_t n, off_t at, struct err *err) {
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, to + have, n - have, at + (off_t)have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "read the database's log");
        }
        if (got == 0) {
            return 0;
        }
        have += (size_t)got;
    }
    return 1;
}

static int check_frames(int fd, const uint8_t *header, uint32_t page, struct wal_state *ret,
                        struct err *err) {
    bool is_big = (be32_at(header) & 1) != 0, is_good = true;
    struct sum s = sum_over((struct sum){0, 0}, header, 24, is_big);
    auto_free uint8_t *frame = xmalloc(FRAME_BYTES + page);
    off_t at = HEADER_BYTES;
    int rc;
    for (; (rc = read_at(fd, frame, FRAME_BYTES + page, at, err)) > 0; at += FRAME_BYTES + page) {
        bool is_ours = memcmp(frame + 8, header + 16, 8) == 0; /* the salts: of this log's time */
        if (is_good) {
            s = sum_over(s, frame, 8, is_big);
            s = sum_over(s, frame + FRAME_BYTES, page, is_big);
            is_good = is_ours && be32_at(frame) != 0 && sum_is_at(s, frame + 16);
        }
        if (is_ours && be32_at(frame + 4) != 0) { /* a commit's last frame */
            *(is_good ? &ret->commits : &ret->commits_behind) += 1;
        }
    }
    return rc;
}

static bool header_is_good(const uint8_t *h, uint32_t *ret_page) {
    uint32_t page = be32_at(h + 8);
    bool is_big = (be32_at(h) & 1) != 0;
    *ret_page = page;
    return (be32_at(h) & ~1u) == MAGIC && page >= PAGE_MIN && page <= PAGE_MAX &&
           (page & (page - 1)) == 0 &&
           sum_is_at(sum_over((struct sum){0, 0}, h, 24, is_big), h + 24);
}

int wal_check(const char *path, struct wal_state *ret, struct err *err) {
    uint8_t header[HEADER_BYTES];
    uint32_t page;
    struct stat st;
    *ret = (struct wal_state){0};
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return 0;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(err, errno, "open %s", path);
    }
    int rc = read_at(fd, header, sizeof(header), 0, err);
    if (rc <= 0) {
        return rc;
    }
    if (!header_is_good(header, &page)) {
        ret->bad_header = (size_t)st.st_size > HEADER_BYTES + FRAME_BYTES;
        return 0;
    }
    return check_frames(fd, header, page, ret, err);
}

/* ---- what becomes of it */

static int copy_file(const char *from, const char *to, struct err *err) {
    auto_free uint8_t *part = xmalloc(COPY_BYTES);
    auto_close int in = open(from, O_RDONLY | O_CLOEXEC);
    auto_close int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = -1;
    if (in < 0 || out < 0) {
        return err_sys(err, errno, "copy %s to %s", from, to);
    }
    while ((n = read(in, part, COPY_BYTES)) > 0) {
        if (file_write_all(out, str_n((const char *)part, (size_t)n), err)) {
            return -1;
        }
    }
    if (n < 0 || fsync(out) < 0) {
        return err_sys(err, errno, "copy %s to %s", from, to);
    }
    return 0;
}

int wal_check_report(const char *path, struct err *err) {
    auto_free char *log = xasprintf("%s-wal", path);
    auto_free char *kept = xasprintf("%s-wal.damaged", path);
    struct wal_state w;
    if (wal_check(log, &w, err)) {
        return -1;
    }
    if (!w.bad_header && w.commits_behind < 2) {
        if (w.commits_behind) {
            log_info(
                "the database's log ends in a commit that is not whole: a crash tore it before "
                "anybody was answered, or the disk changed it",
                "file=%s commits=%llu", log, (unsigned long long)w.commits);
        }
        return 0;
    }
    if (copy_file(log, kept, err)) {
        return err_wrap(err, "the database's log is damaged; it could not be kept");
    }
    log_error(
        "the database's log is damaged: commits in it that were answered are lost. The disk or "
        "another program changed the file; restore a backup, or go on with what is there",
        "file=%s lost=%s%llu read=%llu kept=%s", log, w.bad_header ? "all, at least " : "",
        (unsigned long long)w.commits_behind, (unsigned long long)w.commits, kept);
    return 0;
}
