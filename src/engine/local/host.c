/* What this host has to give. */
#include "engine/local/host.h"

#include "base/buf.h"
#include "sys/files.h"
#include "sys/meminfo.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#define MEM_RESERVE_MIN ((uint64_t)256 << 20)
#define MEM_RESERVE_MAX ((uint64_t)2 << 30)
#define MAX_GPUS 64

uint64_t host_mem_total(struct str meminfo) {
    return meminfo_bytes(meminfo, STR("MemTotal:"));
}

const char *host_accelerator_type(struct str model) {
    static const struct {
        const char *a, *b; /* both occur in the model's name */
        const char *type;
    } rows[] = {
        {"A100", "80GB", "NVIDIA_A100_80GB"},
        {"A100", "", "NVIDIA_TESLA_A100"},
        {"H100", "", "NVIDIA_H100_80GB"},
        {"H200", "", "NVIDIA_H200_141GB"},
        {"GB200", "", "NVIDIA_GB200"},
        {"B200", "", "NVIDIA_B200"},
        {"RTX PRO 6000", "", "NVIDIA_RTX_PRO_6000"},
        {"V100", "", "NVIDIA_TESLA_V100"},
        {"P100", "", "NVIDIA_TESLA_P100"},
        {"K80", "", "NVIDIA_TESLA_K80"},
        {"T4", "", "NVIDIA_TESLA_T4"},
        {"L4", "", "NVIDIA_L4"},
        {"P4", "", "NVIDIA_TESLA_P4"},
    };
    for (size_t i = 0; i < NR_OF(rows); i++) {
        ptrdiff_t at = str_find(model, str_of(rows[i].a));
        if (at < 0 || str_find(model, str_of(rows[i].b)) < 0) {
            continue;
        }
        /* "L40" and "L40S" are not "L4" */
        size_t end = (size_t)at + strlen(rows[i].a);
        if (end < model.n && model.p[end] >= '0' && model.p[end] <= '9') {
            continue;
        }
        return rows[i].type;
    }
    return "NVIDIA_GPU";
}

static void gpu_model(uint32_t nr, struct buf *out) {
    /* Directories there are named by bus address; "Device Minor:" ties them to /dev/nvidiaN. */
    static const char root[] = "/proc/driver/nvidia/gpus";
    auto_close int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    auto_free char *want = xasprintf("Device Minor: \t %u", nr);
    for (unsigned bus = 0; bus < 256; bus++) {
        for (unsigned dev = 0; dev < 32; dev++) {
            char path[64];
            auto_buf struct buf info = BUF_INIT(8192);
            (void)snprintf(path, sizeof(path), "0000:%02x:%02x.0/information", bus, dev);
            if (faccessat(fd, path, F_OK, 0) < 0 || file_read(fd, path, &info, NULL) < 0 ||
                str_find(buf_str(&info), str_of(want)) < 0) {
                continue;
            }
            struct str rest = buf_str(&info);
            struct str line = str_cut(&rest, '\n');
            (void)str_cut(&line, ':');
            (void)buf_put_str(out, str_trim(line));
            return;
        }
    }
}

static void find_gpus(struct capacity *ret) {
    for (uint32_t i = 0; i < MAX_GPUS && ret->nr_devices < NR_OF(ret->devices); i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "/dev/nvidia%u", i);
        if (access(path, F_OK) < 0) {
            continue;
        }
        auto_buf struct buf model = BUF_INIT(256);
        gpu_model(i, &model);
        (void)snprintf(ret->devices[ret->nr_devices].type, sizeof(ret->devices[0].type), "%s",
                       host_accelerator_type(buf_str(&model)));
        ret->devices[ret->nr_devices++].index = i;
    }
}

static uint64_t usable_memory(void) {
    auto_buf struct buf b = BUF_INIT(65536);
    uint64_t total =
        file_read(AT_FDCWD, "/proc/meminfo", &b, NULL) == 0 ? host_mem_total(buf_str(&b)) : 0;
    uint64_t reserve = total / 20;
    reserve = reserve < MEM_RESERVE_MIN ? MEM_RESERVE_MIN : reserve;
    reserve = reserve > MEM_RESERVE_MAX ? MEM_RESERVE_MAX : reserve;
    return total > 2 * reserve ? total - reserve : total / 2;
}

void host_capacity(uint32_t cpu_milli, uint64_t mem_bytes, struct capacity *ret) {
    *ret = (struct capacity){.cpu_milli = cpu_milli, .mem_bytes = mem_bytes};
    if (cpu_milli == 0) {
        cpu_set_t set;
        long n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                              : sysconf(_SC_NPROCESSORS_ONLN);
        ret->cpu_milli = (uint32_t)(n > 0 ? n : 1) * 1000;
    }
    if (mem_bytes == 0) {
        ret->mem_bytes = usable_memory();
    }
    find_gpus(ret);
    if (gethostname(ret->node, sizeof(ret->node) - 1) < 0 || ret->node[0] == 0) {
        (void)snprintf(ret->node, sizeof(ret->node), "localhost");
    }
}
