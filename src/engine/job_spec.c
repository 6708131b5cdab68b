/* Arithmetic on job specs that the control plane and every engine must agree on. */
#include "engine/job_spec.h"

#include "base/check.h"

uint32_t job_spec_replicas(const struct job_spec *s) {
    uint32_t n = 0;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        n += s->pools[p].replica_count;
    }
    return n;
}

void job_spec_locate(const struct job_spec *s, uint32_t replica, uint32_t *ret_pool,
                     uint32_t *ret_index) {
    uint32_t left = replica;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        if (left < s->pools[p].replica_count) {
            *ret_pool = p;
            *ret_index = left;
            return;
        }
        left -= s->pools[p].replica_count;
    }
    CHECK(!"replica is beyond the job's pools");
}
