"""Who a job is, from inside its container: the metadata server, tokens, and the access log outside."""
import base64
import json
import glob
import hmac
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time

import pytest

from conftest import BUILD, container_job, needs_root, wait_until

pytestmark = needs_root
MD = "http://169.254.169.254/computeMetadata/v1"
ACCOUNT = "trainer@demo.iam.gserviceaccount.com"


def script_job(script, **extra):
    return container_job("sh", "-c", script, **extra)


def output(server, name):
    return [l["message"] for l in server.logs(name) if l["task"] != "service"]


def run(server, script, **extra):
    job = server.create(script_job(script, **extra))
    done = server.wait(job["name"])
    text = output(server, job["name"])
    assert done["state"] == "JOB_STATE_SUCCEEDED", (done.get("error"), text)
    return done, text


def wget(path, header="Metadata-Flavor: Google", base=MD):
    return f"wget -q -O - --header '{header}' '{base}{path}'"


def access_log(server, **want):
    """Lines of the access log that hold all the wanted values."""
    def found():
        path = os.path.join(server.data_dir, "access.log")
        lines = open(path).read().splitlines() if os.path.exists(path) else []
        return [l for l in lines if all(re.search(rf'\b{k}="?{re.escape(str(v))}"?(\s|$)', l) for k, v in want.items())]
    return wait_until(found, 10, f"access log lines with {want}")


def claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_metadata_values(local):
    s = local()
    job, out = run(s, "; echo; ".join([
        wget("/project/project-id"), wget("/project/numeric-project-id"), wget("/universe/universe-domain"),
        wget("/instance/service-accounts/default/email"), wget("/instance/service-accounts/default/?recursive=true"),
        wget("/instance/?recursive=true&alt=json"), wget("/", base="http://169.254.169.254"),
        wget("/instance/zone"), wget("/instance/service-accounts/"), wget("/?recursive=true")]) + "; echo",
        serviceAccount=ACCOUNT)
    number = job["name"].split("/")[1]
    assert out[:4] == ["demo", number, "googleapis.com", ACCOUNT]
    account = {"aliases": ["default"], "email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
    assert json.loads(out[4]) == account
    instance = json.loads(out[5])
    assert instance["serviceAccounts"] == {ACCOUNT: account, "default": account} and instance["attributes"] == {}
    assert str(instance["id"]) == job["name"].rsplit("/")[-1]
    assert out[6] == "computeMetadata/"
    assert f"projects/{number}/zones/us-central1-a" in out
    assert [ACCOUNT + "/", "default/"] == [l for l in out if l.endswith("/")][1:3]
    assert json.loads(out[-1])["project"] == {"attributes": {}, "numericProjectId": int(number), "projectId": "demo"}


def test_metadata_rules(local):
    """403 without the header, 404 for what is not there, 405 for other methods; every answer says who it is."""
    s = local()
    def status(path, *flags, base="http://169.254.169.254"):
        return f"wget -S -O /dev/null {' '.join(flags)} '{base}{path}' 2>&1 | grep -E 'HTTP/|Flavor|content-type' -i; echo =="
    flavor = "--header 'Metadata-Flavor: Google'"
    _, out = run(s, "; ".join([
        status("/computeMetadata/v1/project/project-id"),
        status("/computeMetadata/v1/project/nothing", flavor),
        status("/computeMetadata/v1/project/project-id", flavor, "--post-data x=1"),
        status("/computeMetadata/v1/project/project-id", flavor),
        status("/computeMetadata/v1/instance", flavor),
        status("/computeMetadata/v1/project/project-id", flavor, "--header 'X-Forwarded-For: 1.2.3.4'"),
        status("/computeMetadata/v1/project/project-id", flavor, base="http://metadata.google.internal"),
        status("/computeMetadata/v1/project/project-id", flavor, "--spider"),
        status("/computeMetadata/v1/instance/service-accounts/default/token?scopes=a,b", flavor),
    ]) + "; true")
    answers = "\n".join(out).split("==")[:-1]
    codes = [int(re.search(r"HTTP/1.1 (\d+)", a).group(1)) for a in answers]
    assert codes == [403, 404, 405, 200, 200, 403, 200, 200, 200]
    # busybox shows no headers of an error
    assert all("metadata-flavor: google" in a.lower() for a, code in zip(answers, codes) if code == 200)
    assert "application/text" in answers[3] and "application/json" in answers[8]


def test_not_outside_a_job(fake):
    """The server itself is nobody's metadata server."""
    r = fake.call("GET", "/computeMetadata/v1/instance/service-accounts/default/token",
                  headers={"Metadata-Flavor": "Google"})
    assert r.status_code == 404 and "access_token" not in r.text


def test_environment(local):
    """Environment mode; what the user sets wins."""
    s = local("--transparent=off")
    env = [{"name": "GOOGLE_CLOUD_PROJECT", "value": "mine"}]
    body = script_job("env")
    body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] = env
    job = s.create(body)
    s.wait(job["name"])
    got = dict(l.split("=", 1) for l in output(s, job["name"]) if "=" in l)
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"):
        assert got[name] == "169.254.169.254"
    assert got["STORAGE_EMULATOR_HOST"] == got["CLOUD_STORAGE_EMULATOR_ENDPOINT"] == "http://169.254.169.254"
    assert got["CLOUD_ML_PROJECT_ID"] == job["name"].split("/")[1]
    assert got["GOOGLE_CLOUD_PROJECT"] == "mine"


def test_storage_and_api_by_the_door(local):
    """A job's calls reach the server and carry its name in the access log, with a token and without."""
    s = local()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "bucket-a"})
    s.call("POST", "/upload/storage/v1/b/bucket-a/o?uploadType=media&name=x.txt", "hello")
    token = wget("/instance/service-accounts/default/token") + " | grep -o 'cusp[^\"]*'"
    job, out = run(s, f"wget -q -O - http://169.254.169.254/storage/v1/b/bucket-a/o/x.txt?alt=media; echo; T=$({token});"
                      "wget -q -O - --header \"Authorization: Bearer $T\" "
                      "http://169.254.169.254/v1/projects/demo/locations/us-central1/customJobs; echo; echo $T")
    assert out[0] == "hello"
    name = job["name"]
    access_log(s, job=name, by="door", token="none", path="/storage/v1/b/bucket-a/o/x.txt", status=200)
    access_log(s, job=name, by="door", token="valid", path="/v1/projects/demo/locations/us-central1/customJobs", status=200)
    # The token names the job outside its container too; one with a byte changed names nobody.
    good = out[-1]
    bad = good[:-3] + ("A" if good[-3] != "A" else "B") + good[-2:]
    for t, path in ((bad, "/v1/projects/demo/locations"), (good, "/storage/v1/b/bucket-a")):
        s.call("GET", path, headers={"Authorization": "Bearer " + t})
    access_log(s, job=name, by="token", token="valid", path="/storage/v1/b/bucket-a")
    assert not [l for l in open(os.path.join(s.data_dir, "access.log")) if 'path="/v1/projects/demo/locations"' in l]
    info = s.call("GET", "/oauth2/v3/tokeninfo?access_token=" + good).json()
    assert info["email"].startswith("service-") and 3500 < int(info["expires_in"]) <= 3600
    assert s.call("GET", "/oauth2/v3/tokeninfo?access_token=" + bad).status_code == 400


def test_every_call_of_a_job_is_in_the_access_log(local):
    """Each dialect of storage, the registry, logging and the API; what succeeds and what is refused."""
    s = local()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "bucket-a"})
    s.call("POST", "/upload/storage/v1/b/bucket-a/o?uploadType=media&name=x", "hello")
    json_type = "--header 'Content-Type: application/json'"
    calls = [("GET", "/storage/v1/b/bucket-a/o", "", 200), ("GET", "/storage/v1/b/bucket-a/o/none", "", 404),
             ("GET", "/bucket-a/x", "", 200), ("GET", "/download/storage/v1/b/bucket-a/o/x?alt=media", "", 200),
             ("POST", "/upload/storage/v1/b/bucket-a/o?uploadType=media&name=y", "--post-data from-the-job", 200),
             ("POST", "/upload/storage/v1/b/bucket-a/o?uploadType=resumable&name=z", f"{json_type} --post-data '{{}}'", 200),
             ("POST", "/storage/v1/b/bucket-a/o/w/compose", f"{json_type} --post-data '{{\"sourceObjects\":[{{\"name\":\"x\"}}]}}'", 200),
             ("POST", "/batch/storage/v1", "--header 'Content-Type: multipart/mixed; boundary=b' --post-data nothing", 400),
             ("GET", "/v2/", "", 200), ("GET", "/v2/demo/none/tags/list", "", 404),
             ("POST", "/v2/entries:list", f"{json_type} --post-data '{{\"resourceNames\":[\"projects/demo\"]}}'", 200),
             ("POST", "/v2/entries:write", f"{json_type} --post-data '{{\"logName\":\"projects/demo/logs/own\",\"entries\":[{{\"textPayload\":\"hi\"}}]}}'", 200),
             ("POST", "/v2/demo/app/blobs/uploads/", "--post-data ''", 202),
             ("GET", "/v1/projects/demo/locations/us-central1/customJobs", "", 200),
             ("GET", "/v1/projects/demo/locations/us-central1/customJobs/1", "", 404),
             ("POST", "/v1/projects/demo/locations/us-central1/customJobs", f"{json_type} --post-data '{{}}'", 400),
             ("GET", "/computeMetadata/v1/project/project-id", "--header 'Metadata-Flavor: Google'", 200),
             ("GET", "/no/such/path", "", 404)]
    job, _ = run(s, "; ".join(f"wget -q -O /dev/null {flags} 'http://169.254.169.254{path}'" for _, path, flags, _ in calls) + "; true",
                 serviceAccount=ACCOUNT)
    for method, path, _, status in calls:
        lines = access_log(s, job=job["name"], by="door", account=ACCOUNT, method=method, replica="workerpool0-0", path=path.split("?")[0])
        assert any(f" status={status} " in l for l in lines), (path, status, lines)
    written = s.call("POST", "/v2/entries:list", {"resourceNames": ["projects/demo"], "filter": 'log_id("own")'}).json()["entries"]
    assert [e["textPayload"] for e in written] == ["hi"]


def test_a_job_does_not_administer(local):
    """What would be a way out of the container (a host path as an image) is refused by the door, and only there."""
    s = local()
    _, out = run(s, "for p in /cusp/v1/images /metrics /cusp/v1/tls /readyz; do "
                    "wget -q -S -O /dev/null http://169.254.169.254$p 2>&1 | grep -m1 -o 'HTTP/1.1 [0-9]*'; done")
    assert out == ["HTTP/1.1 403"] * 3 + ["HTTP/1.1 200"]
    assert s.call("GET", "/cusp/v1/images").status_code == 200 and s.call("GET", "/metrics").status_code == 200


def seal(server, **c):
    """An access token with the server's own key, as only the server can make one."""
    key = open(os.path.join(server.data_dir, "identity/token.key"), "rb").read()
    enc = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
    body = enc(json.dumps(c).encode())
    return f"cusp.{body}.{enc(hmac.new(key, body.encode(), 'sha256').digest())}"


def test_tokens_that_are_no_good(local):
    """Expired or changed ones of ours get 401 (clients fetch a fresh one then), strangers' are nobody's business."""
    s = local()
    name = "projects/1/locations/us-central1/customJobs/77"
    now = int(time.time())
    good = seal(s, job=name, email=ACCOUNT, iat=now, exp=now + 60)
    expired = seal(s, job=name, email=ACCOUNT, iat=now - 4000, exp=now - 400)
    status = {}
    for what, token in (("good", good), ("expired", expired), ("changed", good[:-3] + "AAA"), ("foreign", "ya29.a0Af"),
                        ("half", "cusp.e30")):
        r = s.call("GET", "/storage/v1/b?project=demo&prefix=" + what, headers={"Authorization": "Bearer " + token})
        status[what] = r.status_code
        if r.status_code == 401:
            assert r.json()["error"]["status"] == "UNAUTHENTICATED" and "access token" in r.json()["error"]["message"]
    assert status == {"good": 200, "expired": 401, "changed": 401, "foreign": 200, "half": 401}
    access_log(s, job=name, by="token", token="expired", account=ACCOUNT, status=401)
    access_log(s, job=name, by="token", token="valid", status=200)
    assert s.call("GET", "/oauth2/v3/tokeninfo?access_token=" + expired).status_code == 400
    # A job's token administers nothing, wherever it is shown; without one this machine's users do.
    for token in (good, expired):
        for path in ("/cusp/v1/images", "/metrics"):
            r = s.call("GET", path, headers={"Authorization": "Bearer " + token})
            assert r.status_code == 403 and "administers" in r.text
    assert s.call("POST", "/cusp/v1/images:importPath", {"path": "/etc/passwd", "name": "x"},
                  headers={"Authorization": "Bearer " + good}).status_code == 403
    assert s.call("GET", "/metrics", headers={"Authorization": "Bearer ya29.a0Af"}).status_code == 200


def test_token_of_another_job(local):
    """By a door the door says who it is; that the token is somebody else's is in the log."""
    s = local()
    other = "projects/1/locations/us-central1/customJobs/78"
    now = int(time.time())
    token = seal(s, job=other, email="other@demo.iam.gserviceaccount.com", iat=now, exp=now + 60)
    job, _ = run(s, f"wget -q -O - --header 'Authorization: Bearer {token}' http://169.254.169.254/storage/v1/b?project=demo")
    access_log(s, job=job["name"], by="door", token="valid", token_job=other, path="/storage/v1/b", status=200)


def test_wait_for_change(local):
    """Nothing of a job changes: a request waits until its time is up, or as long as the job; never when it has old news."""
    s = local()
    url = "/instance/maintenance-event?wait_for_change=true"
    _, out = run(s, "; echo; ".join([
        f"{wget(url)} > /tmp/forever & true",  # answered never: ends with the job
        wget(url + "&last_etag=0"),
        f"E=$(wget -S -O /dev/null --header 'Metadata-Flavor: Google' {MD}/instance/maintenance-event 2>&1 | grep -i etag: | grep -o '[0-9a-f]*$')"
        "; echo etag $E",
        f"wget -q -O - --header 'Metadata-Flavor: Google' \"{MD}{url}&timeout_sec=1&last_etag=$E\"",
        wget(url + "&timeout_sec=0"),
        wget("/instance/service-accounts/default/token?wait_for_change=true") + " | grep -c cusp",
        f"wget -S -O /dev/null --header 'Metadata-Flavor: Google' '{MD}{url}&timeout_sec=soon' 2>&1 | grep -m1 -o 'HTTP/1.1 [0-9]*'",
        wget("/instance/preempted?wait_for_change=false")]) + "; echo; echo forever $(cat /tmp/forever)")
    out = [l for l in out if l]
    assert [l for l in out if not l.startswith("etag")] == ["NONE", "NONE", "NONE", "1", "HTTP/1.1 400", "FALSE", "forever"]
    assert any(re.fullmatch("etag [0-9a-f]{16}", l) for l in out)
    def ended():
        lines = access_log(s, path="/computeMetadata/v1/instance/maintenance-event")
        return lines if any(" status=0 " in l for l in lines) else None  # the one that waited is broken off with the job
    took = [int(re.search(r"usec=(\d+)", l).group(1)) for l in wait_until(ended, 20, "the end of the job") if " status=200 " in l]
    assert sum(t > 900000 for t in took) == 1  # the one that knew the ETag


def test_waiting_requests_are_bounded(local):
    s = local()
    ask = wget("/instance/name?wait_for_change=true")
    _, out = run(s, f"for i in $(seq 65); do {ask} 2> /tmp/said.$i & done; "
                    "until cat /tmp/said.* | grep -q 503; do sleep 0.05; done; echo refused; " + wget("/project/project-id"))
    assert out[0] == "refused" and out[1] == "demo"


def test_door_is_fetched_again(local):
    """The first try to get a replica's sockets fails; its requests wait for the second."""
    if b"engine.doors.before_fetch" not in open(os.path.join(BUILD, "cuspd"), "rb").read():
        pytest.skip("this build has no fail points")
    s = local(env={"CUSP_FAILPOINTS": "engine.doors.before_fetch=errno:EAGAIN@1"})
    _, out = run(s, wget("/project/project-id"))
    assert out == ["demo"]
    assert "door was not fetched" in s.log()


def layers_of_authorities(s):
    path = os.path.join(s.data_dir, "trust")
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def test_authorities_go_with_their_image(local, busybox_image):
    """DIR/trust: one layer an image and CA; gone when the image is, or the CA, but not from under a job that runs on."""
    s = local()
    run(s, "true")
    [first] = layers_of_authorities(s)
    store = os.path.join(s.data_dir, "trust", first, ".cusp/ca-bundle.p12")
    shown = subprocess.run(["openssl", "pkcs12", "-in", store, "-passin", "pass:changeit", "-nokeys"], capture_output=True, text=True)
    assert shown.returncode == 0 and shown.stdout.count("BEGIN CERTIFICATE") >= 1
    assert s.call("DELETE", "/cusp/v1/images/busybox").status_code == 200
    wait_until(lambda: not layers_of_authorities(s), 20, "the layer to go")
    with open(busybox_image, "rb") as f:
        assert s.call("POST", "/cusp/v1/images:import?name=busybox", f.read()).status_code == 200
    os.makedirs(os.path.join(s.data_dir, "buckets/sync"))
    job = s.create(script_job("cat /.cusp/ca-bundle.pem > /dev/null && echo there; while [ ! -e /gcs/sync/go ]; do sleep 0.05; done;"
                              "cat /.cusp/ca-bundle.pem > /dev/null && echo still"))
    wait_until(lambda: "there" in output(s, job["name"]), 30, "the job to run")
    [old] = layers_of_authorities(s)
    s.stop()
    shutil.rmtree(os.path.join(s.data_dir, "identity/tls"))  # another CA from the next start on
    os.makedirs(os.path.join(s.data_dir, "trust/0123-4567"))
    s.start()
    wait_until(lambda: "0123-4567" not in layers_of_authorities(s), 20, "what nobody needs to go")
    assert layers_of_authorities(s) == [old]
    open(os.path.join(s.data_dir, "buckets/sync/go"), "w").close()
    assert s.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED" and "still" in output(s, job["name"])
    run(s, "true")
    s.stop()
    s.start()
    wait_until(lambda: old not in layers_of_authorities(s), 20, "the old CA's layer to go")
    assert len(layers_of_authorities(s)) == 1


def test_bundles_of_the_image_have_our_authority_in_front_of_their_own(local, busybox_image, tmp_path):
    """For programs that read no variable: each file where a distribution keeps its authorities, and only those the image has."""
    s = local()
    places = ["etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt"]
    absent = "var/lib/ca-certificates/ca-bundle.pem"
    tar = tmp_path / "trusting.tar"
    shutil.copy(busybox_image, tar)
    own = "-----BEGIN CERTIFICATE-----\nof the image %d\n-----END CERTIFICATE-----\n"
    with tarfile.open(tar, "a") as t:
        for n, path in enumerate(places):
            i = tarfile.TarInfo(path)
            i.size = len(own % n)
            t.addfile(i, io.BytesIO((own % n).encode()))
    assert s.call("POST", "/cusp/v1/images:import?name=trusting", tar.read_bytes()).status_code == 200
    ca = open(os.path.join(s.data_dir, "identity/tls/ca.pem")).read().splitlines()
    script = "; echo ==; ".join(f"cat /{p}" for p in [*places, ".cusp/ca-bundle.pem"]) + f"; test ! -e /{absent}"
    job = s.create(container_job("sh", "-c", script, image="trusting"))
    assert s.wait(job["name"])["state"] == "JOB_STATE_SUCCEEDED", output(s, job["name"])
    said = "\n".join(output(s, job["name"])).split("\n==\n")
    for n, text in enumerate(said[:2]):
        lines = text.splitlines()
        assert lines[:len(ca)] == ca and lines[len(ca):] == (own % n).splitlines()
    assert said[2].splitlines()[:len(ca)] == ca and "of the image 0" in said[2]


def test_java_options_keep_the_images_own(local, busybox_image):
    s = local()
    with open(busybox_image, "rb") as f:
        assert s.call("POST", "/cusp/v1/images:import?name=java&env=JAVA_TOOL_OPTIONS=-Xmx1g", f.read()).status_code == 200
    job = s.create(container_job("sh", "-c", "echo $JAVA_TOOL_OPTIONS", image="java"))
    s.wait(job["name"])
    [line] = output(s, job["name"])
    assert "-Djavax.net.ssl.trustStore=/.cusp/ca-bundle.p12" in line and line.endswith(" -Xmx1g")


def test_identity_token(local):
    """A signed token for an audience, checked with the published key."""
    s = local()
    path = "/instance/service-accounts/default/identity"
    _, out = run(s, wget(path + "?audience=https://me&format=full") + "; echo;" +
                 f"wget -S -O /dev/null --header 'Metadata-Flavor: Google' '{MD}{path}' 2>&1 | grep HTTP/; true",
                 serviceAccount=ACCOUNT)
    c = claims(out[0])
    assert c["aud"] == "https://me" and c["email"] == ACCOUNT and c["iss"] == "https://accounts.google.com"
    assert c["google"]["compute_engine"]["project_id"] == "demo" and "400" in out[1]
    from google.auth import jwt
    certs = s.call("GET", "/oauth2/v1/certs").json()
    assert jwt.decode(out[0], certs=certs, audience="https://me")["sub"] == c["sub"]
    [key] = s.call("GET", "/oauth2/v3/certs").json()["keys"]
    assert [key["kid"]] == list(certs) and key["e"] == "AQAB"


def test_restart_in_the_middle(local):
    """While the server is away, requests wait; afterwards old tokens are still good."""
    s = local()
    job = s.create(script_job(
        f"T=$({wget('/instance/service-accounts/default/token')} | grep -o 'cusp[^\"]*'); echo token $T;"
        "while [ ! -e /gcs/sync/go ]; do sleep 0.05; done;"
        f"echo second $({wget('/project/project-id')});"
        "wget -q -O - --header \"Authorization: Bearer $T\" http://169.254.169.254/storage/v1/b/sync | grep -c name"))
    token = wait_until(lambda: [l for l in output(s, job["name"]) if l.startswith("token ")], 30, "the token")[0][6:]
    s.stop()
    os.makedirs(os.path.join(s.data_dir, "buckets/sync"), exist_ok=True)
    open(os.path.join(s.data_dir, "buckets/sync/go"), "w").close()  # the job asks while nobody is there
    s.start()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "sync"})
    s.wait(job["name"])
    assert "second demo" in output(s, job["name"])
    info = s.call("GET", "/oauth2/v3/tokeninfo?access_token=" + token)
    assert info.status_code == 200
    access_log(s, job=job["name"], path="/computeMetadata/v1/project/project-id", status=200)


def test_one_job_cannot_be_another(local):
    """Two jobs on one bridge: each gets its own account, and the neighbour's address does not open its door."""
    s = local("--cpu-milli=16000", "--mem-mb=65536")
    wait_for = "while [ ! -e /gcs/sync/go ]; do sleep 0.05; done"
    os.makedirs(os.path.join(s.data_dir, "buckets/sync"))
    a = s.create(script_job(f"hostname -i > /gcs/sync/addr; {wait_for}", serviceAccount="a@demo.iam.gserviceaccount.com"))
    wait_until(lambda: os.path.exists(os.path.join(s.data_dir, "buckets/sync/addr")) and
               open(os.path.join(s.data_dir, "buckets/sync/addr")).read(), 30, "the first job's address")
    _, out = run(s, "A=$(cat /gcs/sync/addr); echo $A;" + wget("/instance/service-accounts/default/email") + "; echo;"
                 + "wget -T 2 -q -O - --header 'Metadata-Flavor: Google' "
                 "http://$A/computeMetadata/v1/instance/service-accounts/default/email || echo refused;"
                 "wget -q -O - --header 'Metadata-Flavor: Google' --header 'Host: a' "
                 "--header 'X-Real-IP: '$A " + MD + "/instance/service-accounts/default/email",
                 serviceAccount="b@demo.iam.gserviceaccount.com")
    open(os.path.join(s.data_dir, "buckets/sync/go"), "w").close()
    s.wait(a["name"])
    assert out[1] == "b@demo.iam.gserviceaccount.com" and "refused" in out and out[-1] == out[1]


def test_host_network(local):
    """Jobs that share the host's network have an address of 127/8 each."""
    s = local("--network=host")
    _, out = run(s, "echo $GCE_METADATA_HOST $STORAGE_EMULATOR_HOST;"
                 "wget -q -O - --header 'Metadata-Flavor: Google' "
                 "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/service-accounts/default/email",
                 serviceAccount=ACCOUNT)
    host, storage = out[0].split()
    assert re.fullmatch(r"127\.201\.\d+\.\d+:8780", host) and storage == "http://" + host and out[1] == ACCOUNT


def test_no_network(local):
    """Without a network there is still the door."""
    _, out = run(local("--network=none"), wget("/project/project-id"))
    assert out == ["demo"]


# ---- real client libraries in a container, unmodified

SITE = "/gcs/site"


@pytest.fixture(scope="session")
def python_image(tmp_path_factory):
    """This host's Python with its standard library; client libraries come as a bucket that is a directory."""
    python = os.path.realpath(sys.executable)
    lib = os.path.dirname(os.__file__)
    modules = glob.glob(lib + "/lib-dynload/*.so")
    ldd = subprocess.run(["ldd", python, *modules], capture_output=True, text=True).stdout
    libs = set(re.findall(r"(/\S+\.so[.\d]*) \(", ldd))
    libs |= {x for n in ("libstdc++.so.6", "libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2",
                                             "librt.so.1", "libpthread.so.0", "libdl.so.2")
             for x in glob.glob(f"/lib/*/{n}") + glob.glob(f"/usr/lib/*/{n}")}
    path = tmp_path_factory.mktemp("python") / "python.tar"
    with tarfile.open(path, "w", dereference=True) as t:
        for f in sorted(libs):
            t.add(f, f.lstrip("/"))
        t.add(python, "usr/bin/python3")
        t.add(lib, lib.lstrip("/"), filter=lambda i: None if re.search(r"/(test|__pycache__|config-3)", i.name) else i)
        t.add(shutil.which("busybox"), "bin/sh")
        for d in ("etc", "tmp", "proc", "sys", "dev", "gcs", "root"):
            i = tarfile.TarInfo(d)
            i.type, i.mode = tarfile.DIRTYPE, 0o1777 if d == "tmp" else 0o755
            t.addfile(i)
    return path


@pytest.fixture
def python_job(make_server, python_image):
    def make(script, site, *flags):
        s = make_server("--engine=local", f"--bucket=site={site}", *flags).start()
        with open(python_image, "rb") as f:
            r = s.call("POST", "/cusp/v1/images:import?name=python", f.read())
        assert r.status_code == 200, r.text
        s.call("POST", "/storage/v1/b?project=demo", {"name": "bucket-a"})
        body = container_job("/usr/bin/python3", "-c", script, image="python", serviceAccount=ACCOUNT)
        body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] = [
            {"name": "PYTHONPATH", "value": SITE}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}]
        job = s.create(body)
        done = s.wait(job["name"], 240)
        text = output(s, job["name"])
        assert done["state"] == "JOB_STATE_SUCCEEDED", "\n".join(text[-30:])
        return s, job, text
    return make


STORAGE = """
import google.auth
from google.cloud import storage
credentials, project = google.auth.default()
print(type(credentials).__module__, project)
client = storage.Client()
client.bucket("bucket-a").blob("out.txt").upload_from_string("from the job")
print([b.name for b in client.list_buckets()], client.bucket("bucket-a").blob("out.txt").download_as_text())
"""


@pytest.mark.parametrize("transparent", ["on", "off"])
def test_storage_client_unmodified(python_job, transparent):
    site = os.path.dirname(os.path.dirname(pytest.__file__))
    s, job, out = python_job(STORAGE, site, "--transparent=" + transparent)
    assert "google.auth.compute_engine.credentials demo" in out
    assert any("bucket-a" in l and "from the job" in l for l in out)
    token, host = ("valid", "storage.googleapis.com") if transparent == "on" else ("none", "169.254.169.254")
    access_log(s, job=job["name"], by="door", token=token, host=host, path="/upload/storage/v1/b/bucket-a/o", status=200)


AIPLATFORM = """
from google.cloud import aiplatform
aiplatform.init()
print("project", aiplatform.initializer.global_config.project)
print("rest", len(aiplatform.CustomJob.list()))
aiplatform.init(project="demo", api_transport="grpc")
print("grpc", len(aiplatform.CustomJob.list()))
"""


def test_aiplatform_unmodified(python_job):
    """init() with nothing said finds project and region, and calls the regional name; REST and gRPC over TLS."""
    sites = glob.glob(os.path.expanduser("~/.cache/cusp/clients/python/v1/lib/python3*/site-packages"))
    if not sites or f"python3.{sys.version_info[1]}/" not in sites[0]:
        pytest.skip("the aiplatform SDK is not installed: make test-clients installs it")
    s, job, out = python_job(AIPLATFORM, sites[0])
    assert "project demo" in out and "rest 1" in out and "grpc 1" in out
    access_log(s, job=job["name"], token="valid", host="cloudresourcemanager.googleapis.com:443")
    access_log(s, job=job["name"], token="valid", host="us-central1-aiplatform.googleapis.com")
