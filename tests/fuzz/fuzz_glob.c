/* Patterns of matchGlob: the first line is the pattern, the rest a name. Whatever compiles matches
 * in bounded time; a pattern of plain bytes matches itself and nothing longer. */
#include "blob/blob_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str name = str_n((const char *)data, size);
    struct str pattern = str_cut(&name, '\n');
    struct glob *g = glob_new(pattern, NULL);
    if (!g) {
        return 0;
    }
    bool is_plain = true;
    for (size_t i = 0; i < pattern.n; i++) {
        is_plain = is_plain && !strchr("*?[{\\", pattern.p[i]);
    }
    if (name.n <= 1024) {
        bool hit = glob_match(g, name);
        CHECK(!is_plain || hit == str_eq(name, pattern));
    }
    CHECK(!is_plain || glob_match(g, pattern));
    glob_free(g);
    return 0;
}
