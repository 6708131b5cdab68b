/* Figures of the SQLite store: durable creates, gets, list pages, cold start, memory. Build with
 * --buildtype=release. Usage: store_bench [DIR [ROWS]]; DIR must be on the disk to be measured. */
#include "base/rng.h"
#include "base/vec.h"
#include "pb/aip.h"
#include "pb/pb.h"
#include "store/filter.h"
#include "sys/loop.h"

#include <sys/stat.h>
#include <unistd.h>

#define WRITERS 64

static struct loop *loop;
static struct store *store;
static uint64_t nr_made, nr_wanted, nr_acked;
static bool done;

/* A job like most: one pool, a container with arguments and environment, about 600 bytes. */
static struct str spec_of(struct arena *a) {
    static char text[420];
    memset(text, 'x', sizeof(text) - 1);
    Aip__CustomJob job = AIP__CUSTOM_JOB__INIT;
    Aip__CustomJobSpec spec = AIP__CUSTOM_JOB_SPEC__INIT;
    Aip__WorkerPoolSpec pool = AIP__WORKER_POOL_SPEC__INIT, *pools = &pool;
    Aip__MachineSpec machine = AIP__MACHINE_SPEC__INIT;
    Aip__ContainerSpec container = AIP__CONTAINER_SPEC__INIT;
    Aip__Scheduling scheduling = AIP__SCHEDULING__INIT;
    char *args[] = {"--epochs=3", "--data=gs://bucket/data", text};
    machine.machine_type = "n1-standard-8";
    container.image_uri = "registry.local/vision/train:42";
    container.n_args = NR_OF(args);
    container.args = args;
    pool.machine_spec = &machine;
    pool.replica_count = 1;
    pool.container_spec = &container;
    pool.task_case = AIP__WORKER_POOL_SPEC__TASK_CONTAINER_SPEC;
    spec.n_worker_pool_specs = 1;
    spec.worker_pool_specs = &pools;
    spec.scheduling = &scheduling;
    job.job_spec = &spec;
    struct buf b = BUF_INIT(BUF_NO_MAX);
    (void)pb_pack(&job.base, &b);
    struct str out = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return out;
}

static ProtobufCMessage *decode(struct arena *a, const struct store_row *row) {
    ProtobufCMessage *m;
    return pb_unpack(a, &aip__custom_job__descriptor, row->spec, &m, NULL) ? NULL : m;
}

static const struct filter_schema schema = {&aip__custom_job__descriptor, decode};

static struct store_row row_of(struct arena *a, uint64_t n) {
    struct store_row row = {
        .kind = STR("customJob"),
        .parent = STR("projects/481516234210/locations/us-central1"),
        .state = STR("JOB_STATE_SUCCEEDED"),
        .create_time = 1714557600000000 + n * 1000,
        .update_time = 1714557600000000 + n * 1000,
    };
    /* Scattered like real ids, reproducible. */
    uint64_t id = 1000000000000000000u + n * 0x9e3779b97f4a7c15u % 8000000000000000000u;
    row.name = str_of(
        arena_printf(a, "%.*s/customJobs/%llu", STR_ARG(row.parent), (unsigned long long)id));
    row.display_name = str_of(arena_printf(a, "job-%llu", (unsigned long long)n));
    row.spec = spec_of(a);
    row.status = str_n(arena_alloc(a, 200), 200);
    row.labels = arena_calloc(a, 2, sizeof(*row.labels));
    row.labels[0] = (struct store_label){STR("team"), n % 2 ? STR("red") : STR("blue")};
    row.labels[1] = (struct store_label){STR("run"), row.display_name};
    row.nr_labels = 2;
    return row;
}

static void create_next(struct store_txn *t);

static void on_created(struct store_txn *t, const struct err *err) {
    if (err) {
        fprintf(stderr, "create: %s\n", err->msg);
        exit(1);
    }
    nr_acked++;
    store_txn_fini(t);
    create_next(t);
}

static void create_next(struct store_txn *t) {
    if (nr_made == nr_wanted) {
        return;
    }
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_row row = row_of(a, nr_made++);
    store_txn_init(t, on_created, NULL);
    store_txn_insert(t, &row);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        struct store_event ev = {.owner = row.name,
                                 .seq = seq,
                                 .type = 1,
                                 .body = STR("cusp-rec 1\nwhat=something that happened\n")};
        store_txn_event(t, &ev);
    }
    store->ops->commit(store, t);
    arena_free(a);
}

static double seconds_since(usec_t began) {
    return (double)(time_mono() - began) / USEC_PER_SEC;
}

static unsigned long rss_kib(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        fclose(f);
    }
    return pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    if (err) {
        fprintf(stderr, "get: %s\n", err->msg);
        exit(1);
    }
    done = true;
}

static void bench_get(uint64_t rows) {
    enum { NR = 20000 };
    struct rng rng;
    rng_seed(&rng, 1);
    struct arena *a = arena_new(ARENA_NO_MAX);
    usec_t began = time_mono();
    for (unsigned i = 0; i < NR; i++) {
        arena_clear(a);
        struct store_row row = row_of(a, rng_below(&rng, rows));
        struct store_get g = {.name = row.name, .arena = a, .cb = on_row};
        done = false;
        store->ops->get(store, &g);
        while (!done) {
            loop_turn(loop);
        }
    }
    printf("get, one at a time, random        %10.0f /s\n", NR / seconds_since(began));
    arena_free(a);
}

static size_t page_rows;
static struct str page_token;

static void on_page(struct store_list *l, const struct store_row *rows, size_t nr, struct str next,
                    const struct err *err) {
    if (err) {
        fprintf(stderr, "list: %s\n", err->msg);
        exit(1);
    }
    page_rows = nr;
    page_token = next;
    done = true;
}

static void bench_list(const char *what, const char *filter, enum store_order_field order,
                       unsigned pages) {
    struct arena *a = arena_new(ARENA_NO_MAX), *token_arena = arena_new(ARENA_NO_MAX);
    struct store_list l = {.kind = STR("customJob"),
                           .parent = STR("projects/481516234210/locations/us-central1"),
                           .order = order,
                           .descending = order == STORE_ORDER_CREATE_TIME,
                           .page_size = 100,
                           .filter_text = str_of(filter),
                           .cb = on_page};
    usec_t worst = 0, began = time_mono();
    unsigned n = 0;
    for (; n < pages && (n == 0 || page_token.n); n++) {
        arena_clear(a);
        l.arena = a;
        l.page_token = n ? page_token : STR("");
        struct err err;
        if (filter_parse(a, l.filter_text, &schema, &l.filter, &err) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            exit(1);
        }
        done = false;
        usec_t page_began = time_mono();
        store->ops->list(store, &l);
        while (!done) {
            loop_turn(loop);
        }
        usec_t took = time_mono() - page_began;
        worst = took > worst ? took : worst;
        page_token = arena_str(token_arena, page_token);
    }
    printf("list, 100 a page, %-24s mean %8.3f ms, worst %8.3f ms (%zu rows, %u pages)\n", what,
           seconds_since(began) * 1000 / n, (double)worst / 1000, page_rows, n);
    arena_free(a);
    arena_free(token_arena);
}

static void on_load(struct store_load *l, const struct store_row *row, const struct store_event *ev,
                    size_t nr) {}

static void on_load_end(struct store_load *l, const struct err *err) {
    done = true;
}

static void on_closed(void *arg) {
    done = true;
}

static void open_store(const char *path) {
    struct err err = {0};
    loop = loop_new();
    store = store_sqlite_open(loop, path, &err);
    if (!store) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static void close_store(void) {
    done = false;
    store->ops->close(store, on_closed, NULL);
    while (!done) {
        loop_turn(loop);
    }
    loop_free(loop);
}

static void bench_cold_start(const char *path) {
    usec_t began = time_mono();
    open_store(path);
    struct store_load l = {.kind = STR("customJob"), .row = on_load, .end = on_load_end};
    done = false;
    store->ops->load_live(store, &l);
    while (!done) {
        loop_turn(loop);
    }
    printf("open and load live rows           %10.2f ms\n", seconds_since(began) * 1000);
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : ".";
    nr_wanted = 100000;
    if (argc > 2 && !str_to_u64(str_of(argv[2]), &nr_wanted)) {
        fprintf(stderr, "usage: %s [DIR [ROWS]]\n", argv[0]);
        return 2;
    }
    auto_free char *path = xasprintf("%s/store-bench.db", dir);
    auto_free char *wal = xasprintf("%s-wal", path);
    unlink(path);
    open_store(path);

    static struct store_txn writers[WRITERS];
    usec_t began = time_mono();
    for (size_t i = 0; i < WRITERS; i++) {
        create_next(&writers[i]);
    }
    off_t wal_bytes = 0;
    while (nr_acked < nr_wanted) {
        loop_turn(loop);
        struct stat st;
        if (nr_acked % 997 == 0 && stat(wal, &st) == 0 && st.st_size > wal_bytes) {
            wal_bytes = st.st_size;
        }
    }
    double took = seconds_since(began);
    struct store_stats stats;
    store->ops->get_stats(store, &stats);
    printf("durable creates, %d writers       %10.0f /s (%llu in %.2f s, %.1f a batch)\n", WRITERS,
           (double)nr_wanted / took, (unsigned long long)nr_wanted, took,
           (double)stats.commits / (double)stats.batches);
    printf("largest log file seen             %10.1f MiB\n", (double)wal_bytes / 1048576);
    close_store();

    bench_cold_start(path);
    printf("memory after cold start           %10lu KiB\n", rss_kib());
    bench_list("newest first", "", STORE_ORDER_CREATE_TIME, 50);
    bench_list("state filter", "state=JOB_STATE_SUCCEEDED", STORE_ORDER_CREATE_TIME, 50);
    bench_list("state, no match", "state=JOB_STATE_RUNNING", STORE_ORDER_CREATE_TIME, 1);
    bench_list("label, half match", "labels.team=red", STORE_ORDER_CREATE_TIME, 50);
    bench_list("label, one match", "labels.run=job-7", STORE_ORDER_CREATE_TIME, 1);
    bench_list("pattern, one match", "display_name:*-77777", STORE_ORDER_CREATE_TIME, 1);
    bench_list("message field, no match", "job_spec.service_account=x", STORE_ORDER_CREATE_TIME, 1);
    bench_list("message field, all match",
               "job_spec.worker_pool_specs.machine_spec.machine_type:n1*", STORE_ORDER_CREATE_TIME,
               50);
    bench_list("by display name", "", STORE_ORDER_DISPLAY_NAME, 3);
    bench_get(nr_wanted);
    printf("memory after all that             %10lu KiB\n", rss_kib());
    struct stat st;
    if (stat(path, &st) == 0) {
        printf("database file                     %10.1f MiB\n", (double)st.st_size / 1048576);
    }
    close_store();
    unlink(path);
    return 0;
}
