/* Objects: what is stored comes back, generations grow, changes are noticed, nothing is left
 * behind. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

static int start(void **state) {
    struct brig *r = xcalloc(1, sizeof(*r));
    brig_new(r);
    assert_true(brig_bucket(r, "bkt"));
    *state = r;
    return 0;
}

static int stop(void **state) {
    struct brig *r = *state;
    brig_stop(r); /* waits for the lane, on which dropped uploads are removed */
    unsigned left = brig_uploads(r);
    brig_remove(r);
    free(r);
    assert_int_equal(left, 0);
    return 0;
}

static void write_file(struct brig *r, const char *rel, const char *text) {
    auto_free char *path = xasprintf("%s/buckets/%s", r->dir, rel);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_checksums_are_the_published_vectors(void **state) {
    struct brig *r = *state;
    struct blob_meta m;
    /* RFC 3720 B.4 and RFC 1321 A.5. */
    assert_true(brig_put(r, "bkt", STR("v"), STR("123456789"), NULL, &m));
    assert_int_equal(m.crc32c, 0xe3069283);
    static const uint8_t md5[16] = {0x25, 0xf9, 0xe7, 0x94, 0x32, 0x3b, 0x45, 0x38,
                                    0x85, 0xf5, 0x18, 0x1f, 0x1b, 0x62, 0x4d, 0x0b};
    assert_memory_equal(m.md5, md5, 16);
    assert_true(brig_put(r, "bkt", STR("empty"), STR(""), NULL, &m));
    assert_true(m.has_crc32c && m.crc32c == 0 && m.size == 0);
}

static void test_stored_bytes_come_back_after_a_restart(void **state) {
    struct brig *r = *state;
    struct blob_meta m, n;
    char *data;
    assert_true(brig_put(r, "bkt", STR("a/b"), STR("bytes"), NULL, &m));
    brig_stop(r);
    brig_start(r);
    assert_true(brig_get(r, "bkt", STR("a/b"), &n, &data));
    assert_string_equal(data, "bytes");
    assert_int_equal(n.generation, m.generation);
    free(data);
}

static void test_generations_only_grow(void **state) {
    struct brig *r = *state;
    uint64_t last = 0;
    for (int i = 0; i < 50; i++) {
        struct blob_meta m;
        assert_true(brig_put(r, "bkt", STR("g"), STR("same"), NULL, &m));
        assert_true(m.generation > last);
        last = m.generation;
    }
}

static void test_preconditions_decide_under_the_lock(void **state) {
    struct brig *r = *state;
    struct blob_meta m;
    struct blob_precond absent = {.has_gen = true}, match = {.has_gen = true},
                        differ = {.has_not_gen = true};
    assert_true(brig_put(r, "bkt", STR("p"), STR("1"), &absent, &m));
    assert_false(brig_put(r, "bkt", STR("p"), STR("2"), &absent, NULL));
    assert_int_equal(r->err.code, ERR_FAILED_PRECONDITION);
    match.gen = m.generation;
    differ.not_gen = m.generation;
    assert_false(brig_put(r, "bkt", STR("p"), STR("2"), &differ, NULL));
    assert_true(brig_put(r, "bkt", STR("p"), STR("2"), &match, NULL));
    assert_false(brig_put(r, "bkt", STR("p"), STR("3"), &match, NULL));
    char *data;
    assert_true(brig_get(r, "bkt", STR("p"), NULL, &data));
    assert_string_equal(data, "2");
    free(data);
}

#define RACERS 16
static unsigned won, lost;

static void raced(struct blob_finish *f, const struct blob_meta *m, const struct err *err) {
    *(err ? &lost : &won) += 1;
    assert_true(!err || err->code == ERR_FAILED_PRECONDITION);
}

static void raced_write(struct blob_write *w, const struct err *err) {
    assert_null(err);
}

static void test_one_of_many_concurrent_creates_wins(void **state) {
    struct brig *r = *state;
    struct blob_upload *u[RACERS];
    struct blob_write w[RACERS];
    struct blob_finish f[RACERS];
    won = lost = 0;
    for (int i = 0; i < RACERS; i++) {
        struct blob_put put = {
            .bucket = STR("bkt"), .name = STR("race"), .size = -1, .pre.has_gen = true};
        u[i] = blob_upload_new(r->blob, &put);
        w[i] = (struct blob_write){.bytes = STR("x"), .cb = raced_write};
        f[i] = (struct blob_finish){.cb = raced};
        blob_upload_write(u[i], &w[i]);
        blob_upload_finish(u[i], &f[i]); /* queued behind the write */
    }
    while (won + lost < RACERS) {
        loop_turn(r->loop);
    }
    assert_int_equal(won, 1);
    for (int i = 0; i < RACERS; i++) {
        blob_upload_unref(u[i]);
    }
}

static void test_a_file_changed_behind_our_back_is_a_new_generation(void **state) {
    struct brig *r = *state;
    struct blob_meta a, b;
    char *data;
    assert_true(brig_put(r, "bkt", STR("f.json"), STR("old"), NULL, &a));
    write_file(r, "bkt/f.json", "newer");
    assert_true(brig_get(r, "bkt", STR("f.json"), &b, &data));
    assert_string_equal(data, "newer");
    assert_true(b.generation > a.generation && b.crc32c != a.crc32c);
    free(data);
    auto_free char *path = xasprintf("%s/buckets/bkt/f.json", r->dir);
    unlink(path);
    assert_false(brig_get(r, "bkt", STR("f.json"), NULL, NULL));
    assert_int_equal(r->err.code, ERR_NOT_FOUND);
}

static void test_checksums_of_a_settled_file_are_remembered(void **state) {
    struct brig *r = *state;
    struct blob_meta m;
    write_file(r, "bkt/old", "settled");
    /* A file counts as settled two seconds after its last change; the record is keyed by the change
     * time, so an older row is made here by hand instead of waiting. */
    assert_true(brig_get(r, "bkt", STR("old"), &m, NULL));
    assert_true(m.has_crc32c && m.has_md5);
    struct blob_req req;
    blob_req_init(&req);
    req.bucket = STR("bkt");
    req.max = 10;
    assert_true(brig_call(r, &req, blob_object_list));
    assert_int_equal(req.nr_items, 1);
    assert_false(req.items[0].meta->has_crc32c); /* too young to be remembered */
    assert_int_equal(req.items[0].meta->generation, m.generation);
    blob_req_fini(&req);
}

static void test_delete_prunes_empty_folders_but_not_the_bucket(void **state) {
    struct brig *r = *state;
    assert_true(brig_put(r, "bkt", STR("x/y/z"), STR("1"), NULL, NULL));
    assert_true(brig_put(r, "bkt", STR("x/k"), STR("1"), NULL, NULL));
    assert_true(brig_delete(r, "bkt", STR("x/y/z")));
    auto_free char *x = xasprintf("%s/buckets/bkt/x", r->dir), *y = xasprintf("%s/y", x),
                   *k = xasprintf("%s/buckets/bkt", r->dir);
    assert_int_equal(access(y, F_OK), -1);
    assert_int_equal(access(x, F_OK), 0);
    assert_true(brig_delete(r, "bkt", STR("x/k")));
    assert_int_equal(access(x, F_OK), -1);
    assert_int_equal(access(k, F_OK), 0);
    assert_false(brig_delete(r, "bkt", STR("x/k")));
}

static void test_uploads_to_no_bucket_leave_nothing(void **state) {
    struct brig *r = *state;
    assert_false(brig_put(r, "nobkt", STR("x"), STR("1"), NULL, NULL));
    assert_int_equal(r->err.code, ERR_NOT_FOUND);
    assert_false(brig_put(r, "../up", STR("x"), STR("1"), NULL, NULL));
    assert_int_equal(r->err.code, ERR_INVALID_ARGUMENT);
}

static void session_cb(struct blob_session *s, const struct err *err) {
    struct brig *r = s->arg;
    r->err = err ? *err : (struct err){0};
    r->done = true;
}

static void write_cb(struct blob_write *w, const struct err *err) {
    struct brig *r = w->arg;
    r->err = err ? *err : (struct err){0};
    r->done = true;
}

static void finish_cb(struct blob_finish *f, const struct blob_meta *m, const struct err *err) {
    struct brig *r = f->arg;
    r->err = err ? *err : (struct err){0};
    r->done = true;
}

static void test_the_newest_request_owns_a_session(void **state) {
    struct brig *r = *state;
    struct blob_put put = {.bucket = STR("bkt"), .name = STR("s"), .size = -1};
    struct blob_session a = {.cb = session_cb, .arg = r}, b = a;
    blob_session_start(r->blob, &a, &put);
    brig_wait(r);
    assert_non_null(a.upload);
    auto_free char *id = xstrdup(blob_upload_id(a.upload));
    b.id = str_of(id);
    blob_session_resume(r->blob, &b);
    brig_wait(r);
    assert_ptr_equal(a.upload, b.upload);
    struct blob_write w = {.bytes = STR("old"), .epoch = a.epoch, .cb = write_cb, .arg = r};
    blob_upload_write(a.upload, &w);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_ABORTED);
    w.bytes = STR("new");
    w.epoch = b.epoch;
    blob_upload_write(b.upload, &w);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_OK);
    struct blob_finish f = {.epoch = a.epoch, .cb = finish_cb, .arg = r};
    blob_upload_finish(a.upload, &f);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_ABORTED);
    f.epoch = b.epoch;
    blob_upload_finish(b.upload, &f);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_OK);
    blob_upload_unref(a.upload);
    blob_upload_unref(b.upload);
    char *data;
    assert_true(brig_get(r, "bkt", STR("s"), NULL, &data));
    assert_string_equal(data, "new");
    free(data);
}

static void test_sessions_live_over_a_restart_and_orphans_do_not(void **state) {
    struct brig *r = *state;
    struct blob_put put = {.bucket = STR("bkt"), .name = STR("s"), .size = -1};
    struct blob_session a = {.cb = session_cb, .arg = r};
    blob_session_start(r->blob, &a, &put);
    brig_wait(r);
    auto_free char *id = xstrdup(blob_upload_id(a.upload));
    struct blob_write w = {
        .bytes = STR("12345"), .epoch = a.epoch, .sync = true, .cb = write_cb, .arg = r};
    blob_upload_write(a.upload, &w);
    brig_wait(r);
    blob_upload_unref(a.upload);
    brig_stop(r);
    auto_free char *t = xasprintf("%s/uploads/t-crashed", r->dir),
                   *s = xasprintf("%s/uploads/r-crashed", r->dir);
    close(open(t, O_CREAT | O_WRONLY, 0600));
    close(open(s, O_CREAT | O_WRONLY, 0600));
    brig_start(r);
    a.id = str_of(id);
    blob_session_resume(r->blob, &a);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_OK);
    assert_int_equal(blob_upload_offset(a.upload), 5);
    blob_upload_unref(a.upload);
    a.id = str_of(id);
    blob_session_cancel(r->blob, &a);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_OK);
    blob_session_resume(r->blob, &a);
    brig_wait(r);
    assert_int_equal(r->err.code, ERR_NOT_FOUND);
    while (
        brig_uploads(r)) { /* the sweep runs by itself; the suite's deadline ends a wait in vain */
        loop_turn(r->loop);
    }
}

static void test_open_sessions_are_limited(void **state) {
    struct brig *r = *state;
    struct blob_put put = {.bucket = STR("bkt"), .name = STR("s"), .size = -1};
    struct blob_session a = {.cb = session_cb, .arg = r};
    struct limits before = limits;
    limits.max_open_uploads = 2;
    char ids[2][40];
    for (int i = 0; i < 3; i++) {
        blob_session_start(r->blob, &a, &put);
        brig_wait(r);
        assert_int_equal(r->err.code, i < 2 ? ERR_OK : ERR_RESOURCE_EXHAUSTED);
        if (i < 2) {
            snprintf(ids[i], sizeof(ids[i]), "%s", blob_upload_id(a.upload));
            blob_upload_unref(a.upload);
        }
    }
    assert_non_null(strstr(r->err.msg, "max_open_uploads"));
    for (int i = 0; i < 2; i++) {
        a.id = str_of(ids[i]);
        blob_session_cancel(r->blob, &a);
        brig_wait(r);
        assert_int_equal(r->err.code, ERR_OK);
    }
    limits = before;
}

/* A real full file system: the error says so, old objects stay readable, room makes it work again.
 */
static void test_full_disk(void **state) {
    struct brig r = {0};
    brig_make_dir(r.dir);
    if (mount("cusp-test", r.dir, "tmpfs", 0, "size=4m") < 0) {
        print_message("SKIPPED: cannot mount a tmpfs (%s)\n", strerror(errno));
        rmdir(r.dir);
        skip();
    }
    brig_start(&r);
    assert_true(brig_bucket(&r, "bkt"));
    assert_true(brig_put(&r, "bkt", STR("before"), STR("safe"), NULL, NULL));
    size_t n = 8 << 20;
    auto_free char *big = xcalloc(1, n);
    assert_false(brig_put(&r, "bkt", STR("big"), str_n(big, n), NULL, NULL));
    assert_int_equal(r.err.code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(r.err.sys, ENOSPC);
    char *data;
    assert_true(brig_get(&r, "bkt", STR("before"), NULL, &data));
    assert_string_equal(data, "safe");
    free(data);
    while (brig_uploads(&r)) {
        loop_turn(r.loop);
    }
    assert_false(brig_get(&r, "bkt", STR("big"), NULL, NULL));
    assert_true(brig_put(&r, "bkt", STR("after"), str_n(big, 100000), NULL, NULL));
    brig_stop(&r);
    assert_int_equal(umount2(r.dir, MNT_DETACH), 0);
    rmdir(r.dir);
}

static void expect_expanded(struct brig *r, const char *uri, const char *want) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const char **uris;
    size_t n;
    struct err err;
    if (blob_expand_uri(r->blob, uri, 3, a, &uris, &n, &err)) {
        buf_puts(&b, err.msg);
    } else {
        for (size_t i = 0; i < n; i++) {
            buf_printf(&b, "%s ", uris[i]);
        }
    }
    assert_string_equal(buf_cstr(&b), want);
}

static void test_objects_by_uri(void **state) {
    struct brig *r = *state;
    struct err err;
    uint64_t size;
    int fd;
    assert_true(brig_put(r, "bkt", STR("uri/part-2.csv"), STR("bytes"), NULL, NULL));
    assert_true(brig_put(r, "bkt", STR("uri/part-1.csv"), STR("by"), NULL, NULL));
    assert_true(brig_put(r, "bkt", STR("uri/deep/part-3.csv"), STR(""), NULL, NULL));
    expect_expanded(r, "gs://bkt/uri/part-2.csv", "gs://bkt/uri/part-2.csv ");
    expect_expanded(r, "gs://bkt/uri/part-*.csv",
                    "gs://bkt/uri/part-1.csv gs://bkt/uri/part-2.csv ");
    expect_expanded(
        r, "gs://bkt/uri/**.csv",
        "gs://bkt/uri/deep/part-3.csv gs://bkt/uri/part-1.csv gs://bkt/uri/part-2.csv ");
    expect_expanded(r, "gs://bkt/uri/x*", "No object matches gs://bkt/uri/x*.");
    expect_expanded(r, "gs://bkt/uri/x", "There is no object gs://bkt/uri/x.");
    expect_expanded(r, "gs://bkt/uri", "There is no object gs://bkt/uri.");
    assert_true(brig_put(r, "bkt", STR("uri/4.csv"), STR(""), NULL, NULL));
    expect_expanded(r, "gs://bkt/uri/**", "\"gs://bkt/uri/**\" stands for more than 3 objects");
    assert_int_equal(blob_object_open(r->blob, "gs://bkt/uri/part-2.csv", &fd, &size, &err), 0);
    assert_int_equal(size, 5);
    close(fd);
    assert_int_equal(blob_object_open(r->blob, "gs://nowhere/uri", &fd, &size, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(blob_object_open(r->blob, "gs://bkt", &fd, &size, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(blob_object_open(r->blob, "/etc/passwd", &fd, &size, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_true(blob_uri_is_ours(r->blob, "gs://bkt/whatever"));
    assert_false(blob_uri_is_ours(r->blob, "gs://nowhere/whatever"));
}

int main(void) {
    alarm(60);
#define T(t) cmocka_unit_test_setup_teardown(t, start, stop)
    const struct CMUnitTest tests[] = {
        T(test_checksums_are_the_published_vectors),
        T(test_stored_bytes_come_back_after_a_restart),
        T(test_generations_only_grow),
        T(test_preconditions_decide_under_the_lock),
        T(test_one_of_many_concurrent_creates_wins),
        T(test_a_file_changed_behind_our_back_is_a_new_generation),
        T(test_checksums_of_a_settled_file_are_remembered),
        T(test_delete_prunes_empty_folders_but_not_the_bucket),
        T(test_objects_by_uri),
        T(test_uploads_to_no_bucket_leave_nothing),
        T(test_the_newest_request_owns_a_session),
        T(test_sessions_live_over_a_restart_and_orphans_do_not),
        T(test_open_sessions_are_limited),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
