/* Names of images: their one canonical spelling, and which local image stands for a published
 * prebuilt training image (reference 12 §4). The table knows families, not versions: the published
 * list has had several revisions, so any NAME of a known family is accepted. A local image under
 * the exact NAME is preferred to the family's. */
#include "base/limits.h"
#include "engine/image/image_int.h"

static const struct family {
    const char *prefix;   /* of NAME in .../training/NAME[:TAG] */
    const char *local[3]; /* tried in this order after NAME itself */
    const char *recipe;   /* builds local[0], or NULL */
} families[] = {
    /* The gpu variants of scikit-learn and XGBoost differ in drivers only; on a machine without an
     * image of that name the cpu one trains the same model. */
    {"sklearn-cpu.", {"sklearn-cpu"}, "sklearn-cpu"},
    {"sklearn-gpu.", {"sklearn-gpu", "sklearn-cpu"}, "sklearn-cpu"},
    {"scikit-learn-cpu.", {"sklearn-cpu"}, "sklearn-cpu"},
    {"xgboost-cpu.", {"xgboost-cpu"}, NULL},
    {"xgboost-gpu.", {"xgboost-gpu", "xgboost-cpu"}, NULL},
    {"tf-cpu.", {"tf-cpu"}, NULL},
    {"tf-gpu.", {"tf-gpu", "tf-cpu"}, NULL},
    {"tf-tpu.", {"tf-tpu"}, NULL},
    {"pytorch-xla.", {"pytorch-cpu", "pytorch-xla"}, NULL},
    {"pytorch-cpu.", {"pytorch-cpu"}, NULL},
    {"pytorch-gpu.", {"pytorch-gpu", "pytorch-cpu"}, NULL},
    {"pytorch-tpu.", {"pytorch-tpu"}, NULL},
    {"ray-cpu.", {"ray-cpu"}, NULL},
    {"ray-gpu.", {"ray-gpu", "ray-cpu"}, NULL},
    {"reductionserver", {"reductionserver"}, NULL},
};

static const char *const repositories[] = {
    "us-docker.pkg.dev/vertex-ai/training/",
    "europe-docker.pkg.dev/vertex-ai/training/",
    "asia-docker.pkg.dev/vertex-ai/training/",
    "us-docker.pkg.dev/vertex-ai-restricted/training/",
    "europe-docker.pkg.dev/vertex-ai-restricted/training/",
    "asia-docker.pkg.dev/vertex-ai-restricted/training/",
    "gcr.io/cloud-aiplatform/training/",
    "us.gcr.io/cloud-aiplatform/training/",
    "eu.gcr.io/cloud-aiplatform/training/",
    "asia.gcr.io/cloud-aiplatform/training/",
};

char *image_name_canonical(struct arena *a, struct str name) {
    static const char *const implied[] = {"docker.io/library/", "index.docker.io/library/",
                                          "docker.io/", "localhost/"};
    for (size_t i = 0; i < NR_OF(implied); i++) {
        struct str p = str_of(implied[i]);
        if (str_starts(name, p) && name.n > p.n) {
            name = str_sub(name, p.n, name.n);
            break;
        }
    }
    if (str_ends(name, STR(":latest")) && name.n > 7) {
        name = str_sub(name, 0, name.n - 7);
    }
    return arena_strndup(a, name.p, name.n);
}

int image_name_check(struct str name, struct err *err) {
    static const char extra[] = "._-/:@";
    if (name.n == 0 || name.n > limits.image_max_name) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "an image name has 1 to %llu characters",
                         (unsigned long long)limits.image_max_name);
    }
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || strchr(extra, c) == NULL || i == 0)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "name",
                             "image name \"%.*s\" holds a character that names do not have",
                             STR_ARG(name));
        }
    }
    char hex[SHA256_HEX_LEN + 1];
    if (digest_parse(name, hex) || memchr(name.p, '@', name.n) != NULL) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name", "\"%.*s\" is a digest, not a name",
                         STR_ARG(name));
    }
    return 0;
}

/* NAME of a published URI without its tag or digest; .p NULL when it is none. */
static struct str published_name(struct str uri) {
    for (size_t i = 0; i < NR_OF(repositories); i++) {
        struct str p = str_of(repositories[i]);
        if (str_starts(uri, p)) {
            struct str rest = str_sub(uri, p.n, uri.n);
            rest = str_cut(&rest, '@');
            rest = str_cut(&rest, ':');
            return str_chr(rest, '/') < 0 && rest.n > 0 ? rest : (struct str){0};
        }
    }
    return (struct str){0};
}

const char *alias_builtin(struct arena *a, struct str uri, size_t i, const char **ret_recipe) {
    struct str name = published_name(uri);
    if (name.p == NULL) {
        return NULL;
    }
    const struct family *f = NULL;
    for (size_t k = 0; k < NR_OF(families) && f == NULL; k++) {
        f = str_starts(name, str_of(families[k].prefix)) ? &families[k] : NULL;
    }
    if (f != NULL) {
        *ret_recipe = f->recipe;
    }
    if (i == 0) {
        return arena_strndup(a, name.p, name.n);
    }
    return f != NULL && i - 1 < NR_OF(f->local) ? f->local[i - 1] : NULL;
}

/* '*' stands for any characters but '/', once in each segment. */
static bool segment_matches(struct str pattern, struct str s) {
    ptrdiff_t star = str_chr(pattern, '*');
    if (star < 0) {
        return str_eq(pattern, s);
    }
    struct str head = str_sub(pattern, 0, (size_t)star);
    struct str tail = str_sub(pattern, (size_t)star + 1, pattern.n);
    return s.n >= head.n + tail.n && str_starts(s, head) && str_ends(s, tail);
}

bool alias_matches(struct str pattern, struct str uri) {
    while (pattern.p != NULL && uri.p != NULL) {
        struct str p = str_cut(&pattern, '/'), u = str_cut(&uri, '/');
        if (!segment_matches(p, u)) {
            return false;
        }
    }
    return pattern.p == NULL && uri.p == NULL;
}
