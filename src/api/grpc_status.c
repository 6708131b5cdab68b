/* google.rpc.Status in trailers, within what clients take. */
#include "api/grpc_status.h"

#include "api/grpc_frame.h"
#include "base/enc.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "pb/wkt.h"

/* Cut between characters, the cut marked. */
static struct str fit_message(struct arena *a, struct str s) {
    static const struct str mark = STR("...");
    if (s.n <= GRPC_MESSAGE_MAX) {
        return s;
    }
    size_t n = GRPC_MESSAGE_MAX - mark.n;
    while (n && ((unsigned char)s.p[n] & 0xc0) == 0x80) {
        n--;
    }
    const char *p = arena_printf(a, "%.*s%s", (int)n, s.p, mark.p);
    return p ? str_of(p) : str_n(s.p, n);
}

/* A BadRequest with as many violations as fit; other details as they are. NULL: not even one fits.
 */
static const ProtobufCMessage *fit_detail(struct arena *a, const ProtobufCMessage *m, size_t room) {
    if (pb_packed_size(m) <= room) {
        return m;
    }
    if (m->descriptor != &google__rpc__bad_request__descriptor) {
        return NULL;
    }
    Google__Rpc__BadRequest *less = arena_own(a, sizeof(*less));
    *less = *(const Google__Rpc__BadRequest *)m;
    while (less->n_field_violations && pb_packed_size(&less->base) > room) {
        less->n_field_violations--;
    }
    return less->n_field_violations ? &less->base : NULL;
}

/* A packed google.rpc.Status in unpadded base64; .p NULL when there is nothing to tell. */
static struct str details(struct arena *a, const struct api_error *e, struct str message) {
    Google__Protobuf__Any *any[API_ERROR_DETAILS_MAX];
    Google__Rpc__Status st = GOOGLE__RPC__STATUS__INIT;
    auto_buf struct buf packed = BUF_INIT(16384);
    auto_buf struct buf text = BUF_INIT(32768);
    size_t room = GRPC_DETAILS_MAX;
    char *copy = arena_strndup(a, message.p, message.n);
    for (size_t i = 0; i < e->nr_details; i++) {
        const ProtobufCMessage *m = fit_detail(a, e->details[i], room);
        any[st.n_details] = m ? wkt_any(a, m) : NULL;
        if (any[st.n_details]) {
            room -= any[st.n_details]->value.len;
            st.n_details++;
        }
    }
    st.code = (int32_t)e->code;
    st.message = copy;
    st.details = any;
    if (!st.n_details || !copy || pb_pack(&st.base, &packed)) {
        return (struct str){NULL, 0};
    }
    enc_base64(&text, packed.p, packed.n);
    while (text.n && text.p[text.n - 1] == '=') {
        text.n--;
    }
    return arena_str(a, buf_str(&text));
}

size_t grpc_status_headers(struct arena *a, const struct api_error *e,
                           struct header h[GRPC_STATUS_HEADERS]) {
    auto_buf struct buf text = BUF_INIT(3 * GRPC_MESSAGE_MAX + 1);
    struct str message = fit_message(a, e->message), bin;
    const char *code = arena_printf(a, "%d", (int)e->code);
    size_t n = 0;
    h[n++] = (struct header){STR("grpc-status"), code ? str_of(code) : STR("2")};
    grpc_percent(&text, message);
    if (text.n) {
        h[n++] = (struct header){STR("grpc-message"), arena_str(a, buf_str(&text))};
    }
    bin = details(a, e, message);
    if (bin.p) {
        h[n++] = (struct header){STR("grpc-status-details-bin"), bin};
    }
    return n;
}
