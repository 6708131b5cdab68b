/* Overlay mounts by both kernel interfaces, in a mount namespace of the test's own. Needs root. */
#include "sys/mnt.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/cusp-test-mnt-XXXXXX";
static bool isolated;

typedef int overlay_fn(const char *const *lower, size_t nr_lower, const char *upper,
                       const char *work, const char *target, struct err *err);

static int enter_own_namespace(void **state) {
    (void)state;
    struct err err = {0};
    if (!mkdtemp(dir) || chdir(dir) < 0) {
        return -1;
    }
    isolated = mnt_private(&err) == 0;
    if (!isolated) {
        print_message("SKIPPED, NOT TESTED: mounts need root (%s)\n", err.msg);
    }
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    return chdir("/") < 0 ? -1 : file_remove_tree(AT_FDCWD, dir, NULL);
}

static void put(const char *path, const char *text) {
    struct err err = {0};
    if (file_write_atomic(AT_FDCWD, path, str_of(text), 0644, FILE_NO_SYNC, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static void expect(const char *path, const char *text) {
    auto_buf struct buf b = BUF_INIT(100);
    struct err err = {0};
    if (file_read(AT_FDCWD, path, &b, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(buf_cstr(&b), text);
}

static void layers_stack(overlay_fn *overlay, const char *name) {
    struct err err = {0};
    /* characters that mean something in mount options, and directories of different depth */
    auto_free char *top = xasprintf("%s/%s/deep/top:with,odd\\chars", dir, name);
    auto_free char *base = xasprintf("%s/%s/base", dir, name);
    auto_free char *upper = xasprintf("%s/%s/upper,1", dir, name);
    auto_free char *work = xasprintf("%s/%s/work", dir, name);
    auto_free char *target = xasprintf("%s/%s/target", dir, name);
    const char *const all[] = {top, base, upper, work, target};
    for (size_t i = 0; i < NR_OF(all); i++) {
        assert_int_equal(file_mkdirs(AT_FDCWD, all[i], 0755, &err), 0);
    }
    auto_free char *top_file = xasprintf("%s/both", top);
    auto_free char *base_file = xasprintf("%s/both", base);
    auto_free char *base_only = xasprintf("%s/base-only", base);
    put(top_file, "top");
    put(base_file, "base");
    put(base_only, "base");
    auto_free char *before = getcwd(NULL, 0);
    const char *const lower[] = {top, base};
    if (overlay(lower, 2, upper, work, target, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    auto_free char *after = getcwd(NULL, 0);
    assert_string_equal(before, after);
    auto_free char *seen = xasprintf("%s/both", target);
    auto_free char *seen_base = xasprintf("%s/base-only", target);
    auto_free char *upper_file = xasprintf("%s/both", upper);
    expect(seen, "top");
    expect(seen_base, "base");
    put(seen, "new");
    expect(upper_file, "new");
    expect(top_file, "top");
    assert_int_equal(umount2(target, MNT_DETACH), 0);
}

static void the_newest_way(void **state) {
    (void)state;
    if (!isolated) {
        skip();
    }
    layers_stack(mnt_overlay, "new");
}

static void the_classic_way(void **state) {
    (void)state;
    if (!isolated) {
        skip();
    }
    layers_stack(mnt_overlay_classic, "classic");
}

static void too_many_layers_are_an_error(void **state) {
    (void)state;
    struct err err = {0};
    const char *lower[100];
    for (size_t i = 0; i < NR_OF(lower); i++) {
        lower[i] = "/x/0123456789012345678901234567890123456789";
    }
    assert_int_equal(mnt_overlay_classic(lower, NR_OF(lower), "/u", "/w", "/t", &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
}

static void absent_layer_is_an_error(void **state) {
    (void)state;
    if (!isolated) {
        skip();
    }
    struct err err = {0};
    const char *const lower[] = {"/no/such/layer"};
    assert_int_equal(mnt_overlay(lower, 1, "/tmp", "/tmp", "/tmp", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_way),
        cmocka_unit_test(the_classic_way),
        cmocka_unit_test(too_many_layers_are_an_error),
        cmocka_unit_test(absent_layer_is_an_error),
    };
    return cmocka_run_group_tests(tests, enter_own_namespace, remove_dir);
}
