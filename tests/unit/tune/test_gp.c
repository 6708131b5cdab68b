/* The model's maths: src/tune/{gp,matern,fit,acq}.c (reference 30 §4, tests 2 to 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "tune/acq.h"
#include "tune/fit.h"

#include <math.h>

struct case_ {
    struct space s;
    double *x, *y;
    size_t n;
    struct rng rng;
};

/* d numbers and two categories. */
static void case_init(struct case_ *c, size_t d, size_t n) {
    static const struct tune_metric metric = {0};
    struct tune_param p[16];
    for (size_t j = 0; j < d; j++) {
        p[j] = (struct tune_param){.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1};
    }
    p[d] = (struct tune_param){.type = TUNE_CATEGORICAL, .nr_values = 3, .parent = -1};
    p[d + 1] = (struct tune_param){.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1};
    struct tune_study st = {.params = p, .nr_params = d + 2, .metrics = &metric, .nr_metrics = 1};
    struct err err;
    *c = (struct case_){.n = n};
    assert_int_equal(space_init(&c->s, &st, &err), 0);
    rng_seed(&c->rng, d * 100 + n);
    c->x = xcalloc(n * c->s.d, sizeof(double));
    c->y = xcalloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++) {
        double *x = c->x + i * c->s.d;
        space_random(&c->s, &c->rng, x);
        c->y[i] = sin(5 * x[0]) + 0.3 * x[c->s.d - 2] + 0.1 * rng_unit(&c->rng);
    }
}

static void case_fini(struct case_ *c) {
    space_fini(&c->s);
    free(c->x);
    free(c->y);
}

static void test_kernel_agrees_with_libm(void **state) {
    for (double r2 = 0; r2 < 1e5; r2 = r2 * 1.1 + 1e-6) {
        double k[1] = {r2}, w[1], alone[1] = {r2}, r = sqrt(5 * r2);
        gp_matern(k, w, 1);
        gp_matern(alone, NULL, 1);
        double e = r > 700 ? 0 : exp(-r);
        assert_true(k[0] == alone[0]);
        assert_true(fabs(k[0] - e * (1 + r + r * r / 3)) <= 4e-15 * k[0] + 1e-290);
        assert_true(fabs(w[0] - e * (1 + r) * 5 / 3) <= 4e-15 * w[0] + 1e-290);
    }
    double below[1] = {-1e-12};
    gp_matern(below, NULL, 1);
    assert_true(below[0] == 1);
}

static void agrees(const struct fit_data *f, double *theta, double *grad, size_t m) {
    double v = fit_value(f, theta, grad);
    assert_true(fabs(v - fit_value(f, theta, NULL)) < 1e-9);
    for (size_t i = 0; i < m; i++) {
        double at = theta[i], h = 1e-5;
        theta[i] = at + h;
        double up = fit_value(f, theta, NULL);
        theta[i] = at - h;
        double down = fit_value(f, theta, NULL);
        theta[i] = at;
        double numeric = (up - down) / (2 * h);
        assert_true(fabs(numeric - grad[i]) < 1e-4 * fmax(1, fabs(numeric)));
    }
}

static void test_gradient_of_the_fit_agrees_with_differences(void **state) {
    static const size_t sizes[][2] = {{1, 2}, {1, 30}, {3, 30}, {10, 30}};
    for (size_t q = 0; q < NR_OF(sizes); q++) {
        struct case_ c;
        case_init(&c, sizes[q][0], sizes[q][1]);
        struct fit_data f = {&c.s, TUNE_NOISE_UNSPECIFIED, c.x, c.y, c.n, true};
        size_t m = 2 * c.s.d + 3;
        auto_free double *theta = xcalloc(fit_size(&c.s), sizeof(double));
        auto_free double *grad = xcalloc(m, sizeof(double));
        fit_prior_means(&c.s, f.noise, theta);
        for (size_t i = 0; i < m; i++) {
            theta[i] += rng_unit(&c.rng) - 0.5;
        }
        for (int way = 0; way < 2; way++) {
            f.has_axes = way == 0;
            f.leans = way == 1;
            agrees(&f, theta, grad, way ? c.s.d + 1 + c.s.nr_numeric : m);
        }
        f.leans = false;
        f.has_axes = false;
        double before = fit_value(&f, theta, NULL);
        fit_theta(&f, true, theta);
        f.has_axes = theta[c.s.d + 2] > FIT_NO_AXES;
        assert_true(fit_value(&f, theta, NULL) <= before);
        case_fini(&c);
    }
}

static void build(struct case_ *c, struct gp *g, size_t n) {
    auto_free double *theta = xcalloc(fit_size(&c->s), sizeof(double));
    fit_prior_means(&c->s, TUNE_NOISE_UNSPECIFIED, theta);
    struct gp_theta t = fit_view(&c->s, theta);
    gp_init(g, &c->s);
    gp_build(g, &t, c->x, n);
}

static void test_rows_may_be_appended(void **state) {
    struct case_ c;
    case_init(&c, 4, 200);
    struct gp whole, grown;
    build(&c, &whole, 200);
    build(&c, &grown, 5);
    for (size_t i = 5; i < 200; i++) {
        gp_append(&grown, c.x + i * c.s.d);
    }
    double worst = 0, size = 0;
    for (size_t i = 0; i < 200; i++) {
        for (size_t k = 0; k < 200; k++) {
            double a = whole.inverse[i * whole.cap + k];
            worst = fmax(worst, fabs(a - grown.inverse[i * grown.cap + k]));
            size = fmax(size, fabs(a));
        }
    }
    assert_true(worst < 1e-6 * size);
    gp_fini(&whole);
    gp_fini(&grown);
    case_fini(&c);
}

/* A narrow valley across all axes: the model finds its direction, and what is computed from a
 * turned model is what its definition says. */
static void test_a_valley_across_the_axes_turns_the_model(void **state) {
    struct case_ c;
    case_init(&c, 4, 60);
    size_t d = c.s.d, dn = c.s.nr_numeric;
    static const double across[] = {0.5, -0.5, 0.7, 0.1}; /* of length 1 */
    struct fit_data f = {.space = &c.s, .x = c.x, .y = c.y, .n = c.n};
    auto_free double *theta = xcalloc(fit_size(&c.s), sizeof(double));
    fit_prior_means(&c.s, f.noise, theta);
    fit_theta(&f, true, theta);
    assert_null(fit_view(&c.s, theta).turn); /* a function of one feature asks for nothing */
    double mean = 0, var = 0;
    for (size_t i = 0; i < c.n; i++) {
        const double *x = c.x + i * d;
        double along = -0.4;
        for (size_t j = 0; j < dn; j++) {
            along += across[j] * x[j];
        }
        c.y[i] = -along * along - 0.01 * (x[0] - 0.3) * (x[0] - 0.3);
        mean += c.y[i] / (double)c.n;
    }
    for (size_t i = 0; i < c.n; i++) {
        c.y[i] -= mean;
        var += c.y[i] * c.y[i] / (double)c.n;
    }
    for (size_t i = 0; i < c.n; i++) {
        c.y[i] /= sqrt(var);
    }
    fit_prior_means(&c.s, f.noise, theta);
    fit_theta(&f, true, theta);
    struct gp_theta t = fit_view(&c.s, theta);
    assert_non_null(t.turn);
    double dot = 0, norm = 0;
    for (size_t j = 0; j < dn; j++) {
        double w = t.turn[(dn - 1) * dn + j];
        dot += w * across[j];
        norm += w * w;
    }
    assert_true(fabs(dot) / sqrt(norm) > 0.99);

    struct gp whole, grown, copy;
    gp_init(&whole, &c.s);
    gp_init(&grown, &c.s);
    gp_init(&copy, &c.s);
    gp_build(&whole, &t, c.x, c.n);
    gp_build(&grown, &t, c.x, c.n - 1);
    gp_append(&grown, c.x + (c.n - 1) * d);
    gp_label(&whole, c.y);
    gp_label(&grown, c.y);
    gp_copy(&copy, &grown);
    struct gp_at at = {0}, other = {0};
    auto_free double *x = xcalloc(d, sizeof(double)), *grad = xcalloc(d, sizeof(double));
    space_random(&c.s, &c.rng, x);
    const double one = 1, none = 0;
    gp_predict(&whole, x, 1, true, &at);
    gp_predict(&copy, x, 1, true, &other);
    assert_true(fabs(at.mean[0] - other.mean[0]) < 1e-5 && fabs(at.sd[0] - other.sd[0]) < 1e-5);
    gp_gradient(&whole, x, &at, &one, &none, grad);
    for (size_t j = 0; j < dn; j++) {
        double here = x[j], h = 1e-4;
        x[j] = here + h;
        gp_predict(&whole, x, 1, true, &other);
        double up = other.mean[0];
        x[j] = here - h;
        gp_predict(&whole, x, 1, true, &other);
        x[j] = here;
        double numeric = (up - other.mean[0]) / (2 * h);
        assert_true(fabs(numeric - grad[j]) < 1e-3 * fmax(1, fabs(numeric)));
    }
    gp_at_fini(&at);
    gp_at_fini(&other);
    gp_fini(&whole);
    gp_fini(&grown);
    gp_fini(&copy);
    case_fini(&c);
}

static void test_pending_rows_change_no_mean_and_shrink_the_spread(void **state) {
    struct case_ c;
    case_init(&c, 3, 20);
    struct gp g, with;
    build(&c, &g, 20);
    gp_label(&g, c.y);
    gp_init(&with, &c.s);
    gp_copy(&with, &g);
    double x[5], probe[5 * 8];
    space_random(&c.s, &c.rng, x);
    gp_append_predicted(&with, x);
    for (size_t i = 0; i < 8; i++) {
        space_random(&c.s, &c.rng, probe + i * c.s.d);
    }
    memcpy(probe, x, c.s.d * sizeof(double));
    struct gp_at a = {0}, b = {0};
    gp_predict(&g, probe, 8, true, &a);
    gp_predict(&with, probe, 8, true, &b);
    for (size_t i = 0; i < 8; i++) {
        assert_true(fabs(a.mean[i] - b.mean[i]) < 1e-6);
        assert_true(b.sd[i] <= a.sd[i] + 1e-9);
    }
    assert_true(b.sd[0] < 0.3 * a.sd[0]);
    gp_at_fini(&a);
    gp_at_fini(&b);
    gp_fini(&g);
    gp_fini(&with);
    case_fini(&c);
}

static void check_gradient(struct acq *a, struct case_ *c) {
    size_t d = c->s.d;
    auto_free double *x = xcalloc(d, sizeof(double)), *grad = xcalloc(d, sizeof(double));
    for (int round = 0; round < 20; round++) {
        space_random(&c->s, &c->rng, x);
        double v, up, down;
        acq_eval(a, x, 1, &v, grad);
        assert_true(isfinite(v));
        for (size_t j = 0; j < c->s.nr_numeric; j++) {
            double at = x[j], h = 1e-6;
            x[j] = at + h;
            acq_eval(a, x, 1, &up, NULL);
            x[j] = at - h;
            acq_eval(a, x, 1, &down, NULL);
            x[j] = at;
            double numeric = (up - down) / (2 * h);
            assert_true(fabs(numeric - grad[j]) < 1e-4 * fmax(1, fabs(numeric)));
        }
    }
}

static void test_gradients_of_acquisitions_agree_with_differences(void **state) {
    static const size_t dims[] = {1, 3, 10};
    for (size_t q = 0; q < NR_OF(dims); q++) {
        struct case_ c;
        case_init(&c, dims[q], 30);
        struct gp g, other;
        build(&c, &g, 30);
        gp_label(&g, c.y);
        build(&c, &other, 30);
        for (size_t i = 0; i < 30; i++) {
            c.y[i] = cos(3 * c.x[i * c.s.d]);
        }
        gp_label(&other, c.y);
        struct acq ucb = {.kind = ACQ_UCB, .beta = 0.6, .objectives = {&g}, .nr_objectives = 1};
        check_gradient(&ucb, &c);
        struct acq ei = {.kind = ACQ_LOG_EI, .best = 1.2, .objectives = {&g}, .nr_objectives = 1};
        check_gradient(&ei, &c);
        struct acq limited = {.beta = 1,
                              .objectives = {&g},
                              .nr_objectives = 1,
                              .limits = {&other},
                              .margin = {0.3},
                              .extra_var = {1},
                              .nr_limits = 1};
        check_gradient(&limited, &c);
        acq_fini(&ucb);
        acq_fini(&ei);
        acq_fini(&limited);
        gp_fini(&g);
        gp_fini(&other);
        case_fini(&c);
    }
}

static void test_log_ei_is_exact_everywhere(void **state) {
    /* Reference 30 §4, test 3: 50-digit values. */
    static const double want[][2] = {{0, -0.918938533204672742},   {-1, -2.4851210257126413},
                                     {-5, -16.7443011626609901},   {-25, -319.8614635814959543},
                                     {-40, -808.2985683566199602}, {-300, -45012.3265368145542065},
                                     {-1e6, -500000000028.55}};
    double ratio;
    for (size_t i = 0; i < NR_OF(want); i++) {
        assert_true(fabs(acq_log_h(want[i][0], &ratio) / want[i][1] - 1) < 1e-10);
        assert_true(isfinite(ratio) && ratio > 0);
    }
    double last = -INFINITY;
    for (double u = -100; u < 10; u += 0.01) {
        double v = acq_log_h(u, &ratio);
        assert_true(v > last);
        last = v;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_agrees_with_libm),
        cmocka_unit_test(test_gradient_of_the_fit_agrees_with_differences),
        cmocka_unit_test(test_rows_may_be_appended),
        cmocka_unit_test(test_a_valley_across_the_axes_turns_the_model),
        cmocka_unit_test(test_pending_rows_change_no_mean_and_shrink_the_spread),
        cmocka_unit_test(test_gradients_of_acquisitions_agree_with_differences),
        cmocka_unit_test(test_log_ei_is_exact_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
