/* Whose a job's log is, and where its streams lie. */
#include "logs/logs_int.h"

#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int owner_write(struct logs *g, const char *job_id, uint64_t project, struct err *err) {
    auto_free char *index = xasprintf("%s/projects/%llu", g->dir, (unsigned long long)project);
    auto_free char *mark = xasprintf("%s/%s", index, job_id);
    auto_free char *dir = xasprintf("%s/%s", g->dir, job_id);
    auto_free char *number = xasprintf("%llu\n", (unsigned long long)project);
    if (file_mkdirs(AT_FDCWD, index, 0750, err) || file_mkdirs(AT_FDCWD, dir, 0750, err)) {
        return -1;
    }
    auto_close int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) {
        return err_sys(err, errno, "open log directory");
    }
    if (faccessat(at, "owner", F_OK, 0) &&
        file_write_atomic(at, "owner", str_of(number), 0640, FILE_NO_SYNC, err)) {
        return -1;
    }
    auto_close int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    return fd < 0 ? err_sys(err, errno, "mark log owner") : 0;
}

bool owner_read(struct logs *g, const char *job_id, uint64_t *ret) {
    auto_free char *path = xasprintf("%s/%s/owner", g->dir, job_id);
    auto_buf struct buf b = BUF_INIT(64);
    if (file_read(AT_FDCWD, path, &b, NULL)) {
        return false;
    }
    struct str rest = buf_str(&b);
    return str_to_u64(str_cut(&rest, '\n'), ret);
}

bool owner_is(struct logs *g, const char *job_id, uint64_t project) {
    uint64_t owner;
    return !owner_read(g, job_id, &owner) || owner == project;
}

void owner_each(struct logs *g, uint64_t project, void (*fn)(void *arg, const char *job_id),
                void *arg) {
    auto_free char *index = xasprintf("%s/projects/%llu", g->dir, (unsigned long long)project);
    DIR *d = opendir(index);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.') {
            fn(arg, e->d_name);
        }
    }
    if (d) {
        closedir(d);
    }
}

bool streams_each(struct logs *g, const char *job_id,
                  void (*fn)(void *arg, const char *dir, const char *task, uint32_t attempt),
                  void *arg) {
    auto_free char *dir = xasprintf("%s/%s", g->dir, job_id);
    DIR *d = opendir(dir);
    struct dirent *e;
    bool is_there = d;
    while (d && (e = readdir(d))) {
        uint64_t attempt;
        auto_free char *sub = xasprintf("%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, "service") == 0) {
            fn(arg, sub, "service", 0);
        } else if (e->d_name[0] == 'a' && str_to_u64(str_of(e->d_name + 1), &attempt)) {
            DIR *tasks = opendir(sub);
            struct dirent *t;
            while (tasks && (t = readdir(tasks))) {
                if (t->d_name[0] != '.') {
                    auto_free char *at = xasprintf("%s/%s", sub, t->d_name);
                    fn(arg, at, t->d_name, (uint32_t)attempt);
                }
            }
            if (tasks) {
                closedir(tasks);
            }
        }
    }
    if (d) {
        closedir(d);
    }
    return is_there;
}
