/* Notes for each client. A variable appears when it makes a difference for that client; what cannot
 * be said by a variable (most clients have none for the endpoint) is a snippet. */
#include "cli/env.h"

#include "base/buf.h"

static void var(const struct env_sink *to, const char *name, const char *value) {
    if (value) {
        to->variable(to->arg, name, value);
    }
}

/* {x} in a template: h host, H name for TLS, p port, u url, P project, R region, b the CA bundle.
 */
static void snippet(const struct env_sink *to, const struct env_facts *f, const char *transport,
                    const char *title, const char *template) {
    bool is_tls = strlen(transport) > 4;
    struct buf b = BUF_INIT(BUF_NO_MAX);
    if (is_tls ? !f->tls : !f->clear) {
        return;
    }
    for (const char *t = template; *t; t++) {
        if (t[0] != '{' || !t[1] || t[2] != '}') {
            buf_putc(&b, *t);
            continue;
        }
        const char *v = t[1] == 'h'   ? f->host
                        : t[1] == 'H' ? f->tls_host
                        : t[1] == 'p' ? f->port
                        : t[1] == 'u' ? f->url
                        : t[1] == 'P' ? f->project
                        : t[1] == 'R' ? f->region
                                      : NULL;
        CHECK(v);
        buf_puts(&b, v);
        t += 2;
    }
    to->snippet(to->arg, transport, title, buf_cstr(&b));
    buf_fini(&b);
}

static void python(const struct env_facts *f, const struct env_sink *to) {
    var(to, "GOOGLE_CLOUD_PROJECT", f->project);
    var(to, "GOOGLE_CLOUD_REGION", f->region);
    var(to, "STORAGE_EMULATOR_HOST", f->url);
    var(to, "REQUESTS_CA_BUNDLE", f->trust.bundle);
    var(to, "SSL_CERT_FILE", f->trust.bundle);
    var(to, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", f->trust.bundle);
    snippet(to, f, "rest", "google-cloud-aiplatform, REST",
            "from google.auth.credentials import AnonymousCredentials\n"
            "from google.cloud import aiplatform\n"
            "aiplatform.init(project=\"{P}\", location=\"{R}\", staging_bucket=\"gs://BUCKET\",\n"
            "                credentials=AnonymousCredentials(),\n"
            "                api_endpoint=\"{u}\", api_transport=\"rest\")\n");
    snippet(to, f, "rest-tls", "google-cloud-aiplatform, REST over TLS",
            "from google.auth.credentials import AnonymousCredentials\n"
            "from google.cloud import aiplatform\n"
            "aiplatform.init(project=\"{P}\", location=\"{R}\", staging_bucket=\"gs://BUCKET\",\n"
            "                credentials=AnonymousCredentials(),\n"
            "                api_endpoint=\"{H}:{p}\", api_transport=\"rest\")\n");
    snippet(to, f, "grpc-tls", "google-cloud-aiplatform, gRPC (its default transport)",
            "from google.auth.credentials import AnonymousCredentials\n"
            "from google.cloud import aiplatform\n"
            "aiplatform.init(project=\"{P}\", location=\"{R}\", staging_bucket=\"gs://BUCKET\",\n"
            "                credentials=AnonymousCredentials(), api_endpoint=\"{H}:{p}\")\n");
    snippet(to, f, "grpc", "the generated client over clear text gRPC (the SDK itself cannot)",
            "import grpc\n"
            "from google.cloud import aiplatform_v1\n"
            "from google.cloud.aiplatform_v1.services.job_service.transports import "
            "JobServiceGrpcTransport\n"
            "channel = grpc.insecure_channel(\"{h}:{p}\")\n"
            "jobs = "
            "aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))\n");
    snippet(to, f, "rest", "google-cloud-logging, REST",
            "from google.auth.credentials import AnonymousCredentials\n"
            "from google.cloud import logging\n"
            "logs = logging.Client(project=\"{P}\", credentials=AnonymousCredentials(), "
            "_use_grpc=False,\n"
            "                      client_options={\"api_endpoint\": \"{u}\"})\n");
    snippet(to, f, "grpc-tls", "google-cloud-logging, gRPC (its default transport)",
            "from google.auth.credentials import AnonymousCredentials\n"
            "from google.cloud import logging\n"
            "logs = logging.Client(project=\"{P}\", credentials=AnonymousCredentials(),\n"
            "                      client_options={\"api_endpoint\": \"{H}:{p}\"})\n");
}

/* google-auth-library looks for credentials even when none are needed, so it is given some. */
#define NODE_AUTH                                                                                  \
    "const {OAuth2Client} = require('google-auth-library');\n"                                     \
    "const authClient = new OAuth2Client();\n"                                                     \
    "authClient.setCredentials({access_token: 'local', expiry_date: Date.now() + 864e5});\n"

static void node(const struct env_facts *f, const struct env_sink *to) {
    var(to, "GOOGLE_CLOUD_PROJECT", f->project);
    var(to, "STORAGE_EMULATOR_HOST", f->url);
    var(to, "NODE_EXTRA_CA_CERTS", f->trust.ca);
    var(to, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", f->trust.bundle);
    snippet(to, f, "rest", "@google-cloud/aiplatform, REST",
            "const {JobServiceClient} = require('@google-cloud/aiplatform').v1;\n" NODE_AUTH
            "const jobs = new JobServiceClient({apiEndpoint: '{h}', port: {p}, protocol: 'http',\n"
            "                                   fallback: true, authClient});\n");
    snippet(to, f, "rest-tls", "@google-cloud/aiplatform, REST over TLS",
            "const {JobServiceClient} = require('@google-cloud/aiplatform').v1;\n" NODE_AUTH
            "const jobs = new JobServiceClient({apiEndpoint: '{H}', port: {p}, fallback: true, "
            "authClient});\n");
    snippet(to, f, "grpc-tls", "@google-cloud/aiplatform, gRPC",
            "const {JobServiceClient} = require('@google-cloud/aiplatform').v1;\n" NODE_AUTH
            "const jobs = new JobServiceClient({apiEndpoint: '{H}', port: {p}, authClient});\n");
    snippet(to, f, "grpc", "@google-cloud/aiplatform, gRPC in clear text",
            "const {JobServiceClient} = require('@google-cloud/aiplatform').v1;\n"
            "const {grpc} = require('google-gax');\n" NODE_AUTH
            "const jobs = new JobServiceClient({apiEndpoint: '{h}', port: {p}, authClient,\n"
            "                                   sslCreds: grpc.credentials.createInsecure()});\n");
    snippet(to, f, "grpc-tls", "@google-cloud/logging, gRPC",
            "const {Logging} = require('@google-cloud/logging');\n" NODE_AUTH
            "const logs = new Logging({projectId: '{P}', apiEndpoint: '{H}', port: {p}, "
            "authClient});\n");
    snippet(to, f, "grpc", "@google-cloud/logging, gRPC in clear text",
            "const {Logging} = require('@google-cloud/logging');\n"
            "const {grpc} = require('google-gax');\n"
            "const logs = new Logging({projectId: '{P}', apiEndpoint: '{h}', port: {p},\n"
            "                          sslCreds: grpc.credentials.createInsecure()});\n");
}

/* The library has no REST. */
static void java(const struct env_facts *f, const struct env_sink *to) {
    var(to, "GOOGLE_CLOUD_PROJECT", f->project);
    if (f->trust.store) {
        auto_free char *v = xasprintf("-Djavax.net.ssl.trustStore=%s "
                                      "-Djavax.net.ssl.trustStorePassword=changeit "
                                      "-Djavax.net.ssl.trustStoreType=PKCS12",
                                      f->trust.store);
        var(to, "JAVA_TOOL_OPTIONS", v);
    }
    snippet(to, f, "grpc-tls", "google-cloud-aiplatform, gRPC",
            "JobServiceClient jobs = JobServiceClient.create(JobServiceSettings.newBuilder()\n"
            "    .setEndpoint(\"{H}:{p}\")\n"
            "    .setCredentialsProvider(NoCredentialsProvider.create())\n"
            "    .build());\n");
    snippet(to, f, "grpc", "google-cloud-aiplatform, gRPC in clear text",
            "JobServiceClient jobs = JobServiceClient.create(JobServiceSettings.newBuilder()\n"
            "    .setCredentialsProvider(NoCredentialsProvider.create())\n"
            "    .setTransportChannelProvider(InstantiatingGrpcChannelProvider.newBuilder()\n"
            "        .setEndpoint(\"{h}:{p}\")\n"
            "        .setChannelConfigurator(b -> b.usePlaintext())\n"
            "        .build())\n"
            "    .build());\n");
    snippet(
        to, f, "grpc-tls",
        "google-cloud-logging, gRPC (over TLS only; by address, it does not take localhost)",
        "Logging logs = LoggingOptions.newBuilder().setProjectId(\"{P}\").setHost(\"{h}:{p}\")\n"
        "    .setCredentials(GoogleCredentials.create(\n"
        "        new AccessToken(\"local\", new Date(System.currentTimeMillis() + "
        "86400000L))))\n"
        "    .build().getService();\n");
}

#define GO_CONN                                                                                    \
    "conn, err := grpc.NewClient(\"{H}:{p}\",\n"                                                   \
    "    grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{})))\n"
#define GO_CLEAR                                                                                   \
    "option.WithoutAuthentication(),\n"                                                            \
    "    option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))\n"

static void go(const struct env_facts *f, const struct env_sink *to) {
    var(to, "GOOGLE_CLOUD_PROJECT", f->project);
    var(to, "STORAGE_EMULATOR_HOST", f->url);
    var(to, "SSL_CERT_FILE", f->trust.bundle);
    snippet(to, f, "grpc-tls", "cloud.google.com/go/aiplatform/apiv1, gRPC",
            GO_CONN "jobs, err := aiplatform.NewJobClient(ctx, option.WithGRPCConn(conn))\n");
    snippet(
        to, f, "grpc", "cloud.google.com/go/aiplatform/apiv1, gRPC in clear text",
        "jobs, err := aiplatform.NewJobClient(ctx, option.WithEndpoint(\"{h}:{p}\"), " GO_CLEAR);
    snippet(to, f, "rest", "cloud.google.com/go/aiplatform/apiv1beta1, REST (apiv1 has gRPC only)",
            "jobs, err := aiplatform.NewJobRESTClient(ctx, option.WithEndpoint(\"{u}\"), "
            "option.WithoutAuthentication())\n");
    snippet(to, f, "rest-tls",
            "cloud.google.com/go/aiplatform/apiv1beta1, REST over TLS (apiv1 has gRPC only)",
            "jobs, err := aiplatform.NewJobRESTClient(ctx, "
            "option.WithEndpoint(\"https://{H}:{p}\"), option.WithoutAuthentication())\n");
    snippet(to, f, "grpc-tls", "cloud.google.com/go/logging, gRPC",
            GO_CONN
            "logs, err := logging.NewClient(ctx, \"projects/{P}\", option.WithGRPCConn(conn))\n");
    snippet(
        to, f, "grpc", "cloud.google.com/go/logging, gRPC in clear text",
        "logs, err := logging.NewClient(ctx, \"projects/{P}\", option.WithEndpoint(\"{h}:{p}\"),\n"
        "    " GO_CLEAR);
}

static void gcloud(const struct env_facts *f, const struct env_sink *to) {
    static const char *const apis[][2] = {{"AIPLATFORM", "/"},
                                          {"STORAGE", "/storage/v1/"},
                                          {"LOGGING", "/"},
                                          {"CLOUDRESOURCEMANAGER", "/"}};
    for (size_t i = 0; i < NR_OF(apis); i++) { /* the slash at the end is needed */
        auto_free char *name = xasprintf("CLOUDSDK_API_ENDPOINT_OVERRIDES_%s", apis[i][0]);
        auto_free char *value = xasprintf("%s%s", f->url, apis[i][1]);
        var(to, name, value);
    }
    var(to, "CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "1");
    var(to, "CLOUDSDK_CORE_PROJECT", f->project);
    var(to, "CLOUDSDK_CORE_DISABLE_PROMPTS", "1");
    var(to, "CLOUDSDK_AI_REGION", f->region);
    var(to, "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", f->trust.bundle);
    snippet(to, f, f->clear ? "rest" : "rest-tls", "gcloud",
            "gcloud ai custom-jobs create --region={R} --display-name=hello \\\n"
            "    "
            "--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,container-image-uri="
            "IMAGE\n");
    snippet(to, f, f->clear ? "rest" : "rest-tls", "gcloud logging",
            "gcloud logging read 'resource.type=\"ml_job\"' --limit=20 --order=asc\n");
}

static void curl(const struct env_facts *f, const struct env_sink *to) {
    var(to, "CURL_CA_BUNDLE", f->trust.bundle);
    snippet(to, f, "rest", "as in the product's documentation",
            "curl -X POST -H 'Authorization: Bearer local' -d @request.json \\\n"
            "    -H 'Content-Type: application/json; charset=utf-8' \\\n"
            "    {u}/v1/projects/{P}/locations/{R}/customJobs\n");
    snippet(to, f, "rest-tls", "over TLS",
            "curl -X POST -H 'Authorization: Bearer local' -d @request.json \\\n"
            "    -H 'Content-Type: application/json; charset=utf-8' \\\n"
            "    https://{H}:{p}/v1/projects/{P}/locations/{R}/customJobs\n");
}

static void (*const notes[ENV_CLIENTS])(const struct env_facts *, const struct env_sink *) = {
    python, node, java, go, gcloud, curl};
const char *const env_clients[ENV_CLIENTS] = {"python", "node", "java", "go", "gcloud", "curl"};

void env_notes(size_t i, const struct env_facts *f, const struct env_sink *to) {
    var(to, "CUSP_ENDPOINT", f->url);
    var(to, "CUSP_CA", f->trust.ca);
    var(to, "NO_PROXY", f->no_proxy);
    notes[i](f, to);
}
