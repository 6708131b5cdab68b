#include "cli/logformat.h"

#include "cli/cli.h"

#include "base/limits.h"

static void add_key(struct log_field *f, struct str key) {
    f->keys = xrealloc_array(f->keys, f->nr_keys + 1, sizeof(*f->keys));
    f->keys[f->nr_keys++] = str_dup(key);
}

/* One key at the start of *rest: quoted, or up to a mark. False: there is none. */
static bool take_key(struct str *rest, struct str *ret) {
    char quote = rest->n ? rest->p[0] : 0;
    if (quote == '"' || quote == '\'') {
        ptrdiff_t end = str_chr(str_sub(*rest, 1, rest->n), quote);
        if (end < 1) {
            return false;
        }
        *ret = str_sub(*rest, 1, (size_t)end);
        *rest = str_sub(*rest, (size_t)end + 2, rest->n);
        return true;
    }
    size_t n = 0;
    while (n < rest->n && !strchr(".,)(\"'[] \t\n", rest->p[n])) {
        n++;
    }
    *ret = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, n, rest->n);
    return n > 0;
}

static int bad(struct str text, struct err *err) {
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "--format is json or value(FIELD,...) with fields like textPayload, "
                   "resource.labels.job_id or labels.\"a.b/c\", not \"%.*s\"",
                   STR_ARG(text));
}

int log_fields_parse(struct log_fields *f, struct str text, struct err *err) {
    struct str rest = str_trim(text), key;
    *f = (struct log_fields){0};
    if (!str_starts(rest, STR("value(")) || !str_ends(rest, STR(")"))) {
        return bad(text, err);
    }
    rest = str_sub(rest, 6, rest.n - 7);
    for (;;) {
        struct log_field field = {0};
        rest = str_trim(rest);
        vec_push(&f->fields, field);
        do {
            if (!take_key(&rest, &key)) {
                log_fields_fini(f);
                return bad(text, err);
            }
            add_key(&f->fields.p[f->fields.n - 1], key);
            rest = str_starts(rest, STR("[]")) ? str_sub(rest, 2, rest.n) : rest;
        } while (rest.n && rest.p[0] == '.' && (rest = str_sub(rest, 1, rest.n)).p);
        rest = str_trim(rest);
        if (!rest.n) {
            return 0;
        }
        if (rest.p[0] != ',') {
            log_fields_fini(f);
            return bad(text, err);
        }
        rest = str_sub(rest, 1, rest.n);
    }
}

void log_fields_fini(struct log_fields *f) {
    for (size_t i = 0; i < f->fields.n; i++) {
        for (size_t k = 0; k < f->fields.p[i].nr_keys; k++) {
            free(f->fields.p[i].keys[k]);
        }
        free(f->fields.p[i].keys);
    }
    vec_fini(&f->fields);
}

static void put_value(json_t *v, struct buf *b) {
    if (json_is_string(v)) {
        buf_put(b, json_string_value(v), json_string_length(v));
    } else if (json_is_boolean(v)) {
        buf_puts(b, json_is_true(v) ? "True" : "False"); /* as gcloud shows them */
    } else if (v && !json_is_null(v)) {
        auto_free char *text = json_shown(v, 0);
        buf_puts(b, text);
    }
}

void log_fields_put(const struct log_fields *f, json_t *entry, struct buf *b) {
    for (size_t i = 0; i < f->fields.n; i++) {
        const struct log_field *field = &f->fields.p[i];
        json_t *v = entry;
        for (size_t k = 0; k < field->nr_keys; k++) {
            v = json_object_get(v, field->keys[k]);
        }
        if (i) {
            buf_putc(b, '\t');
        }
        put_value(v, b);
    }
}

void log_message_put(json_t *entry, struct buf *b) {
    json_t *object = json_object_get(entry, "jsonPayload");
    json_t *message = json_object_get(object, "message");
    if (json_is_string(message)) {
        put_value(message, b);
    } else if (object) {
        put_value(object, b);
    } else if (json_object_get(entry, "protoPayload")) {
        put_value(json_object_get(entry, "protoPayload"), b);
    } else {
        put_value(json_object_get(entry, "textPayload"), b);
    }
}

const char *log_severity_of(json_t *entry) {
    const char *s = json_string_value(json_object_get(entry, "severity"));
    return s ? s : "DEFAULT";
}

const char *log_task_of(json_t *entry) {
    json_t *labels = json_object_get(json_object_get(entry, "resource"), "labels");
    const char *task = json_string_value(json_object_get(labels, "task_name"));
    const char *log = json_string_value(json_object_get(entry, "logName"));
    const char *slash = log ? strrchr(log, '/') : NULL;
    return task ? task : slash ? slash + 1 : "-";
}
