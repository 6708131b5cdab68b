/* Handlers by service; the table of call.c names them. Each answers its call exactly once. */
#ifndef CUSP_API_SVC_H
#define CUSP_API_SVC_H

#include "api/call.h"
#include "pb/aip.h"

/* svc_job.c */
void svc_job_create(struct call *c);
void svc_job_get(struct call *c);
void svc_job_list(struct call *c);
void svc_job_cancel(struct call *c);
void svc_job_delete(struct call *c);

/* svc_pipeline.c */
void svc_pipeline_create(struct call *c);
void svc_pipeline_get(struct call *c);
void svc_pipeline_list(struct call *c);
void svc_pipeline_cancel(struct call *c);
void svc_pipeline_delete(struct call *c);

/* svc_tuning.c */
void svc_tuning_create(struct call *c);
void svc_tuning_get(struct call *c);
void svc_tuning_list(struct call *c);
void svc_tuning_cancel(struct call *c);
void svc_tuning_delete(struct call *c);

/* svc_model.c */
void svc_model_get(struct call *c);
void svc_model_list(struct call *c);
void svc_model_list_versions(struct call *c);
void svc_model_list_checkpoints(struct call *c);
/* svc_model_change.c */
void svc_model_update(struct call *c);
void svc_model_merge_aliases(struct call *c);
void svc_model_delete_version(struct call *c);
void svc_model_delete(struct call *c);
/* svc_model_upload.c */
void svc_model_upload(struct call *c);
void svc_model_copy(struct call *c);
/* svc_model_export.c */
void svc_model_export(struct call *c);
/* svc_model_explain.c */
void svc_model_update_examples(struct call *c);
/* svc_model_eval.c */
void svc_model_evaluation_import(struct call *c);
void svc_model_evaluation_get(struct call *c);
void svc_model_evaluation_list(struct call *c);
void svc_model_slices_import(struct call *c);
void svc_model_annotations_import(struct call *c);
void svc_model_slice_get(struct call *c);
void svc_model_slice_list(struct call *c);

/* svc_dataset.c, svc_dataset_import.c, svc_dataset_items.c, svc_dataset_version.c */
void svc_dataset_create(struct call *c);
void svc_dataset_get(struct call *c);
void svc_dataset_list(struct call *c);
void svc_dataset_update(struct call *c);
void svc_dataset_delete(struct call *c);
void svc_dataset_import(struct call *c);
void svc_dataset_export(struct call *c); /* svc_dataset_export.c */
void svc_dataset_items(struct call *c);
void svc_dataset_search(struct call *c);
void svc_dataset_annotations(struct call *c);
void svc_dataset_spec(struct call *c);
void svc_dataset_version_create(struct call *c);
void svc_dataset_version_get(struct call *c);
void svc_dataset_version_list(struct call *c);
void svc_dataset_version_update(struct call *c);
void svc_dataset_version_delete(struct call *c);
void svc_dataset_version_restore(struct call *c);
void svc_dataset_queries(struct call *c);
void svc_dataset_query_delete(struct call *c);

/* svc_vizier.c, svc_vizier_trial.c, svc_vizier_ask.c */
void svc_vizier_create_study(struct call *c);
void svc_vizier_get_study(struct call *c);
void svc_vizier_list_studies(struct call *c);
void svc_vizier_delete_study(struct call *c);
void svc_vizier_lookup_study(struct call *c);
void svc_vizier_create_trial(struct call *c);
void svc_vizier_get_trial(struct call *c);
void svc_vizier_list_trials(struct call *c);
void svc_vizier_measure(struct call *c);
void svc_vizier_complete(struct call *c);
void svc_vizier_stop(struct call *c);
void svc_vizier_delete_trial(struct call *c);
void svc_vizier_list_optimal(struct call *c);
void svc_vizier_suggest(struct call *c);
void svc_vizier_check(struct call *c);

/* svc_operations.c */
void svc_operations_get(struct call *c);
void svc_operations_list(struct call *c);
void svc_operations_wait(struct call *c);
void svc_operations_cancel(struct call *c);
void svc_operations_delete(struct call *c);
/* Answers with a finished delete operation for resource `name`, kept for later GETs; replies after
 * the operation is durable. */
void svc_operation_reply_deleted(struct call *c, struct str name);
/* Answers with an operation, its types named for the API version that the client speaks. is_beta:
 * the version it was caused by, for clients that name none (/ui, gRPC's Operations). */
void svc_operation_reply(struct call *c, Google__Longrunning__Operation *op, bool is_beta);

/* svc_locations.c */
void svc_locations_get(struct call *c);
void svc_locations_list(struct call *c);

/* svc_projects.c: resource manager v3, and v1 in its REST form */
void svc_projects_get(struct call *c);
void svc_projects_v1_get(struct call *c);

/* svc_logging.c, svc_logging_write.c, svc_logging_tail.c: google.logging.v2 */
void svc_logging_list(struct call *c);
void svc_logging_logs(struct call *c);
void svc_logging_delete(struct call *c);
void svc_logging_resources(struct call *c);
void svc_logging_write(struct call *c);
void svc_logging_tail(struct call *c); /* streams both ways */

/* svc_health.c: grpc.health.v1 */
void svc_health_check(struct call *c);
void svc_health_list(struct call *c);
void svc_health_watch(struct call *c); /* streams */

/* svc_reflection.c: grpc.reflection.v1, v1alpha */
void svc_reflection_info(struct call *c); /* streams both ways */

#endif
