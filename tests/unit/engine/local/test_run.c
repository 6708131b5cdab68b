#include "rig.h"

#include "base/seg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <signal.h>
#include <unistd.h>

static char *dir;

static void rig_make(struct rig *r) {
    *r = (struct rig){.dir = dir};
    rig_open(r);
}

static void a_job_runs_to_its_end_and_leaves_only_its_log(void **state) {
    struct rig r;
    struct try t;
    rig_make(&r);
    fprintf(stderr, "engine: %s\n", engine_local_describe(r.engine));
    const char *script = "echo out $CLOUD_ML_JOB_ID; echo err >&2; echo hi >/gcs/made; hostname; "
                         "grep -c . /etc/hosts";
    try_init(&t, &r, "1001", &script, 1);
    try_launch(&t);
    try_wait_exits(&t, 1);
    assert_int_equal(t.exits[0].kind, EXIT_CODE);
    assert_int_equal(t.exits[0].value, 0);
    assert_true(t.exits[0].ended_at >= t.exits[0].started_at && t.exits[0].started_at > 0);
    assert_string_equal(t.exits[0].stderr_tail, "err");
    try_release(&t);
    auto_free char *out = rig_log(&r, "1001", "workerpool0-0", SEG_STDOUT);
    assert_string_equal(out, "out 1001\ncmle-training-workerpool0-5ee1680414-0\n3\n");
    auto_free char *made = rig_file(&r, "buckets/made");
    assert_string_equal(made, "hi\n");
    rig_expect_clean(&r);
    try_fini(&t);
    rig_close(&r);
}

int main(void) {
    if (!rig_possible()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_runs_to_its_end_and_leaves_only_its_log),
    };
    dir = rig_make_dir();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rig_remove_dir(dir);
    return rc;
}
