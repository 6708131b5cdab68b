/* Rules of training pipelines (reference 05 §2, §3, §5). */
#include "api/spec_pipeline.h"

#include "api/model_check.h"
#include "api/spec.h"
#include "pb/pb.h"

#define URI_SHOWN 200

static void check_definition(const Aip__TrainingPipeline *p, struct violations *vs) {
    const char *uri = p->training_task_definition;
    if (!uri[0]) {
        violations_add(vs, "training_task_definition", "Required field is not set.");
    } else if (training_task_of(str_of(uri)) == TRAINING_TASK_UNKNOWN) {
        violations_add(vs, "training_task_definition",
                       "Training task \"%.*s\" is not supported: code is trained here, not "
                       "AutoML models. Supported: \"%s\", \"%s\".",
                       URI_SHOWN, uri, TASK_CUSTOM_URI, TASK_TUNING_URI);
    }
}

bool pipeline_has_upload(const Aip__TrainingPipeline *p) {
    return p->model_to_upload && pb_packed_size(&p->model_to_upload->base) > 0;
}

static const char *base_output_of(const struct task_inputs *in) {
    const Aip__CustomJobSpec *s = in->custom   ? in->custom
                                  : in->tuning ? in->tuning->trial_job_spec
                                               : NULL;
    return s && s->base_output_directory ? s->base_output_directory->output_uri_prefix : "";
}

static struct str without_slash(const char *uri) {
    struct str s = str_of(uri);
    while (s.n && s.p[s.n - 1] == '/') {
        s.n--;
    }
    return s;
}

const char *pipeline_artifact_uri(struct arena *a, const Aip__TrainingPipeline *p,
                                  const struct task_inputs *in, uint64_t trial) {
    if (p->model_to_upload->artifact_uri[0]) {
        return arena_printf(a, "%.*s/", STR_ARG(without_slash(p->model_to_upload->artifact_uri)));
    }
    const char *base = base_output_of(in);
    if (base[0] && trial) {
        return arena_printf(a, "%.*s/%llu/model/", STR_ARG(without_slash(base)),
                            (unsigned long long)trial);
    }
    return base[0] ? arena_printf(a, "%.*s/model/", STR_ARG(without_slash(base))) : NULL;
}

static void check_upload(const Aip__TrainingPipeline *p, const struct task_inputs *in,
                         struct violations *vs) {
    if (!pipeline_has_upload(p)) {
        if (p->parent_model[0]) {
            violations_add(vs, "model_to_upload",
                           "`parent_model` is set, but there is no model to upload.");
        }
        return;
    }
    const Aip__Model *m = p->model_to_upload;
    model_check(m, "model_to_upload", true, vs);
    bool is_readable = in->custom || in->tuning;
    if (is_readable && !m->artifact_uri[0] && !base_output_of(in)[0]) {
        violations_add(vs, "model_to_upload.artifact_uri",
                       "The model's artefacts are nowhere: set `artifact_uri`, or "
                       "`base_output_directory` in `training_task_inputs`.");
    }
}

int training_pipeline_check(struct arena *a, const Aip__TrainingPipeline *p,
                            struct task_inputs *ret, struct violations *vs, struct err *err) {
    *ret = (struct task_inputs){0};
    display_name_check("display_name", p->display_name, vs);
    labels_check("labels", p->n_labels, (Aip__CustomJob__LabelsEntry *const *)p->labels, vs);
    encryption_check("encryption_spec", p->encryption_spec, vs);
    check_definition(p, vs);
    enum training_task kind = training_task_of(str_of(p->training_task_definition));
    if (kind != TRAINING_TASK_UNKNOWN &&
        task_inputs_read(a, kind, p->training_task_inputs, ret, vs, err) != 0) {
        return -1;
    }
    check_upload(p, ret, vs);
    return 0;
}
