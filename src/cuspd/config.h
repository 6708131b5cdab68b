/* The server's configuration: defaults, then the config file (flat sections), then flags. Every
 * value remembers where it came from for --check-config. */
#ifndef CUSP_CUSPD_CONFIG_H
#define CUSP_CUSPD_CONFIG_H

#include "base/buf.h"
#include "base/err.h"

struct config {
    char *data_dir;
    char *listen;
    char *host_names; /* more names of this server, "a.example, b.example" */
    char *tls;        /* required | optional | off */
    char *tls_cert;   /* PEM; "" is DATA/tls/server.pem */
    char *tls_key;    /* PEM; "" is DATA/tls/server.key */
    char *auth;       /* "none"; others are not built yet */
    char *engine;     /* local | fake */
    char *runtime;    /* auto | crun | runc | /path */
    char *network;    /* bridge | host | none */
    char *subnet;
    char *transparent; /* on | off */
    char *runner;      /* path of cusp-runner; default beside cuspd */
    char *log_level;   /* debug | info | warning | error */
    bool log_json;
    char *logs; /* recognise, strict */
    bool drop_deleted_logs;
    bool strict_machines;
    uint64_t max_running;  /* replicas at once, 0 = by capacity */
    bool hold;             /* accept jobs, start none */
    bool test_retry_api;   /* /retry_test: storage calls fail on demand */
    uint64_t stop_grace_s; /* SIGTERM to SIGKILL of a replica */
    char *warm_python;     /* off | asked | all */
    char *warm_imports;
    uint64_t cpu_milli;  /* capacity override, 0 = host */
    uint64_t mem_mb;     /* capacity override, 0 = host */
    char *aliases_file;  /* image aliases, "" none */
    char *pull;          /* missing | always | never */
    char *docker_config; /* config.json of docker, "" where docker keeps it */
    /* Directories that are buckets: [bucket NAME] path = DIR, or --bucket NAME=DIR. */
    struct config_bucket {
        char *name, *path;
    } * buckets;
    size_t nr_buckets;
    /* Other registries: [registry HOST]. Texts are "" when not given. */
    struct config_registry {
        char *host, *mirrors, *ca, *username, *password;
        bool insecure;
    } * registries;
    size_t nr_registries;
    bool check_only, show_help, show_version;
};

/* Fills c from defaults, --config FILE if given, flags. INVALID_ARGUMENT names flag or file:line.
 */
int config_load(struct config *c, int argc, char **argv, struct err *err);
void config_free(struct config *c);
/* The effective configuration as a config file. */
void config_print(const struct config *c, struct buf *out);
void config_help(struct buf *out);

#endif
