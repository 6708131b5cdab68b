/* Request line to method and message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/route.h"
#include "pb/aip.h"
#include "pb/pbinfo.h"

struct fix {
    struct arena *a;
    struct route_match m;
    struct violations vs;
    struct err err;
};

static int setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    f->a = arena_new(1 << 20);
    violations_init(&f->vs, f->a);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fix *f = *state;
    arena_free(f->a);
    free(f);
    return 0;
}

static const struct route *match(struct fix *f, const char *method, const char *path) {
    memset(&f->err, 0, sizeof(f->err));
    return route_match(str_of(method), str_of(path), f->a, &f->m, &f->err);
}

static void assert_var(struct fix *f, int i, const char *want) {
    assert_string_equal(arena_strndup(f->a, f->m.vars[i].p, f->m.vars[i].n), want);
}

#define P "/projects/p/locations/us-central1"

static void test_every_generated_binding_matches_itself(void **state) {
    struct fix *f = *state;
    for (size_t i = 0; i < route_table_n; i++) {
        const struct route *r = &route_table[i];
        auto_buf struct buf b = BUF_INIT(4096);
        bool in_var = false, named = false;
        for (const char *c = r->template; *c; c++) {
            if (*c == '{') {
                in_var = true;
                named = true;
            } else if (*c == '}') {
                if (named) { /* {x} without a pattern is one segment */
                    buf_puts(&b, "seg");
                }
                in_var = named = false;
            } else if (in_var && named) {
                named = *c != '=';
            } else if (*c == '*') {
                buf_puts(&b, "seg");
            } else {
                buf_putc(&b, *c);
            }
        }
        const struct route *got = match(f, r->method, buf_cstr(&b));
        if (!got) {
            fail_msg("%s %s: %s", r->method, buf_cstr(&b), f->err.msg);
        }
        /* two methods may share one binding; then the first is served */
        if (got != r) {
            assert_string_equal(got->method, r->method);
            assert_string_equal(got->verb, r->verb);
        }
        if (*r->body && strcmp(r->body, "*") != 0 && r->rpc->input) {
            int fi = pb_field_find(r->rpc->input, str_of(r->body));
            assert_true(fi >= 0);
            assert_int_equal(r->rpc->input->fields[fi].type, PROTOBUF_C_TYPE_MESSAGE);
            assert_int_equal(r->rpc->input->fields[fi].flags, 0);
        }
        assert_true(r->n_vars <= ROUTE_VARS_MAX);
        arena_clear(f->a);
    }
}

static void test_custom_job_methods_under_the_three_prefixes(void **state) {
    struct fix *f = *state;
    static const struct {
        const char *method, *rest;
        enum rpc_id id;
    } cases[] = {
        {"POST", P "/customJobs", RPC_JOB_CREATE_CUSTOM_JOB},
        {"GET", P "/customJobs", RPC_JOB_LIST_CUSTOM_JOBS},
        {"GET", P "/customJobs/1", RPC_JOB_GET_CUSTOM_JOB},
        {"DELETE", P "/customJobs/1", RPC_JOB_DELETE_CUSTOM_JOB},
        {"POST", P "/customJobs/1:cancel", RPC_JOB_CANCEL_CUSTOM_JOB},
        {"POST", P "/models:upload", RPC_MODEL_UPLOAD_MODEL},
        {"GET", P "/models/1@2", RPC_MODEL_GET_MODEL},
        {"GET", P "/models/1:listVersions", RPC_MODEL_LIST_MODEL_VERSIONS},
        {"GET", P "/operations/9", RPC_OPERATIONS_GET_OPERATION},
        {"DELETE", P "/operations/9", RPC_OPERATIONS_DELETE_OPERATION},
        {"POST", P "/operations/9:cancel", RPC_OPERATIONS_CANCEL_OPERATION},
        {"POST", P "/operations/9:wait", RPC_OPERATIONS_WAIT_OPERATION},
        {"GET", P "/operations", RPC_OPERATIONS_LIST_OPERATIONS},
        {"GET", P "/datasets/3/operations/9", RPC_OPERATIONS_GET_OPERATION},
        {"GET", P "/datasets/3/operations", RPC_OPERATIONS_LIST_OPERATIONS},
        {"GET", P "/tensorboards/1/experiments/2/runs/3/operations/9",
         RPC_OPERATIONS_GET_OPERATION},
        {"GET", P, RPC_LOCATIONS_GET_LOCATION},
        {"GET", "/projects/p/locations", RPC_LOCATIONS_LIST_LOCATIONS},
        {"POST", P "/models/1:getIamPolicy", RPC_IAM_POLICY_GET_IAM_POLICY},
    };
    static const char *const prefixes[] = {"/v1", "/v1beta1", "/ui"};
    for (size_t i = 0; i < NR_OF(cases); i++) {
        for (size_t p = 0; p < NR_OF(prefixes); p++) {
            const struct route *r =
                match(f, cases[i].method, arena_printf(f->a, "%s%s", prefixes[p], cases[i].rest));
            if (!r || r->rpc->id != cases[i].id) {
                fail_msg("%s %s%s -> %s", cases[i].method, prefixes[p], cases[i].rest,
                         r ? r->rpc->full : f->err.msg);
            }
            assert_int_equal(f->m.prefix, ROUTE_PREFIX_V1 + p);
        }
    }
}

static void test_projects_and_logging_have_their_own_prefixes(void **state) {
    struct fix *f = *state;
    static const struct {
        const char *method, *path;
        enum rpc_id id;
        enum route_prefix prefix;
    } cases[] = {
        {"GET", "/v1/projects/p", RPC_PROJECTS_V1_GET_PROJECT, ROUTE_PREFIX_V1},
        {"GET", "/v3/projects/p", RPC_PROJECTS_GET_PROJECT, ROUTE_PREFIX_V3},
        {"GET", "/v3/projects:search", RPC_PROJECTS_SEARCH_PROJECTS, ROUTE_PREFIX_V3},
        {"POST", "/v2/entries:list", RPC_LOGGING_LIST_LOG_ENTRIES, ROUTE_PREFIX_V2},
        {"POST", "/v2/entries:write", RPC_LOGGING_WRITE_LOG_ENTRIES, ROUTE_PREFIX_V2},
        {"POST", "/v2/entries:tail", RPC_LOGGING_TAIL_LOG_ENTRIES, ROUTE_PREFIX_V2},
        {"GET", "/v2/projects/p/logs", RPC_LOGGING_LIST_LOGS, ROUTE_PREFIX_V2},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        const struct route *r = match(f, cases[i].method, cases[i].path);
        assert_non_null(r);
        assert_int_equal(r->rpc->id, cases[i].id);
        assert_int_equal(f->m.prefix, cases[i].prefix);
    }
    assert_null(match(f, "GET", "/v2/projects/p"));
    assert_null(match(f, "GET", "/v1/projects:search"));
}

static void test_variables_are_captured_and_decoded(void **state) {
    struct fix *f = *state;
    assert_non_null(match(f, "GET", "//v1//projects/my%20p/locations/l/customJobs/a%2Fb/"));
    assert_var(f, 0, "projects/my p/locations/l/customJobs/a%2Fb");
    assert_non_null(match(f, "POST", "/v1" P "/customJobs/1:cancel"));
    assert_var(f, 0, "projects/p/locations/us-central1/customJobs/1");
    /* a colon that no template knows belongs to the name */
    assert_non_null(match(f, "GET", "/v1" P "/customJobs/a:b"));
    assert_var(f, 0, "projects/p/locations/us-central1/customJobs/a:b");
    static const char *const bad[] = {"%", "%2", "%zz", "%00", "%ff"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        assert_null(match(f, "GET", arena_printf(f->a, "/v1" P "/customJobs/x%s", bad[i])));
        assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    }
}

static void test_unknown_path_differs_from_known_path_with_another_method(void **state) {
    struct fix *f = *state;
    static const char *const unknown[] = {"/",
                                          "",
                                          "/v1",
                                          "/v2" P "/customJobs",
                                          "/v1" P "/nope",
                                          "/v1/projects",
                                          "/v1beta1/projects/p",
                                          "/v1" P "/customJobs/1/x"};
    for (size_t i = 0; i < NR_OF(unknown); i++) {
        assert_null(match(f, "GET", unknown[i]));
        assert_int_equal(f->err.code, ERR_NOT_FOUND);
        assert_false(f->m.path_known);
    }
    assert_null(match(f, "PATCH", "/v1" P "/customJobs/1"));
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    assert_true(f->m.path_known);
    assert_non_null(strstr(f->m.allow, "GET"));
    assert_non_null(strstr(f->m.allow, "DELETE"));
    assert_null(match(f, "GET", "/v1" P "/customJobs/1:cancel"));
    assert_string_equal(f->m.allow, "POST");

    auto_buf struct buf deep = BUF_INIT(1 << 20);
    buf_puts(&deep, "/v1");
    for (int i = 0; i < 10000; i++) {
        buf_puts(&deep, "/x");
    }
    assert_null(match(f, "GET", buf_cstr(&deep)));
}

static ProtobufCMessage *decode(struct fix *f, const char *method, const char *path,
                                const char *query, const char *body) {
    ProtobufCMessage *m = NULL;
    const struct route *r = match(f, method, path);
    assert_non_null(r);
    violations_init(&f->vs, f->a);
    if (route_decode(r, &f->m, str_of(query), str_of(body), f->a, &m, &f->vs, &f->err)) {
        assert_null(m);
    }
    return m;
}

static void test_body_query_and_path_make_the_request(void **state) {
    struct fix *f = *state;
    Aip__CreateCustomJobRequest *c = (Aip__CreateCustomJobRequest *)decode(
        f, "POST", "/v1" P "/customJobs", "%24alt=json%3Benum-encoding%3Dint",
        "{\"displayName\":\"d\"}");
    assert_non_null(c);
    assert_string_equal(c->parent, "projects/p/locations/us-central1");
    assert_string_equal(c->custom_job->display_name, "d");

    Aip__ListCustomJobsRequest *l =
        (Aip__ListCustomJobsRequest *)decode(f, "GET", "/v1" P "/customJobs",
                                             "pageSize=7&page_token=t&filter=display_name%3D%22a+b%"
                                             "22&readMask=name,displayName&alt=json&"
                                             "key=k&$.xgafv=2&prettyPrint=false",
                                             "");
    assert_non_null(l);
    assert_int_equal(l->page_size, 7);
    assert_string_equal(l->page_token, "t");
    assert_string_equal(l->filter, "display_name=\"a b\"");
    assert_int_equal(l->read_mask->n_paths, 2);
    assert_string_equal(l->read_mask->paths[1], "display_name");

    Aip__CreatePersistentResourceRequest *p = (Aip__CreatePersistentResourceRequest *)decode(
        f, "POST", "/v1" P "/persistentResources", "persistentResourceId=x", "");
    assert_string_equal(p->persistent_resource_id, "x");
    assert_non_null(p->persistent_resource); /* an empty body is {} */

    Google__Longrunning__WaitOperationRequest *w =
        (Google__Longrunning__WaitOperationRequest *)decode(f, "POST", "/ui" P "/operations/9:wait",
                                                            "timeout=5s", "{}");
    assert_int_equal(w->timeout->seconds, 5);

    Aip__UpdateModelRequest *u = (Aip__UpdateModelRequest *)decode(
        f, "PATCH", "/v1" P "/models/1", "updateMask=displayName", "{\"name\":\"ignored\"}");
    assert_string_equal(u->model->name, "projects/p/locations/us-central1/models/1");

    Google__Iam__V1__TestIamPermissionsRequest *t =
        (Google__Iam__V1__TestIamPermissionsRequest *)decode(
            f, "POST", "/v1" P "/models/1:testIamPermissions", "permissions=a&permissions=b", "");
    assert_int_equal(t->n_permissions, 2);
    assert_string_equal(t->permissions[1], "b");
}

static void test_bad_parameters_are_all_reported_with_the_bodys_errors(void **state) {
    struct fix *f = *state;
    assert_null(decode(f, "POST", "/v1" P "/customJobs", "xyz=1&parent.x=2", "{\"foo\":1}"));
    assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(f->vs.n, 3);
    assert_string_equal(
        f->vs.v[0].description.p,
        "Invalid JSON payload received. Unknown name \"foo\" at 'custom_job': Cannot "
        "find field.");
    assert_string_equal(f->vs.v[1].description.p,
                        "Invalid JSON payload received. Unknown name \"xyz\": Cannot bind query "
                        "parameter. Field 'xyz' could not be found in request message.");
    assert_null(decode(f, "GET", "/v1" P "/customJobs", "pageSize=abc", ""));
    assert_string_equal(f->vs.v[0].description.p,
                        "Invalid value at 'page_size' (TYPE_INT32), \"abc\"");
    assert_null(decode(f, "GET", "/v1" P "/customJobs", "filter=%zz", ""));
    assert_null(decode(f, "POST", "/v1" P "/customJobs", "", "{\"displayName\":"));
    assert_int_equal(f->vs.n, 0);
    assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);

    auto_buf struct buf many = BUF_INIT(1 << 20);
    for (int i = 0; i < ROUTE_QUERY_MAX + 1; i++) {
        buf_puts(&many, "permissions=a&");
    }
    const char *path = "/v1" P "/models/1:testIamPermissions";
    assert_null(decode(f, "POST", path, buf_cstr(&many), ""));
    buf_consume(&many, strlen("permissions=a&"));
    assert_non_null(decode(f, "POST", path, buf_cstr(&many), ""));
}

static void test_standard_parameters_are_recognised(void **state) {
    struct fix *f = *state;
    struct std_params s;
    assert_int_equal(
        route_std_params(STR("%24alt=json%3Benum-encoding%3Dint&fields=a(b,c)&prettyPrint="
                             "false&key=K&quotaUser=q&other=1"),
                         f->a, &s, &f->err),
        0);
    assert_true(s.enum_ints && s.is_compact);
    assert_true(str_eq(s.fields, STR("a(b,c)")));
    assert_true(str_eq(s.key, STR("K")));
    assert_int_equal(route_std_params(STR(""), f->a, &s, &f->err), 0);
    assert_false(s.enum_ints || s.is_compact || s.fields.p);
    assert_int_equal(route_std_params(STR("alt=media"), f->a, &s, &f->err), -1);
    assert_int_equal(f->err.code, ERR_INVALID_ARGUMENT);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_every_generated_binding_matches_itself),
        T(test_custom_job_methods_under_the_three_prefixes),
        T(test_projects_and_logging_have_their_own_prefixes),
        T(test_variables_are_captured_and_decoded),
        T(test_unknown_path_differs_from_known_path_with_another_method),
        T(test_body_query_and_path_make_the_request),
        T(test_bad_parameters_are_all_reported_with_the_bodys_errors),
        T(test_standard_parameters_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
