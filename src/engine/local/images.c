/* Images that no job has run from yet: fetched, or only unpacked, by the puller, while the attempt
 * waits off the lanes. Its words go to the job's log, its progress to whoever asks why the job is
 * not running. */
#include "engine/local/local_int.h"

int images_ready(struct local_attempt *a, uint32_t p, bool *ret_ready, struct err *err) {
    struct local_pool *lp = &a->pools[p];
    const struct engine_local_opts *o = &a->eng->opts;
    const char *uri = a->run->spec->pools[p].image_uri;
    struct err why = {0};
    *ret_ready = true;
    if (o->puller == NULL || lp->pulled) {
        return image_resolve(o->images, a->arena, uri, &lp->image, err);
    }
    if (puller_policy(o->puller) != PULL_ALWAYS &&
        image_find(o->images, a->arena, uri, &lp->image, &why) == 0) {
        return 0;
    }
    /* Not unpacked, not here, or to be looked up: what is wrong otherwise the puller says too. */
    *ret_ready = false;
    return 0;
}

static struct local_attempt *attempt_of(struct pull_wait *w) {
    return CONTAINER_OF(w, struct local_attempt, pull);
}

static void tell_waiting(struct local_attempt *a, const char *text) {
    if (!a->releasing && a->run->sink->waiting != NULL) {
        a->run->sink->waiting(a->run, text);
    }
}

static void on_note(struct pull_wait *w, int severity, const char *text) {
    attempt_note(attempt_of(w), severity, text);
}

static void on_progress(struct pull_wait *w, const struct transfer_state *t) {
    auto_buf struct buf b = BUF_INIT(2048);
    transfer_text(t, "pulling image", w->uri, &b);
    tell_waiting(attempt_of(w), buf_cstr(&b));
}

static void on_done(struct pull_wait *w, const struct err *why) {
    struct local_attempt *a = attempt_of(w);
    a->took_image += time_mono() - a->pull_since;
    a->pools[a->need_image].pulled = true;
    tell_waiting(a, NULL);
    stage_images_ready(a, why);
}

void images_want(struct local_attempt *a, uint32_t p) {
    a->pull_since = time_mono();
    a->pull = (struct pull_wait){.uri = a->run->spec->pools[p].image_uri,
                                 .policy = puller_policy(a->eng->opts.puller),
                                 .note = on_note,
                                 .progress = on_progress,
                                 .done = on_done};
    list_init(&a->pull.link);
    puller_pull(a->eng->opts.puller, &a->pull);
}

void images_forget(struct local_attempt *a) {
    if (a->pull.pull != NULL) {
        puller_forget(a->eng->opts.puller, &a->pull);
    }
}
