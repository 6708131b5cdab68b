/* ModelService: the examples that an example-based explanation is made from. They are part of a
 * version's explanationSpec; an update replaces where they are, and is done when it is answered. */
#include "api/svc_model.h"

#include "api/operations.h"
#include "ctl/model_state.h"
#include "pb/pb.h"
#include "pb/rpc.h"

#define FIELD "examples"

struct explaining {
    struct call *call;
    struct model_name name;
    struct model_change change;
    Google__Longrunning__Operation *op;
    struct str spec; /* of the version, with the new examples; in the call's arena */
};

/* ---- what a request may say ---- */

static const Aip__GcsSource *source_of(const Aip__Examples *e) {
    if (e->source_case == AIP__EXAMPLES__SOURCE_EXAMPLE_GCS_SOURCE &&
        e->example_gcs_source->gcs_source) {
        return e->example_gcs_source->gcs_source;
    }
    return e->gcs_source;
}

static void check_examples(const Aip__Examples *e, struct violations *vs) {
    const Aip__GcsSource *src = e ? source_of(e) : NULL;
    if (!src || !src->n_uris) {
        violations_add(vs, FIELD ".example_gcs_source.gcs_source.uris",
                       "Required: Cloud Storage URIs of the examples.");
        return;
    }
    for (size_t i = 0; i < src->n_uris; i++) {
        struct str rest = str_of(src->uris[i]);
        bool is_gs = str_starts(rest, STR("gs://"));
        rest = str_sub(rest, 5, rest.n);
        struct str bucket = str_cut(&rest, '/');
        if (!is_gs || !bucket.n || !rest.n) {
            violations_add(vs, FIELD ".example_gcs_source.gcs_source.uris",
                           "\"%.200s\" is not a Cloud Storage URI such as gs://BUCKET/PATH.",
                           src->uris[i]);
        }
    }
    if (e->neighbor_count < 0) {
        violations_add(vs, FIELD ".neighbor_count", "%d is out of range: it must not be negative.",
                       e->neighbor_count);
    }
}

/* ---- the change ---- */

/* Asked before anything is committed; of a change of this type the version's row is there. */
static int guard(void *arg, const struct store_row *model, const struct store_row *version,
                 struct err *err) {
    struct explaining *x = arg;
    struct arena *a = x->call->arena;
    const Aip__UpdateExplanationDatasetRequest *req = (void *)x->call->req;
    ProtobufCMessage *msg;
    if (pb_unpack(a, &aip__model__descriptor, version->spec, &msg, err)) {
        return -1;
    }
    Aip__Model *m = (Aip__Model *)msg;
    Aip__ExplanationParameters *p = m->explanation_spec ? m->explanation_spec->parameters : NULL;
    if (!p || p->method_case != AIP__EXPLANATION_PARAMETERS__METHOD_EXAMPLES) {
        return err_field(err, ERR_FAILED_PRECONDITION, "model",
                         "%.*s has no example-based explanation: its "
                         "explanation_spec.parameters.examples is not set, so there is no dataset "
                         "of examples to update.",
                         (int)(version->name.n < 300 ? version->name.n : 300), version->name.p);
    }
    Aip__Examples *now = (Aip__Examples *)pb_clone(a, &req->examples->base);
    if (!now->neighbor_count) {
        now->neighbor_count = p->examples->neighbor_count;
    }
    if (now->config_case == AIP__EXAMPLES__CONFIG__NOT_SET) {
        now->config_case = p->examples->config_case;
        now->nearest_neighbor_search_config = p->examples->nearest_neighbor_search_config;
    }
    p->examples = now;
    return model_message_pack(a, m, &x->spec)
               ? 0
               : err_set(err, ERR_RESOURCE_EXHAUSTED, "The model needs more memory than allowed.");
}

static void join(void *arg, struct store_txn *t, const struct model_found *f) {
    struct explaining *x = arg;
    struct call *c = x->call;
    Aip__UpdateExplanationDatasetOperationMetadata meta =
        AIP__UPDATE_EXPLANATION_DATASET_OPERATION_METADATA__INIT;
    Aip__UpdateExplanationDatasetResponse resp = AIP__UPDATE_EXPLANATION_DATASET_RESPONSE__INIT;
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    struct store_row row = *f->version_row;
    row.spec = x->spec;
    row.update_time = now > row.update_time ? now : row.update_time + 1;
    store_txn_replace(t, &row);
    if (model_state_default(f->state) ==
        f->version) { /* the model's row shows the default version */
        row = *f->model;
        row.spec = x->spec;
        row.update_time = now > row.update_time ? now : row.update_time + 1;
        store_txn_replace(t, &row);
    }
    x->op = operation_insert_done(c->api->operations, t, c->arena,
                                  &(struct operation_about){.parent = x->name.parts.parent,
                                                            .resource = x->name.resource,
                                                            .is_nested = true,
                                                            .is_beta = c->rpc->is_beta,
                                                            .metadata = &meta.base},
                                  &resp.base);
}

static void on_changed(struct model_change *mc, const struct model_found *f,
                       const struct err *err) {
    struct explaining *x = mc->arg;
    if (err) {
        call_fail(x->call, err);
    } else {
        svc_operation_reply(x->call, x->op, x->call->rpc->is_beta);
    }
}

void svc_model_update_examples(struct call *c) {
    Aip__UpdateExplanationDatasetRequest *req = (Aip__UpdateExplanationDatasetRequest *)c->req;
    struct explaining *x = arena_own(c->arena, sizeof(*x));
    struct violations vs;
    struct err err;
    x->call = c;
    if (model_name_parse(c, req->model, "model", &x->name, &err)) {
        call_fail(c, &err);
        return;
    }
    violations_init(&vs, c->arena);
    check_examples(req->examples, &vs);
    if (vs.n) {
        call_fail_violations(c, &vs);
        return;
    }
    x->change = (struct model_change){.type = MODEL_ATTACH,
                                      .name = x->name.model,
                                      .version = x->name.version,
                                      .guard = guard,
                                      .join = join,
                                      .cb = on_changed,
                                      .arg = x};
    model_change(c->api->models, &x->change);
}
