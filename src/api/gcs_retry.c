/* Retry tests: a JSON document each, {id, instructions: {METHOD: [STEP, ...]}, completed,
 * transport}; a step is taken off the front when it happens. */
#include "api/gcs_retry.h"

#include "api/gcs_int.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/enc.h"
#include "sys/loop.h"

#include <jansson.h>

#define TESTS_MAX 10000
#define BODY_MAX 65536

struct gcs_retry {
    struct loop *loop;
    struct map tests; /* id -> json_t */
};

struct gcs_retry *gcs_retry_new(struct loop *l) {
    struct gcs_retry *r = xcalloc(1, sizeof(*r));
    r->loop = l;
    map_init(&r->tests);
    return r;
}

void gcs_retry_free(struct gcs_retry *r) {
    size_t it = 0;
    const struct map_slot *slot;
    if (!r) {
        return;
    }
    while ((slot = map_next(&r->tests, &it))) {
        json_decref(slot->value);
    }
    map_fini(&r->tests);
    free(r);
}

/* ---- names of calls ---- */

/* insert, get, ... of a collection with ids: "acl", "acl/ID". */
static const char *verb_of(struct str method, bool has_id) {
    return str_eqc(method, "GET")      ? (has_id ? "get" : "list")
           : str_eqc(method, "POST")   ? (has_id ? NULL : "insert")
           : str_eqc(method, "PUT")    ? "update"
           : str_eqc(method, "PATCH")  ? "patch"
           : str_eqc(method, "DELETE") ? "delete"
                                       : NULL;
}

static struct str name_of(struct arena *a, struct str method, const char *kind, bool has_id) {
    const char *verb = verb_of(method, has_id);
    return verb ? str_of(arena_printf(a, "storage.%s.%s", kind, verb)) : STR("");
}

static struct str bucket_call(struct arena *a, struct str method, struct str tail) {
    static const struct {
        const char *tail, *kind;
    } below[] = {{"acl", "bucket_acl"},
                 {"defaultObjectAcl", "default_object_acl"},
                 {"notificationConfigs", "notifications"}};
    if (tail.n == 0) {
        return name_of(a, method, "buckets", true);
    }
    if (str_eqc(tail, "iam")) {
        return str_eqc(method, "PUT") ? STR("storage.buckets.setIamPolicy")
                                      : STR("storage.buckets.getIamPolicy");
    }
    if (str_eqc(tail, "iam/testPermissions")) {
        return STR("storage.buckets.testIamPermissions");
    }
    if (str_eqc(tail, "lockRetentionPolicy")) {
        return STR("storage.buckets.lockRetentionPolicy");
    }
    struct str id = tail, word = str_cut(&id, '/');
    for (size_t i = 0; i < NR_OF(below); i++) {
        if (str_eqc(word, below[i].tail)) {
            return name_of(a, method, below[i].kind, id.p != NULL);
        }
    }
    return STR("");
}

static struct str object_call(struct arena *a, struct str method, struct str raw) {
    static const struct {
        const char *word, *name;
    } verbs[] = {{"/rewriteTo/b/", "storage.objects.rewrite"},
                 {"/copyTo/b/", "storage.objects.copy"},
                 {"/moveTo/o/", "storage.objects.move"}};
    if (str_ends(raw, STR("/acl")) || str_find(raw, STR("/acl/")) > 0) {
        return name_of(a, method, "object_acl", !str_ends(raw, STR("/acl")));
    }
    for (size_t i = 0; i < NR_OF(verbs) && str_eqc(method, "POST"); i++) {
        if (str_find(raw, str_of(verbs[i].word)) > 0) {
            return str_of(verbs[i].name);
        }
    }
    if (str_eqc(method, "POST") && str_ends(raw, STR("/compose"))) {
        return STR("storage.objects.compose");
    }
    return name_of(a, method, "objects", true);
}

static struct str project_call(struct arena *a, struct str method, struct str rest) {
    struct str tail = rest, id;
    (void)str_cut(&tail, '/');
    id = tail;
    if (str_eqc(tail, "serviceAccount")) {
        return STR("storage.serviceaccount.get");
    }
    if (str_eqc(str_cut(&id, '/'), "hmacKeys")) {
        return str_eqc(method, "POST") ? STR("storage.hmacKey.create")
                                       : name_of(a, method, "hmacKey", id.n > 0);
    }
    return STR("");
}

struct str gcs_method_name(struct arena *a, struct str method, struct str path, bool is_xml) {
    static const char *const doors[] = {"/upload/storage/v1",
                                        "/resumable/upload/storage/v1",
                                        "/download/storage/v1",
                                        "/storage/v1",
                                        "/upload",
                                        "/download"};
    bool is_upload = str_starts(path, STR("/upload/")) || str_starts(path, STR("/resumable/"));
    if (is_xml) {
        return str_eqc(method, "GET") || str_eqc(method, "HEAD") ? STR("storage.objects.get")
               : str_eqc(method, "DELETE")                       ? STR("storage.objects.delete")
                                                                 : STR("storage.objects.insert");
    }
    for (size_t i = 0; i < NR_OF(doors); i++) {
        struct str door = str_of(doors[i]);
        if (str_starts(path, door) && path.n > door.n && path.p[door.n] == '/') {
            path = str_sub(path, door.n, path.n);
            break;
        }
    }
    struct str rest = str_sub(path, 1, path.n), word = str_cut(&rest, '/');
    if (str_eqc(word, "projects")) {
        return project_call(a, method, rest);
    }
    if (!str_eqc(word, "b")) {
        return STR("");
    }
    if (!rest.n) {
        return name_of(a, method, "buckets", false);
    }
    struct str tail = rest;
    (void)str_cut(&tail, '/');
    struct str raw = tail;
    if (!tail.p || !str_eqc(str_cut(&raw, '/'), "o")) {
        return bucket_call(a, method, tail.p ? tail : STR(""));
    }
    if (is_upload) {
        return STR("storage.objects.insert");
    }
    return raw.n ? object_call(a, method, raw) : name_of(a, method, "objects", false);
}

/* ---- instructions ---- */

/* "256K" -> bytes */
static bool read_kib(struct str s, uint64_t *ret) {
    uint64_t n;
    if (!str_ends(s, STR("K")) || !str_to_u64(str_sub(s, 0, s.n - 1), &n) || n > (1ull << 40)) {
        return false;
    }
    *ret = n * 1024;
    return true;
}

int gcs_instruction_parse(struct str text, struct gcs_instruction *ret, struct err *err) {
    struct gcs_instruction in = {.after = UINT64_MAX};
    struct str rest = text;
    uint64_t status;
    bool ok = str_starts(rest, STR("return-"));
    rest = ok ? str_sub(rest, 7, rest.n) : rest;
    ptrdiff_t at = str_find(rest, STR("-after-"));
    struct str what = at < 0 ? rest : str_sub(rest, 0, (size_t)at);
    ok = ok && (at < 0 || read_kib(str_sub(rest, (size_t)at + 7, rest.n), &in.after));
    if (ok && str_to_u64(what, &status) && status >= 300 && status <= 599) {
        in.status = (unsigned)status;
    } else if (ok && str_eqc(what, "reset-connection") && at < 0) {
        in.resets = true;
    } else if (ok && str_eqc(what, "broken-stream")) {
        in.cuts_download = true;
        in.after = at < 0 ? 4 : in.after;
    } else {
        return err_field(err, ERR_INVALID_ARGUMENT, "instructions",
                         "The instruction \"%.*s\" is not supported here: return-CODE, "
                         "return-CODE-after-NK, return-reset-connection, return-broken-stream and "
                         "return-broken-stream-after-NK are.",
                         (int)(text.n > 100 ? 100 : text.n), text.p ? text.p : "");
    }
    *ret = in;
    return 0;
}

/* ---- /retry_test ---- */

static void reply_json(struct xch *x, json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    struct header h = {STR("content-type"), STR("application/json")};
    xch_reply(x, 200, &h, 1, str_of(text));
    free(text);
}

static int check_instructions(json_t *all, struct err *err) {
    const char *method;
    json_t *list;
    struct gcs_instruction in;
    if (!json_is_object(all) || json_object_size(all) == 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "instructions", "instructions is not defined");
    }
    json_object_foreach(all, method, list) {
        if (strncmp(method, "storage.", 8) != 0 || !json_is_array(list)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "instructions",
                             "\"%.100s\" is not a method with a list of instructions", method);
        }
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *step = json_string_value(json_array_get(list, i));
            if (gcs_instruction_parse(str_of(step ? step : ""), &in, err) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

struct creation {
    struct gcs_retry *r;
};

static void create_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct creation *k = arg;
    struct gcs_retry *r = k->r;
    json_t *given = NULL;
    struct err err;
    if (!why && gcs_load_json(body, &given, &err) < 0) {
        why = &err;
    } else if (!why && r->tests.n >= TESTS_MAX) {
        err_set(&err, ERR_RESOURCE_EXHAUSTED, "There are %d retry tests; delete some", TESTS_MAX);
        why = &err;
    } else if (!why && check_instructions(json_object_get(given, "instructions"), &err) < 0) {
        why = &err;
    }
    if (why) {
        json_decref(given);
        gcs_reply_err(x, why);
        return;
    }
    uint8_t secret[16];
    auto_buf struct buf id = BUF_INIT(64);
    rng_secret(secret, sizeof(secret));
    enc_hex(&id, secret, sizeof(secret));
    const char *transport = json_string_value(json_object_get(given, "transport"));
    json_t *test = json_pack("{s:s, s:O, s:b, s:s}", "id", buf_cstr(&id), "instructions",
                             json_object_get(given, "instructions"), "completed", 0, "transport",
                             transport ? transport : "HTTP");
    json_decref(given);
    map_put(&r->tests, buf_str(&id), test);
    reply_json(x, test);
}

static void unknown_test(struct xch *x, struct str id) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "Retry Test %.*s does not exist.", (int)(id.n > 64 ? 64 : id.n),
            id.p ? id.p : "");
    gcs_reply_err(x, &err);
}

static void list_tests(struct gcs_retry *r, struct xch *x) {
    size_t it = 0;
    const struct map_slot *slot;
    json_t *all = json_array(), *out;
    while ((slot = map_next(&r->tests, &it))) {
        json_array_append(all, slot->value);
    }
    out = json_pack("{s:o}", "retry_test", all);
    reply_json(x, out);
    json_decref(out);
}

bool gcs_retry_handle(struct gcs_retry *r, struct xch *x) {
    struct str path = xch_head(x)->path, method = xch_head(x)->method;
    if (str_eqc(path, "/retry_tests") && str_eqc(method, "GET")) {
        list_tests(r, x);
        return true;
    }
    if (str_eqc(path, "/retry_test") && str_eqc(method, "POST")) {
        struct creation *k = arena_own(xch_arena(x), sizeof(*k));
        k->r = r;
        xch_collect_body(x, BODY_MAX, create_body, k);
        return true;
    }
    if (!str_starts(path, STR("/retry_test/"))) {
        return false;
    }
    struct str id = str_sub(path, 12, path.n);
    json_t *test = map_get(&r->tests, id);
    if (!test) {
        unknown_test(x, id);
    } else if (str_eqc(method, "DELETE")) {
        map_del(&r->tests, id);
        json_decref(test);
        xch_reply(x, 200, NULL, 0, STR("Deleted"));
    } else {
        reply_json(x, test);
    }
    return true;
}

/* ---- in a call ---- */

void gcs_fault_happens(struct gcs_fault *f) {
    json_t *test = f->from ? map_get(&f->from->tests, f->test) : NULL;
    json_t *all = json_object_get(test, "instructions"), *list;
    const char *method;
    size_t left = 0;
    auto_free char *name = str_dup(f->method);
    if (test) {
        json_array_remove(json_object_get(all, name), 0);
        json_object_foreach(all, method, list) {
            left += json_array_size(list);
        }
        json_object_set_new(test, "completed", json_boolean(left == 0));
    }
    *f = (struct gcs_fault){0};
}

void gcs_fault_reply(struct xch *x, unsigned status) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_printf(&b,
               "{\"error\":{\"code\":%u,\"message\":\"Retry Test: Caused a %u\",\"errors\":[{"
               "\"message\":\"Retry Test: Caused a %u\",\"domain\":\"global\",\"reason\":"
               "\"retryTest\"}]}}",
               status, status, status);
    gcs_reply_json(x, (int)status, &b);
}

struct cut {
    struct loop_task task;
    struct xch *x;
};

static void cut_now(struct loop_task *t) {
    struct cut *k = CONTAINER_OF(t, struct cut, task);
    xch_abort(k->x);
    xch_unref(k->x);
    free(k);
}

void gcs_fault_cut(struct gcs_retry *r, struct xch *x) {
    struct cut *k = xcalloc(1, sizeof(*k));
    k->x = xch_ref(x);
    loop_task_init(&k->task, cut_now);
    loop_post(r->loop, &k->task); /* behind the connection's own, which flushes */
}

bool gcs_retry_intercept(struct gcs_retry *r, struct xch *x, struct str method, struct str path,
                         bool is_xml, struct gcs_fault *ret) {
    struct str id = xch_header(x, "x-retry-test-id");
    if (!id.p) {
        return false;
    }
    json_t *test = map_get(&r->tests, id);
    if (!test) {
        unknown_test(x, id);
        return true;
    }
    struct str call = gcs_method_name(xch_arena(x), method, path, is_xml);
    auto_free char *name = str_dup(call);
    json_t *list = json_object_get(json_object_get(test, "instructions"), name);
    const char *step = json_string_value(json_array_get(list, 0));
    const char *transport = json_string_value(json_object_get(test, "transport"));
    struct gcs_instruction in;
    if (!step || strcasecmp(transport, "HTTP") != 0 ||
        gcs_instruction_parse(str_of(step), &in, NULL) < 0) {
        return false;
    }
    struct gcs_fault f = {.from = r,
                          .test = arena_str(xch_arena(x), id),
                          .method = call,
                          .status = in.status,
                          .cuts_download = in.cuts_download,
                          .after = in.after};
    if (in.after != UINT64_MAX) {
        *ret = f;
        return false;
    }
    unsigned status = in.status;
    gcs_fault_happens(&f);
    if (status) {
        gcs_fault_reply(x, status);
    } else {
        xch_abort(x);
    }
    return true;
}
