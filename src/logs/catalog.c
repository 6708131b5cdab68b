#include "logs/catalog.h"

#include "base/enc.h"
#include "base/fail.h"
#include "sys/files.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_HEADER "cusp-ended 1\n"
#define HEADER_LEN 16u

struct record {
    uint64_t job, first, last, bytes;
    uint32_t reserved, crc;
};
_Static_assert(sizeof(struct record) == 40, "records are packed by layout");

static char *project_dir(struct logs *g, uint64_t project) {
    return xasprintf("%s/projects/%llu", g->dir, (unsigned long long)project);
}

void catalog_fini(struct catalog *c) {
    vec_fini(&c->items);
}

static void put_record(struct buf *b, const struct catalog_item *i) {
    struct record r = {
        htole64(i->job), htole64(i->first), htole64(i->last), htole64(i->bytes), 0, 0};
    r.crc = htole32(enc_crc32c(0, &r, offsetof(struct record, crc)));
    (void)buf_put(b, &r, sizeof(r));
}

static void put_header(struct buf *b) {
    static const char head[HEADER_LEN] = FILE_HEADER;
    (void)buf_put(b, head, sizeof(head));
}

static bool get_record(const char *p, struct catalog_item *ret) {
    struct record r;
    memcpy(&r, p, sizeof(r));
    *ret = (struct catalog_item){.job = le64toh(r.job),
                                 .first = le64toh(r.first),
                                 .last = le64toh(r.last),
                                 .bytes = le64toh(r.bytes)};
    return le32toh(r.crc) == enc_crc32c(0, &r, offsetof(struct record, crc));
}

static void add_mark(void *arg, const char *job_id) {
    struct catalog *c = arg;
    uint64_t job;
    if (str_to_u64(str_of(job_id), &job)) {
        vec_push(&c->items, ((struct catalog_item){.job = job, .is_open = true}));
    }
}

static int by_job(const void *a, const void *b) {
    const struct catalog_item *x = a, *y = b;
    return x->job < y->job ? -1 : x->job > y->job;
}

static bool is_marked(const struct catalog *c, size_t nr_marks, uint64_t job) {
    struct catalog_item key = {.job = job};
    return nr_marks && bsearch(&key, c->items.p, nr_marks, sizeof(key), by_job);
}

int catalog_load(struct logs *g, uint64_t project, usec_t from, usec_t to, struct catalog *ret,
                 struct err *err) {
    auto_free char *dir = project_dir(g, project);
    auto_free char *path = xasprintf("%s/.ended", dir);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    *ret = (struct catalog){0};
    owner_each(g, project, add_mark, ret); /* marks first: one that goes has its record by then */
    size_t marks = ret->items.n;
    if (marks) {
        qsort(ret->items.p, marks, sizeof(ret->items.p[0]), by_job);
    }
    if (access(path, F_OK) != 0) {
        return 0;
    }
    if (file_read(AT_FDCWD, path, &b, err)) {
        return -1;
    }
    if (b.n < HEADER_LEN || memcmp(b.p, FILE_HEADER, sizeof(FILE_HEADER) - 1) != 0) {
        return err_set(err, ERR_DATA_LOSS, "the index of ended logs has no header");
    }
    for (size_t at = HEADER_LEN; at + sizeof(struct record) <= b.n; at += sizeof(struct record)) {
        struct catalog_item i;
        if (!get_record(b.p + at, &i)) {
            return err_set(err, ERR_DATA_LOSS, "the index of ended logs is damaged at byte %zu",
                           at);
        }
        if (i.last >= from && i.first <= to && !is_marked(ret, marks, i.job)) {
            vec_push(&ret->items, i);
        }
    }
    return 0;
}

int catalog_add(struct logs *g, uint64_t project, const struct catalog_item *items, size_t nr,
                struct err *err) {
    auto_free char *dir = project_dir(g, project);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct stat st;
    auto_close int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto_close int fd = at < 0 ? -1 : openat(at, ".ended", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || fstat(fd, &st)) {
        return err_sys(err, errno, "open the index of ended logs");
    }
    uint64_t end = (uint64_t)st.st_size;
    if (end < HEADER_LEN) {
        end = 0;
        put_header(&b);
    } else {
        end -= (end - HEADER_LEN) % sizeof(struct record); /* over a torn one */
    }
    for (size_t i = 0; i < nr; i++) {
        put_record(&b, &items[i]);
    }
    if (lseek(fd, (off_t)end, SEEK_SET) < 0) {
        return err_sys(err, errno, "write the index of ended logs");
    }
    if (file_write_all(fd, buf_str(&b), err)) {
        (void)!ftruncate(fd, (off_t)end); /* a torn record is not there either */
        return -1;
    }
    if (fdatasync(fd) || file_fsync_dir(at, ".", err)) {
        return err_sys(err, errno, "write the index of ended logs");
    }
    if (FAIL_POINT("logs.catalog.before_unmark", err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        char name[24];
        snprintf(name, sizeof(name), "%llu", (unsigned long long)items[i].job);
        (void)unlinkat(at, name, 0); /* there still: the job is looked at once more */
    }
    return 0;
}

int catalog_replace(struct logs *g, uint64_t project, const struct catalog *c, struct err *err) {
    auto_free char *dir = project_dir(g, project);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    put_header(&b);
    for (size_t i = 0; i < c->items.n; i++) {
        if (!c->items.p[i].is_open) {
            put_record(&b, &c->items.p[i]);
        }
    }
    auto_close int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) {
        return err_sys(err, errno, "open the index of ended logs");
    }
    return file_write_atomic(at, ".ended", buf_str(&b), 0640, FILE_SYNC, err);
}

static usec_t changed(const struct stat *st) {
    return (usec_t)st->st_mtim.tv_sec * USEC_PER_SEC + (usec_t)st->st_mtim.tv_nsec / 1000;
}

int catalog_add_task(struct logs *g, uint64_t project, const char *task, usec_t last,
                     struct err *err) {
    auto_free char *dir = xasprintf("%s/projects/%llu/.tasks", g->dir, (unsigned long long)project);
    auto_free char *path = xasprintf("%s/%s", dir, task);
    struct stat st;
    if (stat(path, &st) == 0 && changed(&st) >= last) {
        return 0;
    }
    if (file_mkdirs(AT_FDCWD, dir, 0750, err)) {
        return -1;
    }
    const struct timespec t = {.tv_sec = (time_t)(last / USEC_PER_SEC),
                               .tv_nsec = (long)(last % USEC_PER_SEC) * 1000};
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    return fd < 0 || futimens(fd, (struct timespec[]){t, t})
               ? err_sys(err, errno, "note a log's name")
               : 0;
}

void catalog_each_task(struct logs *g, uint64_t project,
                       void (*fn)(void *arg, struct str task, usec_t last), void *arg) {
    auto_free char *dir = xasprintf("%s/projects/%llu/.tasks", g->dir, (unsigned long long)project);
    DIR *d = opendir(dir);
    struct dirent *e;
    struct stat st;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0) {
            fn(arg, str_of(e->d_name), changed(&st));
        }
    }
    if (d) {
        closedir(d);
    }
}

void catalog_each_project(struct logs *g, void (*fn)(void *arg, uint64_t project), void *arg) {
    auto_free char *dir = xasprintf("%s/projects", g->dir);
    DIR *d = opendir(dir);
    struct dirent *e;
    uint64_t project;
    while (d && (e = readdir(d))) {
        if (str_to_u64(str_of(e->d_name), &project)) {
            fn(arg, project);
        }
    }
    if (d) {
        closedir(d);
    }
}
