/* For compare_random.py: reads lines "TYPE<TAB>JSON" (JSON of the type's version), answers "ok
 * WIREHEX<TAB>JSON" or "error TEXT". What it answers has also been packed, unpacked and written
 * again to the same JSON. */
#include "base/enc.h"
#include "pb/pb.h"
#include "pb/pbinfo.h"

#define MAX_BYTES ((size_t)64 << 20)

static int convert(struct str type, struct str json, struct buf *out, struct err *err) {
    auto_arena struct arena *a = arena_new(MAX_BYTES);
    auto_buf struct buf wire = BUF_INIT(MAX_BYTES), one = BUF_INIT(MAX_BYTES),
                        two = BUF_INIT(MAX_BYTES);
    enum pb_version version =
        str_starts(type, STR("google.cloud.aiplatform.v1beta1.")) ? PB_V1BETA1 : PB_V1;
    const struct pb_json_opts o = {.compact = true, .version = version};
    const ProtobufCMessageDescriptor *d = pb_msg_find(type);
    struct violations vs;
    ProtobufCMessage *m, *again;
    violations_init(&vs, a);
    if (!d) {
        return err_set(err, ERR_NOT_FOUND, "unknown type");
    }
    if (pb_from_json(a, d, version, json, "", &m, &vs, err) || pb_to_json(m, &o, &one, err)) {
        return -1;
    }
    CHECK(pb_pack(m, &wire) == 0);
    if (pb_unpack(a, d, buf_str(&wire), &again, err) || pb_to_json(again, &o, &two, err)) {
        return -1;
    }
    if (!str_eq(buf_str(&one), buf_str(&two))) {
        return err_set(err, ERR_INTERNAL, "changed by packing");
    }
    enc_hex(out, wire.p, wire.n);
    buf_putc(out, '\t');
    return buf_put_str(out, buf_str(&one));
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        struct str json = str_n(line, (size_t)n - (line[n - 1] == '\n'));
        struct str type = str_cut(&json, '\t');
        auto_buf struct buf out = BUF_INIT(4 * MAX_BYTES);
        struct err err = {0};
        if (convert(type, json, &out, &err)) {
            for (char *c = err.msg; *c; c++) {
                *c = *c == '\n' ? ' ' : *c;
            }
            printf("error %s\n", err.msg);
        } else {
            printf("ok %s\n", buf_cstr(&out));
        }
    }
    free(line);
    return 0;
}
