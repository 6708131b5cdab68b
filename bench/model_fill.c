/* Fills a data directory's database with models, by the registry itself: what model_figures.py
 * needs before a server starts. Usage: model_fill DB PROJECT_NUMBER MODELS VERSIONS. Model i is
 * called m0000000+i, its display name "model i", its labels team=tN (one of 100) and odd=yes/no. */
#include "base/rng.h"
#include "ctl/model.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "sys/loop.h"

#define AT_ONCE 512

static struct models *models;
static struct loop *loop;
static struct store *store;
static uint64_t nr_models, nr_versions, next_model, nr_done;
static struct str parent, spec;

struct chain { /* one model after the other, version by version */
    struct model_upload u;
    struct store_label labels[2];
    uint64_t model, version;
    char id[16], name[32], team[8], parent_model[128];
};

static void on_closed(void *arg) {
    loop_stop(loop);
}

static void on_stopped(void *arg) {
    store->ops->close(store, on_closed, NULL);
}

static void step(struct chain *c);

static void on_uploaded(struct model_upload *u, const struct model_uploaded *up,
                        const struct err *err) {
    struct chain *c = u->arg;
    if (err) {
        fprintf(stderr, "model_fill: %s\n", err->msg);
        exit(1);
    }
    if (++c->version == nr_versions) {
        nr_done++;
        c->model = next_model++;
        c->version = 0;
    }
    if (c->model < nr_models) {
        step(c);
    } else if (nr_done == nr_models) {
        nr_done++; /* once */
        models_stop(models, on_stopped, NULL);
    }
}

static void step(struct chain *c) {
    unsigned long long i = c->model;
    snprintf(c->id, sizeof(c->id), "m%07llu", i);
    snprintf(c->name, sizeof(c->name), "model %llu", i);
    snprintf(c->team, sizeof(c->team), "t%u", (unsigned)(i % 100));
    snprintf(c->parent_model, sizeof(c->parent_model), "%.*s/models/%s", STR_ARG(parent), c->id);
    c->labels[0] = (struct store_label){STR("team"), str_of(c->team)};
    c->labels[1] = (struct store_label){STR("odd"), i % 2 ? STR("yes") : STR("no")};
    c->u = (struct model_upload){.parent = parent,
                                 .model_id = c->version ? STR("") : str_of(c->id),
                                 .parent_model = c->version ? str_of(c->parent_model) : STR(""),
                                 .spec = spec,
                                 .display_name = str_of(c->name),
                                 .description = STR("a model among many"),
                                 .labels = c->labels,
                                 .nr_labels = NR_OF(c->labels),
                                 .seal = STR("123456 0a0b0c0d 1700000000000000 model.joblib\n"),
                                 .cb = on_uploaded,
                                 .arg = c};
    model_upload(models, &c->u);
}

static struct str spec_of(struct arena *a) {
    Aip__Model m = AIP__MODEL__INIT;
    Aip__ModelContainerSpec container = AIP__MODEL_CONTAINER_SPEC__INIT;
    struct str packed;
    container.image_uri = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest";
    m.container_spec = &container;
    m.artifact_uri = "gs://models/trained/2026-11-21/model";
    return pb_pack_in(a, &m.base, &packed) ? packed : STR("");
}

int main(int argc, char **argv) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct rng rng;
    struct err err;
    if (argc != 5 || !str_to_u64(str_of(argv[3]), &nr_models) ||
        !str_to_u64(str_of(argv[4]), &nr_versions)) {
        fprintf(stderr, "usage: model_fill DB PROJECT_NUMBER MODELS VERSIONS\n");
        return 2;
    }
    parent = str_of(arena_printf(a, "projects/%s/locations/us-central1", argv[2]));
    spec = spec_of(a);
    loop = loop_new();
    store = store_sqlite_open(loop, argv[1], &err);
    if (!store) {
        fprintf(stderr, "model_fill: %s\n", err.msg);
        return 1;
    }
    rng_seed(&rng, 1);
    models = models_new(loop_clock(loop), &rng, store);
    struct chain *chains = xcalloc(AT_ONCE, sizeof(*chains));
    for (size_t i = 0; i < AT_ONCE && next_model < nr_models; i++) {
        chains[i].model = next_model++;
        step(&chains[i]);
    }
    loop_run(loop);
    models_free(models);
    loop_free(loop);
    free(chains);
    arena_free(a);
    return 0;
}
