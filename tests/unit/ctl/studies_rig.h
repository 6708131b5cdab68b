/* Vizier studies over the memory store, and somebody who asks and tells: what their tests share. A
 * study has two parameters, a number from 0 to 1 and a whole one from 1 to 9, is searched at
 * random, and takes its stopping rule from its "spec": "median", "convex", "unreadable", or none.
 */
#ifndef CUSP_TESTS_STUDIES_RIG_H
#define CUSP_TESTS_STUDIES_RIG_H

#include "ctl/study_ask.h"
#include "mem_rig.h"
#include "steps.h"

#define PARENT "projects/1/locations/us-central1"

struct fix {
    struct mem_rig rig;
    struct studies *s;
    struct steps steps;
    struct suggest_pool pool;
};
int studies_setup(void **state); /* *state: a struct fix */
int studies_teardown(void **state);
#define STUDIES_TEST(name) cmocka_unit_test_setup_teardown(name, studies_setup, studies_teardown)

void settle_store(struct fix *f); /* the store alone: who waits for a suggestion waits */
void settle(struct fix *f);
void crash(struct fix *f); /* of what is not durable some is lost */

/* ---- making */

struct made {
    struct study_create c;
    unsigned answers;
    enum err_code code;
    char name[160];
};
struct made *make(struct fix *f, const char *id, const char *display, const char *spec);
struct str study(struct fix *f, const char *id); /* made; its name */

/* ---- changing */

enum what {
    ASK,
    TELL,
    END,
    END_AS_MEASURED,
    STOP,
    CHECK_STOP,
    DROP,
    ADD,
    REQUEST,
    SPOIL,
    READ,
    REMOVE
};
struct told {
    struct study_change c;
    struct fix *f;
    enum what what;
    uint64_t trial;
    double value;
    int64_t step;
    struct study_ask ask;
    struct study_given given[8];
    size_t nr;
    bool should_stop;
    unsigned answers, decisions;
    enum err_code code;
    char dump[16384];
};

struct told *tell(struct fix *f, struct str name, struct told in);
struct told *ask(struct fix *f, struct str name, const char *client, size_t count);
struct told *done(struct fix *f, struct told *t); /* settled, and answered once */
struct told *must(struct fix *f, struct told *t); /* done, and well */
char *now(struct fix *f, struct str name);        /* state and trials as text */

#endif
