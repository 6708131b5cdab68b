/* Vizier studies over the memory store: one transaction at a time, replay, eviction, stopping
 * rules, crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "studies_rig.h"

#include <math.h>

static void test_display_names_are_unique(void **state) {
    struct fix *f = *state;
    struct made *first = make(f, "1", "lr", "x"), *second = make(f, "2", "lr", "x");
    settle(f);
    assert_int_equal(first->code, ERR_OK);
    assert_int_equal(second->code, ERR_ALREADY_EXISTS);
    assert_int_equal(done(f, tell(f, STR(PARENT "/studies/2"), (struct told){.what = READ}))->code,
                     ERR_NOT_FOUND);
    assert_string_equal(now(f, STR(PARENT "/studies/1")), "ACTIVE");
    must(f, tell(f, STR(PARENT "/studies/1"), (struct told){.what = REMOVE}));
    assert_int_equal(
        done(f, tell(f, STR(PARENT "/studies/1"), (struct told){.what = REMOVE}))->code,
        ERR_NOT_FOUND);
    second = make(f, "2", "lr", "x");
    settle(f);
    assert_int_equal(second->code, ERR_OK);
}

static void test_what_does_not_read_is_told_to_all(void **state) {
    struct fix *f = *state;
    make(f, "1", "lr", "unreadable");
    settle(f);
    struct told *a = tell(f, STR(PARENT "/studies/1"), (struct told){.what = READ});
    struct told *b = ask(f, STR(PARENT "/studies/1"), "a", 1);
    assert_int_equal(done(f, a)->code, ERR_DATA_LOSS);
    assert_int_equal(done(f, b)->code, ERR_DATA_LOSS);
}

static void test_nothing_is_believed_before_it_is_durable(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    must(f, ask(f, s, "a", 1));
    struct told *one = tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 5, .step = 1});
    struct told *two = tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 4, .step = 2});
    struct study_view v;
    assert_int_equal(one->decisions, 1);
    assert_int_equal(two->decisions, 0); /* not while the first is on its way */
    assert_true(study_peek(f->s, s, &v));
    assert_int_equal(study_trial(v.study, 1)->nr_measurements, 0);
    done(f, one);
    assert_string_equal(strstr(one->dump, " a") + 2, " 1:5");
    assert_string_equal(strstr(done(f, two)->dump, " a") + 2, " 1:5 2:4");
    struct told *again =
        must(f, tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 4, .step = 2}));
    assert_string_equal(again->dump, two->dump);
}

static void test_a_failed_commit_changes_nothing(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    must(f, ask(f, s, "a", 1));
    struct told *bad = tell(f, s, (struct told){.what = SPOIL, .trial = 1, .value = 5, .step = 1});
    struct told *good = tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 4, .step = 2});
    assert_int_equal(done(f, bad)->code, ERR_FAILED_PRECONDITION);
    assert_int_equal(done(f, good)->code, ERR_OK);
    assert_string_equal(strstr(good->dump, " a") + 2, " 2:4");
}

static void test_the_least_used_make_room(void **state) {
    struct fix *f = *state;
    struct studies_stats st;
    struct str names[5];
    uint64_t was = limits.max_studies_loaded;
    limits.max_studies_loaded = 2;
    for (unsigned i = 0; i < 5; i++) {
        names[i] = study(f, arena_printf(f->rig.a, "%u", i + 1));
        must(f, ask(f, names[i], "a", 1));
    }
    studies_get_stats(f->s, &st);
    assert_int_equal(st.loaded, 2);
    assert_int_equal(st.evictions, 3);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(must(f, ask(f, names[i], "a", 1))->given[0].id, 1);
    }
    limits.max_studies_loaded = was;
}

static void test_early_stopping_by_rule(void **state) {
    struct fix *f = *state;
    make(f, "1", "m", "median");
    settle(f);
    struct str s = STR(PARENT "/studies/1");
    for (uint64_t i = 1; i <= 5; i++) {
        must(f, ask(f, s, "a", 1));
        for (int64_t k = 1; k <= 5; k++) {
            must(f, tell(f, s, (struct told){.what = TELL, .trial = i, .value = 5, .step = k}));
        }
        assert_false(
            must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = i}))->should_stop);
        must(f, tell(f, s, (struct told){.what = END, .trial = i, .value = 5, .step = 5}));
    }
    must(f, ask(f, s, "a", 1));
    for (int64_t k = 1; k <= 5; k++) {
        must(f, tell(f, s, (struct told){.what = TELL, .trial = 6, .value = 50, .step = k}));
    }
    struct told *t = must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = 6}));
    assert_true(t->should_stop);
    assert_non_null(strstr(t->dump, "6 STOPPING"));
    assert_true(must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = 6}))->should_stop);
}

static uint64_t below(struct fix *f, uint64_t n) {
    return rng_u64(&f->rig.rng) % n;
}

static double final_of(struct fix *f, struct str s, uint64_t trial) {
    struct study_view v;
    (void)now(f, s);
    assert_true(study_peek(f->s, s, &v));
    return study_trial(v.study, trial)->final.v[0].value;
}

static uint64_t curve(struct fix *f, struct str s, double level, int64_t steps) {
    uint64_t id = must(f, ask(f, s, "a", 1))->given[0].id;
    for (int64_t k = 1; k <= steps; k++) {
        must(f, tell(f, s,
                     (struct told){
                         .what = TELL, .trial = id, .value = level + 1.0 / (double)k, .step = k}));
    }
    return id;
}

/* update_all_stopped_trials: what was predicted follows what is learnt, in a transaction of its
 * own, and a restart finds it so. */
static void test_predictions_are_made_anew(void **state) {
    struct fix *f = *state;
    make(f, "1", "c", "convex");
    settle(f);
    struct str s = STR(PARENT "/studies/1");
    for (int i = 0; i < 8; i++) {
        uint64_t id = curve(f, s, 0.1 * i, 20);
        must(f, tell(f, s, (struct told){.what = END, .trial = id, .value = 0.1 * i, .step = 20}));
    }
    uint64_t poor = curve(f, s, 5, 12);
    assert_true(must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = poor}))->should_stop);
    must(f, tell(f, s, (struct told){.what = END_AS_MEASURED, .trial = poor}));
    double first = final_of(f, s, poor);
    assert_true(first > 4 && first < 5.2);
    for (int i = 0; i < 8; i++) { /* with another slope */
        uint64_t id = curve(f, s, 0.9 + 0.15 * i, 19);
        must(f, tell(f, s,
                     (struct told){.what = END, .trial = id, .value = 0.3 + 0.05 * i, .step = 19}));
    }
    double then = final_of(f, s, poor);
    assert_true(then != first);
    crash(f);
    assert_true(final_of(f, s, poor) == then);
}

/* What was answered is so afterwards, a trial has one client for ever, and replay is what was. */
static void test_a_crash_loses_nothing_that_was_answered(void **state) {
    static const char *const clients[] = {"a", "b", "c"};
    struct fix *f = *state;
    struct str s = study(f, "1");
    const char *owner[400] = {0};
    double told[400] = {0};
    for (unsigned life = 0; life < 40; life++) {
        struct told *t[12];
        size_t n = 0, steps = below(f, 60);
        for (size_t i = 0; i < NR_OF(t); i++) {
            uint64_t trial = 1 + below(f, 3 * life + 4);
            switch (below(f, 5)) {
            case 4:
                t[n++] = tell(f, s,
                              (struct told){.what = REQUEST,
                                            .value = below(f, 2) ? NAN : 1 + (double)below(f, 9)});
                break;
            case 0:
                t[n++] = ask(f, s, clients[below(f, 3)], 1 + below(f, 2));
                break;
            case 1:
                t[n++] = tell(f, s,
                              (struct told){.what = TELL,
                                            .trial = trial,
                                            .value = 100.0 * life + (double)i,
                                            .step = (int64_t)(100 * life + i)});
                break;
            case 2:
                t[n++] = tell(
                    f, s,
                    (struct told){.what = END, .trial = trial, .value = (double)trial, .step = 1});
                break;
            default:
                t[n++] =
                    tell(f, s, (struct told){.what = below(f, 6) ? STOP : DROP, .trial = trial});
            }
            for (size_t k = below(f, 4); k > 0; k--) {
                (void)store_mem_step(f->rig.store);
                vclock_advance(&f->rig.clock, 1);
            }
        }
        for (size_t i = 0; i < steps; i++) {
            (void)store_mem_step(f->rig.store);
            vclock_advance(&f->rig.clock, 1);
            if (below(f, 3) == 0) {
                (void)steps_take(&f->steps);
            }
        }
        for (size_t i = 0; i < n; i++) {
            assert_true(t[i]->answers <= 1);
            for (size_t k = 0; t[i]->what == ASK && t[i]->answers && !t[i]->code && k < t[i]->nr;
                 k++) {
                uint64_t id = t[i]->given[k].id;
                assert_true(!owner[id] || strcmp(owner[id], t[i]->ask.client_id) == 0);
                owner[id] = t[i]->ask.client_id;
            }
            if (t[i]->what == TELL && t[i]->answers && !t[i]->code) {
                told[t[i]->trial] = t[i]->value;
            }
        }
        crash(f);
        char *first = now(f, s);
        struct study_view v;
        assert_true(study_peek(f->s, s, &v));
        for (uint64_t id = 1; id < NR_OF(owner); id++) {
            const struct study_trial *tr = study_trial(v.study, id);
            bool found = !tr || !told[id];
            for (size_t i = 0; tr && i < tr->nr_measurements; i++) {
                found |= study_trial_measurement(v.study, tr, i).v[0].value == told[id];
            }
            assert_true(found);
            assert_true(!tr || !owner[id] || strcmp(tr->client_id, owner[id]) == 0);
        }
        crash(f);
        assert_string_equal(now(f, s), first);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STUDIES_TEST(test_display_names_are_unique),
        STUDIES_TEST(test_what_does_not_read_is_told_to_all),
        STUDIES_TEST(test_nothing_is_believed_before_it_is_durable),
        STUDIES_TEST(test_a_failed_commit_changes_nothing),
        STUDIES_TEST(test_the_least_used_make_room),
        STUDIES_TEST(test_early_stopping_by_rule),
        STUDIES_TEST(test_predictions_are_made_anew),
        STUDIES_TEST(test_a_crash_loses_nothing_that_was_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
