/* Any bytes as captured lines (a line of input each; the first byte's lowest bit is the stream):
 * severities exist, texts come from the line, every frame is in exactly one entry, and entries are
 * messages that JSON can show. */
#include "logs/entry.h"
#include "pb/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct arena *a, struct str in, bool strict) {
    struct gather g;
    struct seg_frame f = {0};
    uint64_t frames = 0;
    gather_init(&g, a, strict);
    while (in.p) {
        struct str line = str_cut(&in, '\n');
        f.stream = line.n && line.p[0] & 1 ? SEG_STDERR : SEG_STDOUT;
        f.payload = str_sub(line, 1, line.n);
        f.time += 1000;
        gather_add(&g, &f);
        f.seq++;
    }
    CHECK(gather_settled(&g) <= g.items.n);
    gather_end(&g);
    struct arena *scratch = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(64 << 20);
    for (size_t i = 0; i < g.items.n; i++) {
        const struct captured *c = &g.items.p[i];
        struct entry_origin o = {.project = STR("p"),
                                 .job_id = STR("7"),
                                 .task = "workerpool0-0",
                                 .attempt = 1,
                                 .strict = strict};
        arena_clear(scratch);
        buf_clear(&b);
        CHECK(i == 0 || c->seq > g.items.p[i - 1].seq);
        CHECK(c->severity >= SEVERITY_DEFAULT && c->severity <= SEVERITY_EMERGENCY);
        Google__Logging__V2__LogEntry *e = entry_make(scratch, &o, c);
        CHECK(e && pb_to_json(&e->base, NULL, &b, NULL) == 0 && str_is_utf8(buf_str(&b)));
        frames += c->frames;
    }
    CHECK(frames == f.seq);
    arena_free(scratch);
    gather_fini(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    read_all(a, str_n((const char *)data, size), false);
    read_all(a, str_n((const char *)data, size), true);
    arena_free(a);
    return 0;
}
