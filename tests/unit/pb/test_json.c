/* JSON both ways on real messages: accepted spellings, error texts, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pb/aip.h"
#include "pb/pb.h"
#include "pb/pbmask.h"

struct fix {
    struct arena *a;
    struct violations vs;
    struct err err;
    struct buf out;
    enum pb_version version; /* PB_V1 unless the test says otherwise */
};

static int setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    f->a = arena_new(8 << 20);
    violations_init(&f->vs, f->a);
    buf_init(&f->out, 8 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fix *f = *state;
    arena_free(f->a);
    buf_fini(&f->out);
    free(f);
    return 0;
}

static ProtobufCMessage *read_as(struct fix *f, const ProtobufCMessageDescriptor *d,
                                 const char *json) {
    ProtobufCMessage *m = NULL;
    if (pb_from_json(f->a, d, f->version, str_of(json), "custom_job", &m, &f->vs, &f->err)) {
        assert_null(m);
        return NULL;
    }
    return m;
}

static const char *write_as(struct fix *f, const ProtobufCMessage *m, struct pb_json_opts o) {
    o.compact = true;
    buf_clear(&f->out);
    assert_int_equal(pb_to_json(m, &o, &f->out, &f->err), 0);
    return buf_cstr(&f->out);
}

/* JSON in, JSON out, compact. */
static const char *through(struct fix *f, const ProtobufCMessageDescriptor *d, const char *json) {
    ProtobufCMessage *m = read_as(f, d, json);
    if (!m) {
        fail_msg("%s: %s", json, f->err.msg);
    }
    return write_as(f, m, (struct pb_json_opts){0});
}

#define JOB &aip__custom_job__descriptor

static void assert_rejected(struct fix *f, const ProtobufCMessageDescriptor *d, const char *json,
                            const char *field, const char *text) {
    size_t n = f->vs.n;
    if (read_as(f, d, json)) {
        fail_msg("accepted: %s", json);
    }
    assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(f->vs.n, n + 1);
    assert_string_equal(f->vs.v[n].field.p, field);
    assert_string_equal(f->vs.v[n].description.p, text);
    violations_init(&f->vs, f->a);
}

static void test_both_spellings_are_read_and_camel_is_written(void **state) {
    struct fix *f = *state;
    assert_string_equal(
        through(f, JOB,
                "{\"display_name\":\"a\",\"jobSpec\":{\"worker_pool_specs\":[{\"replicaCount\":"
                "\"2\",\"machine_spec\":{\"machineType\":\"n1-standard-4\"}}]}}"),
        "{\"displayName\":\"a\",\"jobSpec\":{\"workerPoolSpecs\":[{\"machineSpec\":{"
        "\"machineType\":"
        "\"n1-standard-4\"},\"replicaCount\":\"2\"}]}}");
    /* both in one object: the last one wins */
    assert_string_equal(through(f, JOB, "{\"displayName\":\"a\",\"display_name\":\"b\"}"),
                        "{\"displayName\":\"b\"}");
    assert_string_equal(through(f, JOB, "{\"labels\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}}"),
                        "{\"labels\":{\"a\":\"3\",\"b\":\"2\"}}");
}

static void test_integers_may_be_numbers_strings_or_whole_doubles(void **state) {
    struct fix *f = *state;
    const ProtobufCMessageDescriptor *d = &aip__worker_pool_spec__descriptor;
    assert_string_equal(through(f, d, "{\"replicaCount\":3}"), "{\"replicaCount\":\"3\"}");
    assert_string_equal(through(f, d, "{\"replicaCount\":\"3\"}"), "{\"replicaCount\":\"3\"}");
    assert_string_equal(through(f, d, "{\"replicaCount\":3.0}"), "{\"replicaCount\":\"3\"}");
    assert_string_equal(through(f, d, "{\"replicaCount\":9223372036854775807}"),
                        "{\"replicaCount\":\"9223372036854775807\"}");
    assert_rejected(
        f, d, "{\"replicaCount\":9223372036854775808}", "custom_job.replica_count",
        "Invalid value at 'custom_job.replica_count' (TYPE_INT64), 9223372036854775808");
    assert_rejected(f, d, "{\"replicaCount\":1.5}", "custom_job.replica_count",
                    "Invalid value at 'custom_job.replica_count' (TYPE_INT64), 1.5");
    assert_rejected(f, d, "{\"replicaCount\":\"0x10\"}", "custom_job.replica_count",
                    "Invalid value at 'custom_job.replica_count' (TYPE_INT64), \"0x10\"");
}

static void test_enums_by_name_or_number_and_unknown_numbers_kept(void **state) {
    struct fix *f = *state;
    const ProtobufCMessageDescriptor *d = &aip__machine_spec__descriptor;
    assert_string_equal(through(f, d, "{\"acceleratorType\":\"NVIDIA_TESLA_T4\"}"),
                        "{\"acceleratorType\":\"NVIDIA_TESLA_T4\"}");
    assert_string_equal(through(f, d, "{\"acceleratorType\":5}"),
                        "{\"acceleratorType\":\"NVIDIA_TESLA_T4\"}");
    assert_string_equal(through(f, d, "{\"acceleratorType\":4321}"), "{\"acceleratorType\":4321}");
    ProtobufCMessage *m = read_as(f, d, "{\"acceleratorType\":\"NVIDIA_TESLA_T4\"}");
    assert_string_equal(write_as(f, m, (struct pb_json_opts){.enum_ints = true}),
                        "{\"acceleratorType\":5}");
    assert_rejected(f, d, "{\"acceleratorType\":\"T4\"}", "custom_job.accelerator_type",
                    "Invalid value at 'custom_job.accelerator_type' "
                    "(type.googleapis.com/google.cloud.aiplatform.v1.AcceleratorType), \"T4\"");
}

static void test_unset_is_omitted_and_explicit_zero_of_optional_is_kept(void **state) {
    struct fix *f = *state;
    assert_string_equal(through(f, JOB,
                                "{\"displayName\":\"\",\"labels\":{},\"state\":0,"
                                "\"jobSpec\":null}"),
                        "{}");
    assert_string_equal(through(f, JOB, ""), "{}");
    const ProtobufCMessageDescriptor *d = &aip__examples__descriptor;
    (void)d;
    /* proto3 optional: MeanAndVariance of a Feature noise etc. have none; a double range has */
    d = &aip__study_spec__parameter_spec__double_value_spec__descriptor;
    assert_string_equal(through(f, d, "{\"minValue\":0,\"maxValue\":1.5,\"defaultValue\":0}"),
                        "{\"maxValue\":1.5,\"defaultValue\":0}");
}

static void test_well_known_types_use_their_own_forms(void **state) {
    struct fix *f = *state;
    assert_string_equal(through(f, JOB, "{\"createTime\":\"2024-05-01T12:00:00.5+02:00\"}"),
                        "{\"createTime\":\"2024-05-01T10:00:00.500Z\"}");
    assert_string_equal(through(f, &aip__scheduling__descriptor, "{\"timeout\":\"3600s\"}"),
                        "{\"timeout\":\"3600s\"}");
    assert_string_equal(through(f, &google__protobuf__duration__descriptor, "\"-1.500s\""),
                        "\"-1.500s\"");
    assert_string_equal(through(f, &google__protobuf__field_mask__descriptor,
                                "\"displayName,labels.a_b,job_spec\""),
                        "\"displayName,labels.aB,jobSpec\"");
    assert_string_equal(through(f, &google__protobuf__value__descriptor,
                                "{\"a\":[1,null,\"x\",{\"b\":true}],\"c\":{}}"),
                        "{\"a\":[1,null,\"x\",{\"b\":true}],\"c\":{}}");
    assert_string_equal(through(f, &aip__dataset__descriptor, "{\"metadata\":null}"),
                        "{\"metadata\":null}");
    assert_string_equal(through(f, &google__protobuf__bytes_value__descriptor, "\"-_8\""),
                        "\"+/8=\"");
    assert_rejected(
        f, JOB, "{\"createTime\":\"2024-05-01T12:00:00\"}", "custom_job.create_time",
        "Invalid value at 'custom_job.create_time' "
        "(type.googleapis.com/google.protobuf.Timestamp), Field 'create_time', Illegal "
        "timestamp format; timestamps must end with 'Z' or have a valid timezone offset: "
        "\"2024-05-01T12:00:00\"");
}

static void test_any_is_packed_by_its_type_and_beta_names_are_written_on_request(void **state) {
    struct fix *f = *state;
    const ProtobufCMessageDescriptor *d = &google__longrunning__operation__descriptor;
    const char *json =
        "{\"name\":\"o\",\"done\":true,\"response\":{\"labels\":{\"a\":\"b\"},\"@type\":"
        "\"type.googleapis.com/google.cloud.aiplatform.v1.Dataset\"}}";
    ProtobufCMessage *m = read_as(f, d, json);
    assert_non_null(m);
    assert_string_equal(write_as(f, m, (struct pb_json_opts){0}),
                        "{\"name\":\"o\",\"done\":true,\"response\":{\"@type\":"
                        "\"type.googleapis.com/google.cloud.aiplatform.v1.Dataset\","
                        "\"labels\":{\"a\":\"b\"}}}");
    assert_non_null(strstr(write_as(f, m, (struct pb_json_opts){.version = PB_V1BETA1}),
                           "google.cloud.aiplatform.v1beta1.Dataset"));
    assert_string_equal(
        through(f, &google__protobuf__any__descriptor,
                "{\"@type\":\"type.googleapis.com/google.protobuf.Duration\","
                "\"value\":\"1s\"}"),
        "{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1s\"}");
    assert_rejected(
        f, d, "{\"response\":{\"@type\":\"x/y.Z\"}}", "custom_job.response",
        "Invalid value at 'custom_job.response' (type.googleapis.com/google.protobuf.Any),"
        " Invalid type URL, unknown type: y.Z");
}

static void test_errors_name_path_and_cause(void **state) {
    struct fix *f = *state;
    assert_rejected(f, JOB, "{\"jobSpec\":{\"workerPoolSpecs\":[{\"foo\":{\"deep\":[1]}}]}}",
                    "custom_job.job_spec.worker_pool_specs[0]",
                    "Invalid JSON payload received. Unknown name \"foo\" at "
                    "'custom_job.job_spec.worker_pool_specs[0]': Cannot find field.");
    assert_rejected(f, JOB, "{\"displayName\":1}", "custom_job.display_name",
                    "Invalid value at 'custom_job.display_name' (TYPE_STRING), 1");
    assert_rejected(f, JOB, "{\"displayName\":[\"a\"]}", "custom_job",
                    "Invalid JSON payload received. Unknown name \"display_name\" at 'custom_job': "
                    "Proto field is not repeating, cannot start list.");
    assert_rejected(
        f, JOB, "{\"displayName\":{}}", "custom_job.display_name",
        "Invalid value at 'custom_job.display_name' (TYPE_STRING), Starting an object on "
        "a scalar field");
    assert_rejected(f, JOB, "{\"labels\":{\"k\":1}}", "custom_job.labels[0].value",
                    "Invalid value at 'custom_job.labels[0].value' (TYPE_STRING), 1");
    assert_rejected(f, JOB, "{\"jobSpec\":\"abc\"}", "custom_job.job_spec",
                    "Invalid value at 'custom_job.job_spec' "
                    "(type.googleapis.com/google.cloud.aiplatform.v1.CustomJobSpec), \"abc\"");
    assert_rejected(
        f, &aip__worker_pool_spec__descriptor, "{\"containerSpec\":{},\"pythonPackageSpec\":{}}",
        "custom_job",
        "Invalid value at 'custom_job' (oneof), oneof field 'task' is already set. Cannot "
        "set 'pythonPackageSpec'");
    assert_rejected(f, &aip__container_spec__descriptor, "{\"args\":[\"a\",null]}",
                    "custom_job.args[1]",
                    "Invalid value at 'custom_job.args[1]' (TYPE_STRING), null");
    assert_rejected(f, &aip__container_spec__descriptor, "{\"args\":[\"a\\u0000\"]}",
                    "custom_job.args[0]",
                    "Invalid value at 'custom_job.args[0]' (TYPE_STRING), NUL characters are not "
                    "supported");
}

static void test_all_errors_are_found_at_once(void **state) {
    struct fix *f = *state;
    assert_null(read_as(f, JOB,
                        "{\"displayName\":1,\"nope\":2,\"labels\":{\"a\":3,\"b\":\"x\"},"
                        "\"jobSpec\":{\"workerPoolSpecs\":[{\"x\":1},{\"y\":1}]}}"));
    assert_int_equal(f->vs.n, 5);
    assert_non_null(strstr(f->err.msg, "\"nope\""));
    assert_non_null(strstr(f->err.msg, "worker_pool_specs[1]"));
}

static void test_malformed_text_is_refused_with_its_position(void **state) {
    struct fix *f = *state;
    static const char *const bad[] = {
        "{",
        "{\"a\"",
        "{\"a\":}",
        "{a:1}",
        "[",
        "{\"labels\":{},}",
        "{} {}",
        "nul",
        "{\"displayName\":\"\t\"}",
        "{\"displayName\":\"\\x\"}",
        "{\"displayName\":\"\\ud800\"}",
        "{\"displayName\":01}",
        "{\"displayName\":1.}",
        "{\"displayName\":+1}",
        "{\"labels\":{\"a\" \"b\"}}",
        "{\"jobSpec\":{\"args\":[1 2]}}",
        "\xef\xbb\xbf{}",
        "{\"displayName\":\"\xff\"}",
        "{\"displayName\":\"abc",
        "{'displayName':'a'}",
        "{\"displayName\":\"a\",/**/\"labels\":{}}",
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        memset(&f->err, 0, sizeof(f->err));
        if (read_as(f, JOB, bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
        assert_memory_equal(f->err.msg, "Invalid JSON payload received. ", 31);
    }
    assert_null(read_as(f, JOB, "{\n \"displayName\": }"));
    assert_string_equal(f->err.msg, "Invalid JSON payload received. Expected a value at line 2, "
                                    "column 17.\n \"displayName\": }\n                ^");
    assert_null(read_as(f, JOB, "[1]"));
    assert_string_equal(f->err.msg, "Invalid JSON payload received. Unknown name \"\" at "
                                    "'custom_job': Root element must be a message.");
}

static char *repeat(struct fix *f, const char *open, const char *mid, const char *close, size_t n) {
    buf_clear(&f->out);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&f->out, open);
    }
    buf_puts(&f->out, mid);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&f->out, close);
    }
    return arena_strdup(f->a, buf_cstr(&f->out));
}

static void test_nesting_is_bounded_and_what_is_read_fits_the_wire(void **state) {
    struct fix *f = *state;
    struct arena *big = arena_new(64 << 20);
    struct fix g = {.a = big};
    violations_init(&g.vs, big);
    buf_init(&g.out, 64 << 20);
    const ProtobufCMessageDescriptor *v = &google__protobuf__value__descriptor;
    /* a list costs two messages (Value, ListValue), an object three */
    assert_non_null(read_as(&g, v, repeat(&g, "[", "1", "]", 50)));
    assert_null(read_as(&g, v, repeat(&g, "[", "1", "]", 51)));
    assert_non_null(strstr(g.err.msg, "max_proto_depth"));
    assert_non_null(read_as(&g, v, repeat(&g, "{\"a\":", "1", "}", 33)));
    assert_null(read_as(&g, v, repeat(&g, "{\"a\":", "1", "}", 34)));
    assert_null(read_as(&g, v, repeat(&g, "[", "", "]", 1000000)));
    /* unknown fields are skipped under the same limit */
    char *bomb = repeat(&g, "[", "", "]", 200000);
    assert_null(read_as(&g, JOB, arena_printf(big, "{\"x\":%s}", bomb)));
    assert_non_null(strstr(g.err.msg, "max_json_depth"));

    static const struct {
        const char *open, *close;
        size_t n;
    } deepest[] = {{"[", "]", 50}, {"{\"a\":", "}", 33}};
    for (size_t i = 0; i < NR_OF(deepest); i++) {
        ProtobufCMessage *m =
            read_as(&g, v, repeat(&g, deepest[i].open, "1", deepest[i].close, deepest[i].n));
        auto_buf struct buf wire = BUF_INIT(1 << 20);
        assert_int_equal(pb_pack(m, &wire), 0);
        assert_int_equal(pb_unpack(f->a, v, buf_str(&wire), &m, &f->err), 0);
        write_as(f, m, (struct pb_json_opts){0});
    }
    arena_free(big);
    buf_fini(&g.out);
}

static void test_memory_is_bounded_by_the_arena(void **state) {
    struct fix *f = *state;
    struct arena *small = arena_new(16384);
    struct violations vs;
    ProtobufCMessage *m = NULL;
    violations_init(&vs, small);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, "{\"workerPoolSpecs\":[{}");
    for (int i = 0; i < 2000; i++) {
        buf_puts(&b, ",{}");
    }
    buf_puts(&b, "]}");
    assert_int_equal(pb_from_json(small, &aip__custom_job_spec__descriptor, PB_V1, buf_str(&b), "",
                                  &m, &vs, &f->err),
                     -1);
    assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
    arena_free(small);
}

static void test_fields_mask_selects(void **state) {
    struct fix *f = *state;
    ProtobufCMessage *m =
        read_as(f, &aip__list_custom_jobs_response__descriptor,
                "{\"customJobs\":[{\"name\":\"n\",\"displayName\":\"d\",\"labels\":"
                "{\"a\":\"1\",\"b\":\"2\"}},{\"name\":\"m\"}],\"nextPageToken\":\"t\"}");
    static const struct {
        const char *mask, *want;
    } cases[] = {
        {"nextPageToken", "{\"nextPageToken\":\"t\"}"},
        {"customJobs(name,labels/a)",
         "{\"customJobs\":[{\"name\":\"n\",\"labels\":{\"a\":\"1\"}},{\"name\":\"m\"}]}"},
        {"custom_jobs.display_name,next_page_token",
         "{\"customJobs\":[{\"displayName\":\"d\"},{}],\"nextPageToken\":\"t\"}"},
        {"*/name", "{\"customJobs\":[{\"name\":\"n\"},{\"name\":\"m\"}],\"nextPageToken\":\"t\"}"},
        {"nothing", "{}"},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        const struct pb_mask *mask;
        assert_int_equal(pb_mask_parse(f->a, str_of(cases[i].mask), &mask, &f->err), 0);
        assert_string_equal(write_as(f, m, (struct pb_json_opts){.mask = mask}), cases[i].want);
    }
    static const char *const bad[] = {"a(", "a)", "(a)", "a,,b", ",", "a(b", "a/", "a()"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        const struct pb_mask *mask;
        assert_int_equal(pb_mask_parse(f->a, str_of(bad[i]), &mask, &f->err), -1);
    }
}

static void test_pretty_output_indents_by_two(void **state) {
    struct fix *f = *state;
    ProtobufCMessage *m = read_as(f, JOB, "{\"displayName\":\"d\",\"labels\":{\"a\":\"1\"}}");
    buf_clear(&f->out);
    assert_int_equal(pb_to_json(m, NULL, &f->out, &f->err), 0);
    assert_string_equal(buf_cstr(&f->out),
                        "{\n  \"displayName\": \"d\",\n  \"labels\": {\n    \"a\": \"1\"\n  }\n}");
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
/* Free-form values come back as they went in. What google.protobuf.Value cannot hold is what the
 * published service loses too: the spelling of a number, integers past 2^53, and a key's earlier
 * values. */
static void test_free_form_values_are_echoed(void **state) {
    struct fix *f = *state;
    static const struct {
        const char *in, *out; /* out NULL: as in */
    } cases[] = {
        {"{\"zulu\":1,\"alpha\":2,\"mike\":3}", NULL}, /* the order of keys */
        {"{\"snake_case\":1,\"camelCase\":2,\"UPPER\":3,\"with space\":4,\"\":5}", NULL},
        {"{\"a\":[1,\"1\",true,null,[],{},[[]],{\"b\":null}]}", NULL},
        {"{\"a\":\"1.0\",\"b\":\"true\",\"c\":\"null\",\"d\":\"\"}", NULL}, /* text stays text */
        {"[0.1,-0.5,1e-07,1.5e+300,-0]", "[0.1,-0.5,1e-07,1.5e+300,-0]"},
        {"[1.0,1e2,100.00,0.10]", "[1,100,100,0.1]"},
        {"[9007199254740992,-9007199254740991]", NULL},
        {"9007199254740993", "9007199254740992"},
        {"\"\u00e9\\u00e9 \\ud83d\\ude00 \\u002f \\\" \\\\ \\n\"",
         "\"\u00e9\u00e9 \U0001F600 / \\\" \\\\ \\n\""},
        {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}"},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        const char *want = cases[i].out ? cases[i].out : cases[i].in;
        assert_string_equal(through(f, &google__protobuf__value__descriptor, cases[i].in), want);
    }
    static const char *const refused[] = {"1e999", "NaN", "\"\\u0000\"", "\"\\ud83d\"", "01"};
    for (size_t i = 0; i < NR_OF(refused); i++) {
        f->vs.n = 0;
        assert_null(read_as(f, &google__protobuf__value__descriptor, refused[i]));
    }
}

/* What the Python SDK puts into trainingTaskInputs: snake_case with doubles for integers around
 * camelCase parts (reference 20 §1.5). */
static void test_a_value_is_read_as_a_message_in_either_spelling(void **state) {
    struct fix *f = *state;
    ProtobufCMessage *v = read_as(f, &google__protobuf__value__descriptor,
                                  "{\"worker_pool_specs\":[{\"machine_spec\":{\"machine_type\":"
                                  "\"m\",\"accelerator_type\":5.0,"
                                  "\"acceleratorCount\":\"1\"},\"replica_count\":1.0,"
                                  "\"containerSpec\":{\"imageUri\":\"i\"}}],"
                                  "\"base_output_directory\":{\"output_uri_prefix\":\"gs://b\"}}");
    ProtobufCMessage *m = NULL;
    assert_non_null(v);
    assert_int_equal(pb_from_value(f->a, &aip__custom_job_spec__descriptor, PB_V1, v,
                                   "training_task_inputs", &m, &f->vs, &f->err),
                     0);
    const Aip__CustomJobSpec *s = (const Aip__CustomJobSpec *)m;
    assert_int_equal(s->worker_pool_specs[0]->replica_count, 1);
    assert_int_equal(s->worker_pool_specs[0]->machine_spec->accelerator_type, 5);
    assert_int_equal(s->worker_pool_specs[0]->machine_spec->accelerator_count, 1);
    assert_string_equal(s->worker_pool_specs[0]->container_spec->image_uri, "i");
    assert_string_equal(s->base_output_directory->output_uri_prefix, "gs://b");

    v = read_as(f, &google__protobuf__value__descriptor,
                "{\"TIMEOUT\":1,\"worker_pool_specs\":[{\"replica_count\":1.5}]}");
    assert_int_equal(pb_from_value(f->a, &aip__custom_job_spec__descriptor, PB_V1, v,
                                   "training_task_inputs", &m, &f->vs, &f->err),
                     -1);
    assert_int_equal(f->vs.n, 2);
    assert_string_equal(f->vs.v[0].field.p, "training_task_inputs");
    assert_string_equal(f->vs.v[1].field.p,
                        "training_task_inputs.worker_pool_specs[0].replica_count");
}

/* What only v1beta1 has: a plain field, a message, a oneof member. */
#define BETA_STUDY                                                                                 \
    "{\"studySpec\":{\"convexStopConfig\":{\"maxNumSteps\":\"9\"},\"transferLearningConfig\":{"    \
    "\"disableTransferLearning\":true}}}"

static void test_beta_only_fields_are_read_and_shown_by_beta_alone(void **state) {
    struct fix *f = *state;
    static const char machine[] =
        "{\"machineType\":\"n1-standard-4\",\"minGpuDriverVersion\":\"535\"}";
    const ProtobufCMessageDescriptor *study = &aip__hyperparameter_tuning_job__descriptor;
    assert_null(read_as(f, &aip__machine_spec__descriptor, machine));
    assert_string_equal(f->vs.v[0].description.p,
                        "Invalid JSON payload received. Unknown name \"minGpuDriverVersion\" at "
                        "'custom_job': Cannot find field.");
    f->vs.n = 0;
    assert_null(read_as(f, study, BETA_STUDY));
    assert_int_equal(f->vs.n, 2);

    f->version = PB_V1BETA1;
    ProtobufCMessage *m = read_as(f, &aip__machine_spec__descriptor, machine), *again;
    assert_non_null(m);
    assert_string_equal(((Aip__MachineSpec *)m)->min_gpu_driver_version, "535");
    assert_string_equal(write_as(f, m, (struct pb_json_opts){.version = PB_V1BETA1}), machine);
    assert_string_equal(write_as(f, m, (struct pb_json_opts){0}),
                        "{\"machineType\":\"n1-standard-4\"}");

    /* through bytes, as in the store: a v1 reader who changes something loses nothing of it */
    m = read_as(f, study, BETA_STUDY);
    assert_non_null(m);
    auto_buf struct buf wire = BUF_INIT(65536);
    assert_int_equal(pb_pack(m, &wire), 0);
    assert_int_equal(pb_unpack(f->a, study, buf_str(&wire), &again, &f->err), 0);
    ((Aip__HyperparameterTuningJob *)again)->max_trial_count = 3;
    assert_string_equal(write_as(f, again, (struct pb_json_opts){0}),
                        "{\"studySpec\":{},\"maxTrialCount\":3}");
    ((Aip__HyperparameterTuningJob *)again)->max_trial_count = 0;
    assert_string_equal(write_as(f, again, (struct pb_json_opts){.version = PB_V1BETA1}),
                        BETA_STUDY);
}

static void test_a_beta_member_takes_part_in_its_oneof(void **state) {
    struct fix *f = *state;
    f->version = PB_V1BETA1;
    assert_null(read_as(f, &aip__study_spec__descriptor,
                        "{\"convexStopConfig\":{},\"medianAutomatedStoppingSpec\":{}}"));
    assert_non_null(strstr(f->vs.v[0].description.p, "is already set"));
}

static void test_fields_that_only_v1_has_are_unknown_to_beta(void **state) {
    struct fix *f = *state;
    static const char model[] = "{\"displayName\":\"m\",\"pipelineJob\":\"p\"}";
    ProtobufCMessage *m = read_as(f, &aip__model__descriptor, model);
    assert_non_null(m);
    assert_string_equal(write_as(f, m, (struct pb_json_opts){.version = PB_V1BETA1}),
                        "{\"displayName\":\"m\"}");
    f->version = PB_V1BETA1;
    assert_null(read_as(f, &aip__model__descriptor, model));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_free_form_values_are_echoed),
        T(test_a_value_is_read_as_a_message_in_either_spelling),
        T(test_beta_only_fields_are_read_and_shown_by_beta_alone),
        T(test_a_beta_member_takes_part_in_its_oneof),
        T(test_fields_that_only_v1_has_are_unknown_to_beta),
        T(test_both_spellings_are_read_and_camel_is_written),
        T(test_integers_may_be_numbers_strings_or_whole_doubles),
        T(test_enums_by_name_or_number_and_unknown_numbers_kept),
        T(test_unset_is_omitted_and_explicit_zero_of_optional_is_kept),
        T(test_well_known_types_use_their_own_forms),
        T(test_any_is_packed_by_its_type_and_beta_names_are_written_on_request),
        T(test_errors_name_path_and_cause),
        T(test_all_errors_are_found_at_once),
        T(test_malformed_text_is_refused_with_its_position),
        T(test_nesting_is_bounded_and_what_is_read_fits_the_wire),
        T(test_memory_is_bounded_by_the_arena),
        T(test_fields_mask_selects),
        T(test_pretty_output_indents_by_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
