#include "api/tuning_work.h"

#include "api/job_trial.h"
#include "api/names.h"
#include "api/spec.h"
#include "api/study_message.h"
#include "base/limits.h"
#include "pb/pb.h"

static int decode(void *arg, struct arena *a, const struct store_row *row, struct tuning_spec *ret,
                  struct err *err) {
    struct tuning_parsed *p = arena_alloc(a, sizeof(*p));
    struct study_spec *study = arena_alloc(a, sizeof(*study));
    ProtobufCMessage *msg;
    if (pb_unpack(a, &aip__hyperparameter_tuning_job__descriptor, row->spec, &msg, err)) {
        return -1;
    }
    p->msg = (Aip__HyperparameterTuningJob *)msg;
    if (!p->msg->study_spec || !p->msg->trial_job_spec) {
        return err_set(err, ERR_DATA_LOSS, "stored tuning job has no study_spec or trial_job_spec");
    }
    struct stored_name name = name_stored(a, row->name);
    /* The seed is the name: the same each time, another for each job. */
    study_plan_init(&p->plan, a, p->msg->study_spec, str_hash(name.name));
    study_spec_make(&p->plan, a, row->create_time, study);
    *ret = (struct tuning_spec){.name = name.name,
                                .parent = arena_str(a, row->parent),
                                .id = name.id,
                                .project_number = name.number,
                                .display_name = p->msg->display_name,
                                .study = study,
                                .parsed = p};
    study->budget = (struct study_budget){.max_trials = (uint32_t)p->msg->max_trial_count,
                                          .parallel = (uint32_t)p->msg->parallel_trial_count,
                                          .max_failed = (uint32_t)p->msg->max_failed_trial_count};
    return 0;
}

/* ---- the job of a trial ---- */

/* "NAME-trial-7": of a long name the beginning. */
static char *display_name(struct arena *a, const char *of, const char *trial) {
    struct str s = str_of(of);
    size_t max = DISPLAY_NAME_MAX - strlen("-trial-") - strlen(trial);
    while (str_utf8_len(s) > max) {
        do {
            s.n--;
        } while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80);
    }
    return arena_printf(a, "%.*s-trial-%s", STR_ARG(s), trial);
}

/* Behind the user's own, so that a default given there is overridden. */
static void add_args(struct arena *a, const Aip__Trial *t, size_t *n, char ***args) {
    char **all = arena_own_array(a, *n + t->n_parameters + 1, sizeof(*all));
    for (size_t i = 0; i < *n; i++) {
        all[i] = (*args)[i];
    }
    for (size_t i = 0; i < t->n_parameters; i++) {
        all[(*n)++] = arena_printf(a, "--%s=%s", t->parameters[i]->parameter_id,
                                   study_value_text(a, t->parameters[i]));
    }
    *args = all;
}

static void set_base_output(struct arena *a, Aip__CustomJobSpec *s, const char *trial) {
    Aip__GcsDestination *d = s->base_output_directory;
    if (!d || !d->output_uri_prefix[0]) {
        return;
    }
    struct str base = str_of(d->output_uri_prefix);
    while (base.n && base.p[base.n - 1] == '/') {
        base.n--;
    }
    d->output_uri_prefix = arena_printf(a, "%.*s/%s", STR_ARG(base), trial);
}

static int pack_marked(struct arena *a, const Aip__CustomJob *job, const struct job_trial *mark,
                       struct str *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(limits.max_message_bytes);
    job_trial_put(&b, mark);
    if (pb_pack(&job->base, &b)) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "the trial's job is larger than max_message_bytes (%llu)",
                       (unsigned long long)limits.max_message_bytes);
    }
    *ret = arena_str(a, buf_str(&b));
    return 0;
}

static int trial_job(void *arg, struct arena *a, const struct tuning_spec *spec,
                     const struct study_trial *trial, struct job_create *ret, struct err *err) {
    const struct tuning_parsed *p = spec->parsed;
    const Aip__HyperparameterTuningJob *of = p->msg;
    Aip__CustomJob job = AIP__CUSTOM_JOB__INIT;
    Aip__Trial params = AIP__TRIAL__INIT;
    char *id = arena_printf(a, "%llu", (unsigned long long)trial->id);
    ProtobufCMessage *copy = pb_clone(a, &of->trial_job_spec->base);
    if (!copy) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "no memory for the trial's job");
    }
    study_setting_to_trial(&p->plan, a, trial->setting, &params);
    job.display_name = display_name(a, of->display_name, id);
    job.job_spec = (Aip__CustomJobSpec *)copy;
    job.n_labels = of->n_labels;
    job.labels = (Aip__CustomJob__LabelsEntry **)of->labels;
    job.encryption_spec = of->encryption_spec;
    for (size_t i = 0; i < job.job_spec->n_worker_pool_specs; i++) {
        Aip__WorkerPoolSpec *pool = job.job_spec->worker_pool_specs[i];
        if (pool->task_case == AIP__WORKER_POOL_SPEC__TASK_CONTAINER_SPEC) {
            add_args(a, &params, &pool->container_spec->n_args, &pool->container_spec->args);
        } else if (pool->task_case == AIP__WORKER_POOL_SPEC__TASK_PYTHON_PACKAGE_SPEC) {
            add_args(a, &params, &pool->python_package_spec->n_args,
                     &pool->python_package_spec->args);
        }
    }
    set_base_output(a, job.job_spec, id);
    custom_job_fill_defaults(a, &job);
    *ret = (struct job_create){.kind = STR("customJob"),
                               .parent = spec->parent,
                               .display_name = str_of(job.display_name),
                               .labels = labels_stored(a, job.n_labels, job.labels),
                               .nr_labels = job.n_labels};
    struct job_trial mark = {.tuning = spec->id, .trial = str_of(id)};
    return pack_marked(a, &job, &mark, &ret->spec, err);
}

const struct tuning_ops tuning_ops = {.decode = decode, .trial_job = trial_job};
