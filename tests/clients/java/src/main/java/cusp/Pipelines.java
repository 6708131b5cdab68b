package cusp;

import com.google.api.gax.core.NoCredentialsProvider;
import com.google.api.gax.rpc.InvalidArgumentException;
import com.google.api.gax.rpc.NotFoundException;
import com.google.cloud.aiplatform.v1.ListTrainingPipelinesRequest;
import com.google.cloud.aiplatform.v1.LocationName;
import com.google.cloud.aiplatform.v1.PipelineServiceClient;
import com.google.cloud.aiplatform.v1.PipelineServiceSettings;
import com.google.cloud.aiplatform.v1.PipelineState;
import com.google.cloud.aiplatform.v1.TrainingPipeline;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Creates, reads, lists, cancels and deletes a training pipeline as the documentation's Java sample does: argv =
 * grpc | grpc-tls. Ends with 1 and says why when something is not as it must be.
 */
public final class Pipelines {
    private static final String CUSTOM =
            "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml";

    private Pipelines() {}

    private static void check(boolean ok, String format, Object... args) {
        if (!ok) {
            throw new IllegalStateException(String.format(format, args));
        }
    }

    private static PipelineServiceSettings settings(String transport) throws IOException {
        PipelineServiceSettings.Builder b = PipelineServiceSettings.newBuilder();
        b.setCredentialsProvider(NoCredentialsProvider.create());
        if (transport.equals("grpc-tls")) {
            b.setEndpoint(System.getenv("CUSP_HOSTPORT"));
        } else {
            String endpoint = System.getenv("CUSP_ENDPOINT").replaceFirst("^[a-z]+://", "");
            b.setTransportChannelProvider(PipelineServiceSettings.defaultGrpcTransportProviderBuilder()
                    .setEndpoint(endpoint).setChannelConfigurator(c -> c.usePlaintext()).build());
        }
        return b.build();
    }

    private static Value inputs(String more) throws InvalidProtocolBufferException {
        Value.Builder v = Value.newBuilder();
        JsonFormat.parser().merge("{\"workerPoolSpecs\": [{\"replicaCount\": 1, \"machineSpec\": {\"machineType\": "
                + "\"n1-standard-4\"}, \"containerSpec\": {\"imageUri\": \"" + System.getenv("CUSP_IMAGE")
                + "\", \"command\": [\"true\"], \"args\": []}}], \"scheduling\": {\"timeout\": \"600s\", "
                + "\"strategy\": null}" + more + "}", v);
        return v.build();
    }

    private static TrainingPipeline ended(PipelineServiceClient client, String name) throws InterruptedException {
        for (;;) {
            TrainingPipeline p = client.getTrainingPipeline(name);
            if (p.hasEndTime()) {
                return p;
            }
            Thread.sleep(50);
        }
    }

    private static void walk(PipelineServiceClient client) throws Exception {
        LocationName parent = LocationName.of("demo", "us-central1");
        TrainingPipeline body = TrainingPipeline.newBuilder().setDisplayName("java").setTrainingTaskDefinition(CUSTOM)
                .setTrainingTaskInputs(inputs("")).putLabels("by", "java").build();
        TrainingPipeline made = client.createTrainingPipeline(parent, body);
        check(made.getName().matches("projects/\\d+/locations/us-central1/trainingPipelines/\\d+"), "%s", made.getName());
        check(made.getTrainingTaskInputs().equals(body.getTrainingTaskInputs()), "inputs: %s", made);
        TrainingPipeline p = ended(client, made.getName());
        check(p.getState() == PipelineState.PIPELINE_STATE_SUCCEEDED && !p.hasError(), "%s", p);
        String job = p.getTrainingTaskMetadata().getStructValue().getFieldsOrThrow("backingCustomJob").getStringValue();
        check(job.matches(".*/customJobs/\\d+"), "%s", job);
        List<String> names = new ArrayList<>();
        client.listTrainingPipelines(ListTrainingPipelinesRequest.newBuilder().setParent(parent.toString())
                .setFilter("labels.by=\"java\"").build()).iterateAll().forEach(x -> names.add(x.getName()));
        check(names.equals(List.of(p.getName())), "%s", names);
        TrainingPipeline slow = client.createTrainingPipeline(parent,
                body.toBuilder().clearLabels().putLabels("cusp-test-run-ms", "60000").build());
        client.cancelTrainingPipeline(slow.getName());
        TrainingPipeline stopped = ended(client, slow.getName());
        check(stopped.getState() == PipelineState.PIPELINE_STATE_CANCELLED && stopped.getError().getCode() == 1, "%s", stopped);
        client.deleteTrainingPipelineAsync(p.getName()).get();
        try {
            client.getTrainingPipeline(p.getName());
            check(false, "it is there after it was deleted");
        } catch (NotFoundException e) {
            check(e.getMessage().contains("does not exist"), "%s", e);
        }
        try {
            client.createTrainingPipeline(parent, body.toBuilder().setTrainingTaskInputs(inputs(", \"turbo\": true")).build());
            check(false, "an unknown key went through");
        } catch (InvalidArgumentException e) {
            check(e.getMessage().contains("turbo"), "%s", e);
        }
    }

    public static void main(String[] args) throws Exception {
        try (PipelineServiceClient client = PipelineServiceClient.create(settings(args[0]))) {
            walk(client);
        }
        System.out.println("{\"ok\": true}");
    }
}
