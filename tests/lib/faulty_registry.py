"""A registry that misbehaves on purpose: tokens, redirects, mirrors, silence, cut lines, lies.

`Registry` serves images made by `image()`. What it does wrong is set by attributes and by `faults`: functions that are
asked before each request for a blob or a manifest and answer it themselves by returning True. Everything that was asked
is in `asked` as (method, path, headers).
"""
import base64
import gzip
import hashlib
import http.server
import io
import json
import platform
import tarfile
import threading

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def one_file_layer(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        i = tarfile.TarInfo(name)
        i.size = len(data)
        t.addfile(i, io.BytesIO(data))
    return out.getvalue()


class Registry:
    def __init__(self):
        self.blobs, self.manifests, self.types = {}, {}, {}  # digest -> bytes; (repo, reference) -> bytes; digest -> type
        self.asked, self.faults = [], []
        self.token = None  # (user, password) or () for anonymous: Bearer tokens are wanted
        self.basic = None  # (user, password)
        self.realm = None  # of tokens; None: ours
        self.ranges = True
        self.pushed = {}
        self.lock = threading.Lock()
        self.valid_tokens = set()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *a):
                pass

            def handle(self):
                try:
                    super().handle()
                except (ConnectionError, TimeoutError):
                    pass

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                if "Content_Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def error(self, status, code, message="", **headers):
                self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), **headers)

            def do(self):
                body = None
                if self.headers.get("Content-Length"):
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                with registry.lock:
                    registry.asked.append((self.command, self.path, dict(self.headers)))
                registry.serve(self, body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.host = "127.0.0.1:%d" % self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()

    # ---- content

    def blob(self, data):
        self.blobs[sha(data)] = data
        return {"digest": sha(data), "size": len(data)}

    def manifest(self, repo, tag, body, kind):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.manifests[repo, tag] = self.manifests[repo, sha(data)] = data
        self.types[sha(data)] = kind
        return {"mediaType": kind, "digest": sha(data), "size": len(data)}

    def image(self, repo="team/app", tag="v1", layers=(), cmd=("/bin/true",), arch=ARCH, pack=None, kind=OCI):
        """layers: tar bytes; packed with gzip unless `pack` does it."""
        pack = pack or (lambda x: gzip.compress(x, 1, mtime=0))
        config = {"os": "linux", "architecture": arch, "config": {"Cmd": list(cmd)},
                  "rootfs": {"type": "layers", "diff_ids": [sha(x) for x in layers]}}
        return self.manifest(repo, tag, {
            "schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": CONFIG, **self.blob(json.dumps(config).encode())},
            "layers": [{"mediaType": LAYER, **self.blob(pack(x))} for x in layers]}, kind)

    # ---- serving

    def count(self, needle, method="GET"):
        with self.lock:
            return sum(1 for m, p, _ in self.asked if m == method and needle in p)

    def headers_of(self, needle):
        with self.lock:
            return [h for _, p, h in self.asked if needle in p]

    def may(self, h):
        given = h.headers.get("Authorization", "")
        if self.basic:
            if given == "Basic " + base64.b64encode(":".join(self.basic).encode()).decode():
                return True
            h.error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="here"')
            return False
        if self.token is not None:
            if given.startswith("Bearer ") and given[7:] in self.valid_tokens:
                return True
            h.error(401, "UNAUTHORIZED", WWW_Authenticate='Bearer realm="%s",service="faulty, \\"quoted\\"",scope="repository:'
                    '%s:pull"' % (self.realm or f"http://{self.host}/token", h.path.split("/")[2]))
            return False
        return True

    def give_token(self, h):
        wanted = ":".join(self.token) if self.token else None
        given = h.headers.get("Authorization")
        if wanted and given != "Basic " + base64.b64encode(wanted.encode()).decode():
            h.error(401, "UNAUTHORIZED")
            return
        token = "token-%d" % len(self.asked)
        self.valid_tokens.add(token)
        h.answer(200, json.dumps({"token": token, "expires_in": 60}).encode(), Content_Type="application/json")

    def serve(self, h, body):
        path = h.path.split("?")[0]
        if path == "/token":
            self.give_token(h)
            return
        for fault in list(self.faults):
            if fault(h):
                return
        if path.startswith("/raw/"):  # where redirects lead
            self.send_blob(h, self.blobs[path[5:]])
            return
        if not self.may(h):
            return
        if path in ("/v2/", "/v2"):
            h.answer(200, b"{}")
        elif "/blobs/uploads" in path:
            self.take_upload(h, path, body)
        elif "/blobs/" in path:
            digest = path.rsplit("/", 1)[1]
            if digest not in self.blobs:
                h.error(404, "BLOB_UNKNOWN", "no such blob")
            else:
                self.send_blob(h, self.blobs[digest])
        elif "/manifests/" in path:
            repo, reference = path[4:].rsplit("/manifests/", 1)
            if h.command == "PUT":
                d = self.manifest(repo, reference, body, h.headers["Content-Type"])
                h.answer(201, Docker_Content_Digest=d["digest"])
            elif (repo, reference) not in self.manifests:
                h.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            else:
                data = self.manifests[repo, reference]
                h.answer(200, data, Content_Type=self.types[sha(data)], Docker_Content_Digest=sha(data))
        else:
            h.error(404, "NOT_FOUND")

    def send_blob(self, h, data):
        want = h.headers.get("Range")
        if want and self.ranges:
            first = int(want[len("bytes="):].rstrip("-"))
            if first >= len(data):
                h.error(416, "RANGE_INVALID")
                return
            h.answer(206, data[first:], Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            h.answer(200, data)

    def take_upload(self, h, path, body):
        if h.command == "POST":
            h.answer(202, Location=path.rstrip("/") + "/here?state=a%2Bb")
        else:
            digest = h.path.split("digest=")[1].replace("%3A", ":")
            if sha(body) != digest:
                h.error(400, "DIGEST_INVALID")
                return
            self.blobs[digest] = self.pushed[digest] = body
            h.answer(201)


def cut(data, n):
    """A fault's means: says it sends all of data, sends n bytes and hangs up."""
    def send(h):
        h.send_response(200)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(data[:n])
        h.wfile.flush()
        h.close_connection = True
        h.connection.shutdown(2)
    return send
