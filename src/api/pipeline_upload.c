/* The artefacts of a pipeline's job become a version of a model: sealed first, then uploaded in the
 * transaction that ends the pipeline. */
#include "api/pipeline_work_int.h"

#include "api/model_message.h"
#include "api/names.h"
#include "api/seal.h"
#include "base/fail.h"
#include "base/rec.h"
#include "ctl/events.h"
#include "ctl/model.h"
#include "pb/pb.h"

struct upload {
    struct api *api;
    struct pipeline_work *work;
    struct arena *arena;
    const char *folder;         /* "gs://B/dir", no slash at its end */
    struct seal *seal;          /* while it is under way */
    struct str sealed;          /* in arena */
    struct store_events events; /* of the job */
    struct event staged;        /* of its last attempt; in arena. No inputs: nothing is known */
    struct model_upload up;
};

static const struct pipeline_parsed *parsed_of(const struct pipeline_work *w) {
    return w->spec->parsed;
}

/* ---- seal ---- */

/* The last attempt's: it is the one that succeeded. A job deleted meanwhile has left none. */
static void on_job_events(struct store_events *e, const struct store_event *ev, size_t n,
                          const struct err *err) {
    struct upload *u = e->arg;
    struct err why;
    if (!err) {
        for (size_t i = n; i > 0; i--) {
            if (ev[i - 1].type == EV_ATTEMPT_STAGED) {
                err = event_decode(u->arena, &ev[i - 1], &u->staged, &why) ? &why : NULL;
                break;
            }
        }
    }
    u->work->cb(u->work, err);
}

/* The one that trained what is uploaded. */
static const char *job_of(const struct pipeline_status *s) {
    return s->best_job ? s->best_job : s->child;
}

static void read_job_events(struct upload *u) {
    struct store *store = u->api->store;
    u->events = (struct store_events){
        .owner = str_of(job_of(u->work->status)), .arena = u->arena, .cb = on_job_events, .arg = u};
    store->ops->events(store, &u->events);
}

static void on_sealed(void *arg, const struct seal_facts *f, const struct err *err) {
    struct upload *u = arg;
    struct err e;
    u->seal = NULL;
    if (!err && FAIL_POINT("pipeline.upload.sealed", &e)) {
        err = &e;
    }
    if (err) {
        u->work->cb(u->work, err);
        return;
    }
    u->sealed = arena_str(u->arena, f->text);
    read_job_events(u);
}

void pipeline_seal(void *arg, struct pipeline_work *w) {
    const struct pipeline_parsed *p = parsed_of(w);
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct upload *u = arena_alloc(a, sizeof(*u));
    struct str folder = str_of(pipeline_artifact_uri(a, p->msg, &p->in, w->status->best_trial));
    folder.n--; /* its one slash at the end */
    u->api = arg;
    u->work = w;
    u->arena = a;
    u->folder = arena_str(a, folder).p;
    w->priv = u;
    u->seal =
        seal_begin(u->api->blob, &(struct seal_wish){.folder = folder, .cb = on_sealed, .arg = u});
}

void pipeline_seal_cancel(struct pipeline_work *w) {
    struct upload *u = w->priv;
    if (u->seal) {
        seal_cancel(u->seal);
    }
}

void pipeline_upload_drop(void *arg, struct pipeline_work *w) {
    struct upload *u = w->priv;
    w->priv = NULL;
    if (u) {
        arena_free(u->arena);
    }
}

/* ---- upload ---- */

static struct str *aliases_of(struct arena *a, const Aip__Model *m) {
    struct str *out = arena_own_array(a, m->n_version_aliases + 1, sizeof(*out));
    for (size_t i = 0; i < m->n_version_aliases; i++) {
        out[i] = str_of(m->version_aliases[i]);
    }
    return out;
}

static struct store_label *labels_of(struct arena *a, const Aip__Model *m) {
    struct store_label *out = arena_own_array(a, m->n_labels + 1, sizeof(*out));
    for (size_t i = 0; i < m->n_labels; i++) {
        out[i] = (struct store_label){str_of(m->labels[i]->key), str_of(m->labels[i]->value)};
    }
    return out;
}

int pipeline_upload_wish(struct projects *projects, struct arena *a, struct str parent,
                         const Aip__TrainingPipeline *msg, struct model_upload *ret,
                         struct err *err) {
    const Aip__Model *m = msg->model_to_upload;
    struct name_parts n;
    struct str version;
    *ret = (struct model_upload){.parent = parent,
                                 .model_id = str_of(msg->model_id),
                                 .display_name = str_of(m->display_name),
                                 .description = str_of(m->description),
                                 .version_description = str_of(m->version_description),
                                 .labels = labels_of(a, m),
                                 .nr_labels = m->n_labels,
                                 .aliases = aliases_of(a, m),
                                 .nr_aliases = m->n_version_aliases};
    if (msg->parent_model[0]) {
        if (name_parse_in(projects, a, str_of(msg->parent_model), "models", "parent_model", &n,
                          err)) {
            return -1;
        }
        /* A version is not looked at: the new one follows the newest (reference 07 §3). */
        ret->parent_model = model_name_cut(n.canonical, &version);
    }
    return 0;
}

/* The message that the registry keeps: where the artefact is becomes part of it. */
static bool pack_model(struct upload *u, struct str *ret) {
    const Aip__TrainingPipeline *msg = parsed_of(u->work)->msg;
    ProtobufCMessage *copy = pb_clone(u->arena, &msg->model_to_upload->base);
    Aip__Model *m = (Aip__Model *)copy;
    if (!m) {
        return false;
    }
    if (!m->artifact_uri[0]) {
        m->artifact_uri = arena_strdup(u->arena, u->folder);
    }
    if (!m->encryption_spec) {
        m->encryption_spec = msg->encryption_spec;
    }
    return model_message_pack(u->arena, m, ret);
}

/* The images and packages that the job ran from, as its engine found them. */
static void put_job_facts(struct buf *b, const struct event *staged) {
    for (size_t i = 0; i < staged->nr_inputs; i++) {
        const struct staged_input *in = &staged->inputs[i];
        if (in->kind == INPUT_IMAGE) {
            rec_puts(b, MODEL_FACT_IMAGE, in->uri);
            rec_puts(b, MODEL_FACT_IMAGE_DIGEST, in->digest);
        } else {
            auto_free char *text = xasprintf("%s %s", in->uri, in->digest);
            rec_puts(b, MODEL_FACT_PACKAGE, text);
        }
    }
}

/* Lineage: what the version was made by, and of. */
static struct str facts_of(struct upload *u) {
    const struct pipeline_work *w = u->work;
    const struct pipeline_parsed *p = parsed_of(w);
    const struct pipeline_data *d = &w->status->data;
    const Aip__InputDataConfig *in = p->msg->input_data_config;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    rec_put(&b, MODEL_FACT_PIPELINE, w->spec->name);
    rec_puts(&b, MODEL_FACT_JOB, job_of(w->status));
    put_job_facts(&b, &u->staged);
    if (d->format) {
        rec_puts(&b, MODEL_FACT_DATASET, d->dataset);
        if (in->annotation_schema_uri[0]) {
            rec_puts(&b, MODEL_FACT_ANNOTATIONS, in->annotation_schema_uri);
        }
        rec_put_u64(&b, MODEL_FACT_TRAINING_ITEMS, d->items[SET_TRAINING]);
        rec_put_u64(&b, MODEL_FACT_VALIDATION_ITEMS, d->items[SET_VALIDATION]);
        rec_put_u64(&b, MODEL_FACT_TEST_ITEMS, d->items[SET_TEST]);
    }
    return arena_str(u->arena, buf_str(&b));
}

/* The views live as long as the upload. */
static void describe(struct upload *u, const struct model_uploaded *done,
                     struct pipeline_model *ret) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < done->nr_aliases; i++) {
        buf_printf(&b, "%s%.*s", i ? "," : "", STR_ARG(done->aliases[i]));
    }
    *ret = (struct pipeline_model){
        .name = arena_str(u->arena, done->name).p,
        .version = arena_printf(u->arena, "%llu", (unsigned long long)done->version),
        .aliases = arena_str(u->arena, buf_str(&b)).p};
}

static void on_join(void *arg, struct store_txn *t, const struct model_uploaded *done) {
    struct upload *u = arg;
    struct pipeline_model made;
    describe(u, done, &made);
    u->work->join(u->work, t, &made);
    (void)FAIL_POINT("pipeline.upload.joined", NULL);
}

static void on_uploaded(struct model_upload *up, const struct model_uploaded *done,
                        const struct err *err) {
    struct upload *u = up->arg;
    (void)FAIL_POINT("pipeline.upload.durable", NULL);
    if (!err) {
        describe(u, done, &u->work->made);
    }
    u->work->cb(u->work, err);
}

void pipeline_upload(void *arg, struct pipeline_work *w) {
    struct upload *u = w->priv;
    struct err err;
    /* Both were read and checked when the pipeline was created. */
    int rc = pipeline_upload_wish(u->api->projects, u->arena, w->spec->parent, parsed_of(w)->msg,
                                  &u->up, &err);
    CHECK(rc == 0);
    CHECK(pack_model(u, &u->up.spec));
    u->up.facts = facts_of(u);
    u->up.seal = u->sealed;
    u->up.token = w->spec->name;
    u->up.join = on_join;
    u->up.join_arg = u;
    u->up.cb = on_uploaded;
    u->up.arg = u;
    (void)FAIL_POINT("pipeline.upload.begin", NULL);
    model_upload(u->api->models, &u->up);
}
