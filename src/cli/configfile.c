/* --config FILE: YAML (JSON is YAML) to a JSON tree, as gcloud reads it. Plain scalars follow
 * YAML 1.2's core rules: numbers, true/false, null; everything else and everything quoted is text.
 */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <yaml.h>

#define DEPTH_MAX 64

static bool is_one_of(const char *s, const char *a, const char *b, const char *c) {
    return strcmp(s, a) == 0 || strcmp(s, b) == 0 || strcmp(s, c) == 0;
}

static json_t *scalar(const yaml_event_t *e) {
    const char *s = (const char *)e->data.scalar.value;
    const char *tag = (const char *)e->data.scalar.tag;
    int64_t i;
    double d;
    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
        (tag && strcmp(tag, YAML_STR_TAG) == 0)) {
        return json_stringn(s, e->data.scalar.length);
    }
    if (!*s || strcmp(s, "~") == 0 || is_one_of(s, "null", "Null", "NULL")) {
        return json_null();
    }
    if (is_one_of(s, "true", "True", "TRUE") || is_one_of(s, "false", "False", "FALSE")) {
        return json_boolean(*s == 't' || *s == 'T');
    }
    if (str_to_i64(str_of(s), &i)) {
        return json_integer(i);
    }
    if (strspn(s, "0123456789+-.eE") == strlen(s) && str_to_double(str_of(s), &d) && isfinite(d)) {
        return json_real(d);
    }
    return json_stringn(s, e->data.scalar.length);
}

static json_t *value(yaml_parser_t *p, const yaml_event_t *e, unsigned depth, struct err *err);

static int next(yaml_parser_t *p, yaml_event_t *e, struct err *err) {
    if (!yaml_parser_parse(p, e)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "line %zu: %s", p->problem_mark.line + 1,
                       p->problem ? p->problem : "not YAML");
    }
    return 0;
}

static int key_ok(const json_t *obj, const yaml_event_t *k, struct err *err) {
    size_t line = k->start_mark.line + 1;
    const char *s = (const char *)k->data.scalar.value;
    if (k->type != YAML_SCALAR_EVENT || k->data.scalar.anchor ||
        strlen(s) != k->data.scalar.length) {
        return err_set(err, ERR_INVALID_ARGUMENT, "line %zu: a key must be plain text", line);
    }
    if (json_object_get(obj, s)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "line %zu: key \"%.60s\" is here twice", line, s);
    }
    return 0;
}

static json_t *mapping(yaml_parser_t *p, unsigned depth, struct err *err) {
    json_t *obj = json_object();
    yaml_event_t k, v;
    while (next(p, &k, err) == 0) {
        if (k.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&k);
            return obj;
        }
        json_t *j = NULL;
        if (key_ok(obj, &k, err) == 0 && next(p, &v, err) == 0) {
            j = value(p, &v, depth, err);
            yaml_event_delete(&v);
        }
        if (j) {
            json_object_set_new(obj, (const char *)k.data.scalar.value, j);
        }
        yaml_event_delete(&k);
        if (!j) {
            break;
        }
    }
    json_decref(obj);
    return NULL;
}

static json_t *sequence(yaml_parser_t *p, unsigned depth, struct err *err) {
    json_t *arr = json_array();
    for (;;) {
        yaml_event_t e;
        if (next(p, &e, err)) {
            break;
        }
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return arr;
        }
        json_t *j = value(p, &e, depth, err);
        yaml_event_delete(&e);
        if (!j) {
            break;
        }
        json_array_append_new(arr, j);
    }
    json_decref(arr);
    return NULL;
}

static bool has_anchor(const yaml_event_t *e) {
    return e->type == YAML_ALIAS_EVENT || (e->type == YAML_SCALAR_EVENT && e->data.scalar.anchor) ||
           (e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.anchor) ||
           (e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.anchor);
}

static json_t *value(yaml_parser_t *p, const yaml_event_t *e, unsigned depth, struct err *err) {
    size_t line = e->start_mark.line + 1;
    json_t *j = NULL;
    if (has_anchor(e)) {
        err_set(err, ERR_INVALID_ARGUMENT, "line %zu: anchors and aliases are not supported", line);
    } else if (depth > DEPTH_MAX) {
        err_set(err, ERR_INVALID_ARGUMENT, "line %zu: nested deeper than %d", line, DEPTH_MAX);
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        j = mapping(p, depth + 1, err);
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        j = sequence(p, depth + 1, err);
    } else if (e->type != YAML_SCALAR_EVENT || !(j = scalar(e))) {
        err_set(err, ERR_INVALID_ARGUMENT, "line %zu: not a value", line);
    }
    return j;
}

/* The one document of the stream, which must be a mapping. */
static json_t *document(yaml_parser_t *p, struct err *err) {
    json_t *root = NULL;
    yaml_event_t e;
    while (next(p, &e, err) == 0) {
        yaml_event_type_t type = e.type;
        bool bad = false;
        if (root && type == YAML_DOCUMENT_START_EVENT) {
            bad = true;
            err_set(err, ERR_INVALID_ARGUMENT, "line %zu: a second document begins here",
                    e.start_mark.line + 1);
        } else if (type == YAML_MAPPING_START_EVENT) {
            bad = !(root = value(p, &e, 0, err));
        } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                   (type == YAML_STREAM_END_EVENT && !root)) {
            bad = true;
            err_set(err, ERR_INVALID_ARGUMENT, "the file must be a mapping");
        }
        yaml_event_delete(&e);
        if (type == YAML_STREAM_END_EVENT && root) {
            return root;
        }
        if (bad) {
            break;
        }
    }
    json_decref(root);
    return NULL;
}

json_t *configfile_parse(struct str text, struct err *err) {
    yaml_parser_t p;
    CHECK(yaml_parser_initialize(&p));
    yaml_parser_set_input_string(&p, (const unsigned char *)text.p, text.n);
    json_t *root = document(&p, err);
    yaml_parser_delete(&p);
    return root;
}

json_t *configfile_load(const char *path, struct err *err) {
    yaml_parser_t p;
    FILE *f = fopen(path, "re");
    if (!f) {
        err_sys(err, errno, "open %s", path);
        return NULL;
    }
    CHECK(yaml_parser_initialize(&p));
    yaml_parser_set_input_file(&p, f);
    json_t *root = document(&p, err);
    yaml_parser_delete(&p);
    fclose(f);
    if (!root) {
        err_wrap(err, "%s", path);
    }
    return root;
}
