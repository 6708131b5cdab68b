/* Partial responses: fields=items(name,size),nextPageToken (reference 10 §4), applied to an answer
 * that is complete. Only requests that ask for it pay. */
#include "api/gcs_int.h"

#include "base/enc.h"
#include "pb/pbmask.h"

#include <jansson.h>

/* A new reference, or NULL when nothing of v is wanted. */
static json_t *select_in(json_t *v, const struct pb_mask *mask) {
    const struct pb_mask *below;
    if (json_is_object(v)) {
        json_t *out = json_object(), *sub, *kept;
        const char *key;
        json_object_foreach(v, key, sub) {
            if (pb_mask_has(mask, str_of(key), (struct str){0}, &below) &&
                (kept = below ? select_in(sub, below) : json_incref(sub))) {
                json_object_set_new(out, key, kept);
            }
        }
        return out;
    }
    if (json_is_array(v)) {
        json_t *out = json_array();
        for (size_t i = 0; i < json_array_size(v); i++) {
            json_t *kept = select_in(json_array_get(v, i), mask);
            if (kept) {
                json_array_append_new(out, kept);
            }
        }
        return out;
    }
    return NULL; /* a plain value has nothing below it */
}

int gcs_select_fields(struct xch *x, struct str json, struct buf *ret, struct err *err) {
    struct str query = xch_head(x)->query, fields = {0};
    const struct pb_mask *mask = NULL;
    while (query.p && query.n) {
        struct str value = str_cut(&query, '&');
        struct str key = str_cut(&value, '=');
        if (str_eqc(key, "fields") && !enc_unpercent(xch_arena(x), value, true, &fields)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "fields", "Malformed escape in fields");
        }
    }
    if (pb_mask_parse(xch_arena(x), fields, &mask, err) < 0) {
        return -1;
    }
    if (!mask) {
        return buf_put_str(ret, json);
    }
    json_t *whole = json_loadb(json.p, json.n, 0, NULL);
    json_t *part = select_in(whole, mask);
    char *text = json_dumps(part, JSON_COMPACT);
    int r = buf_puts(ret, text ? text : "{}");
    free(text);
    json_decref(part);
    json_decref(whole);
    return r;
}
