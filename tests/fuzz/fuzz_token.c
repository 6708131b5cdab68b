/* Page tokens from strangers: refused, never misread; and what is signed opens to the same
 * position, also with the fuzzer's bytes as text. */
#include "store/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t key[TOKEN_KEY_BYTES] = {7};
    if (size < 2) {
        return 0;
    }
    struct arena *a = arena_new(1 << 20);
    struct store_list l = {.kind = STR("k"),
                           .parent = STR("p"),
                           .order = (enum store_order_field)(data[0] % 5),
                           .nr_then = data[0] >> 6,
                           .then = {{STORE_ORDER_STATE, true},
                                    {STORE_ORDER_NAME, false},
                                    {STORE_ORDER_UPDATE_TIME, true}},
                           .descending = data[0] & 4,
                           .arena = a};
    struct str rest = str_n((const char *)data + 1, size - 1);
    struct store_pos pos, back;
    struct err err = {0};
    l.page_token = rest;
    if (token_open(key, &l, &pos, &err) < 0) {
        CHECK(err.code == ERR_INVALID_ARGUMENT && strcmp(err.field, "page_token") == 0);
    }
    pos = (struct store_pos){.id = str_hash(rest)};
    for (unsigned i = 0; i <= l.nr_then; i++) {
        if (store_order_is_text(store_list_order(&l, i).field)) {
            pos.v[i].text = str_sub(rest, i, rest.n);
        } else {
            pos.v[i].time = str_hash(str_sub(rest, 1 + i, rest.n));
        }
    }
    l.page_token = token_make(key, &l, &pos);
    if (l.page_token.n <= TOKEN_MAX_BYTES) {
        CHECK(token_open(key, &l, &back, NULL) == 0);
        CHECK(store_pos_cmp(&pos, &back, &l) == 0);
    }
    arena_free(a);
    return 0;
}
