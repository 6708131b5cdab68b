package cusp;

import com.google.api.gax.core.NoCredentialsProvider;
import com.google.api.gax.rpc.AlreadyExistsException;
import com.google.api.gax.rpc.FailedPreconditionException;
import com.google.api.gax.rpc.InvalidArgumentException;
import com.google.api.gax.rpc.NotFoundException;
import com.google.cloud.aiplatform.v1.AddTrialMeasurementRequest;
import com.google.cloud.aiplatform.v1.CheckTrialEarlyStoppingStateRequest;
import com.google.cloud.aiplatform.v1.CompleteTrialRequest;
import com.google.cloud.aiplatform.v1.ListTrialsRequest;
import com.google.cloud.aiplatform.v1.LocationName;
import com.google.cloud.aiplatform.v1.LookupStudyRequest;
import com.google.cloud.aiplatform.v1.Measurement;
import com.google.cloud.aiplatform.v1.StopTrialRequest;
import com.google.cloud.aiplatform.v1.Study;
import com.google.cloud.aiplatform.v1.StudySpec;
import com.google.cloud.aiplatform.v1.SuggestTrialsRequest;
import com.google.cloud.aiplatform.v1.SuggestTrialsResponse;
import com.google.cloud.aiplatform.v1.Trial;
import com.google.cloud.aiplatform.v1.VizierServiceClient;
import com.google.cloud.aiplatform.v1.VizierServiceSettings;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;

/** Asks and tells a Vizier study with every method of VizierServiceClient: argv = grpc | grpc-tls. */
public final class Studies {
    private static final String SPEC = "{metrics: [{metricId: 'loss', goal: 'MINIMIZE'}], medianAutomatedStoppingSpec: {},"
            + " parameters: [{parameterId: 'lr', doubleValueSpec: {minValue: 1e-5, maxValue: 0.1}, scaleType: 'UNIT_LOG_SCALE'},"
            + " {parameterId: 'opt', categoricalValueSpec: {values: ['sgd', 'adam']}, conditionalParameterSpecs: ["
            + " {parentCategoricalValues: {values: ['sgd']}, parameterSpec: {parameterId: 'momentum',"
            + " doubleValueSpec: {minValue: 0.5, maxValue: 0.9}}}]}]}";

    private final VizierServiceClient client;
    private final LocationName parent = LocationName.of("demo", "us-central1");

    private Studies(VizierServiceClient client) {
        this.client = client;
    }

    private static void check(boolean ok, String format, Object... args) {
        if (!ok) {
            throw new IllegalStateException(String.format(format, args));
        }
    }

    private static <E extends Exception> void refused(Class<E> kind, String word, Runnable call) {
        try {
            call.run();
        } catch (RuntimeException e) {
            check(kind.isInstance(e) && e.getMessage().contains(word), "want %s with \"%s\", got %s", kind, word, e);
            return;
        }
        throw new IllegalStateException("went through; want " + kind);
    }

    private static VizierServiceSettings settings(String transport) throws IOException {
        VizierServiceSettings.Builder b = VizierServiceSettings.newBuilder();
        b.setCredentialsProvider(NoCredentialsProvider.create());
        if (transport.equals("grpc-tls")) {
            b.setEndpoint(System.getenv("CUSP_HOSTPORT"));
        } else {
            String endpoint = System.getenv("CUSP_ENDPOINT").replaceFirst("^[a-z]+://", "");
            b.setTransportChannelProvider(VizierServiceSettings.defaultGrpcTransportProviderBuilder()
                    .setEndpoint(endpoint).setChannelConfigurator(c -> c.usePlaintext()).build());
        }
        return b.build();
    }

    private static Measurement measured(double loss, int step) {
        return Measurement.newBuilder().setStepCount(step)
                .addMetrics(Measurement.Metric.newBuilder().setMetricId("loss").setValue(loss)).build();
    }

    private static Value value(Trial t, String id) {
        return t.getParametersList().stream().filter(p -> p.getParameterId().equals(id)).findFirst()
                .map(Trial.Parameter::getValue).orElse(null);
    }

    private SuggestTrialsResponse suggest(String study, int count) throws Exception {
        SuggestTrialsRequest ask = SuggestTrialsRequest.newBuilder().setParent(study).setSuggestionCount(count)
                .setClientId("java").build();
        var op = client.suggestTrialsAsync(ask);
        SuggestTrialsResponse given = op.get(60, TimeUnit.SECONDS);
        check(op.getMetadata().get().getClientId().equals("java"), "%s", op.getMetadata().get());
        check(given.getStudyState() == Study.State.ACTIVE && given.getTrialsCount() == count, "%s", given);
        return given;
    }

    private double tryOut(Trial t, int step) throws Exception {
        boolean sgd = value(t, "opt").getStringValue().equals("sgd");
        double lr = value(t, "lr").getNumberValue();
        check(t.getState() == Trial.State.ACTIVE && sgd == (value(t, "momentum") != null) && lr >= 1e-5 && lr <= 0.1, "%s", t);
        double loss = Math.pow(Math.log10(lr) + 3, 2) + (sgd ? 1 : 0);
        Trial told = client.addTrialMeasurement(AddTrialMeasurementRequest.newBuilder().setTrialName(t.getName())
                .setMeasurement(measured(loss, step)).build());
        check(told.getMeasurementsCount() == 1, "%s", told);
        boolean stop = client.checkTrialEarlyStoppingStateAsync(CheckTrialEarlyStoppingStateRequest.newBuilder()
                .setTrialName(t.getName()).build()).get(60, TimeUnit.SECONDS).getShouldStop();
        check(!stop || step > 2, "stopped with hardly anything to compare with: %s", told);
        Trial done = client.completeTrial(CompleteTrialRequest.newBuilder().setName(t.getName()).build());
        check(done.getState() == Trial.State.SUCCEEDED && done.getFinalMeasurement().getMetrics(0).getValue() == loss, "%s", done);
        return loss;
    }

    private void walk() throws Exception {
        StudySpec.Builder spec = StudySpec.newBuilder();
        JsonFormat.parser().merge(SPEC, spec);
        Study body = Study.newBuilder().setDisplayName(String.format("java-%08x", new Random().nextInt()))
                .setStudySpec(spec).build();
        Study study = client.createStudy(parent, body);
        check(study.getName().matches("projects/\\d+/locations/us-central1/studies/\\d+"), "%s", study.getName());
        check(study.getStudySpec().equals(body.getStudySpec()), "%s", study);
        check(client.getStudy(study.getName()).equals(study), "get");
        check(client.lookupStudy(LookupStudyRequest.newBuilder().setParent(parent.toString())
                .setDisplayName(body.getDisplayName()).build()).equals(study), "lookup");
        List<String> names = new ArrayList<>();
        client.listStudies(parent).iterateAll().forEach(s -> names.add(s.getName()));
        check(names.contains(study.getName()), "%s", names);
        refused(AlreadyExistsException.class, body.getDisplayName(), () -> client.createStudy(parent, body));

        double best = Double.MAX_VALUE;
        for (int i = 1; i <= 4; i++) {
            for (Trial t : suggest(study.getName(), 2).getTrialsList()) {
                best = Math.min(best, tryOut(t, i));
            }
        }
        List<Trial> optimal = client.listOptimalTrials(study.getName()).getOptimalTrialsList();
        check(optimal.get(0).getFinalMeasurement().getMetrics(0).getValue() == best, "%s", optimal);
        Trial own = client.createTrial(study.getName(),
                Trial.newBuilder().addAllParameters(optimal.get(0).getParametersList()).build());
        check(own.getState() == Trial.State.REQUESTED && client.getTrial(own.getName()).equals(own), "%s", own);
        StopTrialRequest stop = StopTrialRequest.newBuilder().setName(own.getName()).build();
        check(client.stopTrial(stop).getState() == Trial.State.STOPPING, "stop");
        Trial end = client.completeTrial(CompleteTrialRequest.newBuilder().setName(own.getName()).setTrialInfeasible(true)
                .setInfeasibleReason("no").build());
        check(end.getState() == Trial.State.INFEASIBLE && end.getInfeasibleReason().equals("no"), "%s", end);
        refused(FailedPreconditionException.class, "INFEASIBLE", () -> client.stopTrial(stop));
        refused(InvalidArgumentException.class, "metric", () -> client.addTrialMeasurement(AddTrialMeasurementRequest
                .newBuilder().setTrialName(own.getName()).setMeasurement(Measurement.newBuilder()).build()));
        int seen = 0;
        for (Trial t : client.listTrials(ListTrialsRequest.newBuilder().setParent(study.getName()).setPageSize(4).build())
                .iterateAll()) {
            check(t.getId().equals(String.valueOf(++seen)), "%s", t);
        }
        check(seen == 9, "%d trials", seen);
        client.deleteTrial(own.getName());
        refused(NotFoundException.class, "9", () -> client.getTrial(own.getName()));
        client.deleteStudy(study.getName());
        refused(NotFoundException.class, "does not exist", () -> client.getStudy(study.getName()));
    }

    public static void main(String[] args) throws Exception {
        try (VizierServiceClient client = VizierServiceClient.create(settings(args[0]))) {
            new Studies(client).walk();
        }
        System.out.println("ok");
    }
}
