/* The kernel's radial part over arrays, where most exponentials of the tuner are. Written so that
 * the compiler vectorises it: no calls, no branches. */
#include "tune/gp.h"
#include "tune/wide.h"

#include <math.h>

/* e^-r for r >= 0: 2^k times a polynomial on +-ln2/2; relative error below 1e-15. */
static inline double exp_minus(double r) {
    const double log2e = 1.4426950408889634, ln2_hi = 0x1.62e42fefa0000p-1,
                 ln2_lo = 0x1.cf79abc9e3b3ap-40, round_ = 0x1.8p52;
    double x = r > 700.0 ? -700.0 : -r;
    double kf = x * log2e + round_;
    int64_t ki;
    memcpy(&ki, &kf, sizeof(ki));
    kf -= round_;
    double t = (x - kf * ln2_hi) - kf * ln2_lo;
    double p = 1.0 / 6227020800.0;
    p = p * t + 1.0 / 479001600.0;
    p = p * t + 1.0 / 39916800.0;
    p = p * t + 1.0 / 3628800.0;
    p = p * t + 1.0 / 362880.0;
    p = p * t + 1.0 / 40320.0;
    p = p * t + 1.0 / 5040.0;
    p = p * t + 1.0 / 720.0;
    p = p * t + 1.0 / 120.0;
    p = p * t + 1.0 / 24.0;
    p = p * t + 1.0 / 6.0;
    p = p * t + 0.5;
    p = p * t + 1.0;
    p = p * t + 1.0;
    int64_t bits = (int64_t)((uint64_t)ki << 52);
    double scale;
    int64_t one = 0x3ff0000000000000;
    bits = (int64_t)((uint64_t)bits + (uint64_t)one);
    memcpy(&scale, &bits, sizeof(scale));
    return p * scale;
}

WIDE void gp_matern(double *restrict r2, double *restrict w, size_t n) {
    if (w) {
        for (size_t i = 0; i < n; i++) {
            double q = r2[i] > 0 ? r2[i] : 0;
            double r = sqrt(5 * q), e = exp_minus(r);
            r2[i] = e * (1 + r + r * r / 3);
            w[i] = e * (1 + r) * (5.0 / 3);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            double q = r2[i] > 0 ? r2[i] : 0;
            double r = sqrt(5 * q);
            r2[i] = exp_minus(r) * (1 + r + r * r / 3);
        }
    }
}
