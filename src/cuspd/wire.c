/* Putting the server together and taking it apart.
 *
 * Start:  data directory lock -> store -> lanes, logs, blobs, images -> interrupted moves
 *         -> projects -> engine -> ctl (load, coldplug, catch up) -> listener -> "ready".
 * Stop:   listener (running exchanges finish) -> ctl (nothing in flight to the store) -> blobs ->
 *         store -> lanes -> engine (containers run on) -> loop. */
#include "cuspd/wire.h"

#include "api/api.h"
#include "api/call.h"
#include "api/dataset_export.h"
#include "api/datasets.h"
#include "api/gcs.h"
#include "api/grpc.h"
#include "api/hold.h"
#include "api/identity.h"
#include "api/images.h"
#include "api/model_cusp.h"
#include "api/origin.h"
#include "api/pipeline_work.h"
#include "api/projects.h"
#include "api/registry.h"
#include "api/tuning_cusp.h"
#include "api/tuning_work.h"
#include "base/limits.h"
#include "base/log.h"
#include "blob/blob.h"
#include "cuspd/catalogue.h"
#include "cuspd/doors.h"
#include "cuspd/metrics.h"
#include "cuspd/suggestions.h"
#include "engine/image/image.h"
#include "engine/image/pull.h"
#include "engine/image/registry.h"
#include "engine/local/local.h"
#include "logs/logs.h"
#include "logs/retain.h"
#include "net/net.h"
#include "sys/files.h"
#include "sys/lane.h"
#include "sys/lockfile.h"
#include "sys/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_THREADS 4
#define OWN_DESCRIPTORS 512 /* database, logs, uploads, run directories */
#define SHUTDOWN_GRACE (10 * (usec_t)USEC_PER_SEC)

struct server {
    const struct config *cfg;
    char *data_dir, *runner, *tls_cert, *tls_key;
    char *ca_path, *ca_pem; /* of the local CA, NULL when there is none */
    char console_url[320];  /* ctl reads it when it writes an error; the port is known late */
    int lock_fd, signal_fd;
    struct loop *loop;
    struct loop_fd *signal_watch;
    struct lane *disk;
    struct suggestions *suggestions;
    struct store *store;
    struct logs *logs;
    struct blob *blob;
    struct image_store *images;
    struct puller *puller;
    struct remote_host *remote_hosts;
    struct engine *engine;
    struct rng rng;
    struct ctl *ctl;
    struct net_server *net; /* for clients */
    struct doors *doors;    /* for jobs */
    unsigned nets_open;
    struct identity *identity;
    struct api api;
    struct catalogue catalogue;
    struct grpc *grpc;
    struct api_gcs *gcs;
    struct api_images *api_images;
    struct api_registry *registry;
    const char **bucket_mounts;
    struct err err; /* why it ended */
    bool failed, stopping;
};

static void handle(struct xch *x, void *arg);

/* ---- glue between modules that do not know each other ---- */

static void service_log(void *arg, uint64_t project, const char *job_id, usec_t when, int severity,
                        const char *text) {
    struct server *s = arg;
    logs_set_owner(s->logs, job_id, project);
    if (text) {
        logs_service(s->logs, job_id, when, severity, text);
    } else {
        logs_service_end(s->logs, job_id);
    }
}

static void trial_log(void *arg, const char *tuning_id, uint64_t trial, const char *job_id) {
    struct server *s = arg;
    logs_set_trial(s->logs, tuning_id, trial, job_id);
}

static bool job_is_live(void *arg, const char *job_id) {
    struct server *s = arg;
    return ctl_job_is_live(s->ctl, job_id);
}

static void job_done(void *arg, struct str name) {
    struct server *s = arg;
    holds_release(s->api.holds, name);
}

static int object_path(void *arg, const char *gs_uri, char **ret_path, struct err *err) {
    struct server *s = arg;
    return blob_object_path(s->blob, gs_uri, ret_path, err);
}

static void finished(struct xch *x, int status, void *arg) {
    struct server *s = arg;
    if (s->identity) {
        identity_finished(s->identity, x, status);
    }
}

static void more_metrics(void *arg, struct buf *b) {
    const struct server *s = arg;
    metrics_net(b, s->net);
    metrics_disk(b, s->disk, s->loop);
    metrics_blob(b, s->blob);
    metrics_logs(b, s->logs);
    if (s->engine && strcmp(s->engine->ops->name, "local") == 0) {
        engine_local_metrics(s->engine, b);
    }
    suggestions_metrics(s->suggestions, b);
}

static void handle(struct xch *x, void *arg) {
    struct server *s = arg;
    /* Web pages do not get to a job's door, and what it is called is no name of this machine. */
    if ((!identity_is_job(x) &&
         origin_refuse(x, str_of(s->cfg->host_names), api_registry_refuse)) ||
        identity_refuse(s->identity, x) || identity_handle(s->identity, x) ||
        identity_reject(s->identity, x, api_registry_refuse) || grpc_handle(s->grpc, x) ||
        admin_handle(&s->api, x) || logstream_handle(&s->api, x) || timeline_handle(&s->api, x) ||
        dataset_imports_handle(&s->api, x) || dataset_exports_handle(&s->api, x) ||
        model_cusp_handle(&s->api, x) || tuning_cusp_handle(&s->api, x) ||
        api_images_handle(s->api_images, x) || api_registry_handle(s->registry, x) ||
        api_gcs_handle(s->gcs, x)) {
        return;
    }
    /* Last but one: a bucket's paths must not hide anybody's. */
    if (api_gcs_handle_xml(s->gcs, x) || front_handle(&s->api, x)) {
        return;
    }
    rest_handle(&s->api, x);
}

static const char **images_in_use(void *arg, struct arena *a) {
    const struct server *s = arg;
    return s->engine && strcmp(s->engine->ops->name, "local") == 0
               ? engine_local_images_in_use(s->engine, a)
               : NULL;
}

static void images_removed(void *arg) {
    const struct server *s = arg;
    if (s->engine && !s->stopping && strcmp(s->engine->ops->name, "local") == 0) {
        engine_local_tidy(s->engine);
    }
}

/* ---- stop ---- */

static void tear_down(struct server *s);

/* The loop ends when every handle on it is closed, so the rest is taken down on the loop. */
static void on_store_closed(void *arg) {
    struct server *s = arg;
    tear_down(s);
    loop_stop(s->loop);
}

static void on_blob_closed(void *arg) {
    struct server *s = arg;
    s->store->ops->close(s->store, on_store_closed, s);
    s->store = NULL;
}

static void on_catalogue_stopped(void *arg) {
    struct server *s = arg;
    blob_close(s->blob, on_blob_closed, s);
    s->blob = NULL;
}

static void on_ctl_stopped(void *arg) {
    struct server *s = arg;
    catalogue_stop(&s->catalogue, on_catalogue_stopped, s);
}

static void on_net_closed(void *arg) {
    struct server *s = arg;
    if (s->nets_open > 0 && --s->nets_open > 0) {
        return;
    }
    if (s->ctl) {
        ctl_stop(s->ctl, on_ctl_stopped, s);
    } else {
        on_ctl_stopped(s);
    }
}

static void begin_stop(struct server *s) {
    if (s->stopping) {
        return;
    }
    s->stopping = true;
    if (s->logs) {
        logs_retain_stop(s->logs);
    }
    if (s->api.holds) {
        holds_close(s->api.holds);
    }
    if (s->grpc) {
        grpc_retire(s->grpc); /* its streams would last as long as the grace does */
    }
    unsigned open = s->nets_open;
    if (s->net) {
        net_shutdown(s->net, SHUTDOWN_GRACE, on_net_closed, s);
    }
    if (s->doors) {
        doors_shutdown(s->doors, SHUTDOWN_GRACE, on_net_closed, s);
    }
    if (open == 0) {
        on_net_closed(s);
    }
}

static void fatal(void *arg, const struct err *err) {
    struct server *s = arg;
    log_error(
        "cannot go on: a change could not be saved, for another reason than a full disk. What was "
        "answered is kept and running jobs run on; mend the cause (the disk? its file system?) "
        "and start the server again",
        "error=\"%s\" data=%s", err->msg, s->data_dir);
    _exit(1); /* memory and store no longer agree: a crash is the legal way out */
}

/* The CA of `cusp tls init`, for clients that ask which it is. Not there: nothing to tell. */
static void load_ca(struct server *s) {
    auto_buf struct buf pem = BUF_INIT(1 << 16);
    auto_free char *path = xasprintf("%s/tls/ca.pem", s->data_dir);
    if (file_read(AT_FDCWD, path, &pem, NULL) == 0) {
        free(s->ca_path);
        free(s->ca_pem);
        s->api.ca_path = s->ca_path = take(&path);
        s->api.ca_pem = s->ca_pem = buf_take(&pem, NULL);
    }
}

static void reload(struct server *s) {
    struct err err;
    if (!s->net || s->stopping) {
        return;
    }
    if (net_reload_tls(s->net, &err)) {
        log_error("TLS not reloaded, the old certificate stays", "error=\"%s\"", err.msg);
    } else {
        log_info("TLS reloaded", "tls_cert=%s", s->tls_cert);
        load_ca(s);
        s->api.tls_mode = s->cfg->tls;
    }
}

static void on_signal(void *arg, bool readable, bool writable) {
    struct server *s = arg;
    struct signalfd_siginfo si;
    while (read(s->signal_fd, &si, sizeof(si)) == sizeof(si)) {
        if (si.ssi_signo == SIGHUP) {
            reload(s);
            continue;
        }
        log_info("stopping", "signal=%u", si.ssi_signo);
        begin_stop(s);
    }
}

/* ---- start ---- */

static void start_failed(struct server *s, const struct err *err) {
    s->err = *err;
    s->failed = true;
    begin_stop(s);
}

/* config.c has checked the word. */
static enum net_tls tls_mode(const char *word) {
    return strcmp(word, "required") == 0   ? NET_TLS_REQUIRED
           : strcmp(word, "optional") == 0 ? NET_TLS_OPTIONAL
                                           : NET_TLS_OFF;
}

static unsigned own_port(const char *address) {
    const char *colon = strrchr(address, ':');
    uint64_t port = 0;
    return colon != NULL && str_to_u64(str_of(colon + 1), &port) ? (unsigned)port : 0;
}

static void on_catalogue_started(void *arg, const struct err *err) {
    struct server *s = arg;
    struct err e;
    if (err) {
        start_failed(s, err);
        return;
    }
    if (s->stopping) {
        return;
    }
    struct net_config nc = {.listen = s->cfg->listen,
                            .tls = tls_mode(s->cfg->tls),
                            .tls_cert = s->tls_cert,
                            .tls_key = s->tls_key,
                            .handler = handle,
                            .finished = finished,
                            .arg = s,
                            .disk = s->disk};
    s->net = net_listen(s->loop, &nc, &e);
    if (!s->net) {
        start_failed(s, &e);
        return;
    }
    s->nets_open++;
    const char *scheme = strcmp(s->cfg->tls, "required") == 0 ? "https" : "http";
    snprintf(s->console_url, sizeof(s->console_url), "%s://%s", scheme, net_address(s->net));
    registry_set_port(s->images, own_port(net_address(s->net)));
    s->api.tls_mode = net_has_tls(s->net) ? s->cfg->tls : "off";
    s->api.ready = true;
    if (s->doors) {
        doors_ready(s->doors);
    }
    log_info("ready", "listen=%s://%s tls=%s data=%s", scheme, net_address(s->net), s->api.tls_mode,
             s->data_dir);
}

/* Buckets that live elsewhere, for the containers' /gcs: SOURCE, NAME, ..., NULL. */
static const char **bucket_mounts(struct server *s) {
    const char **list = xcalloc(2 * s->cfg->nr_buckets + 1, sizeof(*list));
    for (size_t i = 0; i < s->cfg->nr_buckets; i++) {
        list[2 * i] = s->cfg->buckets[i].path;
        list[2 * i + 1] = s->cfg->buckets[i].name;
    }
    s->bucket_mounts = list;
    return list;
}

static void on_ctl_started(void *arg, const struct err *err) {
    struct server *s = arg;
    if (err) {
        start_failed(s, err);
        return;
    }
    if (!s->stopping) {
        const struct log_retention keep = {.store = s->store,
                                           .is_live = job_is_live,
                                           .arg = s,
                                           .drop_deleted = s->cfg->drop_deleted_logs};
        logs_retain_start(s->logs, &keep);
    }
    catalogue_start(&s->catalogue, on_catalogue_started, s);
}

static void on_projects_loaded(void *arg, const struct err *err) {
    struct server *s = arg;
    struct err e;
    if (err) {
        start_failed(s, err);
        return;
    }
    projects_number(s->api.projects, STR("demo"));
    if (strcmp(s->cfg->engine, "fake") == 0) {
        s->engine = engine_fake_new(&(struct engine_fake_opts){
            .clock = loop_clock(s->loop),
            .cpu_milli = s->cfg->cpu_milli ? (uint32_t)s->cfg->cpu_milli : 2000,
            .mem_bytes = s->cfg->mem_mb ? s->cfg->mem_mb << 20 : (uint64_t)8 << 30});
    } else {
        s->doors =
            doors_new(&(struct doors_opts){.loop = s->loop,
                                           .disk = s->disk,
                                           .data_dir = s->data_dir,
                                           .transparent = strcmp(s->cfg->transparent, "on") == 0,
                                           .identity = s->identity,
                                           .handler = handle,
                                           .finished = finished,
                                           .arg = s},
                      &e);
        if (!s->doors) {
            start_failed(s, &e);
            return;
        }
        s->nets_open++;
        enum warm_mode warm;
        if (warm_mode_parse(s->cfg->warm_python, &warm, &e) < 0) {
            start_failed(s, &e);
            return;
        }
        s->engine = engine_local_new(
            &(struct engine_local_opts){
                .loop = s->loop,
                .disk = s->disk,
                .data_dir = s->data_dir,
                .runner_path = s->runner,
                .runtime = s->cfg->runtime,
                .network = s->cfg->network,
                .subnet = s->cfg->subnet,
                .images = s->images,
                .puller = s->puller,
                .warm_mode = warm,
                .warm_imports = s->cfg->warm_imports,
                .cpu_milli = (uint32_t)s->cfg->cpu_milli,
                .mem_bytes = s->cfg->mem_mb << 20,
                .gcs_mounts = bucket_mounts(s),
                .object_path = object_path,
                .object_arg = s,
                .doors = doors_engine(s->doors),
            },
            &e);
        if (!s->engine) {
            start_failed(s, &e);
            return;
        }
        log_info("engine", "%s", engine_local_describe(s->engine));
        loop_begin_turn(s->loop); /* it tried the runtime out, and nobody can call yet */
    }
    s->ctl = ctl_new(&(struct ctl_config){
        .clock = loop_clock(s->loop),
        .rng = &s->rng,
        .store = s->store,
        .engine = s->engine,
        .decode_spec = spec_custom_job_decode,
        .decode_arg = &s->api,
        .service_log = service_log,
        .log_arg = s,
        .trial_log = trial_log,
        .pipelines = &pipeline_ops,
        .pipelines_arg = &s->api,
        .tunings = &tuning_ops,
        .suggestions = suggestions_pool(s->suggestions),
        .job_done = job_done,
        .done_arg = s,
        .fatal = fatal,
        .fatal_arg = s,
        .strict_machines = s->cfg->strict_machines,
        .max_running = (uint32_t)s->cfg->max_running,
        .hold = s->cfg->hold,
        .stop_grace =
            s->cfg->stop_grace_s ? s->cfg->stop_grace_s * USEC_PER_SEC : 1, /* 0: at once */
        .console_url = s->console_url,
    });
    s->api.ctl = s->ctl;
    ctl_start(s->ctl, on_ctl_started, s);
}

static void on_exports_recovered(void *arg) {
    struct server *s = arg;
    if (!s->stopping) {
        projects_load(s->api.projects, on_projects_loaded, s);
    }
}

static int open_data_dir(struct server *s, struct err *err) {
    auto_close int dir = -1;
    if (file_mkdirs(AT_FDCWD, s->cfg->data_dir, 0750, err)) {
        return err_wrap(err, "data directory");
    }
    s->data_dir = realpath(s->cfg->data_dir, NULL);
    if (!s->data_dir) {
        return err_sys(err, errno, "data directory %s", s->cfg->data_dir);
    }
    dir = open(s->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_sys(err, errno, "open %s", s->data_dir);
    }
    s->lock_fd = lockfile_take(dir, "lock", err);
    if (s->lock_fd < 0) {
        return err_wrap(err, "%s is in use by another cuspd", s->data_dir);
    }
    return 0;
}

static char *runner_beside_us(void) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        return xstrdup("cusp-runner");
    }
    self[n] = 0;
    char *slash = strrchr(self, '/');
    return xasprintf("%.*s/cusp-runner", (int)(slash - self), self);
}

static int load_aliases(struct server *s, const char *path, struct err *err) {
    auto_buf struct buf text = BUF_INIT(1 << 20);
    if (!path[0]) {
        return 0;
    }
    if (file_read(AT_FDCWD, path, &text, err)) {
        return err_wrap(err, "aliases_file");
    }
    struct str rest = buf_str(&text);
    while (rest.p && rest.n) {
        struct str line = str_trim(str_cut(&rest, '\n')), local = line;
        if (!line.n || line.p[0] == '#') {
            continue;
        }
        auto_free char *pattern = str_dup(str_trim(str_cut(&local, '=')));
        auto_free char *name = str_dup(str_trim(local));
        if (image_store_add_alias(s->images, pattern, name, err)) {
            return err_wrap(err, "%s", path);
        }
    }
    return 0;
}

/* Of the configuration, which lives as long as we do. */
static void make_puller(struct server *s) {
    const struct config *c = s->cfg;
    s->remote_hosts = xcalloc(c->nr_registries + 1, sizeof(*s->remote_hosts));
    for (size_t i = 0; i < c->nr_registries; i++) {
        const struct config_registry *r = &c->registries[i];
        s->remote_hosts[i] = (struct remote_host){.host = r->host,
                                                  .mirrors = r->mirrors,
                                                  .ca = r->ca,
                                                  .username = r->username,
                                                  .password = r->password,
                                                  .insecure = r->insecure};
    }
    s->puller =
        puller_new(&(struct puller_opts){.loop = s->loop,
                                         .images = s->images,
                                         .remote = {.hosts = s->remote_hosts,
                                                    .nr_hosts = c->nr_registries,
                                                    .docker_config = c->docker_config},
                                         .policy = strcmp(c->pull, "always") == 0  ? PULL_ALWAYS
                                                   : strcmp(c->pull, "never") == 0 ? PULL_NEVER
                                                                                   : PULL_MISSING});
}

static int open_modules(struct server *s, struct err *err) {
    auto_free char *db = xasprintf("%s/cusp.db", s->data_dir);
    auto_free char *image_dir = xasprintf("%s/images", s->data_dir);
    s->store = store_sqlite_open(s->loop, db, err);
    if (!s->store) {
        return -1;
    }
    s->disk = lane_new(s->loop, "disk", DISK_THREADS);
    s->suggestions = suggestions_new(s->loop);
    s->logs = logs_open(s->loop, s->disk, s->data_dir, err);
    if (s->logs) {
        logs_set_strict(s->logs, strcmp(s->cfg->logs, "strict") == 0);
    }
    s->blob = s->logs ? blob_open(s->loop, s->disk, s->store, s->data_dir, err) : NULL;
    for (size_t i = 0; s->blob && i < s->cfg->nr_buckets; i++) {
        const struct config_bucket *k = &s->cfg->buckets[i];
        if (blob_add_bucket(s->blob, k->name, k->path, err) < 0) {
            return -1;
        }
    }
    s->images = s->blob ? image_store_open(image_dir, err) : NULL;
    if (!s->images || load_aliases(s, s->cfg->aliases_file, err)) {
        return -1;
    }
    make_puller(s);
    s->api = (struct api){.clock = loop_clock(s->loop),
                          .rng = &s->rng,
                          .store = s->store,
                          .logs = s->logs,
                          .projects = projects_new(s->store, loop_clock(s->loop)),
                          .holds = holds_new(loop_clock(s->loop)),
                          .suggestions = suggestions_pool(s->suggestions),
                          .started_at = time_wall(),
                          .version = CUSP_VERSION,
                          .more_metrics = more_metrics,
                          .metrics_arg = s};
    s->identity = identity_new(s->loop, s->disk, s->data_dir, s->api.projects, err);
    if (!s->identity) {
        return -1;
    }
    if (catalogue_open(&s->catalogue, &s->api, s->loop, s->blob, s->data_dir, err)) {
        return -1;
    }
    load_ca(s);
    return 0;
}

static int check_auth(const struct config *cfg, struct err *err) {
    if (strcmp(cfg->auth, "none") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--auth=%s is not built yet; only --auth=none is",
                       cfg->auth);
    }
    if (!net_is_loopback(cfg->listen)) {
        return err_set(
            err, ERR_FAILED_PRECONDITION,
            "--listen=%s is not a loopback address and --auth=none asks for no credentials: "
            "anyone who can reach it could run code here. Listen on 127.0.0.1 or ::1",
            cfg->listen);
    }
    return 0;
}

/* Connections need descriptors: the soft limit goes up to the hard one, and where that is not
 * enough the number of connections comes down to what is left after our own files. */
static void raise_descriptors(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r)) {
        return;
    }
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r); /* up to the hard limit needs no privilege */
    (void)getrlimit(RLIMIT_NOFILE, &r);
    uint64_t room =
        r.rlim_cur > 2 * OWN_DESCRIPTORS ? r.rlim_cur - OWN_DESCRIPTORS : r.rlim_cur / 2;
    if (limits.max_connections > room) {
        log_warn("fewer connections than configured", "max_connections=%llu descriptors=%llu",
                 (unsigned long long)room, (unsigned long long)r.rlim_cur);
        limits.max_connections = room;
    }
}

static void watch_signals(struct server *s) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(s->signal_fd >= 0);
    s->signal_watch = loop_fd_watch(s->loop, s->signal_fd, true, false, on_signal, s);
}

static void tear_down(struct server *s) {
    net_free(take(&s->net));
    if (s->doors) {
        doors_close(s->doors);
    }
    grpc_free(s->grpc);
    api_gcs_free(s->gcs);
    free(s->bucket_mounts);
    if (s->ctl) {
        ctl_free(s->ctl);
    }
    if (s->engine) {
        s->engine->ops->close(s->engine);
    }
    puller_free(s->puller);
    free(s->remote_hosts);
    api_registry_free(s->registry);
    if (s->disk) {
        lane_close(s->disk);
    }
    /* An import on the lane outlives its client and the listener, and answers in lane_close. */
    api_images_free(s->api_images);
    identity_free(take(&s->identity));
    logs_close(s->logs);
    if (s->images) {
        image_store_close(s->images);
    }
    projects_free(s->api.projects);
    catalogue_free(&s->catalogue);
    suggestions_free(s->suggestions);
    holds_free(s->api.holds);
    if (s->signal_watch) {
        loop_fd_unwatch(s->signal_watch);
        close(s->signal_fd);
    }
    if (s->lock_fd >= 0) {
        close(s->lock_fd);
    }
}

int wire_run(const struct config *cfg, struct err *err) {
    /* Not on the stack: what a start that failed has made is held until the process ends. */
    static struct server s;
    s = (struct server){.cfg = cfg, .lock_fd = -1, .signal_fd = -1};
    if (check_auth(cfg, err) || open_data_dir(&s, err)) {
        free(s.data_dir);
        return -1;
    }
    raise_descriptors();
    rng_seed_system(&s.rng);
    s.tls_cert =
        cfg->tls_cert[0] ? xstrdup(cfg->tls_cert) : xasprintf("%s/tls/server.pem", s.data_dir);
    s.tls_key =
        cfg->tls_key[0] ? xstrdup(cfg->tls_key) : xasprintf("%s/tls/server.key", s.data_dir);
    s.runner = cfg->runner[0] ? xstrdup(cfg->runner) : runner_beside_us();
    snprintf(s.console_url, sizeof(s.console_url), "http://%s", cfg->listen);
    s.loop = loop_new();
    watch_signals(&s);
    if (open_modules(&s, &s.err)) {
        *err = s.err;
        return -1; /* the process ends here: nothing was started that needs an orderly stop */
    }
    s.grpc = grpc_new(&s.api);
    s.gcs = api_gcs_new(s.blob, s.store, s.data_dir);
    if (cfg->test_retry_api) {
        api_gcs_enable_retry_tests(s.gcs, s.loop);
    }
    s.api_images = api_images_new(s.loop, s.disk, s.images, s.data_dir, images_in_use, &s);
    api_images_set_puller(s.api_images, s.puller);
    api_images_on_removed(s.api_images, images_removed);
    s.registry = api_registry_new(s.loop, s.images);
    dataset_exports_recover(s.api.exports, on_exports_recovered, &s);
    loop_run(s.loop);
    loop_free(s.loop);
    free(s.data_dir);
    free(s.runner);
    free(s.ca_path);
    free(s.ca_pem);
    doors_free(s.doors);
    free(s.tls_cert);
    free(s.tls_key);
    if (s.failed) {
        *err = s.err;
        return -1;
    }
    log_info("stopped", "%s", "");
    return 0;
}
