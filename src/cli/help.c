/* The text of `cusp help` and of every command's --help. */
#include "cli/cli.h"

#include "base/near.h"

#define GLOBAL                                                                                     \
    "\nGlobal flags: --project --region --endpoint --format=json --quiet (see cusp --help)\n"
#define DATASET_IS "\nDATASET is an id or a whole resource name.\n"
#define PIPELINE_IS "\nPIPELINE is an id or a full resource name.\n"
#define MODEL_IS "\nMODEL is an id or a full resource name; VERSION a number or an alias.\n"
#define STUDY_IS "\nSTUDY: an id (see studies list), a whole name, or a display name.\n"
#define TUNING_IS "\nJOB is an id or a full resource name; TRIAL a number such as 7.\n"
#define JOB_IS "\nJOB is an id or a full resource name.\n"

/* clang-format off */
static const struct {
    const char *name, *text;
} pages[] = {
    {"",
     "cusp: Vertex AI custom training on your own machine\n\n"
     "  cusp serve --data-dir DIR   run the server in the foreground\n"
     "  cusp custom-jobs …          create, list, describe, timeline, stream-logs, wait, cancel, delete\n"
     "  cusp training-pipelines …   create, list, describe, stream-logs, wait, cancel, delete\n"
     "  cusp hp-tuning-jobs …       create, list, describe, stream-logs, cancel, update, add-trial, …\n"
     "  cusp studies …              create, list, describe, suggest, measure, complete, delete\n"
     "  cusp datasets …             create, list, describe, import, export, delete, data-items\n"
     "  cusp models …               upload, list, describe, list-version, update, copy, export, verify, delete\n"
     "  cusp storage …              cp, rsync, ls, du, cat, rm, …: gs:// objects\n"
     "  cusp logging …              read, tail, write, logs: entries as in Cloud Logging\n"
     "  cusp images …               ls, build, import, pull, push, rm, prune: container images\n"
     "  cusp tls …                  init, show: a local CA and the server's certificate\n"
     "  cusp env [CLIENT]           how to point an official client at the server\n"
     "  cusp conformance            run the official clients against a server: the score table\n"
     "  cusp version                this program's version\n\n"
     "Every command has --help. Global flags:\n"
     "  --endpoint URL   server (default $CUSP_ENDPOINT, else http://127.0.0.1:8780)\n"
     "  --project ID     (default $CUSP_PROJECT, else demo)\n"
     "  --region ID      (default $CUSP_REGION, else us-central1)\n"
     "  --format json    machine-readable output\n"
     "  --quiet          errors only\n\n"
     "An https:// endpoint is trusted by the system's authorities, or those of the file $CUSP_CA.\n\n"
     "Exit codes: 0 done, 1 failed, 2 wrong usage or refused request, 3 not found,\n"
     "            4 server not reachable, 5 the job ran and failed\n"},
    {"custom-jobs",
     "cusp custom-jobs: run training jobs\n\n"
     "  create       submit a job\n"
     "  list         jobs, newest first\n"
     "  describe     state, error, where the time went\n"
     "  timeline     every event of a job's life\n"
     "  stream-logs  what a job prints, live\n"
     "  logs         what a job has printed; --download puts it into a file\n"
     "  wait         until a job ends\n"
     "  cancel       stop a job\n"
     "  delete       remove a job that has ended\n\n"
     "cusp custom-jobs COMMAND --help says more.\n" GLOBAL},
    {"custom-jobs create",
     "cusp custom-jobs create --display-name=NAME (--worker-pool-spec=KEY=VALUE,… | --config=FILE) [flags]\n\n"
     "  --worker-pool-spec=…       one for each pool, in order; keys: machine-type replica-count\n"
     "                             accelerator-type accelerator-count boot-disk-type boot-disk-size\n"
     "                             container-image-uri | executor-image-uri python-module\n"
     "  --config=FILE              YAML or JSON: a CustomJobSpec, or a whole request; flags go on top\n"
     "  --command=A,B --args=A,B   for every pool (^;^a,b;c makes \";\" the separator)\n"
     "  --python-package-uris=gs://…,…\n"
     "  --base-output-dir=gs://…   AIP_MODEL_DIR and its siblings lie below it\n"
     "  --labels=KEY=VALUE,…\n"
     "  --timeout=SECONDS\n"
     "  --service-account=  --network=  --persistent-resource-id=\n"
     "  --enable-web-access  --enable-dashboard-access\n"
     "  --stream-logs              follow the job to its end; exit code 5 when it failed\n\n"
     "Prints the job's id on standard output. Example:\n"
     "  cusp custom-jobs create --display-name=hello --stream-logs \\\n"
     "    --worker-pool-spec=machine-type=n1-standard-4,container-image-uri=sklearn-cpu \\\n"
     "    --command=python3,-c --args='print(6*7)'\n" GLOBAL},
    {"custom-jobs list",
     "cusp custom-jobs list [--filter=EXPRESSION] [--limit=N] [--order-by=FIELD]\n\n"
     "  --filter     e.g. 'state=\"JOB_STATE_FAILED\" AND labels.team=\"red\"'\n"
     "  --limit      at most so many (default 100)\n"
     "  --order-by   e.g. 'display_name' or 'create_time desc'\n" GLOBAL},
    {"custom-jobs describe", "cusp custom-jobs describe JOB\n\nState, error, where the time went, the spec as it was sent.\n" JOB_IS GLOBAL},
    {"custom-jobs timeline", "cusp custom-jobs timeline JOB\n\nEvery event of the job's life with its facts.\n" JOB_IS GLOBAL},
    {"custom-jobs wait", "cusp custom-jobs wait JOB\n\nUntil the job ends. Exit code 0 when it succeeded, else 5.\n" JOB_IS GLOBAL},
    {"custom-jobs cancel", "cusp custom-jobs cancel JOB\n" JOB_IS GLOBAL},
    {"custom-jobs delete", "cusp custom-jobs delete JOB\n\nThe job must have ended: cancel it first.\n" JOB_IS GLOBAL},
    {"custom-jobs stream-logs",
     "cusp custom-jobs stream-logs JOB [--task-name=workerpool0-0] [--no-follow]\n\n"
     "Prints what is there and follows until the job ends; Ctrl-C ends only the following.\n"
     "With --format=json one JSON object a line.\n" JOB_IS GLOBAL},
    {"training-pipelines",
     "cusp training-pipelines: a dataset, a training job and a model in one\n\n"
     "  create       submit a pipeline\n"
     "  list         pipelines, newest first\n"
     "  describe     state, error, job, model, what was sent\n"
     "  stream-logs  what its job prints, live\n"
     "  wait         until a pipeline ends\n"
     "  cancel       stop a pipeline and its job\n"
     "  delete       forget a pipeline that has ended; its job, model and data stay\n\n"
     "cusp training-pipelines COMMAND --help says more.\n" GLOBAL},
    {"training-pipelines create",
     "cusp training-pipelines create --display-name=NAME (--worker-pool-spec=KEY=VALUE,… | --config=FILE) [flags]\n"
     "cusp training-pipelines create --request=FILE\n\n"
     "  --request=FILE             the whole TrainingPipeline as YAML or JSON, sent as it is\n"
     "  --worker-pool-spec=… --config=FILE --command= --args= --python-package-uris= --base-output-dir=\n"
     "  --labels= --timeout= …     the job that trains: as for cusp custom-jobs create\n"
     "  --dataset=ID               a managed dataset, exported for the job first\n"
     "  --dataset-output-dir=gs://…  where to (default: --base-output-dir)\n"
     "  --fraction-split=0.8,0.1,0.1   training, validation, test; or\n"
     "  --predefined-split=COLUMN  which holds training, validation or test\n"
     "  --annotation-schema-uri=   which annotations are exported (not for tables)\n"
     "  --model-display-name= --model-container-image-uri=   upload what the job leaves behind\n"
     "  --model-artifact-uri=gs://…  where that is (default: BASE-OUTPUT-DIR/model)\n"
     "  --model-id= | --parent-model=   a new model of this id, or a new version\n"
     "  --model-version-aliases=A,B  --model-version-description=\n"
     "  --stream-logs              follow the job, then the pipeline to its end; exit code 5 when it failed\n\n"
     "Prints the pipeline's id on standard output. Example:\n"
     "  cusp training-pipelines create --display-name=iris --dataset=ID --base-output-dir=gs://data/runs/1 \\\n"
     "    --worker-pool-spec=machine-type=n1-standard-4,container-image-uri=IMAGE --model-display-name=iris \\\n"
     "    --model-container-image-uri=us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest\n" GLOBAL},
    {"training-pipelines list",
     "cusp training-pipelines list [--filter=EXPRESSION] [--limit=N]\n\n"
     "  --filter     e.g. 'state=\"PIPELINE_STATE_FAILED\" AND labels.team=\"red\"'\n"
     "  --limit      at most so many (default 100)\n" GLOBAL},
    {"training-pipelines describe", "cusp training-pipelines describe PIPELINE\n" PIPELINE_IS GLOBAL},
    {"training-pipelines wait", "cusp training-pipelines wait PIPELINE\n\nUntil it ends. Exit code 0 when it succeeded, else 5.\n" PIPELINE_IS GLOBAL},
    {"training-pipelines cancel", "cusp training-pipelines cancel PIPELINE\n" PIPELINE_IS GLOBAL},
    {"training-pipelines delete", "cusp training-pipelines delete PIPELINE\n\nIt must have ended: cancel it first.\n" PIPELINE_IS GLOBAL},
    {"training-pipelines stream-logs",
     "cusp training-pipelines stream-logs PIPELINE [--task-name=workerpool0-0] [--no-follow]\n\n"
     "What its job prints, from when there is one until it ends.\n" PIPELINE_IS GLOBAL},
    {"hp-tuning-jobs",
     "cusp hp-tuning-jobs: find good settings by trying them\n\n"
     "  create       submit a tuning job\n"
     "  list         tuning jobs, newest first\n"
     "  describe     state, trials, the best so far, which parameters matter\n"
     "  stream-logs  what its trials print, live\n"
     "  wait         until a tuning job ends\n"
     "  cancel       stop a tuning job and its trials\n"
     "  delete       forget a tuning job that has ended; its trials' jobs and data stay\n"
     "  update       more trials, or more at a time, while it runs\n"
     "  add-trial    try a setting of your own\n"
     "  stop-trial   end a trial; what it has measured counts\n"
     "  rerun-trial  try a trial's setting once more\n\n"
     "cusp hp-tuning-jobs COMMAND --help says more.\n" GLOBAL},
    {"hp-tuning-jobs create",
     "cusp hp-tuning-jobs create --display-name=NAME --config=FILE [flags]\n\n"
     "  --config=FILE              YAML or JSON: a HyperparameterTuningJob; flags go on top\n"
     "  --max-trial-count=N        how many trials in all (default 1)\n"
     "  --parallel-trial-count=N   how many at a time (default 1)\n"
     "  --algorithm=               random-search or grid-search; else Bayesian optimisation\n"
     "  --labels=KEY=VALUE,…\n"
     "  --service-account=  --network=  --kms-key=\n"
     "  --enable-web-access  --enable-dashboard-access\n"
     "  --stream-logs              follow the trials to the end; exit code 5 when it failed\n\n"
     "Prints the job's id on standard output. A file:\n"
     "  studySpec:\n"
     "    metrics: [{metricId: accuracy, goal: MAXIMIZE}]\n"
     "    parameters:\n"
     "    - {parameterId: lr, doubleValueSpec: {minValue: 1.0e-4, maxValue: 0.1}, scaleType: UNIT_LOG_SCALE}\n"
     "    - {parameterId: depth, integerValueSpec: {minValue: 1, maxValue: 8}}\n"
     "  trialJobSpec:\n"
     "    workerPoolSpecs:\n"
     "    - {machineSpec: {machineType: n1-standard-4}, containerSpec: {imageUri: trainer}}\n\n"
     "Each trial is a custom job whose arguments end in --lr=… --depth=…; it reports its metric with the\n"
     "Python package cloudml-hypertune.\n" GLOBAL},
    {"hp-tuning-jobs list",
     "cusp hp-tuning-jobs list [--filter=EXPRESSION] [--limit=N] [--order-by=FIELD]\n\n"
     "  --filter     e.g. 'state=\"JOB_STATE_RUNNING\" AND labels.team=\"red\"'\n"
     "  --limit      at most so many (default 100)\n"
     "  --order-by   e.g. 'display_name' or 'create_time desc'\n" GLOBAL},
    {"hp-tuning-jobs describe",
     "cusp hp-tuning-jobs describe JOB [--limit=N]\n\n"
     "The trials (\"*\": the best) and how the best value developed.\n"
     "  --limit        at most so many trials, the best ones (default 50; 0: all)\n"
     "  --format=csv   all trials as a table for other programs; json: the resource\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs stream-logs",
     "cusp hp-tuning-jobs stream-logs JOB [--task-name=workerpool0-0] [--no-follow]\n\n"
     "What all of its trials print, until the job ends.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs wait", "cusp hp-tuning-jobs wait JOB\n\nUntil it ends. Exit code 0 when it succeeded, else 5.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs cancel", "cusp hp-tuning-jobs cancel JOB\n\nTrials that run are stopped; those that have ended keep their results.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs delete", "cusp hp-tuning-jobs delete JOB\n\nIt must have ended: cancel it first.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs update",
     "cusp hp-tuning-jobs update JOB [--max-trial-count=N] [--parallel-trial-count=N] [--max-failed-trial-count=N]\n\n"
     "Of a job that runs. The number of trials cannot become less than have been made.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs add-trial",
     "cusp hp-tuning-jobs add-trial JOB --parameters=NAME=VALUE,…\n\n"
     "One of the job's trials tries this setting, before anything that is suggested. Prints its id.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs stop-trial",
     "cusp hp-tuning-jobs stop-trial JOB TRIAL\n\nWhat it has measured counts; without a measurement it is infeasible.\n" TUNING_IS GLOBAL},
    {"hp-tuning-jobs rerun-trial",
     "cusp hp-tuning-jobs rerun-trial JOB TRIAL\n\nA new trial with the setting of one that has ended. Prints its id.\n" TUNING_IS GLOBAL},
    {"studies",
     "cusp studies: Vizier's studies; settings are suggested, you try them and tell what came of it\n\n"
     "  create    a study: what is searched, and for the best of what\n"
     "  list      studies, newest first\n"
     "  describe  trials, the best so far, which parameters matter\n"
     "  suggest   what to try next\n"
     "  measure   tell what a trial has measured so far\n"
     "  complete  tell how a trial ended\n"
     "  delete    forget a study and its trials\n\n"
     "From a shell:\n"
     "  s=$(cusp studies create --config=study.yaml --display-name=lr)\n"
     "  cusp studies suggest $s --format=csv\n"
     "  cusp studies complete $s 1 --metrics=loss=0.25\n"
     "cusp studies COMMAND --help says more.\n" GLOBAL},
    {"studies create",
     "cusp studies create --config=FILE [--display-name=NAME]\n\n"
     "  --config=FILE        YAML or JSON: a Study, or a StudySpec alone\n"
     "  --display-name=NAME  no two studies of a place have the same\n\n"
     "Prints the study's id on standard output. A file:\n"
     "  metrics: [{metricId: loss, goal: MINIMIZE}]\n"
     "  parameters:\n"
     "  - {parameterId: lr, doubleValueSpec: {minValue: 1.0e-4, maxValue: 0.1}, scaleType: UNIT_LOG_SCALE}\n"
     "  - {parameterId: depth, integerValueSpec: {minValue: 1, maxValue: 8}}\n"
     "  algorithm: RANDOM_SEARCH   # or GRID_SEARCH; without it Bayesian optimisation\n" GLOBAL},
    {"studies list", "cusp studies list [--limit=N]\n\n  --limit  at most so many (default 100)\n" GLOBAL},
    {"studies describe",
     "cusp studies describe STUDY [--limit=N]\n\n"
     "The trials (\"*\": the best) and how the best value developed.\n"
     "  --limit        at most so many trials, the best ones (default 50; 0: all)\n"
     "  --format=csv   all trials as a table for other programs; json: the study with its trials\n" STUDY_IS GLOBAL},
    {"studies suggest",
     "cusp studies suggest STUDY [--count=N] [--client-id=ID]\n\n"
     "  --count=N       so many trials (default 1)\n"
     "  --client-id=ID  whose they are (default cusp): who asks again is given what it has not completed\n"
     "  --format=csv    for other programs; json: the trials\n" STUDY_IS GLOBAL},
    {"studies measure",
     "cusp studies measure STUDY TRIAL --metrics=NAME=NUMBER,… [--step=N]\n\n"
     "What a trial that goes on has measured so far.\n" STUDY_IS GLOBAL},
    {"studies complete",
     "cusp studies complete STUDY TRIAL [--metrics=NAME=NUMBER,… [--step=N] | --infeasible [--reason=TEXT]]\n\n"
     "  --metrics      the result; without it what was measured last (or best, as the study says)\n"
     "  --infeasible   the setting cannot be tried at all\n" STUDY_IS GLOBAL},
    {"studies delete", "cusp studies delete STUDY\n\nThe study and all of its trials are gone.\n" STUDY_IS GLOBAL},
    {"datasets",
     "cusp datasets: managed datasets\n\n"
     "  create      a table of CSV files, or a place for images, texts or videos\n"
     "  list        datasets, newest first\n"
     "  describe    one dataset\n"
     "  import      add the items that import files name, with their labels\n"
     "  data-items  items of a dataset and how they are labelled\n"
     "  export      items and labels as files\n"
     "  delete      forget a dataset and its items; source files stay\n\n"
     "cusp datasets COMMAND --help says more.\n" GLOBAL},
    {"datasets create",
     "cusp datasets create --display-name=NAME --type=TYPE [flags]\n\n"
     "  --type=TYPE              tabular, time_series, image, text or video\n"
     "  --gcs-source=gs://…      CSV files of a table, import files of others; several with commas or\n"
     "                           by repeating the flag; * is a wildcard\n"
     "  --import-schema=FORMAT   import at once (see cusp datasets import --help)\n"
     "  --time-column= --time-series-identifier-column=   of time_series\n"
     "  --description=TEXT  --labels=KEY=VALUE,…\n\n"
     "Prints the dataset's id on standard output.\n" GLOBAL},
    {"datasets list",
     "cusp datasets list [--filter=EXPRESSION] [--sort-by=FIELD] [--limit=N]\n\n"
     "  --filter     e.g. 'display_name=\"iris\"', 'labels.team=red'\n"
     "  --sort-by    display_name, create_time or update_time; \"display_name desc\"\n"
     "  --limit      at most so many (default 100)\n" GLOBAL},
    {"datasets describe", "cusp datasets describe DATASET\n" DATASET_IS GLOBAL},
    {"datasets import",
     "cusp datasets import DATASET --gcs-source=gs://… --import-schema=FORMAT [flags]\n\n"
     "  --gcs-source=gs://…      import files (JSON lines, also .gz; CSV for image classification); several\n"
     "                           with commas or by repeating the flag; * is a wildcard\n"
     "  --import-schema=FORMAT   image_classification_single_label, image_classification_multi_label,\n"
     "                           image_bounding_box, image_segmentation, text_classification_single_label,\n"
     "                           text_classification_multi_label, text_extraction, text_sentiment,\n"
     "                           video_classification, video_action_recognition, video_object_tracking\n"
     "  --data-item-labels=KEY=VALUE,…   of all items, where their lines do not say otherwise\n"
     "  --annotation-labels=KEY=VALUE,…  of all annotations\n"
     "  --async                  do not wait; prints the operation's name\n\n"
     "Lines that do not read are named on standard error and left out; the others are imported. Example:\n"
     "  cusp datasets import ID --gcs-source='gs://data/pets-*.jsonl' \\\n"
     "    --import-schema=image_classification_single_label\n"
     "where a line is {\"imageGcsUri\": \"gs://data/1.jpg\", \"classificationAnnotation\": {\"displayName\": \"cat\"}}\n" DATASET_IS GLOBAL},
    {"datasets data-items",
     "cusp datasets data-items DATASET [--filter=EXPRESSION] [--limit=N]\n\n"
     "  --filter     e.g. 'labels.aiplatform.googleapis.com/ml_use=test', 'labeled=false'\n"
     "  --limit      at most so many (default 100)\n" DATASET_IS GLOBAL},
    {"datasets export",
     "cusp datasets export DATASET --output-dir=gs://… [flags]\n\n"
     "  --output-dir=gs://…      a new folder is made in it\n"
     "  --fraction-split=0.8,0.1,0.1   training, validation, test\n"
     "  --annotations-filter=EXPRESSION   only these annotations\n\n"
     "Prints the URIs of the files.\n" DATASET_IS GLOBAL},
    {"datasets delete", "cusp datasets delete DATASET\n\nIts items and versions go with it; source files stay.\n" DATASET_IS GLOBAL},
    {"models",
     "cusp models: the model registry\n\n"
     "  upload          register a model, or a new version of one\n"
     "  list            models, newest first\n"
     "  list-version    the versions of a model\n"
     "  describe        a model or version: its files, what it was made from\n"
     "  update          names, descriptions, labels, aliases\n"
     "  verify          are the files still what was registered?\n"
     "  export          copy the files to a folder of their own\n"
     "  copy            another model, or version, with the same files\n"
     "  delete-version  one version\n"
     "  delete          a model with all its versions\n\n"
     "cusp models COMMAND --help says more.\n" GLOBAL},
    {"models upload",
     "cusp models upload --display-name=NAME [flags]\n\n"
     "  --artifact-uri=gs://…         folder of the model's files; they are sealed: sizes and checksums are kept\n"
     "  --container-image-uri=IMAGE   that serves it (required with --artifact-uri)\n"
     "  --model-id=ID                 else a number is chosen\n"
     "  --parent-model=MODEL          a new version of this model\n"
     "  --version-aliases=A,B         \"default\" among them makes it the default version\n"
     "  --description=  --version-description=  --labels=KEY=VALUE,…\n"
     "  --container-command=A,B  --container-args=A,B  --container-env-vars=NAME=VALUE,…\n"
     "  --container-ports=PORT,…  --container-grpc-ports=PORT,…\n"
     "  --container-predict-route=  --container-health-route=\n"
     "  --container-deployment-timeout-seconds=  --container-shared-memory-size-mb=\n\n"
     "Prints MODEL@VERSION on standard output. Example:\n"
     "  cusp models upload --display-name=iris --artifact-uri=gs://models/iris --version-aliases=prod \\\n"
     "    --container-image-uri=us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest\n" GLOBAL},
    {"models list",
     "cusp models list [--filter=EXPRESSION] [--limit=N] [--order-by=FIELD]\n\n"
     "  --filter     e.g. 'display_name=\"iris\" AND labels.team=red', 'model=iris'\n"
     "  --limit      at most so many (default 100)\n"
     "  --order-by   display_name, create_time, update_time; \"desc\" behind it\n" GLOBAL},
    {"models list-version",
     "cusp models list-version MODEL [--filter='labels.KEY=VALUE'] [--limit=N] [--order-by=create_time]\n" MODEL_IS GLOBAL},
    {"models describe",
     "cusp models describe MODEL[@VERSION] [--lineage]\n\n"
     "The default version when none is named. --format=json prints the Model; with --lineage what it was made\n"
     "from: pipeline, job, dataset, images, packages, and what was copied from it.\n" MODEL_IS GLOBAL},
    {"models update",
     "cusp models update MODEL[@VERSION] FLAG…\n\n"
     "  of a model:    --display-name= --description= --labels=KEY=VALUE,… (all of them)\n"
     "  of a version:  --version-description= --labels=KEY=VALUE,…\n"
     "                 --add-aliases=A,B  --remove-aliases=A,B\n" MODEL_IS GLOBAL},
    {"models verify",
     "cusp models verify MODEL[@VERSION]\n\n"
     "Compares every file with what was sealed when the version was registered. Exit code 1 when a file was\n"
     "added, removed or changed.\n" MODEL_IS GLOBAL},
    {"models export",
     "cusp models export MODEL[@VERSION] --destination=gs://BUCKET/PREFIX\n\n"
     "Copies the files below PREFIX into a folder of their own and prints its name. Files that are no longer\n"
     "what was registered are not exported.\n" MODEL_IS GLOBAL},
    {"models copy",
     "cusp models copy --source-model=MODEL[@VERSION] [--destination-model-id=ID | --destination-parent-model=MODEL]\n\n"
     "Into the region of --region. A source in another region is given by its full name.\n" GLOBAL},
    {"models delete", "cusp models delete MODEL\n\nWith all its versions. The files stay.\n" MODEL_IS GLOBAL},
    {"models delete-version",
     "cusp models delete-version MODEL@VERSION\n\n"
     "If it is the default one, the most recent of the others becomes that. The last one stays.\n" MODEL_IS GLOBAL},
    {"custom-jobs logs",
     "cusp custom-jobs logs JOB [--task-name=workerpool0-0] [--download=FILE]\n\n"
     "What is there now. With --download into FILE (\"-\": standard output) as \"TIME SEVERITY TASK MESSAGE\",\n"
     "with progress; what breaks goes on when the server comes back within a minute, and FILE appears whole\n"
     "or not at all. With --format=json one JSON object a line.\n" JOB_IS GLOBAL},
    {"logging",
     "cusp logging: entries of jobs and of their libraries, as in Cloud Logging\n\n"
     "  read   entries that match a filter\n"
     "  tail   the same, live\n"
     "  logs   list the names of logs, delete one\n"
     "  write  an entry\n\n"
     "cusp logging COMMAND --help says more.\n" GLOBAL},
    {"logging read",
     "cusp logging read [FILTER] [--job=JOB] [--task-name=NAME] [--severity=ERROR] [--limit=N]\n"
     "                  [--order=desc|asc] [--freshness=1d] [--format=json|'value(FIELD,…)']\n\n"
     "  FILTER       Logging query language, one word: 'severity>=WARNING AND textPayload:loss'\n"
     "  --job        id or name of a job\n"
     "  --severity   this one and worse\n"
     "  --order      newest first (default) or oldest first\n"
     "  --freshness  no older than 30m, 2h, 1d, 1w; 1d where neither asc, --job nor a timestamp is given\n"
     "  --format     json: a list of entries; value(textPayload,labels.\"a.b/c\"): fields, a tab between\n\n"
     "Example:\n"
     "  cusp logging read --job=JOB --severity=WARNING --order=asc\n"
     "  cusp logging read 'jsonPayload.loss<0.1' --freshness=2h --format='value(timestamp,jsonPayload.loss)'\n" GLOBAL},
    {"logging tail",
     "cusp logging tail [FILTER] [--job=JOB] [--task-name=NAME] [--severity=ERROR] [--format=json|'value(…)']\n\n"
     "Entries as they come, until Ctrl-C; a restart of the server is waited for. With --format=json one\n"
     "entry a line.\n" GLOBAL},
    {"logging logs", "cusp logging logs list\ncusp logging logs delete LOG\n\nDeleting hides what a log has now.\n" GLOBAL},
    {"logging write", "cusp logging write LOG MESSAGE [--severity=WARNING] [--payload-type=text|json]\n" GLOBAL},
    {"storage",
     "cusp storage: objects of this server\n\n"
     "  cp       copy between files and gs://\n"
     "  rsync    make a folder and a gs:// prefix the same\n"
     "  ls       list buckets or objects\n"
     "  du       how much lies where\n"
     "  cat      objects on standard output\n"
     "  rm       remove objects\n"
     "  sign-url  an address that needs no credentials for a while\n"
     "  buckets  create or delete buckets\n\n"
     "cusp storage COMMAND --help says more.\n" GLOBAL},
    {"storage cp",
     "cusp storage cp [-r] [--parallel N] SRC… DST\n\n"
     "Local files to gs://BUCKET/NAME, gs:// to local files, or gs:// to gs://. A DST that ends in /,\n"
     "is a bucket or an existing directory gets the file's own name.\n\n"
     "  -r            directories, or everything below gs://BUCKET/PREFIX\n"
     "  --parallel N  so many at once (default 8)\n\n"
     "What breaks goes on where it was: when the server comes back within a minute, and when the same\n"
     "command is run again. Every copy is compared by CRC-32C; a file appears whole or not at all (until\n"
     "then it is NAME.cusp-part-GENERATION). Example:\n"
     "  cusp storage cp -r train/ gs://data/images && cusp storage cp gs://data/runs/1/model/model.joblib .\n" GLOBAL},
    {"storage rsync",
     "cusp storage rsync [--delete] [--dry-run] [--parallel N] SRC DST\n\n"
     "Copies what differs by size or CRC-32C from SRC to DST, each a folder or gs://BUCKET[/PREFIX], with\n"
     "everything below (-r is taken and changes nothing).\n\n"
     "  --delete   also removes from DST what SRC has not\n"
     "  --dry-run  only says what it would do\n\n"
     "Example:\n"
     "  cusp storage rsync --delete ./data gs://data/v2\n" GLOBAL},
    {"storage ls",
     "cusp storage ls [-l] [-r] [gs://BUCKET[/PREFIX]]\n\n  -l   sizes, times and their total\n  -r   everything below, not one level\n" GLOBAL},
    {"storage du",
     "cusp storage du [-s] gs://BUCKET[/PREFIX]\n\nSize and number of objects of everything directly below, and the sum.\n\n  -s   only the sum\n" GLOBAL},
    {"storage cat", "cusp storage cat gs://BUCKET/NAME…\n" GLOBAL},
    {"storage rm",
     "cusp storage rm [-r] [--parallel N] gs://BUCKET/NAME…\n\n"
     "  -r   the object and everything below NAME/, or all objects of a bucket\n" GLOBAL},
    {"storage sign-url",
     "cusp storage sign-url gs://BUCKET/NAME --private-key-file=KEY.json [--duration=1h] [--http-verb=GET]\n\n"
     "Prints a V4 signed URL, made here with a service account's JSON key; no server is asked. The host and\n"
     "port of --endpoint are signed with it. The server has to know the account's public key: put it\n"
     "into DATA_DIR/signing-keys/EMAIL.pem (openssl pkey -pubout).\n\n"
     "  --duration   90s, 15m, 1h (default), at most 7d\n"
     "  --http-verb  GET, HEAD, PUT, POST or DELETE\n" GLOBAL},
    {"storage buckets", "cusp storage buckets create gs://BUCKET\ncusp storage buckets delete gs://BUCKET\n" GLOBAL},
    {"images",
     "cusp images: what jobs can run\n\n"
     "  ls      images of this server\n"
     "  build   make a training image here (scikit-learn, XGBoost, TensorFlow, PyTorch)\n"
     "  import  an OCI archive, docker save archive or root file system tar\n"
     "  pull    fetch an image of another registry, before a job asks for it\n"
     "  push    send an image of this server to another registry\n"
     "  inspect what the server knows of an image\n"
     "  rm      forget an image\n"
     "  prune   free what nothing needs any more\n\n"
     "cusp images COMMAND --help says more.\n" GLOBAL},
    {"images ls", "cusp images ls\n" GLOBAL},
    {"images build",
     "cusp images build NAME\ncusp images build --list\n\n"
     "Makes the image NAME on this machine (as root) from Debian and Python packages, and imports it.\n"
     "What was built before is used again; images share their lower layers. The published prebuilt\n"
     "images of the same family (us-docker.pkg.dev/vertex-ai/training/NAME.*) are aliases of it.\n\n"
     "  --list   what can be built, and what is built already (no server is asked)\n" GLOBAL},
    {"images import",
     "cusp images import FILE [--name=NAME]\n\n"
     "FILE: OCI archive, docker save archive or root file system tar, compressed or not.\n"
     "--name is needed when the archive names no image. Example:\n"
     "  docker save mnist:v1 | gzip >mnist.tar.gz && cusp images import mnist.tar.gz\n" GLOBAL},
    {"images pull",
     "cusp images pull NAME\n\n"
     "NAME: [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], from Docker Hub without a HOST. A tag is looked up\n"
     "there even when it is here already. Credentials: those of docker login, of the user that the server\n"
     "runs as, or [registry HOST] of its configuration. Ctrl-C stops it; the next pull goes on from there.\n" GLOBAL},
    {"images push",
     "cusp images push NAME|FILE TO\n\n"
     "NAME: an image that was pushed to, pulled or imported by this server. FILE: an archive as import takes\n"
     "it, or the directory of an OCI layout; the server has it as TO afterwards. TO: HOST[:PORT]/NAME:TAG.\n"
     "What the other registry has already is not sent again. Example:\n"
     "  cusp images push sklearn-cpu registry.example.com/team/sklearn-cpu:v1\n" GLOBAL},
    {"images inspect", "cusp images inspect NAME\n" GLOBAL},
    {"images rm", "cusp images rm NAME\n" GLOBAL},
    {"images prune",
     "cusp images prune\n\nFrees what nothing needs: layers of removed or replaced images, pushed blobs that no\n"
     "manifest refers to (older than limit registry_blob_grace_s), abandoned uploads. Named images,\n"
     "pushed manifests and what jobs use stay.\n" GLOBAL},
    {"tls",
     "cusp tls: TLS and gRPC with a CA of your own\n\n"
     "  init  make the CA once, and the server's certificate whenever it is due\n"
     "  show  what is there, until when, for which names\n\n"
     "cusp tls COMMAND --help says more.\n" GLOBAL},
    {"tls init",
     "cusp tls init (--data-dir DIR | --out DIR) [--host NAME]… [--days N] [--force]\n\n"
     "Makes ca.pem, ca.key, ca.p12 (a Java trust store, password \"changeit\"), server.pem and server.key\n"
     "(ECDSA P-256; keys readable by their owner only) in DIR/tls, where the server looks, or in --out.\n"
     "Run it as often as you like: the CA stays; the certificate is renewed 30 days before it expires\n"
     "or when the machine's names or addresses changed. A running server takes it on SIGHUP (kill -HUP,\n"
     "systemctl reload cuspd).\n\n"
     "  --data-dir  the server's data directory (default $CUSP_DATA_DIR)\n"
     "  --host      one more host name or address that clients use; remembered for later runs\n"
     "  --days      validity of the server's certificate, 1 to 825 (default 397); the CA has 10 years\n"
     "  --force     begin anew with another CA: every client must be given the new ca.pem\n\n"
     "It is valid for localhost, this machine's names and addresses and, for jobs that call Google's\n"
     "own host names, *.googleapis.com, *.pkg.dev, gcr.io and metadata.google.internal.\n" GLOBAL},
    {"tls show",
     "cusp tls show (--data-dir DIR | --out DIR)\n\n"
     "Subject, expiry, SHA-256 fingerprint and names. Exit code 1 when a client would refuse it.\n" GLOBAL},
    {"env",
     "cusp env [--shell|--json] [--data-dir DIR | --ca FILE] [python|node|java|go|gcloud|curl]\n\n"
     "How to point an official client at this server: variables to export, and as comments the lines of\n"
     "code that no variable can stand for (the endpoint of most clients is one).\n\n"
     "  eval \"$(cusp env gcloud)\"           gcloud ai …\n"
     "  eval \"$(cusp env --shell python)\"   Python scripts, REST and gRPC\n\n"
     "  --shell     only the variables\n"
     "  --json      the same for programs; code under \"snippets\", by transport\n"
     "  --data-dir  take the CA from the server's data directory (see cusp tls) instead of asking it\n"
     "  --ca        take it from a PEM file; needed when the server takes nothing but TLS\n\n"
     "CA variables point into ~/.cache/cusp/trust: the system's authorities and ours, so that other\n"
     "hosts stay reachable.\n" GLOBAL},
    {"conformance",
     "cusp conformance [--client LIST] [--transport LIST] [--setup] [flags]\n\n"
     "Puts the official clients through the same ten cases against --endpoint, each over every transport\n"
     "it has, and prints a row for each run: what worked, and below, why not. A client whose runtime is\n"
     "missing is \"not run\" and named with what would install it.\n\n"
     "  --client     of python,node,java,go,curl,reflection,gcloud (default all)\n"
     "  --transport  of rest,rest-tls,grpc,grpc-tls (default all that a client has)\n"
     "  --setup      first fetch what the clients need into ~/.cache/cusp/clients (pip, npm, mvn, go)\n"
     "  --strict     what was not run counts as failed\n"
     "  --ca FILE    the server's CA (default: ask the server), --data-dir DIR: take it from there\n"
     "  --image URI  image of the jobs, with sh in it (default: busybox, else the smallest there is)\n"
     "  --timeout S  for each run (default 180)\n"
     "  --drivers D  folder of drivers (default: installed ones, or tests/clients of the source)\n\n"
     "Exit code 0 when every case of every run passed and at least one ran, else 1.\n" GLOBAL},
    {"serve",
     "cusp serve --data-dir DIR [--listen 127.0.0.1:8780] [flags]\n\n"
     "Runs the server in the foreground: the program cuspd beside this one, with the same flags\n"
     "(cusp serve --help shows them). Ctrl-C or SIGTERM stops it; jobs run on and are picked up again\n"
     "by the next start with the same DIR. As a service: systemctl enable --now cuspd\n"},
    {"version", "cusp version: this program's version\n" GLOBAL},
};
/* clang-format on */

static const char *page(const char *name) {
    for (size_t i = 0; i < NR_OF(pages); i++) {
        if (strcmp(pages[i].name, name) == 0) {
            return pages[i].text;
        }
    }
    return NULL;
}

const char *help_text(const char *command, const char *verb) {
    auto_free char *both = xasprintf("%s %s", command, verb);
    const char *text = page(both);
    return text ? text : page(command);
}

/* The pages' names are all commands and verbs there are. */
static const char *near_page(const char *command, const char *typed) {
    size_t skip = *command ? strlen(command) + 1 : 0;
    struct near near = {.typed = str_of(typed)};
    for (size_t i = 0; i < NR_OF(pages); i++) {
        const char *name = pages[i].name;
        bool is_verb = strchr(name, ' ') != NULL;
        if (*name && is_verb == (skip > 0) && strncmp(name, command, skip ? skip - 1 : 0) == 0 &&
            (!skip || name[skip - 1] == ' ')) {
            near_try(&near, name + skip);
        }
    }
    return near_best(&near);
}

int no_verb(const char *command, const char *verb, struct err *err) {
    const char *meant = near_page(command, verb);
    return err_set(err, ERR_INVALID_ARGUMENT, "%s has no command \"%s\"%s%s (see cusp %s --help)",
                   command, verb, meant ? "; did you mean " : "", meant ? meant : "", command);
}

int no_command(const char *command, struct err *err) {
    const char *meant = near_page("", command);
    if (strcmp(command, "ai") == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "no command \"ai\": what gcloud calls ai custom-jobs is custom-jobs here");
    }
    return err_set(err, ERR_INVALID_ARGUMENT, "no command \"%s\"%s%s (see cusp --help)", command,
                   meant ? "; did you mean " : "", meant ? meant : "");
}
