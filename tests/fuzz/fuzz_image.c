/* Archives from anywhere: sniffed, unpacked or spilled, parsed as manifests, whatever the bytes
 * say. The store lies in a scratch directory; a canary beside it must never change, and an import
 * that fails must leave no layer behind. */
#include "base/limits.h"
#include "engine/image/image.h"
#include "sys/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct image_store *store;
static char dir[] = "/tmp/cusp-fuzz-image-XXXXXX";

static char *beside(const char *name) {
    return xasprintf("%s/%s", dir, name);
}

static void clean_up(void) {
    image_store_close(store);
    struct err ignored;
    if (file_remove_tree(AT_FDCWD, dir, &ignored) < 0) {
        fprintf(stderr, "left behind: %s\n", dir);
    }
}

static void open_store(void) {
    struct err err = {0};
    CHECK(mkdtemp(dir) != NULL);
    auto_free char *canary = beside("canary"), *images = beside("images");
    int rc = file_write_atomic(AT_FDCWD, canary, STR("alive"), 0644, FILE_NO_SYNC, &err);
    CHECK(rc == 0);
    store = image_store_open(images, &err);
    CHECK(store != NULL);
    limits.image_max_bytes = 1 << 20;
    limits.image_max_entries = 256;
    limits.image_max_manifest = 1 << 16;
    (void)atexit(clean_up);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (store == NULL) {
        open_store();
    }
    auto_close int fd = memfd_create("archive", MFD_CLOEXEC);
    CHECK(fd >= 0);
    if (write(fd, data, size) != (ssize_t)size) {
        return 0;
    }
    struct err err = {0};
    struct image img;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    if (image_import(store, arena_printf(a, "/proc/self/fd/%d", fd), "fuzz", &img, a, &err) == 0) {
        struct image_user u;
        if (image_lookup_user(&img, a, &u, &err) == 0) {
            CHECK(u.home != NULL);
        }
        int rc = image_remove(store, img.ref, NULL, NULL, &err);
        CHECK(rc == 0);
    } else {
        CHECK(err.code != ERR_OK);
    }
    auto_free char *canary = beside("canary");
    auto_buf struct buf b = BUF_INIT(64);
    int rc = file_read(AT_FDCWD, canary, &b, &err);
    CHECK(rc == 0 && strcmp(buf_cstr(&b), "alive") == 0);
    return 0;
}
