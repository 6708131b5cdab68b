/* cusp env: what each official client needs to talk to this server. cusp serve: the server itself.
 */
#include "cli/cli.h"

#include <errno.h>
#include <unistd.h>

static void put_python(const struct cli *c) {
    printf(
        "# Python, google-cloud-aiplatform: pass the endpoint to init (there is no variable for "
        "it)\n"
        "#   from google.auth.credentials import AnonymousCredentials\n"
        "#   aiplatform.init(project=\"%s\", location=\"%s\", credentials=AnonymousCredentials(),\n"
        "#                   api_endpoint=\"%s\", api_transport=\"rest\", "
        "staging_bucket=\"gs://BUCKET\")\n"
        "export STORAGE_EMULATOR_HOST=%s\n"
        "export GOOGLE_CLOUD_PROJECT=%s\n",
        c->project, c->region, c->endpoint, c->endpoint, c->project);
}

static void put_gcloud(const struct cli *c) {
    printf("export CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM=%s/\n"
           "export CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE=%s/storage/v1/\n"
           "export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=1\n"
           "export CLOUDSDK_CORE_PROJECT=%s\n"
           "export CLOUDSDK_CORE_DISABLE_PROMPTS=1\n",
           c->endpoint, c->endpoint, c->project);
}

static void put_node(const struct cli *c) {
    struct str rest = str_of(c->endpoint);
    ptrdiff_t at = str_find(rest, STR("://"));
    struct str host = at < 0 ? rest : str_sub(rest, (size_t)at + 3, rest.n), port = host;
    host = str_cut(&port, ':');
    port = port.n ? port : STR("80");
    printf("# Node, @google-cloud/aiplatform (REST):\n"
           "#   new JobServiceClient({apiEndpoint: '%.*s', port: %.*s, protocol: 'http', fallback: "
           "true, authClient})\n"
           "export STORAGE_EMULATOR_HOST=%s\n",
           STR_ARG(host), STR_ARG(port), c->endpoint);
}

static void put_go(const struct cli *c) {
    printf("# Go, cloud.google.com/go/aiplatform:\n"
           "#   aiplatform.NewJobRESTClient(ctx, option.WithEndpoint(\"%s\"), "
           "option.WithoutAuthentication())\n"
           "export STORAGE_EMULATOR_HOST=%s\n",
           c->endpoint, c->endpoint);
}

int cmd_env(const struct cli *c, int argc, char **argv, struct err *err) {
    const char *which = argc ? argv[0] : "";
    if (c->json) {
        return err_set(err, ERR_INVALID_ARGUMENT, "env prints shell lines, not JSON");
    }
    if (argc > 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp env [CLIENT]");
    }
    bool all = !*which, known = all || strcmp(which, "curl") == 0;
    static const struct {
        const char *name;
        void (*put)(const struct cli *);
    } clients[] = {
        {"python", put_python}, {"gcloud", put_gcloud}, {"node", put_node}, {"go", put_go}};
    for (size_t i = 0; i < NR_OF(clients); i++) {
        known |= strcmp(which, clients[i].name) == 0;
    }
    if (!known) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "no notes for client \"%s\": python, node, go, gcloud or curl", which);
    }
    printf("export CUSP_ENDPOINT=%s\n", c->endpoint);
    for (size_t i = 0; i < NR_OF(clients); i++) {
        if (all || strcmp(which, clients[i].name) == 0) {
            clients[i].put(c);
        }
    }
    return 0;
}

int cmd_serve(const struct cli *c, int argc, char **argv, struct err *err) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        return err_sys(err, errno, "find cuspd");
    }
    self[n] = 0;
    auto_free char *path = xasprintf("%.*s/cuspd", (int)(strrchr(self, '/') - self), self);
    char **args = xcalloc((size_t)argc + 2, sizeof(*args));
    args[0] = path;
    for (int i = 0; i < argc; i++) {
        args[i + 1] = argv[i];
    }
    execv(path, args);
    free(args);
    return err_sys(err, errno, "start %s", path);
}
