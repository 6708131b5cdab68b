/* Host names, interface names and resolver files (reference 03 §2). */
#include "engine/local/names.h"

#include <inttypes.h>

/* FNV alone leaves neighbours close together in the high bits; names take the middle of this. */
static uint64_t mixed_hash(struct str s) {
    uint64_t h = str_hash(s);
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ull;
    return h ^ (h >> 33);
}

void names_host(const struct job_spec *s, uint32_t pool, uint32_t index,
                char ret[NAMES_HOST_SIZE]) {
    uint64_t hash = mixed_hash(str_of(s->id)) & UINT64_C(0xffffffffff);
    (void)snprintf(ret, NAMES_HOST_SIZE, "cmle-training-workerpool%u-%010" PRIx64 "-%u", pool, hash,
                   index);
}

void names_replica(uint32_t pool, uint32_t index, char ret[NAMES_REPLICA_SIZE]) {
    (void)snprintf(ret, NAMES_REPLICA_SIZE, "workerpool%u-%u", pool, index);
}

void names_instance(const char *data_dir, char ret[NAMES_INSTANCE_SIZE]) {
    (void)snprintf(ret, NAMES_INSTANCE_SIZE, "%08" PRIx32, (uint32_t)mixed_hash(str_of(data_dir)));
}

void names_veth(const char *instance, const char *job, uint32_t attempt, const char *replica,
                char ret[NAMES_VETH_SIZE]) {
    auto_buf struct buf b = BUF_INIT(1024);
    (void)buf_printf(&b, "%s/%s/%u/%s", instance, job, attempt, replica);
    (void)snprintf(ret, NAMES_VETH_SIZE, "cv%.4s%09" PRIx64, instance,
                   mixed_hash(buf_str(&b)) & UINT64_C(0xfffffffff));
}

static void host_line(struct buf *out, const struct job_spec *s, uint32_t replica,
                      const char *addr) {
    char name[NAMES_HOST_SIZE];
    uint32_t pool, index;
    job_spec_locate(s, replica, &pool, &index);
    names_host(s, pool, index, name);
    (void)buf_printf(out, "%s\t%s\n", addr != NULL ? addr : "127.0.0.1", name);
}

void names_hosts_file(struct buf *out, const struct job_spec *s, uint32_t self,
                      const char *const *addrs) {
    (void)buf_puts(out, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    host_line(out, s, self, addrs[self]);
    uint32_t nr = job_spec_replicas(s);
    for (uint32_t r = 0; r < nr; r++) {
        if (r != self) {
            host_line(out, s, r, addrs[r]);
        }
    }
}

static bool is_loopback(struct str addr) {
    return str_starts(addr, STR("127.")) || str_eqc(addr, "::1") || str_eqc(addr, "0.0.0.0") ||
           str_eqc(addr, "localhost");
}

void names_resolv_file(struct buf *out, struct str host_text, bool own_netns,
                       const char *fallback) {
    bool any = false;
    struct str rest = host_text;
    while (rest.p != NULL && rest.n > 0) {
        struct str line = str_cut(&rest, '\n');
        struct str body = str_trim(line);
        if (body.n == 0 || body.p[0] == '#' || body.p[0] == ';') {
            continue;
        }
        if (str_starts(body, STR("nameserver"))) {
            struct str addr = str_trim(str_sub(body, 10, body.n));
            if (own_netns && is_loopback(addr)) {
                continue;
            }
            any = true;
        }
        (void)buf_put_str(out, body);
        (void)buf_putc(out, '\n');
    }
    if (!any && fallback != NULL) {
        (void)buf_printf(out, "nameserver %s\n", fallback);
    }
}
