#include "logs/written_index.h"

#include "base/enc.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "sys/files.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define INDEX_HEADER "cusp-widx 2\n"
#define HEADER_LEN 16u
#define BLOCK_LEN 48u
#define READ_BYTES (1u << 20)

void written_index_init(struct written_index *x, uint32_t file) {
    *x = (struct written_index){.file = file};
    map_init(&x->seen);
}

void written_index_fini(struct written_index *x) {
    for (size_t i = 0; i < x->names.n; i++) {
        free(x->names.p[i].id);
    }
    vec_fini(&x->names);
    vec_fini(&x->blocks);
    map_fini(&x->seen);
}

/* Queries compare without regard to case. */
uint64_t written_index_bit(struct str job) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < job.n; i++) {
        char c = job.p[i];
        h = (h ^ (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c)) * 16777619u;
    }
    return UINT64_C(1) << ((h ^ h >> 16) & 63);
}

static void add_name(struct written_index *x, struct str name, usec_t received) {
    uintptr_t at = (uintptr_t)map_get(&x->seen, name);
    if (at) {
        usec_t *last = &x->names.p[at - 1].last;
        *last = received > *last ? received : *last;
    } else if (x->names.n < WRITTEN_NAMES_MAX) {
        vec_push(&x->names, ((struct written_name){str_dup(name), received}));
        map_put(&x->seen, name, (void *)(uintptr_t)x->names.n);
    }
}

/* ---- from the segment */

static void add_entry(struct written_index *x, struct written_block *b, struct arena *a,
                      const struct seg_frame *f) {
    ProtobufCMessage *m;
    arena_clear(a);
    b->frames++;
    b->min = f->time < b->min ? f->time : b->min;
    b->max = f->time > b->max ? f->time : b->max;
    if (pb_unpack(a, &google__logging__v2__log_entry__descriptor, f->payload, &m, NULL)) {
        return;
    }
    const Google__Logging__V2__LogEntry *e = (Google__Logging__V2__LogEntry *)m;
    const char *id = strstr(e->log_name, "/logs/");
    if (id) {
        const Google__Protobuf__Timestamp *t = e->receive_timestamp;
        add_name(x, str_of(id + 6),
                 t ? (usec_t)t->seconds * USEC_PER_SEC + (usec_t)t->nanos / 1000 : 0);
    }
    for (size_t i = 0; e->resource && i < e->resource->n_labels; i++) {
        if (strcmp(e->resource->labels[i]->key, "job_id") == 0) {
            b->jobs |= written_index_bit(str_of(e->resource->labels[i]->value));
        }
    }
    for (size_t i = 0; i < e->n_labels; i++) {
        if (strcmp(e->labels[i]->key, "ml.googleapis.com/job_id") == 0) {
            b->jobs |= written_index_bit(str_of(e->labels[i]->value));
        }
    }
}

static struct written_block *block_for(struct written_index *x) {
    struct written_block *b = x->blocks.n ? &x->blocks.p[x->blocks.n - 1] : NULL;
    if (!b || b->bytes >= WRITTEN_BLOCK_BYTES) {
        vec_push(&x->blocks, ((struct written_block){.offset = x->upto, .min = USEC_NEVER}));
        b = &x->blocks.p[x->blocks.n - 1];
    }
    return b;
}

static int extend(struct written_index *x, int fd, struct arena *a, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    x->upto = x->upto ? x->upto : SEG_FILE_HEADER_LEN;
    for (;;) {
        char *p = buf_reserve(&b, READ_BYTES);
        ssize_t got = pread(fd, p, READ_BYTES, (off_t)(x->upto + b.n));
        if (got < 0) {
            return err_sys(err, errno, "read written log entries");
        }
        buf_commit(&b, (size_t)got);
        struct str rest = buf_str(&b);
        struct seg_frame f;
        ssize_t n = 0;
        while (rest.n && (n = seg_decode(rest, &f)) > 0) {
            struct written_block *blk = block_for(x);
            if (f.stream == SEG_ENTRY) {
                add_entry(x, blk, a, &f);
            }
            blk->bytes += (uint32_t)n;
            x->upto += (uint64_t)n;
            rest = str_sub(rest, (size_t)n, rest.n);
        }
        buf_consume(&b, b.n - rest.n);
        if (n < 0) {
            return err_set(err, ERR_DATA_LOSS, "written log entries are damaged after byte %llu",
                           (unsigned long long)x->upto);
        }
        if (got == 0) {
            return 0;
        }
    }
}

/* ---- the file beside it */

static void put64(struct buf *b, uint64_t v) {
    v = htole64(v);
    (void)buf_put(b, &v, sizeof(v));
}

static uint64_t get64(const char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static void save(const struct written_index *x, int at, const char *name) {
    static const char head[HEADER_LEN] = INDEX_HEADER;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    (void)buf_put(&b, head, sizeof(head));
    put64(&b, x->upto);
    put64(&b, x->blocks.n);
    for (size_t i = 0; i < x->blocks.n; i++) {
        const struct written_block *k = &x->blocks.p[i];
        put64(&b, k->offset);
        put64(&b, k->bytes);
        put64(&b, k->frames);
        put64(&b, k->min);
        put64(&b, k->max);
        put64(&b, k->jobs);
    }
    for (size_t i = 0; i < x->names.n; i++) {
        (void)buf_printf(&b, "%llu %s\n", (unsigned long long)x->names.p[i].last, x->names.p[i].id);
    }
    put64(&b, enc_crc32c(0, b.p, b.n));
    /* Not there: it is made again. */
    (void)!file_write_atomic(at, name, buf_str(&b), 0640, FILE_NO_SYNC, NULL);
}

static bool load(struct written_index *x, int at, const char *name) {
    auto_buf struct buf b = BUF_INIT(256u << 20);
    if (file_read(at, name, &b, NULL) || b.n < HEADER_LEN + 24 ||
        memcmp(b.p, INDEX_HEADER, sizeof(INDEX_HEADER) - 1) != 0 ||
        get64(b.p + b.n - 8) != enc_crc32c(0, b.p, b.n - 8)) {
        return false;
    }
    uint64_t n = get64(b.p + HEADER_LEN + 8);
    const char *p = b.p + HEADER_LEN + 16;
    if (n > (b.n - HEADER_LEN - 24) / BLOCK_LEN) {
        return false;
    }
    x->upto = get64(b.p + HEADER_LEN);
    for (uint64_t i = 0; i < n; i++, p += BLOCK_LEN) {
        vec_push(&x->blocks, ((struct written_block){.offset = get64(p),
                                                     .bytes = (uint32_t)get64(p + 8),
                                                     .frames = (uint32_t)get64(p + 16),
                                                     .min = get64(p + 24),
                                                     .max = get64(p + 32),
                                                     .jobs = get64(p + 40)}));
    }
    struct str names = str_n(p, (size_t)(b.p + b.n - 8 - p));
    while (names.n) {
        struct str id = str_cut(&names, '\n');
        uint64_t last;
        if (str_to_u64(str_cut(&id, ' '), &last)) {
            add_name(x, id, last);
        }
    }
    return true;
}

int written_index_update(struct written_index *x, const char *dir, bool is_last, struct err *err) {
    char name[32], index[32];
    snprintf(name, sizeof(name), SEG_NAME_FMT, x->file);
    snprintf(index, sizeof(index), "out.%06u.idx", x->file);
    auto_close int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "open written log entries");
    }
    if (!is_last && !x->upto && load(x, at, index)) {
        return 0;
    }
    auto_close int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "open written log entries");
    }
    struct arena *a = arena_new(ARENA_NO_MAX);
    int rc = extend(x, fd, a, err);
    arena_free(a);
    if (rc == 0 && !is_last) {
        save(x, at, index);
    }
    return rc;
}
