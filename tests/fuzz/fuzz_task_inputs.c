/* First byte: which task; the rest: JSON of trainingTaskInputs. What is accepted, written in the
 * schema's own names, must be accepted again and mean the same. */
#include "api/spec_task_inputs.h"
#include "pb/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The message that was read; NULL: refused. */
static ProtobufCMessage *read(struct arena *a, enum training_task kind, struct str json) {
    struct violations vs;
    struct task_inputs in;
    struct err err = {0};
    ProtobufCMessage *v;
    violations_init(&vs, a);
    if (pb_from_json(a, &google__protobuf__value__descriptor, PB_V1, json, "", &v, &vs, &err)) {
        return NULL;
    }
    violations_init(&vs, a);
    if (task_inputs_read(a, kind, (Google__Protobuf__Value *)v, &in, &vs, &err)) {
        CHECK(err.code);
        return NULL;
    }
    if (vs.n) {
        CHECK(str_starts(vs.v[0].field, STR("training_task_inputs")));
        return NULL;
    }
    CHECK((in.custom != NULL) == (kind == TRAINING_TASK_CUSTOM));
    CHECK((in.tuning != NULL) == (kind == TRAINING_TASK_TUNING));
    return in.custom ? &in.custom->base : &in.tuning->base;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!n) {
        return 0;
    }
    enum training_task kind = data[0] & 1 ? TRAINING_TASK_TUNING : TRAINING_TASK_CUSTOM;
    auto_arena struct arena *a = arena_new(8 << 20), *a2 = arena_new(16 << 20);
    auto_buf struct buf json = BUF_INIT(8 << 20);
    struct err err;
    struct str once, twice;
    ProtobufCMessage *m = read(a, kind, str_n((const char *)data + 1, n - 1));
    if (!m || pb_to_json(m, &(struct pb_json_opts){.compact = true}, &json, &err) != 0) {
        return 0;
    }
    ProtobufCMessage *again = read(a2, kind, buf_str(&json));
    CHECK(again);
    if (pb_pack_in(a2, m, &once) && pb_pack_in(a2, again, &twice)) {
        CHECK(str_eq(once, twice));
    }
    return 0;
}
