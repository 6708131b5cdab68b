/* Update masks on messages of the published contract: what is replaced, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pb/aip.h"
#include "pb/pb.h"
#include "pb/pbupdate.h"

static ProtobufCMessage *from_json(struct arena *a, const ProtobufCMessageDescriptor *d,
                                   const char *json) {
    ProtobufCMessage *m;
    struct violations vs;
    struct err err = {0};
    violations_init(&vs, a);
    if (pb_from_json(a, d, PB_V1, str_of(json), NULL, &m, &vs, &err)) {
        fail_msg("%s: %s", json, err.msg);
    }
    return m;
}

/* Applies `mask` (paths with commas between) of src to dst; the result as JSON, or the violations,
 * one a line. */
static const char *update(struct arena *a, const ProtobufCMessageDescriptor *d, const char *dst,
                          const char *src, const char *mask) {
    ProtobufCMessage *to = from_json(a, d, dst), *from = from_json(a, d, src);
    const struct pb_json_opts compact = {.compact = true};
    auto_buf struct buf b = BUF_INIT(1 << 16), before = BUF_INIT(1 << 16),
                        after = BUF_INIT(1 << 16);
    char *paths[16];
    size_t n = 0;
    struct violations vs;
    struct err err = {0};
    violations_init(&vs, a);
    for (struct str rest = str_of(mask); rest.p && rest.n;) {
        struct str one = str_cut(&rest, ',');
        paths[n++] = arena_strndup(a, one.p, one.n);
    }
    assert_int_equal(pb_to_json(to, &compact, &before, NULL), 0);
    if (pb_update_apply(a, paths, n, from, to, &vs, &err) == 0) {
        assert_int_equal(vs.n, 0);
        assert_int_equal(pb_to_json(to, &compact, &b, NULL), 0);
        return arena_strdup(a, buf_cstr(&b));
    }
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(pb_to_json(to, &compact, &after, NULL), 0);
    assert_string_equal(buf_cstr(&before), buf_cstr(&after)); /* untouched */
    for (size_t i = 0; i < vs.n; i++) {
        buf_printf(&b, "%s%.*s: %.*s", i ? "\n" : "", STR_ARG(vs.v[i].field),
                   STR_ARG(vs.v[i].description));
    }
    return arena_strdup(a, buf_cstr(&b));
}

#define DATASET                                                                                    \
    "{\"name\":\"n\",\"displayName\":\"old\",\"metadataSchemaUri\":\"s\",\"createTime\":"          \
    "\"2026-01-02T03:04:05Z\",\"etag\":\"e\",\"labels\":{\"a\":\"1\",\"b\":\"2\"},"                \
    "\"encryptionSpec\":{\"kmsKeyName\":\"k\"},\"description\":\"d\",\"metadata\":{\"x\":1}}"

static void test_replaces_what_the_paths_name(void **state) {
    static const struct {
        const char *mask, *src, *want;
    } table[] = {
        {"display_name", "{\"displayName\":\"new\",\"description\":\"not me\"}",
         "\"displayName\":\"new\",\"metadataSchemaUri\":\"s\""},
        {"displayName,description", "{\"displayName\":\"new\"}", "\"displayName\":\"new\""},
        {"labels", "{\"labels\":{\"c\":\"3\"}}", "\"labels\":{\"c\":\"3\"}"},
        {"labels,etag", "{\"etag\":\"other\"}", "\"etag\":\"e\""},
        {"encryption_spec.kms_key_name", "{\"encryptionSpec\":{\"kmsKeyName\":\"new\"}}",
         "\"encryptionSpec\":{\"kmsKeyName\":\"new\"}"},
        {"encryptionSpec.kmsKeyName", "{\"encryptionSpec\":{\"kmsKeyName\":\"new\"}}",
         "\"encryptionSpec\":{\"kmsKeyName\":\"new\"}"},
        {"metadata", "{\"metadata\":[1,2]}", "\"metadata\":[1,2]"},
        {"*",
         "{\"name\":\"other\",\"displayName\":\"new\",\"metadataSchemaUri\":\"t\",\"metadata\":2}",
         "{\"name\":\"n\",\"displayName\":\"new\",\"metadataSchemaUri\":\"t\",\"createTime\":"
         "\"2026-01-02T03:04:05Z\",\"etag\":\"e\",\"metadata\":2}"},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const char *got =
            update(a, &aip__dataset__descriptor, DATASET, table[i].src, table[i].mask);
        if (!strstr(got, table[i].want)) {
            fail_msg("%s: %s", table[i].mask, got);
        }
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    assert_null(strstr(update(a, &aip__dataset__descriptor, DATASET, "{}", "description,labels"),
                       "description"));
    assert_null(
        strstr(update(a, &aip__dataset__descriptor, DATASET, "{}", "encryption_spec.kms_key_name"),
               "\"k\""));
}

static void test_refuses_and_leaves_all_as_it_was(void **state) {
    static const struct {
        const char *mask, *src, *says;
    } table[] = {
        {"", "{}", "update_mask: Required field is not set."},
        {"colour", "{}", "update_mask: Invalid path \"colour\": \"colour\" is no field."},
        {"description,encryption_spec.x", "{\"description\":\"new\"}",
         "update_mask: Invalid path \"encryption_spec.x\": \"x\" is no field."},
        {"encryption_spec.", "{}", "\"\" is no field."},
        {"create_time", "{}", "\"create_time\" is set by the server only."},
        {"createTime", "{}", "\"createTime\" is set by the server only."},
        {"name", "{\"name\":\"x\"}", "\"name\" is set by the server only."},
        {"labels.a", "{}", "\"labels\" is a map and is replaced whole."},
        {"saved_queries.name", "{}", "\"saved_queries\" is a list and is replaced whole."},
        {"metadata.x", "{}", "\"metadata\" has no fields of its own."},
        {"description.x", "{}", "\"description\" has no fields of its own."},
        {"display_name", "{}", "display_name: Required field is not set."},
        {"*", "{\"displayName\":\"x\"}", "metadata_schema_uri: Required field is not set."},
        {"*,labels", "{}", "\"*\" must be the only path."},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const char *got =
            update(a, &aip__dataset__descriptor, DATASET, table[i].src, table[i].mask);
        if (!strstr(got, table[i].says)) {
            fail_msg("%s: %s", table[i].mask, got);
        }
    }
}

/* Fields that may be given at creation only, nested ones, and members of a oneof. */
static void test_immutable_nested_and_oneof(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *model =
        "{\"displayName\":\"m\",\"containerSpec\":{\"imageUri\":\"i\",\"command\":[\"c\"]}}";
    assert_non_null(strstr(
        update(a, &aip__model__descriptor, model, "{\"artifactUri\":\"gs://x\"}", "artifact_uri"),
        "\"artifact_uri\" cannot be changed"));
    assert_non_null(
        strstr(update(a, &aip__model__descriptor, model, "{\"containerSpec\":{\"imageUri\":\"j\"}}",
                      "container_spec.image_uri"),
               "cannot be changed"));
    /* The same value is no change. */
    assert_string_equal(
        update(a, &aip__model__descriptor, model, "{\"containerSpec\":{\"imageUri\":\"i\"}}",
               "container_spec.image_uri"),
        "{\"displayName\":\"m\",\"containerSpec\":{\"imageUri\":\"i\",\"command\":[\"c\"]}}");

    const char *pool = "{\"containerSpec\":{\"imageUri\":\"i\"},\"replicaCount\":\"2\"}";
    assert_string_equal(update(a, &aip__worker_pool_spec__descriptor, pool,
                               "{\"pythonPackageSpec\":{\"pythonModule\":\"m\"}}",
                               "python_package_spec"),
                        "{\"replicaCount\":\"2\",\"pythonPackageSpec\":{\"pythonModule\":\"m\"}}");
    assert_string_equal(update(a, &aip__worker_pool_spec__descriptor, pool, "{}",
                               "python_package_spec,replica_count"),
                        "{\"containerSpec\":{\"imageUri\":\"i\"}}");
    assert_string_equal(update(a, &aip__worker_pool_spec__descriptor, pool,
                               "{\"diskSpec\":{\"bootDiskSizeGb\":200}}",
                               "disk_spec.boot_disk_size_gb,container_spec"),
                        "{\"replicaCount\":\"2\",\"diskSpec\":{\"bootDiskSizeGb\":200}}");
    /* Going into the other member of the oneof takes its place. */
    assert_string_equal(update(a, &aip__worker_pool_spec__descriptor, pool,
                               "{\"pythonPackageSpec\":{\"args\":[\"x\"]}}",
                               "python_package_spec.args"),
                        "{\"replicaCount\":\"2\",\"pythonPackageSpec\":{\"args\":[\"x\"]}}");
}

static void test_read_paths(void **state) {
    static const struct {
        const char *path, *says;
    } table[] = {
        {"*", NULL},
        {"name", NULL},
        {"displayName", NULL},
        {"job_spec.worker_pool_specs.machine_spec.machineType", NULL},
        {"labels", NULL},
        {"labels.a-key", NULL},
        {"job_spec.*", NULL},
        {"", "CustomJob has no field \"\""},
        {"nope", "CustomJob has no field \"nope\""},
        {"jobSpec.nope", "CustomJobSpec has no field \"nope\""},
        {"labels.a.b", "a value has no field \"b\""},
        {"labels.a(b", "a key with '(' cannot be selected"},
        {"create_time.seconds", "Timestamp has no field \"seconds\""},
        {"display_name.x", "a value has no field \"x\""},
        {"*.x", "nothing may follow '*'"},
        {"name.*", "a value has no field \"*\""},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        struct err err = {0};
        int rc = pb_path_check_read(&aip__custom_job__descriptor, str_of(table[i].path),
                                    "read_mask", &err);
        assert_int_equal(rc, table[i].says ? -1 : 0);
        if (rc && !strstr(err.msg, table[i].says)) {
            fail_msg("%s: %s", table[i].path, err.msg);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replaces_what_the_paths_name),
        cmocka_unit_test(test_refuses_and_leaves_all_as_it_was),
        cmocka_unit_test(test_immutable_nested_and_oneof),
        cmocka_unit_test(test_read_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
