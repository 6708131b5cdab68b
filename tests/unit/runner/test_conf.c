/* run.conf: what is taken, and that every refusal names its key. */
#include "runner/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define GOOD                                                                                       \
    "cusp-rec 1\nformat=1\njob=7\nattempt=1\nreplica=workerpool0-0\nnonce=x\nlog_dir=/l\n"         \
    "runtime=/usr/sbin/runc\nruntime_root=/r\ncontainer=c1\n"

static void whole_conf_is_read(void **state) {
    (void)state;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct conf c;
    struct err err = {0};
    assert_int_equal(
        conf_parse(a,
                   STR(GOOD "lower=/top\nlower=/base\ncgroup=/cusp/a\nmem_limit=5\n"
                            "net=bridge\nnet.bridge=b\nnet.veth=v\nnet.addr=1.2.3.4/8\n"
                            "net.gateway=1.2.3.1\nfuture_key=1\n"),
                   &c, &err),
        0);
    assert_int_equal(c.nr_lower, 2);
    assert_string_equal(c.lower[0], "/top");
    assert_string_equal(c.lower[1], "/base");
    assert_int_equal(c.mem_limit, 5);
    assert_string_equal(c.net_gateway, "1.2.3.1");
    assert_null(c.runner_cgroup);
}

static void refusals_name_the_key(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "run.conf"},
        {"cusp-rec 1\nnet=none\n", "format 0"},
        {"cusp-rec 1\nformat=2\nnet=none\n", "format 2"},
        {GOOD, "net is missing"},
        {GOOD "net=wifi\n", "unknown net wifi"},
        {GOOD "net=bridge\n", "needs net.bridge"},
        {GOOD "net=none\nlower=relative\n", "lower"},
        {GOOD "net=none\ncgroup=relative\n", "cgroup"},
        {GOOD "net=none\ncgroup=/\n", "cgroup"},
        {GOOD "net=none\ncgroup=/a/../..\n", "cgroup"},
        {"cusp-rec 1\nformat=1\nnet=none\nlog_dir=l\nruntime=/r\nruntime_root=/r\ncontainer=c\n",
         "log_dir"},
        {"cusp-rec 1\nformat=1\nnet=none\nlog_dir=/l\nruntime=/r\nruntime_root=/r\n", "container"},
        {"cusp-rec "
         "1\nformat=1\nnet=none\nlog_dir=/l\nruntime=/r\nruntime_root=/r\ncontainer=../x\n",
         "container"},
        {GOOD "net=none", "run.conf"}, /* torn */
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct conf c;
        struct err err = {0};
        assert_int_equal(conf_parse(a, str_of(cases[i].text), &c, &err), -1);
        if (!strstr(err.msg, cases[i].says)) {
            fail_msg("case %zu says \"%s\", not \"%s\"", i, err.msg, cases[i].says);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_conf_is_read),
        cmocka_unit_test(refusals_name_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
