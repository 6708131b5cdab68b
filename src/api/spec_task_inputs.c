/* Reads trainingTaskInputs: rewrites what was sent into proto3 JSON with the schema's own names, by
 * walking value and descriptor together, and decodes that. */
#include "api/spec_task_inputs.h"

#include "api/spec.h"
#include "api/spec_tuning.h"
#include "base/jw.h"
#include "base/limits.h"
#include "pb/pb.h"
#include "pb/pbinfo.h"

#include <ctype.h>
#include <math.h>

#define ROOT "training_task_inputs"

typedef Google__Protobuf__Value value; /* for the length of its name */

enum training_task training_task_of(struct str definition) {
    return str_eqc(definition, TASK_CUSTOM_URI)   ? TRAINING_TASK_CUSTOM
           : str_eqc(definition, TASK_TUNING_URI) ? TRAINING_TASK_TUNING
                                                  : TRAINING_TASK_UNKNOWN;
}

struct walk {
    struct jw w;
    struct violations *vs;
    struct buf path; /* of the value that is being written */
    unsigned depth;
};

static void cut_path(struct walk *k, size_t n) {
    k->path.n = n;
    k->path.p[n] = 0;
}

/* ---- keys ---- */

/* The same letters and digits, whatever their case and the underscores between them. */
static bool same_key(const char *a, const char *b) {
    for (;; a++, b++) {
        while (*a == '_') {
            a++;
        }
        while (*b == '_') {
            b++;
        }
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) {
            return false;
        }
        if (!*a) {
            return true;
        }
    }
}

/* What inputs of a tuning task have of a HyperparameterTuningJob. */
static bool is_task_field(const ProtobufCMessageDescriptor *d, const char *name) {
    static const char *const tuning[] = {"study_spec",           "max_trial_count",
                                         "parallel_trial_count", "max_failed_trial_count",
                                         "trial_job_spec",       "labels"};
    if (d != &aip__hyperparameter_tuning_job__descriptor) {
        return true;
    }
    for (size_t i = 0; i < NR_OF(tuning); i++) {
        if (strcmp(name, tuning[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_input(const ProtobufCMessageDescriptor *d, unsigned i) {
    return !(pb_info(d)->fields[i].flags & (PB_F_OUTPUT_ONLY | PB_F_BETA_ONLY)) &&
           is_task_field(d, d->fields[i].name);
}

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *d,
                                                const char *key) {
    for (unsigned i = 0; i < d->n_fields; i++) {
        if (same_key(key, d->fields[i].name) && is_input(d, i)) {
            return &d->fields[i];
        }
    }
    return NULL;
}

static void unknown_key(struct walk *k, const ProtobufCMessageDescriptor *d) {
    auto_buf struct buf known = BUF_INIT(4096);
    for (unsigned i = 0; i < d->n_fields; i++) {
        if (is_input(d, i)) {
            buf_printf(&known, "%s%s", known.n ? ", " : "", pb_info(d)->fields[i].json);
        }
    }
    violations_add(k->vs, buf_cstr(&k->path), "Unknown key. Known here: %s.", buf_cstr(&known));
}

/* ---- values ---- */

static bool is_null(const value *v) {
    return !v || v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE ||
           v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET;
}

static void write_as_is(struct walk *k, const value *v) {
    struct err err;
    if (pb_write_json(&k->w, &v->base, &(struct pb_json_opts){.compact = true}, &err) != 0) {
        violations_add(k->vs, buf_cstr(&k->path), "%s", err.msg);
    }
}

/* "3600s"; also 3600, "3600", 1.5: seconds. */
static void write_duration(struct walk *k, const value *v) {
    char text[48];
    double d;
    if (v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE && isfinite(v->number_value)) {
        snprintf(text, sizeof(text), "%.9f", v->number_value);
    } else if (v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE &&
               str_to_double(str_of(v->string_value), &d) && isfinite(d)) {
        snprintf(text, sizeof(text), "%.9f", d);
    } else {
        write_as_is(k, v);
        return;
    }
    size_t n = strlen(text);
    while (text[n - 1] == '0') {
        n--;
    }
    n -= text[n - 1] == '.';
    snprintf(text + n, sizeof(text) - n, "s");
    jw_str(&k->w, str_of(text));
}

static void write_message(struct walk *k, const ProtobufCMessageDescriptor *d, const value *v);

/* One value of the field's type. Programs that build arguments from numbers send numbers. */
static void write_single(struct walk *k, const ProtobufCFieldDescriptor *f, const value *v) {
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        write_message(k, f->descriptor, v);
    } else if (f->type == PROTOBUF_C_TYPE_STRING &&
               v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE &&
               isfinite(v->number_value)) {
        auto_buf struct buf text = BUF_INIT(64);
        struct jw number;
        jw_init(&number, &text, 0);
        jw_double(&number, v->number_value);
        jw_str(&k->w, buf_str(&text));
    } else {
        write_as_is(k, v);
    }
}

static void write_map(struct walk *k, const ProtobufCFieldDescriptor *f, const value *v) {
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    const ProtobufCFieldDescriptor *of = &entry->fields[1];
    jw_object(&k->w);
    for (size_t i = 0; i < v->struct_value->n_fields; i++) {
        const Google__Protobuf__Struct__FieldsEntry *e = v->struct_value->fields[i];
        if (!is_null(e->value)) {
            jw_key(&k->w, e->key);
            write_single(k, of, e->value);
        }
    }
    jw_end_object(&k->w);
}

static void write_list(struct walk *k, const ProtobufCFieldDescriptor *f, const value *v) {
    size_t n = k->path.n;
    jw_array(&k->w);
    for (size_t i = 0; i < v->list_value->n_values; i++) {
        buf_printf(&k->path, "[%zu]", i);
        if (is_null(v->list_value->values[i])) {
            violations_add(k->vs, buf_cstr(&k->path), "An element of a list must not be null.");
        } else {
            write_single(k, f, v->list_value->values[i]);
        }
        cut_path(k, n);
    }
    jw_end_array(&k->w);
}

static void write_field(struct walk *k, const ProtobufCMessageDescriptor *d,
                        const ProtobufCFieldDescriptor *f, const value *v) {
    bool is_map = pb_info(d)->fields[f - d->fields].flags & PB_F_MAP;
    if (is_map && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE && v->struct_value) {
        write_map(k, f, v);
    } else if (f->label == PROTOBUF_C_LABEL_REPEATED && !is_map &&
               v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE && v->list_value) {
        write_list(k, f, v);
    } else if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        violations_add(k->vs, buf_cstr(&k->path), "%s is expected here.",
                       is_map ? "An object" : "A list");
        jw_null(&k->w);
    } else {
        write_single(k, f, v);
    }
}

/* proto3 cannot tell a replica count left out from zero; here it can be told. A pool that says
 * nothing at all stays empty. */
static void write_default_replicas(struct walk *k, bool has_count, bool has_any) {
    if (!has_count && has_any) {
        jw_key(&k->w, "replica_count");
        jw_u64(&k->w, 1);
    }
}

static void write_fields(struct walk *k, const ProtobufCMessageDescriptor *d,
                         const Google__Protobuf__Struct *s) {
    size_t n = k->path.n;
    bool has_count = false, has_any = false;
    jw_object(&k->w);
    for (size_t i = 0; i < s->n_fields; i++) {
        const char *key = s->fields[i]->key;
        const value *v = s->fields[i]->value;
        const ProtobufCFieldDescriptor *f = field_of(d, key);
        bool is_last = true; /* of several spellings the last one counts */
        for (size_t j = i + 1; f && j < s->n_fields; j++) {
            is_last =
                is_last && (is_null(s->fields[j]->value) || field_of(d, s->fields[j]->key) != f);
        }
        buf_printf(&k->path, ".%s", f ? f->name : key);
        if (!f) {
            unknown_key(k, d);
        } else if (!is_null(v) && is_last) {
            has_any = true;
            has_count = has_count || strcmp(f->name, "replica_count") == 0;
            jw_key(&k->w, f->name);
            write_field(k, d, f, v);
        }
        cut_path(k, n);
    }
    if (d == &aip__worker_pool_spec__descriptor) {
        write_default_replicas(k, has_count, has_any);
    }
    jw_end_object(&k->w);
}

static void write_message(struct walk *k, const ProtobufCMessageDescriptor *d, const value *v) {
    enum pb_kind kind = pb_info(d)->kind;
    if (kind == PB_KIND_DURATION) {
        write_duration(k, v);
    } else if (kind != PB_KIND_PLAIN ||
               v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE || !v->struct_value ||
               k->depth > PB_DEPTH_MAX) {
        write_as_is(k, v);
    } else {
        k->depth++;
        write_fields(k, d, v->struct_value);
        k->depth--;
    }
}

/* ---- whole inputs ---- */

static int decode(struct arena *a, const ProtobufCMessageDescriptor *d, const value *v,
                  ProtobufCMessage **ret, struct violations *vs, struct err *err) {
    auto_buf struct buf json = BUF_INIT((size_t)limits.max_message_bytes);
    struct walk k = {.vs = vs};
    *ret = NULL;
    if (v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE || !v->struct_value) {
        violations_add(vs, ROOT, "The inputs must be an object.");
        return 0;
    }
    size_t before = vs->n;
    buf_init(&k.path, BUF_NO_MAX);
    buf_puts(&k.path, ROOT);
    jw_init(&k.w, &json, 0);
    write_message(&k, d, v);
    buf_fini(&k.path);
    if (json.full) {
        return err_set(err, ERR_INVALID_ARGUMENT, ROOT " is larger than max_message_bytes (%llu).",
                       (unsigned long long)limits.max_message_bytes);
    }
    size_t named = vs->n;
    if (pb_from_json(a, d, PB_V1, buf_str(&json), ROOT, ret, vs, err) != 0) {
        *ret = NULL;
        if (vs->n == named && vs->n == before) {
            return -1; /* nothing that a violation could say */
        }
    }
    return 0;
}

static void check_tuning(const Aip__HyperparameterTuningJob *t, struct violations *vs) {
    const Aip__GcsDestination *base =
        t->trial_job_spec ? t->trial_job_spec->base_output_directory : NULL;
    tuning_check(t, ROOT, vs);
    if (t->trial_job_spec && (!base || !base->output_uri_prefix[0])) {
        violations_add(vs, ROOT ".trial_job_spec.base_output_directory",
                       "Required field is not set: a tuning task keeps the output of its trials "
                       "below it.");
    }
}

int task_inputs_read(struct arena *a, enum training_task kind,
                     const Google__Protobuf__Value *inputs, struct task_inputs *ret,
                     struct violations *vs, struct err *err) {
    ProtobufCMessage *msg = NULL;
    *ret = (struct task_inputs){.kind = kind};
    if (is_null(inputs)) {
        violations_add(vs, ROOT, "Required field is not set.");
        return 0;
    }
    const ProtobufCMessageDescriptor *d = kind == TRAINING_TASK_TUNING
                                              ? &aip__hyperparameter_tuning_job__descriptor
                                              : &aip__custom_job_spec__descriptor;
    if (decode(a, d, inputs, &msg, vs, err) != 0) {
        return -1;
    }
    if (!msg) {
        return 0;
    }
    if (kind == TRAINING_TASK_TUNING) {
        ret->tuning = (Aip__HyperparameterTuningJob *)msg;
        check_tuning(ret->tuning, vs);
    } else {
        ret->custom = (Aip__CustomJobSpec *)msg;
        job_spec_check(ret->custom, ROOT, vs);
    }
    return 0;
}
