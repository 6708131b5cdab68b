/* Control groups on the real kernel: the host's layout, and pure v2 by hiding the v1 hierarchies in
 * a mount namespace. Needs root. */
#include "sys/cgroup.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define GROUP "/cusp-test-unit/g"

static struct cgroup_layout layout;

/* Whether processes can be put into groups here at all. */
static bool usable(void) {
    struct err err = {0};
    if (geteuid() != 0 || cgroup_layout_open(&layout, &err) < 0 || layout.kind == CGROUP_NONE ||
        cgroup_make(&layout, GROUP, NULL, &err) < 0) {
        print_message("SKIPPED, NOT TESTED: cgroups need root and a mounted hierarchy (%s)\n",
                      err.msg);
        return false;
    }
    return true;
}

static void done(void) {
    struct err err = {0};
    if (cgroup_remove(&layout, "/cusp-test-unit", &err) < 0) {
        fail_msg("%s", err.msg);
    }
    cgroup_layout_close(&layout);
}

/* A child that has a child, both waiting to be killed; in GROUP when this returns. */
static pid_t family_in_group(void) {
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (cgroup_enter(&layout, GROUP, getpid(), NULL) < 0) {
            _exit(1);
        }
        if (fork() > 0) {
            ssize_t n = write(ready[1], "x", 1);
            (void)n;
        }
        for (;;) {
            pause();
        }
    }
    close(ready[1]);
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void counted_killed_removed(void) {
    struct err err = {0};
    pid_t pid = family_in_group();
    assert_int_equal(cgroup_count(&layout, GROUP), 2);
    if (cgroup_kill_all(&layout, GROUP, 5 * USEC_PER_SEC, &err) < 0) {
        /* the dead child still counts on v1 until we take it: that is the deadline's error */
        assert_int_equal(err.code, ERR_DEADLINE_EXCEEDED);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(cgroup_kill_all(&layout, GROUP, 5 * USEC_PER_SEC, &err), 0);
    assert_int_equal(cgroup_count(&layout, GROUP), 0);
    assert_int_equal(cgroup_kill_all(&layout, "/cusp-test-unit/absent", 0, &err), 0);
    assert_int_equal(cgroup_remove(&layout, "/cusp-test-unit/absent", &err), 0);
}

static void host_layout(void **state) {
    (void)state;
    if (!usable()) {
        skip();
    }
    print_message("layout: %s, %zu hierarchies\n", cgroup_kind_name(layout.kind), layout.nr);
    counted_killed_removed();
    done();
}

static void limits_are_set_and_read_back(void **state) {
    (void)state;
    if (!usable()) {
        skip();
    }
    struct err err = {0};
    const struct cgroup_limits l = {.mem_bytes = 64u << 20, .cpu_milli = 1500, .pids = 100};
    if (cgroup_make(&layout, GROUP, &l, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    struct cgroup_stats s;
    assert_int_equal(cgroup_read_stats(&layout, GROUP, &s, &err), 0);
    assert_int_equal(s.mem_limit, 64u << 20);
    assert_int_equal(s.oom_kills, 0);
    assert_int_equal(cgroup_read_stats(&layout, "/cusp-test-unit/absent", &s, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    done();
}

/* In a child, because the mount namespace cannot be left again. */
static void pure_v2_layout(void **state) {
    (void)state;
    if (!usable()) {
        skip();
    }
    done();
    if (layout.kind == CGROUP_V1) {
        print_message("SKIPPED, NOT TESTED: no unified hierarchy\n");
        skip();
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct cgroup_layout before;
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            cgroup_layout_open(&before, NULL) < 0) {
            _exit(2);
        }
        for (size_t i = 0; i < before.nr; i++) {
            if (!before.h[i].unified) {
                umount2(before.h[i].mount, MNT_DETACH);
            }
        }
        cgroup_layout_close(&before);
        if (!usable() || layout.kind != CGROUP_V2) {
            _exit(3);
        }
        counted_killed_removed();
        done();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_layout),
        cmocka_unit_test(limits_are_set_and_read_back),
        cmocka_unit_test(pure_v2_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
