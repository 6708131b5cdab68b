/* See unbuilt.h. The SDK calls these from public methods (Model.deploy,
 * aiplatform.init(experiment=), PipelineJob.submit, …), so what people read is this text. */
#include "api/unbuilt.h"

struct instead {
    const char *service; /* last part of its full name */
    const char *part;    /* of the method's name; "": every method */
    const char *text;
};

static const struct instead table[] = {
    {"PersistentResourceService", "",
     "There are no persistent resources here, and none are needed: leave persistent_resource_id "
     "out, containers start in milliseconds."},
    {"EndpointService", "",
     "This server trains and does not serve: run the model's serving container, or load the files "
     "under its artifact_uri."},
    {"PredictionService", "",
     "This server trains and does not serve: run the model's serving container, or load the files "
     "under its artifact_uri."},
    {"TensorboardService", "",
     "Write the event files to AIP_TENSORBOARD_LOG_DIR (a job with a base_output_directory has it) "
     "and run `tensorboard --logdir` on that folder of the bucket."},
    {"MetadataService", "",
     "Experiments and their runs are not kept here: leave `experiment` out. What a job wrote is in "
     "its log and its output folder; where a model came from: `cusp models describe --lineage`."},
    {"JobService", "BatchPrediction",
     "Run the prediction as a CustomJob that reads the model's artifact_uri and writes its results "
     "to a bucket."},
    {"JobService", "DataLabeling",
     "Import labels with the data instead: `cusp datasets import` takes the documented JSONL."},
    {"JobService", "Nas", "Search with a HyperparameterTuningJob or a Vizier study instead."},
    {"JobService", "ModelDeploymentMonitoring", "Nothing is served here that could be monitored."},
    {"PipelineService", "PipelineJob",
     "Training pipelines run here, graphs of pipeline components do not: create a "
     "TrainingPipeline, "
     "or a CustomJob for each step."},
    {"IAMPolicy", "", "No permissions are kept: whoever reaches this server may do everything."},
};

int unbuilt_error(const struct rpc_method *rpc, struct err *err) {
    struct str method = str_of(rpc->full), service = str_cut(&method, '/');
    const char *text = "";
    for (size_t i = 0; i < NR_OF(table) && !text[0]; i++) {
        if (str_ends(service, str_of(table[i].service)) &&
            str_find(method, str_of(table[i].part)) >= 0) {
            text = table[i].text;
        }
    }
    return err_set(err, ERR_UNIMPLEMENTED,
                   "Operation is not implemented, or supported, or enabled. (%s)%s%s", rpc->full,
                   text[0] ? " " : "", text);
}
