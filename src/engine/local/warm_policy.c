/* Warm starts, the deciding half: see warm_policy.h. */
#include "engine/local/warm_policy.h"

#include "base/enc.h"

#include <openssl/evp.h>

int warm_mode_parse(const char *text, enum warm_mode *ret, struct err *err) {
    static const char *const names[] = {"off", "asked", "all"};
    for (size_t i = 0; i < NR_OF(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum warm_mode)i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID_ARGUMENT, "warm_python: \"%s\" is none of off, asked, all",
                   text);
}

const char *warm_why_name(enum warm_why why) {
    static const char *const names[WARM_NR_WHY] = {
        "off", "processor", "modules", "devices", "command", "disk", "no_image", "failed", "thaw"};
    return names[why];
}

/* -- what the job says ------------------------------------------------------------------------ */

static const char *find_var(const struct env_var *v, size_t n, const char *name) {
    const char *value = NULL;
    for (size_t i = 0; i < n; i++) {
        value = strcmp(v[i].name, name) == 0 ? v[i].value : value;
    }
    return value;
}

static const char *says(const struct warm_query *q, const char *var, const char *label) {
    const char *v = find_var(q->pool->env, q->pool->nr_env, var);
    return v != NULL ? v : find_var(q->spec->labels, q->spec->nr_labels, label);
}

static bool is_asked(const struct warm_query *q) {
    const char *v = says(q, WARM_VAR, WARM_LABEL);
    return v != NULL ? strcmp(v, "true") == 0 : q->mode == WARM_ALL;
}

static bool is_word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_module(struct str name) {
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool first = i == 0 || name.p[i - 1] == '.';
        if (!is_word_char(c) && (first || !((c >= '0' && c <= '9') || c == '.'))) {
            return false;
        }
    }
    return name.n > 0 && name.n <= 255 && name.p[name.n - 1] != '.';
}

/* -> "a,b.c", or NULL with *ret_why ("" when nothing is named). */
static const char *imports_of(struct arena *a, const struct warm_query *q, const char **ret_why) {
    const char *text = find_var(q->pool->env, q->pool->nr_env, WARM_VAR_IMPORTS);
    char sep = ',';
    if (text == NULL) {
        text = find_var(q->spec->labels, q->spec->nr_labels, WARM_LABEL_IMPORTS);
        sep = '-';
    }
    if (text == NULL) {
        text = q->default_imports != NULL ? q->default_imports : "";
        sep = ',';
    }
    auto_buf struct buf b = BUF_INIT(65536);
    struct str rest = str_of(text);
    size_t n = 0;
    while (rest.p != NULL && rest.n > 0) {
        struct str name = str_trim(str_cut(&rest, sep));
        if (!is_module(name)) {
            *ret_why = arena_printf(a, "\"%.*s\" is not the name of a module",
                                    (int)(name.n < 80 ? name.n : 80), name.p);
            return NULL;
        }
        if (++n > WARM_MAX_IMPORTS) {
            *ret_why = arena_printf(a, "more than %u modules are named", WARM_MAX_IMPORTS);
            return NULL;
        }
        (void)buf_printf(&b, "%s%.*s", n > 1 ? "," : "", STR_ARG(name));
    }
    *ret_why = n == 0 ? "" : NULL;
    return n == 0 ? NULL : arena_strdup(a, buf_cstr(&b));
}

/* -- the command ------------------------------------------------------------------------------ */

static bool is_python(const char *word) {
    const char *slash = strrchr(word, '/');
    struct str name = str_of(slash != NULL ? slash + 1 : word);
    if (!str_starts(name, STR("python"))) {
        return false;
    }
    for (size_t i = 6; i < name.n; i++) {
        if (name.p[i] != '.' && (name.p[i] < '0' || name.p[i] > '9')) {
            return false;
        }
    }
    return true;
}

/* "python3 [-u|-B|-O|-OO]... (-m MODULE | -c TEXT | SCRIPT) ...": how many words come before the
 * arguments. Other options change what is read at the start (-I, -E, -S hide our hook). */
static size_t prefix_of(struct arena *a, const char **argv, const char **ret_why) {
    static const char *const options[] = {"-u", "-B", "-O", "-OO"};
    size_t i = 1;
    if (argv[0] == NULL || !is_python(argv[0])) {
        *ret_why = "the command is not python3";
        return 0;
    }
    for (; argv[i] != NULL && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-m") == 0 || strcmp(argv[i], "-c") == 0) {
            i++;
            break;
        }
        bool known = false;
        for (size_t k = 0; k < NR_OF(options); k++) {
            known = known || strcmp(argv[i], options[k]) == 0;
        }
        if (!known) {
            *ret_why = arena_printf(a, "python3's option %.40s", argv[i]);
            return 0;
        }
    }
    if (argv[i] == NULL) {
        *ret_why = "python3 is given nothing to run";
        return 0;
    }
    *ret_why = NULL;
    return i + 1;
}

void warm_choose(struct arena *a, const struct warm_query *q, struct warm_choice *ret) {
    struct warm_choice c = {.asked = is_asked(q)};
    const char *why = NULL;
    if (c.asked) {
        c.imports = imports_of(a, q, &why);
    }
    if (!c.asked || (why != NULL && why[0] == 0 && says(q, WARM_VAR, WARM_LABEL) == NULL)) {
        *ret = (struct warm_choice){0};
        return; /* with warm_python = all, jobs that nobody named modules for */
    }
    if (q->mode == WARM_OFF) {
        c.why = WARM_WHY_OFF;
        c.why_not = "this server has warm_python = off";
    } else if (!q->supported) {
        c.why = WARM_WHY_PROCESSOR;
        c.why_not = "this machine's processor is not supported";
    } else if (why != NULL) {
        c.why = WARM_WHY_MODULES;
        c.why_not = why[0] != 0 ? why
                                : "no modules are named (" WARM_LABEL_IMPORTS ", " WARM_VAR_IMPORTS
                                  ")";
    } else if (q->has_devices || q->pool->machine.accel_count > 0) {
        c.why = WARM_WHY_DEVICES;
        c.why_not = "the task has accelerators";
    } else {
        c.why = WARM_WHY_COMMAND;
        c.prefix = prefix_of(a, q->argv, &c.why_not);
    }
    *ret = c;
}

/* -- the environment -------------------------------------------------------------------------- */

const char **warm_env(struct arena *a, const struct env_input *in, const struct env *env) {
    struct job_spec other = *in->spec;
    struct env_input neutral = *in;
    struct env e2;
    struct env kept = {.arena = a};
    other.id = "0";
    other.trial_id = NULL;
    other.base_output = NULL;
    neutral.spec = &other;
    neutral.door = "";
    if (env_make(a, &neutral, &e2, NULL) < 0) {
        e2 = (struct env){.arena = a};
    }
    for (size_t i = 0; i < env->n; i++) {
        const char *v = env_get(&e2, env->p[i].name);
        /* of the replica, the same in any job */
        bool rank = strcmp(env->p[i].name, "RANK") == 0 || strcmp(env->p[i].name, WARM_VAR) == 0;
        if (v != NULL && strcmp(v, env->p[i].value) == 0 && !rank) {
            env_set(&kept, env->p[i].name, v, false);
        }
    }
    return env_strings(&kept);
}

/* -- the key ---------------------------------------------------------------------------------- */

#define KEY_FORMAT "cusp-warm 1"

/* Length first: no two lists of words look alike. */
static void add_word(EVP_MD_CTX *ctx, const char *word) {
    uint64_t n = word != NULL ? strlen(word) : UINT64_MAX;
    CHECK(EVP_DigestUpdate(ctx, &n, sizeof(n)) == 1);
    if (word != NULL) {
        CHECK(EVP_DigestUpdate(ctx, word, n) == 1);
    }
}

void warm_key(const struct warm_key_input *in, char ret_hex[WARM_KEY_LEN + 1]) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1);
    const char *const words[] = {KEY_FORMAT,      in->tools, in->image_digest, in->pkg_key,
                                 in->trust_layer, in->cwd,   in->imports};
    for (size_t i = 0; i < NR_OF(words); i++) {
        add_word(ctx, words[i]);
    }
    const uint32_t ids[] = {in->uid, in->gid};
    CHECK(EVP_DigestUpdate(ctx, ids, sizeof(ids)) == 1);
    for (size_t i = 0; i < in->prefix; i++) {
        add_word(ctx, in->argv[i]);
    }
    add_word(ctx, NULL);
    for (size_t i = 0; in->env[i] != NULL; i++) {
        add_word(ctx, in->env[i]);
    }
    unsigned char raw[EVP_MAX_MD_SIZE];
    CHECK(EVP_DigestFinal_ex(ctx, raw, NULL) == 1);
    EVP_MD_CTX_free(ctx);
    auto_buf struct buf hex = BUF_INIT(WARM_KEY_LEN + 1);
    enc_hex(&hex, raw, WARM_KEY_LEN / 2);
    (void)snprintf(ret_hex, WARM_KEY_LEN + 1, "%s", buf_cstr(&hex));
}
