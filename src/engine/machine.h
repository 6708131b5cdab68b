/* Machine types: what `machineType` and its accelerators mean as resources (reference 12 §5). Pure
 * tables; the API layer validates with them and fills struct machine, engines never look here.
 * A vCPU is one host CPU thread, a published GB is 2^30 bytes. */
#ifndef CUSP_ENGINE_MACHINE_H
#define CUSP_ENGINE_MACHINE_H

#include "base/str.h"

struct machine_type {
    char name[40];
    uint32_t vcpus;
    uint64_t mem_bytes;
    /* Families whose accelerator is part of the machine: type and count; NULL and 0 otherwise. When
     * a request names neither, this is what it gets. */
    const char *builtin_accel;
    uint32_t builtin_count;
};

/* False when there is no such machine type for training. */
bool machine_type_find(struct str name, struct machine_type *ret);

/* AcceleratorType names as on the wire ("NVIDIA_TESLA_T4"); ACCELERATOR_TYPE_UNSPECIFIED is not
 * one. */
bool machine_accel_is_known(struct str accel);

/* Whether `count` of `accel` may be asked for with machine type `name`. False also for unknown
 * names and for count 0. TPU machines take their size from the topology: count 0 is right there. */
bool machine_accel_is_allowed(struct str name, struct str accel, uint32_t count);

/* "1, 2, 4" for error messages; "" when the pair is not possible at all. */
void machine_accel_counts(struct str name, struct str accel, char *ret, size_t ret_size);

#endif
