/* See pipeline_work.h. */
#include "api/pipeline_work_int.h"

#include "api/names.h"
#include "api/spec.h"
#include "pb/pb.h"

static int decode(void *arg, struct arena *a, const struct store_row *row,
                  struct pipeline_spec *ret, struct err *err) {
    struct pipeline_parsed *p = arena_alloc(a, sizeof(*p));
    ProtobufCMessage *msg;
    struct violations vs;
    if (pb_unpack(a, &aip__training_pipeline__descriptor, row->spec, &msg, err)) {
        return -1;
    }
    p->msg = (Aip__TrainingPipeline *)msg;
    violations_init(&vs, a);
    if (training_pipeline_check(a, p->msg, &p->in, &vs, err) || violations_to_err(&vs, err)) {
        return -1;
    }
    struct stored_name name = name_stored(a, row->name);
    *ret = (struct pipeline_spec){.name = name.name,
                                  .parent = arena_str(a, row->parent),
                                  .id = name.id,
                                  .project_number = name.number,
                                  .has_input = p->msg->input_data_config != NULL,
                                  .has_upload = pipeline_has_upload(p->msg),
                                  .is_tuned = p->in.tuning != NULL,
                                  .parsed = p};
    return 0;
}

/* ---- the job ---- */

static Aip__EnvVar *env_var(struct arena *a, const char *name, const char *value) {
    Aip__EnvVar *e = arena_own(a, sizeof(*e));
    aip__env_var__init(e);
    e->name = arena_strdup(a, name);
    e->value = arena_strdup(a, value);
    return e;
}

static bool has_env(size_t n, Aip__EnvVar *const *env, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(env[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* In front of the user's own, which may refer to them or stand in their place (reference 02 §5). */
static void add_data_env(struct arena *a, const struct pipeline_data *d, size_t *n,
                         Aip__EnvVar ***env) {
    const char *const pairs[][2] = {{"AIP_DATA_FORMAT", d->format},
                                    {"AIP_TRAINING_DATA_URI", d->uri[SET_TRAINING]},
                                    {"AIP_VALIDATION_DATA_URI", d->uri[SET_VALIDATION]},
                                    {"AIP_TEST_DATA_URI", d->uri[SET_TEST]}};
    Aip__EnvVar **all = arena_own_array(a, *n + NR_OF(pairs), sizeof(*all));
    size_t k = 0;
    for (size_t i = 0; i < NR_OF(pairs); i++) {
        if (!has_env(*n, *env, pairs[i][0])) {
            all[k++] = env_var(a, pairs[i][0], pairs[i][1]);
        }
    }
    for (size_t i = 0; i < *n; i++) {
        all[k++] = (*env)[i];
    }
    *n = k;
    *env = all;
}

static void add_data(struct arena *a, const struct pipeline_data *data, Aip__CustomJobSpec *spec) {
    for (size_t i = 0; data && i < spec->n_worker_pool_specs; i++) {
        Aip__WorkerPoolSpec *pool = spec->worker_pool_specs[i];
        if (pool->task_case == AIP__WORKER_POOL_SPEC__TASK_CONTAINER_SPEC) {
            add_data_env(a, data, &pool->container_spec->n_env, &pool->container_spec->env);
        } else if (pool->task_case == AIP__WORKER_POOL_SPEC__TASK_PYTHON_PACKAGE_SPEC) {
            add_data_env(a, data, &pool->python_package_spec->n_env,
                         &pool->python_package_spec->env);
        }
    }
}

static int make_child(void *arg, struct arena *a, const struct pipeline_spec *spec,
                      const struct pipeline_data *data, struct job_create *ret, struct err *err) {
    const struct pipeline_parsed *p = spec->parsed;
    Aip__CustomJob job = AIP__CUSTOM_JOB__INIT;
    ProtobufCMessage *copy = pb_clone(a, &p->in.custom->base);
    if (!copy) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "no memory for the job");
    }
    job.display_name = arena_printf(a, "%s-custom-job", p->msg->display_name);
    job.job_spec = (Aip__CustomJobSpec *)copy;
    job.n_labels = p->msg->n_labels;
    job.labels = (Aip__CustomJob__LabelsEntry **)p->msg->labels;
    job.encryption_spec = p->msg->encryption_spec;
    add_data(a, data, job.job_spec);
    custom_job_fill_defaults(a, &job);
    *ret = (struct job_create){.kind = STR("customJob"),
                               .parent = spec->parent,
                               .display_name = str_of(job.display_name),
                               .labels = labels_stored(a, job.n_labels, job.labels),
                               .nr_labels = job.n_labels};
    if (!pb_pack_in(a, &job.base, &ret->spec)) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "no memory for the job");
    }
    return 0;
}

/* The task's own labels, and those of the pipeline that they do not name. */
static void join_labels(struct arena *a, const Aip__TrainingPipeline *p,
                        Aip__HyperparameterTuningJob *job) {
    Aip__HyperparameterTuningJob__LabelsEntry **all =
        arena_own_array(a, job->n_labels + p->n_labels + 1, sizeof(*all));
    size_t n = job->n_labels;
    for (size_t i = 0; i < job->n_labels; i++) {
        all[i] = job->labels[i];
    }
    for (size_t i = 0; i < p->n_labels; i++) {
        bool is_there = false;
        for (size_t k = 0; k < job->n_labels; k++) {
            is_there |= strcmp(job->labels[k]->key, p->labels[i]->key) == 0;
        }
        if (!is_there) {
            all[n++] = (Aip__HyperparameterTuningJob__LabelsEntry *)p->labels[i];
        }
    }
    job->labels = all;
    job->n_labels = n;
}

static int make_tuning(void *arg, struct arena *a, const struct pipeline_spec *spec,
                       const struct pipeline_data *data, struct tuning_create *ret,
                       struct err *err) {
    const struct pipeline_parsed *p = spec->parsed;
    Aip__HyperparameterTuningJob *job =
        (Aip__HyperparameterTuningJob *)pb_clone(a, &p->in.tuning->base);
    if (!job) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "no memory for the tuning job");
    }
    job->display_name = arena_printf(a, "%s-hyperparameter-tuning-job", p->msg->display_name);
    job->encryption_spec = p->msg->encryption_spec;
    join_labels(a, p->msg, job);
    add_data(a, data, job->trial_job_spec);
    job_spec_fill_defaults(a, job->trial_job_spec);
    *ret = (struct tuning_create){
        .parent = spec->parent,
        .display_name = str_of(job->display_name),
        .labels =
            labels_stored(a, job->n_labels, (Aip__CustomJob__LabelsEntry *const *)job->labels),
        .nr_labels = job->n_labels};
    if (!pb_pack_in(a, &job->base, &ret->spec)) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "no memory for the tuning job");
    }
    return 0;
}

/* Of an export or a seal: which of the two, the phase tells. */
static void cancel(void *arg, struct pipeline_work *w) {
    if (w->status->phase == PIPELINE_EXPORTING) {
        pipeline_export_cancel(w);
    } else {
        pipeline_seal_cancel(w);
    }
}

const struct pipeline_ops pipeline_ops = {.decode = decode,
                                          .child = make_child,
                                          .tuning = make_tuning,
                                          .export_data = pipeline_export,
                                          .seal = pipeline_seal,
                                          .upload = pipeline_upload,
                                          .cancel = cancel,
                                          .drop = pipeline_upload_drop};
