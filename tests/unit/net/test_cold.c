/* Large files that are not in memory: read by the lane, past the page cache the first time. The
 * file lies in the build directory; where its file system keeps all of it in memory there is
 * nothing to test. */
#include "harness.h"

#include "sys/lane.h"

#include <sys/mman.h>

enum { MIB = 1 << 20, SIZE = 36 * MIB + 123, AT = 4097, LEN = SIZE - AT - 7 };

static struct lane *disk;
static int file = -1;

static char content[SIZE];

static int fill_content(void **state) {
    for (size_t i = 0; i < SIZE; i++) {
        content[i] = (char)((i ^ (i >> 12)) % 251);
    }
    return 0;
}

/* How many of sixteen pages of it are in memory; all of them are sent. */
static unsigned pages_in_memory(void) {
    unsigned n = 0;
    char *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    for (unsigned i = 0; i < 16; i++) {
        unsigned char in = 0;
        assert_int_equal(mincore(p + 2 * MIB * i + MIB, 1, &in), 0);
        n += in & 1;
    }
    munmap(p, SIZE);
    return n;
}

static void make_file(void) {
    file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) {
        print_message("SKIPPED: no unnamed files here: %s\n", strerror(errno));
        skip();
    }
    assert_int_equal(pwrite(file, content, SIZE, 0), SIZE);
    assert_int_equal(fsync(file), 0);
    assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    if (pages_in_memory() > 0) {
        print_message("SKIPPED: this file system keeps files in memory\n");
        close(file);
        skip();
    }
}

static void begin(void) {
    make_file();
    start(handle_later);
    hx.server->disk = disk = lane_new(hx.loop, "disk", 2);
}

/* What is under way is broken off by the lane's end. */
static void end(void) {
    lane_close(disk);
    hx.server->disk = NULL;
    finish();
    close(file);
}

static void ask(uint64_t len) {
    unsigned n = hx.requests;
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == n + 1);
    xch_start(hx.x, 200, NULL, 0, (int64_t)len);
    xch_send_file(hx.x, file, AT, len);
}

static void expect_range(void) {
    size_t head = 0;
    until((head = (size_t)str_find(buf_str(&hx.rx), STR("\r\n\r\n")) + 4) > 3 &&
          hx.rx.n >= head + LEN);
    assert_int_equal(hx.rx.n, head + LEN);
    assert_memory_equal(hx.rx.p + head, content + AT, LEN);
    buf_clear(&hx.rx);
}

static void test_first_reader_passes_the_page_cache_and_the_second_fills_it(void **state) {
    begin();
    ask(LEN);
    assert_int_equal(hx.server->nr_cold, 1);
    expect_range();
    assert_int_equal(hx.server->nr_cold, 0);
    unsigned direct = pages_in_memory();
    ask(LEN);
    assert_int_equal(hx.server->nr_cold, 1);
    expect_range();
    assert_int_equal(pages_in_memory(), 16);
    ask(LEN); /* now it is in memory */
    assert_int_equal(hx.server->nr_cold, 0);
    expect_range();
    /* File systems without O_DIRECT have filled it the first time. */
    assert_true(direct == 0 || direct == 16);
    end();
}

static void test_a_file_that_changed_is_another(void **state) {
    begin();
    ask(LEN);
    expect_range();
    struct cold_seen *seen = &hx.server->cold_seen;
    assert_int_equal(seen->nr, 1);
    seen->range[0].changed_ns--;
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ask(LEN);
    expect_range();
    assert_int_equal(seen->nr, 2);
    end();
}

static void test_shorter_than_promised(void **state) {
    begin();
    ask(LEN + MIB);
    assert_int_equal(hx.server->nr_cold, 1);
    until(hx.eof && hx.server->nr_cold == 0); /* the last reads come back later */
    assert_true(hx.rx.n < LEN + MIB);
    end();
}

static void test_client_vanishes(void **state) {
    begin();
    ask(LEN);
    until(hx.rx.n > 2 * MIB);
    client_close();
    watch();
    while (hx.server->nr_cold || hx.server->stats.connections_open) {
        loop_turn(hx.loop);
    }
    assert_int_equal(hx.gone, 0); /* the handler was through */
    end();
}

static void test_slow_reader_holds_a_few_pieces(void **state) {
    begin();
    ask(LEN);
    unsigned idle = 0;
    struct lane_stats st;
    do { /* until nothing is read any more */
        poll_once();
        lane_get_stats(disk, &st);
        idle = st.depth ? 0 : idle + 1;
    } while (idle < 100);
    struct conn *c = list_first(&hx.server->conns, struct conn, link);
    assert_in_range(transport_queued(&c->t), 1, limits.max_write_queue + MIB);
    assert_in_range(st.finished, 4, 8);
    assert_true(list_is_empty(&hx.server->dirty)); /* it waits for the socket, not in circles */
    expect_range();
    end();
}

static void test_length_was_not_given(void **state) {
    begin();
    send_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until(hx.requests == 1);
    xch_start(hx.x, 200, NULL, 0, -1);
    xch_send_file(hx.x, file, AT, LEN);
    assert_int_equal(hx.server->nr_cold, 1);
    until(str_ends(buf_str(&hx.rx), STR("\r\n0\r\n\r\n")));
    /* Chunks of a piece each. */
    size_t head = (size_t)str_find(buf_str(&hx.rx), STR("\r\n\r\n")) + 4, at = 0;
    struct str rest = str_sub(buf_str(&hx.rx), head, hx.rx.n);
    for (unsigned long n; (n = strtoul(rest.p, NULL, 16)) > 0; at += n) {
        size_t line = (size_t)str_find(rest, STR("\r\n")) + 2;
        assert_memory_equal(rest.p + line, content + AT + at, n);
        rest = str_sub(rest, line + n + 2, rest.n);
    }
    assert_int_equal(at, LEN);
    end();
}

static void test_more_at_once_go_the_ordinary_way(void **state) {
    begin();
    limits.max_cold_reads = 0;
    ask(LEN);
    assert_int_equal(hx.server->nr_cold, 0);
    expect_range();
    end();
}

static void test_server_ends_in_the_middle(void **state) {
    begin();
    ask(LEN);
    assert_int_equal(hx.server->nr_cold, 1);
    end();
}

#ifdef CUSP_FAILPOINTS
static void test_disk_fails(void **state) {
    begin();
    setenv("CUSP_FAILPOINTS", "net.cold.read=errno:EIO@3", 1); /* read at the first hit */
    ask(LEN);
    until(hx.eof && hx.server->nr_cold == 0);
    assert_true(hx.rx.n < LEN);
    end();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef CUSP_FAILPOINTS
        cmocka_unit_test(test_disk_fails), /* first: fail points are armed once */
#endif
        cmocka_unit_test(test_first_reader_passes_the_page_cache_and_the_second_fills_it),
        cmocka_unit_test(test_a_file_that_changed_is_another),
        cmocka_unit_test(test_shorter_than_promised),
        cmocka_unit_test(test_client_vanishes),
        cmocka_unit_test(test_slow_reader_holds_a_few_pieces),
        cmocka_unit_test(test_length_was_not_given),
        cmocka_unit_test(test_more_at_once_go_the_ordinary_way),
        cmocka_unit_test(test_server_ends_in_the_middle),
    };
    return cmocka_run_group_tests(tests, fill_content, NULL);
}
