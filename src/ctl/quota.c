/* Quota. */
#include "ctl/quota.h"

bool quota_allows(uint32_t max_running, uint32_t held, uint32_t need, struct buf *why) {
    if (max_running == 0 || (held <= max_running && need <= max_running - held)) {
        return true;
    }
    if (why) {
        buf_printf(why,
                   "needs %u of the %u replicas that the quota max_running allows, %u are in use",
                   need, max_running, held);
    }
    return false;
}
