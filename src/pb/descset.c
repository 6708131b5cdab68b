/* Look-ups in the embedded descriptors. */
#include "pb/descset_int.h"

#include "base/mem.h"

static struct str name_at(uint32_t offset) {
    return str_of(descset_names + offset);
}

size_t descset_file_count(void) {
    return descset_files_n;
}

struct str descset_file_name(int file) {
    return name_at(descset_files[file].name);
}

struct str descset_file_bytes(int file) {
    const struct descset_file *f = &descset_files[file];
    return str_n((const char *)descset_bytes + f->bytes, f->len);
}

int descset_by_name(struct str name) {
    size_t lo = 0, hi = descset_files_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(name, name_at(descset_files[mid].name));
        if (c == 0) {
            return (int)mid;
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return -1;
}

static const struct descset_symbol *find_symbol(struct str name) {
    size_t lo = 0, hi = descset_symbols_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(name, name_at(descset_symbols[mid].name));
        if (c == 0) {
            return &descset_symbols[mid];
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

int descset_by_symbol(struct str name) {
    const struct descset_symbol *s = find_symbol(name);
    for (size_t i = name.n; !s && i > 0; i--) {
        if (name.p[i - 1] == '.') { /* a field: its message's file */
            s = find_symbol(str_n(name.p, i - 1));
            return s && s->is_message ? s->file : -1;
        }
    }
    return s ? s->file : -1;
}

int descset_by_extension(struct str extendee, uint32_t number) {
    for (size_t i = 0; i < descset_extensions_n; i++) {
        const struct descset_extension *e = &descset_extensions[i];
        if (e->number == number && str_eq(extendee, name_at(e->extendee))) {
            return e->file;
        }
    }
    return -1;
}

size_t descset_extension_numbers(struct str extendee, uint32_t *ret, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < descset_extensions_n; i++) {
        const struct descset_extension *e = &descset_extensions[i];
        if (str_eq(extendee, name_at(e->extendee))) {
            if (n < max) {
                ret[n] = e->number;
            }
            n++;
        }
    }
    return n;
}

size_t descset_closure(int file, uint16_t ret[DESCSET_FILES_MAX]) {
    bool seen[DESCSET_FILES_MAX] = {false};
    size_t n = 0;
    CHECK(descset_files_n <= DESCSET_FILES_MAX);
    seen[file] = true;
    ret[n++] = (uint16_t)file;
    for (size_t i = 0; i < n; i++) { /* breadth first; ret is the queue */
        const struct descset_file *f = &descset_files[ret[i]];
        for (unsigned d = f->deps; d < (unsigned)f->deps + f->n_deps; d++) {
            if (!seen[descset_deps[d]]) {
                seen[descset_deps[d]] = true;
                ret[n++] = descset_deps[d];
            }
        }
    }
    return n;
}

size_t descset_service_count(void) {
    return descset_service_names_n;
}

struct str descset_service(size_t i) {
    return i < descset_service_names_n ? name_at(descset_service_names[i]) : (struct str){0};
}
