/* Stored rows as messages: unpacked, and packed without unpacking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/job_message.h"
#include "api/job_trial.h"
#include "ctl/ctl.h"
#include "pb/pb.h"

static struct store_row row_of(struct arena *a, const Aip__CustomJob *spec,
                               const struct job_status *st) {
    struct store_row row = {.name = STR("projects/1/locations/l/customJobs/2")};
    auto_buf struct buf status = BUF_INIT(BUF_NO_MAX);
    job_status_encode(&status, st);
    assert_true(pb_pack_in(a, &spec->base, &row.spec));
    row.status = arena_str(a, buf_str(&status));
    return row;
}

static void test_packed_and_unpacked_are_the_same_message(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    Aip__CustomJob spec = AIP__CUSTOM_JOB__INIT, *job;
    Aip__CustomJobSpec inner = AIP__CUSTOM_JOB_SPEC__INIT;
    spec.display_name = (char *)"d";
    inner.service_account = (char *)"s@x";
    spec.job_spec = &inner;
    struct job_status st = {.state = JOB_STATE_FAILED,
                            .create_time = 1000001,
                            .start_time = 2000000,
                            .end_time = 3500000,
                            .update_time = 3500000,
                            .error_code = 9,
                            .error_msg = "it broke"};
    struct store_row row = row_of(a, &spec, &st);
    struct str parts[2], want;
    struct err err;
    ProtobufCMessage *again;
    assert_int_equal(custom_job_message(a, &row, &job, &err), 0);
    assert_true(pb_pack_in(a, &job->base, &want));
    assert_true(custom_job_packed(a, &row, parts));
    char *joined = arena_alloc(a, parts[0].n + parts[1].n);
    memcpy(joined, parts[0].p, parts[0].n);
    memcpy(joined + parts[0].n, parts[1].p, parts[1].n);
    struct str all = str_n(joined, parts[0].n + parts[1].n);
    assert_int_equal(pb_unpack(a, &aip__custom_job__descriptor, all, &again, &err), 0);
    struct str got;
    assert_true(pb_pack_in(a, again, &got));
    assert_true(str_eq(got, want));
}

/* A row of an older server, which stored what the client made up: only replacing it is right. */
static void test_a_spec_that_says_its_own_status_is_not_sent_packed(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    Google__Protobuf__Timestamp t = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Aip__CustomJob spec = AIP__CUSTOM_JOB__INIT, *job;
    struct job_status st = {.state = JOB_STATE_PENDING, .create_time = 1000000};
    struct str parts[2];
    struct err err;
    t.nanos = 7;
    spec.end_time = &t;
    struct store_row row = row_of(a, &spec, &st);
    assert_false(custom_job_packed(a, &row, parts));
    assert_int_equal(custom_job_message(a, &row, &job, &err), 0);
    assert_null(job->end_time);
}

static void test_damaged_rows_are_left_to_the_message_to_tell(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    Aip__CustomJob spec = AIP__CUSTOM_JOB__INIT, *job;
    struct job_status st = {.state = JOB_STATE_PENDING, .create_time = 1000000};
    struct str parts[2];
    struct err err;
    spec.display_name = (char *)"name";
    struct store_row good = row_of(a, &spec, &st), bad = good;
    for (size_t n = 1; n < good.spec.n; n++) {
        bad.spec.n = n;
        assert_false(custom_job_packed(a, &bad, parts));
        assert_int_equal(custom_job_message(a, &bad, &job, &err), -1);
        assert_int_equal(err.code, ERR_DATA_LOSS);
    }
    bad = good;
    bad.status = STR("nonsense");
    assert_false(custom_job_packed(a, &bad, parts));
}

/* The mark in front of a trial's spec is ours: neither way of answering shows it. */
static void test_nobody_sees_whose_trial_a_job_is(void **state) {
    auto_arena struct arena *a = arena_new(1 << 20);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    Aip__CustomJob spec = AIP__CUSTOM_JOB__INIT, *job;
    struct job_status st = {.state = JOB_STATE_PENDING, .create_time = 1000000};
    struct job_trial mark = {STR("4711"), STR("12")}, got;
    struct str parts[2], bare, shown;
    struct err err;
    spec.display_name = (char *)"name";
    struct store_row row = row_of(a, &spec, &st);
    bare = row.spec;
    assert_true(str_eq(job_trial_cut(bare, &got), bare));
    assert_null(got.tuning.p);
    job_trial_put(&b, &mark);
    buf_put_str(&b, bare);
    row.spec = buf_str(&b);
    assert_true(str_eq(job_trial_cut(row.spec, &got), bare));
    assert_true(str_eqc(got.tuning, "4711") && str_eqc(got.trial, "12"));
    assert_true(custom_job_packed(a, &row, parts));
    assert_true(str_eq(parts[0], bare));
    assert_int_equal(custom_job_message(a, &row, &job, &err), 0);
    assert_string_equal(job->display_name, "name");
    assert_int_equal(job->base.n_unknown_fields, 0);
    assert_true(pb_pack_in(a, &job->base, &shown));
    assert_true(str_find(shown, STR("4711")) < 0);
    /* A mark that was cut off is damage, not a job. */
    for (size_t n = 1; n < b.n - bare.n; n++) {
        row.spec = str_sub(buf_str(&b), 0, n);
        assert_int_equal(custom_job_message(a, &row, &job, &err), -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_and_unpacked_are_the_same_message),
        cmocka_unit_test(test_a_spec_that_says_its_own_status_is_not_sent_packed),
        cmocka_unit_test(test_nobody_sees_whose_trial_a_job_is),
        cmocka_unit_test(test_damaged_rows_are_left_to_the_message_to_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
