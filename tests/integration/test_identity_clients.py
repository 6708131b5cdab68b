"""Real client libraries inside a job, with nothing configured: Go, gcsfs and pandas, Node, Java, gcloud and gsutil, in
transparent and in environment mode (reference 22). Python's are in test_identity.py. Extended: CUSP_EXTENDED=1, on the sklearn-cpu image;
programs and libraries come from this machine as buckets that are directories.
"""
import glob
import json
import os
import shutil
import subprocess

import pytest

from conftest import ROOT, container_job, needs_root, skip_without
from test_identity import ACCOUNT, access_log, output
from test_recipes import EXTENDED, built, load

pytestmark = [needs_root, pytest.mark.skipif(not EXTENDED, reason="extended: CUSP_EXTENDED=1 runs clients in jobs")]
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cusp")


def storage_client(name):
    """The installed client of tests/storage-clients."""
    at = os.path.join(CACHE, "storage-clients", name)
    done = subprocess.run([f"{ROOT}/tests/storage-clients/{name}/setup"], env={**os.environ, "CUSP_CLIENT_ENV": at},
                          capture_output=True, text=True, timeout=900, check=False)
    if done.returncode == 77:
        why = json.loads(done.stdout)
        pytest.skip(f"{name}: {why['skip']} ({why['install']})")
    assert done.returncode == 0, done.stdout + done.stderr
    return at


@pytest.fixture
def client_job(make_server):
    """Runs a command in a job on a Debian image; buckets: NAME -> directory."""
    def make(mode, buckets, *command, env=None, ok=True):
        s = make_server("--engine=local", "--transparent=" + mode, *[f"--bucket={k}={v}" for k, v in buckets.items()]).start()
        load(s, open(built("sklearn-cpu")).read())
        s.call("POST", "/storage/v1/b?project=demo", {"name": "bucket-a"})
        s.http.post(s.url + "/upload/storage/v1/b/bucket-a/o?uploadType=media&name=in.txt", data=b"from outside")
        body = container_job(*command, image="us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-0:latest", serviceAccount=ACCOUNT)
        body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] = [{"name": k, "value": v} for k, v in (env or {}).items()]
        job = s.create(body)
        done = s.wait(job["name"], 240)
        text = output(s, job["name"])
        assert not ok or done["state"] == "JOB_STATE_SUCCEEDED", "\n".join(text[-40:])
        return s, job["name"], text
    return make


def seen(s, job, mode, path):
    """The call reached us by the job's door; in transparent mode by Google's name and with the job's token."""
    host, token = ("storage.googleapis.com", "valid") if mode == "on" else ("169.254.169.254", "")
    want = {"job": job, "by": "door", "host": host, "status": 200}
    assert any(path in l for l in access_log(s, **({**want, "token": token} if token else want)))


# ---- Go

@pytest.mark.parametrize("mode", ["on", "off"])
def test_go_storage(client_job, mode):
    s, job, text = client_job(mode, {"prog": storage_client("go") + "/injob"}, "/gcs/prog/injob")
    assert "token cusp. true" in text and "project demo" in text
    assert "read from outside" in text and "bucket bucket-a" in text
    assert s.call("GET", "/storage/v1/b/bucket-a/o/out.txt?alt=media").text == "from the job"
    seen(s, job, mode, "bucket-a")


# ---- gcsfs, pandas

GCSFS = """
import gcsfs, pandas
fs = gcsfs.GCSFileSystem()
print("read", fs.cat("gs://bucket-a/in.txt").decode())
frame = pandas.DataFrame({"x": [1, 2, 3], "y": [0.5, 0.25, None]})
frame.to_csv("gs://bucket-a/d/frame.csv", index=False)
frame.to_parquet("gs://bucket-a/d/frame.parquet")
print("csv", pandas.read_csv("gs://bucket-a/d/frame.csv").equals(frame))
print("parquet", pandas.read_parquet("gs://bucket-a/d/frame.parquet").x.sum())
print("list", sorted(fs.ls("bucket-a/d")), fs.info("gs://bucket-a/in.txt")["size"])
with fs.open("gs://bucket-a/out.txt", "w") as f:
    f.write("from the job\\n")
"""


@pytest.mark.parametrize("mode", ["on", "off"])
def test_gcsfs_and_pandas(client_job, mode):
    [site] = glob.glob(storage_client("pandas") + "/venv/lib/python3*/site-packages")
    s, job, text = client_job(mode, {"site": site}, "python3", "-W", "ignore", "-c", GCSFS,
                              env={"PYTHONPATH": "/gcs/site", "PYTHONDONTWRITEBYTECODE": "1"})
    assert "read from outside" in text and "csv True" in text and "parquet 6" in text
    assert "list ['bucket-a/d/frame.csv', 'bucket-a/d/frame.parquet'] 12" in text
    assert s.call("GET", "/storage/v1/b/bucket-a/o/out.txt?alt=media").text == "from the job\n"
    seen(s, job, mode, "bucket-a")


# ---- Node

NODE_STORAGE = """
const {Storage} = require('/gcs/modules/node_modules/@google-cloud/storage');
const {GoogleAuth} = require('/gcs/modules/node_modules/google-auth-library');
(async () => {
  const auth = new GoogleAuth();
  console.log('project', await auth.getProjectId(), (await (await auth.getClient()).getAccessToken()).token.slice(0, 5));
  const bucket = new Storage().bucket('bucket-a');
  console.log('read', String((await bucket.file('in.txt').download())[0]));
  await bucket.file('out.txt').save('from the job');
  console.log('buckets', (await new Storage().getBuckets())[0].map((b) => b.name).join(' '));
})().catch((e) => { console.error(e); process.exit(1); });
"""


def node_program(tmp_path):
    skip_without("node")
    at = tmp_path / "node-bin"
    at.mkdir()
    shutil.copy(os.path.realpath(shutil.which("node")), at / "node")
    return str(at)


@pytest.mark.parametrize("mode", ["on", "off"])
def test_node_storage(client_job, tmp_path, mode):
    s, job, text = client_job(mode, {"prog": node_program(tmp_path), "modules": storage_client("node")},
                              "/gcs/prog/node", "-e", NODE_STORAGE)
    assert "project demo cusp." in text and "read from outside" in text
    assert any(l.startswith("buckets") and "bucket-a" in l for l in text)
    seen(s, job, mode, "/b/bucket-a/o/")


NODE_AIPLATFORM = """
const {JobServiceClient} = require('/gcs/modules/node_modules/aiplatform-v7').v1;
const client = new JobServiceClient({apiEndpoint: 'us-central1-aiplatform.googleapis.com'});
client.listCustomJobs({parent: 'projects/demo/locations/us-central1'}).then(
  ([jobs]) => console.log('grpc', jobs.length), (e) => { console.error(e); process.exit(1); });
"""


def test_node_aiplatform(client_job, tmp_path):
    """gRPC over TLS to the regional name, credentials from the metadata server."""
    modules = os.path.join(CACHE, "clients", "node")
    if not os.path.isdir(modules + "/node_modules/aiplatform-v7"):
        pytest.skip("the Node aiplatform client is not installed: make test-clients installs it")
    s, job, text = client_job("on", {"prog": node_program(tmp_path), "modules": modules}, "/gcs/prog/node", "-e", NODE_AIPLATFORM)
    assert "grpc 1" in text
    access_log(s, job=job, token="valid", host="us-central1-aiplatform.googleapis.com:443")


# ---- Java

JAVA = """
import com.google.auth.oauth2.GoogleCredentials;
import com.google.cloud.storage.*;
public class InJob {
  public static void main(String[] a) throws Exception {
    GoogleCredentials c = GoogleCredentials.getApplicationDefault();
    System.out.println("token " + c.refreshAccessToken().getTokenValue().substring(0, 5) + " " + c.getClass().getSimpleName());
    StorageOptions o = StorageOptions.getDefaultInstance();
    System.out.println("project " + o.getProjectId());
    if (a.length > 0) { return; }
    Storage s = o.getService();
    System.out.println("read " + new String(s.readAllBytes("bucket-a", "in.txt")));
    s.create(BlobInfo.newBuilder("bucket-a", "out.txt").build(), "from the job".getBytes());
    for (Bucket b : s.list().iterateAll()) { System.out.println("bucket " + b.getName()); }
  }
}
"""


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    """A runtime that stands on its own (an installed one has its settings in /etc), and the compiled program."""
    skip_without("jlink", "javac")
    lib = storage_client("java") + "/lib"
    at = tmp_path_factory.mktemp("java")
    subprocess.run(["jlink", "--add-modules", "java.se,jdk.crypto.ec,jdk.unsupported,jdk.naming.dns", "--strip-debug", "--no-man-pages",
                    "--no-header-files", "--output", str(at / "jre")], check=True, capture_output=True)
    store = at / "jre/lib/security/cacerts"
    if store.is_symlink():
        store.unlink()
    (at / "src").mkdir()
    (at / "src/InJob.java").write_text(JAVA)
    subprocess.run(["javac", "-cp", lib + "/*", "-d", str(at / "src"), str(at / "src/InJob.java")], check=True, capture_output=True)
    return {"jre": str(at / "jre"), "lib": lib, "prog": str(at / "src")}


def test_java_storage(client_job, java):
    s, job, text = client_job("on", java, "/gcs/jre/bin/java", "-cp", "/gcs/prog:/gcs/lib/*", "InJob")
    assert "token cusp. ComputeEngineCredentials" in text and "project demo" in text
    assert "read from outside" in text and "bucket bucket-a" in text
    seen(s, job, "on", "/b/bucket-a/o/")


def test_java_credentials_in_environment_mode(client_job, java):
    """Java's storage client has no variable for its endpoint; credentials and project are found."""
    _, _, text = client_job("off", java, "/gcs/jre/bin/java", "-cp", "/gcs/prog:/gcs/lib/*", "InJob", "credentials")
    assert "token cusp. ComputeEngineCredentials" in text and "project demo" in text


JAVA_AIPLATFORM = """
import com.google.cloud.aiplatform.v1.*;
public class Jobs {
  public static void main(String[] a) throws Exception {
    JobServiceSettings s = JobServiceSettings.newBuilder().setEndpoint("us-central1-aiplatform.googleapis.com:443").build();
    try (JobServiceClient c = JobServiceClient.create(s)) {
      int n = 0;
      for (CustomJob j : c.listCustomJobs(LocationName.of("demo", "us-central1")).iterateAll()) { n++; }
      System.out.println("grpc " + n);
    }
  }
}
"""


def test_java_aiplatform(client_job, java, tmp_path):
    paths = os.path.join(CACHE, "clients", "java", "classpath")
    if not os.path.exists(paths):
        pytest.skip("the Java aiplatform client is not installed: make test-clients installs it")
    jars = [j for j in open(paths).read().strip().split(":") if j.endswith(".jar")]
    for d in ("jars", "prog"):
        (tmp_path / d).mkdir()
    for jar in jars:
        shutil.copy(jar, tmp_path / "jars")
    (tmp_path / "prog/Jobs.java").write_text(JAVA_AIPLATFORM)
    subprocess.run(["javac", "-cp", str(tmp_path / "jars") + "/*", "-d", str(tmp_path / "prog"), str(tmp_path / "prog/Jobs.java")],
                   check=True, capture_output=True)
    s, job, text = client_job("on", {"jre": java["jre"], "lib": str(tmp_path / "jars"), "prog": str(tmp_path / "prog")},
                              "/gcs/jre/bin/java", "-cp", "/gcs/prog:/gcs/lib/*", "Jobs")
    assert "grpc 1" in text
    access_log(s, job=job, token="valid", host="us-central1-aiplatform.googleapis.com:443")


# ---- gcloud, gsutil

@pytest.mark.parametrize("mode", ["on", "off"])
def test_gcloud(client_job, mode):
    """The account of the metadata server, storage and jobs, without a word of configuration."""
    skip_without("gcloud")
    sdk = os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("gcloud"))))
    script = ("export PATH=/gcs/sdk/bin:$PATH; set -e; gcloud auth list --format='value(account)'; gcloud config get-value project;"
              "gcloud storage cat gs://bucket-a/in.txt; echo; echo from the job > /tmp/x; gcloud storage cp /tmp/x gs://bucket-a/out.txt;"
              "echo jobs $(gcloud ai custom-jobs list --region=us-central1 --format='value(name)')")
    s, job, text = client_job(mode, {"sdk": sdk}, "bash", "-c", script, env={"CLOUDSDK_PYTHON": "python3"})
    assert ACCOUNT in text and "demo" in text and "from outside" in text
    assert any(l.startswith("jobs projects/") for l in text)
    assert s.call("GET", "/storage/v1/b/bucket-a/o/out.txt?alt=media").text == "from the job\n"
    seen(s, job, mode, "/b/bucket-a/o/")


def test_gsutil(client_job):
    skip_without("gcloud")
    sdk = os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("gcloud"))))
    if not glob.glob(sdk + "/platform/gsutil"):
        pytest.skip("NOT TESTED: this gcloud has no gsutil (gcloud components install gsutil)")
    _, _, text = client_job("on", {"sdk": sdk}, "bash", "-c", "/gcs/sdk/bin/gsutil cat gs://bucket-a/in.txt; echo; /gcs/sdk/bin/gsutil ls",
                            env={"CLOUDSDK_PYTHON": "python3"})
    assert "from outside" in text and "gs://bucket-a/" in text
