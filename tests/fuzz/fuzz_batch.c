/* Batch bodies: the first line is the Content-Type. Whatever is taken lies within the input. */
#include "api/gcs_batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct batch_request r[BATCH_MAX];
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct str body = str_n((const char *)data, size), type = str_cut(&body, '\n');
    size_t n = 0;
    struct err err;
    if (body.p && gcs_batch_parse(a, type, body, r, &n, &err) == 0) {
        CHECK(n > 0 && n <= BATCH_MAX);
        for (size_t i = 0; i < n; i++) {
            CHECK(r[i].method.n && str_starts(r[i].path, STR("/")) && r[i].body.n <= size);
            CHECK(str_find(r[i].path, STR("/upload/")) < 0);
        }
    }
    arena_free(a);
    return 0;
}
