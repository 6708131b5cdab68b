/* kill -9 at every step of storing an object: afterwards the old or the new object is there, whole.
 */
#include "rig.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef CUSP_FAILPOINTS
static void check_kill_at(const char *point, bool new_expected) {
    struct brig r;
    struct blob_meta before, m;
    brig_new(&r);
    assert_true(brig_bucket(&r, "bkt"));
    assert_true(brig_put(&r, "bkt", STR("d/o"), STR("old bytes"), NULL, &before));
    brig_stop(&r);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* a process reads its fail points once: a fresh one for each */
        auto_free char *arm = xasprintf("%s=abort", point);
        setenv("CUSP_FAILPOINTS", arm, 1);
        execl("/proc/self/exe", "test_crash", r.dir, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    brig_start(&r);
    char *data;
    assert_true(brig_get(&r, "bkt", STR("d/o"), &m, &data));
    assert_string_equal(data, new_expected ? "the new bytes" : "old bytes");
    assert_int_equal(m.size, strlen(data));
    if (new_expected) {
        assert_true(m.generation > before.generation);
    } else {
        assert_int_equal(m.generation, before.generation);
        assert_int_equal(m.crc32c, before.crc32c);
    }
    assert_true(m.has_crc32c && m.has_md5);
    free(data);
    while (brig_uploads(&r)) {
        loop_turn(r.loop);
    }
    /* And it can be replaced. */
    assert_true(brig_put(&r, "bkt", STR("d/o"), STR("3"), NULL, &before));
    assert_true(before.generation > m.generation);
    brig_free(&r);
}
#endif

static void test_kill_while_storing_leaves_a_whole_object(void **state) {
#ifdef CUSP_FAILPOINTS
    check_kill_at("blob.upload.write", false);
    check_kill_at("blob.put.before_fsync", false);
    check_kill_at("blob.put.before_row", false);
    check_kill_at("blob.put.before_rename", false);
    check_kill_at("blob.put.after_rename", true);
    check_kill_at("blob.put.before_answer", true);
#else
    print_message("SKIPPED: needs -Dfailpoints=true\n");
    skip();
#endif
}

int main(int argc, char **argv) {
    alarm(60);
    if (argc > 1) { /* the process that dies on the way */
        struct brig r = {0};
        snprintf(r.dir, sizeof(r.dir), "%s", argv[1]);
        brig_start(&r);
        (void)brig_put(&r, "bkt", STR("d/o"), STR("the new bytes"), NULL, NULL);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_while_storing_leaves_a_whole_object)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
