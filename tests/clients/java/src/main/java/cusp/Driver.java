package cusp;

import com.google.api.gax.core.NoCredentialsProvider;
import com.google.cloud.aiplatform.v1.JobServiceClient;
import com.google.cloud.aiplatform.v1.JobServiceSettings;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;

/**
 * The Java driver of the client matrix: the ten cases of tests/clients/README.md performed with
 * google-cloud-aiplatform, unmodified. The library speaks gRPC only.
 */
public final class Driver {
    /** One of the ten cases: returns the detail of the line; throws to fail. */
    interface Case {
        String run() throws Exception;
    }

    private Driver() {}

    public static void main(String[] args) throws IOException {
        if (args.length != 2 || !args[0].equals("--transport")) {
            System.err.println("usage: Driver --transport grpc|grpc-tls");
            System.exit(2);
        }
        String transport = args[1];
        int failed = 0;
        try (JobServiceClient client = JobServiceClient.create(settings(transport))) {
            Cases cases = new Cases(client);
            Map<String, Case> all = new LinkedHashMap<>();
            all.put("create", cases::create);
            all.put("get", cases::get);
            all.put("list_paging", cases::listPaging);
            all.put("filter", cases::filter);
            all.put("cancel", cases::cancel);
            all.put("delete", cases::delete);
            all.put("wait_real_job", cases::waitRealJob);
            all.put("failed_job", cases::failedJob);
            all.put("error_mapping", cases::errorMapping);
            all.put("operations", cases::operations);
            for (Map.Entry<String, Case> c : all.entrySet()) {
                failed += report(transport, c.getKey(), c.getValue()) ? 0 : 1;
            }
            cases.clean();
        }
        System.exit(failed == 0 ? 0 : 1);
    }

    /** What a user writes to point the client at a local server. */
    private static JobServiceSettings settings(String transport) throws IOException {
        JobServiceSettings.Builder b = JobServiceSettings.newBuilder();
        b.setCredentialsProvider(NoCredentialsProvider.create());
        if (transport.equals("grpc-tls")) {
            b.setEndpoint(System.getenv("CUSP_HOSTPORT")); // trusted by -Djavax.net.ssl.trustStore
        } else if (transport.equals("grpc")) {
            String endpoint = System.getenv("CUSP_ENDPOINT").replaceFirst("^[a-z]+://", "");
            b.setTransportChannelProvider(JobServiceSettings.defaultGrpcTransportProviderBuilder()
                    .setEndpoint(endpoint).setChannelConfigurator(c -> c.usePlaintext()).build());
        } else {
            throw new IOException("no such transport: " + transport);
        }
        return b.build();
    }

    private static boolean report(String transport, String name, Case c) {
        JsonObject line = new JsonObject();
        line.addProperty("client", "java");
        line.addProperty("version", version());
        line.addProperty("transport", transport);
        line.addProperty("case", name);
        long began = System.nanoTime();
        boolean ok = false;
        String detail;
        try {
            detail = c.run();
            ok = true;
        } catch (Exception e) {
            detail = e.toString();
        }
        line.addProperty("ok", ok);
        line.addProperty("ms", (System.nanoTime() - began) / 1_000_000);
        line.addProperty("detail", detail);
        System.out.println(line);
        System.out.flush();
        return ok;
    }

    private static String version() {
        try (InputStream in = JobServiceClient.class.getResourceAsStream(
                "/META-INF/maven/com.google.cloud/google-cloud-aiplatform/pom.properties")) {
            Properties p = new Properties();
            p.load(in);
            return p.getProperty("version", "unknown");
        } catch (IOException | NullPointerException e) {
            return "unknown";
        }
    }
}
