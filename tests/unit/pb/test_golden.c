/* Samples against the official Python runtime: tests/wire/make_golden.py wrote the expectations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/enc.h"
#include "pb/pb.h"
#include "pb/pbinfo.h"

static struct str next_line(struct str *rest) {
    return str_cut(rest, '\n');
}

static void assert_json(struct arena *a, const ProtobufCMessage *m, bool ints, struct str want) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct err err = {0};
    struct pb_json_opts o = {.compact = true, .enum_ints = ints};
    assert_int_equal(pb_to_json(m, &o, &b, &err), 0);
    assert_string_equal(buf_cstr(&b), arena_strndup(a, want.p, want.n));
}

static void check_ok(struct arena *a, const ProtobufCMessageDescriptor *d, struct str in,
                     struct str *rest) {
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m = NULL, *again = NULL;
    struct str hex = next_line(rest), names = next_line(rest), ints = next_line(rest);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    violations_init(&vs, a);
    if (pb_from_json(a, d, PB_V1, in, "", &m, &vs, &err)) {
        fail_msg("%.*s: %s", STR_ARG(in), err.msg);
    }
    auto_buf struct buf got = BUF_INIT(1 << 20);
    assert_int_equal(pb_pack(m, &b), 0);
    enc_hex(&got, b.p, b.n);
    assert_string_equal(buf_cstr(&got), arena_strndup(a, hex.p, hex.n));
    assert_json(a, m, false, names);
    assert_json(a, m, true, ints);

    assert_int_equal(pb_unpack(a, d, buf_str(&b), &again, &err), 0);
    assert_json(a, again, false, names);
    /* what we write we read back to the same */
    if (pb_from_json(a, d, PB_V1, ints, "", &again, &vs, &err)) {
        fail_msg("%.*s: %s", STR_ARG(ints), err.msg);
    }
    assert_json(a, again, false, names);
}

static void test_samples_agree_with_the_official_runtime(void **state) {
    const char *dir = getenv("CUSP_WIRE_DIR");
    assert_non_null(dir);
    auto_free char *path = xasprintf("%s/pbjson.golden", dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    auto_buf struct buf text = BUF_INIT(1 << 20);
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
        buf_put(&text, chunk, n);
    }
    fclose(f);

    struct str rest = buf_str(&text);
    unsigned seen = 0;
    while (rest.n) {
        auto_arena struct arena *a = arena_new(8 << 20);
        struct str name = next_line(&rest), in = next_line(&rest);
        struct str kind = str_cut(&name, ' ');
        const ProtobufCMessageDescriptor *d = pb_msg_find(name);
        if (!d) {
            fail_msg("unknown type %.*s", STR_ARG(name));
        }
        seen++;
        if (str_eq(kind, STR("ok"))) {
            check_ok(a, d, in, &rest);
            continue;
        }
        struct violations vs;
        struct err err = {0};
        ProtobufCMessage *m = NULL;
        violations_init(&vs, a);
        if (pb_from_json(a, d, PB_V1, in, "", &m, &vs, &err) == 0) {
            fail_msg("accepted: %.*s", STR_ARG(in));
        }
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
    assert_true(seen > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_agree_with_the_official_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
