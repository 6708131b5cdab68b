/* Segment writer: see seglog.h. */
#include "sys/seglog.h"
#include "base/fail.h"
#include "base/limits.h"
#include "sys/files.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SEV_WARNING 4

static void file_name(uint32_t index, char ret[32]) {
    snprintf(ret, 32, SEG_NAME_FMT, index);
}

/* Starts file number index. 0 or an errno. */
static int start_file(struct seglog *s, uint32_t index) {
    char name[32];
    file_name(index, name);
    auto_close int fd = openat(s->dir_fd, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return errno;
    }
    char head[SEG_FILE_HEADER_LEN] = SEG_FILE_HEADER;
    ssize_t n = ftruncate(fd, 0) < 0 ? -1 : write(fd, head, sizeof(head));
    if (n != (ssize_t)sizeof(head)) {
        return n < 0 ? errno : ENOSPC;
    }
    (void)!file_fsync_dir(s->dir_fd, ".", NULL); /* the frames' own sync reports a broken disk */
    if (s->fd >= 0) {
        fdatasync(s->fd);
        close(s->fd);
    }
    s->fd = take_fd(&fd);
    s->index = index;
    s->file_len = s->pushed = sizeof(head);
    s->dirty = true;
    return 0;
}

/* Reads one file's frames up to the first that is not whole; sets *ret_len to the good length. */
static int scan_file(struct seglog *s, int fd, uint64_t *ret_len, struct err *err) {
    auto_buf struct buf b = BUF_INIT(SEG_HEAD_LEN + 8 * limits.log_line_bytes);
    uint64_t good = SEG_FILE_HEADER_LEN;
    off_t at = SEG_FILE_HEADER_LEN;
    for (;;) {
        struct seg_frame f;
        ssize_t n = b.n ? seg_decode(buf_str(&b), &f) : 0;
        if (n > 0) {
            s->seq = f.seq + 1;
            s->last = seglog_in_order(s, f.time);
            good += (uint64_t)n;
            buf_consume(&b, (size_t)n);
            continue;
        }
        char *room = n < 0 ? NULL : buf_reserve(&b, 65536);
        ssize_t got = room ? pread(fd, room, 65536, at) : 0;
        if (got < 0) {
            return err_sys(err, errno, "read log segment");
        }
        if (got == 0) {
            *ret_len = good;
            return 0;
        }
        buf_commit(&b, (size_t)got);
        at += got;
    }
}

void seg_range(const char *dir, uint32_t *ret_first, uint32_t *ret_end) {
    DIR *d = opendir(dir);
    struct dirent *e;
    uint32_t first = UINT32_MAX, end = 0;
    while (d && (e = readdir(d))) {
        struct str name = str_of(e->d_name);
        uint64_t n;
        if (str_starts(name, STR("out.")) && str_ends(name, STR(".seg")) && name.n > 8 &&
            str_to_u64(str_sub(name, 4, name.n - 8), &n) && n < UINT32_MAX) {
            first = n < first ? (uint32_t)n : first;
            end = n >= end ? (uint32_t)n + 1 : end;
        }
    }
    if (d) {
        closedir(d);
    }
    *ret_first = end ? first : 0;
    *ret_end = end;
}

/* One segment that an earlier writer left: its whole frames are kept, the rest is cut off. */
static int reopen_file(struct seglog *s, uint32_t index, struct err *err) {
    char name[32];
    struct stat st;
    uint64_t len = 0;
    file_name(index, name);
    auto_close int fd = openat(s->dir_fd, name, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(err, errno, "open log segment %s", name);
    }
    if (st.st_size >= (off_t)SEG_FILE_HEADER_LEN && scan_file(s, fd, &len, err) < 0) {
        return -1;
    }
    if (len == 0) { /* torn before its header was whole: nothing can follow it */
        int e = start_file(s, index);
        return e ? err_sys(err, e, "restart log segment %s", name) : 0;
    }
    if ((uint64_t)st.st_size > len && ftruncate(fd, (off_t)len) < 0) {
        return err_sys(err, errno, "cut torn log segment %s", name);
    }
    mem_auto_close(&s->fd);
    s->fd = take_fd(&fd);
    s->index = index;
    s->file_len = len;
    return 0;
}

/* Continues after what an earlier writer left. The last file says how far the numbers go, unless it
 * was only just begun: then the one before it does. */
static int reopen(struct seglog *s, const char *dir, struct err *err) {
    uint32_t first, end;
    seg_range(dir, &first, &end);
    for (uint32_t i = end > first + 1 ? end - 2 : first; i < end; i++) {
        if (reopen_file(s, i, err) < 0) {
            return -1;
        }
    }
    s->written = s->seq;
    return 0;
}

int seglog_open(struct seglog *s, const char *dir, usec_t now, struct err *err) {
    *s = (struct seglog){.dir_fd = -1, .fd = -1, .next_sync = USEC_NEVER, .next_try = now};
    /* the writer checks for SEGLOG_PENDING_MAX itself; frames already accepted always fit */
    buf_init(&s->out, BUF_NO_MAX);
    if (file_mkdirs(AT_FDCWD, dir, 0755, err) < 0) {
        return -1;
    }
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) {
        return err_sys(err, errno, "open log directory %s", dir);
    }
    return reopen(s, dir, err);
}

void seglog_fini(struct seglog *s) {
    mem_auto_close(&s->fd);
    mem_auto_close(&s->dir_fd);
    s->fd = s->dir_fd = -1;
    buf_fini(&s->out);
}

usec_t seglog_in_order(const struct seglog *s, usec_t t) {
    return t > s->last ? t : s->last;
}

static void add_frame(struct seglog *s, const struct seg_frame *f) {
    struct seg_frame numbered = *f;
    numbered.seq = s->seq++;
    s->last = seglog_in_order(s, f->time);
    seg_encode(&s->out, &numbered);
}

void seglog_add(struct seglog *s, const struct seg_frame *f) {
    /* After the first drop everything is dropped until there is room again: one gap, not many. */
    if (s->refused && (s->lost || s->out.n + SEG_HEAD_LEN + f->payload.n > SEGLOG_PENDING_MAX)) {
        uint64_t bytes = f->payload.n + (f->flags & SEG_PARTIAL ? 0 : 1);
        s->lost += bytes;
        s->lost_total += bytes;
        return;
    }
    add_frame(s, f);
}

/* Length of the frame at out[at]; our own, so there is nothing to check. */
static size_t frame_len(const struct seglog *s, size_t at) {
    uint32_t len;
    memcpy(&len, s->out.p + at + 4, sizeof(len));
    return SEG_HEAD_LEN + (size_t)le32toh(len);
}

/* n more bytes of out are in the file: drop the frames that are complete now. */
static void advance(struct seglog *s, size_t n) {
    size_t whole = 0, done = s->part + n;
    s->file_len += n;
    while (whole < s->out.n) {
        size_t frame = frame_len(s, whole);
        if (whole + frame > done) {
            break;
        }
        whole += frame;
        s->written++;
    }
    buf_consume(&s->out, whole);
    s->part = done - whole;
}

/* One write of what is pending. 0 or an errno. */
static int write_some(struct seglog *s) {
    struct err fail;
    if (FAIL_POINT("runner.log.write", &fail) < 0) {
        return fail.sys ? fail.sys : EIO;
    }
    if (s->fd < 0 || (s->part == 0 && s->file_len >= SEG_FILE_BYTES)) {
        int e = start_file(s, s->fd < 0 ? s->index : s->index + 1);
        if (e) {
            return e;
        }
    }
    ssize_t n = write(s->fd, s->out.p + s->part, s->out.n - s->part);
    if (n < 0) {
        return errno == EINTR ? 0 : errno;
    }
    advance(s, (size_t)n);
    s->dirty = true;
    if (s->file_len - s->pushed >= SEGLOG_PUSH_BYTES || s->file_len < s->pushed) {
        /* A flood goes to the disk as it comes: the sync of the second does not wait for all of it.
         */
        (void)sync_file_range(s->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        s->pushed = s->file_len;
    }
    return 0;
}

/* Leaves some room to others before going on: the exit record matters more than the output. */
static bool has_room(const struct seglog *s) {
    struct statvfs v;
    uint64_t total, free_bytes;
    if (fstatvfs(s->dir_fd, &v) < 0) {
        return true;
    }
    total = (uint64_t)v.f_blocks * v.f_frsize;
    free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return free_bytes >= (total / 8 < SEGLOG_ROOM_MIN ? total / 8 : SEGLOG_ROOM_MIN);
}

static void add_lost_frame(struct seglog *s) {
    char text[96];
    int n = snprintf(
        text, sizeof(text), "%llu bytes of output lost: %s", (unsigned long long)s->lost,
        s->refused == ENOSPC || s->refused == EDQUOT ? "disk full" : strerrordesc_np(s->refused));
    const struct seg_frame f = {.time = seglog_in_order(s, time_wall()),
                                .stream = SEG_SERVICE,
                                .flags = SEV_WARNING << SEG_SEV_SHIFT,
                                .payload = str_n(text, (size_t)n)};
    add_frame(s, &f);
    s->lost = 0;
}

static void drain(struct seglog *s, usec_t now) {
    while (s->out.n) {
        int e = write_some(s);
        if (e) {
            s->refused = e;
            s->next_try = now + SEGLOG_RETRY_USEC;
            return;
        }
        if (s->out.n == 0 && s->lost) {
            add_lost_frame(s);
        }
    }
    if (!s->lost) {
        s->refused = 0;
    }
}

void seglog_flush(struct seglog *s, usec_t now) {
    if (s->refused && (now < s->next_try || !has_room(s))) {
        s->next_try = now < s->next_try ? s->next_try : now + SEGLOG_RETRY_USEC;
    } else {
        if (s->lost && s->out.n == 0) {
            add_lost_frame(s);
        }
        drain(s, now);
    }
    if (s->dirty && s->next_sync == USEC_NEVER) {
        s->next_sync = now + SEGLOG_SYNC_USEC;
    }
    if (s->dirty && now >= s->next_sync) {
        fdatasync(s->fd);
        s->dirty = false;
        s->next_sync = USEC_NEVER;
    }
}

usec_t seglog_due(const struct seglog *s) {
    usec_t retry = s->refused ? s->next_try : USEC_NEVER;
    return retry < s->next_sync ? retry : s->next_sync;
}

/* Gives up what is pending: cuts a half-written frame off and takes the numbers back. */
static void drop_pending(struct seglog *s) {
    size_t frames = 0;
    for (size_t at = 0; at < s->out.n; frames++) {
        struct seg_frame f;
        if (seg_decode(str_sub(buf_str(&s->out), at, s->out.n), &f) > 0 &&
            f.stream != SEG_SERVICE && f.stream != SEG_EOF) {
            uint64_t bytes = f.payload.n + (f.flags & SEG_PARTIAL ? 0 : 1);
            s->lost += bytes;
            s->lost_total += bytes;
        }
        at += frame_len(s, at);
    }
    buf_clear(&s->out);
    CHECK(s->written + frames == s->seq);
    s->seq = s->written;
    if (s->part && s->fd >= 0 && ftruncate(s->fd, (off_t)(s->file_len - s->part)) == 0) {
        s->file_len -= s->part;
        s->part = 0;
    }
}

void seglog_finish(struct seglog *s, usec_t wall, usec_t now) {
    const struct seg_frame eof = {.time = seglog_in_order(s, wall), .stream = SEG_EOF};
    drain(s, now);
    if (s->out.n) {
        drop_pending(s);
    }
    if (s->part == 0) {
        if (s->lost) {
            add_lost_frame(s);
        }
        add_frame(s, &eof);
        drain(s, now);
        if (s->out.n) {
            drop_pending(s); /* a log without an end mark: the exit record says how far it goes */
        }
    }
    if (s->fd >= 0) {
        fsync(s->fd);
    }
}
