/* See pipeline_message.h. */
#include "api/pipeline_message.h"

#include "api/spec_task_inputs.h"
#include "ctl/pipeline.h"
#include "pb/pb.h"
#include "pb/wkt.h"

static void add_field(struct arena *a, Google__Protobuf__Struct *s, const char *key,
                      const char *value) {
    Google__Protobuf__Value *v = arena_own(a, sizeof(*v));
    Google__Protobuf__Struct__FieldsEntry *e = arena_own(a, sizeof(*e));
    google__protobuf__value__init(v);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
    v->string_value = arena_strdup(a, value);
    google__protobuf__struct__fields_entry__init(e);
    e->key = arena_strdup(a, key);
    e->value = v;
    s->fields[s->n_fields++] = e;
}

/* {"backingCustomJob": NAME}, or {"backingHyperparameterTuningJob": NAME}, with
 * "bestTrialBackingCustomJob" when it has succeeded (reference 05 §4). */
static Google__Protobuf__Value *metadata(struct arena *a, const struct pipeline_status *st,
                                         bool is_tuned) {
    Google__Protobuf__Value *v = arena_own(a, sizeof(*v));
    Google__Protobuf__Struct *s = arena_own(a, sizeof(*s));
    google__protobuf__struct__init(s);
    s->fields = arena_own_array(a, 2, sizeof(*s->fields));
    add_field(a, s, is_tuned ? "backingHyperparameterTuningJob" : "backingCustomJob", st->child);
    if (st->best_job) {
        add_field(a, s, "bestTrialBackingCustomJob", st->best_job);
    }
    google__protobuf__value__init(v);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    v->struct_value = s;
    return v;
}

static void put_model(struct arena *a, const struct pipeline_model *made, Aip__Model *m) {
    m->name = arena_strdup(a, made->name);
    m->version_id = arena_strdup(a, made->version ? made->version : "");
    struct str all = str_of(made->aliases ? made->aliases : "");
    m->n_version_aliases = 0;
    m->version_aliases = arena_own_array(a, all.n + 1, sizeof(*m->version_aliases));
    while (all.p && all.n) {
        struct str one = str_cut(&all, ',');
        m->version_aliases[m->n_version_aliases++] = arena_strndup(a, one.p, one.n);
    }
}

int pipeline_message(struct arena *a, const struct store_row *row, Aip__TrainingPipeline **ret,
                     struct err *err) {
    ProtobufCMessage *msg;
    struct pipeline_status st;
    if (pb_unpack(a, &aip__training_pipeline__descriptor, row->spec, &msg, err) ||
        pipeline_status_decode(a, row->status, &st, err)) {
        /* What we stored ourselves does not read: not the client's fault. */
        if (err) {
            err->code = ERR_DATA_LOSS;
        }
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    Aip__TrainingPipeline *p = (Aip__TrainingPipeline *)msg;
    p->name = arena_strndup(a, row->name.p, row->name.n);
    p->state = (Aip__PipelineState)st.state;
    p->create_time = wkt_timestamp_if_set(a, st.create_time);
    p->start_time = wkt_timestamp_if_set(a, st.start_time);
    p->end_time = wkt_timestamp_if_set(a, st.end_time);
    p->update_time = wkt_timestamp_if_set(a, st.update_time);
    bool is_tuned = training_task_of(str_of(p->training_task_definition)) == TRAINING_TASK_TUNING;
    p->training_task_metadata = st.child ? metadata(a, &st, is_tuned) : NULL;
    if (st.error_code) {
        p->error = arena_own(a, sizeof(*p->error));
        google__rpc__status__init(p->error);
        p->error->code = st.error_code;
        p->error->message = arena_strdup(a, st.error_msg ? st.error_msg : "");
    }
    if (st.model.name && p->model_to_upload) {
        put_model(a, &st.model, p->model_to_upload);
    }
    *ret = p;
    return 0;
}

static ProtobufCMessage *decode(struct arena *a, const struct store_row *row) {
    Aip__TrainingPipeline *p;
    return pipeline_message(a, row, &p, NULL) ? NULL : &p->base;
}

const struct filter_schema pipeline_schema = {&aip__training_pipeline__descriptor, decode};
