#include "logs/source.h"

#include "logs/entry.h"
#include "logs/locate.h"

#define BLOCK_FIRST 256u /* frames a source is read for at once; doubled up to */
#define BLOCK_MAX 4096u
#define BLOCK_BYTES (8u << 20)
#define CLOCK_LAG (20 * USEC_PER_MSEC) /* a file's time is the kernel's coarse one */

static usec_t later_by(usec_t t, usec_t d) {
    return t < USEC_NEVER - d ? t + d : USEC_NEVER;
}

struct source *source_new(const struct source_rules *r, const char *job_id, const char *dir,
                          const char *task, uint32_t attempt) {
    if (r->task.p && !str_eqc(r->task, task)) {
        return NULL;
    }
    usec_t last, first = seg_first(dir, &last);
    if (first == USEC_NEVER || first > later_by(r->to, GATHER_OWN_USEC) ||
        (r->from > USEC_PER_SEC && last < r->from - USEC_PER_SEC)) {
        return NULL;
    }
    struct source *s = xcalloc(1, sizeof(*s));
    s->job_id = xstrdup(job_id);
    s->task = xstrdup(task);
    s->attempt = attempt;
    s->block = BLOCK_FIRST;
    s->end_time = USEC_NEVER;
    /* A file is written after its lines were stamped. */
    last += CLOCK_LAG;
    s->key = r->descending             ? (last < r->to ? last : r->to)
             : first > GATHER_OWN_USEC ? first - GATHER_OWN_USEC
                                       : 0;
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
    free(s->shown_as);
    free(s->trial);
    free(s->task);
    free(s);
}

/* ---- order */

static void id_of(const struct source *s, const struct captured *c, char ret[INSERT_ID_MAX + 1]) {
    if (c->insert_id.n) {
        snprintf(ret, INSERT_ID_MAX + 1, "%.*s", STR_ARG(c->insert_id));
    } else {
        entry_insert_id(ret, str_of(s->job_id), s->task, s->attempt, c->seq);
    }
}

/* As their entries are listed. Ids that are made grow with the number. */
static bool is_after(const struct source *s, const struct captured *a, const struct captured *b) {
    if (a->time != b->time) {
        return a->time > b->time;
    }
    if (!a->insert_id.n && !b->insert_id.n) {
        return a->seq > b->seq;
    }
    char x[INSERT_ID_MAX + 1], y[INSERT_ID_MAX + 1];
    id_of(s, a, x);
    id_of(s, b, y);
    int cmp = strcmp(x, y);
    return cmp ? cmp > 0 : a->seq > b->seq;
}

/* Items [0, n): nearly sorted as they are, none is further from its place than GATHER_FRAMES. */
static void sort_items(const struct source *s, struct captured *items, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (!is_after(s, &items[i - 1], &items[i])) {
            continue;
        }
        struct captured c = items[i];
        size_t k = i;
        do {
            items[k] = items[k - 1];
            k--;
        } while (k && is_after(s, &items[k - 1], &c));
        items[k] = c;
    }
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

/* What was given goes, the rest stays for the next block. */
static void keep_rest(struct source *s) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    gather_keep(&s->gather, s->end, a);
    arena_free(s->arena);
    s->arena = a;
}

/* Frames from the cursor on, until the one before `enough_seq` was read (whole: and the entries
 * among them are complete), or it was much, or the data ends (*ret_ended). */
static int read_block(struct source *s, uint64_t enough_seq, bool whole, bool *ret_ended,
                      struct err *err) {
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
        bool enough = s->next_seq >= enough_seq || (!whole && bytes > BLOCK_BYTES);
        bool settled = !whole || gather_settled(&s->gather) == s->gather.items.n;
        if (enough && (settled || s->next_seq >= enough_seq + 2 * GATHER_FRAMES)) {
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

static int open_ascending(const struct source_rules *r, struct source *s, struct err *err) {
    uint64_t seq;
    usec_t time;
    if (seg_locate(&s->cursor, LOCATE_TIME, r->from, &seq, &time, err) ||
        (seq > 0 && seek_seq(s, seq, true, err))) {
        return -1;
    }
    s->next_seq = seq > 0 ? s->next_seq : seq;
    restart_gather(r, s);
    return 0;
}

static int fill_ascending(struct source_rules *r, struct source *s, struct err *err) {
    bool ended;
    uint64_t before_and_behind = 0; /* frames that only tell where entries begin, and stand */
    if (s->opened) {
        keep_rest(s);
    } else if (open_ascending(r, s, err)) {
        return -1;
    } else {
        before_and_behind = 2 * GATHER_FRAMES;
    }
    struct gather *g = &s->gather;
    if (read_block(s, s->next_seq + s->block + before_and_behind, false, &ended, err)) {
        return -1;
    }
    s->block = s->block * 2 < BLOCK_MAX ? s->block * 2 : BLOCK_MAX;
    /* What is settled and before everything that is not. */
    size_t settled = gather_settled(g);
    usec_t before = ended ? USEC_NEVER : gather_horizon(g);
    if (ended && (s->cursor.eof_seen || settled == g->items.n ||
                  g->items.p[settled].read + GATHER_USEC <= time_wall())) {
        gather_end(g);
        settled = g->items.n;
    }
    for (size_t i = settled; i < g->items.n; i++) {
        before = g->items.p[i].time < before ? g->items.p[i].time : before;
    }
    s->finished = ended;
    if (ended && settled < g->items.n) { /* what more lines could belong to waits */
        r->blocked = before < r->blocked ? before : r->blocked;
    }
    sort_items(s, g->items.p, settled);
    s->at = s->end = 0;
    while (s->end < settled && (before == USEC_NEVER || g->items.p[s->end].time < before)) {
        s->end++;
    }
    while (s->at < s->end && g->items.p[s->at].time < r->from) {
        s->at++;
    }
    return 0;
}

static int fill_descending(const struct source_rules *r, struct source *s, struct err *err) {
    bool ended;
    if (!s->opened) {
        usec_t time;
        s->end_time = later_by(r->to, 1);
        if (seg_locate(&s->cursor, LOCATE_TIME, s->end_time, &s->next_seq, &time, err)) {
            return -1;
        }
        s->end_seq = s->next_seq + GATHER_FRAMES; /* lines that were read later */
    }
    uint64_t begin = s->next_seq > s->block ? s->next_seq - s->block : 0;
    if (seek_seq(s, begin, true, err)) {
        return -1;
    }
    bool is_first = begin == 0 || s->next_seq > begin; /* what was before it is gone */
    restart_gather(r, s);
    if (read_block(s, s->end_seq, true, &ended, err)) {
        return -1;
    }
    struct gather *g = &s->gather;
    gather_end(g);
    size_t first = 0, n = g->items.n;
    while (n && g->items.p[n - 1].seq >= s->end_seq) {
        n--;
    }
    while (first < n && g->items.p[first].seq < begin) {
        first++;
    }
    /* Lines before `begin` are not after the last of them was read. */
    usec_t after = first ? g->items.p[first - 1].read : 0;
    sort_items(s, g->items.p + first, n - first);
    s->next_seq = s->end_seq = begin;
    for (s->at = first; first && s->at < n && g->items.p[s->at].time <= after; s->at++) {
        uint64_t seq = g->items.p[s->at].seq;
        s->end_seq = seq >= s->end_seq ? seq + 1 : s->end_seq;
    }
    for (s->end = n; s->end > s->at && g->items.p[s->end - 1].time >= s->end_time; s->end--) {
    }
    if (first && after < s->end_time) {
        s->end_time = later_by(after, 1);
    }
    s->finished = is_first || after < r->from;
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
        id_of(s, c, s->id);
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
