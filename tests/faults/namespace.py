"""Network namespaces without names, which end with the last process in them."""

import ctypes
import errno
import os
import subprocess
import threading

CLONE_NEWNET = 0x4000_0000
CAP_SYS_ADMIN = 21

libc = ctypes.CDLL(None, use_errno=True)


class NotPermitted(Exception):
    """The user may not create network namespaces."""


class Namespace:
    """An empty network namespace. `nsenter --net=` enters it by `/proc/<pid>/fd/<fd>` of this process."""

    def __init__(self):
        if not may_create_namespaces():
            raise NotPermitted("creating network namespaces needs root with CAP_SYS_ADMIN")
        results = []

        # A separate thread, since unshare moves its caller to the new namespace.
        def create():
            try:
                call(libc.unshare, CLONE_NEWNET)
                results.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                results.append(error)

        thread = threading.Thread(target=create)
        thread.start()
        thread.join()
        if isinstance(results[0], OSError):
            raise results[0]
        self.fd = results[0]
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"

    def enter(self):
        """Moves the calling thread to this namespace, and with it the threads that it starts later."""
        call(libc.setns, self.fd, CLONE_NEWNET)

    def command(self, *words):
        """Returns the command that runs `words` in this namespace, in the same process."""
        return ["nsenter", f"--net={self.path}", *words]

    def run(self, *words, stdin=None):
        done = subprocess.run(self.command(*words), input=stdin, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def close(self):
        os.close(self.fd)


def may_create_namespaces():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1 == 1


def call(function, *arguments):
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)} ({errno.errorcode.get(number)})")
