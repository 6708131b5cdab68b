/* Networks: see net.h. */
#include "runner/net.h"

int net_enter(const struct conf *c, struct err *err) {
    (void)c;
    (void)err;
    return 0;
}
