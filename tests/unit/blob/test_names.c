/* Names on disk: the escape, and lists in order over random names. */
#include "rig.h"

#include "base/rng.h"

#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

static void test_bucket_names_follow_the_rules(void **state) {
    static const char *const good[] = {"abc", "a-b_c.d", "0bucket9", "a.b.c"};
    static const char *const bad[] = {"",     "ab",   "Abc",     "a b",  "-ab", "ab-", "a..b",
                                      ".abc", "abc.", "1.2.3.4", "../x", "a/b", "%~d", "abc\n"};
    for (size_t i = 0; i < NR_OF(good); i++) {
        assert_int_equal(blob_check_bucket_name(str_of(good[i]), NULL), 0);
    }
    for (size_t i = 0; i < NR_OF(bad); i++) {
        struct err err = {0};
        assert_int_equal(blob_check_bucket_name(str_of(bad[i]), &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.msg, bad[i]));
    }
    char longest[64 + 1];
    memset(longest, 'x', 64);
    assert_int_equal(blob_check_bucket_name(str_n(longest, 63), NULL), 0);
    assert_int_equal(blob_check_bucket_name(str_n(longest, 64), NULL), -1);
}

/* A component escaped and taken apart again, entry by entry, is the component. */
static void check_round_trip(struct str comp, bool is_dir) {
    auto_buf struct buf raw = BUF_INIT(BUF_NO_MAX), back = BUF_INIT(BUF_NO_MAX);
    name_escape(&raw, comp, is_dir);
    struct str rest = buf_str(&raw);
    bool in_chunk = false;
    while (rest.p) {
        struct str part, entry = str_cut(&rest, '/');
        assert_true(entry.n <= 255 && entry.n > 2);
        enum name_kind kind = name_decode(entry, rest.p || is_dir, in_chunk, &part);
        assert_int_equal(kind, rest.p ? NAME_CHUNK : is_dir ? NAME_DIR : NAME_FILE);
        buf_put_str(&back, part);
        in_chunk = kind == NAME_CHUNK;
    }
    assert_true(str_eq(buf_str(&back), comp));
}

static void random_bytes(struct rng *g, char *p, size_t n) {
    static const char few[] = "a.%~df+-\x7f\xc3";
    for (size_t i = 0; i < n; i++) {
        p[i] = few[rng_below(g, sizeof(few) - 1)];
    }
}

static void test_every_component_survives_the_escape(void **state) {
    struct rng g;
    char c[1024];
    rng_seed(&g, 1);
    for (int i = 0; i < 5000; i++) {
        size_t n = rng_below(&g, i % 10 ? 12 : sizeof(c));
        random_bytes(&g, c, n);
        check_round_trip(str_n(c, n), i & 1);
    }
    for (size_t n = 230; n < 270; n++) {
        random_bytes(&g, c, n);
        check_round_trip(str_n(c, n), false);
    }
}

struct dir {
    char path[64];
    int fd;
};

static void dir_open(struct dir *d) {
    brig_make_dir(d->path);
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    return remove(path);
}

static void dir_close(struct dir *d) {
    close(d->fd);
    nftw(d->path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static void make_object(struct dir *d, struct str name) {
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    assert_int_equal(place_make(d->fd, name, &raw), 0);
    int fd = openat(d->fd, raw.p, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static int cmp(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* What a list must be, computed from the sorted names the slow way. */
static size_t reference(const struct str *names, size_t n, const struct walk_opts *o,
                        struct str *out) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        struct str s = names[i];
        if ((i && str_eq(s, names[i - 1])) || !str_starts(s, o->prefix) ||
            str_cmp(s, o->start) < 0 || (o->end.n && str_cmp(s, o->end) >= 0)) {
            continue;
        }
        if (o->delimiter.n) {
            ptrdiff_t at = str_find(str_sub(s, o->prefix.n, s.n), o->delimiter);
            s = at >= 0 ? str_sub(s, 0, o->prefix.n + (size_t)at + o->delimiter.n) : s;
        }
        if (k == 0 || !str_eq(out[k - 1], s)) {
            out[k++] = s;
        }
    }
    return k;
}

static void check_pages(struct dir *d, const struct str *names, size_t n, struct walk_opts o,
                        unsigned page) {
    struct str *want = xcalloc(n, sizeof(*want));
    size_t nr = reference(names, n, &o, want), got = 0;
    o.max = page;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct walk_result res;
    do {
        struct err err = {0};
        if (walk_list(d->fd, &o, a, &res, &err) < 0) {
            fail_msg("%s", err.msg);
        }
        assert_true(res.n <= page);
        for (size_t i = 0; i < res.n; i++) {
            assert_true(got < nr);
            if (!str_eq(res.items[i].name, want[got])) {
                fail_msg("item %zu is '%.*s', want '%.*s'", got, STR_ARG(res.items[i].name),
                         STR_ARG(want[got]));
            }
            got++;
        }
        if (res.more) {
            assert_true(res.n > 0);
            o.after = res.items[res.n - 1].name;
            o.skip_after = res.items[res.n - 1].is_prefix;
        }
    } while (res.more);
    assert_int_equal(got, nr);
    free(want);
}

/* With and without sorted pictures; the second time over they are kept ones. */
static void check_list(struct dir *d, const struct str *names, size_t n, struct walk_opts o,
                       unsigned page) {
    check_pages(d, names, n, o, page);
    o.snaps = snaps_new(0);
    check_pages(d, names, n, o, page);
    check_pages(d, names, n, o, page);
    snaps_free(o.snaps);
}

static struct str random_name(struct arena *a, struct rng *g) {
    static const char *const parts[] = {"a",  "b",   "a-",   "a.", "a0", "",         ".",
                                        "..", "%~f", "%~+x", "A",  "zz", "\xc3\xbc", "!"};
    struct buf b = BUF_INIT(BUF_NO_MAX);
    size_t n = 1 + rng_below(g, 4);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? "/" : "");
        buf_puts(&b, parts[rng_below(g, NR_OF(parts))]);
        if (rng_below(g, 12) == 0) { /* around and past what one file name can hold */
            size_t len = 238 + rng_below(g, 40);
            for (size_t k = 0; k < len; k++) {
                buf_putc(&b, "xy!"[k < 236 ? 0 : rng_below(g, 3)]);
            }
        }
    }
    struct str s = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return s;
}

static void test_lists_are_in_bytewise_order_whatever_the_names(void **state) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct rng g;
        struct dir d;
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct str names[400];
        size_t n = 0;
        rng_seed(&g, seed);
        dir_open(&d);
        while (n < NR_OF(names)) {
            struct str s = random_name(a, &g);
            if (blob_check_object_name(s, NULL) == 0) {
                make_object(&d, s);
                names[n++] = s;
            }
        }
        for (size_t i = 0; i < n; i++) { /* all are found where they were put */
            auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
            struct stat st;
            assert_int_equal(place_find(d.fd, names[i], &raw, &st), 0);
        }
        qsort(names, n, sizeof(names[0]), cmp);
        check_list(&d, names, n, (struct walk_opts){0}, 1000);
        check_list(&d, names, n, (struct walk_opts){0}, 7);
        check_list(&d, names, n, (struct walk_opts){.delimiter = STR("/")}, 3);
        check_list(&d, names, n, (struct walk_opts){.delimiter = STR("-")}, 1000);
        check_list(&d, names, n, (struct walk_opts){.prefix = STR("a/"), .delimiter = STR("/")}, 5);
        check_list(&d, names, n, (struct walk_opts){.prefix = STR("a")}, 11);
        check_list(&d, names, n, (struct walk_opts){.prefix = STR("/")}, 4);
        check_list(&d, names, n, (struct walk_opts){.prefix = names[n / 2]}, 2);
        check_list(&d, names, n,
                   (struct walk_opts){.prefix = str_sub(names[n / 3], 0, names[n / 3].n / 2)}, 9);
        check_list(&d, names, n, (struct walk_opts){.start = names[n / 4], .end = names[n / 2]},
                   10);
        dir_close(&d);
    }
}

static void test_a_directory_larger_than_a_page_is_read_in_pieces(void **state) {
    struct dir d;
    struct str names[1000];
    char text[1000][12];
    dir_open(&d);
    for (int i = 0; i < 1000; i++) {
        snprintf(text[i], sizeof(text[i]), i % 3 ? "d/%06d" : "d/%06d/x", i * 7919 % 1000);
        names[i] = str_of(text[i]);
        make_object(&d, names[i]);
    }
    /* Empty directories yield nothing, so a page must look past those it kept. */
    for (int i = 0; i < 300; i++) {
        char empty[32];
        snprintf(empty, sizeof(empty), "d/0000empty%03d", i);
        assert_int_equal(mkdirat(d.fd, empty, 0700), 0);
    }
    qsort(names, 1000, sizeof(names[0]), cmp);
    check_list(&d, names, 1000, (struct walk_opts){0}, 10);
    check_list(&d, names, 1000, (struct walk_opts){.prefix = STR("d/"), .delimiter = STR("/")}, 10);
    dir_close(&d);
}

static void test_gs_uris_become_paths_below_the_bucket_only(void **state) {
    struct brig r;
    struct err err;
    char *path = NULL;
    brig_new(&r);
    assert_true(brig_bucket(&r, "pkgs"));
    assert_true(brig_put(&r, "pkgs", STR("a/trainer.tar.gz"), STR("x"), NULL, NULL));
    assert_true(brig_put(&r, "pkgs", STR("../up"), STR("y"), NULL, NULL));
    assert_int_equal(blob_object_path(r.blob, "gs://pkgs/a/trainer.tar.gz", &path, &err), 0);
    assert_true(str_ends(str_of(path), STR("/buckets/pkgs/a/trainer.tar.gz")) &&
                access(path, R_OK) == 0);
    free(path);
    assert_int_equal(blob_object_path(r.blob, "gs://pkgs/../up", &path, &err), 0);
    assert_null(strstr(path, "/../"));
    free(path);
    static const struct {
        const char *uri;
        enum err_code code;
    } bad[] = {
        {"gs://pkgs/none", ERR_NOT_FOUND},          {"gs://nobucket/x", ERR_NOT_FOUND},
        {"gs://pkgs/../../cusp.db", ERR_NOT_FOUND}, {"gs://../cusp.db", ERR_INVALID_ARGUMENT},
        {"gs://pkgs", ERR_INVALID_ARGUMENT},        {"gs://pkgs/", ERR_INVALID_ARGUMENT},
        {"/etc/passwd", ERR_INVALID_ARGUMENT},      {"gs://pkgs/a", ERR_NOT_FOUND}};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        assert_int_equal(blob_object_path(r.blob, bad[i].uri, &path, &err), -1);
        assert_int_equal(err.code, bad[i].code);
    }
    brig_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket_names_follow_the_rules),
        cmocka_unit_test(test_every_component_survives_the_escape),
        cmocka_unit_test(test_lists_are_in_bytewise_order_whatever_the_names),
        cmocka_unit_test(test_a_directory_larger_than_a_page_is_read_in_pieces),
        cmocka_unit_test(test_gs_uris_become_paths_below_the_bucket_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
