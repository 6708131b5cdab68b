/* Rules of job specs, all violations at once, in the observed style (reference 01 §4, 10 §8). */
#include "api/spec.h"

#include "base/limits.h"
#include "engine/machine.h"
#include "pb/pbcheck.h"

#include <stdarg.h>

#define ARGS_MAX 100000u /* characters, all together (reference 12 §1) */
#define ENV_MAX 100u
#define PACKAGES_MAX 100u
#define DISK_GB_MIN 100
#define DISK_GB_MAX 64000

/* Path of a field below a prefix, "PREFIX.a.b" or "a.b". */
struct path {
    char text[200];
};

static struct path path_of(const char *prefix, const char *fmt, ...) PRINTF_LIKE(2, 3);
static struct path path_of(const char *prefix, const char *fmt, ...) {
    struct path p;
    char tail[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof(tail), fmt, ap);
    va_end(ap);
    snprintf(p.text, sizeof(p.text), "%s%s%s", prefix, prefix[0] && tail[0] ? "." : "", tail);
    return p;
}

static const char *clip(const char *s, char *out, size_t size) {
    snprintf(out, size, "%s", s);
    return out;
}

static bool label_char(struct str s, size_t i) {
    unsigned char c = (unsigned char)s.p[i];
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c >= 0x80;
}

static bool label_text_ok(struct str s) {
    if (!str_is_utf8(s) || str_utf8_len(s) > 63 || s.n > 128) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (!label_char(s, i)) {
            return false;
        }
    }
    return true;
}

void labels_check(const char *field, size_t n, Aip__CustomJob__LabelsEntry *const *labels,
                  struct violations *vs) {
    char shown[80];
    if (n > limits.max_labels) {
        limits_hit(&limits.max_labels);
        violations_add(vs, field, "No more than %llu labels may be set; the request has %zu.",
                       (unsigned long long)limits.max_labels, n);
    }
    for (size_t i = 0; i < n; i++) {
        struct str k = str_of(labels[i]->key), v = str_of(labels[i]->value);
        bool first_ok = k.n && ((k.p[0] >= 'a' && k.p[0] <= 'z') ||
                                (k.p[0] >= '0' && k.p[0] <= '9') || (unsigned char)k.p[0] >= 0x80);
        if (!first_ok || !label_text_ok(k)) {
            violations_add(
                vs, field,
                "Label key \"%s\" is not valid: keys start with a lowercase letter or digit "
                "and hold only lowercase letters, digits, dashes and underscores, shorter "
                "than 64 characters and 128 bytes in UTF-8.",
                clip(k.p, shown, sizeof(shown)));
        }
        if (!label_text_ok(v)) {
            violations_add(
                vs, field,
                "Label value \"%s\" is not valid: values hold only lowercase letters, "
                "digits, dashes and underscores, shorter than 64 characters and 128 bytes "
                "in UTF-8.",
                clip(v.p, shown, sizeof(shown)));
        }
    }
}

static bool is_c_identifier(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!alpha && !(i && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return s.n > 0;
}

void env_check(const char *at, size_t n, Aip__EnvVar *const *env, struct violations *vs) {
    char shown[80];
    struct path list = path_of(at, "env");
    if (n > ENV_MAX) {
        violations_add(vs, list.text,
                       "At most %u environment variables may be set; the request has %zu.", ENV_MAX,
                       n);
        return; /* the pairwise look below is quadratic */
    }
    for (size_t i = 0; i < n; i++) {
        struct path p = path_of(at, "env[%zu].name", i);
        if (!is_c_identifier(str_of(env[i]->name))) {
            violations_add(vs, p.text,
                           "Environment variable name \"%s\" is not a valid C identifier.",
                           clip(env[i]->name, shown, sizeof(shown)));
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(env[k]->name, env[i]->name) == 0) {
                violations_add(vs, list.text, "EnvVar names must be unique. \"%s\" is given twice.",
                               clip(env[i]->name, shown, sizeof(shown)));
                break;
            }
        }
    }
}

static void check_args(const char *at, size_t n, char *const *args, struct violations *vs) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += str_utf8_len(str_of(args[i]));
    }
    if (total > ARGS_MAX) {
        violations_add(vs, path_of(at, "args").text,
                       "The arguments have %zu characters in all; at most %u are allowed.", total,
                       ARGS_MAX);
    }
}

static void check_gs(const char *field, const char *uri, struct violations *vs) {
    char shown[120];
    struct str rest = str_of(uri);
    if (!str_starts(rest, STR("gs://")) || rest.n <= 5 || rest.p[5] == '/') {
        violations_add(vs, field, "\"%s\" is not a Cloud Storage URI such as gs://BUCKET/PATH.",
                       clip(uri, shown, sizeof(shown)));
    }
}

static void check_container(const char *at, const Aip__ContainerSpec *c, struct violations *vs) {
    if (!c->image_uri[0]) {
        violations_add(vs, path_of(at, "image_uri").text, "Required field is not set.");
    }
    check_args(at, c->n_args, c->args, vs);
    check_args(at, c->n_command, c->command, vs);
    env_check(at, c->n_env, c->env, vs);
}

static bool is_module_path(struct str s) {
    while (s.p) {
        if (!is_c_identifier(str_cut(&s, '.'))) {
            return false;
        }
    }
    return true;
}

static void check_python(const char *at, const Aip__PythonPackageSpec *p, struct violations *vs) {
    char shown[120];
    if (!p->executor_image_uri[0]) {
        violations_add(vs, path_of(at, "executor_image_uri").text, "Required field is not set.");
    }
    if (!p->python_module[0]) {
        violations_add(vs, path_of(at, "python_module").text, "Required field is not set.");
    } else if (!is_module_path(str_of(p->python_module))) {
        violations_add(vs, path_of(at, "python_module").text,
                       "\"%s\" is not a Python module name such as trainer.task.",
                       clip(p->python_module, shown, sizeof(shown)));
    }
    if (!p->n_package_uris) {
        violations_add(vs, path_of(at, "package_uris").text, "Required field is not set.");
    } else if (p->n_package_uris > PACKAGES_MAX) {
        violations_add(vs, path_of(at, "package_uris").text,
                       "At most %u Python packages may be given; the request has %zu.",
                       PACKAGES_MAX, p->n_package_uris);
    } else {
        for (size_t i = 0; i < p->n_package_uris; i++) {
            check_gs(path_of(at, "package_uris[%zu]", i).text, p->package_uris[i], vs);
        }
    }
    check_args(at, p->n_args, p->args, vs);
    env_check(at, p->n_env, p->env, vs);
}

static void check_machine(const char *at, const Aip__MachineSpec *m, struct violations *vs) {
    char shown[80];
    struct machine_type type;
    if (!m || !m->machine_type[0]) {
        violations_add(vs, path_of(at, "machine_type").text, "Required field is not set.");
        return;
    }
    if (!machine_type_find(str_of(m->machine_type), &type)) {
        violations_add(vs, path_of(at, "machine_type").text,
                       "Machine type \"%s\" is not supported.",
                       clip(m->machine_type, shown, sizeof(shown)));
        return;
    }
    bool has_type = m->accelerator_type != AIP__ACCELERATOR_TYPE__ACCELERATOR_TYPE_UNSPECIFIED;
    if (has_type != (m->accelerator_count != 0)) {
        violations_add(
            vs, path_of(at, "accelerator_type").text,
            "Both `accelerator_type` and `accelerator_count` should be specified or none.");
        return;
    }
    if (!has_type) {
        return;
    }
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
        &aip__accelerator_type__descriptor, (int)m->accelerator_type);
    if (!v) {
        violations_add(vs, path_of(at, "accelerator_type").text, "Accelerator type %d is unknown.",
                       (int)m->accelerator_type);
    } else if (m->accelerator_count < 0 ||
               !machine_accel_is_allowed(str_of(m->machine_type), str_of(v->name),
                                         (uint32_t)m->accelerator_count)) {
        char counts[64];
        machine_accel_counts(str_of(m->machine_type), str_of(v->name), counts, sizeof(counts));
        violations_add(vs, path_of(at, "accelerator_count").text,
                       "Machine type \"%s\" cannot have %d of accelerator %s%s%s.",
                       clip(m->machine_type, shown, sizeof(shown)), m->accelerator_count, v->name,
                       counts[0] ? "; allowed counts: " : "", counts);
    }
}

/* A name with the segments of a shape, in which a star stands for any that is not empty. */
static bool has_shape(const char *name, const char *shape) {
    struct str n = str_of(name), s = str_of(shape);
    while (n.p && s.p) {
        struct str one = str_cut(&n, '/'), want = str_cut(&s, '/');
        if (!one.n || !(str_eqc(want, "*") || str_eq(one, want))) {
            return false;
        }
    }
    return !n.p && !s.p;
}

/* Kept and given back; what Vertex would refuse is refused, so that a job that works here is not
 * refused there. */
static void check_name(const char *field, const char *name, const char *shape,
                       struct violations *vs) {
    char shown[120];
    if (name[0] && !has_shape(name, shape)) {
        violations_add(vs, field, "\"%s\" is not a resource name of the form %s.",
                       clip(name, shown, sizeof(shown)), shape);
    }
}

static void check_reservation(const char *at, const Aip__ReservationAffinity *r,
                              struct violations *vs) {
    if (!r) {
        return;
    }
    if (!r->reservation_affinity_type) {
        violations_add(vs, path_of(at, "reservation_affinity_type").text,
                       "Required field is not set.");
    }
    if (r->reservation_affinity_type == AIP__RESERVATION_AFFINITY__TYPE__SPECIFIC_RESERVATION &&
        !(r->key[0] && r->n_values)) {
        violations_add(vs, path_of(at, r->key[0] ? "values" : "key").text,
                       "SPECIFIC_RESERVATION needs `key` and `values`, which say which.");
    }
}

/* A job that found an empty folder where its data should be would fail with something else. */
static void check_mounts(const char *at, const Aip__WorkerPoolSpec *p, struct violations *vs) {
    if (p->n_nfs_mounts) {
        violations_add(vs, path_of(at, "nfs_mounts").text,
                       "This server mounts no NFS in jobs. Mount it on this machine and start the "
                       "server with --bucket NAME=DIRECTORY: jobs have it under /gcs/NAME.");
    }
    if (p->n_lustre_mounts) {
        violations_add(vs, path_of(at, "lustre_mounts").text,
                       "This server mounts no Lustre in jobs. Mount it on this machine and start "
                       "the server with --bucket NAME=DIRECTORY: jobs have it under /gcs/NAME.");
    }
}

static bool pool_is_empty(const Aip__WorkerPoolSpec *p) {
    return !p->machine_spec && !p->replica_count && !p->disk_spec &&
           p->task_case == AIP__WORKER_POOL_SPEC__TASK__NOT_SET;
}

static void check_pool(const char *at, size_t index, const Aip__WorkerPoolSpec *p,
                       struct violations *vs) {
    if (pool_is_empty(p)) {
        if (index == 0) {
            violations_add(vs, at, "The first worker pool is required and must not be empty.");
        }
        return;
    }
    if (index == 0 && p->replica_count != 1) {
        violations_add(vs, path_of(at, "replica_count").text,
                       "The first worker pool must have exactly 1 replica; the request has %lld.",
                       (long long)p->replica_count);
    } else if (p->replica_count < 0 || (uint64_t)p->replica_count > limits.max_replicas) {
        violations_add(vs, path_of(at, "replica_count").text,
                       "Replica count %lld is out of range: 1 to %llu.",
                       (long long)p->replica_count, (unsigned long long)limits.max_replicas);
    } else if (p->replica_count == 0) {
        violations_add(vs, path_of(at, "replica_count").text,
                       "A worker pool that is not empty must have at least 1 replica.");
    }
    check_machine(path_of(at, "machine_spec").text, p->machine_spec, vs);
    check_reservation(path_of(at, "machine_spec.reservation_affinity").text,
                      p->machine_spec ? p->machine_spec->reservation_affinity : NULL, vs);
    check_mounts(at, p, vs);
    if (p->disk_spec) {
        const Aip__DiskSpec *d = p->disk_spec;
        char shown[80];
        if (d->boot_disk_type[0] && strcmp(d->boot_disk_type, "pd-ssd") != 0 &&
            strcmp(d->boot_disk_type, "pd-standard") != 0 &&
            strcmp(d->boot_disk_type, "hyperdisk-balanced") != 0) {
            violations_add(
                vs, path_of(at, "disk_spec.boot_disk_type").text,
                "Disk type \"%s\" is not one of pd-ssd, pd-standard, hyperdisk-balanced.",
                clip(d->boot_disk_type, shown, sizeof(shown)));
        }
        if (d->boot_disk_size_gb &&
            (d->boot_disk_size_gb < DISK_GB_MIN || d->boot_disk_size_gb > DISK_GB_MAX)) {
            violations_add(vs, path_of(at, "disk_spec.boot_disk_size_gb").text,
                           "Disk size %d GB is out of range: %d to %d.", d->boot_disk_size_gb,
                           DISK_GB_MIN, DISK_GB_MAX);
        }
    }
    if (p->task_case == AIP__WORKER_POOL_SPEC__TASK_CONTAINER_SPEC) {
        check_container(path_of(at, "container_spec").text, p->container_spec, vs);
    } else if (p->task_case == AIP__WORKER_POOL_SPEC__TASK_PYTHON_PACKAGE_SPEC) {
        check_python(path_of(at, "python_package_spec").text, p->python_package_spec, vs);
    } else {
        violations_add(vs, at,
                       "Exactly one of `container_spec` and `python_package_spec` must be set.");
    }
}

static void check_scheduling(const char *at, const Aip__Scheduling *s, struct violations *vs) {
    if (s->timeout && (s->timeout->seconds < 0 || s->timeout->nanos < 0 ||
                       (s->timeout->seconds == 0 && s->timeout->nanos == 0))) {
        violations_add(vs, path_of(at, "timeout").text, "The timeout must be greater than zero.");
    }
    if (s->max_wait_duration && s->max_wait_duration->seconds < 0) {
        violations_add(vs, path_of(at, "max_wait_duration").text,
                       "The longest wait must not be negative.");
    }
}

void job_spec_check(const Aip__CustomJobSpec *spec, const char *prefix, struct violations *vs) {
    if (!spec->n_worker_pool_specs) {
        violations_add(vs, path_of(prefix, "worker_pool_specs").text, "Required field is not set.");
    }
    if (spec->n_worker_pool_specs > limits.max_worker_pools) {
        limits_hit(&limits.max_worker_pools);
        violations_add(vs, path_of(prefix, "worker_pool_specs").text,
                       "At most %llu worker pools are allowed; the request has %zu.",
                       (unsigned long long)limits.max_worker_pools, spec->n_worker_pool_specs);
    } else {
        for (size_t i = 0; i < spec->n_worker_pool_specs; i++) {
            check_pool(path_of(prefix, "worker_pool_specs[%zu]", i).text, i,
                       spec->worker_pool_specs[i], vs);
        }
    }
    if (spec->scheduling) {
        check_scheduling(path_of(prefix, "scheduling").text, spec->scheduling, vs);
    }
    if (spec->base_output_directory && spec->base_output_directory->output_uri_prefix[0]) {
        check_gs(path_of(prefix, "base_output_directory.output_uri_prefix").text,
                 spec->base_output_directory->output_uri_prefix, vs);
    }
    if (spec->persistent_resource_id[0]) {
        char shown[80];
        violations_add(vs, path_of(prefix, "persistent_resource_id").text,
                       "Persistent resource \"%s\" does not exist: this server has none. Leave the "
                       "field out; containers start in milliseconds.",
                       clip(spec->persistent_resource_id, shown, sizeof(shown)));
    }
    check_name(path_of(prefix, "network").text, spec->network, "projects/*/global/networks/*", vs);
    check_name(path_of(prefix, "tensorboard").text, spec->tensorboard,
               "projects/*/locations/*/tensorboards/*", vs);
    if (spec->psc_interface_config) {
        (void)pb_check_required(&spec->psc_interface_config->base,
                                path_of(prefix, "psc_interface_config").text, vs);
    }
    if (spec->experiment[0] && spec->tensorboard[0]) {
        violations_add(vs, path_of(prefix, "experiment").text,
                       "`experiment` and `tensorboard` cannot be set together.");
    }
}

void display_name_check(const char *field, const char *name, struct violations *vs) {
    struct str s = str_of(name);
    if (!s.n) {
        violations_add(vs, field, "Required field is not set.");
    } else if (str_utf8_len(s) > DISPLAY_NAME_MAX) {
        violations_add(vs, field, "The display name has %zu characters; at most %u are allowed.",
                       str_utf8_len(s), DISPLAY_NAME_MAX);
    }
}

const struct store_label *labels_stored(struct arena *a, size_t n,
                                        Aip__CustomJob__LabelsEntry *const *labels) {
    struct store_label *ret = arena_own_array(a, n + 1, sizeof(*ret));
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct store_label){str_of(labels[i]->key), str_of(labels[i]->value)};
    }
    return ret;
}

void encryption_check(const char *field, const Aip__EncryptionSpec *e, struct violations *vs) {
    struct path key = path_of(field, "kms_key_name");
    if (e && !e->kms_key_name[0]) {
        violations_add(vs, key.text, "Required field is not set.");
    } else if (e) {
        check_name(key.text, e->kms_key_name, "projects/*/locations/*/keyRings/*/cryptoKeys/*", vs);
    }
}

void custom_job_check(const Aip__CustomJob *job, struct violations *vs) {
    display_name_check("display_name", job->display_name, vs);
    labels_check("labels", job->n_labels, job->labels, vs);
    encryption_check("encryption_spec", job->encryption_spec, vs);
    if (!job->job_spec) {
        violations_add(vs, "job_spec", "Required field is not set.");
    } else {
        job_spec_check(job->job_spec, "job_spec", vs);
    }
}

void job_spec_fill_defaults(struct arena *a, Aip__CustomJobSpec *spec) {
    for (size_t i = 0; i < spec->n_worker_pool_specs; i++) {
        Aip__WorkerPoolSpec *p = spec->worker_pool_specs[i];
        if (pool_is_empty(p)) {
            continue;
        }
        if (!p->disk_spec) {
            p->disk_spec = arena_own(a, sizeof(*p->disk_spec));
            aip__disk_spec__init(p->disk_spec);
        }
        if (!p->disk_spec->boot_disk_type[0]) {
            p->disk_spec->boot_disk_type = arena_strdup(a, "pd-ssd");
        }
        if (!p->disk_spec->boot_disk_size_gb) {
            p->disk_spec->boot_disk_size_gb = 100;
        }
    }
}

void custom_job_fill_defaults(struct arena *a, Aip__CustomJob *job) {
    job_spec_fill_defaults(a, job->job_spec);
}
