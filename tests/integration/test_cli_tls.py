"""cusp tls: what it makes is accepted by OpenSSL, Python, curl and Java, and it never swaps a CA silently."""
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import BUILD, needs

CUSP = os.path.join(BUILD, "cusp")
GOOGLE = ["us-central1-aiplatform.googleapis.com", "storage.googleapis.com", "b.storage.googleapis.com",
          "metadata.google.internal", "us-docker.pkg.dev", "gcr.io"]


def tls(*argv, rc=0, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CUSP_")}
    p = subprocess.run([CUSP, "tls", *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env={**clean, **env}, timeout=60)
    assert p.returncode == rc, f"{p.returncode}\n{p.stdout}\n{p.stderr}"
    return p


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    tls("init", "--data-dir", data, "--host", "cusp.example", "--host=10.9.8.7")
    return data / "tls"


@pytest.fixture
def https(made):
    """An HTTPS server with the certificate, answering every request with the name it was asked for."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(made / "server.pem", made / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with ctx.wrap_socket(raw, server_side=True) as s:
                    s.recv(65536)
                    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def handshake(port, name, **ctx_args):
    ctx = ssl.create_default_context(**ctx_args)
    with socket.create_connection(("127.0.0.1", port)) as raw, ctx.wrap_socket(raw, server_hostname=name) as s:
        return s.getpeercert()


def test_openssl_accepts_it_strictly(made):
    for kind, names in (("-verify_hostname", ["localhost", "cusp.example", socket.gethostname(), *GOOGLE]),
                        ("-verify_ip", ["127.0.0.1", "::1", "10.9.8.7"])):
        for name in names:
            p = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", made / "ca.pem",
                                kind, name, made / "server.pem"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert p.returncode == 0, f"{name}: {p.stdout}"
    p = subprocess.run(["openssl", "verify", "-CAfile", made / "ca.pem", "-verify_hostname", "example.com", made / "server.pem"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert p.returncode != 0


def test_python_accepts_it_by_its_names_and_no_other(made, https):
    for name in ["localhost", "127.0.0.1", "cusp.example", *GOOGLE]:
        assert handshake(https, name, cafile=str(made / "ca.pem"))["subject"]
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(https, "example.com", cafile=str(made / "ca.pem"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(https, "localhost")


def test_curl_accepts_it(made, https):
    argv = ["curl", "-sS", "--noproxy", "*", f"https://localhost:{https}/"]
    assert subprocess.run([*argv, "--cacert", made / "ca.pem"], stdout=subprocess.PIPE, check=True).stdout == b"hello"
    assert subprocess.run(argv, stderr=subprocess.PIPE).returncode == 60  # nobody trusts it unasked


@needs("java", "keytool")
def test_java_trusts_the_store(made, https, tmp_path):
    p = subprocess.run(["keytool", "-list", "-keystore", made / "ca.p12", "-storepass", "changeit"], stdout=subprocess.PIPE, text=True)
    assert p.returncode == 0 and "cusp" in p.stdout and "trustedCertEntry" in p.stdout
    (tmp_path / "Get.java").write_text("""
public class Get {
    public static void main(String[] a) throws Exception {
        System.out.print(new String(new java.net.URL(a[0]).openStream().readAllBytes()));
    }
}
""")
    argv = ["java", "-XX:TieredStopAtLevel=1", f"-Djavax.net.ssl.trustStore={made / 'ca.p12'}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    url = f"https://localhost:{https}/"
    p = subprocess.run([*argv, tmp_path / "Get.java", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    assert p.stdout == b"hello", p.stderr
    p = subprocess.run(["java", "-XX:TieredStopAtLevel=1", tmp_path / "Get.java", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    assert b"PKIX" in p.stderr and p.returncode != 0


def test_running_it_again_keeps_everything(tmp_path):
    first = json.loads(tls("init", "--out", tmp_path, "--format=json").stdout)
    assert first["ca"]["action"] == first["server"]["action"] == "made" and first["ok"]
    files = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert {"ca.pem", "ca.key", "server.pem", "server.key", "ca.p12"} <= set(files)
    for key in ("ca.key", "server.key"):
        assert os.stat(tmp_path / key).st_mode & 0o777 == 0o600
    again = json.loads(tls("init", "--out", tmp_path, "--format=json").stdout)
    assert again["ca"]["action"] == again["server"]["action"] == "kept"
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == files

    more = json.loads(tls("init", "--out", tmp_path, "--host=more.example", "--format=json").stdout)
    assert (more["ca"]["action"], more["server"]["action"]) == ("kept", "renewed") and "more.example" in more["server"]["names"]
    assert more["ca"]["sha256Fingerprint"] == first["ca"]["sha256Fingerprint"]
    assert (tmp_path / "server.key").read_bytes() == files["server.key"]

    forced = json.loads(tls("init", "--out", tmp_path, "--force", "--format=json").stdout)
    assert forced["ca"]["sha256Fingerprint"] != first["ca"]["sha256Fingerprint"]
    assert (tmp_path / "ca.pem.old").read_bytes() == files["ca.pem"] and "more.example" in forced["server"]["names"]


def test_a_lost_ca_key_is_a_refusal_not_a_new_ca(tmp_path):
    tls("init", "--out", tmp_path)
    before = (tmp_path / "ca.pem").read_bytes()
    (tmp_path / "ca.key").unlink()
    p = tls("init", "--out", tmp_path, rc=2)
    assert "ca.key" in p.stderr and "--force" in p.stderr and (tmp_path / "ca.pem").read_bytes() == before


def test_show(made, tmp_path):
    p = tls("show", "--data-dir", made.parent)
    for text in (str(made / "ca.pem"), "until", "sha256", "cusp.example", "*.googleapis.com"):
        assert text in p.stdout
    assert max(map(len, p.stdout.splitlines())) <= 110
    assert tls("show", CUSP_DATA_DIR=str(made.parent)).stdout == p.stdout
    j = json.loads(tls("show", "--out", made, "--format=json").stdout)
    want = subprocess.run(["openssl", "x509", "-in", made / "ca.pem", "-noout", "-fingerprint", "-sha256"], stdout=subprocess.PIPE, text=True)
    assert want.stdout.strip().endswith("=" + j["ca"]["sha256Fingerprint"])
    assert tls("show", "--out", tmp_path, rc=3).stderr.count("cusp tls init") == 1
    shutil.copy(made / "ca.pem", tmp_path / "ca.pem")
    assert json.loads(tls("show", "--out", tmp_path, "--format=json", rc=1).stdout)["ok"] is False
    other = tmp_path / "other"
    tls("init", "--out", other)
    shutil.copy(other / "server.pem", tmp_path / "server.pem")
    assert "not signed" in tls("show", "--out", tmp_path, rc=1).stderr


@pytest.mark.parametrize("argv", [["init"], ["nope"], [], ["show", "x", "--out=/x"], ["init", "--out=/x", "--data-dir=/y"],
                                  ["show", "--out=/x", "--force"]])
def test_wrong_usage(argv):
    assert tls(*argv, rc=2).stderr


@pytest.mark.parametrize("flag", ["--days=0", "--days=826", "--days=x", "--host=a b", "--host=", "--host=10.0.0.300"])
def test_refused_values_leave_the_folder_alone(tmp_path, flag):
    tls("init", "--out", tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    tls("init", "--out", tmp_path, flag, rc=2)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_the_server_tells_which_ca_it_has(make_server, tmp_path):
    s = make_server("--engine=fake")
    s.start()
    assert "caPem" not in s.http.get(s.url + "/cusp/v1/tls").json()
    s.stop()
    tls("init", "--data-dir", s.data_dir)
    s.start()
    got = s.http.get(s.url + "/cusp/v1/tls").json()
    assert got["caPath"] == os.path.realpath(s.data_dir) + "/tls/ca.pem"
    with open(got["caPath"], encoding="ascii") as f:
        assert f.read() == got["caPem"]
    assert got["mode"] in ("off", "optional", "required")
