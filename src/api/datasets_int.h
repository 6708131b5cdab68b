/* Private to datasets.c, dataset_edit.c and dataset_turn.c. */
#ifndef CUSP_API_DATASETS_INT_H
#define CUSP_API_DATASETS_INT_H

#include "api/datasets.h"
#include "base/map.h"
#include "base/vec.h"
#include "sys/loop.h"

#include <dirent.h>

struct datasets {
    struct api *api;
    struct loop *loop;
    struct blob *blob;
    char *dir;
    struct lane *edit_lane, *read_lane;
    struct list edits, views;
    uint64_t last_file;
    struct datasets_stats stats;
    /* turns */
    struct map turns;  /* key -> struct turn_queue */
    struct list ready; /* turns whose fn is to be called */
    struct loop_task ready_task;
    /* start, stop */
    struct loop_task recover_task, stop_task;
    void (*recover_cb)(void *arg, const struct err *err);
    void *recover_arg;
    DIR *recover_dir;
    size_t tidies;
    bool stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
};

struct dataset_view {
    struct datasets *d;
    struct list link;
    char *name; /* of the dataset */
    uint64_t file;
    char *path;          /* NULL: no items */
    bool was_in_the_way; /* its file would have been removed */
};

char *dataset_folder(const struct datasets *d, struct str name);
char *dataset_file(const struct datasets *d, struct str name, uint64_t file);
/* A generation that was never given: later ones are larger, across restarts as far as clocks go. */
uint64_t dataset_next_file(struct datasets *d);
void turns_init(struct datasets *d);
/* After something that a stop waits for has ended. */
void datasets_check_stopped(struct datasets *d);

#endif
