/* What is installed with this program, or stands with it in a build folder. */
#include "cli/cli.h"

#include <unistd.h>

char *find_beside(const char *const *places, size_t nr) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    for (size_t i = 0; n > 0 && i < nr; i++) {
        self[n] = 0;
        char *path = xasprintf("%.*s/%s", (int)(strrchr(self, '/') - self), self, places[i]);
        if (access(path, X_OK) == 0) {
            return path;
        }
        free(path);
    }
    return NULL;
}
