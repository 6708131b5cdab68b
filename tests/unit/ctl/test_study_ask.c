/* Vizier studies over the memory store: who is given what, suggestions that come late, who waits
 * for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "studies_rig.h"

#include <math.h>

static void test_clients_are_given_their_own(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct told *a = ask(f, s, "a", 1), *a2 = ask(f, s, "a", 1), *b = ask(f, s, "b", 2);
    assert_int_equal(done(f, a)->given[0].id, 1);
    assert_int_equal(done(f, a2)->given[0].id, 1); /* the same one again */
    done(f, b);
    assert_int_equal(b->nr, 2);
    assert_true(b->given[0].id == 2 && b->given[1].id == 3);
    must(f, tell(f, s, (struct told){.what = STOP, .trial = 2}));
    must(f, tell(f, s, (struct told){.what = ADD, .value = 0.5}));
    struct told *c = must(f, ask(f, s, "c", 1));
    assert_true(c->given[0].id == 4 && c->given[0].how == GIVEN_REQUESTED);
    b = must(f, ask(f, s, "b", 2));
    assert_true(b->given[0].id == 3 && b->given[1].id == 5);
    assert_int_equal(done(f, tell(f, s, (struct told){.what = END, .trial = 9}))->code,
                     ERR_NOT_FOUND);
    must(f, tell(f, s, (struct told){.what = END, .trial = 1, .value = 2}));
    assert_int_equal(must(f, ask(f, s, "a", 1))->given[0].id, 6);
}

static void test_contexts_take_what_fits(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    static const double seven[] = {NAN, 7}, three[] = {NAN, 3};
    const study_context contexts[] = {seven, three, NULL};
    const struct study_ask q = {"a", contexts, 3};
    must(f, tell(f, s, (struct told){.what = ADD, .value = 0.5})); /* its second value is 3 */
    struct told *t = must(f, tell(f, s, (struct told){.what = ASK, .ask = q}));
    assert_int_equal(t->nr, 3);
    assert_int_equal(t->given[1].id, 1);
    struct told *again = must(f, tell(f, s, (struct told){.what = ASK, .ask = q}));
    struct study_view v;
    assert_true(study_peek(f->s, s, &v));
    assert_true(study_trial(v.study, t->given[0].id)->setting[1] == 7);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(again->given[i].id, t->given[i].id);
        assert_int_equal(again->given[i].how, GIVEN_ITS_OWN);
    }
}

/* What a requested trial leaves open is decided when it is handed out, once, and told to nobody
 * before that; it takes no part in the search until then. */
static void test_what_a_request_leaves_open_is_suggested(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    static const double seven[] = {NAN, 7}, three[] = {NAN, 3};
    const study_context contexts[] = {seven, three};
    struct study_view v;
    must(f, tell(f, s, (struct told){.what = REQUEST, .value = 3}));
    must(f, tell(f, s, (struct told){.what = REQUEST, .value = NAN}));
    static const enum what refused[] = {TELL, END, STOP};
    for (size_t i = 0; i < NR_OF(refused); i++) {
        struct told *t = done(f, tell(f, s, (struct told){.what = refused[i], .trial = 1}));
        assert_int_equal(t->code, ERR_FAILED_PRECONDITION);
    }
    assert_false(must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = 1}))->should_stop);
    assert_true(study_peek(f->s, s, &v));
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    size_t nr;
    (void)study_history(v.study, a, &nr);
    assert_int_equal(nr, 0);
    struct told *t = must(f, tell(f, s, (struct told){.what = ASK, .ask = {"a", contexts, 2}}));
    assert_int_equal(t->nr, 2);
    assert_int_equal(t->given[0].id, 2); /* fits both; the first trial only the second slot */
    assert_int_equal(t->given[1].id, 1);
    assert_true(study_peek(f->s, s, &v));
    double first = study_trial(v.study, 1)->setting[0],
           second = study_trial(v.study, 2)->setting[0];
    assert_true(first >= 0 && first <= 1 && second >= 0 && second <= 1 && first != second);
    assert_true(study_trial(v.study, 1)->setting[1] == 3);
    assert_true(study_trial(v.study, 2)->setting[1] == 7);
    assert_false(study_trial(v.study, 1)->is_open);
    (void)study_history(v.study, a, &nr);
    assert_int_equal(nr, 2);
    t = must(f, ask(f, s, "b", 1)); /* random search goes on behind them */
    assert_true(study_peek(f->s, s, &v));
    double third = study_trial(v.study, t->given[0].id)->setting[0];
    assert_true(third != first && third != second);
    must(f, tell(f, s, (struct told){.what = REQUEST, .value = 5}));
    must(f, tell(f, s, (struct told){.what = DROP, .trial = 4}));
    assert_int_equal(must(f, ask(f, s, "c", 1))->given[0].id, 5);
}

/* Who tells meanwhile makes a suggestion useless once; then everybody waits for the next. */
static void test_a_suggestion_comes_in_the_end(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    must(f, ask(f, s, "a", 3));
    struct told *b = ask(f, s, "b", 1);
    if (!b->answers) {
        settle_store(f);
    }
    struct told *t;
    for (uint64_t i = 1; i <= 2 && !b->answers; i++) {
        t = tell(f, s, (struct told){.what = END, .trial = i, .value = 1});
        settle_store(f);
        assert_true(steps_take(&f->steps)); /* of the study as it was */
        settle_store(f);
    }
    struct told *late = tell(f, s, (struct told){.what = END, .trial = 3, .value = 1});
    settle_store(f);
    assert_true(b->answers || !late->answers);
    settle(f);
    assert_int_equal(b->answers, 1);
    assert_int_equal(b->given[0].id, 4);
    assert_int_equal(late->answers, 1);
    assert_int_equal(late->code, ERR_OK);
    (void)t;
}

/* However many are asked for, it is one transaction; and none when there is no room for all. */
static void test_many_are_one_transaction(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct studies_stats before, after;
    studies_get_stats(f->s, &before);
    struct told *t = must(f, ask(f, s, "a", 5));
    studies_get_stats(f->s, &after);
    assert_int_equal(t->nr, 5);
    assert_int_equal(after.changes, before.changes + 1);
    assert_true(after.asked > after.asked_ready);
    uint64_t was = limits.max_study_trials;
    limits.max_study_trials = 7;
    assert_int_equal(done(f, ask(f, s, "b", 3))->code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(must(f, ask(f, s, "b", 2))->nr, 2);
    limits.max_study_trials = was;
}

/* Who does not want to wait any longer is not called, and what came of the waiting is not lost. */
static void test_who_waits_may_leave(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct told *a = ask(f, s, "a", 1), *b = ask(f, s, "b", 1);
    settle_store(f);
    assert_true(study_withdraw(&a->c));
    assert_false(study_withdraw(&a->c));
    assert_int_equal(done(f, b)->given[0].id, 1);
    assert_int_equal(a->answers, 0);
    assert_false(study_withdraw(&b->c));
    assert_int_equal(must(f, ask(f, s, "a", 1))->given[0].id, 2);
}

static void test_who_waits_is_told_of_the_end(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct told *waits = ask(f, s, "a", 1);
    settle_store(f);
    assert_int_equal(waits->answers, 0);
    struct told *gone = tell(f, s, (struct told){.what = REMOVE});
    assert_int_equal(done(f, gone)->code, ERR_OK);
    assert_int_equal(done(f, waits)->code, ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STUDIES_TEST(test_clients_are_given_their_own),
        STUDIES_TEST(test_contexts_take_what_fits),
        STUDIES_TEST(test_what_a_request_leaves_open_is_suggested),
        STUDIES_TEST(test_a_suggestion_comes_in_the_end),
        STUDIES_TEST(test_many_are_one_transaction),
        STUDIES_TEST(test_who_waits_may_leave),
        STUDIES_TEST(test_who_waits_is_told_of_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
