/* CustomJob message -> struct job_spec. The bytes were checked when the job was created, so what
 * fails here is a store written by something newer. */
#include "api/api.h"
#include "api/job_trial.h"
#include "api/names.h"
#include "api/projects.h"
#include "api/spec.h"
#include "engine/machine.h"
#include "pb/pb.h"
#include "pb/wkt.h"

#define TIMEOUT_DEFAULT (7 * 86400 * (usec_t)USEC_PER_SEC)
#define MAX_WAIT_DEFAULT (86400 * (usec_t)USEC_PER_SEC)
#define GB ((uint64_t)1 << 30)

static const char **strings(struct arena *a, size_t n, char *const *p) {
    const char **out = arena_calloc(a, n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        out[i] = p[i];
    }
    return out;
}

static struct env_var *env_of(struct arena *a, size_t n, Aip__EnvVar *const *env) {
    struct env_var *out = arena_calloc(a, n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct env_var){env[i]->name, env[i]->value};
    }
    return out;
}

static int machine_of(struct machine *out, const Aip__MachineSpec *m, struct err *err) {
    struct machine_type t;
    if (!machine_type_find(str_of(m ? m->machine_type : ""), &t)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "Machine type \"%s\" is not supported.",
                       m ? m->machine_type : "");
    }
    const ProtobufCEnumValue *accel =
        m->accelerator_count ? protobuf_c_enum_descriptor_get_value(
                                   &aip__accelerator_type__descriptor, (int)m->accelerator_type)
                             : NULL;
    *out =
        (struct machine){.type = m->machine_type,
                         .cpu_milli = t.vcpus * 1000,
                         .mem_bytes = t.mem_bytes,
                         .accel_type = accel ? accel->name : t.builtin_accel,
                         .accel_count = accel ? (uint32_t)m->accelerator_count : t.builtin_count};
    return 0;
}

static int pool_of(struct arena *a, struct pool_spec *out, const Aip__WorkerPoolSpec *p,
                   struct err *err) {
    if (p->task_case == AIP__WORKER_POOL_SPEC__TASK__NOT_SET) {
        return 0; /* placeholder: no replicas */
    }
    if (machine_of(&out->machine, p->machine_spec, err)) {
        return -1;
    }
    out->replica_count = (uint32_t)p->replica_count;
    out->disk_bytes = p->disk_spec ? (uint64_t)p->disk_spec->boot_disk_size_gb * GB : 100 * GB;
    if (p->task_case == AIP__WORKER_POOL_SPEC__TASK_CONTAINER_SPEC) {
        const Aip__ContainerSpec *c = p->container_spec;
        out->kind = TASK_CONTAINER;
        out->image_uri = c->image_uri;
        out->command = strings(a, c->n_command, c->command);
        out->args = strings(a, c->n_args, c->args);
        out->env = env_of(a, c->n_env, c->env);
        out->nr_env = c->n_env;
    } else {
        const Aip__PythonPackageSpec *y = p->python_package_spec;
        out->kind = TASK_PYTHON;
        out->image_uri = y->executor_image_uri;
        out->command = strings(a, 0, NULL);
        out->args = strings(a, y->n_args, y->args);
        out->env = env_of(a, y->n_env, y->env);
        out->nr_env = y->n_env;
        out->package_uris = strings(a, y->n_package_uris, y->package_uris);
        out->python_module = y->python_module;
    }
    return 0;
}

static enum job_strategy strategy_of(Aip__Scheduling__Strategy s) {
    return s == AIP__SCHEDULING__STRATEGY__SPOT         ? STRATEGY_SPOT
           : s == AIP__SCHEDULING__STRATEGY__FLEX_START ? STRATEGY_FLEX_START
                                                        : STRATEGY_STANDARD;
}

static void scheduling_of(struct job_spec *out, const Aip__Scheduling *s) {
    out->timeout = TIMEOUT_DEFAULT;
    out->max_wait = MAX_WAIT_DEFAULT;
    if (!s) {
        return;
    }
    if (s->timeout) {
        out->timeout = wkt_duration_usec(s->timeout);
    }
    if (s->max_wait_duration) {
        usec_t wait = wkt_duration_usec(s->max_wait_duration);
        out->max_wait = wait ? wait : USEC_NEVER;
    }
    out->strategy = strategy_of(s->strategy);
    out->disable_retries = s->disable_retries;
    out->restart_on_worker_restart = s->restart_job_on_worker_restart && !s->disable_retries;
}

static const char *base_output_of(struct arena *a, const Aip__GcsDestination *d) {
    if (!d || !d->output_uri_prefix[0]) {
        return NULL;
    }
    struct str s = str_of(d->output_uri_prefix);
    while (s.n && s.p[s.n - 1] == '/') {
        s.n--;
    }
    return arena_printf(a, "%.*s/", STR_ARG(s));
}

int spec_custom_job_decode(void *arg, struct arena *a, const struct store_row *row,
                           struct job_spec **ret, struct err *err) {
    struct api *api = arg;
    ProtobufCMessage *msg;
    struct job_trial trial;
    struct str packed = job_trial_cut(row->spec, &trial);
    if (pb_unpack(a, &aip__custom_job__descriptor, packed, &msg, err)) {
        return -1;
    }
    const Aip__CustomJob *job = (const Aip__CustomJob *)msg;
    const Aip__CustomJobSpec *spec = job->job_spec;
    if (!spec) {
        return err_set(err, ERR_DATA_LOSS, "stored job has no job_spec");
    }
    struct job_spec *out = arena_alloc(a, sizeof(*out));
    struct stored_name name = name_stored(a, row->name);
    out->name = name.name.p;
    out->id = name.id.p;
    out->display_name = job->display_name;
    out->trial_id = trial.tuning.p ? arena_str(a, trial.trial).p : NULL;
    out->project_number = name.number;
    out->project_id = projects_id(api->projects, a, out->project_number);
    out->location = name.location.p;
    out->nr_pools = (uint32_t)spec->n_worker_pool_specs;
    out->pools = arena_calloc(a, spec->n_worker_pool_specs + 1, sizeof(*out->pools));
    for (size_t i = 0; i < spec->n_worker_pool_specs; i++) {
        if (pool_of(a, &out->pools[i], spec->worker_pool_specs[i], err)) {
            return -1;
        }
    }
    scheduling_of(out, spec->scheduling);
    out->base_output = base_output_of(a, spec->base_output_directory);
    out->service_account = spec->service_account[0] ? spec->service_account : NULL;
    out->web_access = spec->enable_web_access;
    out->nr_labels = job->n_labels;
    out->labels = arena_calloc(a, job->n_labels + 1, sizeof(*out->labels));
    for (size_t i = 0; i < job->n_labels; i++) {
        out->labels[i] = (struct env_var){job->labels[i]->key, job->labels[i]->value};
    }
    auto_buf struct buf json = BUF_INIT(4 << 20);
    struct pb_json_opts opts = {.compact = true, .proto_names = true};
    if (pb_to_json(&spec->base, &opts, &json, err)) {
        return -1;
    }
    out->cluster_job_json = arena_strndup(a, json.p, json.n);
    *ret = out;
    return 0;
}
