/* Root file system imports, the dangers of archives, names, resolving, users, removal. Archives are
 * written on the fly. Owners are compared only as root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/vec.h"
#include "engine/image/image.h"
#include "sys/files.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char *store_dir, *tar;
    struct image_store *s;
    struct arena *a;
    struct err err;
};

/* type: 'f' file, 'd' directory, 'l' symbolic link, 'h' hard link, 'c' device, 'p' pipe */
struct item {
    char type;
    const char *path, *text; /* content or target */
    unsigned mode;
};

static void write_tar(const char *path, int filter, const struct item *items, size_t n) {
    struct archive *ar = archive_write_new();
    assert_int_equal(archive_write_add_filter(ar, filter), ARCHIVE_OK);
    assert_int_equal(archive_write_set_format_pax_restricted(ar), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(ar, path), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        size_t len = items[i].type == 'f' && items[i].text != NULL ? strlen(items[i].text) : 0;
        archive_entry_set_pathname(e, items[i].path);
        archive_entry_set_perm(e, items[i].mode != 0 ? items[i].mode : 0755);
        archive_entry_set_uid(e, 1234);
        archive_entry_set_gid(e, 4321);
        archive_entry_set_mtime(e, 1000000000, 0);
        archive_entry_set_size(e, (la_int64_t)len);
        switch (items[i].type) {
        case 'd':
            archive_entry_set_filetype(e, AE_IFDIR);
            break;
        case 'l':
            archive_entry_set_filetype(e, AE_IFLNK);
            archive_entry_set_symlink(e, items[i].text);
            break;
        case 'h':
            archive_entry_set_filetype(e, AE_IFREG);
            archive_entry_set_hardlink(e, items[i].text);
            break;
        case 'c':
            archive_entry_set_filetype(e, AE_IFCHR);
            archive_entry_set_rdevmajor(e, 1);
            archive_entry_set_rdevminor(e, 3);
            break;
        case 'p':
            archive_entry_set_filetype(e, AE_IFIFO);
            break;
        default:
            archive_entry_set_filetype(e, AE_IFREG);
            archive_entry_xattr_add_entry(e, "user.kept", "1", 1);
            archive_entry_xattr_add_entry(e, "trusted.overlay.redirect", "/etc", 4);
            break;
        }
        assert_true(archive_write_header(ar, e) >= ARCHIVE_WARN);
        if (len > 0) {
            assert_int_equal(archive_write_data(ar, items[i].text, len), len);
        }
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(ar), ARCHIVE_OK);
    archive_write_free(ar);
}

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof(*f));
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/cusp-image-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->store_dir = xasprintf("%s/images", f->dir);
    f->tar = xasprintf("%s/x.tar", f->dir);
    f->a = arena_new(ARENA_NO_MAX);
    f->s = image_store_open(f->store_dir, &f->err);
    assert_non_null(f->s);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    image_store_close(f->s);
    assert_int_equal(file_remove_tree(AT_FDCWD, f->dir, NULL), 0);
    arena_free(f->a);
    free(f->store_dir);
    free(f->tar);
    free(f);
    return 0;
}

static size_t count_in(struct fixture *f, const char *sub) {
    DIR *d = opendir(arena_printf(f->a, "%s/%s", f->store_dir, sub));
    size_t n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(d);
    return n;
}

static int import(struct fixture *f, const struct item *items, size_t n, const char *name,
                  struct image *ret) {
    write_tar(f->tar, ARCHIVE_FILTER_NONE, items, n);
    err_clear(&f->err);
    return image_import(f->s, f->tar, name, ret, f->a, &f->err);
}

static void expect_refused(struct fixture *f, const struct item *items, size_t n,
                           const char *text) {
    struct image img;
    assert_int_equal(import(f, items, n, "evil", &img), -1);
    if (strstr(f->err.msg, text) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", text, f->err.msg);
    }
    assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(count_in(f, "layers"), 0);
    assert_int_equal(count_in(f, "records"), 0);
    assert_int_equal(count_in(f, "tmp"), 0);
    assert_int_equal(image_resolve(f->s, f->a, "evil", &img, &f->err), -1);
}

static const char *slurp(struct fixture *f, const char *path) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(file_read(AT_FDCWD, path, &b, &f->err), 0);
    return arena_strdup(f->a, buf_cstr(&b));
}

static const struct item plain[] = {
    {'d', "./", NULL, 0755},
    {'d', "./etc/", NULL, 0755},
    {'f', "./etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:1000:1000::/home/u:/bin/sh\n",
     0644},
    {'f', "./etc/group", "root:x:0:\nu:x:1000:\nvideo:x:44:a,u\nother:x:45:uu\n", 0644},
    {'f', "./bin/tool", "#!/bin/sh\n", 04755},
    {'l', "./bin/link", "/etc/passwd"},
    {'h', "./bin/again", "./bin/tool"},
    {'c', "./dev/null", NULL},
    {'f', "./na\xc3\xafve/\xe6\x96\x87\xff", "bytes", 0600},
};

static void test_root_file_system_becomes_an_image(void **state) {
    struct fixture *f = *state;
    struct image img, again;
    struct stat st, other;
    assert_int_equal(import(f, plain, NR_OF(plain), "base:latest", &img), 0);
    assert_string_equal(img.ref, "base");
    assert_string_equal(img.workdir, "/");
    assert_string_equal(img.user, "");
    assert_null(img.cmd[0]);
    assert_memory_equal(img.env[0], "PATH=", 5);
    assert_non_null(img.layers[0]);
    assert_null(img.layers[1]);
    assert_true(img.size_bytes > 0);
    const char *root = img.layers[0];
    assert_int_equal(root[0], '/');
    assert_int_equal(lstat(arena_printf(f->a, "%s/bin/tool", root), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755); /* not set-user-id any more */
    assert_int_equal(st.st_mtime, 1000000000);
    assert_int_equal(lstat(arena_printf(f->a, "%s/bin/again", root), &other), 0);
    assert_int_equal(st.st_ino, other.st_ino);
    assert_int_equal(lstat(arena_printf(f->a, "%s/bin/link", root), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(arena_printf(f->a, "%s/dev/null", root), &st), -1);
    assert_string_equal(slurp(f, arena_printf(f->a, "%s/na\xc3\xafve/\xe6\x96\x87\xff", root)),
                        "bytes");
    if (geteuid() == 0) {
        assert_int_equal(other.st_uid, 1234);
        assert_int_equal(other.st_gid, 4321);
    }
    char value[8];
    ssize_t n =
        getxattr(arena_printf(f->a, "%s/bin/tool", root), "user.kept", value, sizeof(value));
    assert_true(n == 1 || (n < 0 && errno == ENOTSUP));
    assert_true(getxattr(arena_printf(f->a, "%s/bin/tool", root), "trusted.overlay.redirect", value,
                         sizeof(value)) < 0);
    assert_int_equal(image_resolve(f->s, f->a, "docker.io/library/base:latest", &again, &f->err),
                     0);
    assert_string_equal(again.digest, img.digest);
    assert_int_equal(image_resolve(f->s, f->a, img.digest, &again, &f->err), 0);
}

static void test_same_import_twice_is_one_image_and_one_layer(void **state) {
    struct fixture *f = *state;
    struct image one, two, three;
    assert_int_equal(import(f, plain, NR_OF(plain), "a", &one), 0);
    assert_int_equal(import(f, plain, NR_OF(plain), "b", &two), 0);
    assert_string_equal(one.digest, two.digest);
    const char *cmd[] = {"python3", NULL}, *env[] = {"PATH=/x", "A=b", NULL};
    struct image_config c = {.cmd = cmd, .env = env, .workdir = "/w", .user = "u"};
    assert_int_equal(image_import_with(f->s, f->tar, "c", &c, &three, f->a, &f->err), 0);
    assert_string_not_equal(one.digest, three.digest);
    assert_string_equal(one.layers[0], three.layers[0]);
    assert_string_equal(three.cmd[0], "python3");
    assert_string_equal(three.env[0], "PATH=/x");
    assert_string_equal(three.workdir, "/w");
    assert_int_equal(count_in(f, "layers"), 2); /* the layer and its size */
    assert_int_equal(count_in(f, "records"), 2);
}

static void test_compressed_archives_give_the_same_layer(void **state) {
    struct fixture *f = *state;
    static const int filters[] = {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD,
                                  ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_BZIP2};
    struct image first = {0}, img;
    for (size_t i = 0; i < NR_OF(filters); i++) {
        write_tar(f->tar, filters[i], plain, NR_OF(plain));
        assert_int_equal(image_import(f->s, f->tar, "z", &img, f->a, &f->err), 0);
        if (i == 0) {
            first = img;
        }
        assert_string_equal(img.layers[0], first.layers[0]);
    }
}

static void test_paths_that_leave_the_root_are_refused(void **state) {
    struct fixture *f = *state;
    const struct item up[] = {{'d', "a", NULL}, {'f', "a/../../evil", "x"}};
    expect_refused(f, up, NR_OF(up), "\"..\"");
    const struct item absolute[] = {{'f', "/tmp/evil", "x"}};
    expect_refused(f, absolute, NR_OF(absolute), "absolute path");
    const struct item link_up[] = {{'f', "a", "x"}, {'h', "b", "../../etc/passwd"}};
    expect_refused(f, link_up, NR_OF(link_up), "\"..\"");
    const struct item link_abs[] = {{'h', "b", "/etc/passwd"}};
    expect_refused(f, link_abs, NR_OF(link_abs), "absolute path");
}

static void test_writing_through_a_link_is_refused(void **state) {
    struct fixture *f = *state;
    const char *outside = arena_printf(f->a, "%s/outside", f->dir);
    assert_int_equal(mkdir(outside, 0755), 0);
    const struct item abs[] = {{'l', "way", outside}, {'f', "way/evil", "x"}};
    expect_refused(f, abs, NR_OF(abs), "symbolic link");
    const struct item rel[] = {{'d', "real", NULL}, {'l', "way", "real"}, {'d', "way/sub", NULL}};
    expect_refused(f, rel, NR_OF(rel), "symbolic link");
    const struct item mid[] = {{'l', "a", ".."}, {'f', "a/b/c/evil", "x"}};
    expect_refused(f, mid, NR_OF(mid), "symbolic link");
    const struct item from[] = {{'l', "way", outside}, {'h', "got", "way/secret"}};
    expect_refused(f, from, NR_OF(from), "symbolic link");
    /* a file in a link's place replaces the link, not what it points to */
    const struct item same[] = {{'l', "f", arena_printf(f->a, "%s/made", outside)},
                                {'f', "f", "x"}};
    struct image img;
    assert_int_equal(import(f, same, NR_OF(same), "ok", &img), 0);
    assert_string_equal(slurp(f, arena_printf(f->a, "%s/f", img.layers[0])), "x");
    assert_int_equal(rmdir(outside), 0); /* still empty */
}

static void test_hard_link_to_a_link_does_not_follow_it(void **state) {
    struct fixture *f = *state;
    const struct item items[] = {{'l', "l", "/etc/passwd"}, {'h', "h", "l"}};
    struct image img;
    struct stat st;
    assert_int_equal(import(f, items, NR_OF(items), "hl", &img), 0);
    assert_int_equal(lstat(arena_printf(f->a, "%s/h", img.layers[0]), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void test_confused_trees_are_refused(void **state) {
    struct fixture *f = *state;
    const struct item below[] = {{'f', "a", "x"}, {'f', "a/b", "y"}};
    expect_refused(f, below, NR_OF(below), "below a file");
    const struct item over[] = {{'f', "a/b", "y"}, {'f', "a", "x"}};
    expect_refused(f, over, NR_OF(over), "not empty");
    const struct item nowhere[] = {{'h', "a", "missing"}};
    expect_refused(f, nowhere, NR_OF(nowhere), "not in the archive");
    const struct item none[] = {{'f', "a", "x"}, {'f', ".", "x"}};
    expect_refused(f, none, NR_OF(none), "root is not a directory");
}

static void test_later_entries_replace_earlier_ones(void **state) {
    struct fixture *f = *state;
    const struct item items[] = {{'f', "a", "old"}, {'f', "a", "new"}, {'d', "e", NULL},
                                 {'l', "e", "a"},   {'p', "q", NULL},  {'d', "q", NULL}};
    struct image img;
    struct stat st;
    assert_int_equal(import(f, items, NR_OF(items), "dup", &img), 0);
    assert_string_equal(slurp(f, arena_printf(f->a, "%s/a", img.layers[0])), "new");
    assert_int_equal(lstat(arena_printf(f->a, "%s/e", img.layers[0]), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(arena_printf(f->a, "%s/q", img.layers[0]), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
}

static void test_read_only_directories_can_still_be_filled(void **state) {
    struct fixture *f = *state;
    const struct item items[] = {
        {'d', "ro", NULL, 0555}, {'f', "ro/x", "y"}, {'d', "ro/d", NULL, 0500}};
    struct image img;
    struct stat st;
    assert_int_equal(import(f, items, NR_OF(items), "ro", &img), 0);
    assert_int_equal(lstat(arena_printf(f->a, "%s/ro", img.layers[0]), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0555);
}

static void test_limits_hold_at_n_and_refuse_n_plus_one(void **state) {
    struct fixture *f = *state;
    const struct limits saved = limits;
    struct image img;
    /* A layer that is here already is not unpacked again, so the refusal has to come first. */
    limits.image_max_entries = NR_OF(plain) - 1;
    int refused = import(f, plain, NR_OF(plain), "n", &img);
    const struct err why = f->err;
    int fewer = import(f, plain, NR_OF(plain) - 1, "n", &img);
    limits.image_max_entries = NR_OF(plain);
    int exact = import(f, plain, NR_OF(plain), "n", &img);
    limits = saved; /* before anything can fail: the tests after this one share them */
    assert_int_equal(refused, -1);
    assert_int_equal(fewer, 0);
    assert_int_equal(exact, 0);
    assert_int_equal(why.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(why.msg, "image_max_entries"));
}

static void test_a_size_past_the_limit_is_refused_before_its_bytes_come(void **state) {
    struct fixture *f = *state;
    const struct limits saved = limits;
    char *text = xcalloc(1, (2 << 20) + 1);
    memset(text, 'a', 2 << 20);
    const struct item items[] = {{'f', "big", text}};
    struct image img;
    write_tar(f->tar, ARCHIVE_FILTER_NONE, items, 1);
    free(text);
    limits.image_max_bytes = 3 << 20;
    assert_int_equal(image_import(f->s, f->tar, "big", &img, f->a, &f->err), 0);
    assert_int_equal(truncate(f->tar, 4096), 0); /* what follows would be "truncated" */
    limits.image_max_bytes = (2 << 20) - 1;
    assert_int_equal(image_import(f->s, f->tar, "big", &img, f->a, &f->err), -1);
    limits = saved;
    assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(f->err.msg, "image_max_bytes"));
}

static void test_compression_bomb_stops_at_the_limit(void **state) {
    struct fixture *f = *state;
    const struct limits saved = limits;
    char *zeros = xcalloc(1, 4 << 20);
    memset(zeros, 'a', (4 << 20) - 1);
    const struct item items[] = {{'f', "zeros", zeros}};
    struct image img;
    write_tar(f->tar, ARCHIVE_FILTER_GZIP, items, 1);
    limits.image_max_bytes = 1 << 20;
    assert_int_equal(image_import(f->s, f->tar, "bomb", &img, f->a, &f->err), -1);
    assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
    limits = saved;
    assert_int_equal(count_in(f, "tmp"), 0);
    free(zeros);
}

static void test_damaged_archives_are_refused_and_leave_nothing(void **state) {
    struct fixture *f = *state;
    struct image img;
    struct stat st;
    static const int filters[] = {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD};
    for (size_t i = 0; i < NR_OF(filters); i++) {
        write_tar(f->tar, filters[i], plain, NR_OF(plain));
        assert_int_equal(stat(f->tar, &st), 0);
        off_t cut = filters[i] == ARCHIVE_FILTER_NONE ? 2000 : st.st_size / 2;
        assert_int_equal(truncate(f->tar, cut), 0);
        err_clear(&f->err);
        assert_int_equal(image_import(f->s, f->tar, "cut", &img, f->a, &f->err), -1);
        assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
        assert_int_equal(count_in(f, "layers"), 0);
        assert_int_equal(count_in(f, "tmp"), 0);
    }
    static const char *const junk[] = {"", "hello, this is not a tar archive at all\n"};
    for (size_t i = 0; i < NR_OF(junk); i++) {
        assert_int_equal(
            file_write_atomic(AT_FDCWD, f->tar, str_of(junk[i]), 0600, FILE_NO_SYNC, NULL), 0);
        err_clear(&f->err);
        assert_int_equal(image_import(f->s, f->tar, "junk", &img, f->a, &f->err), -1);
        assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    }
    assert_int_equal(image_import(f->s, "/nonexistent/x.tar", "junk", &img, f->a, &f->err), -1);
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
}

static void test_bad_names_and_configurations_are_refused(void **state) {
    struct fixture *f = *state;
    struct image img;
    static const char *const names[] = {"", "a b", "-a", "/a", "a\nb", "a@sha256:00", "\xc3\xa9"};
    for (size_t i = 0; i < NR_OF(names); i++) {
        assert_int_equal(import(f, plain, NR_OF(plain), names[i], &img), -1);
        assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(f->err.field, "name");
    }
    assert_int_equal(import(f, plain, NR_OF(plain), NULL, &img), -1);
    assert_string_equal(f->err.field, "name");
    const char *env[] = {"=x", NULL};
    struct image_config c = {.env = env};
    assert_int_equal(image_import_with(f->s, f->tar, "x", &c, &img, f->a, &f->err), -1);
    c = (struct image_config){.workdir = "relative"};
    assert_int_equal(image_import_with(f->s, f->tar, "x", &c, &img, f->a, &f->err), -1);
    assert_int_equal(count_in(f, "layers"), 0);
}

static void test_published_training_uris_find_the_local_image(void **state) {
    struct fixture *f = *state;
    struct image img;
    static const char *const uris[] = {
        "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest",
        "europe-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-0:latest",
        "asia-docker.pkg.dev/vertex-ai/training/sklearn-gpu.1-6",
        "us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.0-23:latest",
        "gcr.io/cloud-aiplatform/training/scikit-learn-cpu.0-23:latest",
    };
    for (size_t i = 0; i < NR_OF(uris); i++) {
        err_clear(&f->err);
        assert_int_equal(image_resolve(f->s, f->a, uris[i], &img, &f->err), -1);
        assert_int_equal(f->err.code, ERR_NOT_FOUND);
        assert_non_null(strstr(f->err.msg, uris[i]));
        assert_non_null(strstr(f->err.msg, "cusp images build sklearn-cpu"));
    }
    assert_int_equal(import(f, plain, NR_OF(plain), "sklearn-cpu", &img), 0);
    for (size_t i = 0; i < NR_OF(uris); i++) {
        assert_int_equal(image_resolve(f->s, f->a, uris[i], &img, &f->err), 0);
        assert_string_equal(img.ref, "sklearn-cpu");
    }
    /* the exact name is better than the family's */
    const struct item other[] = {{'f', "only", "this"}};
    assert_int_equal(import(f, other, 1, "sklearn-cpu.1-6", &img), 0);
    assert_int_equal(image_resolve(f->s, f->a, uris[0], &img, &f->err), 0);
    assert_string_equal(img.ref, "sklearn-cpu.1-6");
    assert_int_equal(image_resolve(f->s, f->a, uris[1], &img, &f->err), 0);
    assert_string_equal(img.ref, "sklearn-cpu");
    static const char *const unknown[] = {
        "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest",
        "us-docker.pkg.dev/vertex-ai/training/never-heard.1-0:latest",
        "us-docker.pkg.dev/other/training/sklearn-cpu.1-6:latest",
        "us-docker.pkg.dev/vertex-ai/training/",
        "",
        "sha256:00",
        "sklearn",
        "sklearn-cpu:v2",
    };
    for (size_t i = 0; i < NR_OF(unknown); i++) {
        assert_int_equal(image_resolve(f->s, f->a, unknown[i], &img, &f->err), -1);
        assert_int_equal(f->err.code, ERR_NOT_FOUND);
    }
    assert_int_equal(image_resolve(f->s, f->a, unknown[0], &img, &f->err), -1);
    assert_non_null(strstr(f->err.msg, "cusp images build tf-cpu"));
}

static void test_configured_alias_wins_and_the_later_one_more(void **state) {
    struct fixture *f = *state;
    struct image img;
    const struct item other[] = {{'f', "only", "this"}};
    assert_int_equal(import(f, plain, NR_OF(plain), "sklearn-cpu", &img), 0);
    assert_int_equal(import(f, other, 1, "mine", &img), 0);
    assert_int_equal(
        image_store_add_alias(f->s, "*-docker.pkg.dev/vertex-ai/training/*", "mine", &f->err), 0);
    const char *uri = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest";
    assert_int_equal(image_resolve(f->s, f->a, uri, &img, &f->err), 0);
    assert_string_equal(img.ref, "mine");
    assert_int_equal(image_store_add_alias(f->s, "us-docker.pkg.dev/*/training/sklearn-cpu.*",
                                           "absent", &f->err),
                     0);
    assert_int_equal(image_resolve(f->s, f->a, uri, &img, &f->err), -1);
    assert_non_null(strstr(f->err.msg, "--name=absent"));
    assert_int_equal(
        image_resolve(f->s, f->a, "us-docker.pkg.dev/vertex-ai/training/a/b", &img, NULL), -1);
}

static void test_images_survive_reopening_and_garbage_does_not(void **state) {
    struct fixture *f = *state;
    struct image img, *list;
    size_t n;
    assert_int_equal(import(f, plain, NR_OF(plain), "keep", &img), 0);
    image_store_close(f->s);
    static const char *const garbage[] = {"tmp/dead/x", "layers/00ff/y", "records"};
    for (size_t i = 0; i < NR_OF(garbage); i++) {
        assert_int_equal(file_mkdirs(AT_FDCWD,
                                     arena_printf(f->a, "%s/%s", f->store_dir, garbage[i]), 0755,
                                     NULL),
                         0);
    }
    assert_int_equal(file_write_atomic(AT_FDCWD, arena_printf(f->a, "%s/records/abc", f->store_dir),
                                       STR("junk"), 0600, FILE_NO_SYNC, NULL),
                     0);
    f->s = image_store_open(f->store_dir, &f->err);
    assert_non_null(f->s);
    assert_int_equal(count_in(f, "tmp"), 0);
    assert_int_equal(count_in(f, "layers"), 2);
    assert_int_equal(count_in(f, "records"), 1);
    assert_int_equal(image_list(f->s, f->a, &list, &n, &f->err), 0);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].ref, "keep");
    assert_string_equal(list[0].digest, img.digest);
}

static bool always(void *arg, const char *digest) {
    *(const char **)arg = digest;
    return true;
}

static void test_removal_keeps_what_others_use(void **state) {
    struct fixture *f = *state;
    struct image a, b, got;
    const char *asked = NULL, *cmd[] = {"x", NULL};
    struct image_config c = {.cmd = cmd};
    assert_int_equal(import(f, plain, NR_OF(plain), "a", &a), 0);
    assert_int_equal(image_import_with(f->s, f->tar, "b", &c, &b, f->a, &f->err), 0);
    assert_int_equal(image_remove(f->s, "a", always, &asked, &f->err), -1);
    assert_int_equal(f->err.code, ERR_FAILED_PRECONDITION);
    assert_non_null(asked);
    assert_int_equal(image_resolve(f->s, f->a, "a", &got, &f->err), 0);
    assert_int_equal(image_remove(f->s, "a", NULL, NULL, &f->err), 0);
    assert_int_equal(image_resolve(f->s, f->a, "a", &got, &f->err), -1);
    assert_int_equal(image_resolve(f->s, f->a, "b", &got, &f->err), 0);
    assert_int_equal(access(got.layers[0], F_OK), 0);
    assert_int_equal(image_remove(f->s, "b", NULL, NULL, &f->err), 0);
    assert_int_equal(count_in(f, "layers"), 0);
    assert_int_equal(count_in(f, "records"), 0);
    assert_int_equal(image_remove(f->s, "b", NULL, NULL, &f->err), -1);
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
}

static void test_user_is_looked_up_in_the_image(void **state) {
    struct fixture *f = *state;
    struct image img;
    struct image_user u;
    static const struct {
        const char *user;
        uint32_t uid, gid;
        size_t extra;
        const char *home;
    } cases[] = {
        {"", 0, 0, 0, "/root"},
        {"u", 1000, 1000, 1, "/home/u"},
        {"1000", 1000, 1000, 1, "/home/u"},
        {"u:video", 1000, 44, 0, "/home/u"},
        {"77", 77, 0, 0, "/"},
        {"77:88", 77, 88, 0, "/"},
        {"root", 0, 0, 0, "/root"},
    };
    assert_int_equal(import(f, plain, NR_OF(plain), "users", &img), 0);
    for (size_t i = 0; i < NR_OF(cases); i++) {
        img.user = cases[i].user;
        assert_int_equal(image_lookup_user(&img, f->a, &u, &f->err), 0);
        assert_int_equal(u.uid, cases[i].uid);
        assert_int_equal(u.gid, cases[i].gid);
        assert_int_equal(u.nr_extra, cases[i].extra);
        assert_string_equal(u.home, cases[i].home);
    }
    static const char *const bad[] = {"nobody", "u:nogroup", "99999999999"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        img.user = bad[i];
        assert_int_equal(image_lookup_user(&img, f->a, &u, &f->err), -1);
        assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    }
}

static void test_account_files_behind_links_stay_inside_the_image(void **state) {
    struct fixture *f = *state;
    struct image img;
    struct image_user u;
    const char *secret = arena_printf(f->a, "%s/secret", f->dir);
    assert_int_equal(
        file_write_atomic(AT_FDCWD, secret, STR("spy:x:7:7::/spy:/\n"), 0644, FILE_NO_SYNC, NULL),
        0);
    const struct item items[] = {{'d', "etc", NULL}, {'l', "etc/passwd", secret}};
    assert_int_equal(import(f, items, NR_OF(items), "spy", &img), 0);
    img.user = "spy";
    assert_int_equal(image_lookup_user(&img, f->a, &u, &f->err), -1);
    const struct item inside[] = {{'f', "real", "in:x:7:7::/in:/\n"}, {'l', "etc/passwd", "/real"}};
    assert_int_equal(import(f, inside, NR_OF(inside), "inside", &img), 0);
    img.user = "in";
    assert_int_equal(image_lookup_user(&img, f->a, &u, &f->err), 0);
    assert_int_equal(u.uid, 7);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_root_file_system_becomes_an_image),
        T(test_same_import_twice_is_one_image_and_one_layer),
        T(test_compressed_archives_give_the_same_layer),
        T(test_paths_that_leave_the_root_are_refused),
        T(test_writing_through_a_link_is_refused),
        T(test_hard_link_to_a_link_does_not_follow_it),
        T(test_confused_trees_are_refused),
        T(test_later_entries_replace_earlier_ones),
        T(test_read_only_directories_can_still_be_filled),
        T(test_limits_hold_at_n_and_refuse_n_plus_one),
        T(test_a_size_past_the_limit_is_refused_before_its_bytes_come),
        T(test_compression_bomb_stops_at_the_limit),
        T(test_damaged_archives_are_refused_and_leave_nothing),
        T(test_bad_names_and_configurations_are_refused),
        T(test_published_training_uris_find_the_local_image),
        T(test_configured_alias_wins_and_the_later_one_more),
        T(test_images_survive_reopening_and_garbage_does_not),
        T(test_removal_keeps_what_others_use),
        T(test_user_is_looked_up_in_the_image),
        T(test_account_files_behind_links_stay_inside_the_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
