/* Changing what is recorded of an object or a bucket while the bytes stay. */
#include "blob/blob_int.h"

#include <unistd.h>

static void edit_recorded(struct blob_req *r) {
    if (r->fd >= 0) {
        close(take_fd(&r->fd));
    }
    req_done(r);
}

static void edit_loaded(struct blob_req *r) {
    if (!r->failed && r->generation && r->generation != r->meta->generation) {
        object_fail_missing(r);
    }
    if (!r->failed &&
        (meta_check_precond(&r->pre, r->meta, &r->err) < 0 || r->edit(r, &r->err) < 0)) {
        r->failed = true;
    }
    if (r->failed) {
        edit_recorded(r);
        return;
    }
    r->meta->metageneration++;
    r->meta->updated = time_wall();
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    meta_encode(&row, r->meta);
    store_txn_kv(req_txn(r), "object", req_key(r, r->bucket, r->name), buf_str(&row));
    req_commit(r, edit_recorded);
}

static void edit_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    req_lane(r, object_load_run, edit_loaded);
}

static void edit_locked(struct blob_req *r) {
    req_row(r, "object", req_key(r, r->bucket, r->name), edit_row);
}

void blob_object_edit(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_lock(r, r->bucket, r->name, edit_locked);
}

/* ---- buckets: "BUCKET/" as the lock's key, which no object has ---- */

static void bucket_loaded(struct blob_req *r) {
    if (!r->failed &&
        (bucket_check_precond(&r->pre, r->bucket_info, &r->err) < 0 || r->edit(r, &r->err) < 0)) {
        r->failed = true;
    }
    if (r->failed) {
        req_done(r);
        return;
    }
    r->bucket_info->metageneration++;
    r->bucket_info->updated = time_wall();
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    bucket_encode(&row, r->bucket_info);
    store_txn_kv(req_txn(r), "bucket", r->bucket, buf_str(&row));
    req_commit(r, req_done);
}

static void bucket_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    req_lane(r, bucket_load_run, bucket_loaded);
}

static void bucket_locked(struct blob_req *r) {
    req_row(r, "bucket", r->bucket, bucket_row);
}

void blob_bucket_edit(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_lock(r, r->bucket, STR(""), bucket_locked);
}
