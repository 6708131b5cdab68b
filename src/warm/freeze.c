/* Writes the memory of the calling process to a file: a shared object without dependencies, loaded
 * through ctypes by sitecustomize.py into a forked, single-threaded Python (image.h).
 *
 * warm_freeze returns twice: 0 (or -1, with the reason in ask->why) in the process that was
 * written, 1 in every process that thaw.c puts back. Like setjmp it keeps what a call keeps.
 *
 * What belongs into the file is what a fork would have given the child: pages that are not those
 * of their file; the rest is mapped from the same files again. What a fork shares (writable shared
 * memory) cannot be given to several strangers, so it is a reason not to. */
#include "warm/image.h"
#include "warm/raw.h"

#include <asm/errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <linux/ptrace.h>

#define SCRATCH_AT 0x730000000000ull
#define SMAPS_MAX (24ull << 20)
#define PATHS_MAX (4ull << 20)
#define MERGE_PAGES 16 /* a hole of fewer pages is written with its surroundings */
#define PM_PRESENT (1ull << 63)
#define PM_SWAPPED (1ull << 62)
#define PM_FILE (1ull << 61)
#define ARCH_GET_FS 0x1003
#define SIGTRAP 5
#define WALL 0x40000000 /* __WALL */
#define HOT_GAP 1       /* untouched pages between two touched ones that are taken along */

/* All that is needed while writing, in one mapping that is not written itself. */
struct scratch {
    struct warm_map map[WARM_MAX_MAPS];
    struct warm_run run[WARM_MAX_RUNS];
    struct warm_head head;
    uint64_t page[512]; /* of pagemap */
    char paths[PATHS_MAX];
    char smaps[SMAPS_MAX];
};
#define SCRATCH_BYTES ((sizeof(struct scratch) + WARM_PAGE - 1) / WARM_PAGE * WARM_PAGE)

_Static_assert(sizeof(struct warm_head) <= WARM_PAGE, "the head is one page");

struct freezer {
    struct scratch *s;
    struct warm_ask *ask;
    int out, pagemap;
    uint64_t at; /* end of the file so far */
};

struct vma {
    uint64_t start, end, off;
    uint32_t prot;
    int shared;
    const char *name;
    int wipe, dont_copy, special;
};

static int refuse(struct freezer *f, const char *what, const char *which) {
    char *to = f->ask->why, *end = to + sizeof(f->ask->why) - 1;
    for (; *what != 0 && to < end; what++) {
        *to++ = *what;
    }
    for (; *which != 0 && to < end; which++) {
        *to++ = *which;
    }
    *to = 0;
    return -1;
}

/* --- the file ------------------------------------------------------------------------------ */

static int put(struct freezer *f, const void *p, uint64_t n) {
    const char *at = p;
    while (n > 0) {
        long done = RAW4(__NR_pwrite64, f->out, at, n > (1ull << 30) ? 1ull << 30 : n, f->at);
        if (done <= 0) {
            return refuse(f, "the memory could not be written to disk", "");
        }
        at += done;
        f->at += (uint64_t)done;
        n -= (uint64_t)done;
    }
    return 0;
}

static int put_run(struct freezer *f, const struct vma *v, uint64_t start, uint64_t end) {
    struct warm_head *h = &f->s->head;
    if (h->nr_runs == WARM_MAX_RUNS) {
        return refuse(f, "its memory is in too many pieces", "");
    }
    if ((v->prot & PROT_READ) == 0) {
        return refuse(f, "there is memory that it cannot read: ", v->name);
    }
    f->s->run[h->nr_runs++] =
        (struct warm_run){.start = start, .end = end, .off = f->at, .prot = v->prot};
    return put(f, (const void *)start, end - start);
}

/* Pages of the process's own, in runs. */
static int put_pages(struct freezer *f, const struct vma *v) {
    uint64_t run_start = 0, run_end = 0;
    for (uint64_t at = v->start; at < v->end;) {
        uint64_t n = (v->end - at) / WARM_PAGE;
        n = n > 512 ? 512 : n;
        if (RAW4(__NR_pread64, f->pagemap, f->s->page, n * 8, at / WARM_PAGE * 8) !=
            (long)(n * 8)) {
            return refuse(f, "the kernel does not tell about pages", "");
        }
        for (uint64_t i = 0; i < n; i++, at += WARM_PAGE) {
            uint64_t e = f->s->page[i];
            if ((e & PM_SWAPPED) == 0 && (e & (PM_PRESENT | PM_FILE)) != PM_PRESENT) {
                continue;
            }
            if (run_end != 0 && at - run_end > MERGE_PAGES * WARM_PAGE) {
                if (put_run(f, v, run_start, run_end) < 0) {
                    return -1;
                }
                run_end = 0;
            }
            run_start = run_end != 0 ? run_start : at;
            run_end = at + WARM_PAGE;
        }
    }
    return run_end != 0 ? put_run(f, v, run_start, run_end) : 0;
}

/* --- mappings ------------------------------------------------------------------------------ */

static int add_path(struct freezer *f, const char *path, uint32_t *ret) {
    struct warm_head *h = &f->s->head;
    size_t n = raw_len(path) + 1;
    if (h->nr_maps > 0) { /* the parts of one file follow one another */
        uint32_t last = f->s->map[h->nr_maps - 1].path;
        if (last != 0 && raw_same(f->s->paths + last, path, n)) {
            *ret = last;
            return 0;
        }
    }
    if (h->paths_len + n > PATHS_MAX) {
        return refuse(f, "too many files are mapped", "");
    }
    *ret = h->paths_len;
    memcpy(f->s->paths + h->paths_len, path, n);
    h->paths_len += (uint32_t)n;
    return 0;
}

static int describe_file(struct freezer *f, const struct vma *v, struct warm_map *m) {
    struct kstat st;
    size_t n = raw_len(v->name);
    static const char deleted[] = " (deleted)";
    for (size_t i = 0; i < n; i++) {
        if (v->name[i] == '\\') { /* how the kernel writes a newline */
            return refuse(f, "an odd file name is mapped: ", v->name);
        }
    }
    if ((n > sizeof(deleted) &&
         raw_same(v->name + n - sizeof(deleted) + 1, deleted, sizeof(deleted))) ||
        raw_starts(v->name, "/dev/") || raw_starts(v->name, "/proc/") ||
        raw_starts(v->name, "/gcs/") || RAW2(__NR_stat, v->name, &st) < 0 ||
        (st.mode & 0170000) != 0100000) {
        return refuse(f, "something is mapped that is no file of the image: ", v->name);
    }
    m->file_off = v->off;
    m->file_size = st.size;
    m->mtime_sec = (int64_t)st.mtime;
    m->mtime_nsec = (int64_t)st.mtime_nsec;
    return add_path(f, v->name, &m->path);
}

static int add_special(struct freezer *f, const struct vma *v) {
    struct warm_head *h = &f->s->head;
    if (h->nr_specials == WARM_MAX_SPECIALS) {
        return refuse(f, "the kernel has more mappings than expected: ", v->name);
    }
    h->special[h->nr_specials++] = (struct warm_special){v->start, v->end};
    if (raw_starts(v->name, "[vdso]")) {
        h->vdso_off = f->at;
        h->vdso_len = v->end - v->start;
        return put(f, (const void *)v->start, h->vdso_len);
    }
    return 0;
}

static int add_vma(struct freezer *f, const struct vma *v) {
    struct warm_head *h = &f->s->head;
    if (v->dont_copy || raw_starts(v->name, "[vsyscall]") ||
        (v->start >= SCRATCH_AT && v->start < SCRATCH_AT + SCRATCH_BYTES)) {
        return 0;
    }
    if (raw_starts(v->name, "[vdso]") || raw_starts(v->name, "[vvar")) {
        return add_special(f, v);
    }
    if (v->special) {
        return refuse(f, "a device is mapped: ", v->name);
    }
    if (h->nr_maps == WARM_MAX_MAPS) {
        return refuse(f, "it has too many mappings", "");
    }
    struct warm_map m = {.start = v->start, .end = v->end, .prot = v->prot, .kind = WARM_ANON};
    if (raw_starts(v->name, "[stack]")) {
        m.kind = WARM_STACK;
    } else if (v->name[0] == '/') {
        m.kind = v->shared ? WARM_SHARED : WARM_FILE;
        if (describe_file(f, v, &m) < 0) {
            return -1;
        }
    }
    if (v->shared && (m.kind != WARM_SHARED || (v->prot & PROT_WRITE) != 0)) {
        return refuse(f, "it has shared memory: ", v->name);
    }
    m.wipe = (uint32_t)v->wipe;
    f->s->map[h->nr_maps++] = m;
    return m.kind == WARM_SHARED || v->wipe ? 0 : put_pages(f, v);
}

/* One entry of smaps: "START-END PERM OFF DEV INODE   NAME\n", lines of numbers, "VmFlags: …\n".
 * Returns the beginning of the next one. */
static char *parse_vma(char *p, struct vma *ret) {
    const char *q = p;
    struct vma v = {.start = raw_hex(&q)};
    q++;
    v.end = raw_hex(&q);
    q++;
    v.prot = (q[0] == 'r' ? PROT_READ : 0) | (q[1] == 'w' ? PROT_WRITE : 0) |
             (q[2] == 'x' ? PROT_EXEC : 0);
    v.shared = q[3] == 's';
    q += 5;
    v.off = raw_hex(&q);
    for (int blanks = 0; *q != '\n';) { /* device, inode */
        if (*q == ' ') {
            blanks++;
            while (*q == ' ') {
                q++;
            }
            if (blanks == 3) {
                break;
            }
        } else {
            q++;
        }
    }
    v.name = q;
    p = (char *)q;
    while (*p != '\n') {
        p++;
    }
    *p++ = 0;
    while (*p != 0 && !raw_starts(p, "VmFlags:")) {
        while (*p != 0 && *p++ != '\n') {
        }
    }
    for (; *p != 0 && *p != '\n'; p++) {
        v.wipe |= raw_starts(p, " wf") || raw_starts(p, " dp"); /* on fork; under pressure */
        v.dont_copy |= raw_starts(p, " dc");
        v.special |= raw_starts(p, " io") || raw_starts(p, " pf");
    }
    *ret = v;
    return *p == '\n' ? p + 1 : p;
}

static int read_smaps(struct freezer *f) {
    long fd = RAW3(__NR_open, "/proc/self/smaps", O_RDONLY | O_CLOEXEC, 0);
    uint64_t n = 0;
    if (fd < 0) {
        return refuse(f, "/proc/self/smaps cannot be read", "");
    }
    for (;;) {
        long got = RAW3(__NR_read, fd, f->s->smaps + n, SMAPS_MAX - 1 - n);
        if (got <= 0) {
            RAW1(__NR_close, fd);
            return got < 0 || n == SMAPS_MAX - 1 ? refuse(f, "it has too many mappings", "") : 0;
        }
        n += (uint64_t)got;
    }
}

/* --- the thread ---------------------------------------------------------------------------- */

static void describe_thread(struct freezer *f, uint64_t rsp, uint64_t rip) {
    struct warm_head *h = &f->s->head;
    uint32_t r[4];
    h->rsp = rsp;
    h->rip = rip;
    RAW2(__NR_arch_prctl, ARCH_GET_FS, &h->fs_base);
    __asm__ volatile("stmxcsr %0" : "=m"(h->mxcsr));
    uint16_t cw;
    __asm__ volatile("fnstcw %0" : "=m"(cw));
    h->x87_cw = cw;
    RAW4(__NR_rt_sigprocmask, 0, 0, &h->sigmask, 8);
    for (int i = 1; i <= WARM_NSIG; i++) {
        struct {
            uint64_t handler, flags, restorer, mask;
        } sa = {0, 0, 0, 0};
        RAW4(__NR_rt_sigaction, i, 0, &sa, 8);
        h->sig[i - 1] = (struct warm_sigaction){sa.handler, sa.flags, sa.restorer, sa.mask};
    }
    struct {
        uint64_t sp;
        int32_t flags;
        uint64_t size;
    } alt = {0, 0, 0};
    RAW2(__NR_sigaltstack, 0, &alt);
    h->alt_sp = alt.sp;
    h->alt_flags = (uint32_t)alt.flags;
    h->alt_size = alt.size;
    RAW3(__NR_get_robust_list, 0, &h->robust_head, &h->robust_len);
    h->tid_at = h->fs_base + f->ask->tid_off;
    h->brk_at = f->ask->brk_at;
    h->rseq_at = f->ask->rseq_at;
    raw_cpuid(1, r);
    h->cpu.leaf1[0] = r[0];
    h->cpu.leaf1[1] = r[2];
    h->cpu.leaf1[2] = r[3];
    raw_cpuid(7, r);
    h->cpu.leaf7[0] = r[1];
    h->cpu.leaf7[1] = r[2];
    h->cpu.leaf7[2] = r[3];
}

static int write_all(struct freezer *f, uint64_t rsp, uint64_t rip) {
    struct warm_head *h = &f->s->head;
    h->paths_len = 1; /* 0 means none */
    f->at = WARM_PAGE;
    if (read_smaps(f) < 0) {
        return -1;
    }
    describe_thread(f, rsp, rip);
    for (char *p = f->s->smaps; *p != 0;) {
        struct vma v;
        p = parse_vma(p, &v);
        if (add_vma(f, &v) < 0) {
            return -1;
        }
    }
    h->tables_off = f->at;
    if (put(f, f->s->map, h->nr_maps * sizeof(struct warm_map)) < 0 ||
        put(f, f->s->run, h->nr_runs * sizeof(struct warm_run)) < 0 ||
        put(f, f->s->paths, h->paths_len) < 0) {
        return -1;
    }
    h->magic = WARM_MAGIC;
    h->size = f->at;
    f->ask->used_bytes = f->at;
    f->at = 0;
    return put(f, h, sizeof(*h));
}

__attribute__((used)) int warm_freeze_body(struct warm_ask *ask, uint64_t rsp, uint64_t rip) {
    struct freezer f = {.ask = ask, .out = -1, .pagemap = -1};
    long s = RAW6(__NR_mmap, SCRATCH_AT, SCRATCH_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (s != (long)SCRATCH_AT) {
        return refuse(&f, "there is no room to work in", "");
    }
    f.s = (struct scratch *)SCRATCH_AT;
    f.pagemap = (int)RAW3(__NR_open, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
    f.out = (int)RAW3(__NR_open, ask->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int rc = f.pagemap < 0 ? refuse(&f, "/proc/self/pagemap cannot be read", "")
             : f.out < 0   ? refuse(&f, "cannot create ", ask->path)
                           : write_all(&f, rsp, rip);
    RAW1(__NR_close, f.out);
    RAW1(__NR_close, f.pagemap);
    RAW2(__NR_munmap, SCRATCH_AT, SCRATCH_BYTES);
    return rc;
}

/* The frozen process goes on behind the call with 0 or -1; a thawed one comes to `thawed` with this
 * very stack pointer. Everything a caller may rely on is on the stack above it. */
__asm__(".text\n"
        ".globl warm_freeze\n"
        ".type warm_freeze, @function\n"
        "warm_freeze:\n"
        "  push %rbx\n"
        "  push %rbp\n"
        "  push %r12\n"
        "  push %r13\n"
        "  push %r14\n"
        "  push %r15\n"
        "  sub $8, %rsp\n" /* keeps calls aligned */
        "  mov %rsp, %rsi\n"
        "  lea 1f(%rip), %rdx\n"
        "  call warm_freeze_body\n"
        "  jmp 2f\n"
        "1: mov $1, %eax\n"
        "2: add $8, %rsp\n"
        "  pop %r15\n"
        "  pop %r14\n"
        "  pop %r13\n"
        "  pop %r12\n"
        "  pop %rbp\n"
        "  pop %rbx\n"
        "  ret\n"
        ".size warm_freeze, .-warm_freeze\n");

/* The thread pointer. */
__attribute__((visibility("default"))) uint64_t warm_thread(void) {
    uint64_t fs;
    __asm__ volatile("mov %%fs:0, %0" : "=r"(fs));
    return fs;
}

/* A copy of the first words of the thread's control block. */
__attribute__((visibility("default"))) void warm_tcb(uint32_t *to, uint64_t n) {
    memcpy(to, (const void *)warm_thread(), n * 4);
}

/* Where in a thread's control block libc keeps its id: the word that held the process's id in the
 * first process, in its child, and holds it here in the grandchild. 0 when there is none, or more
 * than one (ids in a container are small numbers, like much else). */
__attribute__((visibility("default"))) uint64_t
warm_find_tid(const uint32_t *first, const uint32_t *second, uint64_t n, const uint32_t pid[3]) {
    uint64_t found = 0;
    const uint32_t *is = (const uint32_t *)warm_thread();
    for (uint64_t i = 1; i < n; i++) {
        if (first[i] == pid[0] && second[i] == pid[1] && is[i] == pid[2]) {
            if (found != 0) {
                return 0;
            }
            found = i * 4;
        }
    }
    return found;
}

/* --- the first thawing ------------------------------------------------------------------------ */

/* Also in one mapping. */
struct watch {
    struct warm_head head;
    struct warm_run run[WARM_MAX_RUNS];
    struct warm_hot hot[WARM_MAX_HOT];
    uint64_t page[512];
};
#define WATCH_BYTES ((sizeof(struct watch) + WARM_PAGE - 1) / WARM_PAGE * WARM_PAGE)

/* Pages of one run that are no longer the image's. */
static void find_hot(struct watch *w, int pagemap, const struct warm_run *r) {
    for (uint64_t at = r->start; at < r->end;) {
        uint64_t n = (r->end - at) / WARM_PAGE;
        n = n > 512 ? 512 : n;
        if (RAW4(__NR_pread64, pagemap, w->page, n * 8, at / WARM_PAGE * 8) != (long)(n * 8)) {
            return;
        }
        for (uint64_t i = 0; i < n; i++, at += WARM_PAGE) {
            struct warm_hot *last = w->head.nr_hot > 0 ? &w->hot[w->head.nr_hot - 1] : NULL;
            if ((w->page[i] & PM_SWAPPED) == 0 &&
                (w->page[i] & (PM_PRESENT | PM_FILE)) != PM_PRESENT) {
                continue;
            }
            if (last != NULL && last->start >= r->start && at - last->end <= HOT_GAP * WARM_PAGE) {
                last->end = at + WARM_PAGE;
            } else if (w->head.nr_hot < WARM_MAX_HOT) {
                w->hot[w->head.nr_hot++] = (struct warm_hot){at, at + WARM_PAGE};
            }
        }
    }
}

static char *digits(char *end, uint64_t v) {
    do {
        *--end = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return end;
}

static int open_pagemap(int pid) {
    char path[64], number[24];
    char *first = digits(number + sizeof(number), (uint64_t)pid);
    size_t n = (size_t)(number + sizeof(number) - first);
    memcpy(path, "/proc/", 6);
    memcpy(path + 6, first, n);
    memcpy(path + 6 + n, "/pagemap", 9);
    return (int)RAW3(__NR_open, path, O_RDONLY | O_CLOEXEC, 0);
}

/* The process has ended but for its memory: notes in the image what it wrote. */
static void note_hot(struct watch *w, const char *image, int pid) {
    int fd = (int)RAW3(__NR_open, image, O_RDWR | O_CLOEXEC, 0), pagemap = open_pagemap(pid);
    struct warm_head *h = &w->head;
    if (fd >= 0 && pagemap >= 0 && RAW4(__NR_pread64, fd, h, sizeof(*h), 0) == (long)sizeof(*h) &&
        h->hot_off == 0) {
        uint64_t bytes = h->nr_runs * sizeof(struct warm_run);
        uint64_t from = h->tables_off + h->nr_maps * sizeof(struct warm_map);
        if (RAW4(__NR_pread64, fd, w->run, bytes, from) == (long)bytes) {
            for (uint32_t i = 0; i < h->nr_runs; i++) {
                if ((w->run[i].prot & PROT_WRITE) != 0) {
                    find_hot(w, pagemap, &w->run[i]);
                }
            }
            h->hot_off = (h->size + 15) & ~15ull;
            bytes = h->nr_hot * sizeof(struct warm_hot);
            if (RAW4(__NR_pwrite64, fd, w->hot, bytes, h->hot_off) == (long)bytes) {
                h->size = h->hot_off + bytes;
                RAW4(__NR_pwrite64, fd, h, sizeof(*h), 0);
            }
        }
    }
    RAW1(__NR_close, fd);
    RAW1(__NR_close, pagemap);
}

/* Waits for the first thawing, a child, and looks at its memory before that goes. Without the right
 * to trace it, it is only waited for. Returns the status of wait, or -errno. */
__attribute__((visibility("default"))) int64_t warm_watch(const char *image, int32_t pid) {
    long s = RAW6(__NR_mmap, 0, WATCH_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    long traced =
        s < 0 && s >= -4095 ? s : RAW4(__NR_ptrace, PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT);
    int32_t status = 0;
    long rc;
    for (;;) {
        rc = RAW4(__NR_wait4, pid, &status, traced < 0 ? 0 : WALL, 0);
        if (rc == -EINTR) {
            continue;
        }
        if (rc < 0 || (status & 0xff) != 0x7f) { /* not a stop */
            break;
        }
        int sig = status >> 8 & 0xff, event = status >> 16;
        if (event == PTRACE_EVENT_EXIT) {
            note_hot((struct watch *)s, image, pid);
        }
        RAW4(__NR_ptrace, PTRACE_CONT, pid, 0, event != 0 || sig == SIGTRAP ? 0 : sig);
    }
    RAW2(__NR_munmap, s, WATCH_BYTES);
    return rc < 0 ? rc : status;
}
