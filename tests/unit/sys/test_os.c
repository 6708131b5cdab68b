/* Files, locks, processes and sockets on the real system, in a directory of the test's own. */
#include "base/fail.h"
#include "sys/files.h"
#include "sys/lockfile.h"
#include "sys/proc.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/cusp-test-os-XXXXXX";
static int dir_fd;

static int make_dir(void **state) {
    (void)state;
    dir_fd = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return dir_fd < 0;
}

static int remove_dir(void **state) {
    (void)state;
    close(dir_fd);
    return file_remove_tree(AT_FDCWD, dir, NULL);
}

static void atomic_write_replaces_and_reads_back(void **state) {
    (void)state;
    struct err err = {0};
    auto_buf struct buf b = BUF_INIT(100);
    assert_int_equal(file_write_atomic(dir_fd, "f", STR("one"), 0600, FILE_SYNC, &err), 0);
    assert_int_equal(file_write_atomic(dir_fd, "f", STR("two"), 0600, FILE_NO_SYNC, &err), 0);
    assert_int_equal(file_read(dir_fd, "f", &b, &err), 0);
    assert_true(str_eqc(buf_str(&b), "two"));
    assert_int_equal(faccessat(dir_fd, "f.tmp", F_OK, 0), -1);

    struct buf small = BUF_INIT(2);
    assert_int_equal(file_read(dir_fd, "f", &small, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(small.n, 0);
    buf_fini(&small);
    assert_int_equal(file_read(dir_fd, "absent", &b, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void failed_write_leaves_nothing(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(mkdirat(dir_fd, "taken", 0755), 0);
    assert_int_equal(mkdirat(dir_fd, "taken/x", 0755), 0);
    assert_int_equal(file_write_atomic(dir_fd, "taken", STR("x"), 0600, FILE_NO_SYNC, &err), -1);
    assert_int_equal(faccessat(dir_fd, "taken.tmp", F_OK, 0), -1);
}

static void trees_are_made_and_removed_without_following_links(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(file_mkdirs(dir_fd, "a/b/c", 0755, &err), 0);
    assert_int_equal(file_mkdirs(dir_fd, "a/b/c", 0755, &err), 0);
    assert_int_equal(file_write_atomic(dir_fd, "keep", STR("k"), 0600, FILE_NO_SYNC, &err), 0);
    assert_int_equal(file_mkdirs(dir_fd, "kept", 0755, &err), 0);
    assert_int_equal(file_write_atomic(dir_fd, "kept/file", STR("k"), 0600, FILE_NO_SYNC, &err), 0);
    assert_int_equal(symlinkat("../../keep", dir_fd, "a/b/link"), 0);
    assert_int_equal(symlinkat("../../kept", dir_fd, "a/b/dirlink"), 0);
    assert_int_equal(file_remove_tree(dir_fd, "a", &err), 0);
    assert_int_equal(file_remove_tree(dir_fd, "a", &err), 0);
    assert_int_equal(faccessat(dir_fd, "a", F_OK, 0), -1);
    assert_int_equal(faccessat(dir_fd, "keep", F_OK, 0), 0);
    assert_int_equal(faccessat(dir_fd, "kept/file", F_OK, 0), 0);
}

static void names_from_outside_stay_beneath(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(file_mkdirs(dir_fd, "root/sub", 0755, &err), 0);
    assert_int_equal(file_write_atomic(dir_fd, "secret", STR("s"), 0600, FILE_NO_SYNC, &err), 0);
    assert_int_equal(symlinkat("../secret", dir_fd, "root/out"), 0);
    assert_int_equal(symlinkat("/etc/passwd", dir_fd, "root/abs"), 0);
    auto_close int root = openat(dir_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const char *const bad[] = {"../secret", "/etc/passwd", "sub/../../secret", "out", "abs"};
    for (size_t i = 0; i < NR_OF(bad); i++) {
        assert_int_equal(file_open_beneath(root, bad[i], O_RDONLY, 0, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    }
    auto_close int made = file_open_beneath(root, "sub/new", O_WRONLY | O_CREAT, 0600, &err);
    assert_true(made >= 0);
    assert_true(fcntl(made, F_GETFD) & FD_CLOEXEC);
}

static void lock_is_exclusive_and_dies_with_its_holder(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(lockfile_probe(dir_fd, "lock", &err), LOCKFILE_ABSENT);
    int fd = lockfile_take(dir_fd, "lock", &err);
    assert_true(fd >= 0);
    assert_int_equal(lockfile_take(dir_fd, "lock", &err), -1);
    assert_int_equal(err.code, ERR_ABORTED);
    assert_int_equal(lockfile_probe(dir_fd, "lock", &err), LOCKFILE_HELD);
    close(fd);
    assert_int_equal(lockfile_probe(dir_fd, "lock", &err), LOCKFILE_FREE);
    assert_int_equal(lockfile_probe(dir_fd, "lock", &err), LOCKFILE_FREE);
}

/* Runs a shell script to its end with proc_run. */
static struct proc_exit shell(const char *script, const char *input, struct buf *out) {
    char *const argv[] = {"sh", "-c", (char *)script, NULL};
    struct err err = {0};
    int status = -1;
    if (proc_run("/bin/sh", argv, str_of(input), out, &status, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return proc_exit_decode(status);
}

static void run_feeds_collects_and_decodes(void **state) {
    (void)state;
    auto_buf struct buf out = BUF_INIT(1u << 20);
    struct proc_exit x = shell("cat; echo e >&2; exit 3", "hello ", &out);
    assert_false(x.signaled);
    assert_int_equal(x.value, 3);
    assert_true(str_eqc(buf_str(&out), "hello e\n"));
    auto_buf struct buf text = BUF_INIT(100);
    x = shell("kill -9 $$", "", &out);
    assert_true(x.signaled);
    proc_exit_text(x, &text);
    assert_string_equal(buf_cstr(&text), "signal 9 (Killed)");
    /* one that does not read what it is given, and one that says more than is wanted */
    auto_buf struct buf big = BUF_INIT(1u << 20);
    for (int i = 0; i < 20000; i++) {
        buf_puts(&big, "0123456789");
    }
    x = shell("exit 4", buf_cstr(&big), &out);
    assert_int_equal(x.value, 4);
    auto_buf struct buf few = BUF_INIT(100);
    x = shell("head -c 100000 /dev/zero; exit 5", "", &few);
    assert_int_equal(x.value, 5);
    assert_true(few.n <= 100);
}

static void spawn_passes_exactly_what_is_listed(void **state) {
    (void)state;
    struct err err = {0};
    int p[2], leak[2];
    assert_int_equal(pipe(p), 0);
    assert_int_equal(pipe(leak), 0);
    assert_in_range(leak[1], 5, 9); /* not close-on-exec: must not arrive all the same */
    signal(SIGPIPE, SIG_IGN);
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    char *const argv[] = {
        "sh", "-c",
        "echo $A-$PATH >&4; pwd >&4;"
        "for i in 5 6 7 8 9; do [ ! -e /proc/$$/fd/$i ] || echo leak $i >&4; done;"
        "grep -E 'SigBlk|SigIgn' /proc/self/status >&4",
        NULL};
    char *const env[] = {"A=b", "PATH=/usr/bin:/bin", NULL};
    const int fds[5] = {-1, -1, -1, -1, p[1]};
    const struct proc_spawn s = {
        .path = "/bin/sh", .argv = argv, .env = env, .cwd = "/usr", .fds = fds, .nr_fds = 5};
    pid_t pid = proc_spawn(&s, &err);
    assert_true(pid > 0);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &usr1, NULL);
    close(p[1]);
    auto_buf struct buf out = BUF_INIT(65536);
    ssize_t n;
    char chunk[512];
    while ((n = read(p[0], chunk, sizeof(chunk))) > 0) {
        buf_put(&out, chunk, (size_t)n);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_string_equal(buf_cstr(&out), "b-/usr/bin:/bin\n/usr\nSigBlk:\t0000000000000000\n"
                                        "SigIgn:\t0000000000000000\n");
    close(p[0]);
    close(leak[0]);
    close(leak[1]);
}

static void spawn_reports_what_cannot_be_executed(void **state) {
    (void)state;
    struct err err = {0};
    char *const argv[] = {"x", NULL};
    const int fds[3] = {-1, -1, -1};
    struct proc_spawn s = {.path = "/no/such/program", .argv = argv, .fds = fds, .nr_fds = 3};
    assert_int_equal(proc_spawn(&s, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    s.path = "/bin/sh";
    s.cwd = "/no/such/dir";
    assert_int_equal(proc_spawn(&s, &err), -1);
    assert_non_null(strstr(err.msg, "change directory"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie is left */
}

static void identity_of_a_process(void **state) {
    (void)state;
    struct err err = {0};
    uint64_t a = 0, b = 0;
    assert_int_equal(proc_start_time(getpid(), &a, &err), 0);
    assert_int_equal(proc_start_time(getpid(), &b, &err), 0);
    assert_true(a > 0 && a == b);
    auto_buf struct buf boot = BUF_INIT(64);
    assert_int_equal(proc_boot_id(&boot, &err), 0);
    assert_int_equal(boot.n, 36);
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    auto_close int fd = proc_pidfd_open(pid, &err);
    assert_true(fd >= 0);
    assert_int_equal(proc_pidfd_signal(fd, SIGKILL, &err), 0);
    struct pollfd p = {fd, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(proc_pidfd_signal(fd, SIGKILL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(proc_pidfd_open(pid, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(proc_start_time(pid, &a, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void sockets_work_in_deep_directories(void **state) {
    (void)state;
    struct err err = {0};
    auto_buf struct buf deep = BUF_INIT(1000);
    buf_puts(&deep, "deep");
    for (int i = 0; i < 20; i++) {
        buf_puts(&deep, "/a-rather-long-name");
    }
    assert_int_equal(file_mkdirs(dir_fd, buf_cstr(&deep), 0755, &err), 0);
    auto_close int d = openat(dir_fd, buf_cstr(&deep), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(sock_unix_connect(d, "s", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    int listener = sock_unix_listen(d, "s", 4, &err);
    assert_true(listener >= 0);
    auto_close int c = sock_unix_connect(d, "s", &err);
    assert_true(c >= 0);
    auto_close int peer = accept(listener, NULL, NULL);
    char got[3] = "";
    assert_int_equal(write(c, "hi", 2), 2);
    assert_int_equal(read(peer, got, 2), 2);
    assert_string_equal(got, "hi");
    close(listener);
    assert_int_equal(sock_unix_connect(d, "s", &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(atomic_write_replaces_and_reads_back),
        cmocka_unit_test(failed_write_leaves_nothing),
        cmocka_unit_test(trees_are_made_and_removed_without_following_links),
        cmocka_unit_test(names_from_outside_stay_beneath),
        cmocka_unit_test(lock_is_exclusive_and_dies_with_its_holder),
        cmocka_unit_test(run_feeds_collects_and_decodes),
        cmocka_unit_test(spawn_passes_exactly_what_is_listed),
        cmocka_unit_test(spawn_reports_what_cannot_be_executed),
        cmocka_unit_test(identity_of_a_process),
        cmocka_unit_test(sockets_work_in_deep_directories),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
