"""A relay before a node, which holds back what it carries."""

import random
import socket
import threading
import time


class Relay:
    """Carries connections to `address` on to loopback, in the namespace of both."""

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
            threading.Thread(target=self.carry, args=(caller,), daemon=True).start()

    def carry(self, caller):
        try:
            node = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        except OSError:
            caller.close()
            return
        back = threading.Thread(target=self.pass_on, args=(node, caller), daemon=True)
        back.start()
        self.pass_on(caller, node)
        back.join()
        caller.close()
        node.close()

    def pass_on(self, source, target):
        """What comes close together was sent together, and waits once."""
        passed = 0.0
        try:
            source.settimeout(20)
            while data := source.recv(65536):
                if time.monotonic() - passed > 0.05:
                    time.sleep(random.uniform(*self.delay_s))
                target.sendall(data)
                passed = time.monotonic()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # Whoever waits on the other side is not to wait for this one.
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def end(self):
        try:
            # Wakes the thread that accepts.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
