/* See datasets.h. */
#include "api/datasets.h"

#include "api/datasets_int.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rec.h"
#include "blob/blob.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READ_THREADS 2

void datasets_check_stopped(struct datasets *d) {
    if (d->stop_cb && list_is_empty(&d->edits) && d->tidies == 0) {
        loop_post(d->loop, &d->stop_task);
    }
}

static void on_stopped(struct loop_task *t) {
    struct datasets *d = CONTAINER_OF(t, struct datasets, stop_task);
    void (*cb)(void *) = d->stop_cb;
    d->stop_cb = NULL;
    if (cb) {
        cb(d->stop_arg);
    }
}

struct datasets *datasets_new(struct api *api, struct loop *loop, struct blob *blob,
                              const char *data_dir, struct err *err) {
    struct datasets *d = xcalloc(1, sizeof(*d));
    d->api = api;
    d->loop = loop;
    d->blob = blob;
    d->dir = xasprintf("%s/datasets", data_dir);
    if (file_mkdirs(AT_FDCWD, d->dir, 0750, err)) {
        free(d->dir);
        free(d);
        return NULL;
    }
    list_init(&d->edits);
    list_init(&d->views);
    list_init(&d->ready);
    map_init(&d->turns);
    loop_task_init(&d->stop_task, on_stopped);
    turns_init(d);
    d->edit_lane = lane_new(loop, "imports", (unsigned)limits.max_imports);
    d->read_lane = lane_new(loop, "items", READ_THREADS);
    return d;
}

void datasets_stop(struct datasets *d, void (*cb)(void *arg), void *arg) {
    struct dataset_edit *e;
    d->stopping = true;
    d->stop_cb = cb;
    d->stop_arg = arg;
    list_each (e, &d->edits, link) {
        dataset_edit_cancel(e);
    }
    datasets_check_stopped(d);
}

void datasets_free(struct datasets *d) {
    if (!d) {
        return;
    }
    CHECK(list_is_empty(&d->edits) && d->turns.n == 0);
    lane_close(d->edit_lane);
    lane_close(d->read_lane);
    loop_unpost(d->loop, &d->stop_task);
    loop_unpost(d->loop, &d->ready_task);
    map_fini(&d->turns);
    free(d->dir);
    free(d);
}

struct loop *datasets_loop(struct datasets *d) {
    return d->loop;
}

struct blob *datasets_blob(struct datasets *d) {
    return d->blob;
}

struct lane *datasets_lane(struct datasets *d) {
    return d->read_lane;
}

void datasets_count_import(struct datasets *d, bool is_done, uint64_t lines, uint64_t refused) {
    d->stats.imports_done += is_done;
    d->stats.imports_failed += !is_done;
    d->stats.import_lines += lines - refused;
    d->stats.import_lines_refused += refused;
}

void datasets_get_stats(const struct datasets *d, struct datasets_stats *ret) {
    *ret = d->stats;
}

/* ---- status ---- */

int dataset_status_decode(const struct store_row *row, struct dataset_status *ret,
                          struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec r = {0};
    if (row->status.n && rec_parse(a, row->status, &r, err)) {
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    *ret = (struct dataset_status){
        .file = rec_get_u64(&r, "file", 0),
        .counts = {.items = rec_get_u64(&r, "items", 0),
                   .annotations = rec_get_u64(&r, "annotations", 0),
                   .specs = rec_get_u64(&r, "specs", 0)},
    };
    for (unsigned i = 1; i < ML_USE_NR; i++) {
        ret->counts.of_use[i] = rec_get_u64(&r, ml_use_name((enum ml_use)i), 0);
    }
    return 0;
}

void dataset_status_encode(struct buf *b, const struct dataset_status *s) {
    rec_begin(b);
    rec_put_u64(b, "file", s->file);
    rec_put_u64(b, "items", s->counts.items);
    rec_put_u64(b, "annotations", s->counts.annotations);
    rec_put_u64(b, "specs", s->counts.specs);
    for (unsigned i = 1; i < ML_USE_NR; i++) {
        rec_put_u64(b, ml_use_name((enum ml_use)i), s->counts.of_use[i]);
    }
}

/* ---- names and folders ---- */

/* "projects/1/locations/us-central1/datasets/9[/datasetVersions/2]" -> "1_us-central1_9". */
static bool folder_name(struct buf *b, struct str name) {
    struct str part[6] = {{0}};
    for (size_t i = 0; i < NR_OF(part); i++) {
        part[i] = str_cut(&name, '/');
    }
    if (!part[1].n || !part[3].n || !part[5].n) {
        return false;
    }
    buf_printf(b, "%.*s_%.*s_%.*s", STR_ARG(part[1]), STR_ARG(part[3]), STR_ARG(part[5]));
    return true;
}

char *dataset_folder(const struct datasets *d, struct str name) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b, "%s/", d->dir);
    CHECK(folder_name(&b, name));
    return buf_take(&b, NULL);
}

char *dataset_file(const struct datasets *d, struct str name, uint64_t file) {
    auto_free char *folder = dataset_folder(d, name);
    return xasprintf("%s/%llu.db", folder, (unsigned long long)file);
}

/* The dataset's own name, of its versions too. */
static struct str dataset_name(struct str row_name) {
    ptrdiff_t at = str_find(row_name, STR("/datasetVersions/"));
    return at < 0 ? row_name : str_sub(row_name, 0, (size_t)at);
}

uint64_t dataset_next_file(struct datasets *d) {
    uint64_t now = d->api->clock->ops->wall(d->api->clock);
    d->last_file = now > d->last_file ? now : d->last_file + 1;
    return d->last_file;
}

/* ---- views ---- */

struct dataset_view *dataset_view_take(struct datasets *d, const struct store_row *row) {
    struct dataset_view *v = xcalloc(1, sizeof(*v));
    struct dataset_status st;
    v->d = d;
    v->name = str_dup(dataset_name(row->name));
    if (dataset_status_decode(row, &st, NULL) == 0 && st.file) {
        v->file = st.file;
        v->path = dataset_file(d, row->name, st.file);
    }
    list_push_tail(&d->views, &v->link);
    d->stats.views_held++;
    return v;
}

const char *dataset_view_path(const struct dataset_view *v) {
    return v->path ? v->path : "";
}

void dataset_view_release(struct dataset_view *v) {
    if (!v) {
        return;
    }
    list_del(&v->link);
    v->d->stats.views_held--;
    if (v->was_in_the_way) {
        datasets_tidy(v->d, str_of(v->name));
    }
    free(v->name);
    free(v->path);
    free(v);
}

/* ---- tidying: which files does nobody name? ---- */

struct tidy {
    struct datasets *d;
    struct str name;
    struct dataset_turn turn;
    struct arena *a;
    struct store_get get;
    struct store_list list;
    bool is_gone, failed;
    uint64_t before; /* younger files are not looked at */
    VEC_OF(uint64_t) keep;
    struct lane_work work;
    uint64_t removed;
    bool from_start; /* one of datasets_recover's */
};

static void recover_next(struct datasets *d);

static void tidy_end(struct tidy *t) {
    struct datasets *d = t->d;
    bool from_start = t->from_start;
    d->stats.files_removed += t->removed;
    dataset_turn_release(d, &t->turn);
    vec_fini(&t->keep);
    arena_free(t->a);
    free(t);
    d->tidies--;
    if (from_start) {
        recover_next(d);
    }
    datasets_check_stopped(d);
}

static bool is_kept(const struct tidy *t, uint64_t file) {
    for (size_t i = 0; i < t->keep.n; i++) {
        if (t->keep.p[i] == file) {
            return true;
        }
    }
    return file >= t->before;
}

static void tidy_run(struct lane_work *w) {
    struct tidy *t = CONTAINER_OF(w, struct tidy, work);
    auto_free char *folder = dataset_folder(t->d, t->name);
    DIR *dir = opendir(folder);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        struct str n = str_of(e->d_name);
        uint64_t file;
        if (str_ends(n, STR(".db")) && str_to_u64(str_sub(n, 0, n.n - 3), &file) &&
            !is_kept(t, file) && unlinkat(dirfd(dir), e->d_name, 0) == 0) {
            t->removed++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    if (t->is_gone) {
        (void)rmdir(folder); /* not while somebody reads one of its files */
    }
}

static void tidy_done(struct lane_work *w) {
    tidy_end(CONTAINER_OF(w, struct tidy, work));
}

/* Everything is known of the rows; what is being read or written is known here. */
static void tidy_decide(struct tidy *t) {
    struct datasets *d = t->d;
    struct dataset_view *v;
    struct dataset_edit *e;
    if (t->failed || d->stopping) {
        tidy_end(t);
        return;
    }
    list_each (v, &d->views, link) {
        if (v->file && str_eqc(t->name, v->name) && !is_kept(t, v->file)) {
            vec_push(&t->keep, v->file);
            v->was_in_the_way = true;
        }
    }
    list_each (e, &d->edits, link) {
        vec_push(&t->keep, e->file);
    }
    t->before = dataset_next_file(d);
    t->work = (struct lane_work){.run = tidy_run, .done = tidy_done};
    lane_submit(d->read_lane, &t->work);
}

static void keep_file_of(struct tidy *t, const struct store_row *row) {
    struct dataset_status st;
    if (dataset_status_decode(row, &st, NULL)) {
        t->failed = true; /* not knowing what is named, nothing is removed */
        return;
    }
    vec_push(&t->keep, st.file);
}

static void on_versions(struct store_list *l, const struct store_row *rows, size_t nr,
                        struct str next_token, const struct err *err) {
    struct tidy *t = l->arg;
    t->failed = t->failed || err;
    for (size_t i = 0; i < nr; i++) {
        keep_file_of(t, &rows[i]);
    }
    if (!t->failed && next_token.n) {
        t->list.page_token = next_token;
        t->d->api->store->ops->list(t->d->api->store, &t->list);
        return;
    }
    tidy_decide(t);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct tidy *t = g->arg;
    t->failed = err && err->code != ERR_NOT_FOUND;
    t->is_gone = !row;
    if (row) {
        keep_file_of(t, row);
    }
    t->before = UINT64_MAX;
    t->list = (struct store_list){.kind = STR(DATASET_VERSION_KIND),
                                  .parent = t->name,
                                  .order = STORE_ORDER_CREATE_TIME,
                                  .page_size = 1000,
                                  .arena = t->a,
                                  .cb = on_versions,
                                  .arg = t};
    t->d->api->store->ops->list(t->d->api->store, &t->list);
}

static void on_tidy_turn(struct dataset_turn *turn) {
    struct tidy *t = CONTAINER_OF(turn, struct tidy, turn);
    t->get = (struct store_get){.name = t->name, .arena = t->a, .cb = on_row, .arg = t};
    t->d->api->store->ops->get(t->d->api->store, &t->get);
}

static void tidy_start(struct datasets *d, struct str name, bool from_start) {
    struct tidy *t = xcalloc(1, sizeof(*t));
    t->d = d;
    t->a = arena_new(ARENA_NO_MAX);
    t->name = arena_str(t->a, name);
    t->from_start = from_start;
    t->turn.fn = on_tidy_turn;
    d->tidies++;
    dataset_turn_take(d, &t->turn, t->name);
}

void datasets_tidy(struct datasets *d, struct str name) {
    if (!d->stopping) {
        tidy_start(d, name, false); /* else at the next start */
    }
}

/* ---- start ---- */

static void on_recovered(struct loop_task *t) {
    struct datasets *d = CONTAINER_OF(t, struct datasets, recover_task);
    void (*cb)(void *, const struct err *) = d->recover_cb;
    d->recover_cb = NULL;
    cb(d->recover_arg, NULL);
    recover_next(d);
}

/* "1_us-central1_9" -> the dataset's name. */
static bool name_of_folder(struct buf *b, struct str folder) {
    struct str project = str_cut(&folder, '_');
    struct str location = str_cut(&folder, '_');
    uint64_t number;
    if (!str_to_u64(project, &number) || !location.n || !str_to_u64(folder, &number)) {
        return false;
    }
    buf_printf(b, "projects/%.*s/locations/%.*s/datasets/%.*s", STR_ARG(project), STR_ARG(location),
               STR_ARG(folder));
    return true;
}

/* One folder after the other, while the server works already: nothing depends on it. */
static void recover_next(struct datasets *d) {
    struct dirent *e;
    while (d->recover_dir && !d->stopping && (e = readdir(d->recover_dir))) {
        auto_buf struct buf name = BUF_INIT(1024);
        if (name_of_folder(&name, str_of(e->d_name))) {
            tidy_start(d, buf_str(&name), true);
            return;
        }
    }
    if (d->recover_dir) {
        closedir(d->recover_dir);
        d->recover_dir = NULL;
    }
}

void datasets_recover(struct datasets *d, void (*cb)(void *arg, const struct err *err), void *arg) {
    d->recover_cb = cb;
    d->recover_arg = arg;
    d->recover_dir = opendir(d->dir);
    loop_task_init(&d->recover_task, on_recovered);
    loop_post(d->loop, &d->recover_task);
}
