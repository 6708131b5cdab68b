/* Lookups in the generated tables. */
#include "pb/pbinfo.h"
#include "pb/rpc.h"

int pb_field_find(const ProtobufCMessageDescriptor *d, struct str name) {
    const struct pb_msg_info *info = pb_info(d);
    size_t lo = 0, hi = info->n_names;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct pb_name *n = &info->names[mid];
        int c = name.n < n->len ? -1 : name.n > n->len ? 1 : memcmp(name.p, n->name, name.n);
        if (c == 0) {
            return (int)n->field;
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return -1;
}

static const ProtobufCMessageDescriptor *find_exact(struct str name) {
    size_t lo = 0, hi = pb_msg_table_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(name, str_of(pb_msg_table[mid]->desc->name));
        if (c == 0) {
            return pb_msg_table[mid]->desc;
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

const ProtobufCMessageDescriptor *pb_msg_find(struct str full_name) {
    static const char beta[] = "google.cloud.aiplatform.v1beta1.";
    static const char v1[] = "google.cloud.aiplatform.v1.";
    char name[256];
    if (!str_starts(full_name, str_n(beta, sizeof(beta) - 1))) {
        return find_exact(full_name);
    }
    struct str rest = str_sub(full_name, sizeof(beta) - 1, full_name.n);
    if (rest.n > sizeof(name) - sizeof(v1)) {
        return NULL;
    }
    memcpy(name, v1, sizeof(v1) - 1);
    memcpy(name + sizeof(v1) - 1, rest.p, rest.n);
    return find_exact(str_n(name, sizeof(v1) - 1 + rest.n));
}

const struct rpc_method *rpc_find(struct str full_name) {
    size_t lo = 0, hi = rpc_table_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(full_name, str_n(rpc_table[mid].full, rpc_table[mid].full_len));
        if (c == 0) {
            return &rpc_table[mid];
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}
