#include "engine/local/host.h"
#include "engine/local/ipam.h"
#include "engine/local/rundirs.h"

#include "base/mem.h"
#include "engine/bundle/rundir.h"
#include "sys/files.h"
#include "sys/lockfile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/cusp-parts-XXXXXX";

static int setup(void **state) {
    (void)state;
    return mkdtemp(dir) == NULL;
}
static int teardown(void **state) {
    (void)state;
    return file_remove_tree(AT_FDCWD, dir, NULL);
}

static void addresses_are_given_once_and_come_back(void **state) {
    (void)state;
    struct ipam m = {0};
    struct err err = {0};
    char addr[5][IPAM_ADDR_SIZE], owner[5][128];
    assert_int_equal(ipam_init(&m, "10.9.8.77/29", dir, &err), 0);
    ipam_gateway(&m, addr[0]);
    assert_string_equal(addr[0], "10.9.8.73");
    for (int i = 0; i < 5; i++) { /* .74 to .78 */
        (void)snprintf(owner[i], sizeof(owner[i]), "%s/own%d", dir, i);
        assert_int_equal(mkdir(owner[i], 0700), 0);
        assert_int_equal(ipam_take(&m, owner[i], addr[i], &err), 0);
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(addr[i], addr[k]);
        }
        assert_string_not_equal(addr[i], "10.9.8.73");
        assert_string_not_equal(addr[i], "10.9.8.79");
    }
    char more[IPAM_ADDR_SIZE];
    assert_int_equal(ipam_take(&m, "/another", more, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    ipam_give(&m, "/another", addr[2]); /* not its own: stays taken */
    assert_int_equal(ipam_take(&m, "/another", more, &err), -1);
    ipam_give(&m, owner[2], addr[2]);
    assert_int_equal(ipam_take(&m, owner[2], more, &err), 0);
    assert_string_equal(more, addr[2]);
    assert_int_equal(rmdir(owner[4]), 0);
    ipam_sweep(&m, dir);
    assert_int_equal(ipam_take(&m, "/another", more, &err), 0);
    assert_string_equal(more, addr[4]);
    ipam_fini(&m);
}

static void bad_subnets_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",          "10.0.0.0",   "10.0.0.0/",    "10.0.0.0/30",
                                      "10.0.0/16", "10.0.0.0/7", "10.0.0.0/16x", "::1/64"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        struct ipam m = {0};
        struct err err = {0};
        assert_int_equal(ipam_init(&m, bad[i], dir, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
}

static void gpu_models_map_to_published_types(void **state) {
    (void)state;
    static const struct {
        const char *model, *type;
    } rows[] = {
        {"Tesla T4", "NVIDIA_TESLA_T4"},
        {"NVIDIA A100-SXM4-80GB", "NVIDIA_A100_80GB"},
        {"NVIDIA A100-SXM4-40GB", "NVIDIA_TESLA_A100"},
        {"NVIDIA H100 80GB HBM3", "NVIDIA_H100_80GB"},
        {"NVIDIA H200", "NVIDIA_H200_141GB"},
        {"NVIDIA L4", "NVIDIA_L4"},
        {"NVIDIA L40S", "NVIDIA_GPU"},
        {"NVIDIA GB200", "NVIDIA_GB200"},
        {"Tesla P4", "NVIDIA_TESLA_P4"},
        {"Tesla P40", "NVIDIA_GPU"},
        {"", "NVIDIA_GPU"},
    };
    for (size_t i = 0; i < NR_OF(rows); i++) {
        assert_string_equal(host_accelerator_type(str_of(rows[i].model)), rows[i].type);
    }
}

static void capacity_is_what_the_host_has_or_what_was_configured(void **state) {
    (void)state;
    struct capacity c;
    assert_int_equal(host_mem_total(STR("MemTotal:       1024 kB\nMemFree: 5 kB\n")), 1u << 20);
    assert_int_equal(host_mem_total(STR("MemFree: 5 kB\n")), 0);
    host_capacity(0, 0, &c);
    assert_true(c.cpu_milli >= 1000 && c.mem_bytes > 0 && c.node[0] != 0);
    host_capacity(1500, 12345, &c);
    assert_int_equal(c.cpu_milli, 1500);
    assert_int_equal(c.mem_bytes, 12345);
}

/* -- run directories -------------------------------------------------------------------------- */

static void put(const char *run, const char *name, const char *text) {
    auto_free char *path = xasprintf("%s/%s", run, name);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, str_of(text), 0600, FILE_NO_SYNC, NULL), 0);
}

static int make(const char *run, struct err *err) {
    const char *argv[] = {"true", NULL}, *env[] = {"A=b", NULL}, *lowers[] = {"/l1", "/l2", NULL};
    const struct rundir_plan plan = {.job = "7",
                                     .replica = "workerpool0-0",
                                     .nonce = "abc",
                                     .attempt = 1,
                                     .log_dir = "/logs",
                                     .runtime = "/usr/bin/crun",
                                     .container = "c",
                                     .lowers = lowers,
                                     .cgroup = "/cusp-no-such/x",
                                     .runner_cgroup = "/cusp-no-such/r",
                                     .net = "bridge",
                                     .bridge = "b",
                                     .veth = "v",
                                     .addr = "10.0.0.2/16",
                                     .gateway = "10.0.0.1",
                                     .hosts = "h",
                                     .resolv = "r",
                                     .hostname = "name",
                                     .bundle = {.argv = argv, .env = env, .cwd = "/"}};
    return rundir_create(run, &plan, err);
}

static void a_run_directory_tells_its_state(void **state) {
    (void)state;
    auto_free char *root = xasprintf("%s/run", dir);
    auto_free char *run = xasprintf("%s/7/a1/workerpool0-0", root);
    struct cgroup_layout cg;
    struct rundir_look look;
    struct err err = {0};
    assert_int_equal(cgroup_layout_open(&cg, &err), 0);
    assert_int_equal(rundir_look(run, &look, &err), 0);
    assert_int_equal(look.state, RUNDIR_ABSENT);
    assert_int_equal(make(run, &err), 0);
    assert_int_equal(make(run, &err), -1); /* what is there stays */
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    assert_int_equal(rundir_look(run, &look, &err), 0);
    assert_int_equal(look.state, RUNDIR_FRESH);
    assert_string_equal(look.nonce, "abc");
    assert_string_equal(look.addr, "10.0.0.2/16");
    auto_free char *lock_path = xasprintf("%s/" RUNDIR_LOCK, run);
    int lock = lockfile_take(AT_FDCWD, lock_path, &err);
    assert_true(lock >= 0);
    assert_int_equal(rundir_look(run, &look, &err), 0);
    assert_int_equal(look.state, RUNDIR_STARTING);
    /* a status whose process is not the one it names proves nothing */
    put(run, RUNDIR_STATUS, "cusp-rec 1\nphase=running\nrunner_pid=1\nrunner_start=1\nboot_id=x\n");
    assert_int_equal(rundir_look(run, &look, &err), 0);
    assert_int_equal(look.state, RUNDIR_STARTING);
    close(lock);
    assert_int_equal(rundir_look(run, &look, &err), 0);
    assert_int_equal(look.state, RUNDIR_DEAD);
    put(run, RUNDIR_EXIT, "cusp-rec 1\nkind=who knows\n");
    assert_int_equal(rundir_look(run, &look, &err), 0);
    assert_int_equal(look.state, RUNDIR_EXITED);
    assert_int_equal(look.exit.kind, EXIT_UNKNOWN); /* never success */
    put(run, RUNDIR_EXIT, "cusp-rec 1\nkind=code\nval");
    assert_int_equal(rundir_look(run, &look, &err), -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
    assert_int_equal(rundir_remove(root, run, &cg, &err), 0);
    assert_int_equal(rundir_remove(root, run, &cg, &err), 0);
    auto_free char *parent = xasprintf("%s/7", root);
    assert_int_equal(access(parent, F_OK), -1);
    assert_int_equal(access(root, F_OK), 0);
    cgroup_layout_close(&cg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_given_once_and_come_back),
        cmocka_unit_test(bad_subnets_are_refused),
        cmocka_unit_test(gpu_models_map_to_published_types),
        cmocka_unit_test(capacity_is_what_the_host_has_or_what_was_configured),
        cmocka_unit_test(a_run_directory_tells_its_state),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
