#include "logs/source.h"

#include "logs/entry.h"
#include "logs/locate.h"

#define BLOCK_FIRST 256u /* frames a source is read for at once; doubled up to */
#define BLOCK_MAX 4096u
#define BLOCK_BYTES (8u << 20)
#define CLOCK_LAG (20 * USEC_PER_MSEC) /* a file's time is the kernel's coarse one */

struct source *source_new(const struct source_rules *r, const char *job_id, const char *dir,
                          const char *task, uint32_t attempt) {
    if (r->task.p && !str_eqc(r->task, task)) {
        return NULL;
    }
    usec_t last, first = seg_first(dir, &last);
    if (first == USEC_NEVER || first > r->to ||
        (r->from > USEC_PER_SEC && last < r->from - USEC_PER_SEC)) {
        return NULL;
    }
    struct source *s = xcalloc(1, sizeof(*s));
    s->job_id = xstrdup(job_id);
    s->task = xstrdup(task);
    s->attempt = attempt;
    s->block = BLOCK_FIRST;
    /* A file is written after its lines were stamped. */
    last += CLOCK_LAG;
    s->key = !r->descending ? first : last < r->to ? last : r->to;
    seg_cursor_init(&s->cursor, dir);
    return s;
}

void source_free(struct source *s) {
    if (s->opened) {
        gather_fini(&s->gather);
    }
    arena_free(s->arena);
    seg_cursor_fini(&s->cursor);
    free(s->job_id);
    free(s->task);
    free(s);
}

/* ---- blocks */

static void restart_gather(const struct source_rules *r, struct source *s) {
    if (s->opened) {
        gather_fini(&s->gather);
    }
    arena_free(s->arena);
    s->arena = arena_new(ARENA_NO_MAX);
    gather_init(&s->gather, s->arena, r->strict);
    s->opened = true;
}

/* Frames from the cursor on until `enough` of them begin and all entries among them are complete,
 * or the data ends (*ret_ended). stop_seq: no entry that begins there or later is wanted. */
static int read_block(struct source *s, uint64_t enough_seq, bool *ret_ended, struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    size_t bytes = 0;
    *ret_ended = false;
    for (;;) {
        buf_clear(&b);
        if (seg_cursor_read(&s->cursor, &b, 1, err)) {
            return -1;
        }
        struct str rest = buf_str(&b);
        struct seg_frame f;
        ssize_t n;
        if (!rest.n) {
            *ret_ended = true;
            return 0;
        }
        bytes += rest.n;
        while (rest.n && (n = seg_decode(rest, &f)) > 0) {
            gather_add(&s->gather, &f);
            s->next_seq = f.seq + 1;
            rest = str_sub(rest, (size_t)n, rest.n);
        }
        bool settled = gather_settled(&s->gather) == s->gather.items.n;
        if ((s->next_seq >= enough_seq || bytes > BLOCK_BYTES) &&
            (settled || s->next_seq >= enough_seq + 2 * GATHER_FRAMES)) {
            return 0;
        }
    }
}

/* The cursor to frame `seq`, or where entries can be told apart before it. */
static int seek_seq(struct source *s, uint64_t seq, bool back_off, struct err *err) {
    usec_t time;
    uint64_t from = !back_off ? seq : seq > GATHER_FRAMES ? seq - GATHER_FRAMES : 0;
    return seg_locate(&s->cursor, LOCATE_SEQ, from, &s->next_seq, &time, err);
}

static int fill_ascending(struct source_rules *r, struct source *s, struct err *err) {
    bool ended;
    uint64_t seq;
    usec_t time;
    if (!s->opened) {
        if (seg_locate(&s->cursor, LOCATE_TIME, r->from, &seq, &time, err) ||
            (seq > 0 && seek_seq(s, seq, true, err))) {
            return -1;
        }
        s->next_seq = seq;
    } else if (s->relocate && seek_seq(s, s->next_seq, false, err)) {
        return -1;
    }
    restart_gather(r, s);
    if (read_block(s, s->next_seq + s->block, &ended, err)) {
        return -1;
    }
    s->block = s->block * 2 < BLOCK_MAX ? s->block * 2 : BLOCK_MAX;
    size_t settled = gather_settled(&s->gather);
    s->relocate = false;
    if (ended) {
        /* What more lines could belong to waits until they cannot any more. */
        if (!s->cursor.eof_seen && settled < s->gather.items.n &&
            s->gather.items.p[settled].time + GATHER_USEC > time_wall()) {
            usec_t t = s->gather.items.p[settled].time;
            r->blocked = t < r->blocked ? t : r->blocked;
        } else {
            settled = s->gather.items.n;
        }
        s->finished = true;
    } else if (settled < s->gather.items.n) {
        s->next_seq = s->gather.items.p[settled].seq;
        s->relocate = true;
    }
    gather_end(&s->gather);
    s->at = 0;
    s->end = settled;
    while (s->at < s->end && s->gather.items.p[s->at].time < r->from) {
        s->at++;
    }
    return 0;
}

static int fill_descending(const struct source_rules *r, struct source *s, struct err *err) {
    bool ended;
    usec_t time;
    if (!s->opened) {
        usec_t to = r->to < UINT64_MAX - 1 ? r->to + 1 : UINT64_MAX;
        if (seg_locate(&s->cursor, LOCATE_TIME, to, &s->next_seq, &time, err)) {
            return -1;
        }
    }
    uint64_t end = s->next_seq, begin = end > s->block ? end - s->block : 0;
    if (seek_seq(s, begin, true, err)) {
        return -1;
    }
    bool is_first = s->next_seq > begin; /* what was before it is gone */
    restart_gather(r, s);
    if (end > 0 && read_block(s, end, &ended, err)) {
        return -1;
    }
    gather_end(&s->gather);
    s->at = 0;
    s->end = s->gather.items.n;
    while (s->end && s->gather.items.p[s->end - 1].seq >= end) {
        s->end--;
    }
    while (s->at < s->end && s->gather.items.p[s->at].seq < begin) {
        s->at++;
    }
    s->next_seq = begin;
    s->finished =
        begin == 0 || is_first || (s->at < s->end && s->gather.items.p[s->at].time < r->from);
    s->block = s->block * 2 < BLOCK_MAX ? s->block * 2 : BLOCK_MAX;
    return 0;
}

/* ---- heads */

const struct captured *source_head(const struct source_rules *r, const struct source *s) {
    return &s->gather.items.p[r->descending ? s->end - 1 : s->at];
}

static void set_head(const struct source_rules *r, struct source *s) {
    if (source_has_head(s)) {
        const struct captured *c = source_head(r, s);
        s->key = c->time;
        entry_insert_id(s->id, str_of(s->job_id), s->task, s->attempt, c->seq);
    }
}

int source_fill(struct source_rules *r, struct source *s, struct err *err) {
    while (!s->opened || (s->at == s->end && !s->finished)) {
        if (r->descending ? fill_descending(r, s, err) : fill_ascending(r, s, err)) {
            return -1;
        }
    }
    set_head(r, s);
    return 0;
}

void source_drop_head(const struct source_rules *r, struct source *s) {
    if (r->descending) {
        s->end--;
    } else {
        s->at++;
    }
    set_head(r, s);
}
