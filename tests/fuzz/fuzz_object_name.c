/* Object names on disk: no path made from a name leaves its directory or uses a reserved entry, and
 * taking it apart gives the name back. */
#include "blob/blob_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One stored component, entry by entry, back to what it stands for. */
static void check_component(struct str comp, bool is_dir, bool escaped) {
    auto_buf struct buf raw = BUF_INIT(BUF_NO_MAX), back = BUF_INIT(BUF_NO_MAX);
    if (escaped) {
        name_escape(&raw, comp, is_dir);
    } else {
        buf_put_str(&raw, comp);
    }
    struct str rest = buf_str(&raw);
    bool in_chunk = false;
    CHECK(rest.n > 0);
    while (rest.p) {
        struct str part, entry = str_cut(&rest, '/');
        CHECK(entry.n > 0 && entry.n <= 255 && !str_eqc(entry, ".") && !str_eqc(entry, ".."));
        enum name_kind kind = name_decode(entry, rest.p || is_dir, in_chunk, &part);
        CHECK(kind == (rest.p ? NAME_CHUNK : is_dir ? NAME_DIR : NAME_FILE));
        buf_put_str(&back, part);
        in_chunk = kind == NAME_CHUNK;
    }
    CHECK(str_eq(buf_str(&back), comp));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str name = str_n((const char *)data, size), rest = name, part;
    (void)blob_check_bucket_name(name, NULL);
    (void)name_decode(name, size & 1, size & 2, &part);
    if (blob_check_object_name(name, NULL) < 0) {
        return 0;
    }
    while (rest.p) {
        struct str comp = str_cut(&rest, '/');
        bool is_dir = rest.p != NULL;
        check_component(comp, is_dir, true);
        if (name_is_plain(comp)) {
            check_component(comp, is_dir, false);
        }
    }
    return 0;
}
