/* Turns: see datasets.h. */
#include "api/datasets_int.h"

struct turn_queue {
    struct list waiting; /* the first has the turn */
};

static void grant(struct datasets *d, struct turn_queue *q) {
    struct dataset_turn *t = list_first(&q->waiting, struct dataset_turn, link);
    t->is_ours = true;
    list_push_tail(&d->ready, &t->ready);
    loop_post(d->loop, &d->ready_task);
}

static void on_ready(struct loop_task *task) {
    struct datasets *d = CONTAINER_OF(task, struct datasets, ready_task);
    while (!list_is_empty(&d->ready)) {
        struct dataset_turn *t = list_first(&d->ready, struct dataset_turn, ready);
        list_del(&t->ready);
        t->fn(t); /* t may be gone after this */
    }
}

void turns_init(struct datasets *d) {
    map_init(&d->turns);
    list_init(&d->ready);
    loop_task_init(&d->ready_task, on_ready);
}

void dataset_turn_take(struct datasets *d, struct dataset_turn *t, struct str key) {
    struct turn_queue *q = map_get(&d->turns, key);
    bool is_free = !q;
    if (!q) {
        q = xcalloc(1, sizeof(*q));
        list_init(&q->waiting);
        (void)map_put(&d->turns, key, q);
    }
    t->key = str_dup(key);
    t->is_ours = false;
    list_init(&t->ready);
    list_push_tail(&q->waiting, &t->link);
    if (is_free) {
        grant(d, q);
    }
}

void dataset_turn_release(struct datasets *d, struct dataset_turn *t) {
    struct turn_queue *q = map_get(&d->turns, str_of(t->key));
    CHECK(q && t->is_ours && list_first(&q->waiting, struct dataset_turn, link) == t);
    list_del(&t->link);
    list_del(&t->ready);
    t->is_ours = false;
    if (list_is_empty(&q->waiting)) {
        (void)map_del(&d->turns, str_of(t->key));
        free(q);
    } else {
        grant(d, q);
    }
    free(t->key);
    t->key = NULL;
}
