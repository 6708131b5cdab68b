/* Machine families and their accelerators as two tables. A family is a name prefix with the sizes
 * that exist; its shape is either so much memory a vCPU, or fixed per accelerator (a2, a3, …: the
 * number in the name counts GPUs), or listed one by one. */
#include "engine/machine.h"

#define GB_HUNDREDTHS(h) ((uint64_t)(h)*1073741824u / 100u)
#define MAX_SIZES 9

/* Accelerator counts as a bit set: bit n = n accelerators may be asked for. */
#define N1 (1u << 1)
#define N2 (1u << 2)
#define N4 (1u << 4)
#define N8 (1u << 8)
#define N16 (1u << 16)

struct family {
    const char *prefix;        /* up to and including the dash before the size */
    const char *suffix;        /* after the size: "g", "t" or "" */
    uint16_t sizes[MAX_SIZES]; /* 0 ends */
    uint16_t vcpus;            /* for one size unit; sizes are vCPUs when 1 */
    uint32_t mem;              /* GB/100 for one size unit */
};

static const struct family families[] = {
    {"e2-standard-", "", {4, 8, 16, 32}, 1, 400},
    {"e2-highmem-", "", {2, 4, 8, 16}, 1, 800},
    {"e2-highcpu-", "", {16, 32}, 1, 100},
    {"n4-standard-", "", {2, 4, 8, 16, 32, 48, 64, 80}, 1, 400},
    {"n4-highmem-", "", {2, 4, 8, 16, 32, 48, 64, 80}, 1, 800},
    {"n4-highcpu-", "", {2, 4, 8, 16, 32, 48, 64, 80}, 1, 200},
    {"n2-standard-", "", {4, 8, 16, 32, 48, 64, 80}, 1, 400},
    {"n2-highmem-", "", {2, 4, 8, 16, 32, 48, 64, 80}, 1, 800},
    {"n2-highcpu-", "", {16, 32, 48, 64, 80}, 1, 100},
    {"n1-standard-", "", {4, 8, 16, 32, 64, 96}, 1, 375},
    {"n1-highmem-", "", {2, 4, 8, 16, 32, 64, 96}, 1, 650},
    {"n1-highcpu-", "", {16, 32, 64, 96}, 1, 90},
    {"c2-standard-", "", {4, 8, 16, 30, 60}, 1, 400},
    {"g2-standard-", "", {4, 8, 12, 16, 24, 32, 48, 96}, 1, 400},
    {"g4-standard-", "", {48, 96, 192, 384}, 1, 375},
    {"a2-highgpu-", "g", {1, 2, 4, 8}, 12, 8500},
    {"a2-ultragpu-", "g", {1, 2, 4, 8}, 12, 17000},
    {"a2-megagpu-", "g", {16}, 6, 8500},
    {"a3-highgpu-", "g", {1, 2, 4, 8}, 26, 23400},
    {"a3-megagpu-", "g", {8}, 26, 23400},
    {"a3-ultragpu-", "g", {8}, 28, 36900},
    {"a4-highgpu-", "g", {8}, 28, 49600},
    {"a4x-highgpu-", "g", {4}, 35, 22100},
};

/* Shapes no rule gives. */
static const struct {
    const char *name;
    uint32_t vcpus, mem; /* GB/100 */
} singles[] = {
    {"m1-ultramem-40", 40, 96100},    {"m1-ultramem-80", 80, 192200},
    {"m1-ultramem-160", 160, 384400}, {"m1-megamem-96", 96, 143360},
    {"ct5lp-hightpu-1t", 24, 4800},   {"ct5lp-hightpu-4t", 112, 19200},
    {"ct5lp-hightpu-8t", 224, 38400}, {"cloud-tpu", 96, 33400},
};

#define K80 "NVIDIA_TESLA_K80"
#define P100 "NVIDIA_TESLA_P100"
#define V100 "NVIDIA_TESLA_V100"
#define P4 "NVIDIA_TESLA_P4"
#define T4 "NVIDIA_TESLA_T4"
#define L4 "NVIDIA_L4"

static const char *const accel_names[] = {
    K80,
    P100,
    V100,
    P4,
    T4,
    L4,
    "TPU_V2",
    "TPU_V3",
    "TPU_V4_POD",
    "TPU_V5_LITEPOD",
    "NVIDIA_TESLA_A100",
    "NVIDIA_A100_80GB",
    "NVIDIA_H100_80GB",
    "NVIDIA_H100_MEGA_80GB",
    "NVIDIA_H200_141GB",
    "NVIDIA_B200",
    "NVIDIA_GB200",
    "NVIDIA_RTX_PRO_6000",
};

/* Which counts go with which machine. `machine` ends in '-' for "every size of the family that is
 * in [min, max] vCPUs", otherwise it is a whole name. builtin: the machine always has them. */
static const struct pairing {
    const char *machine;
    uint16_t min, max;
    const char *accel;
    uint32_t counts;
    bool builtin;
} pairings[] = {
    {"n1-", 2, 16, P4, N1 | N2 | N4, false},
    {"n1-", 2, 16, P100, N1 | N2 | N4, false},
    {"n1-", 2, 16, T4, N1 | N2 | N4, false},
    {"n1-", 2, 8, V100, N1 | N2 | N4 | N8, false},
    {"n1-", 16, 16, V100, N2 | N4 | N8, false},
    {"n1-", 32, 32, P4, N2 | N4, false},
    {"n1-", 32, 32, P100, N2 | N4, false},
    {"n1-", 32, 32, T4, N2 | N4, false},
    {"n1-", 32, 32, V100, N4 | N8, false},
    {"n1-", 64, 96, P4, N4, false},
    {"n1-", 64, 96, T4, N4, false},
    {"n1-", 64, 96, V100, N8, false},
    {"n1-highcpu-64", 0, 0, P100, N4, false},
    /* Retired, but old samples ask for it; a site maps it to what it has. */
    {"n1-", 2, 96, K80, N1 | N2 | N4 | N8, false},
    {"g2-standard-", 4, 16, L4, N1, true},
    {"g2-standard-32", 0, 0, L4, N1, true},
    {"g2-standard-24", 0, 0, L4, N2, true},
    {"g2-standard-48", 0, 0, L4, N4, true},
    {"g2-standard-96", 0, 0, L4, N8, true},
    {"g4-standard-48", 0, 0, "NVIDIA_RTX_PRO_6000", N1, true},
    {"g4-standard-96", 0, 0, "NVIDIA_RTX_PRO_6000", N2, true},
    {"g4-standard-192", 0, 0, "NVIDIA_RTX_PRO_6000", N4, true},
    {"g4-standard-384", 0, 0, "NVIDIA_RTX_PRO_6000", N8, true},
    {"a2-highgpu-1g", 0, 0, "NVIDIA_TESLA_A100", N1, true},
    {"a2-highgpu-2g", 0, 0, "NVIDIA_TESLA_A100", N2, true},
    {"a2-highgpu-4g", 0, 0, "NVIDIA_TESLA_A100", N4, true},
    {"a2-highgpu-8g", 0, 0, "NVIDIA_TESLA_A100", N8, true},
    {"a2-megagpu-16g", 0, 0, "NVIDIA_TESLA_A100", N16, true},
    {"a2-ultragpu-1g", 0, 0, "NVIDIA_A100_80GB", N1, true},
    {"a2-ultragpu-2g", 0, 0, "NVIDIA_A100_80GB", N2, true},
    {"a2-ultragpu-4g", 0, 0, "NVIDIA_A100_80GB", N4, true},
    {"a2-ultragpu-8g", 0, 0, "NVIDIA_A100_80GB", N8, true},
    {"a3-highgpu-1g", 0, 0, "NVIDIA_H100_80GB", N1, true},
    {"a3-highgpu-2g", 0, 0, "NVIDIA_H100_80GB", N2, true},
    {"a3-highgpu-4g", 0, 0, "NVIDIA_H100_80GB", N4, true},
    {"a3-highgpu-8g", 0, 0, "NVIDIA_H100_80GB", N8, true},
    {"a3-megagpu-8g", 0, 0, "NVIDIA_H100_MEGA_80GB", N8, true},
    {"a3-ultragpu-8g", 0, 0, "NVIDIA_H200_141GB", N8, true},
    {"a4-highgpu-8g", 0, 0, "NVIDIA_B200", N8, true},
    {"a4x-highgpu-4g", 0, 0, "NVIDIA_GB200", N4, true},
    {"cloud-tpu", 0, 0, "TPU_V2", N8, false},
    {"cloud-tpu", 0, 0, "TPU_V3", N8, false},
};

static bool find_shape(struct str name, uint32_t *ret_vcpus, uint64_t *ret_mem) {
    for (size_t i = 0; i < NR_OF(singles); i++) {
        if (str_eqc(name, singles[i].name)) {
            *ret_vcpus = singles[i].vcpus;
            *ret_mem = GB_HUNDREDTHS(singles[i].mem);
            return true;
        }
    }
    for (size_t i = 0; i < NR_OF(families); i++) {
        const struct family *f = &families[i];
        struct str prefix = str_of(f->prefix), suffix = str_of(f->suffix);
        if (!str_starts(name, prefix) || !str_ends(name, suffix) || name.n <= prefix.n + suffix.n) {
            continue;
        }
        struct str number = str_sub(name, prefix.n, name.n - prefix.n - suffix.n);
        uint64_t size;
        if (number.p[0] == '0' || !str_to_u64(number, &size)) {
            continue;
        }
        for (size_t k = 0; k < MAX_SIZES && f->sizes[k]; k++) {
            if (f->sizes[k] == size) {
                *ret_vcpus = (uint32_t)size * f->vcpus;
                *ret_mem = GB_HUNDREDTHS(size * f->mem);
                return true;
            }
        }
    }
    return false;
}

static bool pairing_covers(const struct pairing *p, struct str name, uint32_t vcpus) {
    if (!name.n || p->machine[0] != name.p[0]) {
        return false; /* most of the table */
    }
    struct str m = str_of(p->machine);
    if (str_ends(m, STR("-"))) {
        return str_starts(name, m) && vcpus >= p->min && vcpus <= p->max;
    }
    return str_eq(m, name);
}

bool machine_type_find(struct str name, struct machine_type *ret) {
    uint32_t vcpus;
    uint64_t mem;
    if (name.n >= sizeof(ret->name) || !find_shape(name, &vcpus, &mem)) {
        return false;
    }
    *ret = (struct machine_type){.vcpus = vcpus, .mem_bytes = mem};
    memcpy(ret->name, name.p, name.n);
    for (size_t i = 0; i < NR_OF(pairings); i++) {
        const struct pairing *p = &pairings[i];
        if (p->builtin && pairing_covers(p, name, vcpus)) {
            ret->builtin_accel = p->accel;
            ret->builtin_count = (uint32_t)__builtin_ctz(p->counts);
        }
    }
    return true;
}

bool machine_accel_is_known(struct str accel) {
    for (size_t i = 0; i < NR_OF(accel_names); i++) {
        if (str_eqc(accel, accel_names[i])) {
            return true;
        }
    }
    return false;
}

static uint32_t allowed_counts(struct str name, struct str accel) {
    uint32_t vcpus, counts = 0;
    uint64_t mem;
    if (!find_shape(name, &vcpus, &mem)) {
        return 0;
    }
    for (size_t i = 0; i < NR_OF(pairings); i++) {
        if (str_eqc(accel, pairings[i].accel) && pairing_covers(&pairings[i], name, vcpus)) {
            counts |= pairings[i].counts;
        }
    }
    return counts;
}

bool machine_accel_is_allowed(struct str name, struct str accel, uint32_t count) {
    if (str_starts(name, STR("ct5lp-"))) {
        uint32_t vcpus;
        uint64_t mem;
        return count == 0 && str_eqc(accel, "TPU_V5_LITEPOD") && find_shape(name, &vcpus, &mem);
    }
    if (str_eqc(name, "cloud-tpu") && count >= 32 && count % 8 == 0) {
        return str_eqc(accel, "TPU_V2") || str_eqc(accel, "TPU_V3"); /* pods */
    }
    return count > 0 && count <= 16 && (allowed_counts(name, accel) & (1u << count));
}

void machine_accel_counts(struct str name, struct str accel, char *ret, size_t ret_size) {
    uint32_t counts = allowed_counts(name, accel);
    size_t n = 0;
    CHECK(ret_size > 0);
    ret[0] = 0;
    for (uint32_t c = 1; c <= 16; c++) {
        if ((counts & (1u << c)) && n < ret_size) {
            n += (size_t)snprintf(ret + n, ret_size - n, "%s%u", n ? ", " : "", c);
        }
    }
}
