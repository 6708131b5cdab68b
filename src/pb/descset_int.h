/* Layout of the generated tables behind descset.h: offsets and indexes, no pointers, so that the
 * loader has nothing to relocate. */
#ifndef CUSP_PB_DESCSET_INT_H
#define CUSP_PB_DESCSET_INT_H

#include "pb/descset.h"

struct descset_file {
    uint32_t name;         /* offset in descset_names, NUL-terminated there */
    uint32_t bytes, len;   /* in descset_bytes */
    uint16_t deps, n_deps; /* descset_deps[deps .. deps + n_deps) */
};
struct descset_symbol { /* ordered by name */
    uint32_t name;
    uint16_t file;
    uint8_t is_message;
};
struct descset_extension { /* ordered by extendee, number */
    uint32_t extendee, number;
    uint16_t file;
};

extern const unsigned char descset_bytes[];
extern const char descset_names[];
extern const struct descset_file descset_files[]; /* ordered by name */
extern const size_t descset_files_n;
extern const uint16_t descset_deps[];
extern const struct descset_symbol descset_symbols[];
extern const size_t descset_symbols_n;
extern const struct descset_extension descset_extensions[];
extern const size_t descset_extensions_n;
extern const uint32_t descset_service_names[];
extern const size_t descset_service_names_n;

#endif
