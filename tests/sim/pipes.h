/* Training pipelines in the simulated world: exports, seals and uploads that take their time, fail,
 * and go down with the server. */
#ifndef CUSP_TESTS_PIPES_H
#define CUSP_TESTS_PIPES_H

#include "ctl/pipeline_int.h"
#include "tunes.h"

/* Of struct pipe_wish: what one kind of work is to come to. */
enum pipe_mischief { PIPE_WORKS = 0, PIPE_FAILS, PIPE_PASSES /* fails once, in passing */ };

struct pipe_wish {
    bool has_input, has_upload, is_tuned;
    struct wish child;
    struct tune_wish tune; /* the child, when is_tuned */
    enum pipe_mischief export_ends, seal_ends, upload_ends;
    uint32_t work_ms; /* each piece of work takes so long */
};

/* What the users of the world know of one pipeline. */
struct sim_pipe {
    struct sim_parent base;
    struct pipe_wish wish;
    unsigned versions;     /* model versions that were ever tried: PARENT/models/ID@1, @2, ... */
    bool passed;           /* its passing failure has been */
    struct list works;     /* struct pipe_work under way */
    struct sim_tune *tune; /* its child, when is_tuned */
};

void pipes_init(struct world *w);
void pipes_fini(struct world *w);
/* The server is gone, and with it what worked for it. */
void pipes_crash(struct world *w);

size_t world_create_pipe(struct world *w, const struct pipe_wish *wish);
void world_cancel_pipe(struct world *w, size_t pipe);
void world_delete_pipe(struct world *w, size_t pipe);
void pipes_note(struct world *w, const struct sim_call *c, const struct err *err);

const struct store_row *world_pipe_row(struct world *w, size_t pipe);
/* UNSPECIFIED when there is no row; strings live in a. */
void world_pipe_status(struct world *w, size_t pipe, struct arena *a, struct pipeline_status *ret);
/* How many versions its model has in the store. */
unsigned world_pipe_versions(struct world *w, size_t pipe);
const char *pipes_invariant(struct world *w);
const char *pipes_final(struct world *w);

#endif
