/* Multipart uploads of the XML API: a row of key space "multipart" (id -> facts of the object to
 * be), a row of key space "part" (id/NNNNN) and a file in DIR/uploads for each part. A part is an
 * ordinary upload that ends as a row instead of an object; one that is sent again gets a file and a
 * row of its own and takes the place of the older one in one commit. Completing copies the chosen
 * parts into an ordinary upload and forgets the rest. Everything that changes one upload holds the
 * lock "/ID". */
#include "blob/upload_int.h"

#include "base/enc.h"
#include "base/fail.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SLICE (64ull << 20) /* bytes of a part one lane thread copies in one go */

static struct str part_key(struct arena *a, struct str id, uint64_t number) {
    return str_of(arena_printf(a, "%.*s/%05llu", STR_ARG(id), (unsigned long long)number));
}

static void no_upload(struct blob_req *r, struct str id) {
    r->failed = true;
    err_field(&r->err, ERR_NOT_FOUND, "uploadId",
              "The requested upload was not found: %.*s. It may have been completed or aborted.",
              (int)(id.n > 100 ? 100 : id.n), id.p ? id.p : "");
}

/* ---- the end of a part: upload.c did the bytes and their fsync ---- */

static void part_replaced_run(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    auto_free char *old = str_dup(r->row2);
    (void)unlinkat(u->b->uploads_fd, old, 0); /* what stays is swept at the next start */
}

static void part_committed(struct blob_req *r) {
    if (r->failed || !r->row2.n) {
        upload_finish_end(r);
        return;
    }
    req_lane(r, part_replaced_run, upload_finish_end);
}

static void part_named(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    if (r->failed) {
        upload_finish_end(r);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX), md5 = BUF_INIT(64);
    u->meta.size = u->offset;
    u->meta.updated = time_wall();
    enc_hex(&md5, u->meta.md5, sizeof(u->meta.md5));
    rec_begin(&row);
    rec_put_u64(&row, "created", u->created);
    rec_put_u64(&row, "updated", u->meta.updated);
    rec_put_u64(&row, "size", u->meta.size);
    rec_put_u64(&row, "crc32c", u->meta.crc32c);
    rec_put(&row, "md5", buf_str(&md5));
    rec_puts(&row, "file", u->id);
    store_txn_kv(req_txn(r), "part", part_key(r->arena, str_of(u->owner), u->part), buf_str(&row));
    req_commit(r, part_committed);
}

static void part_name_run(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    r->failed = true;
    if (FAIL_POINT("blob.part.before_row", &r->err) < 0) {
        return;
    }
    if (fsync(u->b->uploads_fd) < 0) {
        err_sys(&r->err, errno, "store the part");
        return;
    }
    r->failed = false;
}

static void part_old_row(struct blob_req *r) {
    struct rec rec;
    r->row2 = STR("");
    if (!r->failed && r->row.p && rec_parse(r->arena, r->row, &rec, NULL) == 0) {
        r->row2 = rec_get(&rec, "file");
    }
    if (r->failed) {
        upload_finish_end(r);
        return;
    }
    req_lane(r, part_name_run, part_named);
}

static void part_owner_row(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    struct rec rec;
    if (!r->failed && !r->row.p) {
        no_upload(r, str_of(u->owner));
    }
    if (!r->failed && rec_parse(r->arena, r->row, &rec, &r->err) < 0) {
        r->failed = true;
    }
    if (r->failed) {
        upload_finish_end(r);
        return;
    }
    u->created = rec_get_u64(&rec, "created", 0);
    req_row(r, "part", part_key(r->arena, str_of(u->owner), u->part), part_old_row);
}

static void part_locked(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    req_row(r, "multipart", str_of(u->owner), part_owner_row);
}

void part_record(struct blob_req *r) {
    struct blob_upload *u = r->arg;
    req_lock(r, STR(""), str_of(u->owner), part_locked);
}

struct blob_upload *blob_part_new(struct blob *b, struct str id, uint64_t number,
                                  const struct blob_put *put) {
    CHECK(number >= 1 && number <= BLOB_PARTS_MAX && upload_id_is_legal(id, 'p'));
    struct blob_upload *u = upload_make(b, put, NULL, 'm');
    u->part = number;
    snprintf(u->owner, sizeof(u->owner), "%.*s", STR_ARG(id));
    return u;
}

/* ---- requests about the whole upload ---- */

static void parts_end(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    struct blob *b = r->b;
    struct blob_req done;
    struct err err = r->err;
    bool failed = r->failed;
    struct blob_upload *u = take(&p->upload);
    auto_close int fd = p->src_fd;
    p->src_fd = -1;
    req_unlock(r);
    done = *r; /* cb may free p, and with it r */
    done.lock_key = NULL;
    p->cb(p, failed ? &err : NULL);
    blob_upload_unref(u);
    blob_req_fini(&done);
    blob_drop(b);
}

static void nothing_run(struct blob_req *r) {}

static void illegal_id(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    no_upload(r, p->id);
    parts_end(r);
}

static void row_locked(struct blob_req *r);

/* Takes the upload's lock and reads its row; then found, with p->put filled, or the end. NULL:
 * there is no upload yet. */
static void parts_begin(struct blob *b, struct blob_parts *p, void (*found)(struct blob_req *)) {
    blob_req_init(&p->req);
    p->found = found;
    p->req.arg = p;
    p->parts = NULL;
    p->nr_parts = 0;
    p->more = false;
    p->meta = NULL;
    p->upload = NULL;
    p->src_fd = -1;
    req_begin(b, &p->req);
    if (found && !upload_id_is_legal(p->id, 'p')) {
        req_lane(&p->req, nothing_run, illegal_id);
    } else if (found) {
        req_lock(&p->req, STR(""), p->id, row_locked);
    }
}

static void row_read(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    struct rec rec;
    if (!r->failed && !r->row.p) {
        no_upload(r, p->id);
    }
    if (!r->failed && rec_parse(r->arena, r->row, &rec, &r->err) < 0) {
        r->failed = true;
    }
    if (!r->failed) {
        meta_decode_put(r->arena, &rec, &p->put);
        p->created = rec_get_u64(&rec, "created", 0);
        if (p->created + BLOB_SESSION_LIFE < time_wall()) {
            no_upload(r, p->id);
        }
    }
    if (!r->failed && (!str_eq(p->put.bucket, p->bucket) || !str_eq(p->put.name, p->name))) {
        no_upload(r, p->id); /* an id is of its object's path only */
    }
    if (r->failed) {
        parts_end(r);
    } else {
        p->found(r);
    }
}

static void row_locked(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    req_row(r, "multipart", p->id, row_read);
}

static bool decode_part(struct arena *a, const struct store_kv_pair *kv, struct blob_part *ret) {
    struct rec rec;
    struct str number = kv->key, md5;
    (void)str_cut(&number, '/');
    *ret = (struct blob_part){0};
    if (rec_parse(a, kv->value, &rec, NULL) < 0 || !str_to_u64(number, &ret->number)) {
        return false;
    }
    md5 = rec_get(&rec, "md5");
    ret->size = rec_get_u64(&rec, "size", 0);
    ret->updated = rec_get_u64(&rec, "updated", 0);
    ret->crc32c = (uint32_t)rec_get_u64(&rec, "crc32c", 0);
    ret->file = rec_get(&rec, "file");
    return md5.n == 32 && enc_unhex(md5, ret->md5) && ret->file.n;
}

static void scan_parts(struct blob_req *r, uint64_t after, unsigned max,
                       void (*cb)(struct store_kv_scan *, const struct store_kv_pair *, size_t,
                                  const struct err *)) {
    struct blob_parts *p = r->arg;
    r->scan =
        (struct store_kv_scan){.space = "part",
                               .prefix = str_of(arena_printf(r->arena, "%.*s/", STR_ARG(p->id))),
                               .after = after ? part_key(r->arena, p->id, after) : STR(""),
                               .max = max,
                               .arena = r->arena,
                               .cb = cb,
                               .arg = r};
    r->b->store->ops->kv_scan(r->b->store, &r->scan);
}

static bool take_parts(struct blob_req *r, const struct store_kv_pair *kv, size_t n,
                       const struct err *err) {
    struct blob_parts *p = r->arg;
    if (err) {
        r->failed = true;
        r->err = *err;
        parts_end(r);
        return false;
    }
    p->parts = arena_calloc(r->arena, n + 1, sizeof(*p->parts));
    for (size_t i = 0; i < n; i++) {
        p->nr_parts += decode_part(r->arena, &kv[i], &p->parts[p->nr_parts]);
    }
    return true;
}

/* ---- start ---- */

static void start_committed(struct blob_req *r) {
    if (r->failed) {
        r->b->nr_sessions--;
    }
    parts_end(r);
}

static void start_checked(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    if (r->failed) {
        r->b->nr_sessions--;
        parts_end(r);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    rec_begin(&row);
    rec_put_u64(&row, "created", p->created);
    meta_encode_put(&row, &p->put);
    store_txn_kv(req_txn(r), "multipart", p->id, buf_str(&row));
    req_commit(r, start_committed);
}

static void start_run(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    auto_close int bucket = -1;
    r->failed = blob_check_object_name(p->put.name, &r->err) < 0 ||
                (bucket = bucket_open_fd(r->b, p->put.bucket, &r->err)) < 0;
}

static void start_refused(struct blob_req *r) {
    r->failed = true;
    limits_hit(&limits.max_open_uploads);
    err_set(&r->err, ERR_RESOURCE_EXHAUSTED,
            "Too many resumable uploads in progress (max_open_uploads = %llu)",
            (unsigned long long)limits.max_open_uploads);
    parts_end(r);
}

void blob_parts_start(struct blob *b, struct blob_parts *p, const struct blob_put *put) {
    parts_begin(b, p, NULL);
    if (b->nr_sessions >= limits.max_open_uploads) {
        req_lane(&p->req, nothing_run, start_refused);
        return;
    }
    b->nr_sessions++;
    p->put = *put;
    upload_id_new(p->new_id, sizeof(p->new_id), 'p');
    p->id = str_of(p->new_id);
    p->created = time_wall();
    req_lane(&p->req, start_run, start_checked);
}

/* ---- get ---- */

static void get_parts(struct store_kv_scan *s, const struct store_kv_pair *kv, size_t n,
                      const struct err *err) {
    struct blob_req *r = s->arg;
    struct blob_parts *p = r->arg;
    if (!take_parts(r, kv, n, err)) {
        return;
    }
    if (p->nr_parts > p->max) {
        p->nr_parts = p->max;
        p->more = true;
    }
    parts_end(r);
}

static void get_found(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    if (p->max == 0) {
        parts_end(r);
        return;
    }
    scan_parts(r, p->after, p->max + 1, get_parts);
}

void blob_parts_get(struct blob *b, struct blob_parts *p) {
    CHECK(p->max <= BLOB_PARTS_MAX);
    parts_begin(b, p, get_found);
}

/* ---- abort, and what is left after the end ---- */

static void forget_run(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    for (size_t i = 0; i < p->nr_parts; i++) {
        auto_free char *file = str_dup(p->parts[i].file);
        (void)unlinkat(r->b->uploads_fd, file, 0); /* without its row it would be swept anyway */
    }
}

static void forgotten(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    if (r->failed) {
        r->failed = !p->meta; /* the object is there, and that is what was asked for */
        parts_end(r);
        return;
    }
    r->b->nr_sessions -= r->b->nr_sessions > 0;
    req_lane(r, forget_run, parts_end);
}

/* The rows go in one commit; then the files. */
static void forget(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    (void)FAIL_POINT("blob.parts.before_forget", NULL); /* one that kills */
    store_txn_kv(req_txn(r), "multipart", p->id, (struct str){0});
    for (size_t i = 0; i < p->nr_parts; i++) {
        store_txn_kv(req_txn(r), "part", part_key(r->arena, p->id, p->parts[i].number),
                     (struct str){0});
    }
    req_commit(r, forgotten);
}

static void abort_parts(struct store_kv_scan *s, const struct store_kv_pair *kv, size_t n,
                        const struct err *err) {
    struct blob_req *r = s->arg;
    if (take_parts(r, kv, n, err)) {
        forget(r);
    }
}

static void abort_found(struct blob_req *r) {
    scan_parts(r, 0, BLOB_PARTS_MAX, abort_parts);
}

void blob_parts_abort(struct blob *b, struct blob_parts *p) {
    parts_begin(b, p, abort_found);
}

/* ---- finish ---- */

static const struct blob_part *find_part(const struct blob_parts *p, uint64_t number) {
    size_t lo = 0, hi = p->nr_parts;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (p->parts[mid].number < number) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < p->nr_parts && p->parts[lo].number == number ? &p->parts[lo] : NULL;
}

static int choose(struct blob_req *r, struct err *err) {
    struct blob_parts *p = r->arg;
    p->order = arena_calloc(r->arena, p->nr_chosen + 1, sizeof(struct blob_part *));
    for (size_t i = 1; i < p->nr_chosen; i++) {
        if (p->chosen[i].number <= p->chosen[i - 1].number) {
            return err_field(err, ERR_INVALID_ARGUMENT, "InvalidPartOrder",
                             "The list of parts was not in ascending order: part %llu follows "
                             "part %llu.",
                             (unsigned long long)p->chosen[i].number,
                             (unsigned long long)p->chosen[i - 1].number);
        }
    }
    for (size_t i = 0; i < p->nr_chosen; i++) {
        const struct blob_part *want = &p->chosen[i], *have = find_part(p, want->number);
        if (!have || memcmp(have->md5, want->md5, sizeof(have->md5)) != 0) {
            return err_field(err, ERR_INVALID_ARGUMENT, "InvalidPart",
                             have ? "The ETag of part %llu is not that of the part uploaded last."
                                  : "Part %llu has not been uploaded.",
                             (unsigned long long)want->number);
        }
        if (i + 1 < p->nr_chosen && have->size < BLOB_PART_MIN) {
            return err_field(err, ERR_INVALID_ARGUMENT, "EntityTooSmall",
                             "Part %llu has %llu bytes; every part but the last must have at least "
                             "%u.",
                             (unsigned long long)want->number, (unsigned long long)have->size,
                             BLOB_PART_MIN);
        }
        p->order[i] = have;
        p->size += have->size;
    }
    return 0;
}

static void finish_next(struct blob_req *r);

static void finish_finished(struct blob_finish *f, const struct blob_meta *m,
                            const struct err *err) {
    struct blob_parts *p = f->arg;
    struct blob_req *r = &p->req;
    if (err) {
        r->failed = true;
        r->err = *err;
        parts_end(r);
        return;
    }
    p->meta = m; /* lives in the upload, which lives until the end */
    forget(r);   /* what cannot be forgotten now goes with the next sweep that it is too old for */
}

static void finish_written(struct blob_write *w, const struct err *err) {
    struct blob_parts *p = w->arg;
    struct blob_req *r = &p->req;
    if (err) {
        r->failed = true;
        r->err = *err;
        parts_end(r);
        return;
    }
    p->offset += w->src_len;
    finish_next(r);
}

static void finish_write(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    if (r->failed) {
        parts_end(r);
        return;
    }
    uint64_t left = p->order[p->cursor]->size - p->offset;
    p->write = (struct blob_write){.from_file = true,
                                   .src_fd = p->src_fd,
                                   .src_offset = p->offset,
                                   .src_len = left < SLICE ? left : SLICE,
                                   .cb = finish_written,
                                   .arg = p};
    blob_upload_write(p->upload, &p->write);
}

static void finish_open_run(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    auto_free char *file = str_dup(p->order[p->cursor]->file);
    if (p->src_fd >= 0) {
        close(p->src_fd);
    }
    p->src_fd = openat(r->b->uploads_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (p->src_fd < 0) {
        r->failed = true;
        err_sys(&r->err, errno, "read part %llu", (unsigned long long)p->order[p->cursor]->number);
    }
}

static void finish_next(struct blob_req *r) {
    struct blob_parts *p = r->arg;
    if (p->src_fd >= 0 && p->offset < p->order[p->cursor]->size) {
        finish_write(r);
        return;
    }
    if (p->src_fd >= 0) {
        p->cursor++;
        p->offset = 0;
    }
    while (p->cursor < p->nr_chosen && p->order[p->cursor]->size == 0) {
        p->cursor++;
    }
    if (p->cursor < p->nr_chosen) {
        req_lane(r, finish_open_run, finish_write);
        return;
    }
    p->finish = (struct blob_finish){.cb = finish_finished, .arg = p};
    blob_upload_finish(p->upload, &p->finish);
}

static void finish_parts(struct store_kv_scan *s, const struct store_kv_pair *kv, size_t n,
                         const struct err *err) {
    struct blob_req *r = s->arg;
    struct blob_parts *p = r->arg;
    if (!take_parts(r, kv, n, err)) {
        return;
    }
    p->size = p->offset = p->cursor = 0;
    if (choose(r, &r->err) < 0) {
        r->failed = true;
        parts_end(r);
        return;
    }
    struct blob_precond given = p->pre;
    p->put.pre = given;
    p->put.size = (int64_t)p->size;
    p->upload = blob_upload_new(r->b, &p->put);
    finish_next(r);
}

static void finish_found(struct blob_req *r) {
    scan_parts(r, 0, BLOB_PARTS_MAX, finish_parts);
}

void blob_parts_finish(struct blob *b, struct blob_parts *p) {
    CHECK(p->nr_chosen > 0 && p->nr_chosen <= BLOB_PARTS_MAX);
    parts_begin(b, p, finish_found);
}
