/* Whole import files, lines or (first byte odd) records of CSV, plain or packed: no bytes stop the
 * reader, lines are counted without gaps, and a record is an item or a mistake that is named. */
#include "data/csv.h"
#include "data/item_line.h"
#include "data/lines.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_csv(int fd, const struct import_format *f, struct arena *a) {
    struct csv_reader *r = csv_open(fd, STR("gs://b/f.csv"));
    struct csv_record rec;
    struct data_item item;
    struct err err = {0};
    while (csv_next(r, &rec, &err) == 1) {
        arena_clear(a);
        struct str *fields = csv_fields(&rec, a);
        if (item_fields_parse(a, f, fields, rec.columns, &item, &err) == 0) {
            CHECK(str_starts(item.text, STR("gs://")) && item.nr_annotations <= rec.columns);
        } else {
            CHECK(err.code == ERR_INVALID_ARGUMENT);
        }
    }
    csv_close(r);
}

static void read_lines(int fd) {
    struct lines *l = lines_open(fd);
    struct str line;
    struct err err = {0};
    enum lines_step step;
    uint64_t n = 0;
    while ((step = lines_next(l, &line, &err)) == LINES_LINE || step == LINES_TOO_LONG) {
        CHECK(lines_number(l) == ++n);
        CHECK(step == LINES_TOO_LONG || str_chr(line, '\n') < 0);
    }
    CHECK(step == LINES_END || err.code != ERR_OK);
    lines_close(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    int fd = memfd_create("import", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1 || lseek(fd, 0, SEEK_SET)) {
        abort();
    }
    if (data[0] & 1) {
        read_csv(fd, import_format_at(data[0] >> 1 & 1), a);
    } else {
        read_lines(fd);
    }
    return 0;
}
