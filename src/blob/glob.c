/* Patterns of list's matchGlob: * and ? stay within one '/' part, ** crosses them, [abc] [a-z]
 * [!x], {one,two}. A pattern becomes a small non-deterministic automaton whose states all step at
 * once (a set of bits), so no pattern costs more than its length times the name's. */
#include "blob/blob_int.h"

enum glob_op {
    GLOB_BYTE,  /* one given byte */
    GLOB_ANY,   /* one character that is not '/' */
    GLOB_CLASS, /* one byte of a set */
    GLOB_STAR,  /* any run without '/' */
    GLOB_GLOBE, /* any run */
    GLOB_SPLIT, /* nothing; goes on at next and at alt */
    GLOB_JUMP,  /* nothing; goes on at alt */
    GLOB_END,
};

struct glob_step {
    enum glob_op op;
    unsigned char byte;
    bool negated;
    uint8_t set[32];
    size_t alt;
};

struct glob {
    VEC_OF(struct glob_step) steps;
    bool *now, *then;
};

struct glob_reader {
    struct glob *g;
    struct str p;
    size_t at;
    unsigned depth;
    struct err *err;
};

static int refuse(struct glob_reader *r, const char *why) {
    return err_field(r->err, ERR_INVALID_ARGUMENT, "matchGlob", "Invalid glob pattern: %s", why);
}

static struct glob_step *add(struct glob_reader *r, enum glob_op op) {
    struct glob_step s = {.op = op};
    vec_push(&r->g->steps, s);
    return &r->g->steps.p[r->g->steps.n - 1];
}

static int read_class(struct glob_reader *r) {
    struct glob_step *s = add(r, GLOB_CLASS);
    bool is_first = true;
    if (r->at < r->p.n && (r->p.p[r->at] == '!' || r->p.p[r->at] == '^')) {
        s->negated = true;
        r->at++;
    }
    for (; r->at < r->p.n && (is_first || r->p.p[r->at] != ']'); is_first = false) {
        unsigned char from = (unsigned char)r->p.p[r->at++], to = from;
        if (from >= 0x80) {
            return refuse(r, "only ASCII characters may stand in [...]");
        }
        if (r->at + 1 < r->p.n && r->p.p[r->at] == '-' && r->p.p[r->at + 1] != ']') {
            to = (unsigned char)r->p.p[r->at + 1];
            r->at += 2;
        }
        for (unsigned c = from; c <= to; c++) {
            s->set[c / 8] |= (uint8_t)(1u << c % 8);
        }
    }
    if (r->at >= r->p.n) {
        return refuse(r, "[ without ]");
    }
    r->at++;
    return 0;
}

static int read_sequence(struct glob_reader *r);

/* "{a,b,c}": before each but the last a split to the next; after each but the last a jump to the
 * end. Steps move while they are added, so places are kept as numbers. */
static int read_choice(struct glob_reader *r) {
    VEC_OF(size_t) jumps = {0};
    int result = 0;
    if (++r->depth > 10) {
        return refuse(r, "{ nested deeper than 10");
    }
    for (;;) {
        size_t split = r->g->steps.n;
        add(r, GLOB_SPLIT);
        if (read_sequence(r) < 0) {
            result = -1;
            break;
        }
        if (r->at >= r->p.n) {
            result = refuse(r, "{ without }");
            break;
        }
        bool is_last = r->p.p[r->at++] == '}';
        if (is_last) { /* no other way: both arms of the split are this one */
            r->g->steps.p[split].alt = split + 1;
            break;
        }
        vec_push(&jumps, r->g->steps.n);
        add(r, GLOB_JUMP);
        r->g->steps.p[split].alt = r->g->steps.n;
    }
    for (size_t i = 0; i < jumps.n; i++) {
        r->g->steps.p[jumps.p[i]].alt = r->g->steps.n;
    }
    vec_fini(&jumps);
    r->depth--;
    return result;
}

/* Up to the end, or inside braces to the ',' or '}' that ends this way. */
static int read_sequence(struct glob_reader *r) {
    while (r->at < r->p.n) {
        char c = r->p.p[r->at];
        if (r->depth && (c == ',' || c == '}')) {
            return 0;
        }
        r->at++;
        if (c == '*') {
            bool is_globe = false;
            while (r->at < r->p.n && r->p.p[r->at] == '*') {
                is_globe = true;
                r->at++;
            }
            add(r, is_globe ? GLOB_GLOBE : GLOB_STAR);
        } else if (c == '?') {
            add(r, GLOB_ANY);
        } else if (c == '[') {
            if (read_class(r) < 0) {
                return -1;
            }
        } else if (c == '{') {
            if (read_choice(r) < 0) {
                return -1;
            }
        } else {
            if (c == '\\' && r->at < r->p.n) {
                c = r->p.p[r->at++];
            }
            add(r, GLOB_BYTE)->byte = (unsigned char)c;
        }
    }
    return 0;
}

struct glob *glob_new(struct str pattern, struct err *err) {
    if (pattern.n > GLOB_MAX) {
        err_field(err, ERR_INVALID_ARGUMENT, "matchGlob",
                  "Invalid glob pattern: %zu bytes, %d are the most", pattern.n, GLOB_MAX);
        return NULL;
    }
    struct glob *g = xcalloc(1, sizeof(*g));
    struct glob_reader r = {.g = g, .p = pattern, .err = err};
    if (read_sequence(&r) < 0) {
        glob_free(g);
        return NULL;
    }
    add(&r, GLOB_END);
    g->now = xcalloc(g->steps.n, sizeof(bool));
    g->then = xcalloc(g->steps.n, sizeof(bool));
    return g;
}

void glob_free(struct glob *g) {
    if (g) {
        vec_fini(&g->steps);
        free(g->now);
        free(g->then);
        free(g);
    }
}

/* A state, and all that cost nothing from there. Jumps only lead forward, so this ends. */
static void enter(const struct glob *g, bool *set, size_t i) {
    while (!set[i]) {
        const struct glob_step *s = &g->steps.p[i];
        set[i] = true;
        switch ((int)s->op) {
        case GLOB_SPLIT:
            enter(g, set, s->alt);
            i++;
            break;
        case GLOB_JUMP:
            i = s->alt;
            break;
        case GLOB_STAR:
        case GLOB_GLOBE:
            i++; /* the empty run */
            break;
        default:
            return;
        }
    }
}

static bool takes(const struct glob_step *s, unsigned char c) {
    switch ((int)s->op) {
    case GLOB_BYTE:
        return s->byte == c;
    case GLOB_ANY:
        return c != '/';
    case GLOB_CLASS:
        return c != '/' && ((s->set[c / 8] >> c % 8 & 1) != 0) != s->negated;
    default:
        return false;
    }
}

bool glob_match(struct glob *g, struct str name) {
    size_t n = g->steps.n;
    memset(g->now, 0, n);
    enter(g, g->now, 0);
    for (size_t k = 0; k < name.n; k++) {
        unsigned char c = (unsigned char)name.p[k];
        bool is_tail = (c & 0xc0) == 0x80; /* of a character that '?' or [!x] took as a whole */
        memset(g->then, 0, n);
        for (size_t i = 0; i < n; i++) {
            const struct glob_step *s = &g->steps.p[i];
            if (!g->now[i]) {
                continue;
            }
            if (s->op == GLOB_GLOBE || (s->op == GLOB_STAR && c != '/')) {
                enter(g, g->then, i);
            } else if (takes(s, c)) {
                enter(g, g->then, i + 1);
            }
            if (is_tail && i && !g->then[i] &&
                (g->steps.p[i - 1].op == GLOB_ANY || g->steps.p[i - 1].op == GLOB_CLASS)) {
                enter(g, g->then, i);
            }
        }
        bool *swap = g->now;
        g->now = g->then;
        g->then = swap;
    }
    return g->now[n - 1];
}
