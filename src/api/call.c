/* Which method is handled where, and the answers of every dialect. */
#include "api/call.h"

#include "api/grpc.h"
#include "api/rest.h"
#include "api/svc.h"
#include "base/log.h"
#include "pb/rpc_id.h"

#define ERROR_TEXT_MAX (128u * 1024u)

/* A method missing here is known and answers UNIMPLEMENTED. */
static const call_handler handlers[] = {
    [RPC_JOB_CREATE_CUSTOM_JOB] = svc_job_create,
    [RPC_JOB_GET_CUSTOM_JOB] = svc_job_get,
    [RPC_JOB_LIST_CUSTOM_JOBS] = svc_job_list,
    [RPC_JOB_CANCEL_CUSTOM_JOB] = svc_job_cancel,
    [RPC_JOB_DELETE_CUSTOM_JOB] = svc_job_delete,
    [RPC_JOB_CREATE_HYPERPARAMETER_TUNING_JOB] = svc_tuning_create,
    [RPC_JOB_GET_HYPERPARAMETER_TUNING_JOB] = svc_tuning_get,
    [RPC_JOB_LIST_HYPERPARAMETER_TUNING_JOBS] = svc_tuning_list,
    [RPC_JOB_CANCEL_HYPERPARAMETER_TUNING_JOB] = svc_tuning_cancel,
    [RPC_JOB_DELETE_HYPERPARAMETER_TUNING_JOB] = svc_tuning_delete,
    [RPC_PIPELINE_CREATE_TRAINING_PIPELINE] = svc_pipeline_create,
    [RPC_PIPELINE_GET_TRAINING_PIPELINE] = svc_pipeline_get,
    [RPC_PIPELINE_LIST_TRAINING_PIPELINES] = svc_pipeline_list,
    [RPC_PIPELINE_CANCEL_TRAINING_PIPELINE] = svc_pipeline_cancel,
    [RPC_PIPELINE_DELETE_TRAINING_PIPELINE] = svc_pipeline_delete,
    [RPC_MODEL_UPLOAD_MODEL] = svc_model_upload,
    [RPC_MODEL_GET_MODEL] = svc_model_get,
    [RPC_MODEL_LIST_MODELS] = svc_model_list,
    [RPC_MODEL_LIST_MODEL_VERSIONS] = svc_model_list_versions,
    [RPC_MODEL_LIST_MODEL_VERSION_CHECKPOINTS] = svc_model_list_checkpoints,
    [RPC_MODEL_UPDATE_MODEL] = svc_model_update,
    [RPC_MODEL_DELETE_MODEL] = svc_model_delete,
    [RPC_MODEL_DELETE_MODEL_VERSION] = svc_model_delete_version,
    [RPC_MODEL_MERGE_VERSION_ALIASES] = svc_model_merge_aliases,
    [RPC_MODEL_EXPORT_MODEL] = svc_model_export,
    [RPC_MODEL_COPY_MODEL] = svc_model_copy,
    [RPC_MODEL_IMPORT_MODEL_EVALUATION] = svc_model_evaluation_import,
    [RPC_MODEL_GET_MODEL_EVALUATION] = svc_model_evaluation_get,
    [RPC_MODEL_LIST_MODEL_EVALUATIONS] = svc_model_evaluation_list,
    [RPC_MODEL_BATCH_IMPORT_MODEL_EVALUATION_SLICES] = svc_model_slices_import,
    [RPC_MODEL_BATCH_IMPORT_EVALUATED_ANNOTATIONS] = svc_model_annotations_import,
    [RPC_MODEL_UPDATE_EXPLANATION_DATASET] = svc_model_update_examples,
    [RPC_MODEL_GET_MODEL_EVALUATION_SLICE] = svc_model_slice_get,
    [RPC_MODEL_LIST_MODEL_EVALUATION_SLICES] = svc_model_slice_list,
    [RPC_DATASET_CREATE_DATASET] = svc_dataset_create,
    [RPC_DATASET_GET_DATASET] = svc_dataset_get,
    [RPC_DATASET_LIST_DATASETS] = svc_dataset_list,
    [RPC_DATASET_UPDATE_DATASET] = svc_dataset_update,
    [RPC_DATASET_DELETE_DATASET] = svc_dataset_delete,
    [RPC_DATASET_IMPORT_DATA] = svc_dataset_import,
    [RPC_DATASET_EXPORT_DATA] = svc_dataset_export,
    [RPC_DATASET_LIST_DATA_ITEMS] = svc_dataset_items,
    [RPC_DATASET_SEARCH_DATA_ITEMS] = svc_dataset_search,
    [RPC_DATASET_LIST_ANNOTATIONS] = svc_dataset_annotations,
    [RPC_DATASET_GET_ANNOTATION_SPEC] = svc_dataset_spec,
    [RPC_DATASET_CREATE_DATASET_VERSION] = svc_dataset_version_create,
    [RPC_DATASET_GET_DATASET_VERSION] = svc_dataset_version_get,
    [RPC_DATASET_LIST_DATASET_VERSIONS] = svc_dataset_version_list,
    [RPC_DATASET_UPDATE_DATASET_VERSION] = svc_dataset_version_update,
    [RPC_DATASET_DELETE_DATASET_VERSION] = svc_dataset_version_delete,
    [RPC_DATASET_RESTORE_DATASET_VERSION] = svc_dataset_version_restore,
    [RPC_DATASET_LIST_SAVED_QUERIES] = svc_dataset_queries,
    [RPC_DATASET_DELETE_SAVED_QUERY] = svc_dataset_query_delete,
    [RPC_VIZIER_CREATE_STUDY] = svc_vizier_create_study,
    [RPC_VIZIER_GET_STUDY] = svc_vizier_get_study,
    [RPC_VIZIER_LIST_STUDIES] = svc_vizier_list_studies,
    [RPC_VIZIER_DELETE_STUDY] = svc_vizier_delete_study,
    [RPC_VIZIER_LOOKUP_STUDY] = svc_vizier_lookup_study,
    [RPC_VIZIER_CREATE_TRIAL] = svc_vizier_create_trial,
    [RPC_VIZIER_GET_TRIAL] = svc_vizier_get_trial,
    [RPC_VIZIER_LIST_TRIALS] = svc_vizier_list_trials,
    [RPC_VIZIER_ADD_TRIAL_MEASUREMENT] = svc_vizier_measure,
    [RPC_VIZIER_COMPLETE_TRIAL] = svc_vizier_complete,
    [RPC_VIZIER_STOP_TRIAL] = svc_vizier_stop,
    [RPC_VIZIER_DELETE_TRIAL] = svc_vizier_delete_trial,
    [RPC_VIZIER_LIST_OPTIMAL_TRIALS] = svc_vizier_list_optimal,
    [RPC_VIZIER_SUGGEST_TRIALS] = svc_vizier_suggest,
    [RPC_VIZIER_CHECK_TRIAL_EARLY_STOPPING_STATE] = svc_vizier_check,
    [RPC_OPERATIONS_GET_OPERATION] = svc_operations_get,
    [RPC_OPERATIONS_LIST_OPERATIONS] = svc_operations_list,
    [RPC_OPERATIONS_WAIT_OPERATION] = svc_operations_wait,
    [RPC_OPERATIONS_CANCEL_OPERATION] = svc_operations_cancel,
    [RPC_OPERATIONS_DELETE_OPERATION] = svc_operations_delete,
    [RPC_LOCATIONS_GET_LOCATION] = svc_locations_get,
    [RPC_LOCATIONS_LIST_LOCATIONS] = svc_locations_list,
    [RPC_PROJECTS_GET_PROJECT] = svc_projects_get,
    [RPC_PROJECTS_V1_GET_PROJECT] = svc_projects_v1_get,
    [RPC_LOGGING_LIST_LOG_ENTRIES] = svc_logging_list,
    [RPC_LOGGING_LIST_LOGS] = svc_logging_logs,
    [RPC_LOGGING_DELETE_LOG] = svc_logging_delete,
    [RPC_LOGGING_LIST_MONITORED_RESOURCE_DESCRIPTORS] = svc_logging_resources,
    [RPC_LOGGING_WRITE_LOG_ENTRIES] = svc_logging_write,
    [RPC_LOGGING_TAIL_LOG_ENTRIES] = svc_logging_tail,
    [RPC_HEALTH_CHECK] = svc_health_check,
    [RPC_HEALTH_LIST] = svc_health_list,
    [RPC_HEALTH_WATCH] = svc_health_watch,
    [RPC_SERVER_REFLECTION_SERVER_REFLECTION_INFO] = svc_reflection_info,
};

call_handler call_handler_find(unsigned rpc_id) {
    return rpc_id && rpc_id < NR_OF(handlers) ? handlers[rpc_id] : NULL;
}

/* ---- answers */

void call_reply(struct call *c, const ProtobufCMessage *msg) {
    c->ops->reply(c, msg);
}

bool call_takes_packed(const struct call *c) {
    return c->ops->reply_packed && !c->json.mask;
}

void call_reply_packed(struct call *c, const struct str *parts, size_t nr) {
    c->ops->reply_packed(c, parts, nr);
}

/* Texts that may hold host paths go to our log; the peer gets the number to ask for. */
static void seal(struct xch *x, struct api_error *e) {
    const struct xch_head *h = xch_head(x);
    if (!api_error_is_private(e->code)) {
        return;
    }
    log_error("internal error", "request=%llu %.*s %.*s error=\"%.*s\"",
              (unsigned long long)xch_id(x), STR_ARG(h->method), STR_ARG(h->path),
              STR_ARG(e->message));
    const char *text = arena_printf(
        xch_arena(x),
        "Internal error encountered. The server's log has the cause under request=%llu.",
        (unsigned long long)xch_id(x));
    e->message = text ? str_of(text) : STR("Internal error encountered.");
    e->nr_details = 0;
}

void call_fail_error(struct call *c, const struct api_error *e) {
    struct api_error own = *e;
    seal(c->xch, &own);
    c->ops->fail(c, &own);
}

void call_fail(struct call *c, const struct err *err) {
    struct api_error e;
    api_error_from(c->arena, err, &e);
    call_fail_error(c, &e);
}

void reply_error(struct xch *x, const struct err *err) {
    struct api_error e;
    api_error_from(xch_arena(x), err, &e);
    seal(x, &e);
    if (grpc_is_spoken(x) && xch_is_h2(x)) {
        grpc_error(x, &e);
    } else {
        rest_error(x, err_code_http(e.code), &e);
    }
}

void call_fail_violations(struct call *c, const struct violations *vs) {
    struct api_error e;
    auto_buf struct buf text = BUF_INIT(ERROR_TEXT_MAX);
    violations_list_text(vs, &text);
    api_error_from_violations(c->arena, vs, buf_str(&text), &e);
    c->ops->fail(c, &e);
}

void call_fail_decoding(struct call *c, const struct err *err, const struct violations *vs) {
    struct api_error e;
    auto_buf struct buf text = BUF_INIT(ERROR_TEXT_MAX);
    if (!vs->n) {
        call_fail(c, err);
        return;
    }
    violations_plain_text(vs, &text);
    api_error_from_violations(c->arena, vs, buf_str(&text), &e);
    e.code = err->code;
    c->ops->fail(c, &e);
}

/* ---- streams */

void call_listen(struct call *c, const struct call_listener *l, void *arg) {
    c->ops->listen(c, l, arg);
}

void call_next(struct call *c) {
    c->ops->next(c);
}

bool call_send(struct call *c, const ProtobufCMessage *msg) {
    return c->ops->send(c, msg);
}

void call_end(struct call *c) {
    c->ops->end(c);
}
