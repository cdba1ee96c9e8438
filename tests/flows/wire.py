"""A line to a server through this process, which can be cut, go dead, or have somebody else answer."""

import contextlib
import socket
import threading

LOOPBACK = "127.0.0.1"


class Wire:
    """Hands on what is sent to its port to a server's, and back, until it is told otherwise."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._status: int | None = None
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
        self._status = None
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

    def answer(self, status: int) -> None:
        """The server is not itself: it answers every request with this status."""
        self.cut()
        self._status = status
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
                work = self._serve if self._status is None else self._refuse
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

    def _refuse(self, caller: socket.socket) -> None:
        answer = f"HTTP/1.1 {self._status} Not now\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError), caller:
            caller.recv(65536)
            caller.sendall(answer.encode())

    def _keep(self, end: socket.socket) -> None:
        with self._guard:
            self._ends.add(end)


def hang_up(end: socket.socket) -> None:
    """Ends a connection, or a listening, for whoever waits on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
