"""Network namespaces without names: they end with the last process in them, however that ends."""

import ctypes
import errno
import os
import subprocess
import threading

CLONE_NEWNET = 0x4000_0000
CAP_SYS_ADMIN = 21

libc = ctypes.CDLL(None, use_errno=True)


class NotAllowed(Exception):
    """This user can make no namespace."""


class Namespace:
    """An empty network namespace. `/proc/<pid>/fd/<fd>` of this process names it for `nsenter --net=`."""

    def __init__(self):
        if not may_make_namespaces():
            raise NotAllowed("making network namespaces needs root with CAP_SYS_ADMIN")
        made = []

        # A thread may leave its namespace without moving the others.
        def make():
            try:
                call(libc.unshare, CLONE_NEWNET)
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        self.fd = made[0]
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"

    def enter(self):
        """Moves the calling thread here, and with it the threads that it starts from now on."""
        call(libc.setns, self.fd, CLONE_NEWNET)

    def command(self, *words):
        """The command that runs `words` here: the same process, not a child of it."""
        return ["nsenter", f"--net={self.path}", *words]

    def run(self, *words, stdin=None):
        done = subprocess.run(self.command(*words), input=stdin, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def close(self):
        os.close(self.fd)


def may_make_namespaces():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1 == 1


def call(function, *arguments):
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)} ({errno.errorcode.get(number)})")
