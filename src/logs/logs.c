/* The logs object: opening and closing. */
#include "logs/logs_int.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct logs *logs_open(struct loop *l, struct lane *disk, const char *data_dir, struct err *err) {
    auto_free char *dir = xasprintf("%s/logs", data_dir);
    if (mkdir(dir, 0750) && errno != EEXIST) {
        err_sys(err, errno, "make log directory");
        return NULL;
    }
    struct logs *g = xcalloc(1, sizeof(*g));
    g->loop = l;
    g->disk = disk;
    g->safety_poll = USEC_PER_SEC;
    g->dir = take(&dir);
    map_init(&g->writers);
    list_init(&g->follows);
    return g;
}

/* After the disk lane is closed: nothing of ours is in flight any more. */
void logs_close(struct logs *g) {
    if (!g) {
        return;
    }
    follow_stop_all(g);
    size_t it = 0;
    const struct map_slot *s;
    while ((s = map_next(&g->writers, &it))) {
        service_forget(g, s->key);
        it = 0;
    }
    map_fini(&g->writers);
    free(g->dir);
    free(g);
}

void logs_service(struct logs *g, const char *job_id, usec_t when, int severity, const char *text) {
    service_append(g, job_id, when, severity, text, false);
}

void logs_service_end(struct logs *g, const char *job_id) {
    service_append(g, job_id, time_wall(), 200, "", true);
}
