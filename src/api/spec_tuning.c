/* Rules of tuning jobs that are neither the study's nor a job spec's. */
#include "api/spec_tuning.h"

#include "api/spec.h"
#include "api/spec_study.h"
#include "base/limits.h"

struct at {
    char text[120];
};

static struct at below(const char *prefix, const char *field) {
    struct at at;
    snprintf(at.text, sizeof(at.text), "%.40s%s%s", prefix, prefix[0] ? "." : "", field);
    return at;
}

static void check_counts(const Aip__HyperparameterTuningJob *t, const char *prefix,
                         struct violations *vs) {
    if (t->max_trial_count <= 0) {
        violations_add(vs, below(prefix, "max_trial_count").text,
                       "At least 1 trial is needed; the request has %d.", t->max_trial_count);
    } else if ((uint64_t)t->max_trial_count > limits.max_study_trials) {
        limits_hit(&limits.max_study_trials);
        violations_add(vs, below(prefix, "max_trial_count").text,
                       "At most %llu trials are allowed (limit max_study_trials); the request has "
                       "%d.",
                       (unsigned long long)limits.max_study_trials, t->max_trial_count);
    }
    if (t->parallel_trial_count <= 0) {
        violations_add(vs, below(prefix, "parallel_trial_count").text,
                       "At least 1 trial must run at a time; the request has %d.",
                       t->parallel_trial_count);
    }
    if (t->max_failed_trial_count < 0) {
        violations_add(vs, below(prefix, "max_failed_trial_count").text,
                       "A number of trials cannot be negative; the request has %d. 0 leaves it to "
                       "the service.",
                       t->max_failed_trial_count);
    } else if (t->max_trial_count > 0 && t->max_failed_trial_count > t->max_trial_count) {
        violations_add(vs, below(prefix, "max_failed_trial_count").text,
                       "max_failed_trial_count %d is larger than max_trial_count %d.",
                       t->max_failed_trial_count, t->max_trial_count);
    }
}

static bool is_tpu(const Aip__MachineSpec *m) {
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
        &aip__accelerator_type__descriptor, (int)m->accelerator_type);
    return strcmp(m->machine_type, "cloud-tpu") == 0 ||
           str_starts(str_of(m->machine_type), STR("ct5lp-")) ||
           (v && str_starts(str_of(v->name), STR("TPU_")));
}

static void check_trial_job(const Aip__CustomJobSpec *s, const char *prefix,
                            struct violations *vs) {
    struct at at = below(prefix, "trial_job_spec");
    char field[180];
    job_spec_check(s, at.text, vs);
    for (size_t i = 0; i < s->n_worker_pool_specs && i < limits.max_worker_pools; i++) {
        const Aip__MachineSpec *m = s->worker_pool_specs[i]->machine_spec;
        if (m && is_tpu(m)) {
            snprintf(field, sizeof(field), "%s.worker_pool_specs[%zu].machine_spec", at.text, i);
            violations_add(vs, field, "TPUs are not available to hyperparameter tuning jobs.");
        }
    }
}

void tuning_check(const Aip__HyperparameterTuningJob *t, const char *prefix,
                  struct violations *vs) {
    if (!t->study_spec) {
        violations_add(vs, below(prefix, "study_spec").text, "Required field is not set.");
    } else {
        study_spec_check(t->study_spec, below(prefix, "study_spec").text, vs);
    }
    check_counts(t, prefix, vs);
    if (!t->trial_job_spec) {
        violations_add(vs, below(prefix, "trial_job_spec").text, "Required field is not set.");
    } else {
        check_trial_job(t->trial_job_spec, prefix, vs);
    }
}

void tuning_job_check(const Aip__HyperparameterTuningJob *t, struct violations *vs) {
    display_name_check("display_name", t->display_name, vs);
    labels_check("labels", t->n_labels, (Aip__CustomJob__LabelsEntry *const *)t->labels, vs);
    encryption_check("encryption_spec", t->encryption_spec, vs);
    tuning_check(t, "", vs);
}
