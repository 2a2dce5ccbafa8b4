"""Records the requests of a node and replays them later, as anyone on the path of plain HTTP can."""

import socket
import threading
import time

# The time that a connection may be idle.
IDLE_S = 5


class Recorder:
    """A proxy at `port` that forwards each connection to `upstream_port` and keeps what the clients sent."""

    def __init__(self, port, upstream_port):
        self.upstream_port = upstream_port
        self.requests = []
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes up `accept` too.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.forward, args=(client,), daemon=True).start()

    def forward(self, client):
        try:
            with client, socket.create_connection(("127.0.0.1", self.upstream_port), IDLE_S) as upstream:
                client.settimeout(IDLE_S)
                replies = threading.Thread(target=pump, args=(upstream, client), daemon=True)
                replies.start()
                request = pump(client, upstream)
                replies.join(IDLE_S)
                if request:
                    self.requests.append(request)
        except OSError:
            pass


def pump(source, destination):
    """Forwards all bytes to the end of the stream, and returns them."""
    received = b""
    try:
        while piece := source.recv(65536):
            received += piece
            destination.sendall(piece)
        destination.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    return received


class Replay:
    """Sends one of `requests` after another to each of `ports`, `rate` in a second, while it is entered."""

    def __init__(self, requests, ports, rate):
        self.requests, self.ports, self.rate = list(requests), ports, rate
        # The status lines of the replies.
        self.replies = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(port,), daemon=True) for port in ports]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(2 * IDLE_S)

    def run(self, port):
        number = 0
        while not self.stop.is_set():
            begin = time.monotonic()
            # In the order of their nonces, so that no earlier one makes a later one old.
            request = self.requests[number % len(self.requests)]
            number += 1
            try:
                with socket.create_connection(("127.0.0.1", port), IDLE_S) as connection:
                    connection.sendall(request)
                    self.replies.append(connection.recv(65536).split(b"\r\n")[0].decode("latin-1"))
            except OSError as error:
                self.replies.append(str(error))
            self.stop.wait(max(0, begin + 1 / self.rate - time.monotonic()))
