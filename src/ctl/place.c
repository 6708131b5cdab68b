/* Placement. */
#include "ctl/place.h"

#include "base/buf.h"

#define MAX_DEVICES NR_OF(((struct capacity *)0)->devices)

/* The bit that stands for a device: that of the first entry with its index. */
static uint64_t device_bit(const struct capacity *total, uint32_t index) {
    for (uint32_t i = 0; i < total->nr_devices && i < MAX_DEVICES; i++) {
        if (total->devices[i].index == index) {
            return UINT64_C(1) << i;
        }
    }
    return 0; /* a device that was there before a restart and is gone now: held by nobody */
}

uint32_t ledger_cpu_free(const struct ledger *l, const struct capacity *total) {
    return l->cpu_milli < total->cpu_milli ? total->cpu_milli - (uint32_t)l->cpu_milli : 0;
}

uint64_t ledger_mem_free(const struct ledger *l, const struct capacity *total) {
    return l->mem_bytes < total->mem_bytes ? total->mem_bytes - l->mem_bytes : 0;
}

void ledger_take(struct ledger *l, const struct placement *places, uint32_t nr) {
    for (uint32_t i = 0; i < nr; i++) {
        l->cpu_milli += places[i].cpu_milli;
        l->mem_bytes += places[i].mem_bytes;
    }
    l->replicas += nr;
}

void ledger_give(struct ledger *l, const struct placement *places, uint32_t nr) {
    for (uint32_t i = 0; i < nr; i++) {
        CHECK(l->cpu_milli >= places[i].cpu_milli && l->mem_bytes >= places[i].mem_bytes);
        l->cpu_milli -= places[i].cpu_milli;
        l->mem_bytes -= places[i].mem_bytes;
    }
    CHECK(l->replicas >= nr);
    l->replicas -= nr;
}

void ledger_take_devices(struct ledger *l, const struct capacity *total,
                         const struct placement *places, uint32_t nr) {
    for (uint32_t i = 0; i < nr; i++) {
        for (uint32_t d = 0; d < places[i].nr_devices; d++) {
            uint64_t bit = device_bit(total, places[i].devices[d]);
            CHECK((l->devices & bit) == 0);
            l->devices |= bit;
        }
    }
}

void ledger_give_devices(struct ledger *l, const struct capacity *total,
                         const struct placement *places, uint32_t nr) {
    for (uint32_t i = 0; i < nr; i++) {
        for (uint32_t d = 0; d < places[i].nr_devices; d++) {
            l->devices &= ~device_bit(total, places[i].devices[d]);
        }
    }
}

uint32_t ledger_devices_held(const struct ledger *l) {
    return (uint32_t)__builtin_popcountll(l->devices);
}

static const struct machine *machine_of(const struct job_spec *spec, uint32_t replica) {
    uint32_t pool, index;
    job_spec_locate(spec, replica, &pool, &index);
    return &spec->pools[pool].machine;
}

/* Takes the first device of the type that is not in *held. False when there is none. */
static bool pick_device(const struct capacity *total, const char *type, uint64_t *held,
                        uint32_t *ret_index) {
    for (uint32_t i = 0; type && i < total->nr_devices && i < MAX_DEVICES; i++) {
        uint64_t bit = device_bit(total, total->devices[i].index);
        if (strcmp(total->devices[i].type, type) == 0 && (*held & bit) == 0) {
            *held |= bit;
            *ret_index = total->devices[i].index;
            return true;
        }
    }
    return false;
}

/* One device a round to each replica that still wants one, so that no replica takes all. */
static void grant_devices(const struct capacity *total, const struct job_spec *spec, uint32_t nr,
                          struct placement *ret) {
    uint64_t held = 0;
    bool any = total->nr_devices > 0;
    while (any) {
        any = false;
        for (uint32_t r = 0; r < nr; r++) {
            const struct machine *m = machine_of(spec, r);
            uint32_t index;
            if (ret[r].nr_devices < m->accel_count && ret[r].nr_devices < NR_OF(ret[r].devices) &&
                pick_device(total, m->accel_type, &held, &index)) {
                ret[r].nr_devices++;
                any = true;
            }
        }
    }
}

void place_grants(const struct capacity *total, const struct job_spec *spec,
                  struct placement *ret) {
    uint32_t nr = job_spec_replicas(spec);
    uint64_t cpu = 0;
    unsigned __int128 mem = 0;
    for (uint32_t r = 0; r < nr; r++) {
        const struct machine *m = machine_of(spec, r);
        ret[r] = (struct placement){0};
        memcpy(ret[r].node, total->node, sizeof(ret[r].node));
        ret[r].cpu_milli = m->cpu_milli < total->cpu_milli ? m->cpu_milli : total->cpu_milli;
        ret[r].mem_bytes = m->mem_bytes < total->mem_bytes ? m->mem_bytes : total->mem_bytes;
        cpu += ret[r].cpu_milli;
        mem += ret[r].mem_bytes;
    }
    grant_devices(total, spec, nr, ret);
    for (uint32_t r = 0; r < nr; r++) {
        const struct machine *m = machine_of(spec, r);
        if (cpu > total->cpu_milli) {
            ret[r].cpu_milli = (uint32_t)((uint64_t)ret[r].cpu_milli * total->cpu_milli / cpu);
        }
        if (mem > total->mem_bytes) {
            ret[r].mem_bytes =
                (uint64_t)((unsigned __int128)ret[r].mem_bytes * total->mem_bytes / mem);
        }
        ret[r].clamped = ret[r].cpu_milli < m->cpu_milli || ret[r].mem_bytes < m->mem_bytes ||
                         ret[r].nr_devices < m->accel_count;
    }
}

/* At most two decimals, no trailing zeros: "4", "0.5", "7.63". */
static void put_decimal(struct buf *b, uint64_t hundredths) {
    buf_printf(b, "%llu", (unsigned long long)(hundredths / 100));
    unsigned rest = (unsigned)(hundredths % 100);
    if (rest % 10) {
        buf_printf(b, ".%02u", rest);
    } else if (rest) {
        buf_printf(b, ".%u", rest / 10);
    }
}

static void put_vcpu(struct buf *b, uint32_t milli) {
    put_decimal(b, milli / 10);
}

static void put_gib(struct buf *b, uint64_t bytes) {
    put_decimal(b, (uint64_t)((unsigned __int128)bytes * 100 >> 30));
}

bool place(const struct capacity *total, const struct ledger *now, const struct job_spec *spec,
           struct placement *ret, struct buf *why) {
    uint32_t nr = job_spec_replicas(spec);
    uint64_t cpu = 0, mem = 0, held = now->devices;
    uint32_t cpu_free = ledger_cpu_free(now, total);
    uint64_t mem_free = ledger_mem_free(now, total);
    const char *short_type = NULL;
    uint32_t short_want = 0;
    place_grants(total, spec, ret);
    for (uint32_t r = 0; r < nr; r++) {
        cpu += ret[r].cpu_milli;
        mem += ret[r].mem_bytes;
        for (uint32_t d = 0; d < ret[r].nr_devices; d++) {
            const struct machine *m = machine_of(spec, r);
            if (!pick_device(total, m->accel_type, &held, &ret[r].devices[d])) {
                short_type = m->accel_type;
                short_want = ret[r].nr_devices;
            }
        }
    }
    bool fits = cpu <= cpu_free && mem <= mem_free && !short_type;
    if (fits || !why) {
        return fits;
    }
    const char *sep = "needs ";
    if (cpu > cpu_free) {
        buf_puts(why, sep);
        put_vcpu(why, (uint32_t)cpu);
        buf_puts(why, " vCPU, ");
        put_vcpu(why, cpu_free);
        buf_puts(why, " of ");
        put_vcpu(why, total->cpu_milli);
        buf_puts(why, " are free");
        sep = "; needs ";
    }
    if (mem > mem_free) {
        buf_puts(why, sep);
        put_gib(why, mem);
        buf_puts(why, " GiB of memory, ");
        put_gib(why, mem_free);
        buf_puts(why, " of ");
        put_gib(why, total->mem_bytes);
        buf_puts(why, " are free");
        sep = "; needs ";
    }
    if (short_type) {
        buf_printf(why, "%s%u %s, not enough of them are free", sep, short_want, short_type);
    }
    return false;
}

int place_refuse_clamped(const struct capacity *total, const struct job_spec *spec,
                         struct err *err) {
    uint32_t nr = job_spec_replicas(spec);
    auto_free struct placement *p = xcalloc(nr ? nr : 1, sizeof(*p));
    place_grants(total, spec, p);
    for (uint32_t r = 0; r < nr; r++) {
        if (p[r].clamped) {
            uint32_t pool, index;
            char field[96];
            auto_buf struct buf text = BUF_INIT(512);
            job_spec_locate(spec, r, &pool, &index);
            snprintf(field, sizeof(field),
                     "job_spec.worker_pool_specs[%u].machine_spec.machine_type", pool);
            place_describe_clamp(&text, &spec->pools[pool].machine, &p[r]);
            return err_field(err, ERR_INVALID_ARGUMENT, field, "%s", buf_cstr(&text));
        }
    }
    return 0;
}

static void put_size(struct buf *b, uint32_t cpu_milli, uint64_t mem_bytes, uint32_t devices,
                     const char *type) {
    put_vcpu(b, cpu_milli);
    buf_puts(b, " vCPU, ");
    put_gib(b, mem_bytes);
    buf_puts(b, " GiB of memory");
    if (type) {
        buf_printf(b, ", %u x %s", devices, type);
    }
}

void place_describe_clamp(struct buf *b, const struct machine *m, const struct placement *p) {
    const char *type = m->accel_count ? m->accel_type : NULL;
    buf_printf(b, "machine type %s asks for ", m->type ? m->type : "(unnamed)");
    put_size(b, m->cpu_milli, m->mem_bytes, m->accel_count, type);
    buf_puts(b, "; this machine can give ");
    put_size(b, p->cpu_milli, p->mem_bytes, p->nr_devices, type);
}
