/* The filters of splits and of annotations on an item: the first line is the filter, the second a
 * line of an import. Whatever compiles decides, and its negation decides the other way where both
 * compile. */
#include "data/item_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATASET STR("projects/1/locations/us-central1/datasets/9")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX), *scratch = arena_new(ARENA_NO_MAX);
    struct str line = str_n((const char *)data, size), text = str_cut(&line, '\n');
    const struct filter *f = NULL, *not_f = NULL;
    struct data_item item = {.id = 7, .seq = 1, .media = ITEM_IMAGE, .text = STR("gs://b/a.jpg")};
    CHECK(filter_parse(a, text, &annotation_schema, &f, NULL) == 0 || !f);
    f = NULL;
    bool parses = filter_parse(a, text, &item_schema, &f, NULL) == 0;
    for (size_t i = 0; line.n && import_format_at(i); i++) {
        struct data_item read;
        if (item_line_parse(a, import_format_at(i), line, &read, NULL) == 0) {
            item = read;
            item.id = 7;
            item.seq = 1;
            break;
        }
    }
    if (!parses) {
        return 0;
    }
    bool hit = item_matches(f, DATASET, &item, scratch);
    CHECK(item_matches(f, DATASET, &item, scratch) == hit);
    struct str negated =
        str_of(arena_printf(a, "NOT (%.*s)", (int)(text.n > 8000 ? 8000 : text.n), text.p));
    if (f && text.n <= 8000 && filter_parse(a, negated, &item_schema, &not_f, NULL) == 0) {
        CHECK(item_matches(not_f, DATASET, &item, scratch) == !hit);
    }
    return 0;
}
