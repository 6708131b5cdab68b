/* Files that the server makes itself: aside until they are objects, whole. And reading by URI. */
#include "rig.h"

#include "base/enc.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct adoption {
    struct blob_adopt a;
    struct brig *r;
    struct blob_meta meta;
    struct err err;
};

static void adopted(struct blob_adopt *a, const struct blob_meta *meta, const struct err *err) {
    struct adoption *x = CONTAINER_OF(a, struct adoption, a);
    x->meta = meta ? *meta : (struct blob_meta){0};
    x->err = err ? *err : (struct err){0};
    x->r->done = true;
}

static void make(struct brig *r, const char *text, char id[BLOB_TEMP_ID]) {
    int fd;
    assert_int_equal(blob_temp_make(r->blob, id, &fd, NULL), 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static enum err_code adopt(struct brig *r, const char *bucket, const char *name, const char *id,
                           const char *text, uint64_t size, struct blob_meta *ret) {
    struct adoption x = {.r = r,
                         .a = {.put = {.bucket = str_of(bucket),
                                       .name = str_of(name),
                                       .content_type = STR("text/csv"),
                                       .size = (int64_t)size},
                               .id = id,
                               .size = size,
                               .crc32c = enc_crc32c(0, text, strlen(text)),
                               .cb = adopted}};
    blob_object_adopt(r->blob, &x.a);
    assert_false(r->done); /* never from within */
    brig_wait(r);
    if (ret) {
        *ret = x.meta;
    }
    return x.err.code;
}

static void rig_init(struct brig *r) {
    brig_new(r);
    assert_true(brig_bucket(r, "bkt"));
}

static void test_a_file_becomes_an_object_with_its_facts(void **state) {
    struct brig r;
    struct blob_meta m;
    char id[BLOB_TEMP_ID], *data;
    rig_init(&r);
    make(&r, "a,b\n1,2\n", id);
    assert_int_equal(brig_uploads(&r), 1);
    assert_int_equal(adopt(&r, "bkt", "x/training.csv", id, "a,b\n1,2\n", 8, &m), ERR_OK);
    assert_int_equal(m.size, 8);
    assert_true(m.has_crc32c);
    assert_int_equal(brig_uploads(&r), 0);
    assert_true(brig_get(&r, "bkt", STR("x/training.csv"), &m, &data));
    assert_string_equal(data, "a,b\n1,2\n");
    assert_int_equal(m.crc32c, enc_crc32c(0, "a,b\n1,2\n", 8));
    free(data);
    /* It replaces what has the name. */
    make(&r, "new", id);
    assert_int_equal(adopt(&r, "bkt", "x/training.csv", id, "new", 3, NULL), ERR_OK);
    assert_true(brig_get(&r, "bkt", STR("x/training.csv"), &m, &data));
    assert_string_equal(data, "new");
    free(data);
    blob_temp_drop(r.blob, id); /* harmless */
    brig_free(&r);
}

static void test_what_cannot_be_an_object_leaves_nothing(void **state) {
    struct brig r;
    char id[BLOB_TEMP_ID];
    rig_init(&r);
    make(&r, "text", id);
    assert_int_equal(adopt(&r, "none", "x", id, "text", 4, NULL), ERR_NOT_FOUND);
    make(&r, "text", id);
    assert_int_equal(adopt(&r, "bkt", "x", id, "text", 5, NULL), ERR_DATA_LOSS);
    make(&r, "text", id);
    blob_temp_drop(r.blob, id);
    assert_int_equal(adopt(&r, "bkt", "x", id, "text", 4, NULL), ERR_NOT_FOUND);
    make(&r, "aside", id); /* swept by the next start */
    brig_stop(&r);
    brig_start(&r);
    assert_int_equal(brig_uploads(&r), 0);
    struct blob_meta m;
    char *data;
    assert_false(brig_get(&r, "bkt", STR("x"), &m, &data));
    brig_free(&r);
}

static void test_objects_are_opened_by_uri_beneath_their_bucket(void **state) {
    struct brig r;
    struct err err;
    int fd;
    uint64_t size;
    char text[8] = "";
    rig_init(&r);
    assert_true(brig_put(&r, "bkt", STR("d/../o"), STR("hello"), NULL, NULL));
    assert_int_equal(blob_object_open(r.blob, "gs://bkt/d/../o", &fd, &size, &err), 0);
    assert_int_equal(size, 5);
    assert_int_equal(read(fd, text, sizeof(text)), 5);
    assert_string_equal(text, "hello");
    close(fd);
    auto_free char *link = xasprintf("%s/buckets/bkt/link", r.dir);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    static const char *const missing[] = {"gs://bkt/none", "gs://none/o", "gs://bkt/link",
                                          "gs://bkt/d", "gs://bkt/d/../o/x"};
    for (size_t i = 0; i < NR_OF(missing); i++) {
        assert_int_equal(blob_object_open(r.blob, missing[i], &fd, &size, &err), -1);
        assert_int_equal(err.code, ERR_NOT_FOUND);
    }
    assert_int_equal(blob_object_open(r.blob, "bkt/o", &fd, &size, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(blob_object_open(r.blob, "gs://bkt", &fd, &size, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    brig_free(&r);
}

#ifdef CUSP_FAILPOINTS
static void kill_at(const char *point, bool is_there) {
    struct brig r;
    struct blob_meta m;
    char *data;
    rig_init(&r);
    brig_stop(&r);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* a process reads its fail points once: a fresh one for each */
        auto_free char *arm = xasprintf("%s=abort", point);
        setenv("CUSP_FAILPOINTS", arm, 1);
        execl("/proc/self/exe", "test_adopt", r.dir, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    brig_start(&r);
    assert_int_equal(brig_get(&r, "bkt", STR("x/y"), &m, &data), is_there);
    if (is_there) {
        assert_string_equal(data, "whole");
        free(data);
    }
    assert_int_equal(brig_uploads(&r), 0);
    brig_free(&r);
}
#endif

static void test_kill_leaves_the_whole_object_or_none(void **state) {
#ifdef CUSP_FAILPOINTS
    kill_at("blob.put.before_fsync", false);
    kill_at("blob.put.before_rename", false);
    kill_at("blob.put.after_rename", true);
    kill_at("blob.put.before_answer", true);
#else
    skip();
#endif
}

int main(int argc, char **argv) {
    alarm(60);
    if (argc > 1) { /* the process that dies on the way */
        struct brig r = {0};
        char id[BLOB_TEMP_ID];
        snprintf(r.dir, sizeof(r.dir), "%s", argv[1]);
        brig_start(&r);
        make(&r, "whole", id);
        (void)adopt(&r, "bkt", "x/y", id, "whole", 5, NULL);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_becomes_an_object_with_its_facts),
        cmocka_unit_test(test_what_cannot_be_an_object_leaves_nothing),
        cmocka_unit_test(test_objects_are_opened_by_uri_beneath_their_bucket),
        cmocka_unit_test(test_kill_leaves_the_whole_object_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
