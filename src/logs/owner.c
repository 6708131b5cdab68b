/* Whose a job's log is. */
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

bool owner_is(struct logs *g, const char *job_id, uint64_t project) {
    auto_free char *mark =
        xasprintf("%s/projects/%llu/%s", g->dir, (unsigned long long)project, job_id);
    auto_free char *owner = xasprintf("%s/%s/owner", g->dir, job_id);
    return access(mark, F_OK) == 0 || access(owner, F_OK) != 0;
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
