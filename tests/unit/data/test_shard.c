/* Unit tests of shards larger than their buffers, which a thread writes while the next are filled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/enc.h"
#include "base/rng.h"
#include "data/shard.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FILES 64

struct place {
    int fds[FILES]; /* ours: the writer closes its own */
    unsigned nr, dropped;
    const char *path; /* of a device to write to; NULL: files without a name */
};

static int make(void *arg, char ret_id[SHARD_ID_SIZE], int *ret_fd, struct err *err) {
    struct place *p = arg;
    assert_true(p->nr < FILES);
    snprintf(ret_id, SHARD_ID_SIZE, "%u", p->nr);
    FILE *f = p->path ? NULL : tmpfile();
    int fd = p->path ? open(p->path, O_WRONLY | O_CLOEXEC) : dup(fileno(f));
    assert_true(fd >= 0);
    if (f) {
        fclose(f);
    }
    p->fds[p->nr++] = fd;
    *ret_fd = dup(fd);
    return 0;
}

static void drop(void *arg, const char *id) {
    struct place *p = arg;
    p->dropped++;
}

static void place_close(struct place *p) {
    for (unsigned i = 0; i < p->nr; i++) {
        close(p->fds[i]);
    }
}

static void read_all(int fd, struct buf *ret) {
    char chunk[65536];
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, chunk, sizeof(chunk), at)) > 0) {
        buf_put(ret, chunk, (size_t)n);
        at += n;
    }
}

/* Records of 1 to 3000 bytes, some of a megabyte: into shards of `max`, and back. */
static void round_trip(uint64_t seed, uint64_t max, size_t total) {
    struct place files = {.nr = 0};
    struct shard_place place = {.make = make, .drop = drop, .arg = &files};
    auto_buf struct buf want = BUF_INIT(BUF_NO_MAX), got = BUF_INIT(BUF_NO_MAX);
    struct shards s;
    struct rng rng;
    struct err err;
    rng_seed(&rng, seed);
    shards_init(&s, &place, max, STR("head\n"));
    while (want.n < total) {
        size_t from = want.n, n = rng_below(&rng, 2000) ? 1 + rng_below(&rng, 3000) : 1 << 20;
        for (size_t i = 0; i < n; i++) {
            buf_putc(&want, (char)('a' + (from + i * 7) % 26));
        }
        assert_int_equal(shards_put(&s, str_n(want.p + from, n), &err), 0);
        buf_putc(&want, '\n');
    }
    assert_int_equal(shards_finish(&s, &err), 0);
    assert_int_equal(s.done.n, files.nr);
    for (size_t i = 0; i < s.done.n; i++) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        read_all(files.fds[i], &b);
        assert_int_equal(b.n, s.done.p[i].size);
        assert_int_equal(enc_crc32c(0, b.p, b.n), s.done.p[i].crc32c);
        assert_memory_equal(b.p, "head\n", 5);
        buf_put(&got, b.p + 5, b.n - 5);
    }
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    shards_release(&s);
    shards_fini(&s);
    assert_int_equal(files.dropped, 0);
    place_close(&files);
}

static void test_what_is_put_is_in_the_files_in_order(void **state) {
    round_trip(1, UINT64_MAX, 9 << 20); /* one shard of many buffers */
    round_trip(2, 3 << 20, 9 << 20);    /* some */
    round_trip(3, 600 << 10, 6 << 20);  /* little more than a buffer each */
    round_trip(4, 100 << 10, 1 << 20);  /* never a full buffer: without a thread */
}

/* Where every write fails, that is told soon, and by the end at the latest. */
static void test_a_full_disk_is_told(void **state) {
    static char record[3000];
    memset(record, 'x', sizeof(record));
    for (unsigned last = 0; last < 2; last++) {
        struct place files = {.path = "/dev/full"};
        struct shard_place place = {.make = make, .drop = drop, .arg = &files};
        struct shards s;
        struct err err = {0};
        int rc = 0;
        shards_init(&s, &place, UINT64_MAX, STR(""));
        size_t n = last ? 10 : 4000; /* 10: what is there is written at the end only */
        for (size_t i = 0; i < n && rc == 0; i++) {
            rc = shards_put(&s, str_n(record, sizeof(record)), &err);
        }
        assert_int_equal(rc != 0, !last); /* not after everything was taken */
        if (rc == 0) {
            rc = shards_finish(&s, &err);
        }
        assert_int_equal(rc, -1);
        assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
        shards_fini(&s);
        assert_int_equal(files.dropped, 1);
        place_close(&files);
    }
}

/* Given up with buffers still on their way. */
static void test_dropped_in_the_middle(void **state) {
    static char record[200000];
    memset(record, 'y', sizeof(record));
    for (unsigned n = 1; n < 40; n += 3) {
        struct place files = {.nr = 0};
        struct shard_place place = {.make = make, .drop = drop, .arg = &files};
        struct shards s;
        struct err err;
        shards_init(&s, &place, 2 << 20, STR(""));
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(shards_put(&s, str_n(record, sizeof(record)), &err), 0);
        }
        shards_fini(&s);
        assert_int_equal(files.dropped, files.nr);
        place_close(&files);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_in_the_files_in_order),
        cmocka_unit_test(test_a_full_disk_is_told),
        cmocka_unit_test(test_dropped_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
