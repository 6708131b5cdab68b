/* Which method is handled where. A method missing here is known and answers UNIMPLEMENTED. */
#include "api/call.h"
#include "api/svc.h"
#include "pb/rpc_id.h"

static const call_handler handlers[] = {
    [RPC_JOB_CREATE_CUSTOM_JOB] = svc_job_create,
    [RPC_JOB_GET_CUSTOM_JOB] = svc_job_get,
    [RPC_JOB_LIST_CUSTOM_JOBS] = svc_job_list,
    [RPC_JOB_CANCEL_CUSTOM_JOB] = svc_job_cancel,
    [RPC_JOB_DELETE_CUSTOM_JOB] = svc_job_delete,
    [RPC_OPERATIONS_GET_OPERATION] = svc_operations_get,
    [RPC_OPERATIONS_LIST_OPERATIONS] = svc_operations_list,
    [RPC_OPERATIONS_WAIT_OPERATION] = svc_operations_wait,
    [RPC_OPERATIONS_CANCEL_OPERATION] = svc_operations_cancel,
    [RPC_OPERATIONS_DELETE_OPERATION] = svc_operations_delete,
    [RPC_LOCATIONS_GET_LOCATION] = svc_locations_get,
    [RPC_LOCATIONS_LIST_LOCATIONS] = svc_locations_list,
};

call_handler call_handler_find(unsigned rpc_id) {
    return rpc_id && rpc_id < NR_OF(handlers) ? handlers[rpc_id] : NULL;
}
