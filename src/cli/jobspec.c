/* `custom-jobs create` flags -> CustomJob body, with gcloud's meaning: the config file first, flags
 * on top; --args and --command go to every pool; a repeated --worker-pool-spec makes several pools.
 */
#include "cli/cli.h"

#include "base/near.h"

/* gcloud's escape: "^;^a,b;c" is the list "a,b", "c". */
static struct str list_text(const char *text, char *ret_sep) {
    struct str s = str_of(text);
    bool escaped = s.n >= 3 && s.p[0] == '^' && s.p[2] == '^';
    *ret_sep = escaped ? s.p[1] : ',';
    return escaped ? str_sub(s, 3, s.n) : s;
}

static int unknown_key(const char *flag, struct str key, struct err *err) {
    static const char *const keys[] = {
        "machine-type",        "replica-count",      "accelerator-type",
        "accelerator-count",   "boot-disk-type",     "boot-disk-size",
        "container-image-uri", "executor-image-uri", "python-module"};
    struct near near = {.typed = key};
    for (size_t i = 0; i < NR_OF(keys); i++) {
        near_try(&near, keys[i]);
    }
    const char *meant = near_best(&near);
    return err_set(err, ERR_INVALID_ARGUMENT, "%s: unknown key \"%.*s\"%s%s (see --help)", flag,
                   STR_ARG(key), meant ? "; did you mean " : "", meant ? meant : "");
}

/* "k=v,k=v"; a value may hold '='. fn false: unknown key. */
static int each_pair(const char *flag, const char *text, bool (*fn)(void *, struct str, struct str),
                     void *arg, struct err *err) {
    char sep;
    struct str rest = list_text(text, &sep);
    while (rest.p && rest.n) {
        struct str value = str_cut(&rest, sep);
        struct str key = str_cut(&value, '=');
        if (!value.p) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%.*s\" is not KEY=VALUE", flag,
                           STR_ARG(key));
        }
        if (!fn(arg, key, value)) {
            return unknown_key(flag, key, err);
        }
    }
    return 0;
}

static void set_str(json_t *obj, const char *key, struct str v) {
    json_object_set_new(obj, key, json_stringn(v.p, v.n));
}

static json_t *child(json_t *obj, const char *key) {
    json_t *c = json_object_get(obj, key);
    if (!json_is_object(c)) { /* absent, or "scheduling:" with nothing after it */
        c = json_object();
        json_object_set_new(obj, key, c);
    }
    return c;
}

static bool pool_key(void *arg, struct str key, struct str v) {
    json_t *pool = arg;
    if (str_eqc(key, "machine-type")) {
        set_str(child(pool, "machineSpec"), "machineType", v);
    } else if (str_eqc(key, "accelerator-type")) {
        auto_free char *name = str_dup(v); /* gcloud writes nvidia-tesla-t4 */
        for (char *p = name; *p; p++) {
            *p = *p == '-' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        }
        json_object_set_new(child(pool, "machineSpec"), "acceleratorType", json_string(name));
    } else if (str_eqc(key, "accelerator-count")) {
        set_str(child(pool, "machineSpec"), "acceleratorCount", v);
    } else if (str_eqc(key, "replica-count")) {
        set_str(pool, "replicaCount", v);
    } else if (str_eqc(key, "boot-disk-type")) {
        set_str(child(pool, "diskSpec"), "bootDiskType", v);
    } else if (str_eqc(key, "boot-disk-size")) {
        set_str(child(pool, "diskSpec"), "bootDiskSizeGb", v);
    } else if (str_eqc(key, "container-image-uri")) {
        set_str(child(pool, "containerSpec"), "imageUri", v);
    } else if (str_eqc(key, "executor-image-uri")) {
        set_str(child(pool, "pythonPackageSpec"), "executorImageUri", v);
    } else if (str_eqc(key, "python-module")) {
        set_str(child(pool, "pythonPackageSpec"), "pythonModule", v);
    } else {
        return false;
    }
    return true;
}

json_t *flag_list(const char *text) {
    json_t *arr = json_array();
    char sep;
    struct str rest = list_text(text, &sep);
    while (rest.p) {
        struct str one = str_cut(&rest, sep);
        json_array_append_new(arr, json_stringn(one.p, one.n));
    }
    return arr;
}

static bool label_key(void *arg, struct str key, struct str v) {
    auto_free char *k = str_dup(key);
    set_str(arg, k, v);
    return true;
}

json_t *flag_pairs(const char *flag, const char *text, struct err *err) {
    json_t *pairs = json_object();
    if (each_pair(flag, text, label_key, pairs, err)) {
        json_decref(pairs);
        return NULL;
    }
    return pairs;
}

/* --args and --command are copied into every pool that has a task. */
static void set_in_tasks(json_t *pools, const char *key, const char *text, bool packages_too) {
    size_t i;
    json_t *pool;
    json_array_foreach(pools, i, pool) {
        json_t *task = json_object_get(pool, "containerSpec");
        if (!task && packages_too) {
            task = json_object_get(pool, "pythonPackageSpec");
        }
        if (task) {
            json_object_set_new(task, key, flag_list(text));
        }
    }
}

static int add_pools(const struct args *a, json_t *spec, struct err *err) {
    const struct flag *f = args_flag(a, "--worker-pool-spec");
    if (f->nr) {
        json_t *pools = json_array();
        json_object_set_new(spec, "workerPoolSpecs", pools);
        for (size_t i = 0; i < f->nr; i++) {
            json_t *pool = json_object();
            json_array_append_new(pools, pool);
            if (each_pair("--worker-pool-spec", f->values[i], pool_key, pool, err)) {
                return -1;
            }
            if (json_object_size(pool) && !json_object_get(pool, "replicaCount")) {
                json_object_set_new(pool, "replicaCount", json_string("1"));
            }
            json_t *machine = json_object_get(pool, "machineSpec");
            if (json_object_get(machine, "acceleratorType") &&
                !json_object_get(machine, "acceleratorCount")) {
                json_object_set_new(machine, "acceleratorCount", json_string("1"));
            }
        }
    }
    json_t *pools = json_object_get(spec, "workerPoolSpecs");
    if (json_is_object(pools)) { /* gcloud's own examples write a single map here */
        json_t *arr = json_array();
        json_array_append(arr, pools);
        json_object_set_new(spec, "workerPoolSpecs", arr);
        pools = arr;
    }
    if (!json_array_size(pools)) {
        return err_set(
            err, ERR_INVALID_ARGUMENT,
            "give at least one --worker-pool-spec, or a --config file with workerPoolSpecs");
    }
    const char *text;
    size_t i;
    json_t *pool;
    if ((text = args_get(a, "--args"))) {
        set_in_tasks(pools, "args", text, true);
    }
    if ((text = args_get(a, "--command"))) {
        set_in_tasks(pools, "command", text, false);
    }
    if ((text = args_get(a, "--python-package-uris"))) {
        json_array_foreach(pools, i, pool) {
            json_t *py = json_object_get(pool, "pythonPackageSpec");
            if (py) {
                json_object_set_new(py, "packageUris", flag_list(text));
            }
        }
    }
    return 0;
}

json_t *job_body_from_flags(const struct args *a, struct err *err) {
    static const struct {
        const char *flag, *key;
        bool is_bool;
    } simple[] = {
        {"--service-account", "serviceAccount", false},
        {"--network", "network", false},
        {"--persistent-resource-id", "persistentResourceId", false},
        {"--enable-web-access", "enableWebAccess", true},
        {"--enable-dashboard-access", "enableDashboardAccess", true},
    };
    const char *v = args_get(a, "--config");
    json_t *body = v ? configfile_load(v, err) : json_object();
    if (!body) {
        return NULL;
    }
    if (!json_object_get(body,
                         "jobSpec")) { /* gcloud's file is the spec; ours may be the request */
        body = json_pack("{s:o}", "jobSpec", body);
    }
    json_t *spec = child(body, "jobSpec");
    if ((v = args_get(a, "--display-name"))) {
        json_object_set_new(body, "displayName", json_string(v));
    }
    if (!json_object_get(body, "displayName")) {
        err_set(err, ERR_INVALID_ARGUMENT, "--display-name is required");
        goto fail;
    }
    if ((v = args_get(a, "--labels"))) {
        json_t *labels = json_object();
        json_object_set_new(body, "labels", labels);
        if (each_pair("--labels", v, label_key, labels, err)) {
            goto fail;
        }
    }
    for (size_t i = 0; i < NR_OF(simple); i++) {
        if ((v = args_get(a, simple[i].flag))) {
            json_object_set_new(spec, simple[i].key,
                                simple[i].is_bool ? json_boolean(strcmp(v, "false") != 0)
                                                  : json_string(v));
        }
    }
    if ((v = args_get(a, "--base-output-dir"))) {
        set_str(child(spec, "baseOutputDirectory"), "outputUriPrefix", str_of(v));
    }
    if ((v = args_get(a, "--timeout"))) {
        bool bare = *v && strspn(v, "0123456789") == strlen(v);
        auto_free char *timeout = xasprintf("%s%s", v, bare ? "s" : "");
        set_str(child(spec, "scheduling"), "timeout", str_of(timeout));
    }
    if (add_pools(a, spec, err)) {
        goto fail;
    }
    return body;
fail:
    json_decref(body);
    return NULL;
}
