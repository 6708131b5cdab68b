/* Resumable sessions: a row in kv space "upload" and a file of the same id in DIR/uploads. How much
 * has arrived is the file's length, so nothing needs recording while bytes come in. When a session
 * completes, its row turns into a note of which object it made, in the transaction that records the
 * object: a client that lost the last answer asks again and hears it. */
#include "blob/upload_int.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void session_encode(struct buf *b, const struct blob_upload *u) {
    rec_begin(b);
    rec_put_u64(b, "created", u->created);
    meta_encode_put(b, &u->put);
}

void session_encode_done(struct buf *b, const struct blob_upload *u) {
    rec_begin(b);
    rec_put_u64(b, "created", u->created);
    rec_put_u64(b, "done", 1);
    rec_put_u64(b, "gen", u->meta.generation);
    rec_put_u64(b, "ino", u->meta.ino);
    meta_encode_put(b, &u->put); /* should the file not get to its place */
}

static void session_end(struct blob_req *r, const struct err *err) {
    struct blob_session *s = r->arg;
    struct blob *b = r->b;
    struct blob_req done = *r; /* cb may free s, and with it r */
    req_unlock(r);
    struct err copy = err ? *err : (struct err){0};
    done.lock_key = NULL;
    s->cb(s, err ? &copy : NULL);
    blob_req_fini(&done);
    blob_drop(b);
}

static void session_begin(struct blob *b, struct blob_session *s) {
    blob_req_init(&s->req);
    s->req.arg = s;
    s->upload = NULL;
    s->is_complete = false;
    req_begin(b, &s->req);
}

/* ---- start ---- */

static void start_run(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct blob_upload *u = s->upload;
    r->failed = true;
    if (blob_check_object_name(u->put.name, &r->err) < 0) {
        return;
    }
    auto_close int bucket = bucket_open_fd(u->b, u->put.bucket, &r->err);
    if (bucket < 0) {
        return;
    }
    u->fd = openat(u->b->uploads_fd, u->id, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (u->fd < 0 || fsync(u->b->uploads_fd) < 0) {
        err_sys(&r->err, errno, "make an upload file");
        return;
    }
    r->failed = false;
}

static void start_recorded(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct blob_upload *u = s->upload;
    if (r->failed) {
        (void)unlinkat(u->b->uploads_fd, u->id, 0);
        u->b->nr_sessions--;
        s->upload = NULL;
        struct err err = r->err;
        blob_upload_unref(u);
        session_end(r, &err);
        return;
    }
    s->epoch = u->epoch;
    session_end(r, NULL);
}

static void start_made(struct blob_req *r) {
    struct blob_session *s = r->arg;
    if (r->failed) {
        start_recorded(r);
        return;
    }
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    session_encode(&row, s->upload);
    store_txn_kv(req_txn(r), "upload", str_of(s->upload->id), buf_str(&row));
    req_commit(r, start_recorded);
}

static void start_refused_run(struct blob_req *r) {
    struct blob_session *s = r->arg;
    (void)s;
    r->failed = true;
    limits_hit(&limits.max_open_uploads);
    err_set(&r->err, ERR_RESOURCE_EXHAUSTED,
            "Too many resumable uploads in progress (max_open_uploads = %llu)",
            (unsigned long long)limits.max_open_uploads);
}

static void start_refused(struct blob_req *r) {
    struct err err = r->err;
    session_end(r, &err);
}

void blob_session_start(struct blob *b, struct blob_session *s, const struct blob_put *put) {
    session_begin(b, s);
    if (b->nr_sessions >= limits.max_open_uploads) {
        req_lane(&s->req, start_refused_run, start_refused);
        return;
    }
    b->nr_sessions++;
    s->upload = upload_make(b, put, NULL, 'r');
    s->upload->created = time_wall();
    s->upload->epoch = 1;
    s->id = str_of(s->upload->id);
    map_put(&b->sessions, s->id, s->upload);
    req_lane(&s->req, start_run, start_made);
}

/* ---- resume ---- */

static void resume_attached(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct blob_upload *u = s->upload;
    if (u->is_complete) {
        s->upload = NULL;
        s->is_complete = true;
        s->bucket = blob_req_str(r, u->put.bucket);
        s->name = blob_req_str(r, u->put.name);
        s->generation = u->meta.generation;
        blob_upload_unref(u);
        session_end(r, NULL);
    } else if (u->is_dead) {
        struct err err = u->err;
        s->upload = NULL;
        blob_upload_unref(u);
        session_end(r, &err);
    } else {
        s->epoch = u->epoch;
        session_end(r, NULL);
    }
}

void session_wake(struct blob_upload *u) {
    while (!list_is_empty(&u->resumers) && upload_is_idle(u)) {
        struct blob_req *r = list_first(&u->resumers, struct blob_req, lock_link);
        list_del(&r->lock_link);
        resume_attached(r);
    }
}

static void nothing_run(struct blob_req *r) {}

static void resume_join(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct blob_upload *u = s->upload;
    if (upload_is_idle(u)) {
        resume_attached(r);
    } else {
        list_push_tail(&u->resumers, &r->lock_link);
    }
}

static void resume_run(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct blob_upload *u = s->upload;
    struct stat st;
    r->failed = true;
    u->fd = openat(u->b->uploads_fd, u->id, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (u->fd < 0 || fstat(u->fd, &st) < 0) {
        err_set(&r->err, ERR_NOT_FOUND, "The bytes of this upload are gone; start again");
        return;
    }
    u->offset = (uint64_t)st.st_size;
    r->failed = false;
}

static void resume_done(struct blob_req *r) {
    struct blob_session *s = r->arg;
    if (r->failed) {
        struct err err = r->err;
        struct blob_upload *u = take(&s->upload);
        u->is_dead = true;
        u->err = err;
        session_wake(u);
        blob_upload_unref(u);
        session_end(r, &err);
        return;
    }
    resume_attached(r);
}

/* Lane: a row that says "done" is written before the file takes its place. If it never got there
 * the session goes on. */
static void resume_done_run(struct blob_req *r) {
    struct blob_session *s = r->arg;
    auto_free char *id = str_dup(s->id);
    struct rec rec;
    struct stat st;
    s->is_complete = true;
    if (fstatat(r->b->uploads_fd, id, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        rec_parse(r->arena, r->row, &rec, NULL) == 0) {
        auto_close int bucket = bucket_open_fd(r->b, rec_get(&rec, "bucket"), NULL);
        auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
        s->is_complete = bucket >= 0 && place_find(bucket, rec_get(&rec, "name"), &raw, &st) == 0 &&
                         st.st_ino == rec_get_u64(&rec, "ino", 0);
    }
}

static void resume_open(struct blob_req *r);

static void resume_done_checked(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct rec rec;
    if (r->failed || rec_parse(r->arena, r->row, &rec, &r->err) < 0) {
        struct err err = r->err;
        session_end(r, &err);
    } else if (s->is_complete) {
        s->bucket = rec_get(&rec, "bucket");
        s->name = rec_get(&rec, "name");
        s->generation = rec_get_u64(&rec, "gen", 0);
        session_end(r, NULL);
    } else {
        r->b->nr_sessions++;
        resume_open(r);
    }
}

static void resume_row(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct rec rec;
    if (!r->failed && !r->row.p) {
        r->failed = true;
        err_set(&r->err, ERR_NOT_FOUND, "No such upload session: %.*s", STR_ARG(s->id));
    }
    if (!r->failed && rec_parse(r->arena, r->row, &rec, &r->err) < 0) {
        r->failed = true;
    }
    if (!r->failed && rec_get_u64(&rec, "created", 0) + BLOB_SESSION_LIFE < time_wall()) {
        r->failed = true;
        err_set(&r->err, ERR_NOT_FOUND, "The upload session has expired: %.*s", STR_ARG(s->id));
    }
    if (r->failed) {
        struct err err = r->err;
        session_end(r, &err);
        return;
    }
    if (rec_get_u64(&rec, "done", 0)) {
        req_lane(r, resume_done_run, resume_done_checked);
    } else {
        resume_open(r);
    }
}

static void resume_open(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct rec rec;
    struct blob_put put;
    CHECK(rec_parse(r->arena, r->row, &rec, NULL) == 0); /* it was before */
    meta_decode_put(r->arena, &rec, &put);
    auto_free char *id = str_dup(s->id);
    s->upload = upload_make(r->b, &put, id, 'r');
    s->upload->created = rec_get_u64(&rec, "created", 0);
    s->upload->epoch = 1;
    map_put(&r->b->sessions, s->id, s->upload);
    req_unlock(r); /* whoever comes now finds the upload in the map and waits for it there */
    req_lane(r, resume_run, resume_done);
}

bool upload_id_is_legal(struct str id, char kind) {
    if (id.n != 34 || id.p[0] != kind || id.p[1] != '-') {
        return false;
    }
    for (size_t i = 2; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

static void resume_locked(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct blob_upload *u = map_get(&r->b->sessions, s->id);
    if (u) {
        s->upload = blob_upload_ref(u);
        u->epoch++;
        req_lane(r, nothing_run, resume_join);
        return;
    }
    req_row(r, "upload", s->id, resume_row);
}

static void illegal_id(struct blob_req *r) {
    struct blob_session *s = r->arg;
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "No such upload session: %.*s",
            (int)(s->id.n > 100 ? 100 : s->id.n), s->id.p ? s->id.p : "");
    session_end(r, &err);
}

void blob_session_resume(struct blob *b, struct blob_session *s) {
    session_begin(b, s);
    if (!upload_id_is_legal(s->id, 'r')) {
        req_lane(&s->req, nothing_run, illegal_id);
        return;
    }
    req_lock(&s->req, STR(""), s->id, resume_locked);
}

/* ---- cancel ---- */

static void cancel_removed(struct blob_req *r) {
    struct err err = r->err;
    bool failed = r->failed;
    session_end(r, failed ? &err : NULL);
}

static void cancel_run(struct blob_req *r) {
    struct blob_session *s = r->arg;
    auto_free char *id = str_dup(s->id);
    (void)unlinkat(r->b->uploads_fd, id, 0); /* without its row it would be swept anyway */
}

static void cancel_row_gone(struct blob_req *r) {
    if (r->failed) {
        cancel_removed(r);
        return;
    }
    r->b->nr_sessions -= r->b->nr_sessions > 0;
    req_lane(r, cancel_run, cancel_removed);
}

static void cancel_row(struct blob_req *r) {
    struct blob_session *s = r->arg;
    if (!r->failed && !r->row.p) {
        r->failed = true;
        err_set(&r->err, ERR_NOT_FOUND, "No such upload session: %.*s", STR_ARG(s->id));
    }
    if (r->failed) {
        cancel_removed(r);
        return;
    }
    struct blob_upload *u = map_get(&r->b->sessions, s->id);
    if (u) { /* its writers are told at their next slice */
        u->epoch++;
        u->is_dead = true;
        err_set(&u->err, ERR_CANCELLED, "the upload was cancelled");
    }
    store_txn_kv(req_txn(r), "upload", s->id, (struct str){0});
    req_commit(r, cancel_row_gone);
}

static void cancel_locked(struct blob_req *r) {
    struct blob_session *s = r->arg;
    req_row(r, "upload", s->id, cancel_row);
}

void blob_session_cancel(struct blob *b, struct blob_session *s) {
    session_begin(b, s);
    if (!upload_id_is_legal(s->id, 'r')) {
        req_lane(&s->req, nothing_run, illegal_id);
        return;
    }
    req_lock(&s->req, STR(""), s->id, cancel_locked);
}
