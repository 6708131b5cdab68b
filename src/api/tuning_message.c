#include "api/tuning_message.h"

#include "api/study_message.h"
#include "pb/pb.h"
#include "pb/wkt.h"

#define MEASUREMENTS_LEAST 2u /* of a trial, however many there are in all */

int tuning_message(struct arena *a, const struct store_row *row, const struct tuning_status *status,
                   Aip__HyperparameterTuningJob **ret, struct err *err) {
    ProtobufCMessage *msg;
    struct tuning_status st;
    if (pb_unpack(a, &aip__hyperparameter_tuning_job__descriptor, row->spec, &msg, err) ||
        (!status && tuning_status_decode(a, row->status, &st, err))) {
        /* What we stored ourselves does not read: not the client's fault. */
        if (err) {
            err->code = ERR_DATA_LOSS;
        }
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    const struct tuning_status *s = status ? status : &st;
    Aip__HyperparameterTuningJob *m = (Aip__HyperparameterTuningJob *)msg;
    m->name = arena_strndup(a, row->name.p, row->name.n);
    m->state = (Aip__JobState)s->state;
    m->create_time = wkt_timestamp_if_set(a, s->create_time);
    m->start_time = wkt_timestamp_if_set(a, s->start_time);
    m->end_time = wkt_timestamp_if_set(a, s->end_time);
    m->update_time = wkt_timestamp_if_set(a, s->update_time);
    m->max_trial_count = (int32_t)s->max_trials;
    m->parallel_trial_count = (int32_t)s->parallel;
    m->max_failed_trial_count = (int32_t)s->max_failed;
    if (s->error_code && job_state_is_terminal(s->state)) {
        m->error = arena_own(a, sizeof(*m->error));
        google__rpc__status__init(m->error);
        m->error->code = s->error_code;
        m->error->message = arena_strdup(a, s->error_msg ? s->error_msg : "");
    }
    *ret = m;
    return 0;
}

void tuning_message_trials(struct arena *a, const struct study *s,
                           Aip__HyperparameterTuningJob *m) {
    struct study_plan plan;
    size_t n = study_counts(s).total;
    size_t each = n ? MEASUREMENTS_SHOWN / n : 0;
    study_plan_init(&plan, a, m->study_spec, 0);
    m->trials = arena_own_array(a, n + 1, sizeof(*m->trials));
    m->n_trials = 0;
    each = each > MEASUREMENTS_LEAST ? each : MEASUREMENTS_LEAST;
    for (const struct study_trial *t = study_trial_after(s, 0); t && m->n_trials < n;
         t = study_trial_after(s, t->id)) {
        m->trials[m->n_trials++] = study_trial_message(a, &plan, s, t, each);
    }
}

static ProtobufCMessage *decode(struct arena *a, const struct store_row *row) {
    Aip__HyperparameterTuningJob *m;
    return tuning_message(a, row, NULL, &m, NULL) ? NULL : &m->base;
}

const struct filter_schema tuning_schema = {&aip__hyperparameter_tuning_job__descriptor, decode};
