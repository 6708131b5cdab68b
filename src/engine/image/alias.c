/* Names of images: their one canonical spelling, and which local image stands for a published
 * prebuilt image (reference 12 §4), of training or of prediction: what serves a model can load it,
 * and jobs name such images too. The table knows families, not versions: the published lists have
 * had several revisions, so any NAME of a known family is accepted. A local image under the exact
 * NAME is preferred to the family's. */
#include "base/limits.h"
#include "engine/image/image_int.h"

/* Variants for GPUs differ in drivers and kernels: on a machine without an image of that name the
 * CPU one trains the same model. */
static const struct family {
    const char *prefix;   /* of NAME in .../training/NAME[:TAG] or .../prediction/NAME[:TAG] */
    const char *local[3]; /* tried in this order after NAME itself */
    const char *recipe;   /* of recipes/, or NULL: nothing here builds one */
} families[] = {
    {"sklearn-cpu.", {"sklearn-cpu"}, "sklearn-cpu"},
    {"sklearn-gpu.", {"sklearn-gpu", "sklearn-cpu"}, "sklearn-cpu"},
    {"scikit-learn-cpu.", {"sklearn-cpu"}, "sklearn-cpu"},
    {"xgboost-cpu.", {"xgboost-cpu"}, "xgboost-cpu"},
    {"xgboost-gpu.", {"xgboost-gpu", "xgboost-cpu"}, "xgboost-cpu"},
    {"tf-cpu.", {"tf-cpu"}, "tf-cpu"},
    {"tf-gpu.", {"tf-gpu", "tf-cpu"}, "tf-cpu"},
    {"tf2-cpu.", {"tf-cpu"}, "tf-cpu"},
    {"tf2-gpu.", {"tf-gpu", "tf-cpu"}, "tf-cpu"},
    {"pytorch-xla.", {"pytorch-cpu", "pytorch-xla"}, "pytorch-cpu"},
    {"pytorch-cpu.", {"pytorch-cpu"}, "pytorch-cpu"},
    {"pytorch-gpu.", {"pytorch-gpu", "pytorch-cpu"}, "pytorch-cpu"},
    {"tf-tpu.", {"tf-tpu"}, NULL},
    {"pytorch-tpu.", {"pytorch-tpu"}, NULL},
    {"ray-cpu.", {"ray-cpu"}, NULL},
    {"ray-gpu.", {"ray-gpu", "ray-cpu"}, NULL},
    {"reductionserver", {"reductionserver"}, NULL},
};

/* HOST/PROJECT/KIND/NAME: any of each column. */
static const char *const hosts[] = {
    "us-docker.pkg.dev/vertex-ai/",
    "europe-docker.pkg.dev/vertex-ai/",
    "asia-docker.pkg.dev/vertex-ai/",
    "us-docker.pkg.dev/vertex-ai-restricted/",
    "europe-docker.pkg.dev/vertex-ai-restricted/",
    "asia-docker.pkg.dev/vertex-ai-restricted/",
    "gcr.io/cloud-aiplatform/",
    "us.gcr.io/cloud-aiplatform/",
    "eu.gcr.io/cloud-aiplatform/",
    "asia.gcr.io/cloud-aiplatform/",
};
static const char *const kinds[] = {"training/", "prediction/"};

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

/* What follows the first of the list that uri begins with; .p NULL when none does. */
static struct str after_one_of(struct str uri, const char *const *list, size_t nr) {
    for (size_t i = 0; i < nr; i++) {
        struct str p = str_of(list[i]);
        if (str_starts(uri, p)) {
            return str_sub(uri, p.n, uri.n);
        }
    }
    return (struct str){0};
}

/* NAME of a published URI without its tag or digest; .p NULL when it is none. */
static struct str published_name(struct str uri) {
    struct str rest = after_one_of(uri, hosts, NR_OF(hosts));
    rest = rest.p != NULL ? after_one_of(rest, kinds, NR_OF(kinds)) : rest;
    if (rest.p == NULL) {
        return rest;
    }
    rest = str_cut(&rest, '@');
    rest = str_cut(&rest, ':');
    return str_chr(rest, '/') < 0 && rest.n > 0 ? rest : (struct str){0};
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
