#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "engine/machine.h"

#define GB ((uint64_t)1 << 30)

static void expect(const char *name, uint32_t vcpus, uint64_t mem) {
    struct machine_type t;
    if (!machine_type_find(str_of(name), &t)) {
        fail_msg("%s is missing", name);
    }
    assert_string_equal(t.name, name);
    assert_int_equal(t.vcpus, vcpus);
    assert_int_equal(t.mem_bytes, mem);
}

static void published_shapes_are_known(void **state) {
    expect("n1-standard-4", 4, 15 * GB);
    expect("n1-highmem-2", 2, 13 * GB);
    expect("n1-highcpu-16", 16, 15461882265u); /* 14.4 GB */
    expect("e2-highcpu-16", 16, 16 * GB);
    expect("n4-highcpu-80", 80, 160 * GB);
    expect("c2-standard-60", 60, 240 * GB);
    expect("g2-standard-96", 96, 384 * GB);
    expect("g4-standard-384", 384, 1440 * GB);
    expect("a2-highgpu-4g", 48, 340 * GB);
    expect("a2-megagpu-16g", 96, 1360 * GB);
    expect("a3-highgpu-8g", 208, 1872 * GB);
    expect("a3-ultragpu-8g", 224, 2952 * GB);
    expect("a4-highgpu-8g", 224, 3968 * GB);
    expect("a4x-highgpu-4g", 140, 884 * GB);
    expect("m1-ultramem-160", 160, 3844 * GB);
    expect("ct5lp-hightpu-4t", 112, 192 * GB);
}

static void sizes_that_do_not_exist_are_unknown(void **state) {
    static const char *const bad[] = {
        "",
        "n1-standard",
        "n1-standard-",
        "n1-standard-2",
        "n1-standard-04",
        "n1-standard-4x",
        "N1-standard-4",
        "a2-highgpu-1",
        "a2-highgpu-g",
        "a2-highgpu-3g",
        "n1-standard-4 ",
        "n2-standard-2",
        "c2-standard-+4",
        "m1-ultramem-41",
        "e2-micro",
        "custom-4-8192",
        "n1-standard-18446744073709551620",
        "n1-standard-000000000000000000000000000000000000000000000000000000000000000004",
    };
    struct machine_type t;
    for (size_t i = 0; i < NR_OF(bad); i++) {
        if (machine_type_find(str_of(bad[i]), &t)) {
            fail_msg("\"%s\" should be unknown", bad[i]);
        }
    }
}

static bool allowed(const char *m, const char *a, uint32_t n) {
    return machine_accel_is_allowed(str_of(m), str_of(a), n);
}

static void accelerators_pair_as_published(void **state) {
    assert_true(allowed("n1-standard-8", "NVIDIA_TESLA_T4", 1));
    assert_false(allowed("n1-standard-8", "NVIDIA_TESLA_T4", 3));
    assert_false(allowed("n1-standard-8", "NVIDIA_TESLA_T4", 0));
    assert_true(allowed("n1-highmem-2", "NVIDIA_TESLA_V100", 8));
    assert_false(allowed("n1-standard-16", "NVIDIA_TESLA_V100", 1));
    assert_false(allowed("n1-standard-32", "NVIDIA_TESLA_P4", 1));
    assert_true(allowed("n1-highcpu-64", "NVIDIA_TESLA_P100", 4));
    assert_false(allowed("n1-standard-64", "NVIDIA_TESLA_P100", 4));
    assert_false(allowed("n1-standard-96", "NVIDIA_TESLA_P100", 4));
    assert_true(allowed("n1-standard-96", "NVIDIA_TESLA_V100", 8));
    assert_false(allowed("e2-standard-4", "NVIDIA_TESLA_T4", 1));
    assert_true(allowed("g2-standard-24", "NVIDIA_L4", 2));
    assert_false(allowed("g2-standard-24", "NVIDIA_L4", 1));
    assert_true(allowed("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16));
    assert_true(allowed("ct5lp-hightpu-4t", "TPU_V5_LITEPOD", 0));
    assert_false(allowed("ct5lp-hightpu-4t", "TPU_V5_LITEPOD", 4));
    assert_true(allowed("cloud-tpu", "TPU_V3", 32));
    assert_false(allowed("cloud-tpu", "TPU_V3", 33));
    assert_false(allowed("nonsense", "NVIDIA_L4", 1));
    assert_false(allowed("n1-standard-8", "NVIDIA_TESLA_T4", UINT32_MAX));
}

static void gpu_families_bring_their_accelerator(void **state) {
    struct machine_type t;
    assert_true(machine_type_find(STR("a3-highgpu-4g"), &t));
    assert_string_equal(t.builtin_accel, "NVIDIA_H100_80GB");
    assert_int_equal(t.builtin_count, 4);
    assert_true(machine_type_find(STR("g2-standard-12"), &t));
    assert_string_equal(t.builtin_accel, "NVIDIA_L4");
    assert_int_equal(t.builtin_count, 1);
    assert_true(machine_type_find(STR("n1-standard-8"), &t));
    assert_null(t.builtin_accel);
    assert_int_equal(t.builtin_count, 0);
}

static void counts_are_listed_for_messages(void **state) {
    char text[32];
    machine_accel_counts(STR("n1-standard-4"), STR("NVIDIA_TESLA_V100"), text, sizeof(text));
    assert_string_equal(text, "1, 2, 4, 8");
    machine_accel_counts(STR("e2-standard-4"), STR("NVIDIA_TESLA_V100"), text, sizeof(text));
    assert_string_equal(text, "");
    char tiny[3];
    machine_accel_counts(STR("n1-standard-4"), STR("NVIDIA_TESLA_V100"), tiny, sizeof(tiny));
    assert_string_equal(tiny, "1,");
}

static void accelerator_names_are_the_published_ones(void **state) {
    assert_true(machine_accel_is_known(STR("NVIDIA_TESLA_K80")));
    assert_true(machine_accel_is_known(STR("NVIDIA_RTX_PRO_6000")));
    assert_false(machine_accel_is_known(STR("ACCELERATOR_TYPE_UNSPECIFIED")));
    assert_false(machine_accel_is_known(STR("nvidia_l4")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_shapes_are_known),
        cmocka_unit_test(sizes_that_do_not_exist_are_unknown),
        cmocka_unit_test(accelerators_pair_as_published),
        cmocka_unit_test(gpu_families_bring_their_accelerator),
        cmocka_unit_test(counts_are_listed_for_messages),
        cmocka_unit_test(accelerator_names_are_the_published_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
