"""Faults on networks of real nodes. tests/faults/run calls this with both programs and its arguments."""

import argparse
import os
import pathlib
import queue
import random
import shutil
import signal
import sys
import threading
import time

import table
from faults import FAULTS
from namespace import NotPermitted
from network import Network
from experiment import Stopped, Result, Experiment

SKIPPED = 77
READY_S = 30


class Run:
    def __init__(self, options):
        self.options = options
        self.directory = pathlib.Path(options.target).absolute() / "faults"
        self.program = os.path.abspath(options.program)
        self.lying_peer = os.path.abspath(options.lying_peer)
        self.results = {}
        self.errors = []
        self.ended = threading.Event()
        self.printing = threading.Lock()

    def print(self, text):
        with self.printing:
            print(text, flush=True)

    def run_lane(self, lane, pending):
        """Runs faults from `pending`, one after the other, each on a new network."""
        network = None
        try:
            network = Network(self.program, self.lying_peer)
            while not self.ended.is_set():
                try:
                    at, name = pending.get_nowait()
                except queue.Empty:
                    return
                rng = random.Random(f"{self.options.seed} {name}")
                self.results[at] = self.run_fault(lane, network, name, rng)
        except Stopped:
            pass
        except BaseException as error:
            self.errors.append(error)
            self.ended.set()
        finally:
            if network:
                network.close()

    def run_fault(self, lane, network, name, rng):
        try:
            nodes = rng.sample(network.nodes, len(network.nodes))
            network.write(self.directory / name)
            fault = FAULTS[name](network, nodes, rng)
            if fault.needs_relay:
                network.put_relay_before(fault.needs_relay)
            if fault.needs_clock:
                fault.needs_clock.has_separate_clock = True
            network.start()
            self.wait_until_all_up(network)
            result = Experiment(name, fault, network, self.ended).run(rng.random())
        except (OSError, RuntimeError, TimeoutError, LookupError) as error:
            result = Result(name, "", failures=[f"{type(error).__name__}: {error}"])
        finally:
            network.stop()
        self.find_panics(result, self.directory / name)
        self.report(lane, result)
        return result

    def soak(self, network, rng):
        """Runs random faults on one network until the time is over, or until a fault has lasting effects, which would
        distort those after it."""
        # The verdict `conflict` would remain for the rest of the time.
        names = [name for name in FAULTS if name != "equivocation"]
        network.write(self.directory / "soak")
        for node in network.nodes:
            node.has_separate_clock = True
        network.start()
        self.wait_until_all_up(network)
        until = time.monotonic() + 60 * self.options.soak
        while time.monotonic() < until and all(
                result.heal_s is not None for result in self.results.values()):
            name = rng.choice(names)
            fault = FAULTS[name](network, rng.sample(network.nodes, len(network.nodes)), rng)
            if fault.needs_relay:
                self.restart(network, fault.needs_relay, network.put_relay_before)
            result = Experiment(name, fault, network, self.ended).run(rng.random())
            self.find_panics(result, self.directory / "soak")
            self.results[len(self.results)] = result
            self.report(1, result)
            if fault.needs_relay:
                self.restart(network, fault.needs_relay, network.take_relay_from)

    def restart(self, network, node, change):
        node.kill()
        change(node)
        node.start()
        self.wait_until_all_up(network)

    def run_soak(self):
        network = None
        try:
            network = Network(self.program, self.lying_peer)
            self.soak(network, random.Random(f"{self.options.seed} soak"))
        except Stopped:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            if network:
                network.close()

    def wait_until_all_up(self, network):
        """Waits until every node has reported all nodes up for a second."""
        deadline = time.monotonic() + READY_S
        since = None
        while since is None or time.monotonic() - since < 1:
            states = [viewer.newest for viewer in network.viewers]
            all_up = all(state.verdicts and not state.links and all(
                verdict.status == "up" for verdict in state.verdicts.values()) for state in states)
            since = (since or time.monotonic()) if all_up else None
            for node in network.nodes:
                if node.process.poll() is not None:
                    log = node.log.read_text(errors="replace").splitlines()
                    raise RuntimeError(f"{node.name} did not start: {' '.join(log[-3:])}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the five nodes do not report each other up within {READY_S} s")
            if self.ended.wait(0.05):
                raise Stopped

    def find_panics(self, result, directory):
        for log in sorted(directory.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if "panicked at" in line:
                    result.failures.append(f"{log.name}: {line}")

    def report(self, lane, result):
        _, _, verdicts, viewers, detect, heal, wrong = table.row(result)
        self.print(f"{'passed' if result.passed else 'FAILED'}  lane {lane}  {result.name}: {verdicts or 'no verdict'}; "
                 f"{viewers} viewers agree; detected in {detect} s; healed in {heal} s; {wrong} wrong "
                 f"({result.lasted_s:.0f} s)")

    def run(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        if self.options.soak:
            threads = [threading.Thread(target=self.run_soak, daemon=True)]
            self.print(f"faults for {self.options.soak:g} minutes on one network, --seed {self.options.seed}")
        else:
            pending = queue.Queue()
            for job in enumerate(self.options.faults):
                pending.put(job)
            lanes = min(self.options.lanes, len(self.options.faults))
            threads = [threading.Thread(target=self.run_lane, args=(lane, pending), daemon=True)
                       for lane in range(1, lanes + 1)]
            self.print(f"{len(self.options.faults)} faults, {lanes} networks at the same time, --seed {self.options.seed}")
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self.ended.set()
            for thread in threads:
                thread.join(30)
        for error in self.errors:
            raise error
        return self.close()

    def close(self):
        results = [self.results[at] for at in sorted(self.results)]
        text = table.text(results)
        (self.directory / "table.txt").write_text(text + "\n")
        (self.directory / "table.json").write_text(table.to_json(self.options.seed, results) + "\n")
        for at, result in sorted(self.results.items()):
            name = f"{at:03}-{result.name}" if self.options.soak else result.name
            (self.directory / f"{name}.timeline").write_text("\n".join(result.timeline) + "\n")
        failed = [result for result in results if not result.passed]
        for result in failed:
            print(f"\n{result.name}, all changes of the views:")
            print("\n".join(f"  {line}" for line in result.timeline))
            for line in result.wrong:
                print(f"  WRONG {line}")
            for line in result.failures:
                print(f"  FAILED {line}")
        print(f"\n{text}\n")
        wrong = sum(len(result.wrong) for result in results)
        if failed:
            print(f"FAILED: {len(failed)} of {len(results)} faults ({', '.join(result.name for result in failed)}), "
                  f"{wrong} wrong verdicts; --seed {self.options.seed}")
        else:
            print(f"all {len(results)} faults have the expected verdicts: {wrong} wrong verdicts; "
                  f"--seed {self.options.seed}")
        return 1 if failed or not results else 0


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/faults/run", add_help=False)
    parser.add_argument("program")
    parser.add_argument("lying_peer")
    parser.add_argument("target")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--soak", type=float)
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("faults", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    options.seed = random.randrange(1_000_000) if options.seed is None else options.seed
    options.faults = list(dict.fromkeys(options.faults)) or list(FAULTS)
    unknown = [name for name in options.faults if name not in FAULTS]
    if unknown:
        print(f"tests/faults/run: unknown fault {unknown[0]}: expected some of: {' '.join(FAULTS)}", file=sys.stderr)
        sys.exit(64)
    return options


def main(arguments):
    # SIGTERM raises an exception, which ends the nodes and the lanes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/faults: stopped"))
    try:
        return Run(parse(arguments)).run()
    except NotPermitted as error:
        print(error)
        return SKIPPED
    except KeyboardInterrupt:
        sys.exit("tests/faults: stopped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
