/* Environment and command line of one replica. The order of the steps in env_make is the contract:
 * each may replace what an earlier one said. */
#include "engine/local/env.h"

#include "base/jw.h"
#include "engine/local/metrics.h"
#include "engine/local/names.h"

#include <inttypes.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* MASTER_PORT: the service port named TRAINING_PORT on the real thing (reference 03 §5). */
#define MASTER_PORT "3333"

static struct env_item *find(const struct env *e, struct str name) {
    for (size_t i = 0; i < e->n; i++) {
        if (str_eqc(name, e->p[i].name)) {
            return &e->p[i];
        }
    }
    return NULL;
}

const char *env_get(const struct env *e, const char *name) {
    struct env_item *it = find(e, str_of(name));
    return it != NULL ? it->value : NULL;
}

void env_set(struct env *e, const char *name, const char *value, bool referable) {
    struct env_item *it = find(e, str_of(name));
    if (it == NULL) {
        if (e->n == e->cap) {
            size_t cap = e->cap != 0 ? e->cap * 2 : 64;
            struct env_item *p = arena_calloc(e->arena, cap, sizeof(*p));
            if (e->n > 0) {
                memcpy(p, e->p, e->n * sizeof(*p));
            }
            e->p = p;
            e->cap = cap;
        }
        it = &e->p[e->n++];
        it->name = name;
        it->referable = false;
    }
    it->value = value;
    it->referable = it->referable || referable;
}

const char **env_strings(const struct env *e) {
    const char **out = arena_calloc(e->arena, e->n + 1, sizeof(*out));
    for (size_t i = 0; i < e->n; i++) {
        out[i] = arena_printf(e->arena, "%s=%s", e->p[i].name, e->p[i].value);
    }
    return out;
}

/* -- references ------------------------------------------------------------------------------- */

int env_expand(const struct env *e, const char *text, const char *what, const char **ret,
               struct err *err) {
    if (strchr(text, '$') == NULL && strlen(text) < ENV_MAX_STRING) {
        *ret = text;
        return 0;
    }
    auto_buf struct buf b = BUF_INIT(ENV_MAX_STRING - 1);
    struct str rest = str_of(text);
    while (rest.n > 0) {
        ptrdiff_t close;
        if (str_starts(rest, STR("$$("))) {
            (void)buf_puts(&b, "$(");
            rest = str_sub(rest, 3, rest.n);
        } else if (str_starts(rest, STR("$(")) && (close = str_chr(rest, ')')) >= 0) {
            struct env_item *it = find(e, str_sub(rest, 2, (size_t)close - 2));
            size_t len = (size_t)close + 1;
            if (it != NULL && it->referable) {
                (void)buf_puts(&b, it->value);
            } else {
                (void)buf_put_str(&b, str_sub(rest, 0, len));
            }
            rest = str_sub(rest, len, rest.n);
        } else {
            (void)buf_putc(&b, rest.p[0]);
            rest = str_sub(rest, 1, rest.n);
        }
    }
    if (b.full) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "%s is longer than %u characters after $(NAME) was filled in", what,
                       ENV_MAX_STRING - 1);
    }
    *ret = arena_strdup(e->arena, buf_cstr(&b));
    return 0;
}

/* -- the service's variables ------------------------------------------------------------------ */

static void put_addresses(struct jw *w, const struct job_spec *s, uint32_t pool) {
    jw_array(w);
    for (uint32_t i = 0; i < s->pools[pool].replica_count; i++) {
        char host[NAMES_HOST_SIZE], addr[NAMES_HOST_SIZE + 8];
        names_host(s, pool, i, host);
        (void)snprintf(addr, sizeof(addr), "%s:%d", host, NAMES_PORT);
        jw_cstr(w, addr);
    }
    jw_end_array(w);
}

static void put_job(struct jw *w, const struct job_spec *s) {
    jw_key(w, "job");
    jw_raw(w, s->cluster_job_json != NULL ? str_of(s->cluster_job_json) : STR("{}"));
}

/* Inside "task", of tuning trials only (reference 03 §3). */
static void put_trial(struct jw *w, const struct job_spec *s) {
    if (s->trial_id != NULL) {
        jw_kv(w, "trial", s->trial_id);
    }
}

static const char *cluster_spec(struct arena *a, const struct job_spec *s, uint32_t pool,
                                uint32_t index) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    char name[NAMES_REPLICA_SIZE];
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_key(&w, "cluster");
    jw_object(&w);
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        if (s->pools[p].replica_count > 0) {
            (void)snprintf(name, sizeof(name), "workerpool%u", p);
            jw_key(&w, name);
            put_addresses(&w, s, p);
        }
    }
    jw_end_object(&w);
    jw_kv(&w, "environment", "cloud");
    jw_key(&w, "task");
    jw_object(&w);
    (void)snprintf(name, sizeof(name), "workerpool%u", pool);
    jw_kv(&w, "type", name);
    jw_key(&w, "index");
    jw_u64(&w, index);
    put_trial(&w, s);
    jw_end_object(&w);
    put_job(&w, s);
    jw_end_object(&w);
    return arena_strdup(a, buf_cstr(&b));
}

/* The role of pool 0, 1, 2, 3 in TensorFlow's words. */
static const char *const tf_roles[] = {"chief", "worker", "ps", "evaluator"};

static const char *tf_config(struct arena *a, const struct job_spec *s, uint32_t pool,
                             uint32_t index) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    const char *role = tf_roles[pool < NR_OF(tf_roles) ? pool : NR_OF(tf_roles) - 1];
    jw_init(&w, &b, 0);
    jw_object(&w);
    if (strcmp(role, "evaluator") != 0) { /* an evaluator is no part of the training cluster */
        jw_key(&w, "cluster");
        jw_object(&w);
        for (uint32_t p = 0; p < s->nr_pools && p < 3; p++) {
            if (s->pools[p].replica_count > 0) {
                jw_key(&w, tf_roles[p]);
                put_addresses(&w, s, p);
            }
        }
        jw_end_object(&w);
    }
    jw_kv(&w, "environment", "cloud");
    put_job(&w, s);
    jw_key(&w, "task");
    jw_object(&w);
    jw_kv(&w, "type", role);
    jw_key(&w, "index");
    jw_u64(&w, index);
    put_trial(&w, s);
    jw_kv(&w, "cloud", arena_printf(a, "%016" PRIx64 "-ml", str_hash(str_of(s->id))));
    jw_end_object(&w);
    jw_end_object(&w);
    return arena_strdup(a, buf_cstr(&b));
}

static void service_vars(struct arena *a, const struct env_input *in, struct env *e) {
    const struct job_spec *s = in->spec;
    uint32_t pool, index, total = job_spec_replicas(s);
    char host[NAMES_HOST_SIZE];
    job_spec_locate(s, in->replica, &pool, &index);
    names_host(s, pool, index, host);
    env_set(e, "CLOUD_ML_PROJECT_ID", arena_printf(a, "%" PRIu64, s->project_number), true);
    env_set(e, "CLOUD_ML_JOB_ID", s->id, true);
    env_set(e, "CLOUD_ML_REGION", s->location, true);
    env_set(e, "HOSTNAME", arena_strdup(a, host), true);
    env_set(e, "CLUSTER_SPEC", cluster_spec(a, s, pool, index), true);
    if (total > 1) {
        char master[NAMES_HOST_SIZE];
        names_host(s, 0, 0, master);
        env_set(e, "TF_CONFIG", tf_config(a, s, pool, index), true);
        env_set(e, "MASTER_ADDR", arena_strdup(a, master), true);
        env_set(e, "MASTER_PORT", MASTER_PORT, true);
        env_set(e, "RANK", arena_printf(a, "%u", in->replica), true);
        env_set(e, "WORLD_SIZE", arena_printf(a, "%u", total), true);
    }
    if (s->trial_id != NULL) {
        env_set(e, "CLOUD_ML_TRIAL_ID", s->trial_id, true);
        env_set(e, "CLOUD_ML_HP_METRIC_FILE", METRICS_PATH, true);
    }
    if (s->base_output != NULL) {
        env_set(e, "AIP_MODEL_DIR", arena_printf(a, "%smodel/", s->base_output), true);
        env_set(e, "AIP_CHECKPOINT_DIR", arena_printf(a, "%scheckpoints/", s->base_output), true);
        env_set(e, "AIP_TENSORBOARD_LOG_DIR", arena_printf(a, "%slogs/", s->base_output), true);
    }
}

/* -- the site's variables --------------------------------------------------------------------- */

/* have: what the variable is so far. */
static const char *fill_words(struct arena *a, const struct env_input *in, const char *have,
                              struct str text) {
    const struct {
        struct str word;
        const char *value;
    } words[] = {
        {STR("%DOOR%"), in->door},
        {STR("%HAVE%"), have},
        {STR("%GATEWAY%"), in->gateway != NULL ? in->gateway : "127.0.0.1"},
        {STR("%PROJECT_ID%"), in->spec->project_id},
        {STR("%PROJECT_NUMBER%"), arena_printf(a, "%" PRIu64, in->spec->project_number)},
        {STR("%JOB_ID%"), in->spec->id},
        {STR("%REGION%"), in->spec->location},
    };
    auto_buf struct buf b = BUF_INIT(ENV_MAX_STRING - 1);
    while (text.n > 0) {
        size_t i = 0;
        while (i < NR_OF(words) && !str_starts(text, words[i].word)) {
            i++;
        }
        if (i < NR_OF(words)) {
            (void)buf_puts(&b, words[i].value != NULL ? words[i].value : "");
            text = str_sub(text, words[i].word.n, text.n);
        } else {
            (void)buf_putc(&b, text.p[0]);
            text = str_sub(text, 1, text.n);
        }
    }
    return arena_strdup(a, buf_cstr(&b));
}

static void put_list(struct arena *a, const struct env_input *in, const char **list, bool site,
                     struct env *e) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        struct str rest = str_of(list[i]);
        struct str name = str_cut(&rest, '=');
        if (name.n == 0 || rest.p == NULL) {
            continue; /* images in the wild carry entries without '='; nothing can be set from them
                       */
        }
        const char *key = arena_strndup(a, name.p, name.n);
        env_set(e, key,
                site ? fill_words(a, in, env_get(e, key), rest) : arena_strndup(a, rest.p, rest.n),
                site);
    }
}

/* -- everything ------------------------------------------------------------------------------- */

static int check_total(const struct env *e, struct err *err) {
    size_t total = 0;
    for (size_t i = 0; i < e->n; i++) {
        size_t n = strlen(e->p[i].name) + strlen(e->p[i].value) + 2;
        if (n > ENV_MAX_STRING) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "environment variable %s is longer than %u characters", e->p[i].name,
                           ENV_MAX_STRING - 1);
        }
        total += n;
    }
    if (total > ENV_MAX_TOTAL) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the environment of one replica has %zu bytes, more than %u", total,
                       ENV_MAX_TOTAL);
    }
    return 0;
}

int env_make(struct arena *a, const struct env_input *in, struct env *ret, struct err *err) {
    struct env e = {.arena = a};
    const struct job_spec *s = in->spec;
    uint32_t pool_nr, index;
    job_spec_locate(s, in->replica, &pool_nr, &index);
    const struct pool_spec *pool = &s->pools[pool_nr];

    put_list(a, in, in->image_env, false, &e);
    if (env_get(&e, "PATH") == NULL) {
        env_set(&e, "PATH", DEFAULT_PATH, false);
    }
    if (env_get(&e, "HOME") == NULL) {
        env_set(&e, "HOME", in->home != NULL ? in->home : "/", false);
    }
    if (pool->kind == TASK_PYTHON) { /* scripts of packages installed with --user */
        env_set(&e, "PATH",
                arena_printf(a, "%s/.local/bin:%s", env_get(&e, "HOME"), env_get(&e, "PATH")),
                false);
    }
    service_vars(a, in, &e);
    put_list(a, in, in->extra_env, true, &e);
    put_list(a, in, in->door_env, true, &e);
    for (size_t i = 0; i < pool->nr_env; i++) {
        const char *value, *what = arena_printf(a, "env[%zu].value", i);
        if (env_expand(&e, pool->env[i].value, what, &value, err) < 0) {
            return -1;
        }
        env_set(&e, pool->env[i].name, value, true);
    }
    if (check_total(&e, err) < 0) {
        return -1;
    }
    *ret = e;
    return 0;
}

static size_t count(const char **list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL) {
        n++;
    }
    return n;
}

static int expand_into(const struct env *e, const char **list, const char *what, const char **argv,
                       size_t *n, struct err *err) {
    size_t total = 0;
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s[%zu]", what, i);
        if (env_expand(e, list[i], name, &argv[*n], err) < 0) {
            return -1;
        }
        total += strlen(argv[*n]) + 1;
        if (total > ENV_MAX_TOTAL) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "%s is longer than %u characters after $(NAME) was filled in", what,
                           ENV_MAX_TOTAL);
        }
        (*n)++;
    }
    return 0;
}

static void append(const char **list, const char **argv, size_t *n) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        argv[(*n)++] = list[i];
    }
}

int env_command(struct arena *a, const struct env *e, const struct pool_spec *pool,
                const char **image_entrypoint, const char **image_cmd, const char ***ret_argv,
                struct err *err) {
    size_t nr_command = count(pool->command), nr_args = count(pool->args), n = 0;
    const char **argv = arena_calloc(
        a, nr_command + nr_args + count(image_entrypoint) + count(image_cmd) + 4, sizeof(*argv));
    if (pool->kind == TASK_PYTHON) {
        argv[n++] = "python3";
        argv[n++] = "-m";
        argv[n++] = pool->python_module;
    } else if (nr_command > 0) {
        if (expand_into(e, pool->command, "command", argv, &n, err) < 0) {
            return -1;
        }
    } else {
        append(image_entrypoint, argv, &n);
        if (nr_args == 0) {
            append(image_cmd, argv, &n);
        }
    }
    if (expand_into(e, pool->args, "args", argv, &n, err) < 0) {
        return -1;
    }
    if (n == 0) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "image \"%s\" has neither ENTRYPOINT nor CMD, and the job gives no command",
                       pool->image_uri);
    }
    *ret_argv = argv;
    return 0;
}
