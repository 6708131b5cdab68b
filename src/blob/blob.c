/* Opening and closing, and buckets. A bucket is a directory below DIR/buckets; its record holds
 * what the directory cannot. A directory made by hand is a bucket with default facts. */
#include "blob/blob_int.h"

#include "sys/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BUCKETS_MAX 100000 /* directories looked at by one bucket list */

/* ---- open and close ---- */

static int open_dir(const char *dir, const char *sub, int *ret, struct err *err) {
    auto_free char *path = xasprintf("%s/%s", dir, sub);
    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        return err_sys(err, errno, "make %s", path);
    }
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret < 0 ? err_sys(err, errno, "open %s", path) : 0;
}

struct blob *blob_open(struct loop *l, struct lane *disk, struct store *st, const char *data_dir,
                       struct err *err) {
    struct blob *b = xcalloc(1, sizeof(*b));
    b->loop = l;
    b->disk = disk;
    b->store = st;
    b->buckets_fd = b->uploads_fd = -1;
    if (open_dir(data_dir, "buckets", &b->buckets_fd, err) < 0 ||
        open_dir(data_dir, "uploads", &b->uploads_fd, err) < 0) {
        mem_auto_close(&b->buckets_fd);
        free(b);
        return NULL;
    }
    b->dir = xstrdup(data_dir);
    map_init(&b->locks);
    map_init(&b->sessions);
    map_init(&b->external);
    b->snaps = snaps_new(SNAP_DIR_SIZE);
    upload_sweep(b);
    return b;
}

int blob_add_bucket(struct blob *b, const char *name, const char *path, struct err *err) {
    if (blob_check_bucket_name(str_of(name), err) < 0) {
        return err_wrap(err, "bucket %s", name);
    }
    auto_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_sys(err, errno, "bucket %s: open %s", name, path);
    }
    if (mkdirat(b->buckets_fd, name, 0755) < 0 && errno != EEXIST) {
        return err_sys(err, errno, "bucket %s: make its place below %s/buckets", name, b->dir);
    }
    auto_close int place = beneath_open(b->buckets_fd, name, O_RDONLY | O_DIRECTORY, 0);
    int e = place < 0 ? place : place_remove_tree_of_dirs(place);
    if (e == -ENOTEMPTY) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "bucket %s: %s/buckets/%s holds objects already; move them to %s first",
                       name, b->dir, name, path);
    }
    if (e < 0) {
        return err_sys(err, -e, "bucket %s: its place below %s/buckets", name, b->dir);
    }
    free(map_put(&b->external, str_of(name), xstrdup(path)));
    return 0;
}

static void free_now(struct blob *b) {
    void (*cb)(void *) = b->close_cb;
    void *arg = b->close_arg;
    upload_sweep_stop(b);
    close(b->buckets_fd);
    close(b->uploads_fd);
    map_fini(&b->locks);
    map_fini(&b->sessions);
    size_t it = 0;
    const struct map_slot *slot;
    while ((slot = map_next(&b->external, &it))) {
        free(slot->value);
    }
    map_fini(&b->external);
    snaps_free(b->snaps);
    free(b->dir);
    free(b);
    cb(arg);
}

static void close_task(struct loop_task *t) {
    free_now(CONTAINER_OF(t, struct blob, close_task));
}

static void maybe_closed(struct blob *b) {
    if (b->is_closing && b->running == 0) {
        loop_task_init(&b->close_task, close_task);
        loop_post(b->loop, &b->close_task);
    }
}

void blob_drop(struct blob *b) {
    CHECK(b->running > 0);
    b->running--;
    maybe_closed(b);
}

void blob_get_stats(const struct blob *b, struct blob_stats *ret) {
    *ret = b->stats;
}

void blob_close(struct blob *b, void (*cb)(void *arg), void *arg) {
    b->close_cb = cb;
    b->close_arg = arg;
    b->is_closing = true;
    maybe_closed(b);
}

/* ---- buckets ---- */

bool blob_bucket_is_here(struct blob *b, struct str bucket) {
    auto_free char *name = str_dup(bucket);
    struct stat st;
    return fstatat(b->buckets_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

void bucket_encode(struct buf *b, const struct blob_bucket *k) {
    rec_begin(b);
    rec_put_u64(b, "project", k->project);
    rec_put_u64(b, "metagen", k->metageneration);
    rec_put_u64(b, "created", k->time_created);
    rec_put_u64(b, "updated", k->updated);
    rec_put(b, "location", k->location);
    rec_put(b, "class", k->storage_class);
    if (k->doc.n) {
        rec_put(b, "doc", k->doc);
    }
    if (k->policy.n) {
        rec_put(b, "policy", k->policy);
    }
}

static void bucket_from(struct blob_req *r, struct str name, const struct stat *st, struct str row,
                        struct blob_bucket *ret) {
    struct rec rec = {0};
    usec_t made = (usec_t)st->st_ctim.tv_sec * USEC_PER_SEC;
    if (row.p && rec_parse(r->arena, row, &rec, NULL) < 0) {
        rec = (struct rec){0};
    }
    *ret = (struct blob_bucket){
        .name = name,
        .project = rec_get_u64(&rec, "project", 0),
        .metageneration = rec_get_u64(&rec, "metagen", 1),
        .time_created = rec_get_u64(&rec, "created", made),
        .updated = rec_get_u64(&rec, "updated", made),
        .location = rec_get(&rec, "location"),
        .storage_class = rec_get(&rec, "class"),
        .doc = rec_get(&rec, "doc"),
        .policy = rec_get(&rec, "policy"),
    };
    if (!ret->location.n) {
        ret->location = STR("US-CENTRAL1");
    }
    if (!ret->storage_class.n) {
        ret->storage_class = STR("STANDARD");
    }
}

static void create_exists(struct blob_req *r) {
    r->failed = true;
    err_set(&r->err, ERR_ALREADY_EXISTS,
            "Your previous request to create the named bucket succeeded and you already own it. "
            "(%.*s)",
            STR_ARG(r->bucket));
}

/* The row comes first (without its directory it says nothing): no bucket is ever seen without what
 * it was made with. */
static void create_look_run(struct blob_req *r) {
    struct stat st;
    if (blob_check_bucket_name(r->bucket, &r->err) < 0) {
        r->failed = true;
        return;
    }
    auto_free char *name = str_dup(r->bucket);
    if (fstatat(r->b->buckets_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        create_exists(r);
    } else if (errno != ENOENT) {
        r->failed = true;
        err_sys(&r->err, errno, "make bucket %s", name);
    }
}

static void create_run(struct blob_req *r) {
    auto_free char *name = str_dup(r->bucket);
    int rc = mkdirat(r->b->buckets_fd, name, 0755);
    if (rc < 0 && errno == EEXIST) {
        create_exists(r); /* by hand, this moment */
    } else if (rc < 0 || fsync(r->b->buckets_fd) < 0) {
        r->failed = true;
        err_sys(&r->err, errno, "make bucket %s", name);
    }
}

static void create_noted(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
    } else {
        req_lane(r, create_run, req_done);
    }
}

static void create_looked(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    struct blob_bucket *k = r->bucket_info = arena_alloc(r->arena, sizeof(*k));
    usec_t now = time_wall();
    *k = (struct blob_bucket){
        .name = r->bucket,
        .project = r->project,
        .metageneration = 1,
        .time_created = now,
        .updated = now,
        .location = r->location.n ? r->location : STR("US-CENTRAL1"),
        .storage_class = r->storage_class.n ? r->storage_class : STR("STANDARD"),
        .doc = r->doc,
    };
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    bucket_encode(&row, k);
    store_txn_kv(req_txn(r), "bucket", r->bucket, buf_str(&row));
    req_commit(r, create_noted);
}

static void create_locked(struct blob_req *r) {
    req_lane(r, create_look_run, create_looked);
}

void blob_bucket_create(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_lock(r, r->bucket, STR(""), create_locked);
}

int bucket_check_precond(const struct blob_precond *p, const struct blob_bucket *k,
                         struct err *err) {
    /* Buckets have no generation. */
    struct blob_precond metagen = *p;
    metagen.has_gen = metagen.has_not_gen = false;
    struct blob_meta as_meta = {.metageneration = k->metageneration};
    return meta_check_precond(&metagen, &as_meta, err);
}

void bucket_load_run(struct blob_req *r) {
    auto_close int fd = bucket_open_fd(r->b, r->bucket, &r->err);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        r->failed = true;
        return;
    }
    r->bucket_info = arena_alloc(r->arena, sizeof(*r->bucket_info));
    bucket_from(r, r->bucket, &st, r->row, r->bucket_info);
}

static void get_checked(struct blob_req *r) {
    if (!r->failed && bucket_check_precond(&r->pre, r->bucket_info, &r->err) < 0) {
        r->failed = true;
    }
    req_done(r);
}

static void get_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    req_lane(r, bucket_load_run, get_checked);
}

void blob_bucket_get(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_row(r, "bucket", r->bucket, get_row);
}

static int bucket_cmp(const void *x, const void *y) {
    return str_cmp(((const struct blob_bucket *)x)->name, ((const struct blob_bucket *)y)->name);
}

static void list_run(struct blob_req *r) {
    int fd = openat(r->b->buckets_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        r->failed = true;
        err_sys(&r->err, errno, "list buckets");
        mem_auto_close(&fd);
        return;
    }
    VEC_OF(struct blob_bucket) v = {0};
    struct dirent *e;
    while ((e = readdir(d)) && v.n < BUCKETS_MAX) {
        struct str name = str_of(e->d_name);
        struct stat st;
        if (blob_check_bucket_name(name, NULL) < 0 || str_cmp(name, r->page_token) <= 0 ||
            !str_starts(name, r->prefix) || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISDIR(st.st_mode)) {
            continue;
        }
        struct blob_bucket k = {.name = arena_str(r->arena, name),
                                .time_created = (usec_t)st.st_ctim.tv_sec * USEC_PER_SEC};
        vec_push(&v, k);
    }
    closedir(d);
    if (v.n) {
        qsort(v.p, v.n, sizeof(v.p[0]), bucket_cmp);
    }
    r->buckets = arena_memdup(r->arena, v.p, v.n * sizeof(v.p[0]));
    r->nr_buckets = v.n;
    r->cursor = 0;
    vec_fini(&v);
}

/* Rows one after another; buckets of other projects drop out. Kept ones move to the front. */
static void list_next(struct blob_req *r);

static void list_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    struct blob_bucket k, *at = &r->buckets[r->cursor++];
    struct stat st = {.st_ctim.tv_sec = (time_t)(at->time_created / USEC_PER_SEC)};
    bucket_from(r, at->name, &st, r->row, &k);
    if (k.project == 0 || r->project == 0 || k.project == r->project) {
        if (r->nr_items == r->max) { /* nr_items counts the kept ones here */
            r->next_page = r->buckets[r->nr_items - 1].name;
            r->nr_buckets = r->nr_items;
            r->nr_items = 0;
            req_done(r);
            return;
        }
        r->buckets[r->nr_items++] = k;
    }
    list_next(r);
}

static void list_next(struct blob_req *r) {
    if (r->failed || r->cursor >= r->nr_buckets) {
        r->nr_buckets = r->nr_items;
        r->nr_items = 0;
        req_done(r);
        return;
    }
    req_row(r, "bucket", r->buckets[r->cursor].name, list_row);
}

void blob_bucket_list(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_lane(r, list_run, list_next);
}

static void delete_run(struct blob_req *r) {
    r->failed = true;
    auto_close int fd = bucket_open_fd(r->b, r->bucket, &r->err);
    struct blob_bucket k;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return;
    }
    bucket_from(r, r->bucket, &st, r->row, &k);
    if (map_get(&r->b->external, r->bucket)) {
        err_set(&r->err, ERR_PERMISSION_DENIED,
                "The bucket %.*s is a directory that the configuration names; it is not deleted by "
                "clients.",
                STR_ARG(r->bucket));
        return;
    }
    if (bucket_check_precond(&r->pre, &k, &r->err) < 0) {
        return;
    }
    struct walk_result res;
    if (walk_list(fd, &(struct walk_opts){.max = 1}, r->arena, &res, &r->err) < 0) {
        return;
    }
    int e = res.n ? -ENOTEMPTY : place_remove_tree_of_dirs(fd);
    auto_free char *name = str_dup(r->bucket);
    if (e == 0 && unlinkat(r->b->buckets_fd, name, AT_REMOVEDIR) < 0) {
        e = -errno;
    }
    if (e == -ENOTEMPTY || e == -EEXIST) {
        err_set(&r->err, ERR_ABORTED, "The bucket you tried to delete is not empty.");
        return;
    }
    if (e < 0 || fsync(r->b->buckets_fd) < 0) {
        err_sys(&r->err, e < 0 ? -e : errno, "delete bucket %s", name);
        return;
    }
    r->failed = false;
}

/* Records of objects whose files vanished with their bucket, a batch at a time. */
static void purge_more(struct blob_req *r);

static void purge_end(struct blob_req *r) {
    r->failed = false; /* the directory is gone; rows count only beside what they speak of */
    req_done(r);
}

static void purge_rows(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                       const struct err *err) {
    struct blob_req *r = s->arg;
    if (err || n == 0) {
        purge_end(r);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        store_txn_kv(req_txn(r), "object", p[i].key, (struct str){0});
    }
    req_commit(r, purge_more);
}

static void purge_more(struct blob_req *r) {
    if (r->failed) {
        purge_end(r);
        return;
    }
    r->scan = (struct store_kv_scan){.space = "object",
                                     .prefix = req_key(r, r->bucket, STR("")),
                                     .max = 500,
                                     .arena = r->arena,
                                     .cb = purge_rows,
                                     .arg = r};
    r->b->store->ops->kv_scan(r->b->store, &r->scan);
}

static void delete_gone(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    store_txn_kv(req_txn(r), "bucket", r->bucket, (struct str){0});
    req_commit(r, purge_more);
}

static void delete_row(struct blob_req *r) {
    if (r->failed) {
        req_done(r);
        return;
    }
    req_lane(r, delete_run, delete_gone);
}

void blob_bucket_delete(struct blob *b, struct blob_req *r) {
    req_begin(b, r);
    req_row(r, "bucket", r->bucket, delete_row);
}
