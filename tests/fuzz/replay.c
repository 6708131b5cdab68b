/* Feeds the files of a corpus to one fuzz target, without a fuzzing engine: what was ever found
 * stays found, with any compiler. Arguments: files or directories. */
#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each file gets a block of exactly its size, so that the sanitizer sees a read past its end. */
static void feed_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    long n = ftell(f);
    rewind(f);
    uint8_t *data = malloc(n > 0 ? (size_t)n : 1);
    if (n < 0 || !data || fread(data, 1, (size_t)n, f) != (size_t)n) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        exit(1);
    }
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last line before a crash names the input */
    LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
}

static unsigned feed(const char *path) {
    DIR *d = opendir(path);
    if (!d) {
        feed_file(path);
        return 1;
    }
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char child[4096];
        if (e->d_name[0] == '.') {
            continue;
        }
        snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        n += feed(child);
    }
    closedir(d);
    return n;
}

int main(int argc, char **argv) {
    unsigned n = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        n += feed(argv[i]);
    }
    if (n == 0) {
        fprintf(stderr, "replay: no inputs\n");
        return 1;
    }
    printf("%u inputs\n", n);
    return 0;
}
