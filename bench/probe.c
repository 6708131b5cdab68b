/* User code that says when it began: prints the wall clock in nanoseconds as its first act. With an
 * argument it then lives that many seconds. Linked statically: no loader between exec and main. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    printf("%lld\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    fflush(stdout);
    if (argc > 1) {
        sleep((unsigned)atoi(argv[1]));
    }
    return 0;
}
