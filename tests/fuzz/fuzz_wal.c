/* Any bytes as SQLite's log: what is counted fits into the file, and is the same for what is read
 * again; a log cut short never has more whole commits than the log. */
#include "base/log.h"
#include "base/mem.h"
#include "store/wal_check.h"

#include <sys/mman.h>
#include <unistd.h>

#define FRAME_LEAST (24u + 512u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct wal_state check(int fd) {
    char path[32];
    struct wal_state w;
    struct err err;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK(wal_check(path, &w, &err) == 0);
    return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    auto_close int fd = memfd_create("wal", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    struct wal_state all = check(fd), again = check(fd);
    CHECK(all.commits == again.commits && all.commits_behind == again.commits_behind &&
          all.bad_header == again.bad_header);
    CHECK(all.commits + all.commits_behind <= size / FRAME_LEAST);
    CHECK(!all.bad_header || all.commits + all.commits_behind == 0);
    CHECK(ftruncate(fd, (off_t)(size / 2)) == 0);
    struct wal_state half = check(fd);
    CHECK(half.commits <= all.commits);
    return 0;
}
