/* Names a replica has on this host and in its cluster, and the three small files that make them
 * resolve. Pure: no I/O, everything derived from the job and the instance. */
#ifndef CUSP_ENGINE_LOCAL_NAMES_H
#define CUSP_ENGINE_LOCAL_NAMES_H

#include "base/buf.h"
#include "engine/job_spec.h"

#define NAMES_PORT 2222 /* of every replica in CLUSTER_SPEC (reference 03 §2) */
#define NAMES_HOST_SIZE 64
#define NAMES_REPLICA_SIZE 32
#define NAMES_VETH_SIZE 16
#define NAMES_INSTANCE_SIZE 9

/* "cmle-training-workerpool0-7f3a9c01d2-0": the same for every attempt, the hash shared by the job.
 */
void names_host(const struct job_spec *s, uint32_t pool, uint32_t index, char ret[NAMES_HOST_SIZE]);
/* "workerpool0-0" */
void names_replica(uint32_t pool, uint32_t index, char ret[NAMES_REPLICA_SIZE]);
/* Eight hex digits for one data directory, so that servers of one host do not meet. */
void names_instance(const char *data_dir, char ret[NAMES_INSTANCE_SIZE]);
/* Host side of the replica's network pair: "cv", four digits of the instance, nine of the rest. */
void names_veth(const char *instance, const char *job, uint32_t attempt, const char *replica,
                char ret[NAMES_VETH_SIZE]);

/* /etc/hosts of `self` (0-based over all pools): addrs[r] is replica r's address, NULL = this very
 * network namespace (loopback). */
void names_hosts_file(struct buf *out, const struct job_spec *s, uint32_t self,
                      const char *const *addrs);
/* /etc/resolv.conf made from the host's: with an own network namespace, name servers on loopback
 * addresses are useless and left out; fallback is used when none remains (may be NULL). */
void names_resolv_file(struct buf *out, struct str host_text, bool own_netns, const char *fallback);

#endif
