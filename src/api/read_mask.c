/* See read_mask.h. */
#include "api/read_mask.h"

#include "base/buf.h"
#include "pb/pbupdate.h"

#define READ_MASK_MAX 8192 /* bytes of all paths */

int read_mask_parse(struct arena *a, const Google__Protobuf__FieldMask *m,
                    const ProtobufCMessageDescriptor *desc, const struct pb_mask **ret,
                    struct err *err) {
    auto_buf struct buf text = BUF_INIT(READ_MASK_MAX);
    *ret = NULL;
    if (!m || !m->n_paths) {
        return 0;
    }
    for (size_t i = 0; i < m->n_paths; i++) {
        if (pb_path_check_read(desc, str_of(m->paths[i]), "read_mask", err)) {
            return -1;
        }
        if (strcmp(m->paths[i], "*") == 0) {
            return 0;
        }
        buf_printf(&text, "%s%s", i ? "," : "", m->paths[i]);
    }
    if (text.full || pb_mask_parse(a, buf_str(&text), ret, err)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "read_mask",
                         "The read mask has more than %d bytes or %d fields.", READ_MASK_MAX,
                         PB_MASK_NODES_MAX);
    }
    return 0;
}
