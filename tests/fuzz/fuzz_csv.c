/* CSV files, plain or packed: whatever the bytes are, records follow one another without gaps in
 * their lines, and both ways to take fields out agree. Fields are also read as times. */
#include "base/arena.h"
#include "data/csv.h"
#include "data/split.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const struct csv_record *rec, struct arena *a, struct buf *scratch) {
    struct str *fields = csv_fields(rec, a), one;
    size_t bytes = 0;
    uint64_t t;
    for (size_t i = 0; i < rec->columns; i++) {
        bytes += fields[i].n;
        if (i < 50) {
            CHECK(csv_field(rec, i, scratch, &one) && str_eq(one, fields[i]));
            (void)split_time_parse(one, &t);
        }
    }
    CHECK(bytes + rec->columns - 1 <= rec->text.n);
    CHECK(!csv_field(rec, rec->columns, scratch, &one));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd = memfd_create("csv", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0) {
        abort();
    }
    struct csv_reader *r = csv_open(fd, STR("gs://b/f.csv"));
    struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf scratch = BUF_INIT(1 << 26);
    struct csv_record rec;
    struct err err = {0};
    uint64_t line = 0;
    int got;
    while ((got = csv_next(r, &rec, &err)) == 1) {
        CHECK(rec.line > line && rec.text.n > 0);
        line = rec.line;
        check_record(&rec, a, &scratch);
        arena_clear(a);
    }
    CHECK(got == 0 || err.code != ERR_OK);
    arena_free(a);
    csv_close(r);
    return 0;
}
