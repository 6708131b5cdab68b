/* The first program of a warm trial's container: becomes the frozen Python of WARM_IMAGE, or runs
 * the command it was given as if it had never been there. A static program without libc, linked far
 * away from everything an ordinary process maps.
 *
 * `thaw COMMAND...` first executes itself again with COMMAND as its own command line, so that
 * /proc/self/cmdline, which the thawed Python reads its arguments from, is that of a cold start; it
 * knows by the name it was executed as ("/.cusp/warm/./thaw"). The addresses that the kernel chose
 * for this process's stack may be taken in the frozen one: then it executes itself once more.
 *
 * Everything that can fail is done before the first page of the old process is touched by anybody;
 * until the jump at the end a cold start is one execve away. */
#include "warm/image.h"
#include "warm/raw.h"

#include <asm/errno.h>
#include <fcntl.h>
#include <linux/auxvec.h>
#include <linux/mman.h>

#define TRIES 16
#define ARCH_SET_FS 0x1002
#define PR_SET_NAME 15
#define RLIMIT_STACK 3
#define RSEQ_SIG 0x53053053u
#define RSEQ_LEN 32
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define STACK_DEFAULT (8ull << 20)
#define STACK_GAP (1ull << 20) /* the kernel's guard below a growing stack */
#define MAPS_MAX 16384
#define PATH_MAX_BYTES 4096

struct own {
    struct warm_special stack, special[WARM_MAX_SPECIALS], vdso;
    uint32_t nr_specials;
};

static struct warm_head head;
static struct own own;
static char maps_text[MAPS_MAX], path_buf[PATH_MAX_BYTES], page[WARM_PAGE];

/* --- the way out: a cold start ------------------------------------------------------------- */

static void say(const char *text) {
    RAW3(__NR_write, 2, text, raw_len(text));
}

static char *add(char *to, const char *text, size_t n) {
    size_t room = (size_t)(path_buf + sizeof(path_buf) - 1 - to);
    n = n < room ? n : room;
    memcpy(to, text, n);
    to[n] = 0;
    return to + n;
}

/* On stderr for who looks on, in a file for the server, which counts and explains starts. */
static void explain(const char *why) {
    say("cusp: no warm start: ");
    say(why);
    say("; starting cold\n");
    long fd =
        RAW3(__NR_open, WARM_COLD, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0) {
        RAW3(__NR_write, fd, why, raw_len(why));
        RAW1(__NR_close, fd);
    }
}

/* Looks a command up as a runtime does. */
static void cold_start(char **argv, char **envp) {
    const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (char **e = envp; *e != NULL; e++) {
        if (raw_starts(*e, WARM_CHECK "=")) {
            RAW1(__NR_exit_group, WARM_CHECK_COLD);
        }
        if (raw_starts(*e, "PATH=")) {
            path = *e + 5;
        }
    }
    for (const char *c = argv[0]; *c != 0; c++) {
        if (*c == '/') {
            RAW3(__NR_execve, argv[0], argv, envp);
            path = "";
            break;
        }
    }
    while (*path != 0) {
        const char *end = path;
        while (*end != 0 && *end != ':') {
            end++;
        }
        char *to = add(path_buf, path, (size_t)(end - path));
        to = add(to, "/", 1);
        (void)add(to, argv[0], raw_len(argv[0]));
        RAW3(__NR_execve, path_buf, argv, envp);
        path = *end != 0 ? end + 1 : end;
    }
    say("cusp: ");
    say(argv[0]);
    say(": cannot be executed\n");
    RAW1(__NR_exit_group, 127);
}

/* --- what there is before ------------------------------------------------------------------ */

static const char *read_own(void) {
    long fd = RAW3(__NR_open, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    size_t n = 0;
    for (long got = 1; fd >= 0 && got > 0 && n < sizeof(maps_text) - 1;) {
        got = RAW3(__NR_read, fd, maps_text + n, sizeof(maps_text) - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    RAW1(__NR_close, fd);
    for (const char *p = maps_text; *p != 0;) {
        struct warm_special s = {.start = raw_hex(&p)};
        p++;
        s.end = raw_hex(&p);
        for (; *p != '\n' && *p != 0; p++) {
            if (raw_starts(p, "[stack]")) {
                own.stack = s;
            } else if ((raw_starts(p, "[vdso]") || raw_starts(p, "[vvar")) &&
                       own.nr_specials < WARM_MAX_SPECIALS) {
                own.special[own.nr_specials++] = s;
                if (raw_starts(p, "[vdso]")) {
                    own.vdso = s;
                }
            }
        }
        p += *p == '\n';
    }
    return own.stack.end == 0 ? "/proc/self/maps cannot be read" : NULL;
}

static int overlap(const struct warm_special *a, const struct warm_special *b) {
    return a->start < b->end && b->start < a->end;
}

static int hot_fits(void) {
    return head.hot_off == 0 || (head.nr_hot <= WARM_MAX_HOT && head.hot_off >= head.tables_off &&
                                 head.hot_off <= head.size &&
                                 head.size - head.hot_off >= head.nr_hot * sizeof(struct warm_hot));
}

static const char *check_head(long fd) {
    uint32_t r[4], s[4];
    if (RAW4(__NR_pread64, fd, &head, sizeof(head), 0) != sizeof(head) ||
        head.magic != WARM_MAGIC || RAW3(__NR_lseek, fd, 0, 2 /* SEEK_END */) != (long)head.size ||
        head.nr_maps > WARM_MAX_MAPS || head.nr_runs > WARM_MAX_RUNS ||
        head.nr_specials > WARM_MAX_SPECIALS || !hot_fits()) {
        return "the memory image is damaged";
    }
    raw_cpuid(1, r);
    raw_cpuid(7, s);
    const struct warm_cpu now = {{r[0], r[2], r[3]}, {s[1], s[2], s[3]}};
    return raw_same(&now, &head.cpu, sizeof(now)) ? NULL : "another processor";
}

static const char *check_kernel(long fd) {
    if (own.nr_specials != head.nr_specials || own.vdso.end - own.vdso.start != head.vdso_len) {
        return "another kernel";
    }
    for (uint32_t i = 0; i < head.nr_specials; i++) {
        if (own.special[i].end - own.special[i].start !=
            head.special[i].end - head.special[i].start) {
            return "another kernel";
        }
    }
    for (uint64_t at = 0; at < head.vdso_len; at += WARM_PAGE) {
        if (RAW4(__NR_pread64, fd, page, WARM_PAGE, head.vdso_off + at) != WARM_PAGE ||
            !raw_same(page, (const void *)(own.vdso.start + at), WARM_PAGE)) {
            return "another kernel";
        }
    }
    return NULL;
}

/* --- becoming ------------------------------------------------------------------------------ */

static const char taken[] = "addresses are taken"; /* the one reason to try again */

/* First aside, then to their places, which may be where they were. */
static const char *move_specials(void) {
    for (uint32_t i = 0; i < own.nr_specials; i++) {
        struct warm_special park = {WARM_PARK_AT + (own.special[i].start - own.special[0].start),
                                    0};
        if (overlap(&head.special[i], &own.stack)) {
            return taken;
        }
        if (RAW5(__NR_mremap, own.special[i].start, own.special[i].end - own.special[i].start,
                 own.special[i].end - own.special[i].start, MREMAP_MAYMOVE | MREMAP_FIXED,
                 park.start) != (long)park.start) {
            return "the kernel does not let its own pages be moved";
        }
    }
    for (uint32_t i = 0; i < own.nr_specials; i++) {
        uint64_t from = WARM_PARK_AT + (own.special[i].start - own.special[0].start);
        uint64_t n = own.special[i].end - own.special[i].start;
        if (RAW5(__NR_mremap, from, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, head.special[i].start) !=
            (long)head.special[i].start) {
            return "the kernel does not let its own pages be moved";
        }
    }
    return NULL;
}

static const char *map_at(uint64_t start, uint64_t end, uint32_t prot, uint64_t flags, long fd,
                          uint64_t off) {
    long got = RAW6(__NR_mmap, start, end - start, prot, flags | MAP_FIXED_NOREPLACE, fd, off);
    if (got == (long)start) {
        return NULL;
    }
    if (got > 0 || got < -4095) { /* a kernel that takes it for a hint */
        RAW2(__NR_munmap, got, end - start);
        return taken;
    }
    return got == -EEXIST ? taken : "memory cannot be mapped";
}

/* The one place below it that a deep recursion may still grow into. */
static const char *map_stack_room(const struct warm_map *m, uint64_t floor) {
    struct {
        uint64_t soft, hard;
    } limit = {0, 0};
    RAW2(__NR_getrlimit, RLIMIT_STACK, &limit);
    uint64_t size = limit.soft == 0 || limit.soft > (1ull << 32) ? STACK_DEFAULT : limit.soft;
    uint64_t start = (m->end - size) & ~(WARM_PAGE - 1);
    start = start < floor + STACK_GAP ? floor + STACK_GAP : start;
    return start >= m->start ? NULL
                             : map_at(start, m->start, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static const char *map_file(const struct warm_map *m, const char *paths, long *fd,
                            uint32_t *fd_path) {
    struct kstat st;
    if (*fd_path != m->path) {
        RAW1(__NR_close, *fd);
        *fd = RAW3(__NR_open, paths + m->path, O_RDONLY | O_CLOEXEC, 0);
        *fd_path = m->path;
    }
    if (*fd < 0 || RAW2(__NR_fstat, *fd, &st) < 0 || st.size != m->file_size ||
        (int64_t)st.mtime != m->mtime_sec || (int64_t)st.mtime_nsec != m->mtime_nsec) {
        return "a file of the image has changed";
    }
    return map_at(m->start, m->end, m->prot, m->kind == WARM_SHARED ? MAP_SHARED : MAP_PRIVATE, *fd,
                  m->file_off);
}

static const char *map_all(long image) {
    const struct warm_map *m = (const struct warm_map *)WARM_TABLE_AT;
    const struct warm_run *r = (const struct warm_run *)(m + head.nr_maps);
    const char *paths = (const char *)(r + head.nr_runs), *why = NULL;
    long fd = -1;
    uint32_t fd_path = 0;
    for (uint32_t i = 0; i < head.nr_maps && why == NULL; i++) {
        if (m[i].kind == WARM_FILE || m[i].kind == WARM_SHARED) {
            why = map_file(&m[i], paths, &fd, &fd_path);
            continue;
        }
        if (m[i].kind == WARM_STACK) {
            why = map_stack_room(&m[i], i > 0 ? m[i - 1].end : 0);
        }
        uint64_t lazy = m[i].prot == PROT_NONE ? MAP_NORESERVE : 0;
        if (why == NULL) {
            why =
                map_at(m[i].start, m[i].end, m[i].prot, MAP_PRIVATE | MAP_ANONYMOUS | lazy, -1, 0);
        }
        if (why == NULL && m[i].wipe) {
            RAW3(__NR_madvise, m[i].start, m[i].end - m[i].start, MADV_WIPEONFORK);
        }
    }
    RAW1(__NR_close, fd);
    for (uint32_t i = 0; i < head.nr_runs && why == NULL; i++) {
        long got = RAW6(__NR_mmap, r[i].start, r[i].end - r[i].start, r[i].prot,
                        MAP_PRIVATE | MAP_FIXED, image, r[i].off);
        why = got == (long)r[i].start ? NULL : "memory cannot be mapped";
    }
    return why;
}

/* Pages that any run writes. A kernel that does not know how (before 5.14) leaves them to faults.
 */
static void fill_hot(void) {
    const struct warm_hot *h =
        (const struct warm_hot *)(WARM_TABLE_AT + head.hot_off - head.tables_off);
    for (uint64_t i = 0; head.hot_off != 0 && i < head.nr_hot; i++) {
        if (RAW3(__NR_madvise, h[i].start, h[i].end - h[i].start, MADV_POPULATE_WRITE) == -EINVAL) {
            return;
        }
    }
}

/* What the kernel keeps about the thread, and what libc believes of the kernel. */
static void restore_thread(const char *name) {
    long tid = RAW1(__NR_set_tid_address, head.tid_at);
    *(uint32_t *)head.tid_at = (uint32_t)tid;
    if (head.brk_at != 0) {
        *(uint64_t *)head.brk_at = (uint64_t)RAW1(__NR_brk, 0);
    }
    RAW2(__NR_set_robust_list, head.robust_head, head.robust_len);
    for (int i = 1; i <= WARM_NSIG; i++) {
        const struct warm_sigaction *s = &head.sig[i - 1];
        if (s->handler != 0) {
            RAW4(__NR_rt_sigaction, i, s, 0, 8);
        }
    }
    struct {
        uint64_t sp;
        int32_t flags;
        uint64_t size;
    } alt = {head.alt_sp, (int32_t)head.alt_flags, head.alt_size};
    if ((alt.flags & 2 /* SS_DISABLE */) == 0) {
        RAW2(__NR_sigaltstack, &alt, 0);
    }
    RAW2(__NR_arch_prctl, ARCH_SET_FS, head.fs_base);
    if (head.rseq_at != 0 && RAW4(__NR_rseq, head.rseq_at, RSEQ_LEN, 0, RSEQ_SIG) < 0) {
        ((int32_t *)head.rseq_at)[1] = -1; /* cpu_id: not registered, ask the kernel */
    }
    for (const char *c = name; *c != 0; c++) {
        name = *c == '/' ? c + 1 : name;
    }
    RAW2(__NR_prctl, PR_SET_NAME, name);
    RAW4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &head.sigmask, 0, 8);
}

static const char *thaw(const char *name) {
    long fd = RAW3(__NR_open, WARM_IMAGE, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return "there is no memory image";
    }
    const char *why = check_head(fd);
    why = why != NULL ? why : read_own();
    why = why != NULL ? why : check_kernel(fd);
    uint64_t tables = head.size - head.tables_off;
    if (why == NULL && RAW6(__NR_mmap, WARM_TABLE_AT, tables, PROT_READ,
                            MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, head.tables_off) < 0) {
        why = "the memory image is damaged";
    }
    why = why != NULL ? why : move_specials();
    why = why != NULL ? why : map_all(fd);
    if (why != NULL) {
        return why;
    }
    fill_hot();
    RAW1(__NR_close, fd);
    RAW2(__NR_munmap, WARM_TABLE_AT, tables);
    restore_thread(name);
    uint32_t mxcsr = head.mxcsr;
    uint16_t cw = (uint16_t)head.x87_cw;
    __asm__ volatile("ldmxcsr %0\n"
                     "fldcw %1\n"
                     "mov %2, %%rsp\n"
                     "jmp *%3\n"
                     :
                     : "m"(mxcsr), "m"(cw), "r"(head.rsp), "r"(head.rip));
    __builtin_unreachable();
}

/* --- the beginning ------------------------------------------------------------------------- */

static void execute_again(uint64_t times, char **argv, char **envp) {
    char *to = add(path_buf, WARM_DIR "/", sizeof(WARM_DIR));
    for (uint64_t i = 0; i < times; i++) {
        to = add(to, "./", 2);
    }
    (void)add(to, "thaw", 4);
    RAW3(__NR_execve, path_buf, argv, envp);
}

__attribute__((used)) void thaw_main(uint64_t *sp) {
    uint64_t argc = sp[0];
    char **argv = (char **)(sp + 1), **envp = argv + argc + 1, **e = envp;
    while (*e != NULL) {
        e++;
    }
    const char *name = NULL;
    for (uint64_t *aux = (uint64_t *)(e + 1); aux[0] != AT_NULL; aux += 2) {
        if (aux[0] == AT_EXECFN) {
            name = (const char *)aux[1];
        }
    }
    uint64_t times = name == NULL || raw_len(name) < sizeof(WARM_THAW) - 1
                         ? 0
                         : (raw_len(name) - (sizeof(WARM_THAW) - 1)) / 2;
    if (times == 0) {
        if (argc < 2) {
            say("cusp: thaw COMMAND...\n");
            RAW1(__NR_exit_group, 2);
        }
        argv++;
        execute_again(1, argv, envp);
        explain("its first program could not execute itself again");
        cold_start(argv, envp);
    }
    const char *why = thaw(argv[0]);
    if (why == taken && times < TRIES) {
        execute_again(times + 1, argv, envp);
    }
    explain(why);
    cold_start(argv, envp);
}

__asm__(".text\n"
        ".globl _start\n"
        "_start:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rdi\n"
        "  and $-16, %rsp\n"
        "  call thaw_main\n"
        "  hlt\n");
