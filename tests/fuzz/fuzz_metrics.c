/* Metrics files of tuning trials (first byte odd: the reading begins in the middle of a line):
 * every report has a name within bounds, and reading the same bytes again finds the same ones. */
#include "engine/local/metrics_file.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    size_t n;
    uint64_t hash;
};

static void add(void *arg, const struct metric_report *r) {
    struct sum *s = arg;
    size_t len = strlen(r->tag);
    CHECK(len > 0 && len <= METRIC_TAG_MAX && r->timestamp != USEC_NEVER);
    s->n++;
    s->hash = s->hash * 31 + str_hash(str_of(r->tag)) + (uint64_t)r->step + r->timestamp;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sum a = {0}, b = {0};
    if (size == 0) {
        return 0;
    }
    struct str text = str_n((const char *)data + 1, size - 1);
    metrics_parse(text, data[0] & 1, add, &a);
    metrics_parse(text, data[0] & 1, add, &b);
    CHECK(a.n == b.n && a.hash == b.hash && a.n <= size);
    return 0;
}
