/* Left out or zero? proto3 cannot tell for plain numbers, JSON can. A worker pool without a
 * replicaCount has one replica (reference 03 §1), one that says 0 is refused: so the body is looked
 * at once more, only when a pool that is not empty came out with 0. Protobuf senders cannot say 0
 * and leave no body: there 0 is left out. */
#include "api/spec.h"

#include <jansson.h>

static const json_t *either(const json_t *obj, const char *camel, const char *snake) {
    const json_t *v = json_object_get(obj, camel);
    return v ? v : json_object_get(obj, snake);
}

static bool needs_a_look(const Aip__WorkerPoolSpec *p) {
    return p->replica_count == 0 && p->task_case != AIP__WORKER_POOL_SPEC__TASK__NOT_SET;
}

static void default_replicas(Aip__CustomJobSpec *spec, struct str body, const char *camel,
                             const char *snake) {
    bool look = false;
    for (size_t i = 0; spec && i < spec->n_worker_pool_specs; i++) {
        look = look || needs_a_look(spec->worker_pool_specs[i]);
    }
    for (size_t i = 0; look && !body.n && i < spec->n_worker_pool_specs; i++) {
        if (needs_a_look(spec->worker_pool_specs[i])) {
            spec->worker_pool_specs[i]->replica_count = 1;
        }
    }
    json_t *root = look && body.n ? json_loadb(body.p ? body.p : "", body.n, 0, NULL) : NULL;
    const json_t *pools =
        either(either(root, camel, snake), "workerPoolSpecs", "worker_pool_specs");
    for (size_t i = 0; root && i < spec->n_worker_pool_specs; i++) {
        const json_t *pool = json_array_get(pools, i);
        const json_t *count = either(pool, "replicaCount", "replica_count");
        if (needs_a_look(spec->worker_pool_specs[i]) && pool && (!count || json_is_null(count))) {
            spec->worker_pool_specs[i]->replica_count = 1;
        }
    }
    json_decref(root);
}

void custom_job_default_replicas(Aip__CustomJob *job, struct str body) {
    default_replicas(job->job_spec, body, "jobSpec", "job_spec");
}

void tuning_job_default_replicas(Aip__HyperparameterTuningJob *job, struct str body) {
    default_replicas(job->trial_job_spec, body, "trialJobSpec", "trial_job_spec");
}
