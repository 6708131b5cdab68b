#include "rig.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int rig_fd(const char *text, size_t n) {
    int fd = memfd_create("rig", MFD_CLOEXEC);
    CHECK(fd >= 0);
    for (size_t at = 0; at < n;) {
        ssize_t put = write(fd, text + at, n - at);
        CHECK(put > 0);
        at += (size_t)put;
    }
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static int open_file(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size, struct err *err) {
    struct rig *r = arg;
    for (size_t i = 0; i < r->nr_files; i++) {
        if (strcmp(r->files[i].uri, uri) == 0) {
            r->opened++;
            *ret_fd = rig_fd(r->files[i].text, r->files[i].n);
            *ret_size = r->files[i].n;
            return 0;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "No such object: %s", uri);
}

static int scratch(void *arg, int *ret_fd, struct err *err) {
    *ret_fd = rig_fd("", 0);
    return 0;
}

static char *path_of(struct rig *r, const char *id) {
    return xasprintf("%s/%s", r->dir, id);
}

static int make(void *arg, char ret_id[SHARD_ID_SIZE], int *ret_fd, struct err *err) {
    struct rig *r = arg;
    if (++r->made == r->fail_make_at) {
        return err_sys(err, ENOSPC, "make a file");
    }
    snprintf(ret_id, SHARD_ID_SIZE, "t-%u", r->made);
    auto_free char *path = path_of(r, ret_id);
    *ret_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CHECK(*ret_fd >= 0);
    return 0;
}

static void drop(void *arg, const char *id) {
    struct rig *r = arg;
    auto_free char *path = path_of(r, id);
    r->dropped++;
    CHECK(unlink(path) == 0);
}

void rig_open(struct rig *r) {
    *r = (struct rig){.nr_files = 0};
    snprintf(r->dir, sizeof(r->dir), "%s/cusp-data-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    CHECK(mkdtemp(r->dir));
    r->io = (struct export_io){.open = open_file,
                               .scratch = scratch,
                               .arg = r,
                               .place = {.make = make, .drop = drop, .arg = r}};
}

unsigned rig_left(struct rig *r) {
    DIR *d = opendir(r->dir);
    unsigned n = 0;
    struct dirent *e;
    CHECK(d);
    while ((e = readdir(d))) {
        n += e->d_name[0] == 't';
    }
    closedir(d);
    return n;
}

void rig_close(struct rig *r) {
    for (size_t i = 0; i < r->nr_files; i++) {
        free(r->files[i].uri);
        free(r->files[i].text);
    }
    DIR *d = opendir(r->dir); /* a failed test may leave files */
    struct dirent *e;
    CHECK(d);
    while ((e = readdir(d))) {
        (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
    CHECK(rmdir(r->dir) == 0);
}

void rig_file(struct rig *r, const char *uri, const char *text, size_t n) {
    CHECK(r->nr_files < RIG_FILES);
    r->files[r->nr_files].uri = xstrdup(uri);
    r->files[r->nr_files].text = xstrndup(text, n);
    r->files[r->nr_files].text = xrealloc(r->files[r->nr_files].text, n + 1);
    memcpy(r->files[r->nr_files].text, text, n);
    r->files[r->nr_files++].n = n;
}

void rig_read(struct rig *r, const struct shard *s, struct buf *ret) {
    auto_free char *path = path_of(r, s->id);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    char part[65536];
    for (ssize_t n; (n = read(fd, part, sizeof(part))) > 0;) {
        buf_put(ret, part, (size_t)n);
    }
}
