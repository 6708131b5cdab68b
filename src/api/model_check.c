/* See model_check.h. */
#include "api/model_check.h"

#include "api/seal.h"
#include "api/spec.h"
#include "base/limits.h"
#include "ctl/model.h"

#include <stdarg.h>

#define DEPLOYMENT_SECONDS_MAX 7200
#define DESCRIPTION_MAX 16384u

struct path {
    char text[200];
};

static struct path below(const char *prefix, const char *fmt, ...) PRINTF_LIKE(2, 3);
static struct path below(const char *prefix, const char *fmt, ...) {
    struct path p;
    va_list ap;
    int n = snprintf(p.text, sizeof(p.text), "%s%s", prefix, prefix[0] ? "." : "");
    va_start(ap, fmt);
    vsnprintf(p.text + n, sizeof(p.text) - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

void model_check_aliases(const char *field, size_t n, char *const *aliases, struct violations *vs) {
    if (n > limits.max_model_aliases) {
        limits_hit(&limits.max_model_aliases);
        violations_add(vs, field, "At most max_model_aliases (%llu) may be given; there are %zu.",
                       (unsigned long long)limits.max_model_aliases, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const char *fault = model_alias_fault(str_of(aliases[i]));
        if (fault) {
            violations_add(vs, field, "Version alias \"%.140s\" %s", aliases[i], fault);
        }
    }
}

void model_check_description(const char *field, struct str text, struct violations *vs) {
    if (text.n > DESCRIPTION_MAX) {
        violations_add(vs, field, "The description has %zu bytes; at most %u are allowed.", text.n,
                       DESCRIPTION_MAX);
    }
}

static void check_ports(const char *at, const char *name, size_t n, Aip__Port *const *ports,
                        struct violations *vs) {
    for (size_t i = 0; i < n; i++) {
        int port = ports[i]->container_port;
        if (port < 1 || port > 65535) {
            violations_add(vs, below(at, "%s[%zu].container_port", name, i).text,
                           "Port %d is out of range: 1 to 65535.", port);
        }
    }
}

static void check_route(const char *field, const char *route, struct violations *vs) {
    if (route[0] && route[0] != '/') {
        violations_add(vs, field, "Route \"%.100s\" must begin with '/'.", route);
    }
}

static void check_probe(const char *at, const Aip__Probe *p, struct violations *vs) {
    if (!p) {
        return;
    }
    const struct {
        const char *name;
        int value;
    } counts[] = {{"period_seconds", p->period_seconds},
                  {"timeout_seconds", p->timeout_seconds},
                  {"failure_threshold", p->failure_threshold},
                  {"success_threshold", p->success_threshold},
                  {"initial_delay_seconds", p->initial_delay_seconds}};
    for (size_t i = 0; i < NR_OF(counts); i++) {
        if (counts[i].value < 0) {
            violations_add(vs, below(at, "%s", counts[i].name).text, "%d must not be negative.",
                           counts[i].value);
        }
    }
}

static void check_container(const char *at, const Aip__ModelContainerSpec *c,
                            struct violations *vs) {
    if (!c->image_uri[0]) {
        violations_add(vs, below(at, "image_uri").text, "Required field is not set.");
    }
    env_check(at, c->n_env, c->env, vs);
    check_ports(at, "ports", c->n_ports, c->ports, vs);
    check_ports(at, "grpc_ports", c->n_grpc_ports, c->grpc_ports, vs);
    check_route(below(at, "predict_route").text, c->predict_route, vs);
    check_route(below(at, "health_route").text, c->health_route, vs);
    check_probe(below(at, "startup_probe").text, c->startup_probe, vs);
    check_probe(below(at, "health_probe").text, c->health_probe, vs);
    check_probe(below(at, "liveness_probe").text, c->liveness_probe, vs);
    if (c->deployment_timeout) {
        int64_t s = c->deployment_timeout->seconds;
        bool is_over = s == DEPLOYMENT_SECONDS_MAX && c->deployment_timeout->nanos > 0;
        if (s < 0 || s > DEPLOYMENT_SECONDS_MAX || is_over || c->deployment_timeout->nanos < 0) {
            violations_add(vs, below(at, "deployment_timeout").text,
                           "The timeout of %lld seconds is out of range: 0 to %d (2 hours).",
                           (long long)s, DEPLOYMENT_SECONDS_MAX);
        }
    }
    if (c->shared_memory_size_mb < 0) {
        violations_add(vs, below(at, "shared_memory_size_mb").text, "%lld must not be negative.",
                       (long long)c->shared_memory_size_mb);
    }
}

static void check_artifact(const char *field, const char *uri, struct violations *vs) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct str bucket, prefix;
    struct err err;
    if (seal_folder(a, str_of(uri), field, &bucket, &prefix, &err)) {
        violations_add(vs, field, "%s", err.msg);
    }
}

void model_check(const Aip__Model *m, const char *prefix, bool is_pipelines,
                 struct violations *vs) {
    display_name_check(below(prefix, "display_name").text, m->display_name, vs);
    model_check_description(below(prefix, "description").text, str_of(m->description), vs);
    model_check_description(below(prefix, "version_description").text,
                            str_of(m->version_description), vs);
    model_check_aliases(below(prefix, "version_aliases").text, m->n_version_aliases,
                        m->version_aliases, vs);
    /* All maps from text to text look the same in memory. */
    labels_check(below(prefix, "labels").text, m->n_labels,
                 (Aip__CustomJob__LabelsEntry *const *)m->labels, vs);
    if (m->container_spec) {
        check_container(below(prefix, "container_spec").text, m->container_spec, vs);
    } else if (is_pipelines || (m->artifact_uri[0] && !m->metadata_schema_uri[0])) {
        /* Without an artefact it is a model that only stands for something elsewhere. */
        violations_add(vs, below(prefix, "container_spec.image_uri").text,
                       "Required field is not set.");
    }
    if (m->artifact_uri[0]) {
        check_artifact(below(prefix, "artifact_uri").text, m->artifact_uri, vs);
    }
}
