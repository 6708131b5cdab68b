#include "logs/gather.h"

void gather_init(struct gather *g, struct arena *a, bool strict) {
    *g = (struct gather){.arena = a, .strict = strict};
    for (int i = 0; i < 2; i++) {
        g->open[i].text = BUF_INIT(2 * GATHER_BYTES);
    }
}

void gather_fini(struct gather *g) {
    vec_fini(&g->items);
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
    return f->time - c->time <= GATHER_USEC && f->seq - c->seq < GATHER_FRAMES &&
           g->open[i].text.n + f->payload.n < GATHER_BYTES && !(f->flags & SEG_PARTIAL) &&
           trace_takes(&g->open[i].trace, f->payload);
}

void gather_add(struct gather *g, const struct seg_frame *f) {
    if (f->stream == SEG_EOF) {
        return;
    }
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
    }
    vec_push(&g->items, c);
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
