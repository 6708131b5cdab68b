/* Unit tests of containers, arenas, records, frames, random ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/enc.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/project.h"
#include "base/rec.h"
#include "base/rng.h"
#include "base/seg.h"
#include "base/vec.h"

static void test_buf_refuses_to_grow_past_its_maximum(void **state) {
    auto_buf struct buf b = BUF_INIT(8);
    assert_int_equal(buf_puts(&b, "12345678"), 0);
    assert_int_equal(buf_putc(&b, '9'), -1);
    assert_true(b.full);
    assert_string_equal(b.p, "12345678");
    buf_clear(&b);
    assert_int_equal(buf_puts(&b, "again"), 0);
}

static void test_arena_bounded_returns_null_and_zeroes(void **state) {
    auto_arena struct arena *a = arena_new(64);
    char *p = arena_alloc(a, 40);
    assert_non_null(p);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(p[i], 0);
    }
    assert_null(arena_alloc(a, 40));
    assert_null(arena_calloc(a, SIZE_MAX / 2, 4));
}

static void test_map_survives_many_puts_and_deletes(void **state) {
    struct map m;
    static int value;
    char key[32];
    map_init(&m);
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(key, sizeof(key), "key-%d", i);
        assert_null(map_put(&m, str_n(key, (size_t)n), &value));
    }
    for (int i = 0; i < 5000; i += 2) {
        int n = snprintf(key, sizeof(key), "key-%d", i);
        assert_ptr_equal(map_del(&m, str_n(key, (size_t)n)), &value);
    }
    assert_int_equal(m.n, 2500);
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(key, sizeof(key), "key-%d", i);
        assert_ptr_equal(map_get(&m, str_n(key, (size_t)n)), i % 2 ? &value : NULL);
    }
    size_t it = 0, seen = 0;
    while (map_next(&m, &it)) {
        seen++;
    }
    assert_int_equal(seen, 2500);
    map_fini(&m);
}

/* Who knows one map's order knows nothing of another's; and one that was emptied begins anew. */
static void test_each_map_has_a_seed_of_its_own(void **state) {
    struct map a, b;
    static int value;
    map_init(&a);
    map_init(&b);
    assert_null(map_get(&a, STR("k")));
    assert_null(map_del(&a, STR("k")));
    assert_null(map_put(&a, STR("k"), &value));
    assert_null(map_put(&b, STR("k"), &value));
    assert_true(a.seed && b.seed && a.seed != b.seed);
    map_fini(&a);
    assert_null(map_get(&a, STR("k")));
    assert_null(map_put(&a, STR("k"), &value));
    assert_ptr_equal(map_get(&a, STR("k")), &value);
    map_fini(&a);
    map_fini(&b);
}

struct num {
    struct heap_node node;
    unsigned v;
};
static bool num_less(const struct heap_node *a, const struct heap_node *b) {
    return CONTAINER_OF(a, struct num, node)->v < CONTAINER_OF(b, struct num, node)->v;
}

static void test_heap_pops_in_order_with_removals(void **state) {
    struct heap h;
    struct rng r;
    static struct num nums[500];
    heap_init(&h, num_less);
    rng_seed(&r, 7);
    for (size_t i = 0; i < NR_OF(nums); i++) {
        nums[i].v = (unsigned)rng_below(&r, 1000);
        heap_push(&h, &nums[i].node);
    }
    for (size_t i = 0; i < NR_OF(nums); i += 3) {
        heap_remove(&h, &nums[i].node);
        heap_remove(&h, &nums[i].node);
    }
    unsigned last = 0;
    size_t popped = 0;
    while (heap_top(&h)) {
        struct num *n = CONTAINER_OF(heap_top(&h), struct num, node);
        assert_true(n->v >= last);
        last = n->v;
        heap_remove(&h, &n->node);
        popped++;
    }
    assert_int_equal(popped, NR_OF(nums) - (NR_OF(nums) + 2) / 3);
    heap_fini(&h);
}

struct item {
    struct list link;
    int v;
};
static void test_list_keeps_order_and_tolerates_double_delete(void **state) {
    struct list head;
    struct item it[3] = {{.v = 1}, {.v = 2}, {.v = 3}}, *i, *tmp;
    list_init(&head);
    for (int k = 0; k < 3; k++) {
        list_push_tail(&head, &it[k].link);
    }
    list_del(&it[1].link);
    list_del(&it[1].link);
    int sum = 0;
    list_each_safe (i, tmp, &head, link) {
        sum = sum * 10 + i->v;
        list_del(&i->link);
    }
    assert_int_equal(sum, 13);
    assert_true(list_is_empty(&head));
}

static void test_rec_round_trips_awkward_values(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(4096);
    struct rec r;
    rec_begin(&b);
    rec_put(&b, "msg", str_n("a\nb\\c\r\0d=", 9));
    rec_put_u64(&b, "n", UINT64_MAX);
    rec_put_i64(&b, "i", -5);
    rec_puts(&b, "arg", "one");
    rec_puts(&b, "arg", "");
    assert_int_equal(rec_parse(a, buf_str(&b), &r, NULL), 0);
    assert_true(str_eq(rec_get(&r, "msg"), str_n("a\nb\\c\r\0d=", 9)));
    assert_true(rec_get_u64(&r, "n", 0) == UINT64_MAX);
    assert_int_equal(rec_get_i64(&r, "i", 0), -5);
    size_t it = 0;
    struct str v;
    assert_true(rec_next(&r, "arg", &it, &v) && str_eqc(v, "one"));
    assert_true(rec_next(&r, "arg", &it, &v) && v.n == 0);
    assert_false(rec_next(&r, "arg", &it, &v));
    assert_null(rec_get(&r, "absent").p);
    for (size_t cut = 0; cut < b.n; cut++) {
        struct err e = {0};
        if (rec_parse(a, str_n(b.p, cut), &r, &e) == 0) {
            assert_int_equal(b.p[cut - 1], '\n'); /* only whole lines are accepted */
        } else {
            assert_int_equal(e.code, ERR_DATA_LOSS);
        }
    }
}

static void test_seg_detects_torn_and_corrupt_frames(void **state) {
    auto_buf struct buf b = BUF_INIT(4096);
    struct seg_frame f = {.seq = 9, .time = 123, .stream = SEG_STDERR, .payload = STR("hello")}, g;
    seg_encode(&b, &f);
    assert_int_equal(seg_decode(buf_str(&b), &g), (ssize_t)b.n);
    assert_true(str_eqc(g.payload, "hello") && g.seq == 9 && g.stream == SEG_STDERR);
    for (size_t cut = 0; cut < b.n; cut++) {
        assert_int_equal(seg_decode(str_n(b.p, cut), &g), 0);
    }
    b.p[b.n - 1] ^= 1;
    assert_int_equal(seg_decode(buf_str(&b), &g), -1);
}

static void test_resource_ids_never_begin_with_zero_and_fit_int64(void **state) {
    struct rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < 10000; i++) {
        uint64_t id = rng_resource_id(&r);
        assert_true(id >= 1000000000000000000u && id <= INT64_MAX);
    }
    assert_int_equal(project_number(STR("481516")), 481516);
    assert_true(project_number(STR("demo")) == project_number(STR("demo")));
    assert_true(project_number(STR("demo")) >= 100000000000u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_refuses_to_grow_past_its_maximum),
        cmocka_unit_test(test_arena_bounded_returns_null_and_zeroes),
        cmocka_unit_test(test_map_survives_many_puts_and_deletes),
        cmocka_unit_test(test_each_map_has_a_seed_of_its_own),
        cmocka_unit_test(test_heap_pops_in_order_with_removals),
        cmocka_unit_test(test_list_keeps_order_and_tolerates_double_delete),
        cmocka_unit_test(test_rec_round_trips_awkward_values),
        cmocka_unit_test(test_seg_detects_torn_and_corrupt_frames),
        cmocka_unit_test(test_resource_ids_never_begin_with_zero_and_fit_int64),
    };
    return cmocka_run_group_tests_name("base core", tests, NULL, NULL);
}
