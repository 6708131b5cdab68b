/* Names of published prebuilt images: every one of the catalogue (reference 12 §4), training and
 * prediction, leads to a local image and, while that is missing, to the command that helps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/image/image_int.h"
#include "sys/files.h"

#include <fcntl.h>
#include <stdlib.h>

struct group {
    const char *kind;
    const char *families; /* by spaces */
    const char *versions;
    const char *local; /* the image that stands for them all */
    bool has_recipe;
};

/* The table of the reference, spelled out by families and versions. */
static const struct group catalogue[] = {
    {"training", "tf-cpu tf-gpu",
     "2-17.py310 2-16.py310 2-15.py310 2-14.py310 2-13.py310 2-12.py310 2-11 2-11.py310 2-10.py310 "
     "2-9 2-8 2-8.py37 2-7 2-6 2-5 2-4 2-3 2-2 2-1 1-15",
     "tf-cpu", true},
    {"training", "pytorch-xla pytorch-gpu",
     "2-4.py310 2-3.py310 2-2.py310 2-1.py310 2-0.py310 1-13.py310 1-12.py310 1-11 1-10",
     "pytorch-cpu", true},
    {"training", "pytorch-cpu pytorch-gpu", "1-6 1-4", "pytorch-cpu", true},
    {"training", "sklearn-cpu sklearn-gpu", "1-6 1-0", "sklearn-cpu", true},
    {"training", "scikit-learn-cpu", "0-23", "sklearn-cpu", true},
    {"training", "xgboost-cpu xgboost-gpu", "2-1 1-6", "xgboost-cpu", true},
    {"training", "xgboost-cpu", "1-1", "xgboost-cpu", true},
    {"training", "tf-tpu", "2-15.cp310", "tf-tpu", false},
    {"training", "pytorch-tpu", "2-2.cp310 2-1.cp310", "pytorch-tpu", false},
    {"training", "ray-cpu ray-gpu", "2-47.py311 2-42.py310 2-42.py311 2-33.py310 2-9.py310",
     "ray-cpu", false},
    {"prediction", "tf2-cpu tf2-gpu",
     "2-1 2-2 2-3 2-4 2-5 2-6 2-7 2-8 2-9 2-10 2-11 2-12 2-13 2-14 2-15", "tf-cpu", true},
    {"prediction", "tf-cpu tf-gpu", "1-15", "tf-cpu", true},
    {"prediction", "sklearn-cpu", "0-20 0-22 0-23 0-24 1-0 1-2 1-3 1-4 1-5 1-6", "sklearn-cpu",
     true},
    {"prediction", "xgboost-cpu", "0-82 0-90 1-1 1-2 1-3 1-4 1-5 1-6 1-7 2-0 2-1", "xgboost-cpu",
     true},
    {"prediction", "pytorch-cpu pytorch-gpu", "1-11 1-12 1-13 2-0 2-1 2-2 2-3 2-4", "pytorch-cpu",
     true},
};

struct fixture {
    char dir[64];
    struct image_store *s;
    struct arena *a;
    struct err err;
};

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof(*f));
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/cusp-alias-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->a = arena_new(ARENA_NO_MAX);
    f->s = image_store_open(f->dir, &f->err);
    assert_non_null(f->s);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    image_store_close(f->s);
    assert_int_equal(file_remove_tree(AT_FDCWD, f->dir, &f->err), 0);
    arena_free(f->a);
    free(f);
    return 0;
}

static bool stands_for(struct fixture *f, const char *uri, const char *local) {
    const char *recipe = NULL, *name;
    for (size_t i = 0; (name = alias_builtin(f->a, str_of(uri), i, &recipe)) != NULL; i++) {
        if (strcmp(name, local) == 0) {
            return true;
        }
    }
    return false;
}

static void check_uri(struct fixture *f, const struct group *g, const char *uri) {
    struct image img;
    err_clear(&f->err);
    if (!stands_for(f, uri, g->local)) {
        fail_msg("%s does not stand for %s", uri, g->local);
    }
    assert_int_equal(image_resolve(f->s, f->a, uri, &img, &f->err), -1);
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(f->err.msg, uri));
    const char *command = g->has_recipe
                              ? arena_printf(f->a, "build it with: cusp images build %s", g->local)
                              : arena_printf(f->a, "cusp images import FILE --name=%s", g->local);
    if (strstr(f->err.msg, command) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", uri, f->err.msg, command);
    }
}

static void test_the_whole_catalogue(void **state) {
    static const char *const regions[] = {"us", "europe", "asia"};
    struct fixture *f = *state;
    unsigned n = 0;
    for (size_t i = 0; i < NR_OF(catalogue); i++) {
        const struct group *g = &catalogue[i];
        for (struct str families = str_of(g->families); families.p != NULL;) {
            struct str family = str_cut(&families, ' ');
            for (struct str versions = str_of(g->versions); versions.p != NULL;) {
                struct str v = str_cut(&versions, ' ');
                for (size_t r = 0; r < NR_OF(regions); r++) {
                    n++;
                    check_uri(f, g,
                              arena_printf(f->a, "%s-docker.pkg.dev/vertex-ai/%s/%.*s.%.*s:latest",
                                           regions[r], g->kind, STR_ARG(family), STR_ARG(v)));
                }
            }
        }
    }
    assert_true(n > 400);
    const struct group reduction = {.local = "reductionserver"};
    check_uri(f, &reduction,
              "us-docker.pkg.dev/vertex-ai-restricted/training/reductionserver:latest");
}

static void test_older_hosts_digests_and_no_tag(void **state) {
    struct fixture *f = *state;
    assert_true(stands_for(f, "gcr.io/cloud-aiplatform/training/tf-gpu.2-1", "tf-cpu"));
    assert_true(stands_for(f, "eu.gcr.io/cloud-aiplatform/prediction/xgboost-cpu.0-82:latest",
                           "xgboost-cpu"));
    assert_true(
        stands_for(f, "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-1@sha256:00", "tf-cpu"));
    /* The exact name and the family's own variant come before another one's. */
    const char *recipe = NULL;
    struct str uri = STR("us-docker.pkg.dev/vertex-ai/training/tf-gpu.2-17.py310:latest");
    assert_string_equal(alias_builtin(f->a, uri, 0, &recipe), "tf-gpu.2-17.py310");
    assert_string_equal(alias_builtin(f->a, uri, 1, &recipe), "tf-gpu");
    assert_string_equal(alias_builtin(f->a, uri, 2, &recipe), "tf-cpu");
    assert_null(alias_builtin(f->a, uri, 3, &recipe));
    assert_string_equal(recipe, "tf-cpu");
}

static void test_what_is_not_published(void **state) {
    static const char *const others[] = {
        "us-docker.pkg.dev/vertex-ai/serving/tf2-cpu.2-1:latest", /* no such kind */
        "us-docker.pkg.dev/vertex-ai/prediction/",
        "us-docker.pkg.dev/vertex-ai/training/a/tf-cpu.2-1",
        "us-docker.pkg.dev/my-project/training/tf-cpu.2-1:latest",
        "docker.io/vertex-ai/training/tf-cpu.2-1",
        "training/tf-cpu.2-1",
        "",
    };
    struct fixture *f = *state;
    const char *recipe = NULL;
    for (size_t i = 0; i < NR_OF(others); i++) {
        assert_null(alias_builtin(f->a, str_of(others[i]), 0, &recipe));
        assert_null(recipe);
    }
    /* A new version of a family we know is taken; a family we do not know stands for itself. */
    assert_true(
        stands_for(f, "us-docker.pkg.dev/vertex-ai/training/tf-cpu.9-99.py399:latest", "tf-cpu"));
    struct str uri = STR("us-docker.pkg.dev/vertex-ai/training/jax-cpu.0-4:latest");
    assert_string_equal(alias_builtin(f->a, uri, 0, &recipe), "jax-cpu.0-4");
    assert_null(alias_builtin(f->a, uri, 1, &recipe));
    assert_null(recipe);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_whole_catalogue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_hosts_digests_and_no_tag, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_published, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
