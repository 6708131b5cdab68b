/* List filters and orderBy as a table: what they mean on one row, and where mistakes are seen. Page
 * tokens: every changed byte is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/vec.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "store/filter.h"
#include "store/token.h"

static struct store_label labels[] = {
    {{"team", 4}, {"red", 3}}, {{"a key", 5}, {"x y", 3}}, {{"n", 1}, {"-5", 2}}};

static const struct store_row row = {
    .name = {"projects/1/locations/l/customJobs/7", 35},
    .display_name = {"resnet nightly", 14},
    .state = {"JOB_STATE_RUNNING", 17},
    .create_time = 1714557600000000, /* 2024-05-01T10:00:00Z */
    .update_time = 1714557600500000,
    .labels = labels,
    .nr_labels = 3,
};

static void test_meaning(void **state) {
    static const struct {
        const char *text;
        bool matches;
    } table[] = {
        {"", true},
        {"  \t", true},
        {"state=JOB_STATE_RUNNING", true},
        {"state = \"JOB_STATE_RUNNING\"", true},
        {"state='JOB_STATE_QUEUED'", false},
        {"state!=JOB_STATE_QUEUED", true},
        {"state:*RUNNING", true},
        {"display_name=\"resnet nightly\"", true},
        {"displayName=\"resnet nightly\"", true},
        {"display_name=\"resnet*\"", true}, /* = knows * at both ends, ':' everywhere */
        {"display_name=\"*nightly\"", true},
        {"display_name=*net*", true},
        {"display_name=\"res*nightly\"", false},
        {"display_name:\"res*nightly\"", true},
        {"display_name=\"resnet\\\\*\"", false},
        {"display_name!=\"resnet*\"", false},
        {"display_name!=\"other*\"", true},
        {"labels.team=\"r*\"", true},
        {"labels.team!=\"r*\"", false},
        {"labels.nobody!=\"r*\"", true},
        {"create_time:*", true},
        {"create_time:\"2024-05-01T10:00:00Z\"", true},
        {"display_name:\"resnet*\"", true},
        {"display_name:*night*", true},
        {"display_name:\"*x*\"", false},
        {"display_name:resnet", false},
        {"display_name:*", true},
        {"display_name>a", true},
        {"display_name<=\"resnet nightly\"", true},
        {"name=\"projects/1/locations/l/customJobs/7\"", true},
        {"name:*/7", true},
        {"create_time=\"2024-05-01T10:00:00Z\"", true},
        {"create_time=2024-05-01T12:00:00+02:00", true},
        {"createTime>2024-05-01T09:59:59.999999Z", true},
        {"create_time<\"2024-05-01T10:00:00Z\"", false},
        {"create_time<=\"2024-05-01T10:00:00Z\"", true},
        {"create_time!=\"2024-05-01T10:00:00Z\"", false},
        {"update_time>=\"2024-05-01T10:00:00.5Z\"", true},
        {"updateTime>\"2024-05-01T10:00:00.5Z\"", false},
        {"labels.team=red", true},
        {"labels.team:re*", true},
        {"labels.team:*", true},
        {"labels.nobody:*", false},
        {"labels:team", true},
        {"labels:nobody", false},
        {"labels:\"a key\"", true},
        {"labels.\"a key\"=\"x y\"", true},
        {"labels.'a key':*y", true},
        {"labels.n=-5", true},
        {"labels.team!=blue", true},
        {"labels.nobody!=blue", true},
        {"labels.aiplatform.googleapis.com/ml_use=test", false},
        {"labels.aiplatform.googleapis.com/ml_use!=test", true},
        {"labels.nobody=\"\"", false},
        {"labels.nobody<zzz", false},
        {"labels.team=RED", false},
        {"display_name=\"a\\\"b\"", false},
        {"NOT state=JOB_STATE_QUEUED", true},
        {"-state=JOB_STATE_QUEUED", true},
        {"NOT (state=JOB_STATE_RUNNING)", false},
        {"-(state=JOB_STATE_RUNNING AND labels.team=blue)", true},
        {"labels.team=red AND state=JOB_STATE_RUNNING", true},
        {"labels.team=red state=JOB_STATE_QUEUED", false},
        {"labels.team=blue OR state=JOB_STATE_RUNNING", true},
        /* OR binds tighter: false AND (false OR true), (true OR false) AND false */
        {"labels.team=blue AND labels.team=blue OR labels.team=red", false},
        {"labels.team=red OR labels.team=blue AND labels.team=blue", false},
        {"labels.team=red OR labels.team=blue labels.n=-5", true},
        {"(labels.team=red OR labels.team=blue)(labels.n=-5)", true},
        {"labels.team=blue OR (labels.team=red AND labels.n=-5)", true},
        {"((((state=JOB_STATE_RUNNING))))", true},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        if (filter_parse(a, str_of(table[i].text), NULL, &f, &err) < 0) {
            fail_msg("%s: %s", table[i].text, err.msg);
        }
        auto_arena struct arena *scratch = arena_new(ARENA_NO_MAX);
        if (filter_matches(f, &row, scratch) != table[i].matches) {
            fail_msg("%s should be %d", table[i].text, table[i].matches);
        }
    }
}

static void test_mistakes_name_their_place(void **state) {
    static const struct {
        const char *text, *says;
    } table[] = {
        {"state", "expected a comparison (= != < <= > >= :) at position 6"},
        {"colour=red", "unknown field 'colour' at position 1"},
        {"state=X AND", "expected a field name at position 12"},
        {"state=X OR", "expected a field name at position 11"},
        {"AND state=X", "expected a field name 'AND' at position 1"},
        {"NOT", "expected a field name at position 4"},
        {"state=", "expected a value at position 7"},
        {"state=AND", "expected a value at position 7"},
        {"state=\"X", "string without its closing quote at position 7"},
        {"state=\"X\\\"", "string without its closing quote at position 7"},
        {"(state=X", "parenthesis never closed at position 1"},
        {"state=X)", "unexpected ')' at position 8"},
        {"()", "expected a field name at position 2"},
        {"state<X", "state can only be compared with = != and : at position 6"},
        {"create_time>yesterday", "expected an RFC 3339 time, not 'yesterday' at position 13"},
        {"create_time:soon", "expected an RFC 3339 time, not 'soon' at position 13"},
        {"min(state)=X", "functions are not supported: 'min' at position 1"},
        {"state.x=X", "a value has no field 'x' at position 7"},
        {"labels.\"a\".b=X", "a label has no fields: 'b' at position 12"},
        {"state.=X", "expected a name after '.' at position 7"},
        {"labels=red", "labels takes ':' and a key (or write labels.KEY = VALUE) at position 7"},
        {"labels.=red", "expected a name after '.' at position 8"},
        {"labels.\"\"=red", "expected a name after '.' at position 8"},
        {"labels:\"\"", "expected a label key at position 8"},
        {"state=X, labels.a=b", "expected a field name at position 8"},
        {"--state=X", "expected a field name at position 2"},
        {"\"quoted\"", "expected a field name at position 1"},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        assert_int_equal(filter_parse(a, str_of(table[i].text), NULL, &f, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(err.field, "filter");
        assert_true(str_starts(str_of(err.msg), STR("Invalid filter: ")));
        struct str said = str_of(err.msg + strlen("Invalid filter: "));
        struct str first = str_cut(&said, '\n');
        struct str caret = said;
        struct str shown = str_cut(&caret, '\n');
        assert_true(str_eq(shown, str_of(table[i].text)));
        assert_true(str_ends(caret, STR("^")));
        if (!str_eqc(first, table[i].says)) {
            fail_msg("%s: says '%s'", table[i].text, err.msg);
        }
    }
}

/* ---- fields of the message, decoded from the row ---- */

#define POOL                                                                                       \
    "\"workerPoolSpecs\":[{\"machineSpec\":{\"machineType\":\"n1-standard-4\"},"                   \
    "\"replicaCount\":\"1\",\"containerSpec\":{\"imageUri\":\"a/b:1\",\"args\":[\"x\",\"yz\"],"    \
    "\"env\":[{\"name\":\"E\",\"value\":\"v\"}]}},"                                                \
    "{\"machineSpec\":{\"machineType\":\"g2-standard-8\",\"acceleratorType\":\"NVIDIA_L4\","       \
    "\"acceleratorCount\":2},\"replicaCount\":\"9007199254740993\"}]"
static const char job_json[] =
    "{\"displayName\":\"resnet "
    "nightly\",\"state\":\"JOB_STATE_FAILED\",\"labels\":{\"team\":\"red\"},"
    "\"startTime\":\"2024-05-01T10:00:01.5Z\",\"error\":{\"code\":3,\"message\":\"exited with 1\"},"
    "\"webAccessUris\":{\"workerpool0-0\":\"https://x\"},\"jobSpec\":{" POOL ","
    "\"scheduling\":{\"timeout\":\"3600s\",\"disableRetries\":true,\"strategy\":\"SPOT\"}}}";

static ProtobufCMessage *decode_json(struct arena *a, const struct store_row *r) {
    ProtobufCMessage *m;
    struct violations vs;
    violations_init(&vs, a);
    return pb_from_json(a, &aip__custom_job__descriptor, PB_V1, r->spec, NULL, &m, &vs, NULL) ? NULL
                                                                                              : m;
}

static const struct filter_schema schema = {&aip__custom_job__descriptor, decode_json};

static void test_fields_of_the_message(void **state) {
    static const struct {
        const char *text;
        bool matches;
    } table[] = {
        {"job_spec.scheduling.timeout=\"3600s\"", true},
        {"jobSpec.scheduling.timeout>3599.999s", true},
        {"jobSpec.scheduling.timeout>=3600.5s", false},
        {"job_spec.scheduling.disable_retries=true", true},
        {"job_spec.scheduling.disable_retries:true", true},
        {"job_spec.scheduling.restart_job_on_worker_restart=false", true},
        {"job_spec.scheduling.strategy=SPOT", true},
        {"job_spec.scheduling.strategy=4", true},
        {"job_spec.scheduling.strategy!=STANDARD", true},
        {"job_spec.scheduling.strategy:S*T", true},
        {"job_spec.scheduling:*", true},
        {"job_spec.psc_interface_config:*", false},
        {"job_spec.service_account:*", false},
        {"job_spec.worker_pool_specs.machine_spec.machine_type=n1-standard-4", true},
        {"job_spec.worker_pool_specs.machine_spec.machine_type:\"g2*\"", true},
        {"job_spec.worker_pool_specs.machineSpec.machineType=\"*-8\"", true},
        {"job_spec.worker_pool_specs.machine_spec.machine_type=a2*", false},
        {"job_spec.worker_pool_specs.machine_spec.machine_type!=a2*", true},
        {"job_spec.worker_pool_specs.machine_spec.machine_type!=n1-standard-4", false},
        {"job_spec.worker_pool_specs.machine_spec.accelerator_type=NVIDIA_L4", true},
        {"job_spec.worker_pool_specs.machine_spec.accelerator_count>=2", true},
        {"job_spec.worker_pool_specs.machine_spec.accelerator_count>2.5", false},
        {"job_spec.worker_pool_specs.replica_count=9007199254740993", true},
        {"job_spec.worker_pool_specs.replica_count=9007199254740992", false},
        {"job_spec.worker_pool_specs.replica_count<2", true},
        {"job_spec.worker_pool_specs.replica_count=-1", false},
        {"job_spec.worker_pool_specs.container_spec.args:yz", true},
        {"job_spec.worker_pool_specs.container_spec.args:y", false},
        {"job_spec.worker_pool_specs.container_spec.args:y*", true},
        {"job_spec.worker_pool_specs.container_spec.env.name:E", true},
        {"job_spec.worker_pool_specs.container_spec.image_uri=\"a/b:1\"", true},
        {"job_spec.worker_pool_specs.python_package_spec.python_module:*", false},
        {"job_spec.worker_pool_specs:*", true},
        {"error.code=3", true},
        {"error.code>3", false},
        {"error.code:*", true},
        {"error.message:*exited*", true},
        {"error:*", true},
        {"end_time:*", false},
        {"NOT end_time:*", true},
        {"end_time<\"2030-01-01T00:00:00Z\"", false},
        {"end_time!=\"2030-01-01T00:00:00Z\"", true},
        {"start_time:*", true},
        {"startTime=\"2024-05-01T12:00:01.500000000+02:00\"", true},
        {"start_time<2024-05-01T10:00:01.500000001Z", true},
        {"web_access_uris:workerpool0-0", true},
        {"web_access_uris:workerpool*", true},
        {"web_access_uris:other", false},
        {"web_access_uris.\"workerpool0-0\"=\"https://*\"", true},
        {"web_access_uris.workerpool0-0:*", true},
        {"web_access_uris.other:*", false},
        {"web_access_uris:*", true},
        {"encryption_spec.kms_key_name=\"\"", false},
        {"encryption_spec.kms_key_name!=x", true},
        /* Rows' own fields, checked against the message's: */
        {"state=JOB_STATE_RUNNING", true},
        {"state=3", true},
        {"state!=4", true},
        {"labels.team=red error.code=3 OR state=JOB_STATE_QUEUED", true},
    };
    struct store_row job = row;
    job.spec = str_of(job_json);
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        if (filter_parse(a, str_of(table[i].text), &schema, &f, &err) < 0) {
            fail_msg("%s: %s", table[i].text, err.msg);
        }
        if (filter_matches(f, &job, a) != table[i].matches) {
            fail_msg("%s should be %d", table[i].text, table[i].matches);
        }
    }
    job.spec = STR("{"); /* unreadable: matches nothing */
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct filter *f;
    assert_int_equal(filter_parse(a, STR("error.code=0"), &schema, &f, NULL), 0);
    assert_true(filter_needs_message(f));
    assert_false(filter_matches(f, &job, a));
}

static void test_names_of_a_kinds_own(void **state) {
    static const struct filter_alias aliases[] = {
        {.name = "job", .camel = "job", .before = {"projects/1/jobs/", 16}},
        {.name = "any_job", .camel = "anyJob"},
        {.name = "base_name", .camel = "baseName", .path = "job_spec.service_account"}};
    const struct filter_schema own = {&aip__custom_job__descriptor, decode_json, aliases,
                                      NR_OF(aliases)};
    static const struct {
        const char *text;
        int matches; /* -1: refused */
    } table[] = {
        {"job=7", 1},
        {"job=\"7\"", 1},
        {"job!=7", 0},
        {"job=8", 0},
        {"job!=8", 1},
        {"job=7*", 1},
        {"job=*8", 0},
        {"anyJob=7", 1},
        {"any_job=8", 0},
        {"any_job!=7", 0},
        {"any_job=s/7", 0},
        {"baseName=me", 1},
        {"base_name=\"you\"", 0},
        {"base_name!=you", 1},
        {"job:7", -1},
        {"job>7", -1},
        {"job.x=7", -1},
        {"base_name.x=1", -1},
        {"jobs=7", -1},
    };
    struct store_row job = row;
    job.name = STR("projects/1/jobs/7");
    job.spec = STR("{\"jobSpec\":{\"serviceAccount\":\"me\"}}");
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err;
        int rc = filter_parse(a, str_of(table[i].text), &own, &f, &err);
        if ((rc ? -1 : filter_matches(f, &job, a)) != table[i].matches) {
            fail_msg("%s should be %d", table[i].text, table[i].matches);
        }
    }
}

static void test_mistakes_about_the_message(void **state) {
    static const struct {
        const char *text, *says;
    } table[] = {
        {"job_spec.nope=1", "CustomJobSpec has no field 'nope' at position 10"},
        {"job_spec.worker_pool_specs.machine_spec.kind=x",
         "MachineSpec has no field 'kind' at position 41"},
        {"end_time.seconds=1", "a value has no field 'seconds' at position 10"},
        {"error.code=three", "expected a number, not 'three' at position 12"},
        {"error.code=nan", "expected a number, not 'nan' at position 12"},
        {"job_spec.scheduling.timeout=1h",
         "expected a duration in seconds, like \"3.5s\", not '1h' at position 29"},
        {"job_spec.scheduling.disable_retries=yes",
         "expected true or false, not 'yes' at position 37"},
        {"job_spec.scheduling.disable_retries>true", "expected one of = != : at position 36"},
        {"job_spec.scheduling.strategy<SPOT", "expected one of = != : at position 29"},
        {"job_spec.scheduling.strategy=FAST",
         "expected a value of the enumeration, by its full name, not 'FAST' at position 30"},
        {"state=RUNNING",
         "expected a value of the enumeration, by its full name, not 'RUNNING' at position 7"},
        {"job_spec.scheduling=x", "expected a field of this message, or ':*' to ask whether it is "
                                  "set, not 'x' at position 21"},
        {"web_access_uris=x",
         "expected ':' and a key, or '.KEY' and a comparison, not 'x' at position 17"},
        {"end_time>today", "expected an RFC 3339 time, not 'today' at position 10"},
        {"done=true", "unknown field 'done' at position 1"},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        assert_int_equal(filter_parse(a, str_of(table[i].text), &schema, &f, &err), -1);
        struct str said = str_of(err.msg + strlen("Invalid filter: "));
        struct str first = str_cut(&said, '\n');
        if (!str_eqc(first, table[i].says)) {
            fail_msg("%s: says '%s'", table[i].text, err.msg);
        }
    }
}

/* Within Any and Struct fields are found when they are looked at. */
static ProtobufCMessage *decode_operation(struct arena *a, const struct store_row *r) {
    ProtobufCMessage *m;
    struct violations vs;
    violations_init(&vs, a);
    return pb_from_json(a, &google__longrunning__operation__descriptor, PB_V1, r->spec, NULL, &m,
                        &vs, NULL)
               ? NULL
               : m;
}

static void test_fields_inside_any(void **state) {
    static const struct filter_schema operations = {&google__longrunning__operation__descriptor,
                                                    decode_operation};
    static const struct {
        const char *text;
        bool matches;
    } table[] = {
        {"done=true", true},
        {"done:false", false},
        {"metadata.generic_metadata.create_time>\"2026-01-01T00:00:00Z\"", true},
        {"metadata.genericMetadata.createTime<\"2026-01-01T00:00:00Z\"", false},
        {"metadata.no_such_field=1", false},
        {"metadata:*", true},
        {"response.display_name:d*", true},
        {"response.metadata.input.uri=\"gs://b\"", true},
        {"response.metadata.input.sizes:3", true},
        {"response.metadata.input.sizes>4", false},
        {"response.metadata.input.ok=true", true},
        {"response.metadata.input.none:*", false},
        {"error.code=3", false},
    };
    struct store_row op = row;
    op.spec =
        STR("{\"name\":\"x\",\"done\":true,\"metadata\":{\"@type\":\"type.googleapis.com/"
            "google.cloud.aiplatform.v1.CreateDatasetOperationMetadata\",\"genericMetadata\":{"
            "\"createTime\":\"2026-01-02T03:04:05Z\"}},\"response\":{\"@type\":"
            "\"type.googleapis.com/google.cloud.aiplatform.v1.Dataset\",\"displayName\":\"dd\","
            "\"metadata\":{\"input\":{\"uri\":\"gs://b\",\"sizes\":[1,3],\"ok\":true,"
            "\"none\":null}}}}");
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        if (filter_parse(a, str_of(table[i].text), &operations, &f, &err) < 0) {
            fail_msg("%s: %s", table[i].text, err.msg);
        }
        if (filter_matches(f, &op, a) != table[i].matches) {
            fail_msg("%s should be %d", table[i].text, table[i].matches);
        }
    }
}

static int parse_repeated(const char *open, const char *inner, const char *close, size_t n,
                          struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct filter *f;
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, open);
    }
    buf_puts(&b, inner);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, close);
    }
    return filter_parse(a, buf_str(&b), NULL, &f, err);
}

static void test_limits_hold_at_n_and_n_plus_1(void **state) {
    struct err err = {0};
    size_t n = limits.max_filter_depth;
    assert_int_equal(parse_repeated("(", "state=X", ")", n, &err), 0);
    assert_int_equal(parse_repeated("(", "state=X", ")", n + 1, &err), -1);
    assert_non_null(strstr(err.msg, "max_filter_depth = 32"));
    n = limits.max_filter_terms;
    assert_int_equal(parse_repeated("state=X ", "", "", n, &err), 0);
    assert_int_equal(parse_repeated("state=X ", "", "", n + 1, &err), -1);
    assert_non_null(strstr(err.msg, "max_filter_terms"));
    n = limits.max_filter_bytes - strlen("state=X");
    assert_int_equal(parse_repeated(" ", "state=X", "", n, &err), 0);
    assert_int_equal(parse_repeated(" ", "state=X", "", n + 1, &err), -1);
    assert_non_null(strstr(err.msg, "max_filter_bytes"));
}

static void test_order_by(void **state) {
    static const struct {
        const char *text;
        int field; /* -1: refused */
        bool descending;
    } table[] = {
        {"", STORE_ORDER_CREATE_TIME, true},
        {"create_time desc", STORE_ORDER_CREATE_TIME, true},
        {"create_time", STORE_ORDER_CREATE_TIME, false},
        {" createTime  asc ", STORE_ORDER_CREATE_TIME, false},
        {"updateTime desc", STORE_ORDER_UPDATE_TIME, true},
        {"display_name", STORE_ORDER_DISPLAY_NAME, false},
        {"name desc", STORE_ORDER_NAME, true},
        {"state", STORE_ORDER_STATE, false},
        {"colour", -1, false},
        {"name down", -1, false},
        {"name desc,", -1, false},
        {",", -1, false},
        {"name, name desc", -1, false},
        {"name,state,create_time,update_time,display_name", -1, false},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        struct store_list l = {0};
        struct err err = {0};
        int rc = order_parse(str_of(table[i].text), &l, &err);
        assert_int_equal(rc, table[i].field < 0 ? -1 : 0);
        if (rc == 0) {
            assert_int_equal(l.order, table[i].field);
            assert_int_equal(l.descending, table[i].descending);
            assert_int_equal(l.nr_then, 0);
        } else {
            assert_string_equal(err.field, "order_by");
        }
    }
    struct store_list l = {0};
    assert_int_equal(order_parse(STR("state desc , createTime,name  desc"), &l, NULL), 0);
    assert_int_equal(l.order, STORE_ORDER_STATE);
    assert_true(l.descending);
    assert_int_equal(l.nr_then, 2);
    assert_int_equal(l.then[0].field, STORE_ORDER_CREATE_TIME);
    assert_false(l.then[0].descending);
    assert_int_equal(l.then[1].field, STORE_ORDER_NAME);
    assert_true(l.then[1].descending);
}

static void test_token_round_trip_and_every_changed_byte_is_noticed(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    uint8_t key[TOKEN_KEY_BYTES] = {1, 2, 3}, other_key[TOKEN_KEY_BYTES] = {1, 2, 4};
    for (int order = STORE_ORDER_CREATE_TIME; order <= STORE_ORDER_STATE; order++) {
        struct store_list l = {.nr_then = (unsigned)order % 3,
                               .then = {{STORE_ORDER_NAME, true}, {STORE_ORDER_UPDATE_TIME, false}},
                               .kind = STR("customJob"),
                               .parent = STR("p"),
                               .filter_text = STR("f"),
                               .order = (enum store_order_field)order,
                               .arena = a};
        struct store_pos pos = store_row_pos(&row, 42, &l), back;
        struct str token = token_make(key, &l, &pos);
        l.page_token = token;
        assert_int_equal(token_open(key, &l, &back, NULL), 0);
        assert_int_equal(store_pos_cmp(&pos, &back, &l), 0);
        assert_int_equal(token_open(other_key, &l, &back, NULL), -1);
        for (size_t i = 0; i < token.n; i++) {
            char *bad = arena_strndup(a, token.p, token.n);
            bad[i] = bad[i] == 'A' ? 'Q' : 'A'; /* changes bits that count in any place */
            l.page_token = str_n(bad, token.n);
            assert_int_equal(token_open(key, &l, &back, NULL), -1);
            l.page_token = str_n(token.p, i);
            assert_int_equal(i ? token_open(key, &l, &back, NULL) : -1, -1);
        }
        /* Moving a byte from one bound part to the next must not sign the same. */
        l.page_token = token;
        l.then[0].descending = false;
        assert_int_equal(token_open(key, &l, &back, NULL), l.nr_then ? -1 : 0);
        l.then[0].descending = true;
        l.parent = STR("pf");
        l.filter_text = STR("");
        assert_int_equal(token_open(key, &l, &back, NULL), -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_mistakes_name_their_place),
        cmocka_unit_test(test_fields_of_the_message),
        cmocka_unit_test(test_names_of_a_kinds_own),
        cmocka_unit_test(test_mistakes_about_the_message),
        cmocka_unit_test(test_fields_inside_any),
        cmocka_unit_test(test_limits_hold_at_n_and_n_plus_1),
        cmocka_unit_test(test_order_by),
        cmocka_unit_test(test_token_round_trip_and_every_changed_byte_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
