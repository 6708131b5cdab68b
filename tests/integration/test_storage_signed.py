"""Signed URLs (V4): made by the official client's code, checked by the server."""
import base64
import datetime
import hashlib
import hmac
import os
import re
import subprocess
from urllib.parse import quote

import pytest
import requests
from conftest import BUILD
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account
from test_storage import bucket, client, server  # noqa: F401 (fixtures)
import storage_conformance

EMAIL = "signer@demo.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def key(server):
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    d = os.path.join(server.dir, "signing-keys")
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, EMAIL + ".pem"), "wb") as f:
        f.write(private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private


@pytest.fixture
def signer(key):
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return service_account.Credentials.from_service_account_info(
        {"type": "service_account", "client_email": EMAIL, "private_key": pem.decode(), "token_uri": "https://x/token"})


def sign(server, signer, bucket, name, **kw):
    kw.setdefault("expiration", datetime.timedelta(minutes=5))
    return bucket.blob(name).generate_signed_url(version="v4", credentials=signer, api_access_endpoint=server.url, **kw)


@pytest.mark.parametrize("name", ["plain", "dir/with space+plus&ünï~(x)", "q?#=%25"])
def test_signed_get_put_delete(server, bucket, signer, name):
    put = sign(server, signer, bucket, name, method="PUT", content_type="text/x-s", headers={"x-goog-meta-who": "me"})
    assert requests.put(put, data=b"no header").status_code == 403
    r = requests.put(put, data=b"signed", headers={"Content-Type": "text/x-s", "x-goog-meta-who": "me"})
    assert r.status_code == 200, r.text
    assert bucket.get_blob(name).metadata == {"who": "me"}
    get = sign(server, signer, bucket, name, query_parameters={"response-x": "a b&c"})
    assert requests.get(get).content == b"signed"
    assert requests.head(get).status_code == 403  # another method was signed
    assert requests.delete(sign(server, signer, bucket, name, method="DELETE")).status_code == 204
    assert requests.get(get).status_code == 404


def sign_v2(server, signer, bucket, name, **kw):
    kw.setdefault("expiration", datetime.timedelta(minutes=5))
    return bucket.blob(name).generate_signed_url(version="v2", credentials=signer, api_access_endpoint=server.url, **kw)


@pytest.mark.parametrize("name", ["plain", "dir/with space+plus&ünï~(x)"])
def test_v2_signatures(server, bucket, signer, name):
    put = sign_v2(server, signer, bucket, name, method="PUT", content_type="text/x-s", headers={"x-goog-meta-who": "me"})
    assert requests.put(put, data=b"old", headers={"Content-Type": "text/x-s", "x-goog-meta-who": "you"}).status_code == 403
    assert requests.put(put, data=b"old", headers={"Content-Type": "text/x-s", "x-goog-meta-who": "me"}).status_code == 200
    assert bucket.get_blob(name).metadata == {"who": "me"}
    get = sign_v2(server, signer, bucket, name, response_disposition="attachment; filename=x", response_type="a/b")
    r = requests.get(get)
    assert (r.content, r.headers["content-disposition"], r.headers["content-type"]) == (b"old", "attachment; filename=x", "a/b")
    assert requests.get(sign_v2(server, signer, bucket, name, query_parameters={"acl": ""})).status_code == 501  # signed, not built
    start = sign_v2(server, signer, bucket, name, method="RESUMABLE")
    assert requests.post(start, headers={"x-goog-resumable": "start"}).status_code == 201
    assert requests.delete(sign_v2(server, signer, bucket, name, method="DELETE")).status_code == 204


def test_wrong_v2_signatures_are_refused(server, bucket, signer):
    bucket.blob("a").upload_from_string("a")
    bucket.blob("b").upload_from_string("b")
    good = sign_v2(server, signer, bucket, "a")
    assert requests.get(good).content == b"a"
    expires = re.search(r"Expires=(\d+)", good).group(1)
    for bad in (good.replace("/a?", "/b?"), good + "&acl", good.replace(expires, str(int(expires) + 1)),
                good.replace("Signature=", "Signature=AAAA"), good.replace(EMAIL.split("@")[0], "nobody")):
        assert requests.get(bad).status_code == 403, bad
    assert requests.put(good, data=b"x").status_code == 403
    old = sign_v2(server, signer, bucket, "a", expiration=datetime.datetime(2020, 1, 1))
    assert "<Code>ExpiredToken</Code>" in requests.get(old).text
    assert requests.get(good.replace("Expires=" + expires, "Expires=soon")).status_code == 400


def test_v2_with_an_hmac_key(server, client, bucket):
    bucket.blob("h").upload_from_string("by key")
    key, secret = client.create_hmac_key(service_account_email=EMAIL, project_id="demo")
    text = f"GET\n\n\n9999999999\n/{bucket.name}/h"
    signature = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    url = f"{server.url}/{bucket.name}/h?GoogleAccessId={key.access_id}&Expires=9999999999&Signature={quote(signature, safe='')}"
    assert requests.get(url).content == b"by key"
    assert requests.get(url.replace("9999999999", "9999999998")).status_code == 403


def test_wrong_signatures_are_refused_and_say_why(server, bucket, signer):
    bucket.blob("a").upload_from_string("a")
    bucket.blob("b").upload_from_string("b")
    good = sign(server, signer, bucket, "a")
    for bad in (good.replace("/a?", "/b?"), good + "&generation=1", good[:-1] + ("0" if good[-1] != "0" else "1"), good[:-2],
                good.replace("X-Goog-Expires=300", "X-Goog-Expires=301")):
        r = requests.get(bad)
        assert r.status_code in (400, 403), bad
    r = requests.get(good.replace("/a?", "/b?"))
    assert "<Code>SignatureDoesNotMatch</Code>" in r.text and "<CanonicalRequest>GET\n" in r.text.replace("&#10;", "\n")
    old = re.sub(r"X-Goog-Date=\d{8}", "X-Goog-Date=20200101", good).replace(datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d") + "%2F", "20200101%2F")
    r = requests.get(old)
    assert r.status_code == 403 and "<Code>ExpiredToken</Code>" in r.text and "expired at" in r.text
    r = requests.get(good.replace("signer%40", "stranger%40"))
    assert r.status_code == 403 and "signing-keys" in r.text
    for broken in ("X-Goog-Algorithm=none", "X-Goog-Date=yesterday", "X-Goog-Expires=9999999", "X-Goog-Credential=x"):
        r = requests.get(re.sub(broken.split("=")[0] + r"=[^&]*", broken, good))
        assert r.status_code == 400 and broken.split("=")[0] in r.text, r.text
    assert requests.get(good.replace("signer%40", "..%2F..%2Fsigner%40")).status_code in (400, 403)


def test_signed_resumable_start(server, bucket, signer):
    url = sign(server, signer, bucket, "res", method="RESUMABLE")
    r = requests.post(url, headers={"x-goog-resumable": "start"})
    assert r.status_code == 201
    assert requests.put(r.headers["Location"], data=b"bytes").status_code == 200
    assert bucket.blob("res").download_as_bytes() == b"bytes"


def hmac_url(server, path, access, secret, life=60):
    now = datetime.datetime.now(datetime.timezone.utc)
    date, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date}/auto/storage/goog4_request"
    host = server.url[len("http://"):]
    query = "&".join(f"{k}={quote(v, safe='')}" for k, v in sorted({
        "X-Goog-Algorithm": "GOOG4-HMAC-SHA256", "X-Goog-Credential": f"{access}/{scope}", "X-Goog-Date": stamp,
        "X-Goog-Expires": str(life), "X-Goog-SignedHeaders": "host"}.items()))
    canonical = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"GOOG4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    k = ("GOOG4" + secret).encode()
    for part in scope.split("/") + [text]:
        k = hmac.new(k, part.encode(), hashlib.sha256).digest()
    return f"{server.url}{path}?{query}&X-Goog-Signature={k.hex()}"


def test_hmac_keys_and_what_they_sign(server, client, bucket):
    bucket.blob("h").upload_from_string("h")
    meta, secret = client.create_hmac_key(service_account_email=EMAIL)
    assert meta.state == "ACTIVE" and meta.access_id.startswith("GOOG1E") and len(secret) == 40
    path = f"/{bucket.name}/h"
    assert requests.get(hmac_url(server, path, meta.access_id, secret)).content == b"h"
    r = requests.get(hmac_url(server, path, meta.access_id, "x" * 40))
    assert r.status_code == 403 and "SignatureDoesNotMatch" in r.text
    assert meta.access_id in [k.access_id for k in client.list_hmac_keys()]
    with pytest.raises(Exception, match="ACTIVE"):
        meta.delete()
    meta.state = "INACTIVE"
    meta.update()
    r = requests.get(hmac_url(server, path, meta.access_id, secret))
    assert r.status_code == 403 and "InvalidAccessKeyId" in r.text
    meta.delete()
    assert meta.access_id not in [k.access_id for k in client.list_hmac_keys()]


@pytest.mark.parametrize("slot", range(4))
def test_conformance_data_of_signed_urls(slot, tmp_path):
    """The public V4 data: each URL is right at its time and wrong when anything of it changes."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    cases = storage_conformance.load("v4_signatures.json")["signingV4Tests"]
    private = load_pem_private_key(storage_conformance.load("service-account")["private_key"].encode(), None)
    pem = tmp_path / "key.pem"
    pem.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    assert len(cases) > 20
    for case in cases[slot::4]:
        at = str(int(datetime.datetime.fromisoformat(case["timestamp"].replace("Z", "+00:00")).timestamp()))
        headers = [x for k, v in case.get("headers", {}).items() for x in (k.lower(), v)]
        run = lambda url, method=case["method"], headers=headers, at=at: subprocess.run(  # noqa: E731
            [os.path.join(BUILD, "tests/unit/blob/sign_probe"), str(pem), at, method, url, *headers], capture_output=True, text=True, check=False)
        done = run(case["expectedUrl"])
        assert done.returncode == 0, (case["description"], done.stdout, done.stderr)
        assert done.stdout.startswith(case["expectedStringToSign"]), case["description"]
        assert run(case["expectedUrl"], method="PATCH").returncode == 1
        assert run(case["expectedUrl"] + "&more=1").returncode == 1
        assert run(case["expectedUrl"], at=str(int(at) + 604801)).returncode == 1
