/* User code that says when it began: prints the wall clock in nanoseconds as its first act. Linked
 * statically: no loader between exec and main.
 *   probe N            then lives N seconds
 *   probe flood N      instead writes N lines of 100 bytes, as fast as they are taken
 *   probe clock N MS   prints the clock N times more, MS milliseconds apart */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void print_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    printf("%lld\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    fflush(stdout);
}

/* Numbers are counted up in place: what is measured is the taker, not printf. */
static void flood(long lines) {
    enum { LINE = 100, BLOCK = 640 };
    static char block[LINE * BLOCK + 1];
    long next = 0;
    for (int i = 0; i < BLOCK; i++) {
        sprintf(block + i * LINE, "%010d step %-73d loss 0.42\n", i, i / 10);
    }
    while (next < lines) {
        long n = lines - next < BLOCK ? lines - next : BLOCK;
        for (long i = 0; i < n; i++) {
            char *digits = block + i * LINE;
            long v = next + i;
            for (int d = 9; d >= 0; d--, v /= 10) {
                digits[d] = (char)('0' + v % 10);
            }
        }
        for (long at = 0, size = n * LINE; at < size;) {
            ssize_t w = write(STDOUT_FILENO, block + at, (size_t)(size - at));
            if (w <= 0) {
                exit(1);
            }
            at += w;
        }
        next += n;
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "flood") == 0) {
        flood(atol(argv[2]));
        return 0;
    }
    print_clock();
    if (argc == 4 && strcmp(argv[1], "clock") == 0) {
        for (int i = 0; i < atoi(argv[2]); i++) {
            usleep((unsigned)atoi(argv[3]) * 1000);
            print_clock();
        }
    } else if (argc > 1) {
        sleep((unsigned)atoi(argv[1]));
    }
    return 0;
}
