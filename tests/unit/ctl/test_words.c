/* Unit tests of outcomes: the table and the sentences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>

#include "ctl/outcome.h"

static enum policy of(bool is_primary, enum exit_kind kind, int value) {
    struct exit_info x = {.kind = kind, .value = value};
    struct ending e = {.is_primary = is_primary, .x = &x};
    return outcome_of_ending(&e);
}

static void test_primary_exit_zero_succeeds_and_a_workers_changes_nothing(void **state) {
    assert_int_equal(of(true, EXIT_CODE, 0), POLICY_SUCCEED);
    assert_int_equal(of(false, EXIT_CODE, 0), POLICY_NONE);
}

static void test_user_errors_are_permanent(void **state) {
    static const int codes[] = {1, 2, 5, 7, 10, 12, 126, 127, 137, 143, 255};
    for (size_t i = 0; i < NR_OF(codes); i++) {
        assert_int_equal(of(true, EXIT_CODE, codes[i]), POLICY_FAIL);
        assert_int_equal(of(false, EXIT_CODE, codes[i]), POLICY_FAIL);
    }
    assert_int_equal(of(true, EXIT_OOM, 137), POLICY_FAIL);
    assert_int_equal(of(true, EXIT_RUNTIME, 127), POLICY_FAIL);
    assert_int_equal(of(true, EXIT_SIGNAL, SIGKILL), POLICY_FAIL);
}

static void test_abort_and_segfault_are_retried_in_every_spelling(void **state) {
    static const int codes[] = {6, 134, 11, 139};
    for (size_t i = 0; i < NR_OF(codes); i++) {
        assert_int_equal(of(true, EXIT_CODE, codes[i]), POLICY_RETRY_CRASH);
    }
    assert_int_equal(of(false, EXIT_SIGNAL, SIGSEGV), POLICY_RETRY_CRASH);
    assert_int_equal(of(true, EXIT_SIGNAL, SIGABRT), POLICY_RETRY_CRASH);
}

static void test_an_unknown_exit_is_a_lost_replica_never_success(void **state) {
    struct ending lost = {.is_primary = true, .is_lost = true};
    assert_int_equal(of(true, EXIT_UNKNOWN, 0), POLICY_RETRY_LOST);
    assert_int_equal(outcome_of_ending(&lost), POLICY_RETRY_LOST);
    lost.never_started = true;
    assert_int_equal(outcome_of_ending(&lost), POLICY_RETRY_FREE);
}

static void test_retries_end_when_their_budget_is_used(void **state) {
    uint32_t used[POLICY_NR] = {0};
    for (uint32_t i = 0; i < RETRY_MAX_CRASH; i++) {
        assert_int_equal(outcome_verdict(POLICY_RETRY_CRASH, used, false), VERDICT_RETRY);
        used[POLICY_RETRY_CRASH]++;
    }
    assert_int_equal(outcome_verdict(POLICY_RETRY_CRASH, used, false), VERDICT_FAILED);
    assert_int_equal(outcome_verdict(POLICY_RETRY_LOST, used, false), VERDICT_RETRY);
    assert_int_equal(outcome_verdict(POLICY_RETRY_LOST, used, true), VERDICT_FAILED);
    assert_int_equal(outcome_verdict(POLICY_RETRY_FREE, used, true), VERDICT_RETRY);
}

static void test_staging_failures_retry_only_when_they_may_pass(void **state) {
    assert_int_equal(outcome_of_failure(ERR_NOT_FOUND), POLICY_FAIL);
    assert_int_equal(outcome_of_failure(ERR_INVALID_ARGUMENT), POLICY_FAIL);
    assert_int_equal(outcome_of_failure(ERR_UNAVAILABLE), POLICY_RETRY_FAULT);
    assert_int_equal(outcome_of_failure(ERR_RESOURCE_EXHAUSTED), POLICY_RETRY_FAULT);
}

static void test_the_whole_message_reads_as_vertex_prints_it(void **state) {
    struct exit_info x = {.kind = EXIT_CODE, .value = 1};
    struct ending e = {.is_primary = true, .x = &x};
    auto_buf struct buf b = BUF_INIT(8192);
    outcome_sentence(&b, "workerpool0-0", &e, NULL);
    outcome_tail(&b,
                 "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n");
    outcome_pointer(&b, "http://here", 7, "42");
    assert_string_equal(
        buf_cstr(&b),
        "The replica workerpool0-0 exited with a non-zero status of 1. Termination reason: Error. "
        "\n"
        "Traceback (most recent call last):\n"
        "ModuleNotFoundError: No module named 'x'\n"
        "\n"
        "To find out more about why your job exited please check the logs: "
        "http://here/logs/viewer?project=7&resource=ml_job%2Fjob_id%2F42&advancedFilter="
        "resource.type%3D%22ml_job%22%0Aresource.labels.job_id%3D%2242%22 (or: cusp custom-jobs "
        "stream-logs 42)");
    assert_int_equal(outcome_code(&e), ERR_INVALID_ARGUMENT);
}

static void test_a_signal_is_named_and_memory_shows_limit_and_peak(void **state) {
    struct exit_info x = {.kind = EXIT_SIGNAL, .value = SIGKILL};
    struct ending e = {.is_primary = true, .x = &x};
    auto_buf struct buf b = BUF_INIT(8192);
    outcome_sentence(&b, "workerpool0-0", &e, NULL);
    assert_non_null(strstr(buf_cstr(&b), "non-zero status of 137."));
    assert_non_null(strstr(buf_cstr(&b), "SIGKILL"));
    buf_clear(&b);
    x = (struct exit_info){
        .kind = EXIT_OOM, .value = 137, .mem_limit_bytes = 64 << 20, .mem_peak_bytes = 63 << 20};
    outcome_sentence(&b, "workerpool1-2", &e, NULL);
    assert_non_null(strstr(buf_cstr(&b), "The replica workerpool1-2 ran out of memory and exited "
                                         "with a non-zero status of 137."));
    assert_non_null(strstr(buf_cstr(&b), "64.0 MiB"));
    assert_non_null(strstr(buf_cstr(&b), "63.0 MiB"));
    assert_int_equal(outcome_code(&e), ERR_RESOURCE_EXHAUSTED);
}

static void test_only_the_last_twenty_lines_are_shown(void **state) {
    auto_buf struct buf in = BUF_INIT(8192), out = BUF_INIT(8192);
    for (int i = 1; i <= 25; i++) {
        buf_printf(&in, "line %d\n", i);
    }
    outcome_tail(&out, buf_cstr(&in));
    assert_true(str_starts(buf_str(&out), STR("line 6\n")));
    assert_true(str_ends(buf_str(&out), STR("line 25\n")));
}

static void test_the_pause_grows_and_stays_bounded(void **state) {
    assert_int_equal(outcome_backoff(POLICY_RETRY_CRASH, 3, 0.5), 0);
    assert_true(outcome_backoff(POLICY_RETRY_FAULT, 0, 0.0) >= USEC_PER_SEC / 2);
    assert_true(outcome_backoff(POLICY_RETRY_FAULT, 1, 0.5) >
                outcome_backoff(POLICY_RETRY_FAULT, 0, 0.5));
    assert_true(outcome_backoff(POLICY_RETRY_FAULT, 1000, 0.999) < (usec_t)100 * USEC_PER_SEC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_primary_exit_zero_succeeds_and_a_workers_changes_nothing),
        cmocka_unit_test(test_user_errors_are_permanent),
        cmocka_unit_test(test_abort_and_segfault_are_retried_in_every_spelling),
        cmocka_unit_test(test_an_unknown_exit_is_a_lost_replica_never_success),
        cmocka_unit_test(test_retries_end_when_their_budget_is_used),
        cmocka_unit_test(test_staging_failures_retry_only_when_they_may_pass),
        cmocka_unit_test(test_the_whole_message_reads_as_vertex_prints_it),
        cmocka_unit_test(test_a_signal_is_named_and_memory_shows_limit_and_peak),
        cmocka_unit_test(test_only_the_last_twenty_lines_are_shown),
        cmocka_unit_test(test_the_pause_grows_and_stays_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
