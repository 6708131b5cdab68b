/* First byte: which message, and (upper half) v1beta1; the rest: JSON. What is accepted must be
 * written, packed and read back to the same text. */
#include "pb/aip.h"
#include "pb/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const ProtobufCMessageDescriptor *const kinds[] = {
    &aip__custom_job__descriptor,
    &aip__hyperparameter_tuning_job__descriptor,
    &aip__training_pipeline__descriptor,
    &aip__explanation_metadata__descriptor,
    &google__longrunning__operation__descriptor,
    &google__protobuf__value__descriptor,
    &google__protobuf__any__descriptor,
    &google__protobuf__timestamp__descriptor,
    &google__protobuf__duration__descriptor,
    &google__protobuf__field_mask__descriptor,
    &google__protobuf__float_value__descriptor,
    &google__iam__v1__policy__descriptor,
};

static void write_json(const ProtobufCMessage *m, enum pb_version version, struct buf *b) {
    struct err err = {0};
    CHECK(pb_to_json(m, &(struct pb_json_opts){.compact = true, .version = version}, b, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!n) {
        return 0;
    }
    const ProtobufCMessageDescriptor *d = kinds[data[0] % 128 % NR_OF(kinds)];
    enum pb_version version = data[0] < 128 ? PB_V1 : PB_V1BETA1;
    auto_arena struct arena *a = arena_new(4 << 20), *a2 = arena_new(8 << 20);
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m = NULL, *again = NULL;
    violations_init(&vs, a);
    if (pb_from_json(a, d, version, str_n((const char *)data + 1, n - 1), "root", &m, &vs, &err)) {
        CHECK(err.code == ERR_INVALID_ARGUMENT || err.code == ERR_RESOURCE_EXHAUSTED);
        CHECK(m == NULL && err.msg[0]);
        return 0;
    }
    auto_buf struct buf one = BUF_INIT(16 << 20), two = BUF_INIT(16 << 20),
                        wire = BUF_INIT(16 << 20);
    write_json(m, version, &one);
    CHECK(str_is_utf8(buf_str(&one)));
    violations_init(&vs, a2);
    CHECK(pb_from_json(a2, d, version, buf_str(&one), "", &again, &vs, &err) == 0);
    write_json(again, version, &two);
    CHECK(str_eq(buf_str(&one), buf_str(&two)));
    CHECK(pb_pack(m, &wire) == 0);
    CHECK(pb_unpack(a2, d, buf_str(&wire), &again, &err) == 0);
    buf_clear(&two);
    write_json(again, version, &two);
    CHECK(str_eq(buf_str(&one), buf_str(&two)));
    return 0;
}
