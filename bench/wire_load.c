/* New and idle connections against one server, by threads that each do one thing at a time.
 *
 * wire_load rate PORT tls|clear PER_SECOND SECONDS: new connections at a pace, one GET each. Beside
 * them one kept clear connection sends a GET every 2 ms. Prints quantiles of both in microseconds:
 * done=N failed=N new_p50=.. new_p99=.. kept_p50=.. kept_p99=..
 *
 * wire_load idle PORT tls|clear COUNT: opens COUNT, one GET each, holds them till its input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8
#define PROBE_PAUSE_US 2000
static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct line {
    int fd;
    SSL *ssl;
};

struct worker {
    pthread_t thread;
    unsigned index;
    unsigned *times; /* microseconds */
    size_t n, failed;
};

static SSL_CTX *ctx; /* NULL: clear text */
static int port;
static uint64_t began_us, end_us;
static double per_thread;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int line_open(struct line *l, SSL_CTX *with) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->ssl = NULL;
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&a, sizeof(a))) {
        return -1;
    }
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (with) {
        l->ssl = SSL_new(with);
        SSL_set_fd(l->ssl, l->fd);
        return SSL_connect(l->ssl) == 1 ? 0 : -1;
    }
    return 0;
}

/* One request; the reply of /healthz comes in one piece. */
static int line_ask(struct line *l) {
    char reply[4096];
    long n = l->ssl ? SSL_write(l->ssl, request, sizeof(request) - 1)
                    : send(l->fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    if (n <= 0) {
        return -1;
    }
    n = l->ssl ? SSL_read(l->ssl, reply, sizeof(reply)) : recv(l->fd, reply, sizeof(reply), 0);
    return n > 12 && memcmp(reply, "HTTP/1.1 200", 12) == 0 ? 0 : -1;
}

static void line_close(struct line *l) {
    if (l->ssl) {
        SSL_shutdown(l->ssl);
        SSL_free(l->ssl);
    }
    if (l->fd >= 0) {
        close(l->fd);
    }
}

static void sleep_until(uint64_t at) {
    uint64_t now = now_us();
    if (now < at) {
        usleep((useconds_t)(at - now));
    }
}

/* Times count from when the connection was due, so a server that falls behind shows. */
static void *make_connections(void *arg) {
    struct worker *w = arg;
    for (size_t i = 0;; i++) {
        uint64_t due =
            began_us + (uint64_t)(((double)i + (double)w->index / THREADS) * 1e6 / per_thread);
        struct line l;
        if (due >= end_us) {
            return NULL;
        }
        sleep_until(due);
        if (line_open(&l, ctx) == 0 && line_ask(&l) == 0) {
            w->times[w->n++] = (unsigned)(now_us() - due);
        } else {
            w->failed++;
        }
        line_close(&l);
    }
}

static void *probe(void *arg) {
    struct worker *w = arg;
    struct line l;
    if (line_open(&l, NULL)) {
        w->failed++;
        return NULL;
    }
    while (now_us() < end_us) {
        uint64_t at = now_us();
        if (line_ask(&l)) {
            w->failed++;
            break;
        }
        w->times[w->n++] = (unsigned)(now_us() - at);
        usleep(PROBE_PAUSE_US);
    }
    line_close(&l);
    return NULL;
}

static int by_size(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static unsigned quantile(unsigned *v, size_t n, double q) {
    qsort(v, n, sizeof(*v), by_size);
    return n ? v[(size_t)((double)(n - 1) * q)] : 0;
}

static int rate(double per_second, double seconds) {
    struct worker w[THREADS + 1] = {0};
    size_t room = (size_t)(per_second * seconds) + 100000, done = 0, failed = 0;
    unsigned *all = malloc(room * sizeof(*all));
    per_thread = per_second / THREADS;
    began_us = now_us();
    end_us = began_us + (uint64_t)(seconds * 1e6);
    for (unsigned i = 0; i <= THREADS; i++) {
        w[i].index = i;
        w[i].times = malloc(room * sizeof(*w[i].times));
        pthread_create(&w[i].thread, NULL, i < THREADS ? make_connections : probe, &w[i]);
    }
    for (unsigned i = 0; i <= THREADS; i++) {
        pthread_join(w[i].thread, NULL);
        failed += w[i].failed;
        if (i < THREADS) {
            memcpy(all + done, w[i].times, w[i].n * sizeof(*all));
            done += w[i].n;
        }
    }
    struct worker *p = &w[THREADS];
    printf("done=%zu failed=%zu new_p50=%u new_p99=%u kept_p50=%u kept_p99=%u\n", done, failed,
           quantile(all, done, 0.5), quantile(all, done, 0.99), quantile(p->times, p->n, 0.5),
           quantile(p->times, p->n, 0.99));
    return failed ? 1 : 0;
}

static int idle(size_t count) {
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    struct line *l = calloc(count, sizeof(*l));
    for (size_t i = 0; i < count; i++) {
        if (line_open(&l[i], ctx) || line_ask(&l[i])) {
            fprintf(stderr, "connection %zu failed\n", i);
            return 1;
        }
    }
    puts("held");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        return 2;
    }
    port = atoi(argv[2]);
    if (strcmp(argv[3], "tls") == 0) {
        ctx = SSL_CTX_new(TLS_client_method()); /* does not verify: the server's cost is the same */
    }
    if (strcmp(argv[1], "rate") == 0 && argc == 6) {
        return rate(atof(argv[4]), atof(argv[5]));
    }
    return strcmp(argv[1], "idle") == 0 ? idle((size_t)atol(argv[4])) : 2;
}
