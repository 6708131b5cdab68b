#include "logs/family.h"

#include "base/log.h"
#include "sys/files.h"
#include "sys/lane.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct mark {
    struct lane_work work;
    char *dir, *name; /* owned */
};

static void mark_run(struct lane_work *w) {
    struct mark *m = CONTAINER_OF(w, struct mark, work);
    auto_free char *path = xasprintf("%s/%s", m->dir, m->name);
    struct err err = {0};
    if (file_mkdirs(AT_FDCWD, m->dir, 0750, &err) == 0) {
        auto_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
        if (fd >= 0) {
            return;
        }
        err_sys(&err, errno, "open %s", path);
    }
    log_warn("a trial's log will not be listed with its tuning job's", "error=\"%s\"", err.msg);
}

static void mark_done(struct lane_work *w) {
    struct mark *m = CONTAINER_OF(w, struct mark, work);
    free(m->dir);
    free(m->name);
    free(m);
}

void logs_set_trial(struct logs *g, const char *job_id, uint64_t trial, const char *child_id) {
    struct mark *m = xcalloc(1, sizeof(*m));
    m->work = (struct lane_work){.run = mark_run, .done = mark_done};
    m->dir = xasprintf("%s/%s/trials", g->dir, job_id);
    m->name = xasprintf("%s.%llu", child_id, (unsigned long long)trial);
    lane_submit(g->disk, &m->work);
}

void family_each(struct logs *g, const char *job_id,
                 void (*fn)(void *arg, const char *child_id, const char *trial), void *arg) {
    auto_free char *dir = xasprintf("%s/%s/trials", g->dir, job_id);
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        struct str trial = str_of(e->d_name), child = str_cut(&trial, '.');
        if (child.n && trial.n) {
            auto_free char *id = str_dup(child);
            fn(arg, id, trial.p);
        }
    }
    if (d) {
        closedir(d);
    }
}
