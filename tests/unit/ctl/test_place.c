/* Unit tests of placement, the ledger, the queue and the quota. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ctl/place.h"
#include "ctl/queue.h"
#include "ctl/quota.h"

#define GIB (UINT64_C(1) << 30)

static struct capacity host(uint32_t vcpu, uint32_t gib, uint32_t t4s) {
    struct capacity c = {
        .cpu_milli = vcpu * 1000, .mem_bytes = gib * GIB, .nr_devices = t4s, .node = "here"};
    for (uint32_t i = 0; i < t4s; i++) {
        snprintf(c.devices[i].type, sizeof(c.devices[i].type), "NVIDIA_TESLA_T4");
        c.devices[i].index = i;
    }
    return c;
}

static struct pool_spec pool(uint32_t replicas, uint32_t vcpu, uint32_t gib, uint32_t t4s) {
    return (struct pool_spec){.replica_count = replicas,
                              .machine = {.type = "n1-standard-4",
                                          .cpu_milli = vcpu * 1000,
                                          .mem_bytes = gib * GIB,
                                          .accel_type = t4s ? "NVIDIA_TESLA_T4" : NULL,
                                          .accel_count = t4s}};
}

static void test_place_grants_what_is_asked_when_it_is_free(void **state) {
    struct capacity c = host(8, 32, 2);
    struct pool_spec pools[] = {pool(1, 4, 15, 1), pool(1, 2, 8, 1)};
    struct job_spec s = {.pools = pools, .nr_pools = 2};
    struct ledger l = {0};
    struct placement p[2];
    assert_true(place(&c, &l, &s, p, NULL));
    assert_int_equal(p[0].cpu_milli, 4000);
    assert_int_equal(p[1].cpu_milli, 2000);
    assert_string_equal(p[0].node, "here");
    assert_false(p[0].clamped);
    assert_int_equal(p[0].devices[0], 0);
    assert_int_equal(p[1].devices[0], 1);
}

static void test_place_says_what_is_missing(void **state) {
    struct capacity c = host(8, 32, 0);
    struct pool_spec pools[] = {pool(1, 4, 30, 0)};
    struct job_spec s = {.pools = pools, .nr_pools = 1};
    struct ledger l = {.cpu_milli = 6000, .mem_bytes = 4 * GIB + GIB / 2};
    struct placement p;
    auto_buf struct buf why = BUF_INIT(512);
    assert_false(place(&c, &l, &s, &p, &why));
    assert_string_equal(buf_cstr(&why), "needs 4 vCPU, 2 of 8 are free; needs 30 GiB of memory, "
                                        "27.5 of 32 are free");
}

static void test_place_clamps_a_gang_so_that_it_fits_the_empty_machine(void **state) {
    struct capacity c = host(2, 8, 0);
    struct pool_spec pools[] = {pool(1, 4, 15, 0), pool(2, 4, 15, 0)};
    struct job_spec s = {.pools = pools, .nr_pools = 2};
    struct ledger l = {0};
    struct placement p[3];
    assert_true(place(&c, &l, &s, p, NULL));
    uint32_t cpu = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(p[i].clamped);
        assert_true(p[i].cpu_milli > 600);
        cpu += p[i].cpu_milli;
    }
    assert_true(cpu <= 2000);
}

static void test_place_shares_too_few_devices_among_the_replicas(void **state) {
    struct capacity c = host(16, 64, 3);
    struct pool_spec pools[] = {pool(1, 1, 1, 2), pool(1, 1, 1, 2)};
    struct job_spec s = {.pools = pools, .nr_pools = 2};
    struct placement p[2];
    place_grants(&c, &s, p);
    assert_int_equal(p[0].nr_devices, 2);
    assert_int_equal(p[1].nr_devices, 1);
    assert_true(p[1].clamped && !p[0].clamped);
}

static void test_place_waits_for_a_device_that_is_held(void **state) {
    struct capacity c = host(16, 64, 1);
    struct pool_spec pools[] = {pool(1, 1, 1, 1)};
    struct job_spec s = {.pools = pools, .nr_pools = 1};
    struct ledger l = {0};
    struct placement first, second;
    auto_buf struct buf why = BUF_INIT(512);
    assert_true(place(&c, &l, &s, &first, NULL));
    ledger_take(&l, &first, 1);
    ledger_take_devices(&l, &c, &first, 1);
    assert_false(place(&c, &l, &s, &second, &why));
    assert_non_null(strstr(buf_cstr(&why), "1 NVIDIA_TESLA_T4"));
    ledger_give(&l, &first, 1);
    ledger_give_devices(&l, &c, &first, 1);
    assert_true(place(&c, &l, &s, &second, NULL));
    assert_int_equal(l.cpu_milli + l.mem_bytes + l.devices + l.replicas, 0);
}

static void test_devices_of_two_names_and_one_index_are_one_device(void **state) {
    struct capacity c = host(16, 64, 2);
    struct pool_spec pools[] = {pool(1, 1, 1, 2)};
    struct job_spec s = {.pools = pools, .nr_pools = 1};
    struct placement p;
    c.devices[1].index = 0;
    place_grants(&c, &s, &p);
    assert_int_equal(p.nr_devices, 1);
}

static void test_strict_machines_name_the_machine_type(void **state) {
    struct capacity c = host(2, 8, 0);
    struct pool_spec pools[] = {pool(1, 2, 8, 0), pool(1, 4, 15, 0)};
    struct job_spec s = {.pools = pools, .nr_pools = 1};
    struct err err;
    assert_int_equal(place_refuse_clamped(&c, &s, &err), 0);
    s.nr_pools = 2;
    pools[0].machine.cpu_milli = 0;
    assert_int_equal(place_refuse_clamped(&c, &s, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.field, "worker_pool_specs["));
    assert_non_null(strstr(err.msg, "n1-standard-4"));
}

static void test_ledger_of_a_machine_that_shrank_has_nothing_free(void **state) {
    struct capacity c = host(2, 8, 0);
    struct placement p = {.cpu_milli = 4000, .mem_bytes = 16 * GIB};
    struct ledger l = {0};
    ledger_take(&l, &p, 1);
    assert_int_equal(ledger_cpu_free(&l, &c), 0);
    assert_int_equal(ledger_mem_free(&l, &c), 0);
    ledger_give(&l, &p, 1);
    assert_int_equal(ledger_cpu_free(&l, &c), 2000);
}

static void test_queue_keeps_class_then_time_then_id(void **state) {
    struct queue q = {0};
    struct queue_node spot = {.klass = 1, .submitted = 1, .id = 1};
    struct queue_node late = {.submitted = 9, .id = 2};
    struct queue_node early_b = {.submitted = 5, .id = 4}, early_a = {.submitted = 5, .id = 3};
    queue_insert(&q, &spot);
    queue_insert(&q, &late);
    queue_insert(&q, &early_b);
    queue_insert(&q, &early_a);
    assert_ptr_equal(queue_at(&q, 0), &early_a);
    assert_ptr_equal(queue_at(&q, 1), &early_b);
    assert_ptr_equal(queue_at(&q, 2), &late);
    assert_int_equal(queue_position(&q, &spot), 4);
    queue_remove(&q, &early_b);
    queue_remove(&q, &early_b);
    assert_int_equal(queue_position(&q, &spot), 3);
    assert_int_equal(queue_position(&q, &early_b), 0);
    assert_null(queue_at(&q, 3));
    queue_fini(&q);
}

static void test_queue_survives_many_heads_taken_and_put_back(void **state) {
    enum { N = 1000 };
    static struct queue_node nodes[N];
    struct queue q = {0};
    for (unsigned i = 0; i < N; i++) {
        nodes[i] = (struct queue_node){.submitted = (i * 7919u) % N, .id = i};
        queue_insert(&q, &nodes[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        struct queue_node *n = queue_at(&q, 0);
        assert_int_equal(n->submitted, i);
        queue_remove(&q, n);
        if (i % 3 == 0) { /* a retry goes back to its place */
            queue_insert(&q, n);
            assert_int_equal(queue_position(&q, n), 1);
            queue_remove(&q, n);
        }
    }
    assert_int_equal(q.n, 0);
    queue_fini(&q);
}

static void test_quota_of_zero_is_no_quota(void **state) {
    auto_buf struct buf why = BUF_INIT(256);
    assert_true(quota_allows(0, 1000, 1000, NULL));
    assert_true(quota_allows(4, 2, 2, &why));
    assert_false(quota_allows(4, 3, 2, &why));
    assert_non_null(strstr(buf_cstr(&why), "max_running"));
    assert_false(quota_allows(4, 9, 1, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_grants_what_is_asked_when_it_is_free),
        cmocka_unit_test(test_place_says_what_is_missing),
        cmocka_unit_test(test_place_clamps_a_gang_so_that_it_fits_the_empty_machine),
        cmocka_unit_test(test_place_shares_too_few_devices_among_the_replicas),
        cmocka_unit_test(test_place_waits_for_a_device_that_is_held),
        cmocka_unit_test(test_devices_of_two_names_and_one_index_are_one_device),
        cmocka_unit_test(test_strict_machines_name_the_machine_type),
        cmocka_unit_test(test_ledger_of_a_machine_that_shrank_has_nothing_free),
        cmocka_unit_test(test_queue_keeps_class_then_time_then_id),
        cmocka_unit_test(test_queue_survives_many_heads_taken_and_put_back),
        cmocka_unit_test(test_quota_of_zero_is_no_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
