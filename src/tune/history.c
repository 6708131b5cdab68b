/* See history.h. */
#include "tune/history.h"

#include "base/mem.h"

void history_init(struct history *h, const struct space *s, const struct tune_study *study,
                  const struct tune_trial *trials, size_t nr) {
    size_t d = s->d;
    *h = (struct history){0};
    for (size_t i = 0; i < nr; i++) {
        h->n += trials[i].state == TUNE_DONE;
        h->nr_failed += trials[i].state == TUNE_FAILED;
        h->nr_pending += trials[i].state == TUNE_PENDING;
    }
    h->x = xcalloc(h->n * d + 1, sizeof(double));
    h->y = xcalloc(h->n * study->nr_metrics + 1, sizeof(double));
    h->failed = xcalloc(h->nr_failed * d + 1, sizeof(double));
    h->pending = xcalloc(h->nr_pending * d + 1, sizeof(double));
    h->ended = xcalloc((h->n + h->nr_failed) * d + 1, sizeof(double));
    h->ended_ok = xcalloc(h->n + h->nr_failed + 1, sizeof(bool));
    h->known = xcalloc(nr * d + 1, sizeof(double));
    h->nr_known = nr;
    size_t done = 0, failed = 0, pending = 0, ended = 0;
    for (size_t i = 0; i < nr; i++) {
        const struct tune_trial *t = &trials[i];
        size_t at = t->state == TUNE_PENDING ? h->n + h->nr_failed + pending : ended;
        double *x = h->known + at * d;
        space_encode(s, t->setting, x);
        if (t->state == TUNE_PENDING) {
            memcpy(h->pending + pending++ * d, x, d * sizeof(double));
            continue;
        }
        memcpy(h->ended + ended * d, x, d * sizeof(double));
        h->ended_ok[ended++] = t->state == TUNE_DONE;
        if (t->state == TUNE_FAILED) {
            memcpy(h->failed + failed++ * d, x, d * sizeof(double));
            continue;
        }
        memcpy(h->x + done * d, x, d * sizeof(double));
        for (size_t k = 0; k < study->nr_metrics; k++) {
            h->y[k * h->n + done] = study->metrics[k].minimize ? -t->metrics[k] : t->metrics[k];
        }
        done++;
    }
}

void history_fini(struct history *h) {
    free(h->x);
    free(h->y);
    free(h->failed);
    free(h->pending);
    free(h->ended);
    free(h->ended_ok);
    free(h->known);
    *h = (struct history){0};
}
