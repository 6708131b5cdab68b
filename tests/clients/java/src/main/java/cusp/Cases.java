package cusp;

import com.google.api.gax.rpc.ApiException;
import com.google.api.gax.rpc.FailedPreconditionException;
import com.google.api.gax.rpc.InvalidArgumentException;
import com.google.api.gax.rpc.NotFoundException;
import com.google.cloud.aiplatform.v1.CustomJob;
import com.google.cloud.aiplatform.v1.DeleteOperationMetadata;
import com.google.cloud.aiplatform.v1.JobServiceClient;
import com.google.cloud.aiplatform.v1.JobServiceClient.ListCustomJobsPage;
import com.google.cloud.aiplatform.v1.JobState;
import com.google.cloud.aiplatform.v1.ListCustomJobsRequest;
import com.google.cloud.aiplatform.v1.LocationName;
import com.google.longrunning.Operation;
import com.google.longrunning.OperationsClient;
import com.google.longrunning.WaitOperationRequest;
import com.google.protobuf.Empty;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Timestamps;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.StreamSupport;

/** The ten cases. Each returns a detail for its line and throws when something is not as it must be. */
final class Cases {
    private final JobServiceClient client;
    private final Jobs jobs;

    Cases(JobServiceClient client) {
        this.client = client;
        this.jobs = new Jobs(client);
    }

    void clean() {
        jobs.clean();
    }

    private static void check(boolean ok, String format, Object... args) {
        if (!ok) {
            throw new Unmet(String.format(format, args));
        }
    }

    /** Something that is not as it must be; an Error would not be caught with the client's exceptions. */
    private static final class Unmet extends RuntimeException {
        Unmet(String what) {
            super(what);
        }

        @Override
        public String toString() {
            return getMessage();
        }
    }

    /** Runs a call that must be refused, with the client's own type of exception. */
    private static <E extends ApiException> E refused(Class<E> type, String word, Runnable call) {
        try {
            call.run();
        } catch (ApiException e) {
            check(type.isInstance(e), "want %s, got %s", type.getSimpleName(), e);
            check(e.getMessage().contains(word), "want \"%s\" in the message \"%s\"", word, e.getMessage());
            return type.cast(e);
        }
        throw new Unmet("want " + type.getSimpleName() + ", but the call went through");
    }

    private static void echoed(CustomJob sent, CustomJob got) {
        var a = sent.getJobSpec();
        var b = got.getJobSpec();
        check(got.getDisplayName().equals(sent.getDisplayName()) && got.getLabelsMap().equals(sent.getLabelsMap())
                && b.getWorkerPoolSpecsCount() == 1
                && b.getWorkerPoolSpecs(0).getContainerSpec().equals(a.getWorkerPoolSpecs(0).getContainerSpec())
                && b.getWorkerPoolSpecs(0).getReplicaCount() == 1
                && b.getWorkerPoolSpecs(0).getMachineSpec().equals(a.getWorkerPoolSpecs(0).getMachineSpec())
                && b.getScheduling().getTimeout().equals(a.getScheduling().getTimeout())
                && b.getBaseOutputDirectory().equals(a.getBaseOutputDirectory()), "sent %s, got %s", sent, got);
    }

    String create() {
        CustomJob job = jobs.create("create", "true");
        check(job.getName().matches("projects/\\d+/locations/[a-z0-9-]+/customJobs/\\d+"),
                "name %s is not the full name with the project number", job.getName());
        check(job.getState() == JobState.JOB_STATE_PENDING || job.getState() == JobState.JOB_STATE_QUEUED,
                "a new job is %s", job.getState());
        long age = Math.abs(System.currentTimeMillis() - Timestamps.toMillis(job.getCreateTime()));
        check(job.hasCreateTime() && age < 3_600_000, "create time is %s", job.getCreateTime());
        echoed(jobs.spec("create", "true"), job);
        return job.getState().name();
    }

    String get() {
        CustomJob job = jobs.finished("get", "true");
        String rest = job.getName().substring(job.getName().indexOf("/locations/"));
        CustomJob byId = client.getCustomJob("projects/" + jobs.project + rest);
        check(job.equals(byId), "by number %s, by id %s", job, byId);
        echoed(jobs.spec("get", "true"), job);
        return "";
    }

    String listPaging() {
        List<String> want = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            want.add(0, jobs.create("paging", "true").getName()); // newest first
        }
        List<String> got = new ArrayList<>();
        List<Integer> sizes = new ArrayList<>();
        for (ListCustomJobsPage page : client.listCustomJobs(
                jobs.list(jobs.mine() + " AND labels.part=paging").setPageSize(2).build()).iteratePages()) {
            List<String> names = StreamSupport.stream(page.getValues().spliterator(), false)
                    .map(CustomJob::getName).toList();
            got.addAll(names);
            sizes.add(names.size());
        }
        check(got.equals(want) && sizes.equals(List.of(2, 2, 1)), "want %s, got pages %s of %s", want, sizes, got);
        return "pages 2, 2, 1";
    }

    private List<String> names(String filter) {
        ListCustomJobsRequest request = jobs.list(filter).build();
        return StreamSupport.stream(client.listCustomJobs(request).iterateAll().spliterator(), false)
                .map(CustomJob::getName).toList();
    }

    String filter() {
        CustomJob good = jobs.finished("filter-a", "true");
        CustomJob bad = jobs.finished("filter-b", "exit 1");
        String a = good.getName();
        String b = bad.getName();
        String both = jobs.mine() + " AND labels.part:\"filter-*\" AND ";
        String first = '"' + Timestamps.toString(good.getCreateTime()) + '"';
        String last = '"' + Timestamps.toString(bad.getCreateTime()) + '"';
        Map<String, List<String>> want = new LinkedHashMap<>();
        want.put("display_name=\"" + good.getDisplayName() + '"', List.of(a));
        want.put(jobs.mine() + " AND labels.part=filter-b", List.of(b));
        want.put(both + "(state=\"JOB_STATE_SUCCEEDED\" OR state=\"JOB_STATE_FAILED\")", List.of(b, a));
        want.put(both + "NOT state=\"JOB_STATE_FAILED\"", List.of(a));
        want.put(both + "create_time>=" + first + " AND create_time<=" + last, List.of(b, a));
        want.put(both + "create_time>" + last, List.of());
        want.forEach((text, names) -> {
            List<String> got = names(text);
            check(got.equals(names), "%s: want %s, got %s", text, names, got);
        });
        refused(InvalidArgumentException.class, "filter", () -> names("state="));
        return "";
    }

    String cancel() {
        CustomJob job = jobs.create("cancel", Jobs.SLEEPER);
        jobs.until(job.getName(), s -> s == JobState.JOB_STATE_RUNNING || Jobs.ended(s));
        client.cancelCustomJob(job.getName());
        CustomJob end = jobs.until(job.getName(), Jobs::ended);
        check(end.getState() == JobState.JOB_STATE_CANCELLED && end.hasEndTime()
                && end.getError().getCode() == Code.CANCELLED_VALUE, "after cancel: %s", end);
        client.cancelCustomJob(job.getName()); // again: no error
        return "";
    }

    String delete() throws Exception {
        CustomJob running = jobs.create("delete-running", Jobs.SLEEPER);
        try {
            client.deleteCustomJobAsync(running.getName()).get(30, TimeUnit.SECONDS);
            check(false, "a running job was deleted");
        } catch (java.util.concurrent.ExecutionException e) {
            check(e.getCause() instanceof FailedPreconditionException, "want FailedPreconditionException, got %s",
                    e.getCause());
        }
        client.cancelCustomJob(running.getName()); // it holds the machine that the next one needs
        CustomJob job = jobs.finished("delete", "true");
        Empty done = client.deleteCustomJobAsync(job.getName()).get(30, TimeUnit.SECONDS);
        check(done.equals(Empty.getDefaultInstance()), "response %s", done);
        String id = job.getName().substring(job.getName().lastIndexOf('/') + 1);
        refused(NotFoundException.class, id, () -> client.getCustomJob(job.getName()));
        return "";
    }

    String waitRealJob() {
        long began = System.nanoTime();
        // The output folder is a bucket mounted under /gcs; AIP_MODEL_DIR names it as gs://.
        CustomJob job = jobs.finished("wait",
                "d=/gcs/${AIP_MODEL_DIR#gs://}; mkdir -p \"$d\" && echo 42 >\"$d/answer\" && cat \"$d/answer\"");
        check(job.getState() == JobState.JOB_STATE_SUCCEEDED && !job.hasError(), "%s", job);
        Timestamp[] times = {job.getCreateTime(), job.getStartTime(), job.getEndTime()};
        check(job.hasStartTime() && job.hasEndTime() && Timestamps.compare(times[0], times[1]) <= 0
                && Timestamps.compare(times[1], times[2]) <= 0, "times %s", (Object) times);
        return (System.nanoTime() - began) / 1_000_000 + " ms from create to the end seen";
    }

    String failedJob() {
        CustomJob job = jobs.finished("failed", "echo boom >&2; exit 3");
        String message = job.getError().getMessage();
        check(job.getState() == JobState.JOB_STATE_FAILED && job.getError().getCode() != 0
                && message.contains("workerpool0-0") && message.contains("status of 3"), "%s", job);
        return "";
    }

    String errorMapping() {
        refused(NotFoundException.class, "404404404404404404",
                () -> client.getCustomJob(jobs.parent + "/customJobs/404404404404404404"));
        CustomJob.Builder empty = jobs.spec("empty", "true").toBuilder();
        empty.getJobSpecBuilder().clearWorkerPoolSpecs();
        InvalidArgumentException e = refused(InvalidArgumentException.class, "worker_pool_specs",
                () -> client.createCustomJob(jobs.parent, empty.build()));
        BadRequest details = e.getErrorDetails() == null ? null : e.getErrorDetails().getBadRequest();
        check(details != null && details.getFieldViolationsCount() == 1
                && details.getFieldViolations(0).getField().equals("job_spec.worker_pool_specs"),
                "BadRequest in the details: %s", details);
        refused(InvalidArgumentException.class, "nowhere", () -> client.createCustomJob(
                LocationName.of(jobs.project, "nowhere"), jobs.spec("nowhere", "true")));
        return details.getFieldViolations(0).getField();
    }

    String operations() throws Exception {
        OperationsClient operations = client.getOperationsClient();
        CustomJob job = jobs.finished("operations", "true");
        var future = client.deleteCustomJobAsync(job.getName());
        DeleteOperationMetadata metadata = future.getMetadata().get(30, TimeUnit.SECONDS);
        check(metadata.getGenericMetadata().hasCreateTime(), "metadata %s", metadata);
        String name = future.getName();
        Operation op = operations.getOperation(name);
        check(op.getDone() && op.getResponse().is(Empty.class), "operation %s", op);
        Operation waited = operations.waitOperation(WaitOperationRequest.newBuilder().setName(name).build());
        check(waited.equals(op), "wait says %s, get says %s", waited, op);
        int listed = 0;
        boolean found = false;
        for (Operation o : operations.listOperations(jobs.parent, "").iterateAll()) {
            listed++;
            found |= o.equals(op);
        }
        check(found, "%s is not in the list of %d", name, listed);
        operations.cancelOperation(name); // it is finished: no error
        operations.deleteOperation(name);
        refused(NotFoundException.class, "", () -> operations.getOperation(name));
        return listed + " listed";
    }
}
