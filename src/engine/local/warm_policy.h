/* Whether a Python task starts warm, and from which memory image: pure functions of the job, its
 * command and the server's configuration (docs/internals/warm-workers.md). Results live in the
 * arena. */
#ifndef CUSP_ENGINE_LOCAL_WARM_POLICY_H
#define CUSP_ENGINE_LOCAL_WARM_POLICY_H

#include "base/arena.h"
#include "engine/job_spec.h"
#include "engine/local/env.h"

/* How a job asks: a label, or for the jobs that a service makes (trials) a variable of the
 * container; the variable wins. Labels cannot hold commas and points, so there '-' separates. */
#define WARM_LABEL "cusp-warm-python"          /* "true" | "false" */
#define WARM_LABEL_IMPORTS "cusp-warm-imports" /* "sklearn-pandas" */
#define WARM_VAR "CUSP_WARM_PYTHON"
#define WARM_VAR_IMPORTS "CUSP_WARM_IMPORTS" /* "sklearn.linear_model,pandas" */
#define WARM_MAX_IMPORTS 64u

enum warm_mode {
    WARM_OFF,   /* nobody */
    WARM_ASKED, /* jobs that ask */
    WARM_ALL,   /* every Python task that does not ask otherwise */
};
/* "off" | "asked" | "all"; -1 with INVALID_ARGUMENT. */
int warm_mode_parse(const char *text, enum warm_mode *ret, struct err *err) MUST_CHECK;

struct warm_query {
    enum warm_mode mode;
    const char *default_imports; /* as WARM_VAR_IMPORTS; NULL or "" none */
    bool supported;              /* this processor and build */
    const struct job_spec *spec;
    const struct pool_spec *pool;
    const char **argv; /* of the replica, NULL-terminated */
    bool has_devices;
};

/* Why a task that asked starts cold: the label "why" of cusp_warm_fallbacks_total. */
enum warm_why {
    WARM_WHY_OFF,       /* the server's warm_python = off */
    WARM_WHY_PROCESSOR, /* not built for it */
    WARM_WHY_MODULES,   /* none named, or not names */
    WARM_WHY_DEVICES,   /* accelerators */
    WARM_WHY_COMMAND,   /* not Python, or with options that hide us */
    WARM_WHY_DISK,      /* our programs could not be written */
    WARM_WHY_NO_IMAGE,  /* not made yet */
    WARM_WHY_FAILED,    /* making it failed lately */
    WARM_WHY_THAW,      /* there is one, and in the container it turned out not to fit */
    WARM_NR_WHY
};
/* "off", "processor", … */
const char *warm_why_name(enum warm_why why);

struct warm_choice {
    bool asked;          /* false: an ordinary start, nothing to say */
    const char *why_not; /* asked and not possible; NULL: possible */
    enum warm_why why;   /* the same for counting; of a choice with why_not */
    const char *imports; /* "a,b.c" */
    size_t prefix;       /* words of argv that are the interpreter and what it runs */
};
void warm_choose(struct arena *a, const struct warm_query *q, struct warm_choice *ret);

/* The variables of `env` that do not depend on the job, the trial or the replica: what is left when
 * the same environment is made for another job. NULL-terminated "NAME=value". in is what env was
 * made from. */
const char **warm_env(struct arena *a, const struct env_input *in, const struct env *env);

/* Everything that the memory of the frozen Python depends on. */
struct warm_key_input {
    const char *tools;        /* digest of our own programs */
    const char *image_digest; /* "sha256:…" */
    const char *pkg_key;      /* or NULL */
    const char *trust_layer;  /* or NULL */
    const char *cwd, *imports;
    uint32_t uid, gid;
    const char **argv; /* prefix words of it count */
    size_t prefix;
    const char **env;
};
#define WARM_KEY_LEN 64
void warm_key(const struct warm_key_input *in, char ret_hex[WARM_KEY_LEN + 1]);

#endif
