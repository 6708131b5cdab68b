/* First byte: which message; the rest: wire bytes. What is accepted packs to a fixed point and can
 * be shown and checked. */
#include "pb/aip.h"
#include "pb/pb.h"
#include "pb/pbcheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const ProtobufCMessageDescriptor *const kinds[] = {
    &aip__custom_job__descriptor,           &aip__hyperparameter_tuning_job__descriptor,
    &aip__training_pipeline__descriptor,    &google__longrunning__operation__descriptor,
    &google__protobuf__value__descriptor,   &google__protobuf__any__descriptor,
    &aip__explanation_metadata__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!n) {
        return 0;
    }
    const ProtobufCMessageDescriptor *d = kinds[data[0] % NR_OF(kinds)];
    auto_arena struct arena *a = arena_new(16 << 20);
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m = NULL, *again = NULL;
    if (pb_unpack(a, d, str_n((const char *)data + 1, n - 1), &m, &err)) {
        CHECK(m == NULL && err.msg[0]);
        return 0;
    }
    auto_buf struct buf one = BUF_INIT(16 << 20), two = BUF_INIT(16 << 20),
                        json = BUF_INIT(16 << 20);
    CHECK(pb_pack(m, &one) == 0);
    if (pb_unpack(a, d, buf_str(&one), &again, &err) == 0) {
        CHECK(pb_pack(again, &two) == 0);
        CHECK(str_eq(buf_str(&one), buf_str(&two)));
    } else {
        CHECK(err.code == ERR_RESOURCE_EXHAUSTED);
    }
    if (pb_to_json(m, NULL, &json, &err) == 0) {
        CHECK(str_is_utf8(buf_str(&json)));
    }
    violations_init(&vs, a);
    (void)pb_check_required(m, "m", &vs);
    pb_clear_output_only(m);
    return 0;
}
