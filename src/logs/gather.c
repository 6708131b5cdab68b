#include "logs/gather.h"

void gather_init(struct gather *g, struct arena *a, bool strict) {
    *g = (struct gather){.arena = a, .strict = strict};
    for (int i = 0; i < 2; i++) {
        g->open[i].text = BUF_INIT(2 * GATHER_BYTES);
    }
}

void gather_fini(struct gather *g) {
    vec_fini(&g->items);
    arena_free(g->scratch);
    for (int i = 0; i < 2; i++) {
        buf_fini(&g->open[i].text);
    }
}

static void close_open(struct gather *g, int i) {
    if (g->open[i].on) {
        struct str text = buf_str(&g->open[i].text);
        while (text.n && text.p[text.n - 1] == '\n') { /* blank lines taken in vain */
            text.n--;
        }
        g->items.p[g->open[i].item].text = arena_str(g->arena, text);
        g->open[i].on = false;
    }
}

static bool goes_on(struct gather *g, int i, const struct seg_frame *f) {
    if (!g->open[i].on) {
        return false;
    }
    struct captured *c = &g->items.p[g->open[i].item];
    return f->time - c->read <= GATHER_USEC && f->seq - c->seq < GATHER_FRAMES &&
           g->open[i].text.n + f->payload.n < GATHER_BYTES && !(f->flags & SEG_PARTIAL) &&
           trace_takes(&g->open[i].trace, f->payload);
}

/* ---- where lines stand */

static usec_t sooner_by(usec_t t, usec_t d) {
    return t > d ? t - d : 0;
}

/* When the GATHER_FRAMES-th frame before the next one was read; 0: there is none. */
static usec_t frames_ago(const struct gather *g) {
    return g->nr_frames < GATHER_FRAMES ? 0 : g->reads[g->nr_frames % GATHER_FRAMES];
}

usec_t gather_horizon(const struct gather *g) {
    if (!g->nr_frames) {
        return 0;
    }
    usec_t last = sooner_by(g->reads[(g->nr_frames - 1) % GATHER_FRAMES], GATHER_OWN_USEC);
    usec_t ago = frames_ago(g);
    return ago > last ? ago : last;
}

/* Called before the frame is counted. */
static void place(struct gather *g, struct captured *c) {
    struct special_place own;
    g->scratch = g->scratch ? g->scratch : arena_new(ARENA_NO_MAX);
    arena_clear(g->scratch);
    special_place(g->scratch, c->text, &own);
    c->insert_id = own.insert_id.n ? arena_str(g->arena, own.insert_id) : (struct str){0};
    if (own.has_time) {
        usec_t first = sooner_by(c->read, GATHER_OWN_USEC), ago = frames_ago(g);
        first = ago > first ? ago : first;
        c->time = own.time > c->read ? c->read : own.time < first ? first : own.time;
        c->is_own = c->time == own.time;
    }
}

static void count_frame(struct gather *g, const struct seg_frame *f) {
    g->reads[g->nr_frames++ % GATHER_FRAMES] = f->time;
}

void gather_keep(struct gather *g, size_t from, struct arena *a) {
    g->items.n -= from;
    memmove(g->items.p, g->items.p + from, g->items.n * sizeof(*g->items.p));
    for (size_t i = 0; i < g->items.n; i++) {
        struct captured *c = &g->items.p[i];
        c->text = c->text.n ? arena_str(a, c->text) : c->text;
        c->insert_id = c->insert_id.n ? arena_str(a, c->insert_id) : c->insert_id;
    }
    for (int i = 0; i < 2; i++) {
        g->open[i].item -= g->open[i].on ? from : 0;
    }
    g->arena = a;
}

/* ---- lines */

static void add_line(struct gather *g, const struct seg_frame *f) {
    int i = f->stream == SEG_STDERR;
    bool is_program = f->stream == SEG_STDOUT || f->stream == SEG_STDERR;
    if (is_program && goes_on(g, i, f)) {
        g->items.p[g->open[i].item].frames++;
        (void)buf_putc(&g->open[i].text, '\n'); /* goes_on left room */
        (void)buf_put_str(&g->open[i].text, f->payload);
        return;
    }
    struct captured c = {.seq = f->seq,
                         .time = f->time,
                         .read = f->time,
                         .frames = 1,
                         .stream = f->stream,
                         .flags = f->flags,
                         .severity = (f->flags >> SEG_SEV_SHIFT) * 100};
    if (!is_program) {
        c.text = arena_str(g->arena, f->payload);
        vec_push(&g->items, c);
        return;
    }
    close_open(g, i);
    struct recognised r;
    recognise_line(f->payload, f->stream, g->strict, &r);
    c.severity = r.severity;
    c.is_object = r.is_object;
    if (!g->strict && !(f->flags & SEG_PARTIAL) && trace_opens(&g->open[i].trace, f->payload)) {
        c.is_trace = true;
        c.severity = SEVERITY_ERROR;
        g->open[i].on = true;
        g->open[i].item = g->items.n;
        buf_clear(&g->open[i].text);
        (void)buf_put_str(&g->open[i].text, f->payload);
    } else {
        c.text = arena_str(g->arena, r.text);
        if (c.is_object) {
            place(g, &c);
        }
    }
    vec_push(&g->items, c);
}

void gather_add(struct gather *g, const struct seg_frame *f) {
    if (f->stream != SEG_EOF) {
        add_line(g, f);
        count_frame(g, f);
    }
}

void gather_end(struct gather *g) {
    close_open(g, 0);
    close_open(g, 1);
}

size_t gather_settled(const struct gather *g) {
    size_t n = g->items.n;
    for (int i = 0; i < 2; i++) {
        if (g->open[i].on && g->open[i].item < n) {
            n = g->open[i].item;
        }
    }
    return n;
}
