/* Frames of one replica's log into entries: a line each, but a traceback is one. What belongs
 * together depends on the frames alone, so every reader that starts at the same place finds the
 * same entries. One thread. */
#ifndef CUSP_LOGS_GATHER_H
#define CUSP_LOGS_GATHER_H

#include "base/arena.h"
#include "base/vec.h"
#include "logs/recognise.h"
#include "logs/special.h"

/* A traceback ends at these however it goes on. GATHER_FRAMES is also how far before a place a
 * reader starts to find out where entries begin. */
#define GATHER_FRAMES 500u
#define GATHER_BYTES (256u * 1024u)
#define GATHER_USEC USEC_PER_SEC

/* A JSON line may say when it is from (special.h). It is believed as far as it does not lead past
 * more than this long or GATHER_FRAMES lines: then it stands where they end. So a reader knows what
 * can still come before a line, and who streams hears of it in time. */
#define GATHER_OWN_USEC USEC_PER_SEC

struct captured {
    uint64_t seq; /* of its first frame: its identity */
    usec_t time;  /* of its entry */
    usec_t read;  /* when its bytes were read: time, or later */
    bool is_own;  /* the time is the one that the line gives */
    uint32_t frames;
    uint8_t stream, flags; /* as in the first frame */
    bool is_trace, is_object;
    int severity;
    struct str text;      /* bytes as written, in the arena */
    struct str insert_id; /* its own; .n 0: it has none. In the arena, terminated. */
};

struct gather {
    struct arena *arena, *scratch;
    bool strict;
    VEC_OF(struct captured) items; /* by seq */
    usec_t reads[GATHER_FRAMES];   /* of the last frames, a ring */
    uint64_t nr_frames;
    struct {
        bool on;
        size_t item;
        struct trace_state trace;
        struct buf text;
    } open[2]; /* stdout, stderr */
};

/* The arena outlives the items. */
void gather_init(struct gather *g, struct arena *a, bool strict);
void gather_fini(struct gather *g);
void gather_add(struct gather *g, const struct seg_frame *f);
/* Whatever frames are added: no new item is of a time before this. */
usec_t gather_horizon(const struct gather *g);
/* Forgets the items before `from` (none of them open), and moves the others to another arena. */
void gather_keep(struct gather *g, size_t from, struct arena *a);
/* Ends what is open. */
void gather_end(struct gather *g);
/* Index of the first item that more frames could add to; items.n when none. */
size_t gather_settled(const struct gather *g);

#endif
