#include "cuspd/doors.h"

#include "api/identity.h"
#include "api/names.h"
#include "base/log.h"
#include "base/vec.h"
#include "net/net.h"
#include "pki/tls.h"
#include "sys/files.h"

#include <fcntl.h>
#include <unistd.h>

struct early_door {
    int fd;
    uint64_t id;
};

struct doors {
    struct doors_opts o;
    struct net_server *net;
    struct engine_doors engine;
    bool is_open;
    char *cert, *key, *ca; /* paths, PEM; NULL unless transparent */
    VEC_OF(char *) names;
    VEC_OF(struct early_door) early; /* replicas found before we are ready */
};

/* ---- sockets ---- */

static void open_door(struct doors *d, int fd, uint64_t id) {
    struct err err;
    if (net_door_open(d->net, fd, id, &err)) {
        log_warn("door not opened", "error=\"%s\"", err.msg);
    }
}

static uint64_t door_open(void *arg, const struct job_spec *spec, const char *replica,
                          const int *fds, size_t nr) {
    struct doors *d = arg;
    uint64_t id = identity_open(d->o.identity, spec, replica);
    for (size_t i = 0; i < nr; i++) {
        if (d->is_open) {
            open_door(d, fds[i], id);
        } else {
            vec_push(&d->early, ((struct early_door){fds[i], id}));
        }
    }
    return id;
}

static void door_close(void *arg, uint64_t id) {
    struct doors *d = arg;
    for (size_t i = d->early.n; i-- > 0;) {
        if (d->early.p[i].id == id) {
            close(d->early.p[i].fd);
            vec_remove(&d->early, i);
        }
    }
    if (d->net) {
        net_door_close(d->net, id);
    }
    identity_close(d->o.identity, id);
}

void doors_ready(struct doors *d) {
    d->is_open = true;
    for (size_t i = 0; i < d->early.n; i++) {
        open_door(d, d->early.p[i].fd, d->early.p[i].id);
    }
    vec_fini(&d->early);
}

/* ---- what containers are told ---- */

/* %DOOR% and %HAVE% are filled in by the engine. */
#define METADATA_ENV                                                                               \
    "GCE_METADATA_HOST=%DOOR%", "GCE_METADATA_IP=%DOOR%", "GCE_METADATA_ROOT=%DOOR%"
static const char *plain_env[] = {
    METADATA_ENV,
    "STORAGE_EMULATOR_HOST=http://%DOOR%",
    "CLOUD_STORAGE_EMULATOR_ENDPOINT=http://%DOOR%",
    "GOOGLE_CLOUD_PROJECT=%PROJECT_ID%",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE=http://%DOOR%/storage/v1/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM=http://%DOOR%/",
    NULL};
static const char *metadata_names[] = {"metadata.google.internal", "metadata", NULL};

#define BUNDLE_ENV(name) name "=" DOOR_BUNDLE
/* The one variable that every Java reads, whoever starts it; what the image says in it stays. */
#define JAVA_ENV                                                                                   \
    "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=" DOOR_STORE                                     \
    " -Djavax.net.ssl.trustStoreType=PKCS12"                                                       \
    " -Djavax.net.ssl.trustStorePassword=" DOOR_STORE_PASSWORD " %HAVE%"
static const char *transparent_env[] = {METADATA_ENV,
                                        BUNDLE_ENV("REQUESTS_CA_BUNDLE"),
                                        BUNDLE_ENV("SSL_CERT_FILE"),
                                        BUNDLE_ENV("CURL_CA_BUNDLE"),
                                        BUNDLE_ENV("NODE_EXTRA_CA_CERTS"),
                                        BUNDLE_ENV("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"),
                                        BUNDLE_ENV("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"),
                                        JAVA_ENV,
                                        NULL};
static const char *const google_names[] = {
    "aiplatform.googleapis.com", "storage.googleapis.com", "www.googleapis.com",
    "oauth2.googleapis.com",     "logging.googleapis.com", "cloudresourcemanager.googleapis.com"};
/* Of the certificate: one label each, buckets in host names among them. */
static const char *const google_wildcards[] = {"*.googleapis.com",
                                               "*.storage.googleapis.com",
                                               "*.aiplatform.googleapis.com",
                                               "metadata.google.internal",
                                               DOOR_ADDRESS,
                                               NULL};
#define DOOR_CERT_DAYS 825

/* A CA of the jobs' own: what people trust on their machines (`cusp tls init`) may come and go
 * without a running job noticing, and never speaks for Google's names. */
static int make_transparent(struct doors *d, struct err *err) {
    auto_free char *dir = xasprintf("%s/identity/tls", d->o.data_dir);
    auto_free char *ca = xasprintf("%s/ca.pem", dir);
    auto_buf struct buf pem = BUF_INIT(1 << 16);
    struct tls_done done;
    const struct tls_wish w = {
        .dir = dir, .only = google_wildcards, .days = DOOR_CERT_DAYS, .now = time_wall()};
    if (tls_make(&w, &done, err) || file_read(AT_FDCWD, ca, &pem, err)) {
        return err_wrap(err, "transparent = on");
    }
    d->ca = buf_take(&pem, NULL);
    d->cert = xasprintf("%s/server.pem", dir);
    d->key = xasprintf("%s/server.key", dir);
    for (size_t i = 0; metadata_names[i]; i++) {
        vec_push(&d->names, xstrdup(metadata_names[i]));
    }
    for (size_t i = 0; i < NR_OF(google_names); i++) {
        vec_push(&d->names, xstrdup(google_names[i]));
    }
    for (size_t i = 0; location_at(i); i++) {
        vec_push(&d->names, xasprintf("%s-aiplatform.googleapis.com", location_at(i)));
    }
    vec_push(&d->names, NULL);
    return 0;
}

/* ---- life ---- */

struct doors *doors_new(const struct doors_opts *o, struct err *err) {
    struct doors *d = xcalloc(1, sizeof(*d));
    d->o = *o;
    if (o->transparent && make_transparent(d, err)) {
        doors_free(d);
        return NULL;
    }
    const struct net_config nc = {.handler = o->handler,
                                  .finished = o->finished,
                                  .arg = o->arg,
                                  .disk = o->disk,
                                  .tls = o->transparent ? NET_TLS_OPTIONAL : NET_TLS_OFF,
                                  .tls_cert = d->cert,
                                  .tls_key = d->key};
    d->net = net_listen(o->loop, &nc, err);
    if (!d->net) {
        doors_free(d);
        return NULL;
    }
    d->engine =
        (struct engine_doors){.open = door_open,
                              .close = door_close,
                              .arg = d,
                              .env = o->transparent ? transparent_env : plain_env,
                              .host_env = plain_env,
                              .names = o->transparent ? (const char **)d->names.p : metadata_names,
                              .ca_pem = d->ca};
    return d;
}

const struct engine_doors *doors_engine(const struct doors *d) {
    return &d->engine;
}

void doors_shutdown(struct doors *d, usec_t grace, void (*cb)(void *arg), void *arg) {
    d->is_open = false;
    net_shutdown(d->net, grace, cb, arg);
}

void doors_close(struct doors *d) {
    net_free(take(&d->net));
}

void doors_free(struct doors *d) {
    if (!d) {
        return;
    }
    for (size_t i = 0; i < d->names.n; i++) {
        free(d->names.p[i]);
    }
    vec_fini(&d->names);
    vec_fini(&d->early);
    free(d->ca);
    free(d->cert);
    free(d->key);
    free(d);
}
