/* The embedded .proto descriptors: whole, indexed, closed under imports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pb/descset.h"
#include "pb/rpc.h"

static const char job_service[] = "google/cloud/aiplatform/v1/job_service.proto";

static uint64_t varint(struct str *s) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        assert_true(s->n > 0);
        unsigned char b = (unsigned char)s->p[0];
        *s = str_sub(*s, 1, s->n);
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128) {
            break;
        }
    }
    return v;
}

/* Next top-level length-delimited field of a FileDescriptorProto (it has no other kind but two). */
static unsigned field(struct str *s, struct str *value) {
    uint64_t tag = varint(s), n = varint(s);
    if ((tag & 7) == 0) {
        *value = (struct str){0};
        return (unsigned)(tag >> 3);
    }
    assert_int_equal(tag & 7, 2);
    assert_true(n <= s->n);
    *value = str_sub(*s, 0, n);
    *s = str_sub(*s, n, s->n);
    return (unsigned)(tag >> 3);
}

static bool holds(const uint16_t *files, size_t n, int file) {
    for (size_t i = 0; i < n; i++) {
        if (files[i] == file) {
            return true;
        }
    }
    return false;
}

static void test_every_file_is_whole_and_its_closure_has_what_it_imports(void **state) {
    uint16_t closure[DESCSET_FILES_MAX];
    assert_true(descset_file_count() > 100);
    for (int f = 0; f < (int)descset_file_count(); f++) {
        struct str rest = descset_file_bytes(f), value;
        size_t n = descset_closure(f, closure);
        bool named = false;
        assert_int_equal(closure[0], f);
        assert_int_equal(descset_by_name(descset_file_name(f)), f);
        while (rest.n) {
            unsigned number = field(&rest, &value);
            if (number == 1) {
                assert_true(str_eq(value, descset_file_name(f)));
                named = true;
            } else if (number == 3) { /* dependency */
                assert_true(holds(closure, n, descset_by_name(value)));
            }
        }
        assert_true(named);
        for (size_t i = 0; i < n; i++) { /* closed: what they import is there too */
            uint16_t inner[DESCSET_FILES_MAX];
            size_t n_inner = descset_closure(closure[i], inner);
            for (size_t k = 0; k < n_inner; k++) {
                assert_true(holds(closure, n, inner[k]));
            }
        }
    }
    assert_int_equal(descset_by_name(STR("no/such.proto")), -1);
    assert_int_equal(descset_by_name(STR("")), -1);
}

static void test_every_served_method_and_service_is_found(void **state) {
    for (size_t i = 0; i < rpc_table_n; i++) {
        char dotted[256];
        snprintf(dotted, sizeof(dotted), "%s", rpc_table[i].full);
        char *slash = strchr(dotted, '/');
        *slash = '.';
        int file = descset_by_symbol(str_of(dotted));
        assert_true(file >= 0);
        *slash = 0;
        assert_int_equal(descset_by_symbol(str_of(dotted)), file);
        bool listed = false;
        for (size_t s = 0; s < descset_service_count(); s++) {
            listed |= str_eqc(descset_service(s), dotted);
        }
        assert_true(listed);
    }
    for (size_t s = 1; s < descset_service_count(); s++) {
        assert_true(str_cmp(descset_service(s - 1), descset_service(s)) < 0);
    }
    assert_null(descset_service(descset_service_count()).p);
}

static void test_symbols_of_both_versions_enums_and_fields_are_found(void **state) {
    static const struct {
        const char *symbol, *file;
    } cases[] = {
        {"google.cloud.aiplatform.v1.JobService", job_service},
        {"google.cloud.aiplatform.v1.JobState", "google/cloud/aiplatform/v1/job_state.proto"},
        {"google.cloud.aiplatform.v1.StudySpec.Algorithm",
         "google/cloud/aiplatform/v1/study.proto"},
        {"google.cloud.aiplatform.v1.CustomJob.LabelsEntry",
         "google/cloud/aiplatform/v1/custom_job.proto"},
        {"google.cloud.aiplatform.v1.CustomJob.display_name",
         "google/cloud/aiplatform/v1/custom_job.proto"},
        {"google.cloud.aiplatform.v1beta1.CustomJob",
         "google/cloud/aiplatform/v1beta1/custom_job.proto"},
        {"google.protobuf.Timestamp", "google/protobuf/timestamp.proto"},
        {"google.api.http", "google/api/annotations.proto"},
        {"grpc.health.v1.Health", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        int file = descset_by_symbol(str_of(cases[i].symbol));
        if (file < 0 || !str_eqc(descset_file_name(file), cases[i].file)) {
            fail_msg("%s is not in %s", cases[i].symbol, cases[i].file);
        }
    }
    static const char *const unknown[] = {"",
                                          ".",
                                          "google",
                                          "google.cloud.aiplatform.v1",
                                          "google.cloud.aiplatform.v1.Nope",
                                          "google.cloud.aiplatform.v1.JobService.Nope",
                                          "google.cloud.aiplatform.v1.JobState.x"};
    for (size_t i = 0; i < NR_OF(unknown); i++) {
        assert_int_equal(descset_by_symbol(str_of(unknown[i])), -1);
    }
}

static void test_extensions_are_found_by_extendee(void **state) {
    uint32_t numbers[8];
    struct str method = STR("google.protobuf.MethodOptions");
    size_t n = descset_extension_numbers(method, numbers, NR_OF(numbers));
    bool has_http = false;
    assert_in_range(n, 2, NR_OF(numbers));
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || numbers[i - 1] < numbers[i]);
        assert_true(descset_by_extension(method, numbers[i]) >= 0);
        has_http |= numbers[i] == 72295728;
    }
    assert_true(has_http);
    assert_int_equal(descset_extension_numbers(method, numbers, 1), n);
    assert_int_equal(descset_by_extension(method, 1), -1);
    assert_int_equal(
        descset_extension_numbers(STR("google.cloud.aiplatform.v1.CustomJob"), numbers, 8), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_file_is_whole_and_its_closure_has_what_it_imports),
        cmocka_unit_test(test_every_served_method_and_service_is_found),
        cmocka_unit_test(test_symbols_of_both_versions_enums_and_fields_are_found),
        cmocka_unit_test(test_extensions_are_found_by_extendee),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
