/* The segment writer: numbering across files, torn ends, and a disk without room (a small tmpfs in
 * a mount namespace of the test's own; that part needs root). */
#include "sys/seglog.h"
#include "sys/files.h"
#include "sys/mnt.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/cusp-test-seglog-XXXXXX";

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return chdir("/") < 0 ? -1 : file_remove_tree(AT_FDCWD, dir, NULL);
}

static void add(struct seglog *s, const char *text) {
    const struct seg_frame f = {.time = 1, .stream = SEG_STDOUT, .payload = str_of(text)};
    seglog_add(s, &f);
}

static void open_log(struct seglog *s, const char *name) {
    struct err err = {0};
    if (seglog_open(s, name, 0, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

/* All frames of a log as "seq:text " (EOF as "seq:. "); fails on anything that is not whole. */
static char *read_back(const char *name, size_t *ret_files) {
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    size_t files = 0;
    uint64_t seq = 0;
    for (;; files++) {
        auto_free char *path = xasprintf("%s/" SEG_NAME_FMT, name, (unsigned)files);
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        if (file_read(AT_FDCWD, path, &b, NULL) < 0) {
            break;
        }
        assert_true(b.n >= SEG_FILE_HEADER_LEN);
        assert_memory_equal(b.p, SEG_FILE_HEADER, sizeof(SEG_FILE_HEADER));
        struct str rest = str_sub(buf_str(&b), SEG_FILE_HEADER_LEN, b.n);
        while (rest.n) {
            struct seg_frame f;
            ssize_t n = seg_decode(rest, &f);
            assert_true(n > 0);
            assert_int_equal(f.seq, seq++);
            buf_printf(&out, "%llu:%.*s ", (unsigned long long)f.seq,
                       f.payload.n > 60 ? 1 : (int)f.payload.n,
                       f.stream == SEG_EOF ? "." : f.payload.p);
            if (f.stream == SEG_EOF) {
                buf_puts(&out, ".");
            }
            rest = str_sub(rest, (size_t)n, rest.n);
        }
    }
    *ret_files = files;
    buf_puts(&out, "");
    return buf_take(&out, NULL);
}

static void frames_are_numbered_and_ended(void **state) {
    (void)state;
    struct seglog s;
    size_t files;
    open_log(&s, "plain");
    add(&s, "a");
    add(&s, "b");
    assert_int_equal(s.written, 0);
    seglog_flush(&s, 10);
    assert_int_equal(s.written, 2);
    assert_int_equal(seglog_due(&s), 10 + SEGLOG_SYNC_USEC);
    seglog_flush(&s, 10 + SEGLOG_SYNC_USEC);
    assert_int_equal(seglog_due(&s), USEC_NEVER);
    seglog_finish(&s, 2, 20);
    assert_int_equal(s.written, 3);
    seglog_fini(&s);
    auto_free char *got = read_back("plain", &files);
    assert_string_equal(got, "0:a 1:b 2: .");
    assert_int_equal(files, 1);
}

static void every_torn_end_is_cut_off(void **state) {
    (void)state;
    struct seglog s;
    size_t files;
    struct stat st;
    open_log(&s, "torn");
    add(&s, "first");
    add(&s, "second");
    seglog_flush(&s, 0);
    seglog_fini(&s);
    assert_int_equal(stat("torn/out.000000.seg", &st), 0);
    auto_buf struct buf whole = BUF_INIT(4096);
    assert_int_equal(file_read(AT_FDCWD, "torn/out.000000.seg", &whole, NULL), 0);
    for (size_t len = 0; len <= whole.n; len++) {
        assert_int_equal(file_write_atomic(AT_FDCWD, "torn/out.000000.seg", str_n(whole.p, len),
                                           0644, FILE_NO_SYNC, NULL),
                         0);
        open_log(&s, "torn");
        add(&s, "x");
        seglog_flush(&s, 0);
        seglog_fini(&s);
        auto_free char *got = read_back("torn", &files);
        size_t one = SEG_FILE_HEADER_LEN + SEG_HEAD_LEN + 5;
        const char *expected = len < one       ? "0:x "
                               : len < whole.n ? "0:first 1:x "
                                               : "0:first 1:second 2:x ";
        if (strcmp(got, expected) != 0) {
            fail_msg("cut to %zu: %s, not %s", len, got, expected);
        }
    }
}

static void numbers_go_on_in_the_next_file(void **state) {
    (void)state;
    struct seglog s;
    size_t files;
    auto_free char *big = xmalloc(256 * 1024 + 1);
    memset(big, 'z', 256 * 1024);
    big[256 * 1024] = 0;
    open_log(&s, "big");
    for (int i = 0; i < 260; i++) {
        add(&s, big);
        seglog_flush(&s, 0);
    }
    seglog_fini(&s);
    open_log(&s, "big");
    add(&s, "after");
    seglog_finish(&s, 0, 0);
    assert_int_equal(s.written, 262);
    seglog_fini(&s);
    auto_free char *got = read_back("big", &files);
    assert_int_equal(files, 2);
    assert_non_null(strstr(got, "259:z 260:after 261: ."));
}

static void a_full_disk_costs_output_and_says_how_much(void **state) {
    (void)state;
    struct err err = {0};
    if (mnt_private(&err) < 0 || mkdir("small", 0755) < 0 ||
        mount("tmpfs", "small", "tmpfs", 0, "size=1m") < 0) {
        print_message("SKIPPED, NOT TESTED: mounting a small disk needs root\n");
        skip();
    }
    auto_free char *line = xmalloc(10001);
    memset(line, 'y', 10000);
    line[10000] = 0;
    struct seglog s;
    open_log(&s, "small/log");
    assert_int_equal(
        file_write_atomic(AT_FDCWD, "small/ballast", str_n(line, 10000), 0644, FILE_NO_SYNC, NULL),
        0);
    usec_t now = 0;
    for (int i = 0; i < 400; i++) { /* 4 MB into 1 MiB */
        add(&s, line);
        seglog_flush(&s, now += 1000);
    }
    assert_int_equal(s.refused, ENOSPC);
    assert_true(s.out.n <= SEGLOG_PENDING_MAX + 10000);
    assert_true(s.lost > 0 && s.lost == s.lost_total);
    assert_true(seglog_due(&s) <= now + SEGLOG_RETRY_USEC);
    uint64_t lost = s.lost;
    /* room again: the pending part, then the remark, then what comes */
    assert_int_equal(mount("tmpfs", "small", "tmpfs", MS_REMOUNT, "size=16m"), 0);
    seglog_flush(&s, now += SEGLOG_RETRY_USEC);
    assert_int_equal(s.refused, 0);
    add(&s, "after");
    seglog_finish(&s, 1, now);
    assert_int_equal(s.lost_total, lost);
    seglog_fini(&s);
    size_t files;
    auto_free char *got = read_back("small/log", &files);
    auto_free char *remark =
        xasprintf(":%llu bytes of output lost: disk full ", (unsigned long long)lost);
    const char *at = strstr(got, remark);
    assert_non_null(at);
    assert_non_null(strstr(at, ":after "));
    uint64_t frames = 0;
    for (const char *p = got; (p = strstr(p, ":y ")); p++) {
        frames++;
    }
    assert_int_equal(frames * 10001 + lost, 400 * 10001);
    assert_int_equal(umount2("small", MNT_DETACH), 0);
}

/* Times of the frames that are read back. */
static size_t times_of(const char *name, usec_t *ret, size_t max) {
    auto_free char *path = xasprintf("%s/" SEG_NAME_FMT, name, 0u);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    assert_int_equal(file_read(AT_FDCWD, path, &b, NULL), 0);
    struct str rest = str_sub(buf_str(&b), SEG_FILE_HEADER_LEN, b.n);
    size_t n = 0;
    struct seg_frame f;
    for (ssize_t len; rest.n && (len = seg_decode(rest, &f)) > 0 && n < max;
         rest = str_sub(rest, (size_t)len, rest.n)) {
        ret[n++] = f.time;
    }
    return n;
}

static void a_clock_that_is_set_back_does_not_turn_lines_around(void **state) {
    (void)state;
    static const usec_t clock[] = {500, 400, 450, 501, 20, 600},
                        want[] = {500, 500, 500, 501, 501, 600};
    struct seglog s;
    for (size_t i = 0; i < NR_OF(clock); i++) {
        if (i == 0 || i == 4) { /* also over a restart */
            open_log(&s, "back");
        }
        const struct seg_frame f = {
            .time = seglog_in_order(&s, clock[i]), .stream = SEG_STDOUT, .payload = STR("x")};
        seglog_add(&s, &f);
        seglog_flush(&s, 0);
        if (i == 3 || i == 5) {
            seglog_fini(&s);
        }
    }
    usec_t got[8];
    assert_int_equal(times_of("back", got, NR_OF(got)), NR_OF(want));
    assert_memory_equal(got, want, sizeof(want));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_numbered_and_ended),
        cmocka_unit_test(every_torn_end_is_cut_off),
        cmocka_unit_test(numbers_go_on_in_the_next_file),
        cmocka_unit_test(a_clock_that_is_set_back_does_not_turn_lines_around),
        cmocka_unit_test(a_full_disk_costs_output_and_says_how_much),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
