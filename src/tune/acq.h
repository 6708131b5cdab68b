/* How promising a configuration is, with its gradient (reference 30 §2.7, §2.9, §2.12): the upper
 * confidence bound of one objective, the expected hypervolume gain of two, or the bound of a random
 * scalarisation of more; less where it would probably fail or not be safe. */
#ifndef CUSP_TUNE_ACQ_H
#define CUSP_TUNE_ACQ_H

#include "tune/front.h"
#include "tune/gp.h"

#define ACQ_MODELS_MAX 16 /* objectives, safety metrics, feasibility together */

enum acq_kind { ACQ_UCB, ACQ_LOG_EI, ACQ_LOG_EHVI /* of two objectives */ };

struct acq {
    enum acq_kind kind;
    double beta; /* UCB */
    double best; /* log EI: the incumbent's value */
    const struct gp *objectives[ACQ_MODELS_MAX];
    size_t nr_objectives;
    double weight[ACQ_MODELS_MAX], reference[ACQ_MODELS_MAX]; /* scalarisation, of several */
    struct front front;                                       /* EHVI; the acq's own */
    /* An earlier study's model of the one objective: `before_share` of its mean is added to ours,
     * which has learnt only what differs. NULL: none. */
    const struct gp *before;
    double before_share;
    /* Models whose value should be above 0: safety metrics, feasibility. */
    const struct gp *limits[ACQ_MODELS_MAX];
    double margin[ACQ_MODELS_MAX], extra_var[ACQ_MODELS_MAX];
    bool is_strict[ACQ_MODELS_MAX]; /* only where it is likely */
    size_t nr_limits;
    /* work space */
    struct gp_at at[ACQ_MODELS_MAX], at_before;
    double *room;
    size_t cap;
};

void acq_fini(struct acq *a);
/* value: m; grad: m x d or NULL (categories' entries are 0). */
void acq_eval(struct acq *a, const double *x, size_t m, double *value, double *grad);

/* value: m numbers that acq_eval's do not exceed, for a fraction of its cost. False, and nothing
 * written: there are no such (several objectives). */
bool acq_bound(struct acq *a, const double *x, size_t m, double *value);

/* ln(phi(u) + u Phi(u)) and Phi(u) / (phi(u) + u Phi(u)), without loss for any u. */
double acq_log_h(double u, double *ret_ratio);

#endif
