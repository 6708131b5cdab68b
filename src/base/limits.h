/* Every resource a peer can make us spend has a name here, a default, and a config key of the same
 * name under [limits]. Rejections are counted by name (metrics) and the error text names the limit
 * and its value. */
#ifndef CUSP_BASE_LIMITS_H
#define CUSP_BASE_LIMITS_H

#include "base/check.h"

/* X(name, default, what it bounds) */
#define LIMITS(X)                                                                                  \
    X(max_connections, 4096, "open client connections")                                            \
    X(max_header_bytes, 65536, "bytes of one request's head")                                      \
    X(max_header_count, 100, "header lines of one request")                                        \
    X(max_header_line, 16384, "bytes of one header line or request line")                          \
    X(max_api_body, 10485760, "bytes of one API request body")                                     \
    X(max_pipelined, 64, "pipelined requests of one connection answered in a row")                 \
    X(max_chunk_ext, 1024, "bytes of one chunk's extensions")                                      \
    X(max_write_queue, 1048576, "bytes queued to one slow client before its source pauses")        \
    X(header_timeout_ms, 15000, "time to send a request head")                                     \
    X(body_idle_timeout_ms, 60000, "pause inside a request body")                                  \
    X(keepalive_timeout_ms, 75000, "idle time between requests")                                   \
    X(write_stall_timeout_ms, 60000, "no progress writing to a client")                            \
    X(max_tls_handshakes, 512, "TLS handshakes begun and not complete; later clients wait")        \
    X(tls_handshake_timeout_ms, 10000, "time to complete a TLS handshake")                         \
    X(warm_free_percent, 25,                                                                       \
      "of the idle memory, that a large upload is read into for its first reader; 0: never")       \
    X(max_cold_reads, 16,                                                                          \
      "large downloads read ahead from the disk at once; later ones as they go")                   \
    X(max_ws_message, 1048576, "bytes of one WebSocket message from a client")                     \
    X(ws_ping_ms, 30000, "WebSocket clients are asked for a sign of life this often")              \
    X(max_h2_streams, 100, "concurrent requests of one HTTP/2 connection")                         \
    X(max_h2_resets, 500,                                                                          \
      "requests one HTTP/2 connection may reset at once; a tenth more a second")                   \
    X(max_grpc_message, 10485760, "bytes of one gRPC request message, sent or unpacked")           \
    X(max_grpc_streams, 1024, "streaming gRPC calls open at once")                                 \
    X(access_log_bytes, 67108864, "bytes of access.log before it becomes access.log.1")            \
    X(max_json_depth, 100, "nesting of a JSON body")                                               \
    X(max_proto_depth, 100, "nesting of a protobuf body")                                          \
    X(max_message_bytes, 33554432, "memory of one decoded request message")                        \
    X(max_page_size, 1000, "items of one list page")                                               \
    X(max_filter_bytes, 8192, "bytes of a list filter")                                            \
    X(max_filter_terms, 100, "terms of a list filter")                                             \
    X(max_filter_depth, 32, "nested parentheses of a list filter")                                 \
    X(max_list_scan, 200000, "rows that one list page decodes and refuses before it ends short")   \
    X(hold_get_ms, 2000, "time a GET may wait for a job that is about to end; 0: none waits")      \
    X(hold_get_max, 256, "GETs waiting for jobs to end")                                           \
    X(max_operation_wait_s, 300, "seconds that one WaitOperation call waits at most")              \
    X(operation_retention_s, 2592000, "seconds that a finished operation can be read")             \
    X(max_operation_waits, 1024, "WaitOperation calls waiting")                                    \
    X(max_labels, 64, "labels of one resource")                                                    \
    X(max_dataset_items, 100000000, "items of one dataset")                                        \
    X(max_annotation_specs, 100000, "different annotation labels of one dataset")                  \
    X(max_item_annotations, 10000, "annotations of one item")                                      \
    X(max_item_labels, 64, "labels of one item, or of one annotation")                             \
    X(max_import_line, 16777216, "bytes of one line of an import file")                            \
    X(max_import_files, 10000, "files of one import")                                              \
    X(max_table_columns, 1000, "columns of a tabular dataset")                                     \
    X(max_imports_waiting, 100, "imports into datasets under way or waiting")                      \
    X(max_errand_tries, 5, "lives of the server that begin one operation's work")                  \
    X(max_imports, 5, "imports into datasets at once; later ones wait")                            \
    X(max_worker_pools, 4, "worker pools of one job")                                              \
    X(max_replicas, 1024, "replicas of one job")                                                   \
    X(max_open_uploads, 10000, "resumable uploads in progress")                                    \
    X(max_follow_streams, 256, "log streams being followed")                                       \
    X(metadata_waits, 64, "metadata requests of one replica that wait for a change")               \
    X(max_object_name, 1024, "bytes of an object name")                                            \
    X(max_object_bytes, 5497558138880, "bytes of one uploaded object")                             \
    X(max_object_metadata, 65536, "bytes of the JSON that describes one object")                   \
    X(max_csv_record, 16777216, "bytes of one record (line) of a CSV file")                        \
    X(max_split_values, 500000, "different values of the column of a stratified split")            \
    X(max_export_sources, 20000, "files of one table that is exported")                            \
    X(max_exports, 100, "dataset exports under way or waiting")                                    \
    X(export_shard_bytes, 1073741824, "bytes of one file of a dataset export")                     \
    X(hash_on_read_bytes, 8589934592, "largest file whose checksums are computed on first read")   \
    X(reattach_start_ms, 20000,                                                                    \
      "time a container that was starting when the server died has to start")                      \
    X(max_job_queue, 1000000, "jobs not yet finished")                                             \
    X(max_pipelines, 2000, "training pipelines not yet finished")                                  \
    X(max_tunings, 2000, "tuning jobs not yet finished")                                           \
    X(max_trial_reports, 10000,                                                                    \
      "reports of one trial that its job keeps one by one; later ones are thinned")                \
    X(max_trial_tags, 256, "different names under which one trial reports")                        \
    X(max_metrics_bytes, 262144, "bytes of a replica's metric file that are read, the newest")     \
    X(log_line_bytes, 262144, "bytes of one captured output line before it is split")              \
    X(log_retention_s, 2592000,                                                                    \
      "seconds that logs of ended jobs, and written entries, are kept; 0: for ever")               \
    X(log_job_bytes, 10737418240, "bytes of one ended job's log; the oldest go; 0: no bound")      \
    X(log_total_bytes, 107374182400, "bytes of all logs; the oldest ended jobs' go; 0: no bound")  \
    X(log_sweep_s, 60, "seconds between looks for logs that are too old or too large")             \
    X(image_max_bytes, 68719476736, "unpacked bytes of one image archive or layer")                \
    X(image_max_entries, 2000000, "files of one image archive or layer")                           \
    X(image_max_layers, 120, "layers of one image")                                                \
    X(image_max_manifest, 4194304, "bytes of one image manifest, index or config")                 \
    X(image_max_name, 512, "bytes of an image name")                                               \
    X(image_max_count, 10000, "images in the store")                                               \
    X(image_max_imports, 2, "images being imported at once")                                       \
    X(image_max_upload, 68719476736, "bytes of one uploaded image archive")                        \
    X(warm_idle_s, 604800, "seconds that the memory image of warm starts is kept unused")          \
    X(warm_max_images, 64, "memory images of warm starts; the longest unused go")                  \
    X(warm_max_bytes, 17179869184, "bytes of all of them; the longest unused go")                  \
    X(warm_image_bytes, 4294967296, "bytes of one memory image")                                   \
    X(warm_make_s, 300, "seconds to import the modules and write a memory image")                  \
    X(warm_max_making, 2, "memory images being made at once")                                      \
    X(registry_max_blob, 68719476736, "bytes of one blob pushed to the registry")                  \
    X(registry_max_uploads, 1000, "registry uploads under way")                                    \
    X(registry_upload_keep_s, 86400, "seconds an unfinished registry upload can be continued")     \
    X(registry_blob_grace_s, 3600, "seconds a pushed blob waits for a manifest before a prune")    \
    X(pull_max_images, 3, "images pulled from or pushed to other registries at once")              \
    X(pull_max_layers, 4, "layers fetched at once, of all pulls together")                         \
    X(pull_tries, 6, "tries in a row that get no further before a pull gives up")                  \
    X(pull_backoff_ms, 500, "pause before a pull's second try; doubles up to 30 s")                \
    X(pull_retry_wait_s, 300, "seconds that another registry may ask us to wait")                  \
    X(pull_connect_s, 15, "seconds to reach another registry")                                     \
    X(pull_stall_s, 60, "seconds of silence before a transfer is tried again")                     \
    X(pull_helper_s, 30, "seconds that a credential helper may take")                              \
    X(registry_max_repos, 10000, "repositories of the registry")                                   \
    X(registry_max_manifests, 10000, "manifests, and tags, of one registry repository")            \
    X(max_model_versions, 10000, "versions of one model")                                          \
    X(max_model_aliases, 500, "version aliases of one model")                                      \
    X(max_model_files, 100000, "files of one model's artefact")                                    \
    X(max_model_slices, 1000, "slices imported at once into a model's evaluation")                 \
    X(max_study_parameters, 500, "parameters of one study, conditional ones included")             \
    X(max_trial_measurements, 1000, "measurements kept of one trial; then every second goes")      \
    X(max_study_trials, 100000, "trials of one study or tuning job")                               \
    X(max_importances, 8, "questions at once which parameters of a study matter")                  \
    X(max_studies_loaded, 256, "Vizier studies kept in memory; others are read when asked for")    \
    X(max_suggestions, 1000, "trials asked for in one SuggestTrials call")                         \
    X(max_tuners, 64, "studies whose tuner stays in memory; it is made again when asked")          \
    X(max_stopping_trials, 500, "ended trials, the newest, that early stopping compares with")

struct limits {
#define X(name, def, what) uint64_t name;
    LIMITS(X)
#undef X
};
#define LIMITS_COUNT (sizeof(struct limits) / sizeof(uint64_t))

/* Process-wide, set once before threads start (config), read-only afterwards. */
extern struct limits limits;
/* By name; false when there is no such limit. */
bool limits_set(const char *name, uint64_t value);
struct limit_info {
    const char *name, *what;
    uint64_t value;
    uint64_t rejections;
};
/* All of them, in the order above. */
void limits_list(struct limit_info out[LIMITS_COUNT]);
/* Counts one rejection; atomic. name must be a limit's. Usage: limits_hit(&limits.max_connections)
 */
void limits_hit(const uint64_t *which);

#endif
