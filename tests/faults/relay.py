"""A relay before a node, which delays data."""

import random
import socket
import threading
import time


class Relay:
    """Forwards connections from `address` to loopback in the same namespace."""

    def __init__(self, namespace, address, port):
        self.port = port
        self.delay_s = (0, 0)
        self.failure = None
        ready = threading.Event()
        self.listener = None

        def serve():
            try:
                namespace.enter()
                self.listener = socket.create_server((address, port), backlog=128)
            except OSError as error:
                self.failure = error
            ready.set()
            if self.listener:
                self.accept()

        threading.Thread(target=serve, name=f"relay {address}", daemon=True).start()
        ready.wait()
        if self.failure:
            raise self.failure

    def accept(self):
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.forward, args=(caller,), daemon=True).start()

    def forward(self, caller):
        try:
            node = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        except OSError:
            caller.close()
            return
        back = threading.Thread(target=self.copy, args=(node, caller), daemon=True)
        back.start()
        self.copy(caller, node)
        back.join()
        caller.close()
        node.close()

    def copy(self, source, target):
        """Copies data until its end. Segments within 50 ms belong to one message, which is delayed only once."""
        copied = 0.0
        try:
            source.settimeout(20)
            while data := source.recv(65536):
                if time.monotonic() - copied > 0.05:
                    time.sleep(random.uniform(*self.delay_s))
                target.sendall(data)
                copied = time.monotonic()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # Ends the copying in the other direction, too.
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def end(self):
        try:
            # Wakes the accepting thread.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
