"""A proxy that writes down what a client and the server say to each other: HTTP/1.1 and HTTP/2 (gRPC), clear or TLS.

It passes bytes on unchanged and reads along, so it hides nothing: repeated calls, error statuses, resets and GOAWAYs
are all in `calls` and `faults`.
"""
import re
import socket
import ssl
import threading

import hpack
import hyperframe.frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Wiretap:
    """tls: (certificate, key) to show to the client; the server behind is always spoken to in the clear."""

    def __init__(self, upstream, tls=None, alpn=()):
        self.upstream, self.ctx = upstream, None
        if tls:
            self.ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ctx.load_cert_chain(*tls)
            self.ctx.set_alpn_protocols(list(alpn))
        self.lock = threading.Lock()
        self.calls = []   # [method path, outcome]: "200", for gRPC its status "0"; None: never answered
        self.faults = []  # what no healthy conversation has
        self.connections = 0
        self.threads = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        """Stops listening and waits until everything said so far is read."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for t in self.threads:
            t.join(10)
            assert not t.is_alive(), "a connection is still open"

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def called(self, what):
        with self.lock:
            self.calls.append([what, None])
            return self.calls[-1]

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            t = threading.Thread(target=self.serve, args=(near,), daemon=True)
            self.threads.append(t)
            t.start()

    def serve(self, near):
        try:
            if self.ctx:
                near = self.ctx.wrap_socket(near, server_side=True)
        except OSError as e:
            return self.fault(f"TLS handshake: {e}")
        far = socket.create_connection(self.upstream)
        talk = Talk(self)
        back = threading.Thread(target=self.pump, args=(far, near, talk.answer), daemon=True)
        back.start()
        self.pump(near, far, talk.request)
        back.join()
        for s in (near, far):
            s.close()

    def pump(self, source, sink, read):
        try:
            while data := source.recv(65536):
                read(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except ConnectionResetError as e:
            self.fault(f"connection reset: {e}")
        except OSError:
            pass  # the other direction ended the conversation
        except Exception as e:  # a reader that stumbles has seen something it should not have
            self.fault(f"{type(e).__name__}: {e}")


class Talk:
    """One connection; finds out by the first bytes which protocol it is."""

    def __init__(self, tap):
        self.tap, self.proto = tap, None

    def request(self, data):
        self.proto = self.proto or (Http2 if data.startswith(PREFACE[:len(data)]) else Http1)(self.tap)
        self.proto.request(data)

    def answer(self, data):
        if self.proto:  # the server's first SETTINGS may overtake the client's preface
            self.proto.answer(data)
        else:
            self.tap.fault(f"the server spoke first: {data[:40]!r}")


class Http1:
    def __init__(self, tap):
        self.tap, self.buffers, self.waiting = tap, [b"", b""], []

    def messages(self, side, data):
        """Heads of all whole messages that `data` completes; chunked bodies are not used by this client."""
        self.buffers[side] += data
        while b"\r\n\r\n" in self.buffers[side]:
            head, rest = self.buffers[side].split(b"\r\n\r\n", 1)
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            if re.search(rb"(?i)\ntransfer-encoding:", head):
                end = rest.find(b"0\r\n\r\n") + 5
                if end < 5:
                    return
            else:
                end = int(length[1]) if length else 0
            if len(rest) < end:
                return
            self.buffers[side] = rest[end:]
            yield head.decode("latin-1").splitlines()[0].split(" ")

    def request(self, data):
        for method, path, _ in self.messages(0, data):
            self.waiting.append(self.tap.called(f"{method} {path}"))

    def answer(self, data):
        for _, status, *_ in self.messages(1, data):
            self.waiting.pop(0)[1] = status
            if int(status) >= 400:
                self.tap.fault(f"HTTP {status}")


class Http2:
    def __init__(self, tap):
        self.tap = tap
        self.buffers = [b"", b""]
        self.decoders = [hpack.Decoder(), hpack.Decoder()]
        self.headers = [b"", b""]
        self.streams = {}
        self.preface = len(PREFACE)

    def frames(self, side, data):
        self.buffers[side] += data
        while len(self.buffers[side]) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self.buffers[side][:9]))
            if len(self.buffers[side]) < 9 + length:
                return
            frame.parse_body(memoryview(self.buffers[side][9:9 + length]))
            self.buffers[side] = self.buffers[side][9 + length:]
            yield frame

    def read(self, side, data):
        """Yields (stream, headers) and notes resets and departures."""
        who = ("client", "server")[side]
        for f in self.frames(side, data):
            if isinstance(f, frames.RstStreamFrame) and f.error_code:
                self.tap.fault(f"RST_STREAM {f.error_code} by the {who}")
            elif isinstance(f, frames.GoAwayFrame) and f.error_code:
                self.tap.fault(f"GOAWAY {f.error_code} by the {who}: {f.additional_data!r}")
            elif isinstance(f, (frames.HeadersFrame, frames.ContinuationFrame)):
                self.headers[side] += f.data
                if "END_HEADERS" in f.flags:
                    block, self.headers[side] = self.headers[side], b""
                    yield f.stream_id, dict(self.decoders[side].decode(block))

    def request(self, data):
        skip = min(self.preface, len(data))
        self.preface -= skip
        for stream, headers in self.read(0, data[skip:]):
            self.streams[stream] = self.tap.called(f"{headers[':method']} {headers[':path']}")

    def answer(self, data):
        for stream, headers in self.read(1, data):
            outcome = headers.get("grpc-status") or headers.get(":status")
            self.streams[stream][1] = outcome
            if int(headers.get(":status", 0)) >= 400 or headers.get("grpc-status", "0") != "0":
                self.tap.fault(f"{self.streams[stream][0]} got {headers}")
