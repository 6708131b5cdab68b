/* What a replica's process is started with: environment, command line (reference 02 §1, §2-5,
 * 03 §3-5). Pure functions of the job, the replica and the image; results live in the arena. */
#ifndef CUSP_ENGINE_LOCAL_ENV_H
#define CUSP_ENGINE_LOCAL_ENV_H

#include "base/arena.h"
#include "base/err.h"
#include "engine/job_spec.h"

/* The kernel's bound on one argv or environment string (MAX_ARG_STRLEN), terminator included, and
 * ours on all of them: $(NAME) could otherwise double a value with every entry. */
#define ENV_MAX_STRING 131072u
#define ENV_MAX_TOTAL (1536u * 1024u)

struct env_item {
    const char *name, *value;
    bool referable; /* $(NAME) finds it: service and user variables, not the image's */
};

struct env {
    struct arena *arena;
    struct env_item *p;
    size_t n, cap;
};

struct env_input {
    const struct job_spec *spec;
    uint32_t replica;       /* 0-based over all pools */
    const char **image_env; /* "NAME=value", NULL-terminated; may be NULL */
    const char **extra_env; /* the site's, as image_env; values may hold the words below */
    const char **door_env;  /* after extra_env, as extra_env; may be NULL */
    const char *door;       /* replaces %DOOR%: where the container reaches the server */
    const char *gateway;    /* replaces %GATEWAY%: where the container reaches this host */
    const char *home;       /* HOME when the image sets none */
};
/* In extra_env and door_env: %HAVE% (what the variable is so far, "" when unset) %DOOR% %GATEWAY%
 * %PROJECT_ID% %PROJECT_NUMBER% %JOB_ID% %REGION%. */

/* Image variables, then the service's, then extra_env, then the user's in order; later wins, and a
 * name keeps its first place. */
int env_make(struct arena *a, const struct env_input *in, struct env *ret,
             struct err *err) MUST_CHECK;

/* Value of name, or NULL. */
const char *env_get(const struct env *e, const char *name);
void env_set(struct env *e, const char *name, const char *value, bool referable);
/* "NAME=value", NULL-terminated. */
const char **env_strings(const struct env *e);

/* $(NAME) -> its value when NAME is referable, otherwise left as it is; $$(NAME) -> $(NAME). A
 * value put in is not looked at again. INVALID_ARGUMENT when the result passes ENV_MAX_STRING;
 * `what` names it then ("args[3]"). */
int env_expand(const struct env *e, const char *text, const char *what, const char **ret,
               struct err *err) MUST_CHECK;

/* The command line of the replica's pool: Kubernetes rules for containers, `python3 -m module args`
 * for packages. FAILED_PRECONDITION when neither the job nor the image says what to run. */
int env_command(struct arena *a, const struct env *e, const struct pool_spec *pool,
                const char **image_entrypoint, const char **image_cmd, const char ***ret_argv,
                struct err *err) MUST_CHECK;

#endif
