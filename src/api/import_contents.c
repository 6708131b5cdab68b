#include "api/import_contents.h"

#include "sys/loop.h"

#include <errno.h>
#include <semaphore.h>

/* One question; on the stack of the thread that asks. */
struct ask {
    struct loop_task task;
    struct blob_req req;
    struct blob *blob;
    struct str bucket, name;
    sem_t answered; /* what follows is the loop's until then */
    bool is_known;
    uint32_t crc32c;
};

static void on_got(struct blob_req *r, const struct err *err) {
    struct ask *q = r->arg;
    q->is_known = !err && r->meta->has_crc32c;
    q->crc32c = q->is_known ? r->meta->crc32c : 0;
    blob_req_fini(r);
    sem_post(&q->answered); /* from here on there may be no question any more */
}

static void on_loop(struct loop_task *t) {
    struct ask *q = CONTAINER_OF(t, struct ask, task);
    blob_req_init_object(&q->req, q->bucket, q->name, on_got, q);
    q->req.hashes = BLOB_HASH_CRC32C;
    blob_object_get(q->blob, &q->req);
}

static bool crc32c_of(void *arg, const char *uri, uint32_t *ret) {
    struct import_contents *c = arg;
    struct str rest = str_sub(str_of(uri), sizeof("gs://") - 1, SIZE_MAX);
    struct ask q = {.blob = c->blob};
    q.bucket = str_cut(&rest, '/');
    q.name = rest;
    sem_init(&q.answered, 0, 0);
    loop_task_init(&q.task, on_loop);
    loop_post_any(c->loop, &q.task);
    while (sem_wait(&q.answered) < 0 && errno == EINTR) {
    }
    sem_destroy(&q.answered);
    *ret = q.crc32c;
    return q.is_known;
}

static int open_uri(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size, struct err *err) {
    struct import_contents *c = arg;
    return blob_object_open(c->blob, uri, ret_fd, ret_size, err);
}

void import_contents_init(struct import_contents *c, struct loop *loop, struct blob *blob) {
    *c = (struct import_contents){
        .contents = {.crc32c = crc32c_of, .open = open_uri, .arg = c}, .loop = loop, .blob = blob};
}
