/* The generated contract: tables agree with the descriptors, every method is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pb/aip.h"
#include "pb/pbinfo.h"
#include "pb/rpc.h"

static void test_every_message_reaches_its_table_and_every_field_both_names(void **state) {
    assert_true(pb_msg_table_n > 500);
    for (size_t i = 0; i < pb_msg_table_n; i++) {
        const struct pb_msg_info *info = pb_msg_table[i];
        assert_ptr_equal(pb_info(info->desc), info);
        assert_ptr_equal(pb_msg_find(str_of(info->desc->name)), info->desc);
        for (unsigned f = 0; f < info->desc->n_fields; f++) {
            const ProtobufCFieldDescriptor *fd = &info->desc->fields[f];
            assert_int_equal(pb_field_find(info->desc, str_of(fd->name)), f);
            assert_int_equal(pb_field_find(info->desc, str_of(info->fields[f].json)), f);
            const ProtobufCMessageDescriptor *sub =
                fd->type == PROTOBUF_C_TYPE_MESSAGE ? fd->descriptor : NULL;
            assert_int_equal((info->fields[f].flags & PB_F_MAP) != 0,
                             sub && pb_info(sub)->kind == PB_KIND_MAP_ENTRY);
        }
        assert_int_equal(pb_field_find(info->desc, STR("noSuchField")), -1);
        assert_int_equal(pb_field_find(info->desc, STR("")), -1);
    }
    assert_null(pb_msg_find(STR("google.cloud.aiplatform.v1.CustomJo")));
    assert_ptr_equal(pb_msg_find(STR("google.cloud.aiplatform.v1beta1.CustomJob")),
                     &aip__custom_job__descriptor);
}

static void test_custom_job_carries_behaviour_and_resource(void **state) {
    const struct pb_msg_info *job = pb_info(&aip__custom_job__descriptor);
    int name = pb_field_find(job->desc, STR("displayName"));
    int state_field = pb_field_find(job->desc, STR("state"));
    int labels = pb_field_find(job->desc, STR("labels"));
    assert_true(job->fields[name].flags & PB_F_REQUIRED);
    assert_true(job->fields[state_field].flags & PB_F_OUTPUT_ONLY);
    assert_true(job->fields[labels].flags & PB_F_MAP);
    assert_string_equal(job->resource->type, "aiplatform.googleapis.com/CustomJob");
    assert_string_equal(job->resource->patterns[0],
                        "projects/{project}/locations/{location}/customJobs/{custom_job}");
    const struct pb_msg_info *spec = pb_info(&aip__study_spec__descriptor);
    int stop = pb_field_find(spec->desc, STR("studyStoppingConfig"));
    assert_true(spec->fields[stop].flags & PB_F_OPTIONAL);
}

static void test_methods_are_found_by_grpc_name_and_beta_shares_the_id(void **state) {
    const struct rpc_method *v1 =
        rpc_find(STR("google.cloud.aiplatform.v1.JobService/CreateCustomJob"));
    const struct rpc_method *beta =
        rpc_find(STR("google.cloud.aiplatform.v1beta1.JobService/CreateCustomJob"));
    assert_non_null(v1);
    assert_non_null(beta);
    assert_int_equal(v1->id, RPC_JOB_CREATE_CUSTOM_JOB);
    assert_int_equal(beta->id, v1->id);
    assert_true(beta->is_beta && !v1->is_beta);
    assert_ptr_equal(v1->input, &aip__create_custom_job_request__descriptor);
    assert_ptr_equal(v1->output, &aip__custom_job__descriptor);
    assert_null(rpc_find(STR("google.cloud.aiplatform.v1.JobService/Nope")));
    for (size_t i = 0; i < rpc_table_n; i++) {
        assert_ptr_equal(rpc_find(str_of(rpc_table[i].full)), &rpc_table[i]);
        assert_true(rpc_table[i].id == RPC_NONE || (rpc_table[i].input && rpc_table[i].output));
    }
    const struct rpc_method *up =
        rpc_find(STR("google.cloud.aiplatform.v1.ModelService/UploadModel"));
    assert_string_equal(up->lro_response, "google.cloud.aiplatform.v1.UploadModelResponse");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_reaches_its_table_and_every_field_both_names),
        cmocka_unit_test(test_custom_job_carries_behaviour_and_resource),
        cmocka_unit_test(test_methods_are_found_by_grpc_name_and_beta_shares_the_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
