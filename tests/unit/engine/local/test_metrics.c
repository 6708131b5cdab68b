/* Trials in real containers: what they write is told while they run, before their end, again after
 * a restart; and what they plant instead of the file is not followed. */
#include "rig.h"

#include "base/seg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define FILE_ENV "$CLOUD_ML_HP_METRIC_FILE"
#define LINE(tag, value, step)                                                                     \
    "{\\\"" tag "\\\": \\\"" value "\\\", \\\"global_step\\\": \\\"" step                          \
    "\\\", \\\"timestamp\\\": 7.5}"

static char *dir;

static void begin(struct rig *r, struct try *t, const char *id, const char *script) {
    *r = (struct rig){.dir = dir};
    rig_open(r);
    try_init(t, r, id, &script, 1);
    t->spec.trial_id = "12";
}

static void end(struct rig *r, struct try *t) {
    try_release(t);
    rig_expect_clean(r);
    try_fini(t);
    rig_close(r);
}

static void expect_measured(const char *id, const char *script, const char *want) {
    struct rig r;
    struct try t;
    begin(&r, &t, id, script);
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].kind, EXIT_CODE);
    assert_int_equal(t.exits[0].value, 0);
    assert_string_equal(buf_cstr(&t.measured), want);
    end(&r, &t);
}

static void a_trial_knows_its_id_and_its_file(void **state) {
    struct rig r;
    struct try t;
    begin(&r, &t, "1101",
          "echo $CLOUD_ML_TRIAL_ID " FILE_ENV
          "; echo $CLUSTER_SPEC | grep -o '\"trial\":\"12\"'; echo x >/tmp/hypertune/f; cat "
          "/var/hypertune/f");
    try_launch(&t);
    try_wait_exits(&t, 1);
    auto_free char *out = rig_log(&r, "1101", "workerpool0-0", SEG_STDOUT);
    assert_string_equal(out, "12 /var/hypertune/output.metrics\n\"trial\":\"12\"\nx\n");
    end(&r, &t);
}

static void what_it_wrote_last_is_told_before_its_end(void **state) {
    expect_measured("1102", "echo \"" LINE("loss", "0.5", "3") "\" >" FILE_ENV,
                    "0 loss 0.5 3 7500000\nexit 0\n");
    expect_measured("1103", "echo \"" LINE("loss", "nan", "3") "\" >/tmp/hypertune/output.metrics",
                    "0 loss nan 3 7500000\nexit 0\n");
}

static void nothing_reported_is_nothing_told(void **state) {
    expect_measured("1104", "true", "exit 0\n");
}

/* The program waits for its first report to be told, so that it must be told while it runs. */
static void reports_are_told_while_it_runs_each_once(void **state) {
    struct rig r;
    struct try t;
    begin(&r, &t, "1105",
          "echo \"" LINE("a", "1",
                         "1") "\" >" FILE_ENV "; until [ -e /gcs/go ]; do sleep 0.02; "
                              "done; rm /gcs/go; (echo \"" LINE("a", "1", "1") "\"; echo \"" LINE(
                                  "a", "2", "2") "\") >" FILE_ENV);
    try_launch(&t);
    rig_wait_count(&r, &t.nr_measured, 1);
    assert_int_equal(t.nr_exited, 0);
    auto_free char *go = xasprintf("%s/buckets/go", dir);
    FILE *f = fopen(go, "w");
    assert_non_null(f);
    fclose(f);
    try_wait_exits(&t, 1);
    assert_string_equal(buf_cstr(&t.measured), "0 a 1 1 7500000\n0 a 2 2 7500000\nexit 0\n");
    end(&r, &t);
}

/* As after kill -9: the next engine knows only what is on the disk. */
static void after_a_restart_nothing_is_lost(void **state) {
    struct rig r;
    struct try t;
    struct err err = {0};
    begin(&r, &t, "1106",
          "echo \"" LINE("a", "1", "1") "\" >" FILE_ENV "; until [ -e /gcs/go ]; do sleep 0.02; "
                                        "done; rm /gcs/go; echo \"" LINE("a", "2",
                                                                         "2") "\" >>" FILE_ENV);
    try_launch(&t);
    rig_wait_count(&r, &t.nr_measured, 1);
    rig_close(&r);
    auto_free char *go = xasprintf("%s/buckets/go", dir);
    FILE *f = fopen(go, "w");
    assert_non_null(f);
    fclose(f);
    buf_clear(&t.measured);
    rig_open(&r);
    t.run.priv = NULL;
    assert_int_equal(r.engine->ops->reattach(r.engine, &t.run, &err), 0);
    try_wait_exits(&t, 1);
    assert_string_equal(buf_cstr(&t.measured), "0 a 1 1 7500000\n0 a 2 2 7500000\nexit 0\n");
    end(&r, &t);
}

static void what_is_no_file_of_its_own_is_not_read(void **state) {
    expect_measured("1107", "echo \"" LINE("a", "1", "1") "\" >/gcs/x; ln -s /gcs/x " FILE_ENV,
                    "exit 0\n");
    auto_free char *outside = xasprintf("ln -s %s/buckets/x " FILE_ENV, dir);
    expect_measured("1108", outside, "exit 0\n");
    expect_measured("1109", "mkfifo " FILE_ENV, "exit 0\n");
    expect_measured("1110", "mkdir " FILE_ENV, "exit 0\n");
    expect_measured("1111", "rm -rf /var/hypertune/*; chmod 0 /var/hypertune", "exit 0\n");
}

static void a_huge_file_is_read_from_its_end(void **state) {
    expect_measured("1112",
                    "head -c 5000000 /dev/zero >" FILE_ENV
                    "; (echo; echo \"" LINE("a", "1", "1") "\") >>" FILE_ENV,
                    "0 a 1 1 7500000\nexit 0\n");
}

static void release_in_the_middle_leaves_nothing(void **state) {
    struct rig r;
    struct try t;
    begin(&r, &t, "1113",
          "i=0; while true; do i=$((i + 1)); echo \"" LINE("a", "1", "$i") "\" >" FILE_ENV
                                                                           "; done");
    try_launch(&t);
    rig_wait_count(&r, &t.nr_measured, 20);
    end(&r, &t);
}

int main(void) {
    if (!rig_possible()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trial_knows_its_id_and_its_file),
        cmocka_unit_test(what_it_wrote_last_is_told_before_its_end),
        cmocka_unit_test(nothing_reported_is_nothing_told),
        cmocka_unit_test(reports_are_told_while_it_runs_each_once),
        cmocka_unit_test(after_a_restart_nothing_is_lost),
        cmocka_unit_test(what_is_no_file_of_its_own_is_not_read),
        cmocka_unit_test(a_huge_file_is_read_from_its_end),
        cmocka_unit_test(release_in_the_middle_leaves_nothing),
    };
    dir = rig_make_dir();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rig_remove_dir(dir);
    return rc;
}
