/* Flags in gcloud's style. */
#include "cli/cli.h"

static struct flag *find(struct args *a, struct str name) {
    for (size_t i = 0; i < a->nr_flags; i++) {
        if (str_eqc(name, a->flags[i].name)) {
            return &a->flags[i];
        }
    }
    return NULL;
}

static void add(struct flag *f, const char *value) {
    f->values = xrealloc_array(f->values, f->nr + 1, sizeof(*f->values));
    f->values[f->nr++] = value;
}

int args_parse(struct args *a, int argc, char **argv, struct err *err) {
    a->words = xcalloc((size_t)argc + 1, sizeof(*a->words));
    a->nr_words = 0;
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] != '-' || !argv[i][1]) {
            a->words[a->nr_words++] = argv[i];
            continue;
        }
        struct str value = str_of(argv[i]);
        struct str name = str_cut(&value, '=');
        struct flag *f = find(a, name);
        if (!f) {
            return err_set(err, ERR_INVALID_ARGUMENT, "unrecognized flag %.*s (see --help)",
                           STR_ARG(name));
        }
        if (value.p) {
            add(f, value.p);
        } else if (f->is_bool) {
            add(f, "true");
        } else if (i + 1 < argc) {
            add(f, argv[++i]);
        } else {
            return err_set(err, ERR_INVALID_ARGUMENT, "flag %s needs a value", f->name);
        }
    }
    return 0;
}

const struct flag *args_flag(const struct args *a, const char *name) {
    return find((struct args *)(uintptr_t)a, str_of(name));
}

const char *args_get(const struct args *a, const char *name) {
    const struct flag *f = args_flag(a, name);
    return f && f->nr ? f->values[f->nr - 1] : NULL;
}
