/* Package layers. An installation is a container like a job's: same image, same runner, its own run
 * directory (DIR/run/pkgs/a1/KEY-RANDOM), its output in the log of the job that asked first as task
 * "packages". When it ends well its overlay upper directory becomes the layer, by one rename. */
#include "engine/local/packages.h"

#include "base/enc.h"
#include "base/fail.h"
#include "base/jw.h"
#include "base/rec.h"
#include "base/rng.h"
#include "engine/local/env.h"
#include "engine/local/local_int.h"
#include "engine/local/rundirs.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYER_FORMAT "cusp-pkgs 1" /* part of the key: another way to install is another layer */
#define HEX_LEN 64
#define INSTALL_LIMIT (30 * 60 * USEC_PER_SEC)
#define MOUNT_POINT "/var/tmp/cusp-packages"
#define TAIL_LINES 10

/* What pip is run with besides the image's environment. The root of a container is the owner of the
 * whole system in it, so pip's doubts about root and about the distribution's packages are moot. */
static const char *const pip_defaults[] = {"PIP_BREAK_SYSTEM_PACKAGES=1",
                                           "PIP_ROOT_USER_ACTION=ignore",
                                           "PIP_NO_CACHE_DIR=1",
                                           "PIP_DISABLE_PIP_VERSION_CHECK=1",
                                           "PIP_NO_INPUT=1",
                                           "PIP_PROGRESS_BAR=off",
                                           "PYTHONUNBUFFERED=1"};
/* Taken from the server's own environment: where packages come from is a matter of the site. */
static const char *const pip_inherited[] = {
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",   "HTTP_PROXY",          "HTTPS_PROXY",      "NO_PROXY",
    "http_proxy",    "https_proxy",         "no_proxy"};

/* The two commands of the prebuilt runner for every file. A source distribution is first built with
 * the image's own setuptools: that needs no network and gives the same files; where it does not
 * work, pip gets its way. */
static const char install_script[] =
    "i=0\n"
    "p() {\n"
    "  case $f in\n"
    "  *.whl) ;;\n"
    "  *) if python3 -c 'import setuptools, wheel' >/dev/null 2>&1; then\n"
    "       pip3 install --user --no-build-isolation \"$@\" \"$f\" && return 0\n"
    "     fi ;;\n"
    "  esac\n"
    "  pip3 install --user \"$@\" \"$f\"\n"
    "}\n"
    "for f in \"$@\"; do\n"
    "  echo $i >" MOUNT_POINT "/current\n"
    "  p --upgrade --force-reinstall --no-deps || exit 1\n"
    "  p || exit 1\n"
    "  i=$((i+1))\n"
    "done\n";

struct pkg_install {
    struct list link; /* eng->installs */
    struct local *eng;
    struct arena *arena;
    char *key;
    struct list waiters; /* local_attempt.install_link */
    bool abandoned, ended_ok;
    struct sup sup;
    struct timer limit;
    struct lane_work work;
    /* Inputs, all in the arena; read on the lane. */
    const char *dir, *cgroup_name, *log_dir, *job, *layer;
    const char **uris, **lowers, **image_env;
    const char *home;
    struct image_user user;
    uint64_t mem_bytes;
    uint32_t cpu_milli;
    /* lane: */
    int rc;
    struct err err;
    struct exit_info exit;
};

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* -- lane: key --------------------------------------------------------------------------------- */

/* Digest of the file at path; with to_fd >= 0 its bytes are copied there on the way. */
static int digest_file(const char *path, int to_fd, char ret_hex[HEX_LEN + 1], struct err *err) {
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    auto_free char *chunk = xmalloc(1 << 16);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1);
    uint64_t total = 0;
    int rc = fd < 0 ? err_sys(err, errno, "open") : 0;
    while (rc == 0) {
        ssize_t n = read(fd, chunk, 1 << 16);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n < 0 ? err_sys(err, errno, "read") : 0;
            break;
        }
        total += (uint64_t)n;
        if (total > PACKAGES_MAX_BYTES) {
            rc = err_set(err, ERR_INVALID_ARGUMENT, "larger than %" PRIu64 " bytes",
                         PACKAGES_MAX_BYTES);
        } else if (to_fd >= 0) {
            rc = file_write_all(to_fd, str_n(chunk, (size_t)n), err);
        }
        CHECK(EVP_DigestUpdate(ctx, chunk, (size_t)n) == 1);
    }
    unsigned char raw[EVP_MAX_MD_SIZE];
    CHECK(EVP_DigestFinal_ex(ctx, raw, NULL) == 1);
    EVP_MD_CTX_free(ctx);
    struct buf hex = BUF_INIT(HEX_LEN + 1);
    enc_hex(&hex, raw, HEX_LEN / 2);
    (void)snprintf(ret_hex, HEX_LEN + 1, "%s", buf_cstr(&hex));
    buf_fini(&hex);
    return rc;
}

static int digest_uri(struct local *eng, const char *uri, int to_fd, char ret_hex[HEX_LEN + 1],
                      struct err *err) {
    char *path = NULL;
    if (eng->opts.object_path == NULL) {
        return err_set(err, ERR_FAILED_PRECONDITION, "package %s: there is no object storage", uri);
    }
    int rc = eng->opts.object_path(eng->opts.object_arg, uri, &path, err);
    if (rc == 0) {
        rc = digest_file(path, to_fd, ret_hex, err);
    }
    free(path);
    return rc < 0 ? err_wrap(err, "package %s could not be downloaded", uri) : 0;
}

int packages_key(struct local_attempt *a, uint32_t pool, bool *ret_ready, struct err *err) {
    struct local *eng = a->eng;
    struct local_pool *lp = &a->pools[pool];
    const char **uris = a->run->spec->pools[pool].package_uris;
    auto_buf struct buf id = BUF_INIT(1 << 20);
    (void)buf_printf(&id, "%s\n%s\n%u:%u %s\n", LAYER_FORMAT, lp->image.digest, lp->user.uid,
                     lp->user.gid, lp->user.home != NULL ? lp->user.home : "");
    size_t nr = 0;
    while (uris[nr] != NULL) {
        nr++;
    }
    lp->pkg_digests = arena_calloc(a->arena, nr + 1, sizeof(*lp->pkg_digests));
    for (size_t i = 0; i < nr; i++) {
        char hex[HEX_LEN + 1];
        if (digest_uri(eng, uris[i], -1, hex, err) < 0) {
            return -1;
        }
        lp->pkg_digests[i] = arena_printf(a->arena, "sha256:%s", hex);
        (void)buf_printf(&id, "%s %s\n", hex, base_name(uris[i]));
    }
    unsigned char raw[EVP_MAX_MD_SIZE];
    CHECK(EVP_Digest(id.p, id.n, raw, NULL, EVP_sha256(), NULL) == 1);
    auto_buf struct buf hex = BUF_INIT(HEX_LEN + 1);
    enc_hex(&hex, raw, HEX_LEN / 2);
    lp->pkg_key = arena_strdup(a->arena, buf_cstr(&hex));
    lp->pkg_layer = arena_printf(a->arena, "%s/%s/fs", eng->pkg_root, lp->pkg_key);
    *ret_ready = access(lp->pkg_layer, F_OK) == 0;
    if (*ret_ready && a->took_packages == 0) {
        attempt_note_later(a, 200, "Packages are installed already (layer %.12s).", lp->pkg_key);
    }
    return 0;
}

/* -- lane: preparing the container ------------------------------------------------------------- */

static const char **install_env(struct pkg_install *p) {
    struct env e = {.arena = p->arena};
    for (size_t i = 0; p->image_env != NULL && p->image_env[i] != NULL; i++) {
        struct str rest = str_of(p->image_env[i]);
        struct str name = str_cut(&rest, '=');
        if (rest.p != NULL) {
            env_set(&e, arena_strndup(p->arena, name.p, name.n), rest.p, false);
        }
    }
    if (env_get(&e, "PATH") == NULL) {
        env_set(&e, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", false);
    }
    if (env_get(&e, "HOME") == NULL) {
        env_set(&e, "HOME", p->home != NULL ? p->home : "/", false);
    }
    for (size_t i = 0; i < NR_OF(pip_defaults); i++) {
        struct str rest = str_of(pip_defaults[i]);
        struct str name = str_cut(&rest, '=');
        env_set(&e, arena_strndup(p->arena, name.p, name.n), rest.p, false);
    }
    for (size_t i = 0; i < NR_OF(pip_inherited); i++) {
        const char *v = getenv(pip_inherited[i]);
        if (v != NULL) {
            env_set(&e, pip_inherited[i], v, false);
        }
    }
    return env_strings(&e);
}

/* files/N/NAME in the run directory, so that two packages of one name do not meet. */
static int copy_packages(struct pkg_install *p, const char *files, struct err *err) {
    for (size_t i = 0; p->uris[i] != NULL; i++) {
        auto_free char *dir = xasprintf("%s/%zu", files, i);
        auto_free char *path = xasprintf("%s/%s", dir, base_name(p->uris[i]));
        char hex[HEX_LEN + 1];
        if (file_mkdirs(AT_FDCWD, dir, 0755, err) < 0) {
            return -1;
        }
        auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0) {
            return err_sys(err, errno, "package %s", p->uris[i]);
        }
        if (digest_uri(p->eng, p->uris[i], fd, hex, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int prepare(struct pkg_install *p, struct err *err) {
    struct local *eng = p->eng;
    size_t nr = 0;
    while (p->uris[nr] != NULL) {
        nr++;
    }
    const char **argv = arena_calloc(p->arena, nr + 5, sizeof(*argv));
    argv[0] = "/bin/sh";
    argv[1] = "-c";
    argv[2] = install_script;
    argv[3] = "sh";
    for (size_t i = 0; i < nr; i++) {
        argv[4 + i] = arena_printf(p->arena, MOUNT_POINT "/%zu/%s", i, base_name(p->uris[i]));
    }
    auto_free char *files = xasprintf("%s/files", p->dir);
    auto_buf struct buf resolv = BUF_INIT(65536);
    char addr[IPAM_ADDR_SIZE] = "", veth[NAMES_VETH_SIZE];
    if (strcmp(eng->probe.net, "bridge") == 0 && ipam_take(&eng->ipam, p->dir, addr, err) < 0) {
        return -1;
    }
    local_resolv(eng, &resolv);
    names_veth(eng->instance, PACKAGES_JOB, 1, p->cgroup_name, veth);
    const struct bundle_mount mounts[] = {{files, MOUNT_POINT, false}};
    struct rundir_plan plan = {
        .job = PACKAGES_JOB,
        .replica = "packages",
        .nonce = "packages",
        .attempt = 1,
        .log_dir = p->log_dir,
        .container = arena_printf(p->arena, "cusp-%s-%s", eng->instance, p->cgroup_name),
        .lowers = p->lowers,
        .cgroup = arena_printf(p->arena, "/cusp/%s/%s", eng->instance, p->cgroup_name),
        .runner_cgroup = arena_printf(p->arena, "/cusp/%s/runners", eng->instance),
        .mem_bytes = p->mem_bytes,
        .cpu_milli = p->cpu_milli,
        .veth = veth,
        .addr = arena_printf(p->arena, "%s/%u", addr, eng->ipam.prefix_len),
        .hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
        .resolv = buf_cstr(&resolv),
        .hostname = "packages",
        .bundle = {.argv = argv,
                   .env = install_env(p),
                   .cwd = "/",
                   .uid = p->user.uid,
                   .gid = p->user.gid,
                   .extra_gids = p->user.extra_gids,
                   .nr_extra_gids = p->user.nr_extra,
                   .mounts = mounts,
                   .nr_mounts = NR_OF(mounts),
                   .shm_bytes = (uint64_t)64 << 20}};
    local_plan_common(eng, &plan);
    if (rundir_create(p->dir, &plan, err) < 0) {
        return -1;
    }
    if (copy_packages(p, files, err) < 0) {
        return -1;
    }
    /* pip writes nothing there, but our script does, as the image's user */
    return chown(files, p->user.uid, p->user.gid) < 0
               ? err_sys(err, errno, "give the packages away")
               : 0;
}

static void prepare_run(struct lane_work *w) {
    struct pkg_install *p = CONTAINER_OF(w, struct pkg_install, work);
    p->rc = prepare(p, &p->err);
}

/* -- lane: keeping the result ------------------------------------------------------------------ */

/* The last lines of what pip said, and which package it was about. */
static void explain(struct pkg_install *p) {
    auto_free char *path = xasprintf("%s/files/current", p->dir);
    auto_buf struct buf b = BUF_INIT(64);
    uint64_t at = 0;
    size_t nr = 0;
    while (p->uris[nr] != NULL) {
        nr++;
    }
    if (file_read(AT_FDCWD, path, &b, NULL) < 0 ||
        !str_to_u64(str_n(b.p, b.n ? b.n - 1 : 0), &at) || at >= nr) {
        at = 0;
    }
    /* When the package's own build failed pip ends with advice that tells nothing; what the build
     * said stands before it. */
    static const char advice[] = "note: This error originates from a subprocess";
    auto_free char *tail = xstrdup(p->exit.stderr_tail);
    char *last = NULL;
    for (char *s = strstr(tail, advice); s != NULL; s = strstr(s + 1, advice)) {
        last = s;
    }
    size_t n = last != NULL ? (size_t)(last - tail) : strlen(tail), lines = 0;
    while (n > 0 && strchr(" \n", tail[n - 1]) != NULL) {
        n--;
    }
    tail[n] = 0;
    while (n > 0 && !(tail[n - 1] == '\n' && ++lines >= TAIL_LINES)) {
        n--;
    }
    const char *what = p->exit.kind == EXIT_OOM       ? "out of memory"
                       : p->exit.kind == EXIT_RUNTIME ? p->exit.why
                       : tail[n] != 0                 ? tail + n
                                                      : "pip failed";
    (void)err_set(&p->err, p->exit.kind == EXIT_OOM ? ERR_RESOURCE_EXHAUSTED : ERR_INVALID_ARGUMENT,
                  "package %s could not be installed:%s%.800s", p->uris[at],
                  strchr(what, '\n') ? "\n" : " ", what);
}

static int keep_layer(struct pkg_install *p, struct err *err) {
    struct local *eng = p->eng;
    auto_free char *upper = xasprintf("%s/upper", p->dir);
    auto_free char *tmp = xasprintf("%s/.tmp-%s", eng->pkg_root, base_name(p->dir));
    auto_free char *fs = xasprintf("%s/fs", tmp);
    auto_free char *info = xasprintf("%s/info", tmp);
    auto_free char *final = xasprintf("%s/%s", eng->pkg_root, p->key);
    auto_buf struct buf text = BUF_INIT(1 << 20);
    rec_begin(&text);
    rec_puts(&text, "format", LAYER_FORMAT);
    for (size_t i = 0; p->uris[i] != NULL; i++) {
        rec_puts(&text, "package", p->uris[i]);
    }
    /* What the mount points left behind is no part of the layer. */
    auto_free char *point = xasprintf("%s" MOUNT_POINT, upper);
    (void)!file_remove_tree(AT_FDCWD, point, NULL);
    if (file_mkdirs(AT_FDCWD, tmp, 0755, err) < 0) {
        return -1;
    }
    if (rename(upper, fs) < 0) {
        return err_sys(err, errno, "keep the installed packages");
    }
    if (file_write_atomic(AT_FDCWD, info, buf_str(&text), 0644, FILE_NO_SYNC, err) < 0) {
        return -1;
    }
    /* All its files at once: a layer that a power cut emptied would be used for ever. */
    auto_close int fd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) < 0) {
        return err_sys(err, errno, "sync the installed packages");
    }
    if (FAIL_POINT("engine.pkgs.before_rename", err) < 0) {
        return -1;
    }
    if (rename(tmp, final) < 0) {
        if (errno == EEXIST || errno == ENOTEMPTY) {
            return file_remove_tree(AT_FDCWD, tmp, err); /* somebody made the same one */
        }
        return err_sys(err, errno, "name the installed packages");
    }
    return file_fsync_dir(AT_FDCWD, eng->pkg_root, err);
}

static void finish_run(struct lane_work *w) {
    struct pkg_install *p = CONTAINER_OF(w, struct pkg_install, work);
    struct local *eng = p->eng;
    struct rundir_look look;
    if (p->ended_ok && p->exit.kind == EXIT_CODE && p->exit.value == 0) {
        p->rc = keep_layer(p, &p->err);
    } else if (p->ended_ok) {
        p->rc = -1;
        explain(p);
    }
    bool addressed = rundir_look(p->dir, &look, NULL) == 0 && look.addr[0] != 0;
    (void)!rundir_remove(eng->run_root, p->dir, &eng->cgroups, NULL); /* or the sweep does */
    if (addressed) {
        mem_auto_close(&look.pidfd);
        *strchrnul(look.addr, '/') = 0;
        ipam_give(&eng->ipam, p->dir, look.addr);
    }
}

/* -- loop -------------------------------------------------------------------------------------- */

static void install_free(struct pkg_install *p) {
    p->eng->clock->ops->disarm(p->eng->clock, &p->limit);
    sup_fini(&p->sup);
    list_del(&p->link);
    arena_free(p->arena);
    free(p);
}

static void finish_done(struct lane_work *w) {
    struct pkg_install *p = CONTAINER_OF(w, struct pkg_install, work);
    if (local_done(p->eng)) {
        return;
    }
    p->abandoned = true; /* who asks now starts anew, or finds the layer */
    struct err why = p->err;
    bool failed = p->rc < 0;
    while (!list_is_empty(&p->waiters)) {
        struct local_attempt *a = list_first(&p->waiters, struct local_attempt, install_link);
        list_del(&a->install_link);
        a->install = NULL;
        stage_packages_ready(a, failed ? &why : NULL);
    }
    install_free(p);
}

static void finish(struct pkg_install *p) {
    p->work.run = finish_run;
    p->work.done = finish_done;
    local_submit(p->eng, &p->work);
}

static void on_started(struct sup *s, usec_t at) {
    (void)s;
    (void)at;
}

static void on_ended(struct sup *s, enum sup_end how, const struct exit_info *x,
                     const struct err *why) {
    struct pkg_install *p = CONTAINER_OF(s, struct pkg_install, sup);
    if (x != NULL) {
        p->exit = *x;
    }
    p->ended_ok = how == SUP_EXITED;
    if (!p->ended_ok) {
        p->rc = -1;
        p->err = *why;
        (void)err_wrap(&p->err, "installing packages");
    }
    finish(p);
}

static void on_stopped(struct sup *s) {
    (void)s;
}

static void on_limit(struct timer *t) {
    sup_kill(&CONTAINER_OF(t, struct pkg_install, limit)->sup);
}

static void prepare_done(struct lane_work *w) {
    struct pkg_install *p = CONTAINER_OF(w, struct pkg_install, work);
    if (local_done(p->eng)) {
        return;
    }
    if (w->cancelled) {
        p->rc = err_set(&p->err, ERR_CANCELLED, "the server is stopping");
    }
    if (p->abandoned && p->rc == 0) {
        p->rc = err_set(&p->err, ERR_CANCELLED, "nobody waits for the packages any more");
    }
    if (p->rc < 0) {
        finish(p);
        return;
    }
    struct clock *c = p->eng->clock;
    c->ops->arm(c, &p->limit, c->ops->mono(c) + INSTALL_LIMIT);
    sup_spawn(&p->sup);
}

static struct pkg_install *install_new(struct local_attempt *a, uint32_t pool) {
    const struct local_pool *lp = &a->pools[pool];
    const struct pool_spec *spec = &a->run->spec->pools[pool];
    struct local *eng = a->eng;
    struct pkg_install *p = xcalloc(1, sizeof(*p));
    uint64_t r;
    rng_secret(&r, sizeof(r));
    p->eng = eng;
    p->arena = arena_new(ARENA_NO_MAX);
    p->key = arena_strdup(p->arena, lp->pkg_key);
    p->cgroup_name = arena_printf(p->arena, PACKAGES_JOB "-a1-%016" PRIx64, r);
    p->dir = arena_printf(p->arena, "%s/" PACKAGES_JOB "/a1/%.12s-%016" PRIx64, eng->run_root,
                          p->key, r);
    p->log_dir = arena_printf(p->arena, "%s/%s/a%u/packages", eng->log_root, a->run->spec->id,
                              a->run->attempt);
    p->layer = arena_strdup(p->arena, lp->pkg_layer);
    p->uris = local_copy_list(p->arena, spec->package_uris);
    p->lowers = local_copy_list(p->arena, lp->image.layers);
    p->image_env = local_copy_list(p->arena, lp->image.env);
    p->home = arena_strdup(p->arena, lp->user.home);
    p->user = lp->user;
    for (uint32_t i = a->nr_reps; i-- > 0;) {
        if (a->reps[i].pool == pool) {
            p->mem_bytes = a->run->replicas[i].place.mem_bytes;
            p->cpu_milli = a->run->replicas[i].place.cpu_milli;
        }
    }
    p->sup = (struct sup){.eng = eng,
                          .dir = p->dir,
                          .nonce = "packages",
                          .started = on_started,
                          .ended = on_ended,
                          .stopped = on_stopped};
    p->limit.fn = on_limit;
    list_init(&p->waiters);
    list_push_tail(&eng->installs, &p->link);
    return p;
}

static struct pkg_install *find_install(struct local *eng, const char *key) {
    struct pkg_install *p;
    list_each (p, &eng->installs, link) {
        if (!p->abandoned && strcmp(p->key, key) == 0) {
            return p;
        }
    }
    return NULL;
}

void packages_install(struct local_attempt *a, uint32_t pool) {
    const char **uris = a->run->spec->pools[pool].package_uris;
    struct pkg_install *p = find_install(a->eng, a->pools[pool].pkg_key);
    bool fresh = p == NULL;
    if (fresh) {
        p = install_new(a, pool);
    }
    a->install = p;
    list_push_tail(&p->waiters, &a->install_link);
    for (size_t i = 0; uris[i] != NULL && !a->releasing; i++) {
        auto_free char *text = xasprintf("Downloading the package: %s", uris[i]);
        attempt_note(a, 200, text);
    }
    if (fresh) {
        p->work.run = prepare_run;
        p->work.done = prepare_done;
        local_submit(a->eng, &p->work);
    }
}

void packages_forget(struct local_attempt *a) {
    struct pkg_install *p = a->install;
    if (p == NULL) {
        return;
    }
    a->install = NULL;
    list_del(&a->install_link);
    if (list_is_empty(&p->waiters) && !p->abandoned) {
        p->abandoned = true;
        if (p->sup.look != NULL) {
            sup_kill(&p->sup);
        }
    }
}

bool packages_is_running(const struct local *eng, const char *dir) {
    const struct pkg_install *p;
    list_each (p, &eng->installs, link) {
        if (strcmp(p->dir, dir) == 0) {
            return true;
        }
    }
    return false;
}

bool packages_is_cgroup(const struct local *eng, const char *name) {
    const struct pkg_install *p;
    list_each (p, &eng->installs, link) {
        if (strcmp(p->cgroup_name, name) == 0) {
            return true;
        }
    }
    return false;
}

void packages_let_go(struct local *eng) {
    struct pkg_install *p;
    list_each (p, &eng->installs, link) {
        eng->clock->ops->disarm(eng->clock, &p->limit);
        sup_let_go(&p->sup);
    }
}

void packages_free(struct local *eng) {
    struct pkg_install *p, *tmp;
    list_each_safe (p, tmp, &eng->installs, link) {
        install_free(p);
    }
}

/* -- the prebuilt runner's words --------------------------------------------------------------- */

static bool is_python(const struct local_attempt *a, uint32_t pool) {
    return a->run->spec->pools[pool].kind == TASK_PYTHON;
}

static void put_strings(struct jw *w, const char *key, const char **list) {
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        jw_cstr(w, list[i]);
    }
    jw_end_array(w);
}

void packages_note_start(struct local_attempt *a) {
    const struct pool_spec *pool = &a->run->spec->pools[0];
    char host[NAMES_HOST_SIZE];
    if (!is_python(a, 0)) {
        return;
    }
    names_host(a->run->spec, 0, 0, host);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct jw w;
    (void)buf_printf(&b,
                     "Running task with arguments: --cluster={\"chief\": [\"%s:%d\"]} "
                     "--task={\"type\": \"chief\", \"index\": 0} --job=",
                     host, NAMES_PORT);
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_kv(&w, "python_module", pool->python_module);
    put_strings(&w, "package_uris", pool->package_uris);
    put_strings(&w, "job_args", pool->args);
    jw_end_object(&w);
    attempt_note(a, 200, buf_cstr(&b));
}
