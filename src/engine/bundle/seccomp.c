/* The system call profile of a job's container.
 *
 * Shape: an allow list. Anything not listed answers ENOSYS, so that libraries written for a newer
 * kernel take their fallback (glibc does for clone3, whose flags live in memory where a filter
 * cannot look). Calls that a job has no business with and that every libc knows answer EPERM, which
 * gives the honest "Operation not permitted" instead of a misleading "not implemented".
 *
 * What training code needs beyond the obvious, and why it is in: process_vm_readv/writev and kcmp
 * (shared memory transports between local ranks), the NUMA policy calls (OpenBLAS, oneDNN; they
 * only touch the caller's own pages), memfd, userfaultfd-free checkpointing, ptrace of one's own
 * children (py-spy, debuggers; without CAP_SYS_PTRACE it reaches nobody else), inotify and
 * landlock. What is out although containers commonly allow it: io_uring (its requests bypass this
 * filter), keyrings (not namespaced), vsock and packet sockets, userfaultfd, every mount call, new
 * namespaces (setns, unshare, clone with CLONE_NEW*), bpf, perf, modules, clocks, swap, quota,
 * reboot. */
#include "engine/bundle/bundle_int.h"

#include <errno.h>
#include <sched.h>

/* clang-format off */
static const char *const allowed[] = {
    /* reading and writing */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
    "pwritev2", "lseek", "_llseek", "sendfile", "sendfile64", "splice", "tee", "vmsplice",
    "copy_file_range", "readahead", "fadvise64", "fadvise64_64", "sync_file_range",
    "sync_file_range2", "io_setup", "io_submit", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64", "io_cancel", "io_destroy",
    /* opening, closing, duplicating, waiting on descriptors */
    "open", "openat", "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3", "fcntl",
    "fcntl64", "flock", "ioctl", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "select",
    "_newselect", "pselect6", "pselect6_time64", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_ctl_old", "epoll_wait", "epoll_wait_old", "epoll_pwait", "epoll_pwait2", "eventfd",
    "eventfd2", "signalfd", "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_gettime64",
    "timerfd_settime", "timerfd_settime64", "inotify_init", "inotify_init1", "inotify_add_watch",
    "inotify_rm_watch", "memfd_create", "memfd_secret", "name_to_handle_at",
    /* the tree of files */
    "access", "faccessat", "faccessat2", "stat", "stat64", "fstat", "fstat64", "lstat", "lstat64",
    "newfstatat", "fstatat64", "statx", "statfs", "statfs64", "fstatfs", "fstatfs64", "getdents",
    "getdents64", "getcwd", "chdir", "fchdir", "mkdir", "mkdirat", "rmdir", "link", "linkat",
    "symlink", "symlinkat", "readlink", "readlinkat", "unlink", "unlinkat", "rename", "renameat",
    "renameat2", "truncate", "truncate64", "ftruncate", "ftruncate64", "fallocate", "chmod",
    "fchmod", "fchmodat", "fchmodat2", "chown", "chown32", "fchown", "fchown32", "fchownat",
    "lchown", "lchown32", "umask", "utime", "utimes", "utimensat", "utimensat_time64",
    "futimesat", "mknod", "mknodat", "getxattr", "lgetxattr", "fgetxattr", "setxattr",
    "lsetxattr", "fsetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr",
    "lremovexattr", "fremovexattr", "sync", "syncfs", "fsync", "fdatasync", "cachestat",
    /* memory */
    "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync", "mlock",
    "mlock2", "mlockall", "munlock", "munlockall", "remap_file_pages", "membarrier",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise", "process_mrelease",
    "get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "map_shadow_stack",
    "process_vm_readv", "process_vm_writev", "mseal",
    /* processes and threads; clone is below, with its flags looked at */
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "waitpid",
    "getpid", "getppid", "gettid", "getpgid", "getpgrp", "setpgid", "getsid", "setsid",
    "set_tid_address", "set_robust_list", "get_robust_list", "rseq", "futex", "futex_time64",
    "futex_waitv", "futex_wait", "futex_wake", "futex_requeue", "arch_prctl", "prctl", "seccomp",
    "set_thread_area", "get_thread_area", "modify_ldt", "ptrace", "kcmp", "pidfd_open",
    "pidfd_send_signal", "getrusage", "times", "getcpu", "restart_syscall",
    "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    /* who we are */
    "getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid", "getegid32",
    "getresuid", "getresuid32", "getresgid", "getresgid32", "getgroups", "getgroups32", "setuid",
    "setuid32", "setgid", "setgid32", "setreuid", "setreuid32", "setregid", "setregid32",
    "setresuid", "setresuid32", "setresgid", "setresgid32", "setgroups", "setgroups32",
    "setfsuid", "setfsuid32", "setfsgid", "setfsgid32", "capget", "capset",
    /* limits and scheduling */
    "getrlimit", "ugetrlimit", "setrlimit", "prlimit64", "getpriority", "setpriority", "nice",
    "ioprio_get", "ioprio_set", "sched_yield", "sched_getaffinity", "sched_setaffinity",
    "sched_getparam", "sched_setparam", "sched_getscheduler", "sched_setscheduler",
    "sched_getattr", "sched_setattr", "sched_get_priority_max", "sched_get_priority_min",
    "sched_rr_get_interval", "sched_rr_get_interval_time64",
    /* signals */
    "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigsuspend", "rt_sigreturn",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "sigaltstack", "sigaction", "sigprocmask", "sigpending", "sigsuspend", "sigreturn", "signal",
    "kill", "tkill", "tgkill", "pause", "alarm",
    /* time */
    "time", "gettimeofday", "clock_gettime", "clock_gettime64", "clock_getres",
    "clock_getres_time64", "clock_nanosleep", "clock_nanosleep_time64", "nanosleep", "getitimer",
    "setitimer", "timer_create", "timer_delete", "timer_gettime", "timer_gettime64",
    "timer_settime", "timer_settime64", "timer_getoverrun",
    /* sockets; socket itself is below, by family */
    "socketpair", "bind", "connect", "listen", "accept", "accept4", "shutdown", "getsockname",
    "getpeername", "getsockopt", "setsockopt", "send", "sendto", "sendmsg", "sendmmsg", "recv",
    "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64", "socketcall",
    /* System V and POSIX queues, shared memory, semaphores (own ipc namespace) */
    "ipc", "shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semctl", "semtimedop",
    "semtimedop_time64", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
    "mq_timedsend", "mq_timedsend_time64", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_notify", "mq_getsetattr",
    /* the machine */
    "uname", "sysinfo", "getrandom",
};

static const char *const refused[] = {
    "mount", "umount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "chroot", "setns", "unshare", "open_by_handle_at",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
    "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "keyctl",
    "request_key", "fanotify_init", "fanotify_mark", "lookup_dcookie", "syslog", "iopl", "ioperm",
    "vhangup", "settimeofday", "clock_settime", "clock_settime64", "clock_adjtime",
    "clock_adjtime64", "adjtimex", "stime", "sethostname", "setdomainname", "pidfd_getfd",
    "migrate_pages", "move_pages", "nfsservctl", "vm86", "vm86old", "uselib", "ustat", "sysfs",
    "_sysctl", "create_module", "query_module", "get_kernel_syms",
};
/* clang-format on */

/* A filter cannot be told "any of": one rule a value, the rules of one call are alternatives. */
static const uint64_t socket_families[] = {1 /* unix */, 2 /* inet */, 10 /* inet6 */,
                                           16 /* netlink: getifaddrs */};
/* Linux, Linux without address randomisation (gdb), 32-bit variants of both, "just asking". */
static const uint64_t personalities[] = {0, 0x40000, 0x8, 0x40008, 0xffffffff};

static void rule_begin(struct jw *w, const char *action, int errno_ret) {
    jw_object(w);
    jw_key(w, "action");
    jw_cstr(w, action);
    if (errno_ret != 0) {
        jw_key(w, "errnoRet");
        jw_i64(w, errno_ret);
    }
    jw_key(w, "names");
}

static void rule_names(struct jw *w, const char *action, int errno_ret, const char *const *names,
                       size_t n) {
    rule_begin(w, action, errno_ret);
    jw_array(w);
    for (size_t i = 0; i < n; i++) {
        jw_cstr(w, names[i]);
    }
    jw_end_array(w);
    jw_end_object(w);
}

/* The call `name` when its first argument compares so. */
static void rule_arg0(struct jw *w, const char *action, int errno_ret, const char *name,
                      const char *op, uint64_t value, uint64_t value_two) {
    rule_begin(w, action, errno_ret);
    jw_array(w);
    jw_cstr(w, name);
    jw_end_array(w);
    jw_key(w, "args");
    jw_array(w);
    jw_object(w);
    jw_key(w, "index");
    jw_i64(w, 0);
    jw_key(w, "value");
    jw_u64(w, value);
    if (value_two != 0 || strcmp(op, "SCMP_CMP_MASKED_EQ") == 0) {
        jw_key(w, "valueTwo");
        jw_u64(w, value_two);
    }
    jw_key(w, "op");
    jw_cstr(w, op);
    jw_end_object(w);
    jw_end_array(w);
    jw_end_object(w);
}

void bundle_seccomp_write(struct jw *w, const char *arch) {
    const uint64_t new_ns = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                            CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    jw_object(w);
    jw_key(w, "defaultAction");
    jw_cstr(w, "SCMP_ACT_ERRNO");
    jw_key(w, "defaultErrnoRet");
    jw_i64(w, ENOSYS);
    jw_key(w, "architectures");
    jw_array(w);
    jw_cstr(w, arch);
    jw_end_array(w);
    jw_key(w, "syscalls");
    jw_array(w);
    rule_names(w, "SCMP_ACT_ALLOW", 0, allowed, NR_OF(allowed));
    rule_names(w, "SCMP_ACT_ERRNO", EPERM, refused, NR_OF(refused));
    /* value is the mask, valueTwo what must be left: none of the namespace flags. */
    rule_arg0(w, "SCMP_ACT_ALLOW", 0, "clone", "SCMP_CMP_MASKED_EQ", new_ns, 0);
    for (size_t i = 0; i < NR_OF(socket_families); i++) {
        rule_arg0(w, "SCMP_ACT_ALLOW", 0, "socket", "SCMP_CMP_EQ", socket_families[i], 0);
    }
    /* packet, alg, vsock...: programs expect this answer from a kernel without the family. */
    rule_arg0(w, "SCMP_ACT_ERRNO", EAFNOSUPPORT, "socket", "SCMP_CMP_GT", 16, 0);
    for (size_t i = 0; i < NR_OF(personalities); i++) {
        rule_arg0(w, "SCMP_ACT_ALLOW", 0, "personality", "SCMP_CMP_EQ", personalities[i], 0);
    }
    jw_end_array(w);
    jw_end_object(w);
}

const char *bundle_seccomp_native_arch(void) {
#if defined(__x86_64__)
    return "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
    return "SCMP_ARCH_AARCH64";
#else
    return NULL;
#endif
}
