/* Project ids and numbers. */
#include "base/project.h"

uint64_t project_number(struct str s) {
    uint64_t n;
    if (str_to_u64(s, &n)) {
        return n;
    }
    return 100000000000u + str_hash(s) % 900000000000u;
}
