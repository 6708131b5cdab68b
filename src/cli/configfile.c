/* --config FILE: YAML (JSON is YAML) to a JSON tree, as gcloud reads it. Plain scalars follow
 * YAML 1.2's core rules: numbers, true/false, null; everything else and everything quoted is text.
 */
#include "cli/cli.h"

#include <errno.h>
#include <yaml.h>

#define DEPTH_MAX 64

static json_t *scalar(const yaml_event_t *e) {
    const char *s = (const char *)e->data.scalar.value;
    int64_t i;
    double d;
    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return json_string(s);
    }
    if (!*s || strcmp(s, "null") == 0 || strcmp(s, "~") == 0) {
        return json_null();
    }
    if (strcmp(s, "true") == 0 || strcmp(s, "false") == 0) {
        return json_boolean(s[0] == 't');
    }
    if (str_to_i64(str_of(s), &i)) {
        return json_integer(i);
    }
    if (strspn(s, "0123456789+-.eE") == strlen(s) && str_to_double(str_of(s), &d)) {
        return json_real(d);
    }
    return json_string(s);
}

static json_t *value(yaml_parser_t *p, const yaml_event_t *e, unsigned depth, struct err *err);

static int next(yaml_parser_t *p, yaml_event_t *e, struct err *err) {
    if (!yaml_parser_parse(p, e)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "line %zu: %s", p->problem_mark.line + 1,
                       p->problem ? p->problem : "not YAML");
    }
    return 0;
}

static json_t *mapping(yaml_parser_t *p, unsigned depth, struct err *err) {
    json_t *obj = json_object();
    for (;;) {
        yaml_event_t k, v;
        if (next(p, &k, err)) {
            goto fail;
        }
        if (k.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&k);
            return obj;
        }
        if (k.type != YAML_SCALAR_EVENT || next(p, &v, err)) {
            err_set(err, ERR_INVALID_ARGUMENT, "line %zu: a key must be plain text",
                    k.start_mark.line + 1);
            yaml_event_delete(&k);
            goto fail;
        }
        json_t *j = value(p, &v, depth, err);
        if (j) {
            json_object_set_new(obj, (const char *)k.data.scalar.value, j);
        }
        yaml_event_delete(&k);
        yaml_event_delete(&v);
        if (!j) {
            goto fail;
        }
    }
fail:
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

static json_t *value(yaml_parser_t *p, const yaml_event_t *e, unsigned depth, struct err *err) {
    if (depth > DEPTH_MAX) {
        err_set(err, ERR_INVALID_ARGUMENT, "nested deeper than %d", DEPTH_MAX);
        return NULL;
    }
    if (e->type == YAML_SCALAR_EVENT) {
        return scalar(e);
    }
    if (e->type == YAML_MAPPING_START_EVENT) {
        return mapping(p, depth + 1, err);
    }
    if (e->type == YAML_SEQUENCE_START_EVENT) {
        return sequence(p, depth + 1, err);
    }
    err_set(err, ERR_INVALID_ARGUMENT, "line %zu: anchors and aliases are not supported",
            e->start_mark.line + 1);
    return NULL;
}

json_t *configfile_load(const char *path, struct err *err) {
    FILE *f = fopen(path, "re");
    yaml_parser_t p;
    json_t *root = NULL;
    if (!f) {
        err_sys(err, errno, "open %s", path);
        return NULL;
    }
    yaml_parser_initialize(&p);
    yaml_parser_set_input_file(&p, f);
    for (bool more = true; more;) {
        yaml_event_t e;
        if (next(&p, &e, err)) {
            break;
        }
        if (e.type == YAML_MAPPING_START_EVENT) {
            root = mapping(&p, 1, err);
            more = false;
        } else if (e.type == YAML_STREAM_END_EVENT || e.type == YAML_SCALAR_EVENT ||
                   e.type == YAML_SEQUENCE_START_EVENT) {
            err_set(err, ERR_INVALID_ARGUMENT, "the file must be a mapping");
            more = false;
        }
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&p);
    fclose(f);
    if (!root) {
        err_wrap(err, "%s", path);
    }
    return root;
}
