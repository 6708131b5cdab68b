"""gRPC by hand: HTTP/2 connections that send what no gRPC library would, and stubs made by reflection."""
import gzip
import socket
import struct
import zlib
from urllib.parse import unquote

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2

V1 = "google.cloud.aiplatform.v1."


def frame(message=b"", flag=0, length=None):
    return bytes([flag]) + struct.pack(">I", len(message) if length is None else length) + message


def packed(message, how):
    return frame({"gzip": gzip.compress, "deflate": zlib.compress}[how](message), 1)


class Reply:
    def __init__(self):
        self.headers, self.trailers, self.body = {}, None, b""
        self.ended = False
        self.reset = None
        self.trailers_only = False

    @property
    def all(self):
        return {**self.headers, **(self.trailers or {})}

    @property
    def code(self):
        return int(self.all["grpc-status"])

    @property
    def message(self):
        return unquote(self.all.get("grpc-message", ""))

    @property
    def messages(self):
        out, at = [], 0
        while at < len(self.body):
            (n,) = struct.unpack(">I", self.body[at + 1:at + 5])
            out.append(self.body[at + 5:at + 5 + n])
            at += 5 + n
        assert at == len(self.body)
        return out


class Connection(h2.connection.H2Connection):
    def _receive_goaway_frame(self, frame):
        """A server that stops says so first and then finishes what runs; the library would hear no more."""
        frames, events = super()._receive_goaway_frame(frame)
        self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return frames, events


class Raw:
    """One HTTP/2 connection in clear text."""

    def __init__(self, url, window=None):
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.authority = f"{host}:{port}"
        self.sock = socket.create_connection((host, int(port)), timeout=30)
        self.h2 = Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                                             h2.settings.SettingCodes.ENABLE_PUSH: 0})
        self.h2.initiate_connection()
        self.replies = {}
        self.goaway = None
        self.closed = False
        self.auto_window = window is None
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def start(self, method, end=False, **extra):
        """Sends a request's head. Header names with '_' for '-'; None leaves one out."""
        head = {":method": "POST", ":scheme": "http", ":path": method if method.startswith("/") else "/" + method,
                ":authority": self.authority, "te": "trailers", "content-type": "application/grpc"}
        for k, v in extra.items():
            k = ":" + k[1:] if k.startswith("_") else k.replace("_", "-")
            if v is None:
                head.pop(k, None)
            else:
                head[k] = v
        sid = self.h2.get_next_available_stream_id()
        self.replies[sid] = Reply()
        self.h2.send_headers(sid, list(head.items()), end_stream=end)
        self.flush()
        return sid

    def send(self, sid, data, end=False):
        self.h2.send_data(sid, data, end_stream=end)
        self.flush()

    def step(self):
        data = self.sock.recv(65536)
        if not data:
            self.closed = True
            return
        for e in self.h2.receive_data(data):
            r = self.replies.get(getattr(e, "stream_id", None))
            if isinstance(e, h2.events.ResponseReceived):
                r.headers = dict(e.headers)
                r.trailers_only = e.stream_ended is not None
            elif isinstance(e, h2.events.TrailersReceived):
                r.trailers = dict(e.headers)
            elif isinstance(e, h2.events.DataReceived):
                r.body += e.data
                if self.auto_window:
                    self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, h2.events.StreamEnded):
                r.ended = True
            elif isinstance(e, h2.events.StreamReset):
                r.reset = e.error_code
            elif isinstance(e, h2.events.ConnectionTerminated):
                self.goaway = e.error_code
        self.flush()

    def until(self, fn):
        while not fn():
            assert not self.closed, "the server closed the connection"
            self.step()

    def wait(self, sid):
        r = self.replies[sid]
        self.until(lambda: r.ended or r.reset is not None)
        return r

    def call(self, method, body, **extra):
        sid = self.start(method, **extra)
        self.send(sid, body, end=True)
        return self.wait(sid)


class Stubs:
    """Calls methods by name; the messages are learned through reflection."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool()
        self.added = set()

    def learn(self, symbol, version="v1"):
        ask = self.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
        (r,) = ask(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)]), timeout=30)
        assert r.WhichOneof("message_response") == "file_descriptor_response", r
        files = {}
        for raw in r.file_descriptor_response.file_descriptor_proto:
            f = descriptor_pb2.FileDescriptorProto.FromString(raw)
            files[f.name] = f

        def add(name):
            if name not in self.added:
                self.added.add(name)
                for d in files[name].dependency:
                    add(d)
                self.pool.Add(files[name])

        for name in files:
            add(name)
        return files

    def method(self, full):
        service, _, name = full.partition("/")
        try:
            d = self.pool.FindServiceByName(service)
        except KeyError:
            self.learn(service)
            d = self.pool.FindServiceByName(service)
        return d.methods_by_name[name]

    def types(self, full):
        m = self.method(full)
        return message_factory.GetMessageClass(m.input_type), message_factory.GetMessageClass(m.output_type)

    def stub(self, full):
        i, o = self.types(full)
        kind = "stream_" if self.method(full).client_streaming else "unary_"
        kind += "stream" if self.method(full).server_streaming else "unary"
        return getattr(self.channel, kind)("/" + full, request_serializer=i.SerializeToString,
                                           response_deserializer=o.FromString), i

    def __call__(self, full, _timeout=30, _compression=None, _metadata=None, **fields):
        fn, i = self.stub(full)
        return fn(i(**fields), timeout=_timeout, compression=_compression, metadata=_metadata)


def connect(server, ca=None, **options):
    """In clear text, or by TLS with the certificate in the file `ca`."""
    address, options = server.url.removeprefix("http://"), list(options.items())
    if ca:
        with open(ca, "rb") as f:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(f.read()), options)
    else:
        channel = grpc.insecure_channel(address, options)
    return channel, Stubs(channel)
