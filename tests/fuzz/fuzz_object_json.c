/* Resources that clients send: the first byte chooses which. What an edit made of a resource can be
 * edited again by the same text and is then the same. */
#include "api/gcs_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void edit(struct arena *a, struct str text, bool is_update) {
    struct blob_pair old[] = {{STR("k"), STR("v")}, {STR("x"), STR("y")}};
    struct blob_meta m = {.content_type = STR("a/b"),
                          .doc = STR("{\"customTime\":\"2024-01-01T00:00:00Z\"}"),
                          .custom = old,
                          .nr_custom = 2};
    if (gcs_edit_object(a, text, is_update, &m, NULL) < 0) {
        return;
    }
    struct blob_meta again = m;
    CHECK(gcs_edit_object(a, text, is_update, &again, NULL) == 0);
    CHECK(str_eq(m.content_type, again.content_type) && str_eq(m.doc, again.doc));
    CHECK(m.nr_custom == again.nr_custom);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 65536) {
        return 0;
    }
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct str text = str_n((const char *)data + 1, size - 1);
    struct blob_put put = {0};
    struct blob_bucket bucket = {0};
    struct blob_source *src = NULL;
    size_t n = 0;
    switch (data[0] % 5) {
    case 0:
        (void)gcs_parse_object(a, text, &put, NULL);
        break;
    case 1:
        (void)gcs_parse_bucket(a, text, &bucket, NULL);
        break;
    case 2:
        if (gcs_parse_compose(a, text, STR("bkt"), &put, &src, &n, NULL) == 0) {
            CHECK(n > 0 && n <= GCS_COMPOSE_MAX && src[n - 1].name.n);
        }
        break;
    default:
        edit(a, text, data[0] % 5 == 3);
    }
    arena_free(a);
    return 0;
}
