/* Capacity of this host: processors, memory, GPUs. Reads /proc and /dev; no state. */
#ifndef CUSP_ENGINE_LOCAL_HOST_H
#define CUSP_ENGINE_LOCAL_HOST_H

#include "engine/engine.h"

struct cgroup_layout;

/* cpu_milli and mem_bytes override what is found when not 0. Memory is what jobs may use: the
 * host's (or our own cgroup's limit, when lower) without a reserve for the server and the system.
 */
void host_capacity(uint32_t cpu_milli, uint64_t mem_bytes, struct capacity *ret);
/* The AcceleratorType a GPU model ("NVIDIA A100-SXM4-80GB") stands for; "NVIDIA_GPU" for others. */
const char *host_accelerator_type(struct str model);
/* MemTotal of /proc/meminfo's text in bytes, 0 when absent. */
uint64_t host_mem_total(struct str meminfo);

#endif
