/* CONTRACT. What the control plane and the engines need to know of a job: pools, resources, argv,
 * env, policy. Made from the user's message by src/api/spec_*.c (the only place that knows both);
 * immutable after; everything lives in one arena owned by whoever decoded it. Units in names or
 * usec_t. */
#ifndef CUSP_ENGINE_JOB_SPEC_H
#define CUSP_ENGINE_JOB_SPEC_H

#include "base/arena.h"
#include "base/time.h"

struct env_var {
    const char *name, *value;
};

struct machine {
    const char *type;       /* "n1-standard-4" */
    uint32_t cpu_milli;     /* requested vCPU * 1000 */
    uint64_t mem_bytes;     /* requested */
    const char *accel_type; /* "NVIDIA_TESLA_T4" or NULL */
    uint32_t accel_count;
};

enum task_kind { TASK_CONTAINER = 1, TASK_PYTHON = 2 };

struct pool_spec {
    uint32_t replica_count; /* 0: an empty placeholder pool */
    struct machine machine;
    uint64_t disk_bytes;
    enum task_kind kind;
    const char *image_uri; /* as sent */
    const char **command;  /* NULL-terminated; empty when unset */
    const char **args;
    struct env_var *env; /* as sent, in order */
    size_t nr_env;
    const char **package_uris; /* TASK_PYTHON; NULL-terminated */
    const char *python_module;
};

enum job_strategy { STRATEGY_STANDARD = 0, STRATEGY_SPOT, STRATEGY_FLEX_START };

struct job_spec {
    const char *name; /* full resource name (project number form) */
    const char *id;   /* last segment, decimal */
    const char *display_name;
    const char *project_id; /* as the user wrote it */
    uint64_t project_number;
    const char *location;
    struct pool_spec *pools;
    uint32_t nr_pools;
    const char *base_output; /* "gs://…/" with exactly one trailing slash, or NULL */
    const char *service_account;
    usec_t timeout;  /* running time; default 7 days */
    usec_t max_wait; /* FLEX_START; USEC_NEVER = for ever */
    bool restart_on_worker_restart, disable_retries, web_access;
    enum job_strategy strategy;
    const char *cluster_job_json; /* JobSpec as JSON, snake_case, for CLUSTER_SPEC "job" */
    struct env_var *labels;       /* name = key */
    size_t nr_labels;
    /* Of a hyperparameter tuning job's trial: "1", "2", ...; NULL: this job is none. Its metrics
     * are read (engine_sink.measured). */
    const char *trial_id;
};

/* Total replicas over all pools; replica r (0-based, pool order) is in pool *ret_pool at
 * *ret_index. */
uint32_t job_spec_replicas(const struct job_spec *s);
void job_spec_locate(const struct job_spec *s, uint32_t replica, uint32_t *ret_pool,
                     uint32_t *ret_index);

#endif
