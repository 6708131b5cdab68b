/* Suggestions ahead of time: the same as on demand, and never for a study that has changed. */
#include "ctl/suggest.h"

#include "base/limits.h"
#include "steps.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct tune_param params[] = {
    {.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1},
    {.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1},
};
static const struct tune_param small[] = {{.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1}};
static const struct tune_metric metric[] = {{.minimize = true}};
static const char *const ids[] = {"loss"};

static struct study *study_over_params(const struct tune_param *p, size_t nr) {
    struct study_spec spec = {
        .tune = {.params = p, .nr_params = nr, .metrics = metric, .nr_metrics = 1, .seed = 7},
        .metric_id = ids};
    return study_new(&spec, 0);
}

static void must(struct study *s, struct study_event ev) {
    struct err err;
    if (study_apply(s, &ev, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static uint64_t add(struct study *s, const double *setting) {
    struct study_new_trial t = {.setting = setting, .state = STUDY_TRIAL_ACTIVE};
    uint64_t id = study_next_id(s);
    must(s, (struct study_event){
                .type = STUDY_EV_TRIALS_CREATED, .trial = id, .trials = &t, .nr_trials = 1});
    return id;
}

static void end(struct study *s, uint64_t id) {
    const double *x = study_trial(s, id)->setting;
    struct study_report r = {.value = (x[0] - 0.3) * (x[0] - 0.3) + x[1]};
    must(s, (struct study_event){.type = STUDY_EV_TRIAL_ENDED,
                                 .trial = id,
                                 .state = STUDY_TRIAL_SUCCEEDED,
                                 .has_final = true,
                                 .reports = &r,
                                 .nr_reports = 1});
}

/* One of whom only one suggestion is asked at a time, and who hears when one is ready. */
struct asker {
    struct steps steps;
    unsigned nr_ready;
};
static void asker_init(struct asker *st) {
    *st = (struct asker){0};
    steps_init(&st->steps);
}
static void step(struct asker *st) {
    assert_int_equal(st->steps.nr, 1);
    (void)steps_take(&st->steps);
}
static void ready(void *arg) {
    ((struct asker *)arg)->nr_ready++;
}

static void test_ahead_is_as_on_demand(void **state) {
    (void)state;
    struct asker st;
    asker_init(&st);
    struct suggest_pool ahead, direct;
    suggest_pool_init(&ahead, &st.steps.runner);
    suggest_pool_init(&direct, NULL);
    struct study *s = study_over_params(params, 2);
    struct suggester *a = suggester_new(&ahead, ready, &st);
    for (int i = 0; i < 12; i++) {
        const double *x, *y;
        unsigned before = st.steps.nr_run;
        suggester_prepare(a, s);
        step(&st);
        assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY);
        assert_int_equal(st.steps.nr_run, before + 1);
        struct suggester *fresh = suggester_new(&direct, ready, &st);
        assert_int_equal(suggester_take(fresh, s, &y), SUGGEST_READY);
        assert_memory_equal(x, y, 2 * sizeof(*x));
        uint64_t id = add(s, x);
        suggester_free(fresh);
        if (i % 3) {
            end(s, id);
        }
    }
    assert_int_equal(st.nr_ready, 0);
    suggester_free(a);
    assert_int_equal(ahead.nr_warm, 0);
    assert_int_equal(direct.nr_warm, 0);
    study_free(s);
}

static void test_a_change_makes_it_stale(void **state) {
    (void)state;
    struct asker st;
    asker_init(&st);
    struct suggest_pool pool;
    suggest_pool_init(&pool, &st.steps.runner);
    struct study *s = study_over_params(params, 2);
    struct suggester *a = suggester_new(&pool, ready, &st);
    const double *x, by_hand[] = {0.5, 0.5};
    suggester_prepare(a, s);
    uint64_t id = add(s, by_hand);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_LATER);
    step(&st); /* of the study as it was */
    assert_int_equal(st.nr_ready, 1);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_LATER);
    step(&st);
    assert_int_equal(st.nr_ready, 2);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY);
    assert_true(x[0] != 0.5 || x[1] != 0.5);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY); /* again: the same, from memory */
    assert_int_equal(st.steps.nr, 0);
    end(s, id);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_LATER);
    suggester_free(a); /* while it is computed */
    step(&st);
    assert_int_equal(st.nr_ready, 2);
    study_free(s);
}

static void test_nothing_left(void **state) {
    (void)state;
    struct suggest_pool pool;
    suggest_pool_init(&pool, NULL);
    struct study *s = study_over_params(small, 1);
    struct suggester *a = suggester_new(&pool, ready, NULL);
    const double *x;
    double first;
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY);
    first = *x;
    add(s, x);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY);
    assert_true(*x != first);
    add(s, x);
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_NONE);
    suggester_free(a);
    study_free(s);
}

static void test_memory_is_bounded(void **state) {
    (void)state;
    struct suggest_pool pool;
    suggest_pool_init(&pool, NULL);
    uint64_t was = limits.max_tuners;
    limits.max_tuners = 3;
    struct study *s = study_over_params(params, 2);
    struct suggester *a[8];
    const double *x;
    for (size_t i = 0; i < NR_OF(a); i++) {
        a[i] = suggester_new(&pool, ready, NULL);
        assert_int_equal(suggester_take(a[i], s, &x), SUGGEST_READY);
        assert_true(pool.nr_warm <= 3);
    }
    assert_int_equal(pool.nr_warm, 3);
    end(s, add(s, x));
    assert_int_equal(suggester_take(a[0], s, &x), SUGGEST_READY); /* it had forgotten */
    for (size_t i = 0; i < NR_OF(a); i++) {
        suggester_free(a[i]);
    }
    assert_int_equal(pool.nr_warm, 0);
    limits.max_tuners = was;
    study_free(s);
}

/* Who asks for many gets what asking for them one after the other would have given, and who asked
 * for many has as many computed ahead. */
static void test_many_at_once(void **state) {
    (void)state;
    struct asker st;
    asker_init(&st);
    struct suggest_pool ahead, direct;
    suggest_pool_init(&ahead, &st.steps.runner);
    suggest_pool_init(&direct, NULL);
    struct study *s = study_over_params(params, 2);
    struct suggester *a = suggester_new(&ahead, ready, &st), *b;
    const double *x, *y;
    size_t nr;
    for (int i = 0; i < 6; i++) { /* past the start-up design */
        b = suggester_new(&direct, ready, NULL);
        assert_int_equal(suggester_take(b, s, &y), SUGGEST_READY);
        end(s, add(s, y));
        suggester_free(b);
    }
    assert_int_equal(suggester_take_some(a, s, 3, &x, &nr), SUGGEST_LATER);
    step(&st);
    assert_int_equal(suggester_take_some(a, s, 3, &x, &nr), SUGGEST_READY);
    assert_int_equal(nr, 3);
    double all[6];
    memcpy(all, x, sizeof(all));
    assert_int_equal(suggester_take_some(a, s, 1, &x, &nr), SUGGEST_READY); /* of these */
    assert_int_equal(nr, 1);
    assert_memory_equal(x, all, 2 * sizeof(*x));
    assert_int_equal(suggester_take_some(a, s, 2, &x, &nr), SUGGEST_READY);
    for (int i = 0; i < 3; i++) {
        b = suggester_new(&direct, ready, NULL);
        assert_int_equal(suggester_take(b, s, &y), SUGGEST_READY);
        assert_memory_equal(y, all + i * 2, 2 * sizeof(*y));
        add(s, all + i * 2);
        suggester_free(b);
    }
    unsigned before = st.steps.nr_run;
    suggester_prepare(a, s); /* they run: one */
    step(&st);
    assert_int_equal(suggester_take_some(a, s, 1, &x, &nr), SUGGEST_READY);
    assert_int_equal(suggester_take_some(a, s, 2, &x, &nr), SUGGEST_LATER);
    step(&st);
    for (uint64_t id = 7; id <= 9; id++) {
        end(s, id);
    }
    suggester_prepare(a, s);
    step(&st);
    assert_int_equal(suggester_take_some(a, s, 2, &x, &nr), SUGGEST_READY);
    assert_int_equal(nr, 2);
    assert_int_equal(st.steps.nr_run, before + 3);
    suggester_free(a);
    study_free(s);
}

static void test_fewer_than_asked_for(void **state) {
    (void)state;
    struct suggest_pool pool;
    suggest_pool_init(&pool, NULL);
    struct study *s = study_over_params(small, 1);
    struct suggester *a = suggester_new(&pool, ready, NULL);
    const double *x;
    size_t nr;
    assert_int_equal(suggester_take_some(a, s, 5, &x, &nr), SUGGEST_READY);
    assert_int_equal(nr, 2);
    assert_true(x[0] != x[1]);
    suggester_free(a);
    study_free(s);
}

/* What was learned is taught again to a tuner that had forgotten, and to a fresh process. */
static void test_lessons(void **state) {
    (void)state;
    static const double settings[][2] = {{0.91, 0.13}, {0.2, 0.7}, {0.5, 0.4}, {0.7, 0.9}};
    static const double losses[] = {0.01, 1, 0.5, 2};
    struct tune_trial t[4];
    for (size_t i = 0; i < NR_OF(t); i++) {
        t[i] = (struct tune_trial){TUNE_DONE, settings[i], &losses[i]};
    }
    const struct study_lesson lesson = {"studies/1", t, NR_OF(t)};
    struct suggest_pool pool;
    suggest_pool_init(&pool, NULL);
    struct study *plain = study_over_params(params, 2), *s = study_over_params(params, 2);
    must(s, (struct study_event){.type = STUDY_EV_LEARNED, .lesson = &lesson});
    struct suggester *a = suggester_new(&pool, ready, NULL), *b = suggester_new(&pool, ready, NULL);
    const double *x, *y;
    assert_int_equal(suggester_take(b, plain, &y), SUGGEST_READY);
    assert_true(y[0] == 0.5 && y[1] == 0.5); /* the centre */
    assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY);
    assert_true(fabs(x[0] - 0.91) < 1e-9 && fabs(x[1] - 0.13) < 1e-9); /* what was best there */
    for (int i = 0; i < 8; i++) {
        assert_int_equal(suggester_take(a, s, &x), SUGGEST_READY);
        struct suggester *fresh = suggester_new(&pool, ready, NULL);
        assert_int_equal(suggester_take(fresh, s, &y), SUGGEST_READY);
        assert_memory_equal(x, y, 2 * sizeof(*x));
        suggester_free(fresh);
        end(s, add(s, x));
    }
    suggester_free(a);
    suggester_free(b);
    study_free(plain);
    study_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahead_is_as_on_demand),
        cmocka_unit_test(test_a_change_makes_it_stale),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_fewer_than_asked_for),
        cmocka_unit_test(test_lessons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
