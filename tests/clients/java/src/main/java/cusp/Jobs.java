package cusp;

import com.google.api.gax.rpc.ApiException;
import com.google.cloud.aiplatform.v1.ContainerSpec;
import com.google.cloud.aiplatform.v1.CustomJob;
import com.google.cloud.aiplatform.v1.CustomJobSpec;
import com.google.cloud.aiplatform.v1.EnvVar;
import com.google.cloud.aiplatform.v1.GcsDestination;
import com.google.cloud.aiplatform.v1.JobServiceClient;
import com.google.cloud.aiplatform.v1.JobState;
import com.google.cloud.aiplatform.v1.ListCustomJobsRequest;
import com.google.cloud.aiplatform.v1.LocationName;
import com.google.cloud.aiplatform.v1.MachineSpec;
import com.google.cloud.aiplatform.v1.Scheduling;
import com.google.cloud.aiplatform.v1.WorkerPoolSpec;
import com.google.protobuf.util.Durations;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Predicate;

/** The jobs of one run: they carry its label and are deleted at its end. */
final class Jobs {
    /** Ends at once when it is told to stop; a bare sleep as process 1 would use up its grace period. */
    static final String SLEEPER = "trap 'exit 143' TERM; sleep 600 & wait";

    final String project = env("CUSP_PROJECT", "demo");
    final String parent = LocationName.format(project, env("CUSP_LOCATION", "us-central1"));
    private final String id = String.format("java-%08x", new Random().nextInt());
    private final String image = System.getenv("CUSP_IMAGE");
    private final long deadline = System.nanoTime() + 110_000_000_000L;
    private final List<String> made = new ArrayList<>();
    private final JobServiceClient client;

    Jobs(JobServiceClient client) {
        this.client = client;
    }

    private static String env(String name, String fallback) {
        String v = System.getenv(name);
        return v == null || v.isEmpty() ? fallback : v;
    }

    static boolean ended(JobState s) {
        return s == JobState.JOB_STATE_SUCCEEDED || s == JobState.JOB_STATE_FAILED
                || s == JobState.JOB_STATE_CANCELLED;
    }

    String mine() {
        return "labels.conformance=" + id;
    }

    ListCustomJobsRequest.Builder list(String filter) {
        return ListCustomJobsRequest.newBuilder().setParent(parent).setFilter(filter);
    }

    /** A job that runs a shell line; part tells the jobs of one case from the others. */
    CustomJob spec(String part, String shell) {
        ContainerSpec.Builder container = ContainerSpec.newBuilder().setImageUri(image)
                .addCommand("sh").addCommand("-c").addCommand(shell)
                .addEnv(EnvVar.newBuilder().setName("GREETING").setValue("gr\u00fc\u00df dich"));
        CustomJobSpec.Builder spec = CustomJobSpec.newBuilder()
                .addWorkerPoolSpecs(WorkerPoolSpec.newBuilder()
                        .setMachineSpec(MachineSpec.newBuilder().setMachineType("n1-standard-4"))
                        .setReplicaCount(1).setContainerSpec(container))
                .setScheduling(Scheduling.newBuilder().setTimeout(Durations.fromMinutes(10)))
                .setBaseOutputDirectory(GcsDestination.newBuilder()
                        .setOutputUriPrefix("gs://conformance/" + id + "/" + part));
        return CustomJob.newBuilder().setDisplayName(id + "-" + part).putLabels("conformance", id)
                .putLabels("part", part).setJobSpec(spec).build();
    }

    CustomJob create(String part, String shell) {
        CustomJob job = client.createCustomJob(parent, spec(part, shell));
        made.add(job.getName());
        return job;
    }

    /** Polls, as users of this client do: it has no waiting of its own for jobs. */
    CustomJob until(String name, Predicate<JobState> is) {
        for (;;) {
            CustomJob job = client.getCustomJob(name);
            if (is.test(job.getState())) {
                return job;
            }
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException(name + " is still " + job.getState());
            }
            try {
                Thread.sleep(50);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    CustomJob finished(String part, String shell) {
        return until(create(part, shell).getName(), Jobs::ended);
    }

    /** Best effort: what a case has deleted already is not there any more. */
    void clean() {
        for (String name : made) {
            try {
                client.cancelCustomJob(name);
            } catch (ApiException e) {
                continue;
            }
        }
        for (String name : made) {
            try {
                until(name, Jobs::ended);
                client.deleteCustomJobAsync(name).get();
            } catch (ApiException | IllegalStateException | InterruptedException
                    | java.util.concurrent.ExecutionException e) {
                continue;
            }
        }
    }
}
