/* Range, Content-Range and x-goog-hash headers: whatever is taken keeps its promises. */
#include "api/gcs_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct content_range c;
    struct goog_hash h;
    uint64_t total = 0, first, n;
    if (size < 8) {
        return 0;
    }
    memcpy(&total, data, 8);
    struct str s = str_n((const char *)data + 8, size - 8);
    enum range_kind k = range_parse(s, total, &first, &n);
    CHECK(k != RANGE_PART || (n > 0 && first < total && n <= total - first));
    CHECK(k == RANGE_PART || (first == 0 && n == total));
    if (content_range_parse(s, &c) && !c.is_query) {
        CHECK(!c.has_last || c.last >= c.first);
        CHECK(!c.has_last || !c.has_total || c.last < c.total);
    }
    (void)goog_hash_parse(s, &h);
    return 0;
}
