/* "METHOD path?query\nbody": matching and binding. */
#include "api/route.h"
#include "pb/pbmask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    auto_arena struct arena *a = arena_new(8 << 20);
    struct str body = str_n((const char *)data, n);
    struct str query = str_cut(&body, '\n');
    struct str path = str_cut(&query, '?');
    struct str method = str_cut(&path, ' ');
    struct route_match match;
    struct std_params std;
    struct violations vs;
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    const struct pb_mask *mask;
    const struct route *r = route_match(method, path, a, &match, &err);
    if (route_std_params(query, a, &std, &err) == 0) {
        (void)pb_mask_parse(a, std.fields, &mask, &err);
    }
    if (!r) {
        CHECK(err.code != ERR_OK);
        return 0;
    }
    CHECK(str_eqc(method, r->method));
    for (unsigned i = 0; i < r->n_vars; i++) {
        CHECK(match.vars[i].n > 0 && str_is_utf8(match.vars[i]));
    }
    violations_init(&vs, a);
    memset(&err, 0, sizeof(err));
    if (route_decode(r, &match, query, body, a, &m, &vs, &err)) {
        CHECK(err.code != ERR_OK && m == NULL);
        return 0;
    }
    auto_buf struct buf b = BUF_INIT(16 << 20);
    CHECK(m->descriptor == r->rpc->input && pb_pack(m, &b) == 0);
    return 0;
}
