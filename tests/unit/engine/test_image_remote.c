/* Names that lead to other registries, challenges, credentials of docker's config.json: tables. */
#include "engine/image/remote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_names_lead_where_docker_goes(void **state) {
    static const struct {
        const char *name, *text, *shelf, *shelf_tag;
    } cases[] = {
        {"busybox", "docker.io/library/busybox:latest", "docker.io/library/busybox", "latest"},
        {"team/app:v1", "docker.io/team/app:v1", "docker.io/team/app", "v1"},
        {"index.docker.io/a/b", "docker.io/a/b:latest", "docker.io/a/b", "latest"},
        {"registry-1.docker.io/x", "docker.io/library/x:latest", "docker.io/library/x", "latest"},
        {"localhost:5000/x:v2", "localhost:5000/x:v2", "localhost__5000/x", "v2"},
        {"Quay.IO/a/b", "quay.io/a/b:latest", "quay.io/a/b", "latest"},
        {"quay.io/a@sha256:" HEX, "quay.io/a@sha256:" HEX, "quay.io/a", "sha256-" HEX},
        {"quay.io/a:v1@sha256:" HEX, "quay.io/a@sha256:" HEX, "quay.io/a", "sha256-" HEX},
        {"[::1]:5000/x", "[::1]:5000/x:latest", "ip6-0-0-0-0-0-0-0-1__5000/x", "latest"},
        {"[2001:DB8:0::]/t/x:v1", "[2001:db8::]/t/x:v1", "ip6-2001-db8-0-0-0-0-0-0/t/x", "v1"},
        {"us-docker.pkg.dev/p/r/i:t", "us-docker.pkg.dev/p/r/i:t", "us-docker.pkg.dev/p/r/i", "t"},
    };
    (void)state;
    for (size_t i = 0; i < NR_OF(cases); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct remote_ref r;
        assert_int_equal(remote_ref_parse(a, str_of(cases[i].name), &r, NULL), 0);
        assert_string_equal(r.text, cases[i].text);
        assert_string_equal(r.shelf, cases[i].shelf);
        assert_string_equal(r.shelf_tag, cases[i].shelf_tag);
        auto_free char *back = xasprintf("%s%c%s", remote_name_of_shelf(a, r.shelf),
                                         r.tag != NULL ? ':' : '@', r.reference);
        assert_string_equal(back, r.text);
    }
}

static void test_what_is_no_name_is_refused(void **state) {
    static const char *const bad[] = {
        "",          "UPPER/case",     "a b",
        "[::1]x/y",  "host.x:99999/y", "-host.x/y",
        "[::g]:5/x", "[::1:5/x",       "[fe80::1%lo]/x",
        "[]/x",      "[::1]:99999/y",  "ip6-0.x..y/z",
        "a..b/c",    "x@sha256:1",     "x:tag:tag",
        "host.x-/y", "quay.io/",       "quay.io/a//b",
    };
    (void)state;
    for (size_t i = 0; i < NR_OF(bad); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct remote_ref r;
        struct err err = {0};
        assert_int_equal(remote_ref_parse(a, str_of(bad[i]), &r, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(err.field, "image");
    }
}

static void test_google_hosts(void **state) {
    (void)state;
    assert_true(remote_is_google(STR("europe-west4-docker.pkg.dev")));
    assert_true(remote_is_google(STR("gcr.io")));
    assert_true(remote_is_google(STR("eu.gcr.io")));
    assert_false(remote_is_google(STR("evilgcr.io")));
    assert_false(remote_is_google(STR("gcr.io.example")));
    assert_false(remote_is_google(STR("docker.pkg.dev.example")));
}

static void test_challenges(void **state) {
    struct remote_challenge c;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    (void)state;
    remote_challenge_parse(
        a, STR("Bearer realm=\"https://x/t\",service=\"a, \\\"b\\\"\", scope=s:r"), &c);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "https://x/t");
    assert_string_equal(c.service, "a, \"b\"");
    assert_string_equal(c.scope, "s:r");
    remote_challenge_parse(a, STR("Basic realm=\"here\"\nbearer realm=t\n"), &c);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "t");
    remote_challenge_parse(a, STR("Negotiate, Basic realm=\"here\""), &c);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    remote_challenge_parse(a, STR("Digest nonce=x"), &c);
    assert_int_equal(c.scheme, CHALLENGE_NONE);
    remote_challenge_parse(a, (struct str){0}, &c);
    assert_int_equal(c.scheme, CHALLENGE_NONE);
}

static void test_config_json(void **state) {
    static const struct {
        const char *json, *host, *username, *token;
        int rc;
    } cases[] = {
        {"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpw\"}}}", "docker.io", "u",
         NULL, 0},
        {"{\"auths\":{\"quay.io\":{\"username\":\"u\",\"password\":\"p\"}}}", "quay.io", "u", NULL,
         0},
        {"{\"auths\":{\"quay.io\":{\"identitytoken\":\"t\"}}}", "quay.io", NULL, "t", 0},
        {"{\"auths\":{\"quay.io\":{\"auth\":\"dTpw\"}}}", "other.io", NULL, NULL, 0},
        {"{\"auths\":{\"quay.io\":{\"auth\":\"dTpw\"}}}", "uay.io", NULL, NULL, 0},
        {"{\"auths\":{\"quay.io\":{\"auth\":\"!\"}}}", "quay.io", NULL, NULL, -1},
        {"{\"credHelpers\":{\"quay.io\":\"../x\"}}", "quay.io", NULL, NULL, -1},
        {"{}", "quay.io", NULL, NULL, 0},
        {"[]", "quay.io", NULL, NULL, -1},
        {"{", "quay.io", NULL, NULL, -1},
    };
    (void)state;
    for (size_t i = 0; i < NR_OF(cases); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct remote_creds c = {0};
        struct err err = {0};
        assert_int_equal(remote_creds_read(a, str_of(cases[i].json), "F", cases[i].host, &c, &err),
                         cases[i].rc);
        assert_true(str_eq(str_of(c.username), str_of(cases[i].username)));
        assert_true(str_eq(str_of(c.identity_token), str_of(cases[i].token)));
        assert_true(cases[i].rc == 0 || err.code != ERR_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_lead_where_docker_goes),
        cmocka_unit_test(test_what_is_no_name_is_refused),
        cmocka_unit_test(test_google_hosts),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_config_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
