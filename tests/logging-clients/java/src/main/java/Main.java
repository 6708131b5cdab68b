// The Java logging client against cusp. One JSON line a case; see ../README.md.
import static cusp.Cases.want;

import com.google.api.gax.paging.Page;
import com.google.auth.oauth2.AccessToken;
import com.google.auth.oauth2.GoogleCredentials;
import com.google.cloud.MonitoredResource;
import com.google.cloud.MonitoredResourceDescriptor;
import com.google.cloud.logging.HttpRequest;
import com.google.cloud.logging.LogEntry;
import com.google.cloud.logging.LogEntryServerStream;
import com.google.cloud.logging.Logging;
import com.google.cloud.logging.Logging.EntryListOption;
import com.google.cloud.logging.Logging.SortingField;
import com.google.cloud.logging.Logging.SortingOrder;
import com.google.cloud.logging.Logging.TailOption;
import com.google.cloud.logging.Logging.WriteOption;
import com.google.cloud.logging.LoggingException;
import com.google.cloud.logging.LoggingOptions;
import com.google.cloud.logging.Payload;
import com.google.cloud.logging.Severity;
import com.google.cloud.logging.SourceLocation;
import com.google.cloud.logging.Synchronicity;
import cusp.Cases;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

public final class Main {
  static final String PROJECT = System.getenv("CUSP_PROJECT");
  static final String LOG = "java-log";
  static final String NAME = "projects/" + PROJECT + "/logs/" + LOG;
  static final String MINE = "logName=\"" + NAME + "\" AND jsonPayload.step:*";
  static final MonitoredResource GLOBAL = MonitoredResource.newBuilder("global").build();
  static Logging logging;

  static void refused(String code, Cases.Case c) {
    Cases.refused(LoggingException.class, e -> code.equals(e.getReason()) || e.getMessage().startsWith(code), code, c);
  }

  static List<LogEntry> all(String filter, EntryListOption... more) {
    List<EntryListOption> options = new ArrayList<>(List.of(more));
    options.add(EntryListOption.filter(filter));
    List<LogEntry> got = new ArrayList<>();
    for (LogEntry e : logging.listLogEntries(options.toArray(new EntryListOption[0])).iterateAll()) {
      got.add(e);
    }
    return got;
  }

  static double step(LogEntry e) {
    return ((Number) e.<Payload.JsonPayload>getPayload().getDataAsMap().get("step")).doubleValue();
  }

  static String id(int i) {
    return String.format("id%02d", i);
  }

  static LogEntry entry(Instant at, int i) {
    return LogEntry.newBuilder(Payload.JsonPayload.of(Map.of("step", i))).setTimestamp(at.plusMillis(i))
        .setSeverity(i % 2 == 1 ? Severity.WARNING : Severity.INFO).setInsertId(id(i)).build();
  }

  static void write() {
    Instant t0 = Instant.now().minusSeconds(60);
    List<LogEntry> entries = new ArrayList<>();
    for (int i = 0; i < 25; i++) {
      entries.add(entry(t0, i));
    }
    WriteOption[] how = {WriteOption.logName(LOG), WriteOption.resource(GLOBAL), WriteOption.labels(Map.of("run", "7"))};
    logging.write(entries, how);
    logging.write(List.of(LogEntry.newBuilder(Payload.StringPayload.of("text")).setTimestamp(t0)
        .setTrace("projects/" + PROJECT + "/traces/t1").setSpanId("00f1").setTraceSampled(true)
        .setSourceLocation(SourceLocation.newBuilder().setFile("a.java").setLine(7L).setFunction("f").build())
        .setHttpRequest(HttpRequest.newBuilder().setRequestMethod(HttpRequest.RequestMethod.GET).setRequestUrl("/x").setStatus(404).build())
        .build()), how);
    logging.write(List.of(entry(t0, 0)), how);  // a retry is not written twice
    logging.flush();
  }

  static void list() {
    List<LogEntry> got = all(MINE);
    want(got.size() == 25, got.size() + " entries");
    for (int i = 0; i < 25; i++) {
      LogEntry e = got.get(i);
      want(step(e) == i && "7".equals(e.getLabels().get("run")) && e.getInsertId().equals(id(i)) && e.getResource().getType().equals("global"), e);
    }
    got = all(MINE + " AND severity>=WARNING AND jsonPayload.step>20");
    want(got.size() == 2 && got.get(0).getSeverity() == Severity.WARNING, got);
    got = all("logName=\"" + NAME + "\" AND httpRequest.status=404 AND textPayload:tex");
    want(got.size() == 1 && got.get(0).<Payload.StringPayload>getPayload().getData().equals("text")
        && got.get(0).getHttpRequest().getStatus() == 404 && got.get(0).getTraceSampled()
        && got.get(0).getSourceLocation().getLine() == 7, got);
  }

  static void paging() {
    Page<LogEntry> page = logging.listLogEntries(EntryListOption.filter(MINE), EntryListOption.pageSize(10),
        EntryListOption.sortOrder(SortingField.TIMESTAMP, SortingOrder.DESCENDING));
    int next = 24;
    while (page != null) {
      int n = 0;
      for (LogEntry e : page.getValues()) {
        want(step(e) == next, next + ": " + e);
        next--;
        n++;
      }
      want(n <= 10, "a page of " + n);
      page = page.hasNextPage() ? page.getNextPage() : null;
    }
    want(next == -1, "ended before " + next);
  }

  static void jobLines() {
    List<LogEntry> got = all("resource.type=\"ml_job\" AND resource.labels.job_id=\"" + System.getenv("CUSP_JOB") + "\"");
    want(got.size() > 4 && got.get(0).getResource().getLabels().get("task_name").equals("service"), got);
    want(got.get(got.size() - 1).<Payload.StringPayload>getPayload().getData().equals("Job completed successfully."), got);
  }

  static void logs() {
    List<String> got = new ArrayList<>();
    logging.listLogs().iterateAll().forEach(got::add);
    want(got.stream().anyMatch(l -> l.endsWith(LOG)), got);
  }

  static void descriptors() {
    for (MonitoredResourceDescriptor d : logging.listMonitoredResourceDescriptors().iterateAll()) {
      if (d.getType().equals("ml_job")) {
        return;
      }
    }
    want(false, "no ml_job");
  }

  static void tail() throws Exception {
    LogEntryServerStream stream = logging.tailLogEntries(TailOption.filter("logName=\"" + NAME + "\""), TailOption.project(PROJECT));
    CompletableFuture<Boolean> seen = CompletableFuture.supplyAsync(() -> {
      for (LogEntry e : stream) {
        if (e.getPayload() instanceof Payload.StringPayload && e.<Payload.StringPayload>getPayload().getData().equals("live")) {
          return true;
        }
      }
      return false;
    });
    // The client does not say when the tail has begun: write until the tail has shown one.
    for (int i = 0; i < 300 && !seen.isDone(); i++) {
      logging.write(List.of(LogEntry.of(Payload.StringPayload.of("live"))), WriteOption.logName(LOG), WriteOption.resource(GLOBAL));
      logging.flush();
      try {
        seen.get(100, TimeUnit.MILLISECONDS);
      } catch (java.util.concurrent.TimeoutException e) {
        continue;
      }
    }
    want(seen.isDone() && seen.get(), "nothing came");
    stream.cancel();
  }

  static void errorMapping() throws Exception {
    refused("INVALID_ARGUMENT", () -> all("severity>>"));
    want(!logging.deleteLog("no-such-log"), "deleted what is not there");
  }

  static void remove() {
    want(logging.deleteLog(LOG), "deleteLog");
    want(all("logName=\"" + NAME + "\"").isEmpty(), "entries are left");
  }

  public static void main(String[] args) throws Exception {
    // Over TLS and with a token: without credentials, and for names with "localhost" in them, the client closes its channel before
    // it uses it (3.34.0, GrpcLoggingRpc).
    String host = System.getenv("CUSP_ENDPOINT").replaceAll("https?://", "");
    AccessToken token = new AccessToken("local", Date.from(Instant.now().plusSeconds(86400)));
    logging = LoggingOptions.newBuilder().setProjectId(PROJECT).setHost(host).setCredentials(GoogleCredentials.create(token))
        .setAutoPopulateMetadata(false).build().getService();
    logging.setWriteSynchronicity(Synchronicity.SYNC);
    new Cases()
        .add("write", Main::write)
        .add("list", Main::list)
        .add("paging", Main::paging)
        .add("job_lines", Main::jobLines)
        .add("logs", Main::logs)
        .add("descriptors", Main::descriptors)
        .add("tail", Main::tail)
        .add("error_mapping", Main::errorMapping)
        .add("remove", Main::remove)
        .runAll("grpc", Logging.class.getPackage().getImplementationVersion());
  }
}
