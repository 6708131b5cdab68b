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

static void test_the_services_beside_aiplatform_are_known_by_grpc_name(void **state) {
    static const struct {
        const char *full;
        enum rpc_id id;
        bool cs, ss;
    } cases[] = {
        {"grpc.health.v1.Health/Check", RPC_HEALTH_CHECK, false, false},
        {"grpc.health.v1.Health/Watch", RPC_HEALTH_WATCH, false, true},
        {"grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
         RPC_SERVER_REFLECTION_SERVER_REFLECTION_INFO, true, true},
        {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
         RPC_SERVER_REFLECTION_SERVER_REFLECTION_INFO, true, true},
        {"google.cloud.resourcemanager.v3.Projects/GetProject", RPC_PROJECTS_GET_PROJECT, false,
         false},
        {"google.logging.v2.LoggingServiceV2/ListLogEntries", RPC_LOGGING_LIST_LOG_ENTRIES, false,
         false},
        {"google.logging.v2.LoggingServiceV2/TailLogEntries", RPC_LOGGING_TAIL_LOG_ENTRIES, true,
         true},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        const struct rpc_method *m = rpc_find(str_of(cases[i].full));
        assert_non_null(m);
        assert_int_equal(m->id, cases[i].id);
        assert_int_equal(m->client_streams, cases[i].cs);
        assert_int_equal(m->server_streams, cases[i].ss);
        assert_non_null(m->input);
        assert_non_null(m->output);
        assert_false(m->is_beta);
    }
    const struct rpc_method *alpha =
        rpc_find(STR("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"));
    assert_ptr_equal(alpha->input, &grpc__reflection__v1__server_reflection_request__descriptor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_reaches_its_table_and_every_field_both_names),
        cmocka_unit_test(test_custom_job_carries_behaviour_and_resource),
        cmocka_unit_test(test_methods_are_found_by_grpc_name_and_beta_shares_the_id),
        cmocka_unit_test(test_the_services_beside_aiplatform_are_known_by_grpc_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
