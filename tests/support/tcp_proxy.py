"""A line to a server through this process, which can be cut, go dead, or have somebody else answer."""

import contextlib
import socket
import threading

LOOPBACK = "127.0.0.1"


class TcpProxy:
    """Hands on what is sent to its port to a server's, and back, until it is asked to stop."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._reply: bytes | None = None
        self._listener: socket.socket | None = None
        self._listening: threading.Thread | None = None
        self._calls: list[threading.Thread] = []
        self._ends: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._live = threading.Event()
        self.port = 0
        self.mend()

    @property
    def url(self) -> str:
        """Where Prefect's API is found through it."""
        return f"http://{LOOPBACK}:{self.port}/api"

    def mend(self) -> None:
        """The server is there (again): whoever connects is put through, under the same address as before."""
        self.cut()
        self._reply = None
        self._live.set()
        self._listen()

    def cut(self) -> None:
        """The server is gone: connections break off, and new ones are refused."""
        if self._listener is not None and self._listening is not None:
            hang_up(self._listener)
            self._listening.join()
        with self._guard:
            ends = set(self._ends)
        for end in ends:
            hang_up(end)
        self._live.set()  # not before: what was said while the line was dead would reach the server after all
        for call in self._calls:
            call.join()
        self._calls.clear()
        self._ends.clear()

    def go_dead(self) -> None:
        """The server hangs: it takes connections and what is sent, and says nothing."""
        self._live.clear()

    def answer(self, status: int, body: str = "", kind: str = "application/json", **headers: str) -> None:
        """The server is not itself, or another program has its port: every request gets this answer."""
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body.encode())}"]
        lines += ["Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
        self.say("\r\n".join([*lines, "", body]).encode())

    def say(self, reply: bytes) -> None:
        """Another program has the server's port, and says this to whatever it is sent."""
        self.cut()
        self._reply = reply
        self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self.port))
        self.port = self._listener.getsockname()[1]
        self._listening = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._listening.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener:
            while True:
                caller, _ = listener.accept()
                self._keep(caller)
                work = self._serve if self._reply is None else self._stand_in
                self._calls.append(threading.Thread(target=work, args=(caller,), daemon=True))
                self._calls[-1].start()

    def _serve(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError), caller, socket.create_connection((LOOPBACK, self._server)) as server:
            self._keep(server)
            back = threading.Thread(target=self._pump, args=(server, caller))
            back.start()
            self._pump(caller, server)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._live.wait()
                sink.sendall(data)
        hang_up(sink)

    def _stand_in(self, caller: socket.socket) -> None:
        assert self._reply is not None
        # All of the request is read: a connection that is closed before would be reset, and the reply lost.
        with contextlib.suppress(OSError), caller, caller.makefile("rb") as request:
            head = list(iter(request.readline, b"\r\n"))
            lengths = [line.split(b":")[1] for line in head if line.lower().startswith(b"content-length:")]
            request.read(int(lengths[0]) if lengths else 0)
            caller.sendall(self._reply)

    def _keep(self, end: socket.socket) -> None:
        with self._guard:
            self._ends.add(end)


def hang_up(end: socket.socket) -> None:
    """Ends a connection, or a listening, for whoever waits on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
