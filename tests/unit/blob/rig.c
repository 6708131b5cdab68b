/* See rig.h. */
#include "rig.h"

#include "sys/lane.h"
#include "sys/loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

void brig_start(struct brig *r) {
    struct err err = {0};
    auto_free char *db = xasprintf("%s/cusp.db", r->dir);
    r->loop = loop_new();
    r->disk = lane_new(r->loop, "disk", 4);
    r->store = store_sqlite_open(r->loop, db, &err);
    r->blob = r->store ? blob_open(r->loop, r->disk, r->store, r->dir, &err) : NULL;
    if (!r->blob) {
        fail_msg("%s", err.msg);
    }
}

void brig_make_dir(char path[64]) {
    snprintf(path, 64, "%s/cusp-blob-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(path));
}

void brig_new(struct brig *r) {
    *r = (struct brig){0};
    brig_make_dir(r->dir);
    brig_start(r);
}

void brig_wait(struct brig *r) {
    while (!r->done) {
        loop_turn(r->loop);
    }
    r->done = false;
}

static void closed(void *arg) {
    ((struct brig *)arg)->done = true;
}

void brig_stop(struct brig *r) {
    blob_close(r->blob, closed, r);
    brig_wait(r);
    r->store->ops->close(r->store, closed, r);
    brig_wait(r);
    lane_close(r->disk);
    loop_free(r->loop);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    return remove(path);
}

void brig_remove(struct brig *r) {
    nftw(r->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

void brig_free(struct brig *r) {
    brig_stop(r);
    brig_remove(r);
}

static void called(struct blob_req *req, const struct err *err) {
    struct brig *r = req->arg;
    r->err = err ? *err : (struct err){0};
    r->done = true;
}

bool brig_call(struct brig *r, struct blob_req *req, void (*fn)(struct blob *, struct blob_req *)) {
    req->cb = called;
    req->arg = r;
    fn(r->blob, req);
    assert_false(r->done); /* never from within the call */
    brig_wait(r);
    return r->err.code == ERR_OK;
}

bool brig_bucket(struct brig *r, const char *bucket) {
    struct blob_req req;
    blob_req_init(&req);
    req.bucket = str_of(bucket);
    req.project = 1;
    bool ok = brig_call(r, &req, blob_bucket_create);
    blob_req_fini(&req);
    return ok;
}

static void wrote(struct blob_write *w, const struct err *err) {
    struct brig *r = w->arg;
    r->err = err ? *err : (struct err){0};
    r->done = true;
}

struct fin {
    struct blob_finish f;
    struct brig *r;
    struct blob_meta meta;
};

static void finished(struct blob_finish *f, const struct blob_meta *meta, const struct err *err) {
    struct fin *x = CONTAINER_OF(f, struct fin, f);
    x->r->err = err ? *err : (struct err){0};
    if (meta) {
        x->meta = *meta;
        x->meta.bucket = x->meta.name = x->meta.content_type = (struct str){0};
    }
    x->r->done = true;
}

bool brig_put(struct brig *r, const char *bucket, struct str name, struct str data,
              const struct blob_precond *pre, struct blob_meta *ret) {
    struct blob_put put = {.bucket = str_of(bucket), .name = name, .size = -1};
    if (pre) {
        put.pre = *pre;
    }
    struct blob_upload *u = blob_upload_new(r->blob, &put);
    struct blob_write w = {.bytes = data, .cb = wrote, .arg = r};
    struct fin x = {.r = r, .f.cb = finished};
    blob_upload_write(u, &w);
    brig_wait(r);
    if (r->err.code == ERR_OK) {
        blob_upload_finish(u, &x.f);
        brig_wait(r);
    }
    blob_upload_unref(u);
    if (r->err.code == ERR_OK && ret) {
        *ret = x.meta;
    }
    return r->err.code == ERR_OK;
}

bool brig_get(struct brig *r, const char *bucket, struct str name, struct blob_meta *ret,
              char **ret_data) {
    struct blob_req req;
    blob_req_init(&req);
    req.bucket = str_of(bucket);
    req.name = name;
    req.hashes = BLOB_HASH_ALL;
    req.want_fd = true;
    bool ok = brig_call(r, &req, blob_object_get);
    if (ok && ret) {
        *ret = *req.meta;
        ret->bucket = ret->name = (struct str){0};
    }
    if (ok && ret_data) {
        *ret_data = xcalloc(1, req.meta->size + 1);
        assert_int_equal(pread(req.fd, *ret_data, req.meta->size, 0), req.meta->size);
    }
    blob_req_fini(&req);
    return ok;
}

bool brig_delete(struct brig *r, const char *bucket, struct str name) {
    struct blob_req req;
    blob_req_init(&req);
    req.bucket = str_of(bucket);
    req.name = name;
    bool ok = brig_call(r, &req, blob_object_delete);
    blob_req_fini(&req);
    return ok;
}

unsigned brig_uploads(const struct brig *r) {
    auto_free char *path = xasprintf("%s/uploads", r->dir);
    DIR *d = opendir(path);
    unsigned n = 0;
    struct dirent *e;
    while ((e = readdir(d))) {
        n += e->d_name[0] != '.';
    }
    closedir(d);
    return n;
}
