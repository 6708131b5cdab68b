/* run.conf: see conf.h. */
#include "runner/conf.h"
#include "base/rec.h"
#include "engine/bundle/rundir.h"

#define LOWER_MAX 500 /* the kernel's own limit of overlay layers */

static int check_paths(const struct conf *c, struct err *err) {
    const struct {
        const char *key, *value;
    } absolute[] = {
        {RC_LOG_DIR, c->log_dir}, {RC_RUNTIME, c->runtime}, {RC_RUNTIME_ROOT, c->runtime_root}};
    for (size_t i = 0; i < NR_OF(absolute); i++) {
        if (!absolute[i].value || absolute[i].value[0] != '/') {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s is not an absolute path", RUNDIR_CONF,
                           absolute[i].key);
        }
    }
    /* the container id becomes a directory name that is removed at the end */
    if (!c->container || !*c->container || c->container[0] == '.' || strchr(c->container, '/')) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s is not a container id", RUNDIR_CONF,
                       RC_CONTAINER);
    }
    const char *const groups[] = {c->cgroup, c->runner_cgroup};
    for (size_t i = 0; i < NR_OF(groups); i++) {
        if (groups[i] && (groups[i][0] != '/' || !groups[i][1] || strstr(groups[i], ".."))) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: bad cgroup path %s", RUNDIR_CONF,
                           groups[i]);
        }
    }
    return 0;
}

static int check_net(const struct conf *c, struct err *err) {
    if (strcmp(c->net, "none") == 0 || strcmp(c->net, "host") == 0) {
        return 0;
    }
    if (strcmp(c->net, "bridge") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s: unknown %s %s", RUNDIR_CONF, RC_NET, c->net);
    }
    if (!c->net_bridge || !c->net_veth || !c->net_addr || !c->net_gateway) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s bridge needs %s, %s, %s and %s",
                       RUNDIR_CONF, RC_NET, RC_NET_BRIDGE, RC_NET_VETH, RC_NET_ADDR,
                       RC_NET_GATEWAY);
    }
    return 0;
}

int conf_parse(struct arena *a, struct str text, struct conf *ret, struct err *err) {
    struct rec r;
    if (rec_parse(a, text, &r, err) < 0) {
        return err_wrap(err, RUNDIR_CONF);
    }
    uint64_t format = rec_get_u64(&r, RC_FORMAT, 0);
    if (format != RUNDIR_FORMAT) {
        return err_set(err, ERR_FAILED_PRECONDITION, "%s: format %llu, this runner knows %d",
                       RUNDIR_CONF, (unsigned long long)format, RUNDIR_FORMAT);
    }
    struct conf c = {
        .job = rec_get_cstr(&r, RC_JOB),
        .attempt = rec_get_cstr(&r, RC_ATTEMPT),
        .replica = rec_get_cstr(&r, RC_REPLICA),
        .nonce = rec_get_cstr(&r, RC_NONCE),
        .log_dir = rec_get_cstr(&r, RC_LOG_DIR),
        .runtime = rec_get_cstr(&r, RC_RUNTIME),
        .runtime_root = rec_get_cstr(&r, RC_RUNTIME_ROOT),
        .container = rec_get_cstr(&r, RC_CONTAINER),
        .cgroup = rec_get_cstr(&r, RC_CGROUP),
        .runner_cgroup = rec_get_cstr(&r, RC_RUNNER_CGROUP),
        .hide_unified = rec_get_u64(&r, RC_HIDE_UNIFIED, 0) != 0,
        .foreground = rec_get_u64(&r, RC_FOREGROUND, 0) != 0,
        .mem_limit = rec_get_u64(&r, RC_MEM_LIMIT, 0),
        .cpu_milli = rec_get_u64(&r, RC_CPU_MILLI, 0),
        .pids_limit = rec_get_u64(&r, RC_PIDS_LIMIT, 0),
        .net = rec_get_cstr(&r, RC_NET),
        .net_bridge = rec_get_cstr(&r, RC_NET_BRIDGE),
        .net_veth = rec_get_cstr(&r, RC_NET_VETH),
        .net_addr = rec_get_cstr(&r, RC_NET_ADDR),
        .net_gateway = rec_get_cstr(&r, RC_NET_GATEWAY),
    };
    if (!c.net) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s is missing", RUNDIR_CONF, RC_NET);
    }
    c.lower = arena_calloc(a, LOWER_MAX + 1, sizeof(*c.lower));
    struct str lower;
    for (size_t it = 0; rec_next(&r, RC_LOWER, &it, &lower); c.nr_lower++) {
        if (c.nr_lower == LOWER_MAX || lower.n == 0 || lower.p[0] != '/') {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: bad or more than %d %s", RUNDIR_CONF,
                           LOWER_MAX, RC_LOWER);
        }
        c.lower[c.nr_lower] = arena_strndup(a, lower.p, lower.n);
    }
    c.door = arena_calloc(a, RUNDIR_DOORS_MAX, sizeof(*c.door));
    struct str door;
    for (size_t it = 0; rec_next(&r, RC_DOOR, &it, &door); c.nr_doors++) {
        if (c.nr_doors == RUNDIR_DOORS_MAX) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: more than %d %s", RUNDIR_CONF,
                           RUNDIR_DOORS_MAX, RC_DOOR);
        }
        c.door[c.nr_doors] = arena_strndup(a, door.p, door.n);
    }
    if (check_paths(&c, err) < 0 || check_net(&c, err) < 0) {
        return -1;
    }
    *ret = c;
    return 0;
}
