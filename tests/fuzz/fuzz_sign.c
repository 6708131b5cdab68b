/* Queries of signed URLs: whatever parses has a canonical form, and no made-up signature passes. */
#include "api/gcs_sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const usec_t may_2024 = 1714558272ull * USEC_PER_SEC;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf canonical = BUF_INIT(BUF_NO_MAX), text = BUF_INIT(BUF_NO_MAX);
    struct sign_url u;
    struct header h = {STR("x-a"), STR("  one   two ")};
    struct xch_head head = {.method = STR("GET"),
                            .authority = STR("h:1"),
                            .path = STR("/bucket/o%20x"),
                            .headers = {&h, 1}};
    if (sign_v2_parse(a, str_n((const char *)data, size), may_2024, &u, NULL) == 0) {
        sign_v2_string(a, &u, &head, STR("bkt"), &text);
        CHECK(text.n > 10);
        CHECK(!sign_v2_check(&u, STR("a secret the input does not know"), buf_str(&text)));
        buf_clear(&text);
    }
    if (sign_parse(a, str_n((const char *)data, size), may_2024, &u, NULL) < 0 ||
        sign_canonical(a, &u, &head, &canonical, NULL) < 0) {
        return 0;
    }
    sign_string(&u, buf_str(&canonical), &text);
    CHECK(text.n > 64);
    CHECK(!sign_check_hmac(&u, STR("a secret the input does not know"), buf_str(&text)));
    return 0;
}
