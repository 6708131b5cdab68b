/* Placement: pure functions from (machine, what is free, what a job asks) to (who gets what), all
 * replicas or none. A job that asks for more than the whole machine is given the machine: sizes are
 * clamped replica by replica, then the gang is scaled so that it fits the empty machine. So every
 * job can run some day, and waits only for others. */
#ifndef CUSP_CTL_PLACE_H
#define CUSP_CTL_PLACE_H

#include "engine/engine.h"

/* What is held of a capacity, now. Devices are identified by capacity.devices[].index; entries with
 * the same index are one device under several names. After a restart on a smaller machine more may
 * be held than there is: then nothing is free. */
struct ledger {
    uint64_t cpu_milli, mem_bytes;
    uint64_t devices;  /* bit i: the device of capacity.devices[i] (first entry of its index) */
    uint32_t replicas; /* whose processor and memory are held */
};

uint32_t ledger_cpu_free(const struct ledger *l, const struct capacity *total);
uint64_t ledger_mem_free(const struct ledger *l, const struct capacity *total);
/* Processor, memory and the count of replicas. Giving what is not held is a bug (CHECK). */
void ledger_take(struct ledger *l, const struct placement *places, uint32_t nr);
void ledger_give(struct ledger *l, const struct placement *places, uint32_t nr);
void ledger_take_devices(struct ledger *l, const struct capacity *total,
                         const struct placement *places, uint32_t nr);
void ledger_give_devices(struct ledger *l, const struct capacity *total,
                         const struct placement *places, uint32_t nr);
uint32_t ledger_devices_held(const struct ledger *l);

/* Sizes for every replica on the empty machine: cpu, memory and how many devices (nr_devices; which
 * ones is left open, devices[] is zero). ret has job_spec_replicas(spec) entries. */
void place_grants(const struct capacity *total, const struct job_spec *spec, struct placement *ret);
/* True: ret is filled (with devices). False: it does not fit now, why (may be NULL) gets a phrase
 * such as "needs 4 vCPU, 2 of 8 are free". */
bool place(const struct capacity *total, const struct ledger *now, const struct job_spec *spec,
           struct placement *ret, struct buf *why);
/* INVALID_ARGUMENT naming the machine type when any replica, or the gang, would be clamped. */
int place_refuse_clamped(const struct capacity *total, const struct job_spec *spec,
                         struct err *err) MUST_CHECK;
/* "machine type n1-standard-4 asks for 4 vCPU and 15 GiB; this machine gives it 2 vCPU and 7.5 GiB"
 */
void place_describe_clamp(struct buf *b, const struct machine *m, const struct placement *p);

#endif
