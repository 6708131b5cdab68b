package cusp;

import com.google.api.gax.core.NoCredentialsProvider;
import com.google.api.gax.rpc.FailedPreconditionException;
import com.google.api.gax.rpc.InvalidArgumentException;
import com.google.api.gax.rpc.NotFoundException;
import com.google.cloud.aiplatform.v1.ContainerSpec;
import com.google.cloud.aiplatform.v1.CustomJobSpec;
import com.google.cloud.aiplatform.v1.HyperparameterTuningJob;
import com.google.cloud.aiplatform.v1.JobServiceClient;
import com.google.cloud.aiplatform.v1.JobServiceSettings;
import com.google.cloud.aiplatform.v1.JobState;
import com.google.cloud.aiplatform.v1.ListHyperparameterTuningJobsRequest;
import com.google.cloud.aiplatform.v1.LocationName;
import com.google.cloud.aiplatform.v1.MachineSpec;
import com.google.cloud.aiplatform.v1.StudySpec;
import com.google.cloud.aiplatform.v1.StudySpec.MetricSpec;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec.CategoricalValueSpec;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec.ConditionalParameterSpec;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec.ConditionalParameterSpec.CategoricalValueCondition;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec.DiscreteValueSpec;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec.DoubleValueSpec;
import com.google.cloud.aiplatform.v1.StudySpec.ParameterSpec.IntegerValueSpec;
import com.google.cloud.aiplatform.v1.Trial;
import com.google.cloud.aiplatform.v1.WorkerPoolSpec;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Creates, reads, lists, cancels and deletes a tuning job as the documentation's Java sample does: argv = grpc |
 * grpc-tls. Ends with 1 and says why when something is not as it must be.
 */
public final class Tunings {
    private Tunings() {}

    private static void check(boolean ok, String format, Object... args) {
        if (!ok) {
            throw new IllegalStateException(String.format(format, args));
        }
    }

    private static JobServiceSettings settings(String transport) throws IOException {
        JobServiceSettings.Builder b = JobServiceSettings.newBuilder();
        b.setCredentialsProvider(NoCredentialsProvider.create());
        if (transport.equals("grpc-tls")) {
            b.setEndpoint(System.getenv("CUSP_HOSTPORT"));
        } else {
            String endpoint = System.getenv("CUSP_ENDPOINT").replaceFirst("^[a-z]+://", "");
            b.setTransportChannelProvider(JobServiceSettings.defaultGrpcTransportProviderBuilder()
                    .setEndpoint(endpoint).setChannelConfigurator(c -> c.usePlaintext()).build());
        }
        return b.build();
    }

    private static StudySpec study() {
        ParameterSpec momentum = ParameterSpec.newBuilder().setParameterId("momentum")
                .setDoubleValueSpec(DoubleValueSpec.newBuilder().setMinValue(0).setMaxValue(0.99)).build();
        return StudySpec.newBuilder()
                .addMetrics(MetricSpec.newBuilder().setMetricId("val_loss").setGoal(MetricSpec.GoalType.MINIMIZE))
                .addParameters(ParameterSpec.newBuilder().setParameterId("lr")
                        .setScaleType(ParameterSpec.ScaleType.UNIT_LOG_SCALE)
                        .setDoubleValueSpec(DoubleValueSpec.newBuilder().setMinValue(1e-5).setMaxValue(0.1)))
                .addParameters(ParameterSpec.newBuilder().setParameterId("layers")
                        .setIntegerValueSpec(IntegerValueSpec.newBuilder().setMinValue(1).setMaxValue(4)))
                .addParameters(ParameterSpec.newBuilder().setParameterId("batch")
                        .setDiscreteValueSpec(DiscreteValueSpec.newBuilder().addValues(16).addValues(32).addValues(64)))
                .addParameters(ParameterSpec.newBuilder().setParameterId("opt")
                        .setCategoricalValueSpec(CategoricalValueSpec.newBuilder().addValues("sgd").addValues("adam"))
                        .addConditionalParameterSpecs(ConditionalParameterSpec.newBuilder()
                                .setParentCategoricalValues(CategoricalValueCondition.newBuilder().addValues("sgd"))
                                .setParameterSpec(momentum)))
                .build();
    }

    private static HyperparameterTuningJob body() {
        ContainerSpec container = ContainerSpec.newBuilder().setImageUri(System.getenv("CUSP_IMAGE")).addCommand("true")
                .addArgs("--epochs=3").build();
        return HyperparameterTuningJob.newBuilder().setDisplayName("java").setMaxTrialCount(6).setParallelTrialCount(2)
                .setMaxFailedTrialCount(3).setStudySpec(study()).putLabels("by", "java")
                .putLabels("cusp-test-metric", "val_loss")
                .setTrialJobSpec(CustomJobSpec.newBuilder().addWorkerPoolSpecs(WorkerPoolSpec.newBuilder()
                        .setReplicaCount(1).setMachineSpec(MachineSpec.newBuilder().setMachineType("n1-standard-4"))
                        .setContainerSpec(container)))
                .build();
    }

    private static HyperparameterTuningJob ended(JobServiceClient client, String name) throws InterruptedException {
        for (;;) {
            HyperparameterTuningJob j = client.getHyperparameterTuningJob(name);
            if (Jobs.ended(j.getState())) {
                return j;
            }
            Thread.sleep(50);
        }
    }

    private static void checkTrials(HyperparameterTuningJob j) {
        check(j.getTrialsCount() == 6, "%d trials", j.getTrialsCount());
        for (int i = 0; i < j.getTrialsCount(); i++) {
            Trial t = j.getTrials(i);
            boolean sgd = t.getParameters(3).getValue().getStringValue().equals("sgd");
            check(t.getId().equals(Integer.toString(i + 1)) && t.getState() == Trial.State.SUCCEEDED, "%s", t);
            check(t.getParametersCount() == (sgd ? 5 : 4) && t.getParameters(0).getValue().hasNumberValue(), "%s", t);
            check(t.getFinalMeasurement().getStepCount() == 3 && t.getMeasurementsCount() == 3, "%s", t);
            check(t.getFinalMeasurement().getMetrics(0).getMetricId().equals("val_loss"), "%s", t);
            check(t.getCustomJob().matches(".*/customJobs/\\d+") && t.hasStartTime() && t.hasEndTime(), "%s", t);
        }
    }

    private static void walk(JobServiceClient client) throws Exception {
        LocationName parent = LocationName.of("demo", "us-central1");
        HyperparameterTuningJob body = body();
        HyperparameterTuningJob made = client.createHyperparameterTuningJob(parent, body);
        check(made.getName().matches("projects/\\d+/locations/us-central1/hyperparameterTuningJobs/\\d+"), "%s",
                made.getName());
        check(made.getState() == JobState.JOB_STATE_PENDING && made.getStudySpec().equals(body.getStudySpec()), "%s", made);
        HyperparameterTuningJob j = ended(client, made.getName());
        check(j.getState() == JobState.JOB_STATE_SUCCEEDED && !j.hasError(), "%s", j);
        checkTrials(j);
        List<HyperparameterTuningJob> listed = new ArrayList<>();
        client.listHyperparameterTuningJobs(ListHyperparameterTuningJobsRequest.newBuilder().setParent(parent.toString())
                .setFilter("labels.by=\"java\"").build()).iterateAll().forEach(listed::add);
        check(listed.size() == 1 && listed.get(0).getName().equals(j.getName()), "%s", listed);
        check(listed.get(0).getTrialsCount() == 0, "a list has trials");
        HyperparameterTuningJob slow = client.createHyperparameterTuningJob(parent,
                body.toBuilder().clearLabels().putLabels("cusp-test-run-ms", "60000").build());
        try {
            client.deleteHyperparameterTuningJobAsync(slow.getName()).get();
            check(false, "one that runs was deleted");
        } catch (java.util.concurrent.ExecutionException e) {
            check(e.getCause() instanceof FailedPreconditionException, "%s", e);
        }
        client.cancelHyperparameterTuningJob(slow.getName());
        HyperparameterTuningJob stopped = ended(client, slow.getName());
        check(stopped.getState() == JobState.JOB_STATE_CANCELLED && stopped.getError().getCode() == 1, "%s", stopped);
        client.cancelHyperparameterTuningJob(slow.getName()); // again: no error
        client.deleteHyperparameterTuningJobAsync(j.getName()).get();
        try {
            client.getHyperparameterTuningJob(j.getName());
            check(false, "it is there after it was deleted");
        } catch (NotFoundException e) {
            check(e.getMessage().contains("does not exist"), "%s", e);
        }
        try {
            client.createHyperparameterTuningJob(parent, body.toBuilder().setMaxTrialCount(0).build());
            check(false, "a job without trials went through");
        } catch (InvalidArgumentException e) {
            check(e.getMessage().contains("max_trial_count"), "%s", e);
        }
    }

    public static void main(String[] args) throws Exception {
        try (JobServiceClient client = JobServiceClient.create(settings(args[0]))) {
            walk(client);
        }
        System.out.println("{\"ok\": true}");
    }
}
