/* cusp serve: the server itself, the program beside this one. */
#include "cli/cli.h"

#include <errno.h>
#include <unistd.h>

int cmd_serve(const struct cli *c, int argc, char **argv, struct err *err) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        return err_sys(err, errno, "find cuspd");
    }
    self[n] = 0;
    auto_free char *path = xasprintf("%.*s/cuspd", (int)(strrchr(self, '/') - self), self);
    char **args = xcalloc((size_t)argc + 2, sizeof(*args));
    args[0] = path;
    for (int i = 0; i < argc; i++) {
        args[i + 1] = argv[i];
    }
    execv(path, args);
    free(args);
    return err_sys(err, errno, "start %s", path);
}
