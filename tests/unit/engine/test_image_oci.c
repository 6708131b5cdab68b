/* Images that carry a configuration: OCI layouts and archives, both shapes of `docker save`, layers
 * with whiteouts, and what must be refused: wrong digests, counts, platforms, paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/image/image_int.h"
#include "sys/files.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__aarch64__)
#define ARCH "arm64"
#else
#define ARCH "amd64"
#endif

struct fixture {
    char dir[64];
    char *layout, *tar;
    struct image_store *s;
    struct arena *a;
    struct err err;
};

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof(*f));
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/cusp-oci-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->a = arena_new(ARENA_NO_MAX);
    f->layout = arena_printf(f->a, "%s/layout", f->dir);
    f->tar = arena_printf(f->a, "%s/x.tar", f->dir);
    assert_int_equal(
        file_mkdirs(AT_FDCWD, arena_printf(f->a, "%s/blobs/sha256", f->layout), 0755, NULL), 0);
    f->s = image_store_open(arena_printf(f->a, "%s/images", f->dir), &f->err);
    assert_non_null(f->s);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    image_store_close(f->s);
    assert_int_equal(file_remove_tree(AT_FDCWD, f->dir, NULL), 0);
    arena_free(f->a);
    free(f);
    return 0;
}

/* ---- making images */

static void put(struct fixture *f, const char *name, struct str bytes) {
    auto_free char *path = xasprintf("%s/%s", f->layout, name);
    auto_free char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    assert_int_equal(file_mkdirs(AT_FDCWD, dir, 0755, NULL), 0);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, bytes, 0644, FILE_NO_SYNC, &f->err), 0);
}

/* Stores bytes under their digest; returns the hex digits. */
static const char *put_blob(struct fixture *f, struct str bytes) {
    char hex[SHA256_HEX_LEN + 1];
    hash_of(bytes, hex);
    put(f, arena_printf(f->a, "blobs/sha256/%s", hex), bytes);
    return arena_strdup(f->a, hex);
}

struct file {
    const char *path, *text; /* text NULL: a directory */
};

static struct str make_tar(struct fixture *f, int filter, const struct file *files, size_t n) {
    struct archive *ar = archive_write_new();
    char *mem = arena_alloc(f->a, 1 << 16);
    size_t used = 0;
    assert_int_equal(archive_write_add_filter(ar, filter), ARCHIVE_OK);
    assert_int_equal(archive_write_set_format_pax_restricted(ar), ARCHIVE_OK);
    assert_int_equal(archive_write_set_bytes_in_last_block(ar, 1), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(ar, mem, 1 << 16, &used), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        size_t len = files[i].text != NULL ? strlen(files[i].text) : 0;
        archive_entry_set_pathname(e, files[i].path);
        archive_entry_set_filetype(e, files[i].text != NULL ? AE_IFREG : AE_IFDIR);
        archive_entry_set_perm(e, 0755);
        archive_entry_set_size(e, (la_int64_t)len);
        assert_int_equal(archive_write_header(ar, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(ar, files[i].text != NULL ? files[i].text : "", len),
                         len);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(ar), ARCHIVE_OK);
    archive_write_free(ar);
    return str_n(mem, used);
}

static const struct file lower[] = {
    {"etc", NULL},     {"etc/passwd", "root:x:0:0::/root:/\nlow:x:5:5::/l:/\n"},
    {"gone", "x"},     {"data", NULL},
    {"data/old", "o"}, {"stay", "s"}};
static const struct file upper[] = {{".wh.gone", ""},          {"data", NULL},
                                    {"data/.wh..wh..opq", ""}, {"data/new", "n"},
                                    {".wh..wh.aufs", ""},      {"etc/.wh.passwd", ""}};

struct made {
    const char *diff[2], *blob[2], *config, *manifest;
};

static const char *config_json(struct fixture *f, const struct made *m, const char *arch) {
    return arena_printf(
        f->a,
        "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"python3\",\"-m\"],"
        "\"Cmd\":[\"trainer\"],\"Env\":[\"PATH=/bin\",\"A=b\"],\"WorkingDir\":\"/"
        "work\",\"User\":\"5\"},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\",\"sha256:%s\"]}}",
        arch, m->diff[0], m->diff[1]);
}

static struct made make_layers(struct fixture *f, int filter) {
    struct made m = {0};
    struct str plain[2] = {make_tar(f, ARCHIVE_FILTER_NONE, lower, NR_OF(lower)),
                           make_tar(f, ARCHIVE_FILTER_NONE, upper, NR_OF(upper))};
    struct str packed[2] = {make_tar(f, filter, lower, NR_OF(lower)),
                            make_tar(f, filter, upper, NR_OF(upper))};
    for (size_t i = 0; i < 2; i++) {
        char hex[SHA256_HEX_LEN + 1];
        hash_of(plain[i], hex);
        m.diff[i] = arena_strdup(f->a, hex);
        m.blob[i] = put_blob(f, packed[i]);
    }
    return m;
}

static const char *put_manifest(struct fixture *f, const struct made *m) {
    return put_blob(f, str_of(arena_printf(
                           f->a,
                           "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%s\"},"
                           "\"layers\":[{\"digest\":\"sha256:%s\"},{\"digest\":\"sha256:%s\"}]}",
                           m->config, m->blob[0], m->blob[1])));
}

static void put_index(struct fixture *f, const char *manifest, const char *ref) {
    put(f, "oci-layout", STR("{\"imageLayoutVersion\":\"1.0.0\"}"));
    put(f, "index.json",
        str_of(arena_printf(f->a,
                            "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/"
                            "vnd.oci.image.manifest.v1+json\","
                            "\"digest\":\"sha256:%s\",\"size\":1,\"annotations\":{\"org."
                            "opencontainers.image.ref.name\":\"%s\"}}]}",
                            manifest, ref)));
}

static struct made make_oci(struct fixture *f, int filter, const char *ref) {
    struct made m = make_layers(f, filter);
    m.config = put_blob(f, str_of(config_json(f, &m, ARCH)));
    m.manifest = put_manifest(f, &m);
    put_index(f, m.manifest, ref);
    return m;
}

static void pack(struct fixture *f) {
    auto_free char *cmd = xasprintf("tar -C %s -cf %s .", f->layout, f->tar);
    assert_int_equal(system(cmd), 0);
}

static int import_dir(struct fixture *f, const char *name, struct image *ret) {
    err_clear(&f->err);
    return image_import(f->s, f->layout, name, ret, f->a, &f->err);
}

static void expect_refused(struct fixture *f, const char *name, const char *text) {
    struct image img, *list;
    size_t n;
    assert_int_equal(import_dir(f, name, &img), -1);
    if (strstr(f->err.msg, text) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", text, f->err.msg);
    }
    assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(image_list(f->s, f->a, &list, &n, NULL), 0);
    assert_int_equal(n, 0);
}

static void check_image(struct fixture *f, const struct image *img, const struct made *m) {
    struct image_user u;
    struct stat st;
    char value = 0;
    assert_string_equal(img->entrypoint[0], "python3");
    assert_string_equal(img->entrypoint[1], "-m");
    assert_null(img->entrypoint[2]);
    assert_string_equal(img->cmd[0], "trainer");
    assert_string_equal(img->env[0], "PATH=/bin");
    assert_string_equal(img->env[1], "A=b");
    assert_null(img->env[2]);
    assert_string_equal(img->workdir, "/work");
    assert_string_equal(img->user, "5");
    assert_non_null(strstr(img->layers[0], m->diff[1])); /* topmost first */
    assert_non_null(strstr(img->layers[1], m->diff[0]));
    assert_null(img->layers[2]);
    const char *top = img->layers[0];
    assert_int_equal(lstat(arena_printf(f->a, "%s/gone", top), &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(st.st_rdev, makedev(0, 0));
    assert_int_equal(
        getxattr(arena_printf(f->a, "%s/data", top), "trusted.overlay.opaque", &value, 1), 1);
    assert_int_equal(value, 'y');
    assert_int_equal(lstat(arena_printf(f->a, "%s/data/.wh..wh..opq", top), &st), -1);
    assert_int_equal(lstat(arena_printf(f->a, "%s/.wh.gone", top), &st), -1);
    /* user 5 stood in the lower layer's passwd, which the upper one hides */
    assert_int_equal(image_lookup_user(img, f->a, &u, &f->err), 0);
    assert_int_equal(u.uid, 5);
    assert_string_equal(u.home, "/");
}

static void need_root(void) {
    if (geteuid() != 0) {
        skip(); /* whiteouts are device nodes */
    }
}

/* ---- tests */

static void test_oci_layout_is_imported_under_its_own_name(void **state) {
    need_root();
    struct fixture *f = *state;
    static const int filters[] = {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD};
    for (size_t i = 0; i < NR_OF(filters); i++) {
        struct image img, again;
        struct made m = make_oci(f, filters[i], "docker.io/library/demo:latest");
        assert_int_equal(import_dir(f, NULL, &img), 0);
        assert_string_equal(img.ref, "demo");
        assert_string_equal(img.digest, arena_printf(f->a, "sha256:%s", m.manifest));
        check_image(f, &img, &m);
        assert_int_equal(
            image_resolve(f->s, f->a, arena_printf(f->a, "other@%s", img.digest), &again, &f->err),
            0);
    }
}

static void test_oci_archive_is_the_same_as_its_directory(void **state) {
    need_root();
    struct fixture *f = *state;
    struct image img;
    struct made m = make_oci(f, ARCHIVE_FILTER_GZIP, "reg.example/x:1");
    pack(f);
    assert_int_equal(image_import(f->s, f->tar, NULL, &img, f->a, &f->err), 0);
    assert_string_equal(img.ref, "reg.example/x:1");
    check_image(f, &img, &m);
    assert_int_equal(image_import(f->s, f->tar, "named", &img, f->a, &f->err), 0);
    assert_string_equal(img.ref, "named");
}

static void test_bare_tag_needs_a_name(void **state) {
    need_root();
    struct fixture *f = *state;
    struct image img;
    make_oci(f, ARCHIVE_FILTER_NONE, "latest");
    expect_refused(f, NULL, "give one");
    assert_string_equal(f->err.field, "name");
    assert_int_equal(import_dir(f, "x", &img), 0);
}

static void make_docker(struct fixture *f, bool modern, const char *tags) {
    struct made m = make_layers(f, ARCHIVE_FILTER_NONE);
    const char *json = config_json(f, &m, ARCH), *layers[2];
    char hex[SHA256_HEX_LEN + 1];
    hash_of(str_of(json), hex);
    const char *config = arena_printf(f->a, modern ? "blobs/sha256/%s" : "%s.json", hex);
    put(f, config, str_of(json));
    for (size_t i = 0; i < 2; i++) {
        layers[i] = arena_printf(f->a, "blobs/sha256/%s", m.diff[i]);
        if (!modern) {
            auto_free char *dir = xasprintf("%s/%s", f->layout, m.diff[i]);
            assert_int_equal(mkdir(dir, 0755), 0);
            auto_free char *from = xasprintf("%s/blobs/sha256/%s", f->layout, m.diff[i]);
            auto_free char *to = xasprintf("%s/layer.tar", dir);
            assert_int_equal(rename(from, to), 0);
            layers[i] = arena_printf(f->a, "%s/layer.tar", m.diff[i]);
        }
    }
    if (modern) {
        put(f, "oci-layout", STR("{}"));
        put(f, "index.json", STR("{\"manifests\":[]}"));
    }
    put(f, "manifest.json",
        str_of(arena_printf(f->a,
                            "[{\"Config\":\"%s\",\"RepoTags\":%s,\"Layers\":[\"%s\",\"%s\"]}]",
                            config, tags, layers[0], layers[1])));
}

static void test_docker_save_old_and_new(void **state) {
    need_root();
    struct fixture *f = *state;
    for (int modern = 0; modern < 2; modern++) {
        struct image img;
        make_docker(f, modern, "[\"demo:latest\",\"demo:v1\"]");
        pack(f);
        assert_int_equal(image_import(f->s, f->tar, NULL, &img, f->a, &f->err), 0);
        assert_string_equal(img.ref, "demo");
        assert_int_equal(image_resolve(f->s, f->a, "demo:v1", &img, &f->err), 0);
        assert_string_equal(img.cmd[0], "trainer");
        assert_int_equal(image_remove(f->s, "demo", NULL, NULL, &f->err), 0);
        assert_int_equal(image_remove(f->s, "demo:v1", NULL, NULL, &f->err), 0);
        assert_int_equal(file_remove_tree(AT_FDCWD, f->layout, NULL), 0);
        assert_int_equal(mkdir(f->layout, 0755), 0);
    }
}

static void test_docker_image_without_tags_needs_a_name(void **state) {
    need_root();
    struct fixture *f = *state;
    make_docker(f, true, "null");
    expect_refused(f, NULL, "give one");
}

static void damage(struct fixture *f, const char *hex) {
    auto_free char *path = xasprintf("%s/blobs/sha256/%s", f->layout, hex);
    auto_close int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, " ", 1), 1);
}

static void test_wrong_digests_are_refused(void **state) {
    need_root();
    struct fixture *f = *state;
    struct made m = make_oci(f, ARCHIVE_FILTER_GZIP, "x:1");
    damage(f, m.manifest);
    expect_refused(f, NULL, "the manifest has digest");
    m = make_oci(f, ARCHIVE_FILTER_GZIP, "x:1");
    damage(f, m.config);
    expect_refused(f, NULL, "the config has digest");
    m = make_oci(f, ARCHIVE_FILTER_NONE, "x:1");
    damage(f, m.blob[1]);
    expect_refused(f, NULL, "a layer has digest");
    m = make_oci(f, ARCHIVE_FILTER_GZIP, "x:1");
    m.diff[0] = m.diff[1]; /* the config promises another content */
    m.config = put_blob(f, str_of(config_json(f, &m, ARCH)));
    put_index(f, put_manifest(f, &m), "x:1");
    expect_refused(f, NULL, "content has digest");
}

static void test_blobs_that_are_missing_or_elsewhere_are_refused(void **state) {
    struct fixture *f = *state;
    struct made m = make_oci(f, ARCHIVE_FILTER_GZIP, "x:1");
    auto_free char *path = xasprintf("%s/blobs/sha256/%s", f->layout, m.config);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    struct image img;
    assert_int_equal(import_dir(f, NULL, &img), -1);
    put(f, "manifest.json",
        STR("[{\"Config\":\"../../../../etc/passwd\",\"RepoTags\":[\"x:1\"],\"Layers\":[]}]"));
    assert_int_equal(import_dir(f, NULL, &img), -1);
    put(f, "manifest.json",
        STR("[{\"Config\":\"/etc/passwd\",\"RepoTags\":[\"x:1\"],\"Layers\":[]}]"));
    assert_int_equal(import_dir(f, NULL, &img), -1);
}

static void test_disagreeing_and_foreign_images_are_refused(void **state) {
    struct fixture *f = *state;
    struct made m = make_layers(f, ARCHIVE_FILTER_NONE);
    m.config = put_blob(f, str_of(config_json(f, &m, "s390x")));
    put_index(f, put_manifest(f, &m), "x:1");
    expect_refused(f, NULL, "s390x");
    m.config = put_blob(f, STR("{\"rootfs\":{\"diff_ids\":[]}}"));
    put_index(f, put_manifest(f, &m), "x:1");
    expect_refused(f, NULL, "0 layers");
    m.config = put_blob(
        f, str_of(arena_printf(f->a, "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}", m.diff[0])));
    put_index(f, put_manifest(f, &m), "x:1");
    expect_refused(f, NULL, "the manifest has 2 layers, the config 1");
    m.config = put_blob(f, STR("{\"rootfs\":{\"diff_ids\":[\"md5:00\"]}}"));
    put_index(f, put_manifest(f, &m), "x:1");
    expect_refused(f, NULL, "no sha256");
    m.config = put_blob(f, STR("{\"config\":{\"Cmd\":[1]}}"));
    put_index(f, put_manifest(f, &m), "x:1");
    expect_refused(f, NULL, "no text");
}

static void test_malformed_json_is_refused(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{}",
                                        "{\"manifests\":[{}]}",
                                        "{\"manifests\":7}",
                                        "{\"manifests\":[{\"digest\":\"sha256:zz\"}]}",
                                        "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < NR_OF(texts); i++) {
        put(f, "index.json", str_of(texts[i]));
        expect_refused(f, "x", "");
    }
    static const char *const lists[] = {"{}", "[]", "[7]", "[{\"Config\":\"\"}]"};
    for (size_t i = 0; i < NR_OF(lists); i++) {
        struct image img;
        put(f, "manifest.json", str_of(lists[i]));
        assert_int_equal(import_dir(f, "x", &img), -1);
    }
}

static void test_manifest_past_the_limit_is_refused(void **state) {
    struct fixture *f = *state;
    const struct limits saved = limits;
    struct image img;
    limits.image_max_manifest = 64;
    put(f, "index.json",
        str_of("{\"manifests\":[]                                                   }"));
    assert_int_equal(import_dir(f, "x", &img), -1);
    limits = saved;
    assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(f->err.msg, "image_max_manifest"));
}

static void test_index_of_platforms_yields_ours_and_endless_nesting_ends(void **state) {
    need_root();
    struct fixture *f = *state;
    struct image img;
    struct made m = make_oci(f, ARCHIVE_FILTER_NONE, "x:1");
    const char *inner = put_blob(
        f, str_of(arena_printf(
               f->a,
               "{\"manifests\":[{\"digest\":\"sha256:%s\",\"platform\":{\"os\":\"linux\","
               "\"architecture\":\"s390x\"}},"
               "{\"digest\":\"sha256:%s\",\"platform\":{\"os\":\"linux\",\"architecture\":\"" ARCH
               "\"}},"
               "{\"digest\":\"sha256:%s\",\"platform\":{\"os\":\"unknown\",\"architecture\":"
               "\"unknown\"}}]}",
               m.config, m.manifest, m.config)));
    for (unsigned depth = 0; depth < 7; depth++) {
        put(f, "index.json",
            str_of(arena_printf(f->a,
                                "{\"manifests\":[{\"mediaType\":\"application/"
                                "vnd.oci.image.index.v1+json\",\"digest\":\"sha256:%s\"}]}",
                                inner)));
        assert_int_equal(import_dir(f, "multi", &img), depth < 4 ? 0 : -1);
        inner = put_blob(
            f, str_of(arena_printf(f->a,
                                   "{\"manifests\":[{\"mediaType\":\"application/"
                                   "vnd.oci.image.index.v1+json\",\"digest\":\"sha256:%s\"}]}",
                                   inner)));
    }
    assert_non_null(strstr(f->err.msg, "nested"));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_oci_layout_is_imported_under_its_own_name),
        T(test_oci_archive_is_the_same_as_its_directory),
        T(test_bare_tag_needs_a_name),
        T(test_docker_save_old_and_new),
        T(test_docker_image_without_tags_needs_a_name),
        T(test_wrong_digests_are_refused),
        T(test_blobs_that_are_missing_or_elsewhere_are_refused),
        T(test_disagreeing_and_foreign_images_are_refused),
        T(test_malformed_json_is_refused),
        T(test_manifest_past_the_limit_is_refused),
        T(test_index_of_platforms_yields_ours_and_endless_nesting_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
