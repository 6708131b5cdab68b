/* Fail points, armed from the environment on first use. Thread-safe through a spin flag: fail
 * points are test code and hit rarely. */
#include "base/fail.h"

#ifdef CUSP_FAILPOINTS
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum action { ACT_NONE, ACT_ERRNO, ACT_ABORT, ACT_DELAY };

struct point {
    struct str name;
    enum action action;
    int value;         /* errno, or milliseconds */
    uint64_t only_hit; /* 0 = every */
    uint64_t hits;
};

static struct point points[32];
static size_t nr_points;
static int trace_fd = -1;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static bool ready;

static int errno_of(struct str s) {
    static const struct {
        const char *name;
        int value;
    } known[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"ENOMEM", ENOMEM},
                 {"EMFILE", EMFILE}, {"EACCES", EACCES}, {"ETIMEDOUT", ETIMEDOUT}};
    for (size_t i = 0; i < NR_OF(known); i++) {
        if (str_eqc(s, known[i].name)) {
            return known[i].value;
        }
    }
    return EIO;
}

static void arm_one(struct str spec) {
    struct point p = {0};
    struct str action = spec;
    p.name = str_cut(&action, '=');
    struct str hit = action;
    action = str_cut(&hit, '@');
    if (hit.p) {
        (void)str_to_u64(hit, &p.only_hit); /* malformed: fires always, which a test notices */
    }
    struct str arg = action;
    struct str verb = str_cut(&arg, ':');
    if (str_eqc(verb, "errno")) {
        p.action = ACT_ERRNO;
        p.value = errno_of(arg);
    } else if (str_eqc(verb, "abort")) {
        p.action = ACT_ABORT;
    } else if (str_eqc(verb, "delay")) {
        uint64_t ms = 0;
        p.action = ACT_DELAY;
        /* A delay that was not understood would be a test that cannot fail. */
        CHECK(str_to_u64(str_ends(arg, STR("ms")) ? str_sub(arg, 0, arg.n - 2) : arg, &ms));
        p.value = (int)ms;
    }
    if (nr_points < NR_OF(points)) {
        points[nr_points++] = p;
    }
}

static void load(void) {
    ready = true;
    const char *trace = getenv("CUSP_FAILPOINT_TRACE");
    if (trace) {
        trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    struct str rest = str_of(getenv("CUSP_FAILPOINTS"));
    while (rest.p && rest.n) {
        struct str one = str_cut(&rest, ',');
        if (one.n) {
            arm_one(one);
        }
    }
}

int fail_point(const char *name, struct err *err) {
    enum action action = ACT_NONE;
    int value = 0;
    while (atomic_flag_test_and_set(&busy)) {
    }
    if (!ready) {
        load();
    }
    for (size_t i = 0; i < nr_points; i++) {
        struct point *p = &points[i];
        if (str_eqc(p->name, name)) {
            p->hits++;
            if (!p->only_hit || p->only_hit == p->hits) {
                action = p->action;
                value = p->value;
            }
        }
    }
    if (trace_fd >= 0) {
        dprintf(trace_fd, "%s\n", name);
    }
    atomic_flag_clear(&busy);
    switch (action) {
    case ACT_ERRNO:
        return err_sys(err, value, "fail point %s", name);
    case ACT_ABORT:
        kill(getpid(), SIGKILL);
        pause();
        return 0;
    case ACT_DELAY:
        usleep((useconds_t)value * 1000);
        return 0;
    case ACT_NONE:
        return 0;
    }
    return 0;
}
#else
/* ISO C wants a translation unit to declare something. */
extern int fail_points_are_compiled_out;
#endif
