/* The one error object behind every dialect. */
#include "api/error.h"

#include "pb/aip.h"
#include "pb/wkt.h"

bool api_error_is_private(enum err_code code) {
    return code == ERR_INTERNAL || code == ERR_UNKNOWN || code == ERR_DATA_LOSS;
}

void api_error_add(struct api_error *e, const ProtobufCMessage *detail) {
    if (e->nr_details < API_ERROR_DETAILS_MAX) {
        e->details[e->nr_details++] = detail;
    }
}

/* Room for n violations; n_field_violations is the caller's to count up. */
static Google__Rpc__BadRequest *bad_request(struct arena *a, size_t n) {
    Google__Rpc__BadRequest *bad = arena_own(a, sizeof(*bad));
    google__rpc__bad_request__init(bad);
    bad->field_violations = arena_own_array(a, n, sizeof(*bad->field_violations));
    return bad;
}

static void add_violation(struct arena *a, Google__Rpc__BadRequest *bad, const char *field,
                          const char *description) {
    Google__Rpc__BadRequest__FieldViolation *v = arena_own(a, sizeof(*v));
    google__rpc__bad_request__field_violation__init(v);
    v->field = (char *)field;
    v->description = (char *)description;
    bad->field_violations[bad->n_field_violations++] = v;
}

void api_error_from(struct arena *a, const struct err *err, struct api_error *ret) {
    *ret = (struct api_error){.code = err->code, .message = str_of(err->msg)};
    if (err->field[0]) {
        Google__Rpc__BadRequest *bad = bad_request(a, 1);
        add_violation(a, bad, err->field, err->msg);
        api_error_add(ret, &bad->base);
    }
}

void api_error_from_violations(struct arena *a, const struct violations *vs, struct str message,
                               struct api_error *ret) {
    *ret = (struct api_error){.code = ERR_INVALID_ARGUMENT, .message = message};
    if (vs->n) {
        Google__Rpc__BadRequest *bad = bad_request(a, vs->n);
        for (size_t i = 0; i < vs->n; i++) {
            add_violation(a, bad, vs->v[i].field.n ? vs->v[i].field.p : "", vs->v[i].description.p);
        }
        api_error_add(ret, &bad->base);
    }
}

void api_error_add_retry(struct arena *a, struct api_error *e, uint64_t after_usec) {
    Google__Rpc__RetryInfo *retry = arena_own(a, sizeof(*retry));
    google__rpc__retry_info__init(retry);
    retry->retry_delay = arena_own(a, sizeof(*retry->retry_delay));
    google__protobuf__duration__init(retry->retry_delay);
    retry->retry_delay->seconds = (int64_t)(after_usec / USEC_PER_SEC);
    retry->retry_delay->nanos = (int32_t)(after_usec % USEC_PER_SEC) * 1000;
    api_error_add(e, &retry->base);
}
