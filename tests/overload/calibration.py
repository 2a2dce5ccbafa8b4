"""The speed of this machine, by which limits of time scale: a slower machine must not fail, and a slower program must.

A fixed piece of work is repeated on all processors, before any node runs. Like an exchange between two nodes, about half of
it is arithmetic with large numbers, and half is spent in the kernel, on new TCP connections of loopback. It uses
nothing of Distomon, so that a slower program does not loosen its own limits. A machine that is faster than the reference, or
has more processors, gets no tighter limits: most of the time of a cold start is waiting for the first round of probes.
"""

import multiprocessing
import os
import socket
import time

# Pieces of work a second on the machine for which the targets were set, two virtual processors of an x86-64 server with
# Python 3.11: the best of seven runs of `measure`, rounded down, since other work on the machine only lowers it.
REFERENCE = 6_500
SECONDS = 2
# Other work on this machine may end soon: the best measurement counts.
ATTEMPTS = 3
PAUSE_S = 5

# 2^255 - 19, whose arithmetic Ed25519 uses.
PRIME = 2**255 - 19


def factor():
    """Returns by how much this machine is slower than the reference, at least 1, and the measured pieces a second."""
    measured = measure()
    for _ in range(ATTEMPTS - 1):
        if measured < REFERENCE / 2:
            time.sleep(PAUSE_S)
            measured = max(measured, measure())
    return max(1, REFERENCE / measured), measured


def measure():
    """Returns the pieces of work that all processors do in a second."""
    context = multiprocessing.get_context("fork")
    # The barrier excludes the start of the processes from the measured time.
    workers = len(os.sched_getaffinity(0))
    barrier, results = context.Barrier(workers), context.SimpleQueue()
    children = [context.Process(target=work, args=(barrier, results), daemon=True) for _ in range(workers)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        if child.exitcode != 0:
            raise RuntimeError(f"the calibration ended with status {child.exitcode}")
    return sum(results.get() for _ in children)


def work(barrier, results):
    listener = socket.create_server(("127.0.0.1", 0))
    message = b"x" * 512
    barrier.wait(10)
    begin, pieces = time.monotonic(), 0
    while (elapsed := time.monotonic() - begin) < SECONDS:
        # Together as long as the arithmetic, about 0.2 ms.
        for _ in range(4):
            with socket.create_connection(listener.getsockname()) as caller:
                called, _ = listener.accept()
                with called:
                    caller.sendall(message)
                    called.sendall(called.recv(len(message)))
                    caller.recv(len(message))
        pow(3, PRIME - 2, PRIME)
        pieces += 1
    results.put(pieces / elapsed)
