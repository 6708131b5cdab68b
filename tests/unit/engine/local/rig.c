#include "rig.h"

#include "base/seg.h"
#include "engine/local/names.h"
#include "sys/cgroup.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define WAIT_LIMIT (60 * USEC_PER_SEC)

bool rig_possible(void) {
    if (geteuid() != 0) {
        fprintf(stderr, "SKIPPED: containers need root\n");
        return false;
    }
    if (access("/usr/bin/busybox", X_OK) < 0 && access("/bin/busybox", X_OK) < 0) {
        fprintf(stderr, "SKIPPED: busybox-static is not installed\n");
        return false;
    }
    return true;
}

static void must(int rc, const struct err *err) {
    if (rc < 0) {
        fail_msg("%s: %s", err_code_name(err->code), err->msg);
    }
}

static void run_shell(const char *script, const char *arg) {
    struct err err = {0};
    auto_buf struct buf out = BUF_INIT(65536);
    char *argv[] = {"sh", "-ec", (char *)script, "sh", (char *)arg, NULL};
    int status = 0;
    must(proc_run("/bin/sh", argv, STR(""), &out, &status, &err), &err);
    if (status != 0) {
        fail_msg("%s: %s", script, buf_cstr(&out));
    }
}

char *rig_make_dir(void) {
    char *dir = xstrdup("/tmp/cusp-engine-XXXXXX");
    assert_non_null(mkdtemp(dir));
    run_shell(
        "mkdir -p $1/rootfs/bin $1/rootfs/tmp $1/rootfs/etc $1/rootfs/root $1/rootfs/usr/bin\n"
        "cp $(command -v busybox) $1/rootfs/bin/busybox\n"
        "for a in $(busybox --list); do [ $a = busybox ] || ln -s busybox $1/rootfs/bin/$a; done\n"
        "echo root:x:0:0:root:/root:/bin/sh >$1/rootfs/etc/passwd\n"
        "cat >$1/rootfs/bin/pip3 <<'E'\n"
        "#!/bin/sh\n"
        "for f in \"$@\"; do :; done\n"
        "echo \"Processing $f\"\n"
        "grep -q broken $f && { echo 'ERROR: No matching distribution found for nothing' >&2; exit "
        "1; }\n"
        "mkdir -p $HOME/.local/lib && cp $f $HOME/.local/lib/\n"
        "E\n"
        "printf '#!/bin/sh\\nshift 2\\nls /root/.local/lib\\necho ran \"$@\"\\n' "
        ">$1/rootfs/bin/python3\n"
        "chmod 755 $1/rootfs/bin/pip3 $1/rootfs/bin/python3\n"
        "tar -C $1/rootfs -cf $1/bb.tar . && rm -r $1/rootfs",
        dir);
    struct err err = {0};
    auto_free char *store = xasprintf("%s/images", dir);
    auto_free char *tar = xasprintf("%s/bb.tar", dir);
    struct image_store *s = image_store_open(store, &err);
    must(s == NULL ? -1 : 0, &err);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct image img;
    must(image_import(s, tar, "bb", &img, a, &err), &err);
    image_store_close(s);
    return dir;
}

void rig_remove_dir(char *dir) {
    struct err err = {0};
    must(file_remove_tree(AT_FDCWD, dir, &err), &err);
    free(dir);
}

static int object_path(void *arg, const char *uri, char **ret, struct err *err) {
    struct rig *r = arg;
    struct str rest = str_of(uri);
    if (!str_starts(rest, STR("gs://"))) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is no gs:// URI", uri);
    }
    char *path = xasprintf("%s/buckets/%s", r->dir, uri + 5);
    if (access(path, F_OK) < 0) {
        free(path);
        return err_set(err, ERR_NOT_FOUND, "No such object: %s", uri);
    }
    *ret = path;
    return 0;
}

void rig_open(struct rig *r) {
    struct err err = {0};
    auto_free char *store = xasprintf("%s/images", r->dir);
    r->loop = loop_new();
    r->disk = lane_new(r->loop, "disk", 4);
    r->images = image_store_open(store, &err);
    must(r->images == NULL ? -1 : 0, &err);
    const char *extra[] = {"SITE=%GATEWAY%", NULL};
    const struct engine_local_opts o = {.loop = r->loop,
                                        .disk = r->disk,
                                        .data_dir = r->dir,
                                        .runner_path = getenv("CUSP_RUNNER"),
                                        .runtime = r->runtime != NULL ? r->runtime : "auto",
                                        .network = r->network != NULL ? r->network : "bridge",
                                        .subnet = "10.209.0.0/16",
                                        .images = r->images,
                                        .object_path = object_path,
                                        .object_arg = r,
                                        .extra_env = extra};
    r->engine = engine_local_new(&o, &err);
    must(r->engine == NULL ? -1 : 0, &err);
}

void rig_close(struct rig *r) {
    r->engine->ops->close(r->engine);
    lane_close(r->disk);
    image_store_close(r->images);
    loop_stop(r->loop);
    loop_run(r->loop);
    loop_free(r->loop);
    r->loop = NULL;
}

static void turn(struct rig *r, usec_t end, const char *what) {
    if (time_mono() > end) {
        fail_msg("waited in vain for %s", what);
    }
    uv_run(loop_uv(r->loop), UV_RUN_ONCE);
}

/* Keeps the loop from sleeping past the deadline. */
static void tick(uv_timer_t *t) {
    (void)t;
}

static void wait_until(struct rig *r, const bool *flag, const unsigned *count, unsigned n) {
    uv_timer_t t;
    usec_t end = time_mono() + WAIT_LIMIT;
    uv_timer_init(loop_uv(r->loop), &t);
    uv_timer_start(&t, tick, 1000, 1000);
    while (flag != NULL ? !*flag : *count < n) {
        turn(r, end, flag != NULL ? "an event" : "events");
    }
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(loop_uv(r->loop), UV_RUN_NOWAIT);
}

void rig_wait(struct rig *r, const bool *flag) {
    wait_until(r, flag, NULL, 0);
}

void rig_wait_count(struct rig *r, const unsigned *count, unsigned n) {
    wait_until(r, NULL, count, n);
}

/* -- sink ------------------------------------------------------------------------------------- */

static void on_step(struct attempt_run *a, enum stage_step step, usec_t took) {
    (void)a;
    (void)step;
    (void)took;
}
static void on_staged(struct attempt_run *a) {
    ((struct try *)a->owner)->staged = true;
}
static void on_note(struct attempt_run *a, int severity, const char *text) {
    (void)buf_printf(&((struct try *)a->owner)->notes, "%d %s\n", severity, text);
}
static void on_started(struct attempt_run *a, uint32_t i, const struct start_info *info) {
    struct try *t = a->owner;
    (void)i;
    (void)info;
    t->nr_started++;
    t->started_mono = time_mono();
}
static void on_exited(struct attempt_run *a, uint32_t i, const struct exit_info *x) {
    struct try *t = a->owner;
    (void)buf_printf(&t->measured, "exit %u\n", i);
    t->exits[i] = *x;
    t->nr_exited++;
}
static void on_lost(struct attempt_run *a, uint32_t i, const struct err *why) {
    struct try *t = a->owner;
    t->lost_why[i] = *why;
    t->nr_lost++;
}
static void on_failed(struct attempt_run *a, const struct err *why) {
    struct try *t = a->owner;
    assert_false(t->failed);
    t->why = *why;
    t->failed = true;
}
static void on_released(struct attempt_run *a) {
    struct try *t = a->owner;
    t->released = true;
    t->rig->nr_released++;
}

static void on_measured(struct attempt_run *a, uint32_t i, const struct metric_report *r,
                        size_t n) {
    struct try *t = a->owner;
    for (size_t k = 0; k < n; k++) {
        (void)buf_printf(&t->measured, "%u %s %g %lld %llu\n", i, r[k].tag, r[k].value,
                         (long long)r[k].step, (unsigned long long)r[k].timestamp);
    }
    t->nr_measured += (unsigned)n;
}

static const struct engine_sink sink = {.step = on_step,
                                        .staged = on_staged,
                                        .note = on_note,
                                        .replica_started = on_started,
                                        .measured = on_measured,
                                        .replica_exited = on_exited,
                                        .replica_lost = on_lost,
                                        .attempt_failed = on_failed,
                                        .released = on_released};

/* -- tries ------------------------------------------------------------------------------------ */

void try_init(struct try *t, struct rig *r, const char *id, const char *const *scripts,
              unsigned n) {
    static const char *none[] = {NULL};
    *t = (struct try){.rig = r, .notes = BUF_INIT(1 << 20), .measured = BUF_INIT(1 << 20)};
    for (unsigned i = 0; i < n; i++) {
        const char **v = t->argv[i];
        v[0] = "sh";
        v[1] = "-c";
        v[2] = scripts[i];
        t->pools[i] = (struct pool_spec){.replica_count = 1,
                                         .kind = TASK_CONTAINER,
                                         .image_uri = "bb",
                                         .command = v,
                                         .args = none};
        t->replicas[i] = (struct replica_run){
            .pool = i, .place = {.cpu_milli = 1000, .mem_bytes = (uint64_t)128 << 20}};
        names_replica(i, 0, t->replicas[i].name);
    }
    t->spec = (struct job_spec){.id = id,
                                .name = id,
                                .project_id = "p",
                                .project_number = 1,
                                .location = "us-central1",
                                .pools = t->pools,
                                .nr_pools = n};
    t->run = (struct attempt_run){.spec = &t->spec,
                                  .attempt = 1,
                                  .replicas = t->replicas,
                                  .nr_replicas = n,
                                  .sink = &sink,
                                  .owner = t};
    (void)snprintf(t->run.nonce, sizeof(t->run.nonce), "0123456789abcdef0123456789abcdef");
}

void try_fini(struct try *t) {
    buf_fini(&t->notes);
    buf_fini(&t->measured);
}

static void check_failed_staging(struct try *t) {
    if (t->failed) {
        fail_msg("attempt failed: %s: %s", err_code_name(t->why.code), t->why.msg);
    }
}

void try_stage(struct try *t) {
    struct err err = {0};
    must(t->rig->engine->ops->stage(t->rig->engine, &t->run, &err), &err);
}

void try_launch(struct try *t) {
    struct err err = {0};
    if (t->run.priv == NULL) {
        try_stage(t);
    }
    usec_t end = time_mono() + WAIT_LIMIT;
    while (!t->staged && !t->failed) {
        turn(t->rig, end, "staged");
    }
    check_failed_staging(t);
    must(t->rig->engine->ops->launch(t->rig->engine, &t->run, &err), &err);
    while (t->nr_started < t->run.nr_replicas && !t->failed) {
        turn(t->rig, end, "started");
    }
}

void try_wait_exits(struct try *t, unsigned n) {
    check_failed_staging(t);
    usec_t end = time_mono() + WAIT_LIMIT;
    while (t->nr_exited + t->nr_lost < n) {
        turn(t->rig, end, "exits");
    }
}

void try_release(struct try *t) {
    t->rig->engine->ops->release(t->rig->engine, &t->run);
    rig_wait(t->rig, &t->released);
}

void rig_drain(struct rig *r) {
    struct lane_stats s;
    usec_t end = time_mono() + WAIT_LIMIT;
    uv_timer_t t;
    uv_timer_init(loop_uv(r->loop), &t);
    uv_timer_start(&t, tick, 10, 10);
    for (lane_get_stats(r->disk, &s); s.depth > 0; lane_get_stats(r->disk, &s)) {
        turn(r, end, "the disk lane");
    }
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(loop_uv(r->loop), UV_RUN_NOWAIT);
}

/* -- looking ---------------------------------------------------------------------------------- */

char *rig_file(struct rig *r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *name = NULL;
    assert_true(vasprintf(&name, fmt, ap) >= 0);
    va_end(ap);
    auto_free char *path = xasprintf("%s/%s", r->dir, name);
    free(name);
    auto_buf struct buf b = BUF_INIT(16 << 20);
    return file_read(AT_FDCWD, path, &b, NULL) < 0 ? xstrdup("") : buf_take(&b, NULL);
}

char *rig_log(struct rig *r, const char *id, const char *replica, int stream) {
    auto_free char *path = xasprintf("%s/logs/%s/a1/%s/out.000000.seg", r->dir, id, replica);
    auto_buf struct buf b = BUF_INIT(64 << 20), out = BUF_INIT(64 << 20);
    struct seg_frame f;
    ssize_t n;
    if (file_read(AT_FDCWD, path, &b, NULL) < 0) {
        return xstrdup("(no log)");
    }
    struct str rest = str_sub(buf_str(&b), SEG_FILE_HEADER_LEN, b.n);
    while ((n = seg_decode(rest, &f)) > 0) {
        if (f.stream == stream) {
            (void)buf_printf(&out, "%.*s\n", STR_ARG(f.payload));
        }
        rest = str_sub(rest, (size_t)n, rest.n);
    }
    return buf_take(&out, NULL);
}

static size_t entries(const char *path, bool hidden_too, char *first, size_t size) {
    DIR *d = opendir(path);
    size_t n = 0;
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (!hidden_too && e->d_name[0] == '.')) {
            continue;
        }
        if (n++ == 0) {
            (void)snprintf(first, size, "%s/%s", path, e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

static bool find_interface(const char *instance, char *ret, size_t size) {
    char prefix[8];
    bool found = false;
    (void)snprintf(prefix, sizeof(prefix), "cv%.4s", instance);
    DIR *d = opendir("/sys/class/net");
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, prefix, 6) == 0) {
            (void)snprintf(ret, size, "%s", e->d_name);
            found = true;
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

void rig_expect_clean(struct rig *r) {
    char first[512] = "", instance[NAMES_INSTANCE_SIZE];
    struct cgroup_layout cg;
    struct err err = {0};
    auto_free char *run = xasprintf("%s/run", r->dir);
    if (entries(run, true, first, sizeof(first)) > 0) {
        fail_msg("left behind: %s", first);
    }
    names_instance(r->dir, instance);
    must(cgroup_layout_open(&cg, &err), &err);
    for (size_t i = 0; i < cg.nr; i++) {
        auto_free char *path = xasprintf("%s/cusp/%s", cg.h[i].mount, instance);
        DIR *d = opendir(path);
        struct dirent *e;
        while (d != NULL && (e = readdir(d)) != NULL) {
            if (e->d_type == DT_DIR && e->d_name[0] != '.' && strcmp(e->d_name, "runners") != 0) {
                fail_msg("cgroup left behind: %s/%s", path, e->d_name);
            }
        }
        if (d != NULL) {
            closedir(d);
        }
    }
    cgroup_layout_close(&cg);
    /* The kernel takes a dead network namespace apart in its own time, interfaces included. */
    usec_t end = time_mono() + WAIT_LIMIT;
    while (find_interface(instance, first, sizeof(first))) {
        if (time_mono() > end) {
            fail_msg("interface left behind: %s", first);
        }
        (void)sched_yield();
    }
    auto_buf struct buf mounts = BUF_INIT(4 << 20);
    must(file_read(AT_FDCWD, "/proc/self/mountinfo", &mounts, &err), &err);
    if (str_find(buf_str(&mounts), str_of(run)) >= 0) {
        fail_msg("mount left behind below %s", run);
    }
}
