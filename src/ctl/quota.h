/* Quota: may these replicas run besides those that hold a place already? */
#ifndef CUSP_CTL_QUOTA_H
#define CUSP_CTL_QUOTA_H

#include "base/buf.h"

/* max_running 0: no quota. why (may be NULL) gets a phrase when the answer is no. */
bool quota_allows(uint32_t max_running, uint32_t held, uint32_t need, struct buf *why);

#endif
