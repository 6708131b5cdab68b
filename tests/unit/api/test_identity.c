/* What a metadata server shows of a job, and access tokens: made, read, changed, expired. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/identity_int.h"
#include "sys/files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char job[] = "projects/7/locations/us-central1/customJobs/12", job_id[] = "12",
            replica[] = "workerpool0-0", project[] = "demo", location[] = "us-central1",
            email[] = "t@demo.iam.gserviceaccount.com";

static const struct caller me = {.id = 1,
                                 .job = job,
                                 .job_id = job_id,
                                 .replica = replica,
                                 .project_id = project,
                                 .location = location,
                                 .email = email,
                                 .project_number = 7};

/* ---- metadata */

struct shown {
    const char *path;
    bool recursive;
    const char *alt, *text; /* text NULL: there is no such path */
    enum metadata_form form;
};

#define ACCOUNT                                                                                    \
    "{\"aliases\":[\"default\"],\"email\":\"t@demo.iam.gserviceaccount.com\","                     \
    "\"scopes\":[\"https://www.googleapis.com/auth/cloud-platform\"]}"

static const struct shown all[] = {
    {"project/project-id", false, NULL, "demo", METADATA_TEXT},
    {"project/project-id", false, "json", "\"demo\"", METADATA_JSON},
    {"project/project-id", true, NULL, "demo", METADATA_TEXT},
    {"project/numeric-project-id", false, "json", "7", METADATA_JSON},
    {"universe/universe-domain", false, NULL, "googleapis.com", METADATA_TEXT},
    {"instance/maintenance-event", false, NULL, "NONE", METADATA_TEXT},
    {"instance/service-accounts/default/aliases", false, "json", "[\"default\"]", METADATA_JSON},
    {"instance/service-accounts/default/", true, NULL, ACCOUNT, METADATA_JSON},
    {"instance/service-accounts/default", true, "json", ACCOUNT, METADATA_JSON},
    {"instance/service-accounts/default", true, "text",
     "aliases default\nemail t@demo.iam.gserviceaccount.com\n"
     "scopes https://www.googleapis.com/auth/cloud-platform\n",
     METADATA_TEXT},
    {"instance/service-accounts/default/", false, NULL, "aliases\nemail\nscopes\nidentity\ntoken\n",
     METADATA_TEXT},
    {"instance/service-accounts/t@demo.iam.gserviceaccount.com/email", false, NULL,
     "t@demo.iam.gserviceaccount.com", METADATA_TEXT},
    {"instance/service-accounts/", false, NULL, "t@demo.iam.gserviceaccount.com/\ndefault/\n",
     METADATA_TEXT},
    {"instance/attributes/", false, NULL, "", METADATA_TEXT},
    {"instance/attributes/", true, NULL, "{}", METADATA_JSON},
    {"", false, NULL, "instance/\nproject/\nuniverse/\n", METADATA_TEXT},
    {"project/", true, NULL, "{\"attributes\":{},\"numericProjectId\":7,\"projectId\":\"demo\"}",
     METADATA_JSON},
    {"instance/attributes/x", false, NULL, NULL, METADATA_TEXT},
    {"instance/service-accounts/other/email", false, NULL, NULL, METADATA_TEXT},
    {"project/project-id/", false, NULL, NULL, METADATA_TEXT},
    {"project/project", false, NULL, NULL, METADATA_TEXT},
    {"/", false, NULL, NULL, METADATA_TEXT},
    {"nothing", true, "json", NULL, METADATA_TEXT},
};

static void test_metadata(void **state) {
    for (size_t i = 0; i < NR_OF(all); i++) {
        auto_arena struct arena *a = arena_new(1 << 20);
        auto_buf struct buf b = BUF_INIT(1 << 20);
        enum metadata_form form = METADATA_TEXT;
        bool is_there =
            metadata_get(&me, a, str_of(all[i].path), all[i].recursive, all[i].alt, &b, &form);
        assert_int_equal(is_there, all[i].text != NULL);
        if (is_there) {
            assert_string_equal(buf_cstr(&b), all[i].text);
            assert_int_equal(form, all[i].form);
        }
    }
}

/* ---- tokens */

struct keys {
    char dir[64];
    struct token_keys *k;
    struct arena *a;
};

static int setup(void **state) {
    struct keys *s = xcalloc(1, sizeof(*s));
    struct err err;
    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/cusp-token-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->k = token_keys_open(NULL, s->dir, &err);
    assert_non_null(s->k);
    s->a = arena_new(1 << 20);
    *state = s;
    return 0;
}

static int teardown(void **state) {
    struct keys *s = *state;
    token_keys_free(s->k);
    arena_free(s->a);
    assert_int_equal(file_remove_tree(AT_FDCWD, s->dir, NULL), 0);
    free(s);
    return 0;
}

#define NOW ((usec_t)1700000000 * USEC_PER_SEC)

static void test_token_says_whose_it_is_and_until_when(void **state) {
    struct keys *s = *state;
    auto_buf struct buf b = BUF_INIT(1 << 16), other = BUF_INIT(1 << 16);
    struct token_claims t;
    bearer_make(s->k, &me, NOW, &b);
    bearer_make(s->k, &me, NOW, &other);
    assert_false(str_eq(buf_str(&b), buf_str(&other)));
    assert_true(bearer_is_ours(buf_str(&b)));
    assert_true(bearer_read(s->k, s->a, buf_str(&b), &t));
    assert_true(str_eqc(t.job, job) && str_eqc(t.email, email));
    assert_int_equal(t.issued, 1700000000);
    assert_int_equal(t.expires, 1700000000 + TOKEN_LIFE_S);
}

static void test_token_outlives_a_restart_but_not_its_key(void **state) {
    struct keys *s = *state;
    auto_buf struct buf b = BUF_INIT(1 << 16);
    struct token_claims t;
    struct err err;
    bearer_make(s->k, &me, NOW, &b);
    token_keys_free(s->k);
    s->k = token_keys_open(NULL, s->dir, &err);
    assert_true(bearer_read(s->k, s->a, buf_str(&b), &t));
    token_keys_free(s->k);
    assert_int_equal(unlink(arena_printf(s->a, "%s/token.key", s->dir)), 0);
    s->k = token_keys_open(NULL, s->dir, &err);
    assert_false(bearer_read(s->k, s->a, buf_str(&b), &t));
    token_keys_free(s->k);
    assert_int_equal(file_write_atomic(AT_FDCWD, arena_printf(s->a, "%s/token.key", s->dir),
                                       STR("short"), 0600, FILE_NO_SYNC, NULL),
                     0);
    s->k = NULL;
    assert_null(token_keys_open(NULL, s->dir, &err));
    assert_int_equal(err.code, ERR_DATA_LOSS);
}

static void test_changed_tokens_are_nobodys(void **state) {
    struct keys *s = *state;
    auto_buf struct buf b = BUF_INIT(1 << 16), sealed = BUF_INIT(1 << 16);
    struct token_claims t;
    bearer_make(s->k, &me, NOW, &b);
    for (size_t i = 5; i + 1 < b.n; i++) { /* the last character has bits that say nothing */
        char was = b.p[i];
        b.p[i] = was == 'A' ? 'B' : 'A';
        assert_false(bearer_read(s->k, s->a, buf_str(&b), &t));
        b.p[i] = was;
    }
    for (size_t n = 0; n < b.n - 1; n++) {
        assert_false(bearer_read(s->k, s->a, str_n(b.p, n), &t));
    }
    static const char *const strangers[] = {"",      "owner",  "ya29.abc",
                                            "cusp.", "cusp..", "cusp.e30."};
    for (size_t i = 0; i < NR_OF(strangers); i++) {
        assert_false(bearer_read(s->k, s->a, str_of(strangers[i]), &t));
    }
    assert_false(bearer_is_ours(STR("ya29.abc")));
    /* Claims that are no JSON, or not ours, are no claims. */
    bearer_seal(s->k, STR("not json"), &sealed);
    assert_false(bearer_read(s->k, s->a, buf_str(&sealed), &t));
    buf_clear(&sealed);
    bearer_seal(s->k, STR("{\"job\": 5}"), &sealed);
    assert_true(bearer_read(s->k, s->a, buf_str(&sealed), &t));
    assert_true(t.job.n == 0 && t.expires == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),
        cmocka_unit_test_setup_teardown(test_token_says_whose_it_is_and_until_when, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_token_outlives_a_restart_but_not_its_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_changed_tokens_are_nobodys, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
