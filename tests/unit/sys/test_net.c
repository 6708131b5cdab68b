/* netlink and nat on the real kernel, inside a network namespace of the test's own, so that the
 * host's network is never touched. Needs root. */
#include "sys/nat.h"
#include "sys/netlink.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static bool isolated;

static int enter_own_namespace(void **state) {
    (void)state;
    isolated = unshare(CLONE_NEWNET) == 0;
    if (!isolated) {
        print_message("SKIPPED, NOT TESTED: network namespaces need root (%s)\n", strerror(errno));
    }
    return 0;
}

static void capture(struct buf *out, const char *name, const char *a, const char *b, const char *c,
                    const char *d) {
    auto_free char *path = proc_find(name);
    assert_non_null(path);
    const char *argv[] = {path, a, b, c, d, NULL};
    int status;
    assert_int_equal(proc_run(path, (char *const *)argv, str_n(NULL, 0), out, &status, NULL), 0);
    assert_int_equal(status, 0);
    buf_putc(out, '\0');
}

static void bridge_is_made_once(void **state) {
    (void)state;
    if (!isolated) {
        skip();
    }
    struct err err = {0};
    for (int i = 0; i < 2; i++) {
        if (netlink_bridge_ensure("cusp0", "10.201.0.1/16", &err) < 0) {
            fail_msg("%s", err.msg);
        }
    }
    auto_buf struct buf out = BUF_INIT(65536);
    capture(&out, "ip", "-o", "addr", "show", "cusp0");
    assert_non_null(strstr(out.p, "inet 10.201.0.1/16"));
}

static void veth_goes_under_the_bridge(void **state) {
    (void)state;
    if (!isolated) {
        skip();
    }
    struct err err = {0};
    assert_int_equal(netlink_bridge_ensure("cusp0", "10.201.0.1/16", &err), 0);
    auto_close int nl = netlink_open(&err);
    auto_close int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(nl >= 0 && home >= 0);
    unsigned index = 0;
    assert_int_equal(netlink_index(nl, "cv1", &index, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    /* the second time replaces the first */
    for (int i = 0; i < 2; i++) {
        if (netlink_veth_add(nl, "cv1", "cv2", home, 1400, &err) < 0) {
            fail_msg("%s", err.msg);
        }
    }
    unsigned mtu = 0;
    assert_int_equal(netlink_mtu(nl, "cv2", &mtu, &err), 0);
    assert_int_equal(mtu, 1400);
    assert_int_equal(netlink_addr_add(nl, "cv2", "10.9.0.2/24", &err), 0);
    assert_int_equal(netlink_up(nl, "cv2", &err), 0);
    assert_int_equal(netlink_default_route(nl, "10.9.0.1", &err), 0);
    assert_int_equal(netlink_join(nl, "cv1", "cusp0", &err), 0);
    assert_int_equal(netlink_join(nl, "cv1", "nobridge", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    auto_buf struct buf out = BUF_INIT(65536);
    capture(&out, "ip", "-o", "link", "show", "cv1");
    assert_non_null(strstr(out.p, "master cusp0"));
    assert_int_equal(netlink_delete(nl, "cv1", &err), 0);
    assert_int_equal(netlink_delete(nl, "cv1", &err), 0);
    assert_int_equal(netlink_index(nl, "cv2", &index, &err), -1);
}

static void nat_rules_are_loaded_once(void **state) {
    (void)state;
    if (!isolated) {
        skip();
    }
    struct err err = {0};
    const char *how = NULL;
    for (int i = 0; i < 2; i++) {
        if (nat_ensure("cusp0", "10.201.0.0/16", &how, &err) < 0) {
            fail_msg("%s", err.msg);
        }
    }
    assert_string_equal(how, "nft");
    auto_buf struct buf out = BUF_INIT(65536);
    capture(&out, "nft", "list", "table", "ip", "cusp_cusp0");
    const char *first = strstr(out.p, "masquerade");
    assert_non_null(first);
    assert_null(strstr(first + 1, "masquerade"));
    assert_int_equal(nat_remove("cusp0", "10.201.0.0/16", &err), 0);
    assert_int_equal(nat_remove("cusp0", "10.201.0.0/16", &err), 0);
}

static void nat_refuses_names_that_are_script(void **state) {
    (void)state;
    struct err err = {0};
    const char *how = NULL;
    assert_int_equal(nat_ensure("a\"; flush", "10.201.0.0/16", &how, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(nat_ensure("cusp0", "10.201.0.0/16; x", &how, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridge_is_made_once),
        cmocka_unit_test(veth_goes_under_the_bridge),
        cmocka_unit_test(nat_rules_are_loaded_once),
        cmocka_unit_test(nat_refuses_names_that_are_script),
    };
    return cmocka_run_group_tests(tests, enter_own_namespace, NULL);
}
