/* Addresses of containers on the bridge. The registry is a directory on the host, one symbolic link
 * an address pointing at the run directory that has it: shared by every server on the host (they
 * share the bridge), it needs no daemon and nothing to replay after a crash. A link whose run
 * directory is gone is free. Calls block shortly; any thread. */
#ifndef CUSP_ENGINE_LOCAL_IPAM_H
#define CUSP_ENGINE_LOCAL_IPAM_H

#include "base/err.h"

#define IPAM_ADDR_SIZE 16

struct ipam {
    uint32_t base, mask; /* host order */
    unsigned prefix_len;
    char *dir;
};

/* subnet "10.201.0.0/16", prefix 8..29. The first address is the gateway's. */
int ipam_init(struct ipam *m, const char *subnet, const char *registry, struct err *err) MUST_CHECK;
void ipam_fini(struct ipam *m);
void ipam_gateway(const struct ipam *m, char ret[IPAM_ADDR_SIZE]);
/* A free address for owner (an absolute run directory, which may not exist yet).
 * RESOURCE_EXHAUSTED when all are taken. */
int ipam_take(const struct ipam *m, const char *owner, char ret[IPAM_ADDR_SIZE],
              struct err *err) MUST_CHECK;
/* Gives back whatever owner has. */
void ipam_give(const struct ipam *m, const char *owner, const char *addr);
/* Forgets addresses of owners below prefix that no longer exist. */
void ipam_sweep(const struct ipam *m, const char *prefix);

#endif
