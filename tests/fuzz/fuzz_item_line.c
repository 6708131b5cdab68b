/* Lines of import files. The first byte chooses the format. What is read can be written, and what
 * was written is read as the same. */
#include "data/item_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_fit(const struct data_item *item) {
    return item->text.n > 0 && str_is_utf8(item->text) && item->use < ML_USE_NR;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t nr = 0;
    while (import_format_at(nr)) {
        nr++;
    }
    if (size == 0) {
        return 0;
    }
    const struct import_format *f = import_format_at(data[0] % nr);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf one = BUF_INIT(1 << 26), two = BUF_INIT(1 << 26);
    struct data_item item;
    struct err err = {0};
    if (item_line_parse(a, f, str_n((const char *)data + 1, size - 1), &item, &err)) {
        CHECK(err.code == ERR_INVALID_ARGUMENT && err.msg[0]);
        return 0;
    }
    CHECK(is_fit(&item));
    item_line_write(&one, &item, item.use);
    CHECK(one.n > 0 && one.p[one.n - 1] == '\n');
    struct str line = str_sub(buf_str(&one), 0, one.n - 1);
    CHECK(str_chr(line, '\n') < 0);
    if (item_line_parse(a, f, line, &item, &err)) {
        fprintf(stderr, "%.*s: %s\n", STR_ARG(line), err.msg);
        abort();
    }
    item_line_write(&two, &item, item.use);
    CHECK(str_eq(buf_str(&one), buf_str(&two)));
    return 0;
}
