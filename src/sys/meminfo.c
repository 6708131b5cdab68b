#include "sys/meminfo.h"

uint64_t meminfo_bytes(struct str meminfo, struct str name) {
    while (meminfo.p) {
        struct str line = str_cut(&meminfo, '\n');
        if (str_starts(line, name)) {
            struct str value = str_trim(str_sub(line, name.n, line.n));
            uint64_t kib;
            return str_to_u64(str_cut(&value, ' '), &kib) ? kib * 1024 : 0;
        }
    }
    return 0;
}
