/* What operators and probes ask: alive, ready, metrics, version; and which CA signed for us. */
#include "api/call.h"

#include "api/dataset_export.h"
#include "api/hold.h"
#include "api/datasets.h"
#include "api/operations.h"
#include "base/limits.h"
#include "ctl/studies.h"

static void text(struct xch *x, int status, struct str body) {
    struct header h = {STR("content-type"), STR("text/plain; charset=utf-8")};
    xch_reply(x, status, &h, 1, body);
}

static void metric(struct buf *b, const char *name, const char *help, const char *type,
                   uint64_t v) {
    buf_printf(b, "# HELP cusp_%s %s\n# TYPE cusp_%s %s\ncusp_%s %llu\n", name, help, name, type,
               name, (unsigned long long)v);
}

static void outcomes(struct buf *b, const char *name, const char *help, uint64_t done,
                     uint64_t failed) {
    buf_printf(b,
               "# HELP cusp_%s %s\n# TYPE cusp_%s counter\ncusp_%s{result=\"done\"} %llu\n"
               "cusp_%s{result=\"failed\"} %llu\n",
               name, help, name, name, (unsigned long long)done, name, (unsigned long long)failed);
}

static void metrics(struct api *a, struct xch *x) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct ctl_stats cs;
    struct store_stats ss;
    struct limit_info li[LIMITS_COUNT];
    ctl_get_stats(a->ctl, &cs);
    a->store->ops->get_stats(a->store, &ss);
    metric(&b, "jobs_queued", "jobs waiting for capacity or quota", "gauge", cs.queued);
    metric(&b, "jobs_pending", "jobs being prepared", "gauge", cs.pending);
    metric(&b, "jobs_running", "jobs running", "gauge", cs.running);
    metric(&b, "jobs_finished_total", "jobs that ended since start", "counter", cs.finished_total);
    metric(&b, "pipelines_live", "training pipelines that have not ended", "gauge",
           cs.pipelines_live);
    metric(&b, "pipelines_finished_total", "training pipelines that ended since start", "counter",
           cs.pipelines_finished_total);
    metric(&b, "cpu_milli_held", "CPU granted to attempts, in thousandths", "gauge",
           cs.cpu_milli_held);
    metric(&b, "cpu_milli_total", "CPU of this host, in thousandths", "gauge", cs.cpu_milli_total);
    metric(&b, "memory_bytes_held", "memory granted to attempts", "gauge", cs.mem_held);
    metric(&b, "memory_bytes_total", "memory of this host for jobs", "gauge", cs.mem_total);
    metric(&b, "queue_age_usec", "age of the oldest queued job", "gauge", cs.oldest_queued_age);
    metric(&b, "store_commits_total", "transactions made durable", "counter", ss.commits);
    metric(&b, "store_batches_total", "batches (one fsync each)", "counter", ss.batches);
    metric(&b, "store_commit_latency_usec", "latest commit, given to durable", "gauge",
           ss.last_commit_latency);
    metric(&b, "store_cache_hits_total", "reads served from memory", "counter", ss.cache_hits);
    metric(&b, "store_cache_misses_total", "reads that went to the database", "counter",
           ss.cache_misses);
    if (a->holds) {
        struct hold_stats hs;
        holds_get_stats(a->holds, &hs);
        metric(&b, "held_gets", "GETs waiting for a job to end", "gauge", hs.held[HOLD_GET]);
        metric(&b, "held_gets_total", "GETs that were made to wait", "counter", hs.total[HOLD_GET]);
        metric(&b, "held_gets_ended_total", "those that saw the end", "counter",
               hs.ended[HOLD_GET]);
        metric(&b, "operation_waits", "WaitOperation calls waiting", "gauge", hs.held[HOLD_WAIT]);
    }
    if (a->operations) {
        struct operations_stats os;
        operations_get_stats(a->operations, &os);
        metric(&b, "operations_running", "long-running operations under way", "gauge", os.running);
        metric(&b, "operations_finished_total", "operations that ended since start", "counter",
               os.finished_total);
        metric(&b, "operations_swept_total", "finished operations removed for age", "counter",
               os.swept_total);
    }
    if (a->datasets) {
        struct datasets_stats ds;
        datasets_get_stats(a->datasets, &ds);
        metric(&b, "dataset_edits_running", "imports and other edits of items, waiting ones too",
               "gauge", ds.edits_running);
        metric(&b, "dataset_edits_total", "edits of items begun since start", "counter",
               ds.edits_total);
        metric(&b, "dataset_views_held", "states of items being read", "gauge", ds.views_held);
        metric(&b, "dataset_files_removed_total", "files of items that nothing named any more",
               "counter", ds.files_removed);
        outcomes(&b, "dataset_imports_total", "imports that ended since start", ds.imports_done,
                 ds.imports_failed);
        metric(&b, "dataset_import_lines_total", "lines taken by imports since start", "counter",
               ds.import_lines);
        metric(&b, "dataset_import_lines_refused_total", "lines that imports left out", "counter",
               ds.import_lines_refused);
    }
    if (a->exports) {
        struct dataset_exports_stats es;
        dataset_exports_get_stats(a->exports, &es);
        metric(&b, "dataset_exports_running", "exports under way or waiting", "gauge", es.running);
        outcomes(&b, "dataset_exports_total", "exports that ended since start", es.done, es.failed);
        metric(&b, "dataset_export_items_total", "rows and data items exported since start",
               "counter", es.items);
    }
    if (a->studies) {
        struct studies_stats vs;
        studies_get_stats(a->studies, &vs);
        metric(&b, "studies_loaded", "Vizier studies in memory", "gauge", vs.loaded);
        metric(&b, "studies_loads_total", "Vizier studies read from the store", "counter",
               vs.loads);
        metric(&b, "studies_evicted_total", "Vizier studies that made room for others", "counter",
               vs.evictions);
        metric(&b, "study_changes_total", "changes of Vizier studies since start", "counter",
               vs.changes);
        metric(&b, "study_change_decide_usec_total", "of these: until they were given to the store",
               "counter", vs.decide_time);
        metric(&b, "study_change_commit_usec_total", "of these: until they were durable", "counter",
               vs.commit_time);
        metric(&b, "study_suggestions_total", "times that Vizier studies were asked what to try",
               "counter", vs.asked);
        metric(&b, "study_suggestions_ready_total", "those that were computed ahead", "counter",
               vs.asked_ready);
    }
    limits_list(li);
    buf_puts(&b, "# HELP cusp_limit configured limits\n# TYPE cusp_limit gauge\n");
    for (size_t i = 0; i < LIMITS_COUNT; i++) {
        buf_printf(&b, "cusp_limit{name=\"%s\"} %llu\n", li[i].name,
                   (unsigned long long)li[i].value);
    }
    buf_puts(&b, "# HELP cusp_limit_rejections_total requests refused by a limit\n"
                 "# TYPE cusp_limit_rejections_total counter\n");
    for (size_t i = 0; i < LIMITS_COUNT; i++) {
        buf_printf(&b, "cusp_limit_rejections_total{name=\"%s\"} %llu\n", li[i].name,
                   (unsigned long long)li[i].rejections);
    }
    if (a->more_metrics) {
        a->more_metrics(a->metrics_arg, &b);
    }
    struct header h = {STR("content-type"), STR("text/plain; version=0.0.4")};
    xch_reply(x, 200, &h, 1, buf_str(&b));
}

/* So that `cusp env` can tell clients whom to trust: the CA's certificate is public. */
static void tls(struct api *a, struct xch *x) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct jw w;
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_kv(&w, "mode", a->tls_mode ? a->tls_mode : "off");
    if (a->ca_pem) {
        jw_kv(&w, "caPath", a->ca_path);
        jw_kv(&w, "caPem", a->ca_pem);
    }
    jw_end_object(&w);
    buf_putc(&b, '\n');
    reply_json(x, 200, buf_str(&b));
}

/* Who opens the address in a browser is told what answers there. */
bool front_handle(struct api *a, struct xch *x) {
    if (!str_eqc(xch_head(x)->path, "/") || !str_eqc(xch_head(x)->method, "GET")) {
        return false;
    }
    auto_buf struct buf b = BUF_INIT(4096);
    buf_printf(
        &b,
        "cusp %s: Vertex AI custom training on this machine\n\n"
        "This port answers programs: Vertex AI's, Cloud Storage's and Cloud Logging's REST\n"
        "and gRPC, and a container registry. There are no web pages; what there is to see:\n\n"
        "  cusp custom-jobs list          jobs (and training-pipelines, hp-tuning-jobs, models, "
        "…)\n"
        "  cusp env                       how to point the official clients here\n"
        "  cusp --help                    everything else\n\n"
        "  /healthz /readyz /version      is it well\n"
        "  /metrics                       figures for Prometheus\n",
        a->version);
    text(x, 200, buf_str(&b));
    return true;
}

bool admin_handle(struct api *a, struct xch *x) {
    struct str path = xch_head(x)->path;
    if (str_eqc(path, "/healthz")) {
        text(x, 200, STR("ok\n"));
    } else if (str_eqc(path, "/readyz")) {
        text(x, a->ready ? 200 : 503,
             a->ready ? STR("ready\n") : STR("catching up after restart\n"));
    } else if (str_eqc(path, "/metrics")) {
        metrics(a, x);
    } else if (str_eqc(path, "/version")) {
        auto_buf struct buf b = BUF_INIT(256);
        struct jw w;
        jw_init(&w, &b, 2);
        jw_object(&w);
        jw_kv(&w, "version", a->version);
        jw_end_object(&w);
        buf_putc(&b, '\n');
        reply_json(x, 200, buf_str(&b));
    } else if (str_eqc(path, "/cusp/v1/tls")) {
        tls(a, x);
    } else {
        return false;
    }
    return true;
}
