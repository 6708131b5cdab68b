/* For the tests of storage clients alone (--test-retry-api): a bucket's notification configurations
 * and the lock of its retention policy, kept as they are set and without any effect. Nobody is
 * notified here and nothing is retained by force, so without that switch both are refused: a bucket
 * that took them would be believed. They are members of the bucket's doc. */
#include "api/gcs_int.h"

#include <jansson.h>

#define KEY GCS_NOTIFICATIONS
#define CONFIGS_MAX 100 /* of one bucket; the real limit */
#define TOPIC "//pubsub.googleapis.com/projects/"

static void put(struct buf *b, const struct gcs_call *c, const json_t *config) {
    auto_buf struct buf url = BUF_INIT(BUF_NO_MAX);
    json_t *j = json_deep_copy(config);
    const char *id = json_string_value(json_object_get(j, "id"));
    gcs_base_url(&url, c->x);
    json_object_set_new(j, "kind", json_string("storage#notification"));
    json_object_set_new(j, "etag", json_string(id));
    json_object_set_new(
        j, "selfLink",
        json_sprintf("%s/storage/v1/b/%.*s/" KEY "/%s", buf_cstr(&url), STR_ARG(c->bucket), id));
    char *text = json_dumps(j, JSON_COMPACT);
    buf_puts(b, text);
    free(text);
    json_decref(j);
}

static void reply(struct gcs_call *c, struct buf *b) {
    gcs_reply_json(c->x, 200, b);
    gcs_call_free(c);
}

static void keep(struct blob_req *r, json_t *doc) {
    char *text = json_dumps(doc, JSON_COMPACT);
    r->bucket_info->doc = json_object_size(doc) ? arena_str(r->arena, str_of(text)) : STR("");
    free(text);
}

static size_t find(const json_t *list, struct str id) {
    size_t i = 0;
    while (i < json_array_size(list) &&
           !str_eqc(id, json_string_value(json_object_get(json_array_get(list, i), "id")))) {
        i++;
    }
    return i;
}

static int no_such(struct str id, struct err *err) {
    return err_set(err, ERR_NOT_FOUND, "No such notification: %.*s", (int)(id.n > 100 ? 100 : id.n),
                   id.p);
}

/* ---- read ---- */

static void list_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (!c) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    json_t *doc = gcs_load_doc(r->bucket_info->doc), *list = json_object_get(doc, KEY);
    buf_puts(&b, "{\"kind\":\"storage#notifications\"");
    for (size_t i = 0; i < json_array_size(list); i++) {
        buf_puts(&b, i ? "," : ",\"items\":[");
        put(&b, c, json_array_get(list, i));
    }
    buf_puts(&b, json_array_size(list) ? "]}" : "}");
    json_decref(doc);
    reply(c, &b);
}

static void get_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (!c) {
        return;
    }
    struct err why;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    json_t *doc = gcs_load_doc(r->bucket_info->doc), *list = json_object_get(doc, KEY);
    size_t at = find(list, c->name);
    if (at == json_array_size(list)) {
        (void)no_such(c->name, &why);
        gcs_fail(c, &why);
    } else {
        put(&b, c, json_array_get(list, at));
        reply(c, &b);
    }
    json_decref(doc);
}

/* ---- insert, delete ---- */

static int check(const json_t *j, struct err *err) {
    const char *topic = json_string_value(json_object_get(j, "topic"));
    const char *format = json_string_value(json_object_get(j, "payload_format"));
    const json_t *events = json_object_get(j, "event_types"),
                 *custom = json_object_get(j, "custom_attributes"),
                 *prefix = json_object_get(j, "object_name_prefix");
    if (!topic || strncmp(topic, TOPIC, strlen(TOPIC)) != 0 ||
        !strstr(topic + strlen(TOPIC), "/topics/")) {
        return err_field(err, ERR_INVALID_ARGUMENT, "topic",
                         "Invalid value for topic: it must be " TOPIC "PROJECT/topics/TOPIC");
    }
    if (!format || (strcmp(format, "JSON_API_V1") != 0 && strcmp(format, "NONE") != 0)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "payload_format",
                         "Invalid value for payload_format: it must be JSON_API_V1 or NONE");
    }
    if ((events && !json_is_array(events)) || (custom && !json_is_object(custom)) ||
        (prefix && !json_is_string(prefix))) {
        return err_field(err, ERR_INVALID_ARGUMENT,
                         events && !json_is_array(events)    ? "event_types"
                         : custom && !json_is_object(custom) ? "custom_attributes"
                                                             : "object_name_prefix",
                         "Invalid value: event_types is a list, custom_attributes an object, "
                         "object_name_prefix a string");
    }
    return 0;
}

static int insert_edit(struct blob_req *r, struct err *err) {
    static const char *const kept[] = {"topic", "payload_format", "event_types",
                                       "custom_attributes", "object_name_prefix"};
    struct gcs_call *c = r->arg;
    json_t *j;
    if (gcs_load_json(c->body, &j, err) < 0) {
        return -1;
    }
    json_t *doc = gcs_load_doc(r->bucket_info->doc), *list = json_object_get(doc, KEY);
    size_t n = json_array_size(list);
    int rc = check(j, err);
    if (rc == 0 && n >= CONFIGS_MAX) {
        rc = err_set(err, ERR_RESOURCE_EXHAUSTED, "A bucket has at most %d notifications.",
                     CONFIGS_MAX);
    }
    if (rc == 0) {
        uint64_t last = 0;
        const char *id =
            n ? json_string_value(json_object_get(json_array_get(list, n - 1), "id")) : "0";
        (void)str_to_u64(str_of(id), &last); /* numbers of ours, in order */
        json_t *own = json_object();
        json_object_set_new(own, "id", json_sprintf("%llu", (unsigned long long)last + 1));
        for (size_t i = 0; i < NR_OF(kept); i++) {
            json_t *v = json_object_get(j, kept[i]);
            if (v && !json_is_null(v)) {
                json_object_set(own, kept[i], v);
            }
        }
        if (!list) {
            json_object_set_new(doc, KEY, list = json_array());
        }
        c->name = arena_str(c->a, str_of(json_string_value(json_object_get(own, "id"))));
        json_array_append_new(list, own);
        keep(r, doc);
    }
    json_decref(doc);
    json_decref(j);
    return rc;
}

static int delete_edit(struct blob_req *r, struct err *err) {
    struct gcs_call *c = r->arg;
    json_t *doc = gcs_load_doc(r->bucket_info->doc), *list = json_object_get(doc, KEY);
    size_t at = find(list, c->name);
    int rc = at == json_array_size(list) ? no_such(c->name, err) : 0;
    if (rc == 0) {
        json_array_remove(list, at);
        if (json_array_size(list) == 0) {
            json_object_del(doc, KEY);
        }
        keep(r, doc);
    }
    json_decref(doc);
    return rc;
}

bool gcs_notifications(struct gcs_call *c, struct str method, struct str tail) {
    struct str id = tail;
    if (!str_eqc(str_cut(&id, '/'), KEY)) {
        return false;
    }
    bool is_get = str_eqc(method, "GET");
    c->name = id.p ? id : STR("");
    if (!c->g->retry && !is_get) {
        gcs_not_built(c);
        return true;
    }
    if (is_get) {
        c->req.cb = id.p ? get_out : list_out;
        blob_bucket_get(c->g->blob, &c->req);
    } else if (!id.p && str_eqc(method, "POST")) {
        gcs_edit(c, insert_edit, get_out, blob_bucket_edit);
    } else if (id.p && str_eqc(method, "DELETE")) {
        gcs_edit(c, delete_edit, gcs_gone_out, blob_bucket_edit);
    } else {
        gcs_not_built(c);
    }
    return true;
}

struct str gcs_kept_doc(struct arena *a, struct str doc) {
    json_t *j = gcs_load_doc(doc), *list = json_object_get(j, KEY);
    char *text = list ? json_dumps(list, JSON_COMPACT) : NULL;
    struct str out = text ? str_of(arena_printf(a, "{\"" KEY "\":%s}", text)) : STR("");
    free(text);
    json_decref(j);
    return out;
}

/* ---- the lock ---- */

int gcs_lock_retention(struct blob_req *r, struct err *err) {
    const struct gcs_call *c = r->arg;
    json_t *doc = gcs_load_doc(r->bucket_info->doc),
           *policy = json_object_get(doc, "retentionPolicy");
    int rc = !c->q.pre.has_metagen ? err_field(err, ERR_INVALID_ARGUMENT, "ifMetagenerationMatch",
                                               "Required parameter: ifMetagenerationMatch")
             : !json_is_object(policy)
                 ? err_set(err, ERR_FAILED_PRECONDITION,
                           "The bucket has no retention policy that could be locked.")
                 : 0;
    if (rc == 0) {
        json_object_set_new(policy, "isLocked", json_true());
        keep(r, doc);
    }
    json_decref(doc);
    return rc;
}
