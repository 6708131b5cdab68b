/* The dataset of a pipeline becomes files that its job reads (reference 05 §6-7). */
#include "api/pipeline_work_int.h"

#include "api/dataset_export.h"
#include "base/fail.h"

struct export {
    struct pipeline_work *work;
    struct dataset_export x;
};

static void on_exported(struct dataset_export *x, const struct err *err) {
    struct export *e = x->arg;
    struct pipeline_work *w = e->work;
    struct err failed;
    if (!err && FAIL_POINT("pipeline.export.done", &failed)) {
        err = &failed;
    }
    if (!err) {
        w->data = (struct pipeline_data){.format = x->format, .dataset = x->dataset};
        for (int i = 0; i < SET_NR; i++) {
            w->data.uri[i] = x->uri[i];
            w->data.items[i] = x->items[i];
        }
    }
    w->priv = NULL;
    w->cb(w, err); /* copies the data; w may be gone now */
    dataset_export_fini(x);
    free(e);
}

void pipeline_export(void *arg, struct pipeline_work *w) {
    const struct pipeline_parsed *p = w->spec->parsed;
    struct api *api = arg;
    struct export *e = xcalloc(1, sizeof(*e));
    e->work = w;
    w->priv = e;
    /* By the pipeline's creation, not by now: begun again after a crash, it exports to the same
     * place. */
    e->x = (struct dataset_export){.parent = w->spec->parent,
                                   .config = p->msg->input_data_config,
                                   .use = DATASET_EXPORT_TRAINING,
                                   .timestamp = w->status->create_time,
                                   .cb = on_exported,
                                   .arg = e};
    dataset_export_start(api->exports, &e->x);
}

void pipeline_export_cancel(struct pipeline_work *w) {
    struct export *e = w->priv;
    dataset_export_cancel(&e->x);
}
