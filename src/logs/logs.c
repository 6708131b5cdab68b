/* The logs object: opening and closing. */
#include "logs/logs_int.h"
#include "logs/written.h"

#include "base/rng.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made once; another one would only spoil page tokens that are out. */
static int load_key(struct logs *g, struct err *err) {
    auto_buf struct buf b = BUF_INIT(LOGS_KEY_BYTES);
    auto_close int dir = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_sys(err, errno, "open log directory");
    }
    if (file_read(dir, "page.key", &b, NULL) || b.n != LOGS_KEY_BYTES) {
        rng_secret(g->page_key, sizeof(g->page_key));
        return file_write_atomic(dir, "page.key", str_n((char *)g->page_key, sizeof(g->page_key)),
                                 0600, FILE_NO_SYNC, err);
    }
    memcpy(g->page_key, b.p, sizeof(g->page_key));
    return 0;
}

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
    g->written = written_new(g);
    if (load_key(g, err)) {
        logs_close(g);
        return NULL;
    }
    return g;
}

void logs_set_strict(struct logs *g, bool strict) {
    g->strict = strict;
}

const uint8_t *logs_page_key(const struct logs *g) {
    return g->page_key;
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
    written_free(g->written);
    retain_free(g->retain);
    free(g->dir);
    free(g);
}

void logs_service(struct logs *g, const char *job_id, usec_t when, int severity, const char *text) {
    service_append(g, job_id, when, severity, text, false);
}

void logs_set_owner(struct logs *g, const char *job_id, uint64_t project) {
    service_set_owner(g, job_id, project);
}

void logs_service_end(struct logs *g, const char *job_id) {
    service_append(g, job_id, time_wall(), 200, "", true);
}
