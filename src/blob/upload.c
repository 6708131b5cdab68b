/* Uploads: slices are written to a file in DIR/uploads; the finish checks it, makes it durable and
 * has it take its place (publish.c). */
#include "blob/upload_int.h"

#include "base/enc.h"
#include "base/fail.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define COPY_STEP (1u << 20)  /* bytes of another object read at once */
#define FLUSH_STEP (8u << 20) /* start writeback this often, so that the final fsync is short */

void upload_id_new(char *ret, size_t size, char kind) {
    uint8_t secret[16];
    auto_buf struct buf hex = BUF_INIT(64);
    rng_secret(secret, sizeof(secret));
    enc_hex(&hex, secret, sizeof(secret));
    snprintf(ret, size, "%c-%s", kind, buf_cstr(&hex));
}

struct blob_upload *upload_make(struct blob *b, const struct blob_put *put, const char *id,
                                char kind) {
    struct blob_upload *u = xcalloc(1, sizeof(*u));
    u->b = b;
    u->refs = 1;
    u->fd = u->replaced_fd = -1;
    u->is_session = kind == 'r';
    u->arena = arena_new(ARENA_NO_MAX);
    meta_copy_put(u->arena, put, &u->put);
    list_init(&u->queue);
    list_init(&u->batch);
    list_init(&u->fins);
    list_init(&u->resumers);
    if (id) {
        snprintf(u->id, sizeof(u->id), "%s", id);
    } else {
        upload_id_new(u->id, sizeof(u->id), kind);
    }
    u->digest = digest_new(put->has_expect_md5 || kind == 'm' ||
                           (!put->components && put->size <= (int64_t)BLOB_MD5_INLINE));
    blob_hold(b);
    return u;
}

struct blob_upload *blob_upload_new(struct blob *b, const struct blob_put *put) {
    return upload_make(b, put, NULL, 't');
}

struct blob_upload *blob_upload_ref(struct blob_upload *u) {
    u->refs++;
    return u;
}

static void upload_free(struct blob_upload *u) {
    struct blob *b = u->b;
    if (u->is_session) {
        map_del(&b->sessions, str_of(u->id));
    }
    if (u->fd >= 0) {
        close(u->fd);
    }
    digest_free(u->digest);
    arena_free(u->arena);
    free(u);
    blob_drop(b);
}

/* On the lane: freeing gigabytes of blocks takes a while. */
static void discard_run(struct lane_work *w) {
    struct blob_upload *u = CONTAINER_OF(w, struct blob_upload, work);
    if (!u->is_session && !u->is_complete && u->fd >= 0) {
        (void)unlinkat(u->b->uploads_fd, u->id, 0); /* what stays is swept at the next start */
        close(take_fd(&u->fd));
    }
    if (u->replaced_fd >= 0) {
        close(take_fd(&u->replaced_fd));
    }
}

static void discard_done(struct lane_work *w) {
    upload_free(CONTAINER_OF(w, struct blob_upload, work));
}

void blob_upload_unref(struct blob_upload *u) {
    if (!u) {
        return;
    }
    CHECK(u->refs > 0);
    if (--u->refs > 0) {
        return;
    }
    upload_warm(u);
    if (u->replaced_fd >= 0 || (!u->is_session && !u->is_complete && u->fd >= 0)) {
        u->work = (struct lane_work){.run = discard_run, .done = discard_done};
        lane_submit(u->b->disk, &u->work);
        return;
    }
    upload_free(u);
}

void blob_upload_expect_md5(struct blob_upload *u, const uint8_t md5[16]) {
    u->put.has_expect_md5 = true;
    memcpy(u->put.expect_md5, md5, 16);
}

void blob_upload_expect_crc32c(struct blob_upload *u, uint32_t crc) {
    u->put.has_expect_crc32c = true;
    u->put.expect_crc32c = crc;
}

uint64_t blob_upload_offset(const struct blob_upload *u) {
    return u->offset;
}

const char *blob_upload_id(const struct blob_upload *u) {
    return u->id;
}

const struct blob_put *blob_upload_put(const struct blob_upload *u) {
    return &u->put;
}

bool upload_is_idle(const struct blob_upload *u) {
    return !u->is_writing && list_is_empty(&u->queue) && !u->fin && list_is_empty(&u->fins);
}

/* ---- writing ---- */

/* Lane. The bucket must exist before bytes are taken for it. */
static int open_temp(struct blob_upload *u, struct err *err) {
    auto_close int bucket = bucket_open_fd(u->b, u->put.bucket, err);
    if (bucket < 0) {
        return -1;
    }
    int how = u->is_adopted ? 0 : O_CREAT | O_EXCL;
    u->fd = openat(u->b->uploads_fd, u->id, O_RDWR | O_CLOEXEC | how, 0644);
    return u->fd < 0 ? err_sys(err, errno, "%s an upload file", how ? "make" : "open") : 0;
}

/* All of them or none. */
static int write_all(struct blob_upload *u, const struct iovec *v, int nr, struct err *err) {
    struct iovec left[UPLOAD_BATCH_MAX];
    CHECK(nr <= UPLOAD_BATCH_MAX);
    for (int i = 0; i < nr; i++) {
        if (FAIL_POINT("blob.upload.write", err) < 0) {
            return -1;
        }
        left[i] = v[i];
    }
    int e = upload_put(u, left, nr);
    if (e < 0) {
        if (ftruncate(u->fd, (off_t)u->offset) < 0) {
            u->is_dead = true; /* the length would lie about what was received */
        }
        return err_sys(err, -e, "store uploaded bytes");
    }
    for (int i = 0; i < nr; i++) {
        if (digest_length(u->digest) == u->offset) {
            digest_update(u->digest, v[i].iov_base, v[i].iov_len);
            if (!u->put.has_expect_md5 && !u->part && digest_length(u->digest) > BLOB_MD5_INLINE) {
                digest_drop_md5(u->digest);
            }
        }
        u->offset += v[i].iov_len;
    }
    return 0;
}

static int write_file(struct blob_upload *u, const struct blob_write *q, struct err *err) {
    auto_free char *p = aligned_alloc(UPLOAD_ALIGN, COPY_STEP);
    CHECK(p);
    for (uint64_t at = 0; at < q->src_len;) {
        size_t want = q->src_len - at < COPY_STEP ? (size_t)(q->src_len - at) : COPY_STEP;
        ssize_t n = pread(q->src_fd, p, want, (off_t)(q->src_offset + at));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_sys(err, errno, "read the object to be copied");
        }
        if (n == 0) {
            return err_set(err, ERR_ABORTED, "The source object changed while it was being read.");
        }
        const struct iovec v = {p, (size_t)n};
        if (FAIL_POINT("blob.copy.slice", err) < 0 || write_all(u, &v, 1, err) < 0) {
            return -1;
        }
        at += (uint64_t)n;
    }
    return 0;
}

static bool is_plain(const struct blob_write *q) {
    return !q->from_file && !q->sync;
}

/* The writes from *at on that go together; moves *at past them. */
static int write_some(struct blob_upload *u, struct list **at, size_t *ret_nr, struct err *err) {
    struct iovec v[UPLOAD_BATCH_MAX];
    int nr = 0;
    const struct blob_write *q;
    if (u->fd < 0 && open_temp(u, err) < 0) {
        return -1;
    }
    do {
        q = CONTAINER_OF(*at, struct blob_write, link);
        if (!q->from_file) {
            v[nr++] = (struct iovec){(void *)q->bytes.p, q->bytes.n};
        }
        *at = (*at)->next;
        ++*ret_nr;
    } while (is_plain(q) && nr < UPLOAD_BATCH_MAX && *at != &u->batch &&
             is_plain(CONTAINER_OF(*at, struct blob_write, link)));
    if ((q->from_file ? write_file(u, q, err) : write_all(u, v, nr, err)) < 0) {
        return -1;
    }
    if (q->sync && fdatasync(u->fd) < 0) {
        return err_sys(err, errno, "store uploaded bytes");
    }
    if (u->offset - u->flushed >= FLUSH_STEP) {
        if (!u->is_direct) {
            (void)sync_file_range(u->fd, (off_t)u->flushed, (off_t)(u->offset - u->flushed),
                                  SYNC_FILE_RANGE_WRITE);
        }
        u->flushed = u->offset; /* only a hint: the fsync decides */
    }
    return 0;
}

static void write_run(struct lane_work *w) {
    struct blob_upload *u = CONTAINER_OF(w, struct blob_upload, work);
    u->failed = false;
    for (struct list *at = u->batch.next; at != &u->batch && !u->failed;) {
        size_t nr = 0;
        u->failed = write_some(u, &at, &nr, &u->err) < 0;
        u->nr_written += u->failed ? 0 : nr;
    }
}

static void write_pump(struct blob_upload *u);

static void write_done(struct lane_work *w) {
    struct blob_upload *u = CONTAINER_OF(w, struct blob_upload, work);
    struct list batch;
    struct err err = u->err;
    size_t good = w->cancelled ? 0 : u->nr_written;
    list_init(&batch);
    list_move_all(&u->batch, &batch);
    if (w->cancelled) {
        err_set(&err, ERR_UNAVAILABLE, "the server is closing");
    }
    if ((u->failed || w->cancelled) && (!u->is_session || w->cancelled)) {
        u->is_dead = true;
        u->err = err;
    } else if (u->failed) {
        u->failed_epoch = list_first(&batch, struct blob_write, link)->epoch;
    }
    u->is_writing = false;
    for (size_t i = 0; !list_is_empty(&batch); i++) {
        struct blob_write *q = list_first(&batch, struct blob_write, link);
        list_del(&q->link);
        q->cb(q, i < good ? NULL : &err);
    }
    write_pump(u);
    if (upload_is_idle(u)) {
        session_wake(u);
    }
    blob_upload_unref(u);
}

static void refuse_run(struct lane_work *w) {}

static void refuse_done(struct lane_work *w) {
    struct blob_upload *u = CONTAINER_OF(w, struct blob_upload, work);
    const struct blob_write *q = list_first(&u->batch, struct blob_write, link);
    u->failed = true;
    if (!u->is_dead && (q->epoch != u->failed_epoch || q->epoch != u->epoch)) {
        err_set(&u->err, ERR_ABORTED, "another request took over this upload");
    }
    write_done(w);
}

static void finish_next(struct blob_upload *u);

static bool is_refused(const struct blob_upload *u, const struct blob_write *q) {
    return u->is_dead || u->is_complete || q->is_late ||
           (u->is_session && q->epoch == u->failed_epoch);
}

/* What waits goes together: writes, or when there is none a finish. What comes too late (the upload
 * is done, or a newer request owns the session) is refused in its turn. */
static void write_pump(struct blob_upload *u) {
    if (u->is_writing || u->fin) {
        return;
    }
    if (list_is_empty(&u->queue)) {
        finish_next(u);
        return;
    }
    bool refused = is_refused(u, list_first(&u->queue, struct blob_write, link));
    while (!list_is_empty(&u->queue)) {
        struct blob_write *q = list_first(&u->queue, struct blob_write, link);
        if (is_refused(u, q) != refused) {
            break;
        }
        list_del(&q->link);
        list_push_tail(&u->batch, &q->link);
    }
    u->nr_written = 0;
    u->is_writing = true;
    u->work = (struct lane_work){.run = refused ? refuse_run : write_run,
                                 .done = refused ? refuse_done : write_done};
    blob_upload_ref(u);
    lane_submit(u->b->disk, &u->work);
}

void blob_upload_write(struct blob_upload *u, struct blob_write *w) {
    /* What was given before a newer request came still counts: that one waits for it. */
    w->is_late = w->epoch != u->epoch;
    list_push_tail(&u->queue, &w->link);
    write_pump(u);
}

/* ---- finish ---- */

static int check_hash(const char *what, const void *given, const void *real, size_t n,
                      struct err *err) {
    if (memcmp(given, real, n) == 0) {
        return 0;
    }
    auto_buf struct buf g = BUF_INIT(64), r = BUF_INIT(64);
    enc_base64(&g, given, n);
    enc_base64(&r, real, n);
    return err_field(err, ERR_INVALID_ARGUMENT, what,
                     "Provided %s \"%s\" doesn't match calculated %s \"%s\".", what, buf_cstr(&g),
                     what, buf_cstr(&r));
}

static int check_hashes(struct blob_upload *u, struct err *err) {
    struct blob_put *p = &u->put;
    struct blob_meta *m = &u->meta;
    struct stat st;
    if (u->is_adopted) { /* we wrote it ourselves: what we counted then is not counted again */
        if (fstat(u->fd, &st) < 0 || (uint64_t)st.st_size != u->offset) {
            return err_set(err, ERR_DATA_LOSS, "the file has %lld bytes where %llu were written",
                           (long long)st.st_size, (unsigned long long)u->offset);
        }
        m->has_crc32c = true;
        return 0;
    }
    bool want_md5 =
        p->has_expect_md5 || u->part || (!p->components && u->offset <= BLOB_MD5_INLINE);
    m->has_md5 = digest_length(u->digest) == u->offset && digest_md5(u->digest, m->md5);
    if (digest_length(u->digest) != u->offset || (want_md5 && !m->has_md5)) {
        /* A session that went over a restart, or a checksum learnt at the end: read it once more.
         */
        digest_free(u->digest);
        u->digest = digest_new(want_md5);
        int e = digest_file(u->fd, u->offset, u->digest);
        if (e < 0) {
            return err_sys(err, -e, "read uploaded bytes");
        }
        m->has_md5 = digest_md5(u->digest, m->md5);
    }
    m->has_crc32c = true;
    m->crc32c = digest_crc32c(u->digest);
    uint8_t given[4], real[4];
    for (int i = 0; i < 4; i++) {
        given[i] = (uint8_t)(p->expect_crc32c >> (24 - 8 * i));
        real[i] = (uint8_t)(m->crc32c >> (24 - 8 * i));
    }
    if (p->has_expect_crc32c && check_hash("CRC32C", given, real, 4, err) < 0) {
        return -1;
    }
    return p->has_expect_md5 && m->has_md5 ? check_hash("MD5 hash", p->expect_md5, m->md5, 16, err)
                                           : 0;
}

static void settle_run(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    r->failed = true;
    if (u->fd >= 0) {
        upload_end_direct(u); /* from now on it is read */
    }
    if (u->fin_refused) {
        err_set(&r->err, ERR_ABORTED, "another request took over this upload");
        return;
    }
    if (blob_check_object_name(u->put.name, &r->err) < 0 ||
        (u->fd < 0 && open_temp(u, &r->err) < 0) || check_hashes(u, &r->err) < 0 ||
        FAIL_POINT("blob.put.before_fsync", &r->err) < 0) {
        return;
    }
    if (upload_seal(u->fd) < 0) {
        err_sys(&r->err, errno, "store the object");
        return;
    }
    r->failed = false;
}

void upload_finish_end(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    struct blob_finish *f = take(&u->fin);
    struct err err = r->err;
    bool failed = r->failed, was_over = u->is_dead || u->is_complete;
    bool is_final = err.code == ERR_INVALID_ARGUMENT || err.code == ERR_FAILED_PRECONDITION;
    if (!failed) {
        (void)FAIL_POINT("blob.put.before_answer", NULL);
        u->is_complete = true;
        if (u->is_session) {
            u->b->nr_sessions--;
        }
    }
    req_unlock(r);
    if (failed && !was_over && (is_final || !u->is_session)) {
        u->is_dead = true; /* a session that can never succeed: resuming it reports the same */
        u->err = err;
    }
    blob_req_fini(r);
    f->cb(f, failed ? NULL : &u->meta, failed ? &err : NULL);
    write_pump(u);
    if (upload_is_idle(u)) {
        session_wake(u);
    }
    blob_upload_unref(u);
}

static void finish_settled(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    if (r->failed) {
        upload_finish_end(r);
        return;
    }
    if (u->part) {
        part_record(r);
        return;
    }
    publish(r);
}

static void finish_next(struct blob_upload *u) {
    if (list_is_empty(&u->fins)) {
        return;
    }
    u->fin = list_first(&u->fins, struct blob_finish, link);
    list_del(&u->fin->link);
    u->fin_refused = u->fin->epoch != u->epoch || u->is_dead || u->is_complete;
    blob_req_init(&u->req);
    u->req.b = u->b;
    u->req.arg = u;
    req_lane(&u->req, settle_run, finish_settled);
}

void blob_upload_finish(struct blob_upload *u, struct blob_finish *f) {
    blob_upload_ref(u);
    list_push_tail(&u->fins, &f->link);
    write_pump(u);
}

/* ---- files that we wrote ourselves ---- */

int blob_temp_make(struct blob *b, char ret_id[BLOB_TEMP_ID], int *ret_fd, struct err *err) {
    upload_id_new(ret_id, BLOB_TEMP_ID, 't');
    int fd = openat(b->uploads_fd, ret_id, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_sys(err, errno, "make a file aside");
    }
    *ret_fd = fd;
    return 0;
}

void blob_temp_drop(struct blob *b, const char *id) {
    (void)unlinkat(b->uploads_fd, id, 0); /* what stays is swept at the next start */
}

static void adopt_finished(struct blob_finish *f, const struct blob_meta *meta,
                           const struct err *err) {
    struct blob_adopt *a = f->arg;
    struct blob_upload *u = a->upload;
    a->cb(a, meta, err); /* meta lives in the upload; a may be gone afterwards */
    blob_upload_unref(u);
}

void blob_object_adopt(struct blob *b, struct blob_adopt *a) {
    struct blob_upload *u = a->upload = upload_make(b, &a->put, a->id, 't');
    u->is_adopted = true;
    u->offset = a->size;
    u->meta.crc32c = a->crc32c;
    a->finish = (struct blob_finish){.cb = adopt_finished, .arg = a};
    blob_upload_finish(u, &a->finish);
}
