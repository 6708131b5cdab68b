/* The body that ends a multipart upload: whatever is taken is a list of numbers within bounds. */
#include "api/gcs_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct blob_part *parts = NULL;
    size_t n = 0;
    struct err err = {0};
    if (size <= 65536 &&
        gcs_parse_parts(a, str_n((const char *)data, size), &parts, &n, &err) == 0) {
        CHECK(n > 0 && n <= BLOB_PARTS_MAX);
        for (size_t i = 0; i < n; i++) {
            CHECK(parts[i].number >= 1 && parts[i].number <= BLOB_PARTS_MAX);
        }
    } else if (size <= 65536) {
        CHECK(err.code == ERR_INVALID_ARGUMENT && err.msg[0]);
    }
    arena_free(a);
    return 0;
}
