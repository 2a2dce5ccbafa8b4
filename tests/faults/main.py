"""Faults on networks of real nodes. tests/faults/run calls this with the program, the lying_peer and its own words."""

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
from namespace import NotAllowed
from network import Network
from experiment import Ended, Result, Experiment

SKIPPED = 77
READY_S = 30


class Run:
    def __init__(self, options):
        self.options = options
        self.place = pathlib.Path(options.target).absolute() / "faults"
        self.program = os.path.abspath(options.program)
        self.lying_peer = os.path.abspath(options.lying_peer)
        self.results = {}
        self.errors = []
        self.ended = threading.Event()
        self.printing = threading.Lock()

    def say(self, text):
        with self.printing:
            print(text, flush=True)

    def work(self, lane, waiting):
        """Faults from `waiting`, one after the other, each on a network of its own."""
        network = None
        try:
            network = Network(self.program, self.lying_peer)
            while not self.ended.is_set():
                try:
                    at, name = waiting.get_nowait()
                except queue.Empty:
                    return
                rng = random.Random(f"{self.options.seed} {name}")
                self.results[at] = self.attempt(lane, network, name, rng)
        except Ended:
            pass
        except BaseException as error:
            self.errors.append(error)
            self.ended.set()
        finally:
            if network:
                network.close()

    def attempt(self, lane, network, name, rng):
        try:
            nodes = rng.sample(network.nodes, len(network.nodes))
            network.write(self.place / name)
            fault = FAULTS[name](network, nodes, rng)
            if fault.needs_relay:
                network.put_relay_before(fault.needs_relay)
            if fault.needs_clock:
                fault.needs_clock.has_own_clock = True
            network.start()
            self.wait_until_well(network)
            result = Experiment(name, fault, network, self.ended).run(rng.random())
        except (OSError, RuntimeError, TimeoutError, LookupError) as error:
            result = Result(name, "", failures=[f"{type(error).__name__}: {error}"])
        finally:
            network.stop()
        self.find_panics(result, self.place / name)
        self.tell(lane, result)
        return result

    def soak(self, network, rng):
        """Faults drawn by chance on one network that lives on, until the time is over or one has not healed: what
        comes after that says nothing."""
        # A conviction would stand for the rest of the time.
        names = [name for name in FAULTS if name != "equivocation"]
        network.write(self.place / "soak")
        for node in network.nodes:
            node.has_own_clock = True
        network.start()
        self.wait_until_well(network)
        until = time.monotonic() + 60 * self.options.soak
        while time.monotonic() < until and all(
                result.heal_s is not None for result in self.results.values()):
            name = rng.choice(names)
            fault = FAULTS[name](network, rng.sample(network.nodes, len(network.nodes)), rng)
            if fault.needs_relay:
                self.restart(network, fault.needs_relay, network.put_relay_before)
            result = Experiment(name, fault, network, self.ended).run(rng.random())
            self.find_panics(result, self.place / "soak")
            self.results[len(self.results)] = result
            self.tell(1, result)
            if fault.needs_relay:
                self.restart(network, fault.needs_relay, network.take_relay_from)

    def restart(self, network, node, change):
        node.kill()
        change(node)
        node.start()
        self.wait_until_well(network)

    def work_soak(self):
        network = None
        try:
            network = Network(self.program, self.lying_peer)
            self.soak(network, random.Random(f"{self.options.seed} soak"))
        except Ended:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            if network:
                network.close()

    def wait_until_well(self, network):
        """Until every node has found every other up, for a second."""
        deadline = time.monotonic() + READY_S
        since = None
        while since is None or time.monotonic() - since < 1:
            looks = [viewer.newest for viewer in network.viewers]
            well = all(look.standings and not look.links and all(
                standing.status == "up" for standing in look.standings.values()) for look in looks)
            since = (since or time.monotonic()) if well else None
            for node in network.nodes:
                if node.process.poll() is not None:
                    log = node.log.read_text(errors="replace").splitlines()
                    raise RuntimeError(f"{node.name} did not start: {' '.join(log[-3:])}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the five nodes do not find each other up within {READY_S} s")
            if self.ended.wait(0.05):
                raise Ended

    def find_panics(self, result, place):
        for log in sorted(place.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if "panicked at" in line:
                    result.failures.append(f"{log.name}: {line}")

    def tell(self, lane, result):
        _, _, seen, viewers, detect, heal, wrong = table.row(result)
        self.say(f"{'passed' if result.passed else 'FAILED'}  lane {lane}  {result.name}: {seen or 'nothing seen'}; "
                 f"{viewers} viewers agree; detected {detect} s; healed {heal} s; {wrong} wrong "
                 f"({result.lasted_s:.0f} s)")

    def run(self):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        if self.options.soak:
            threads = [threading.Thread(target=self.work_soak, daemon=True)]
            self.say(f"faults for {self.options.soak:g} minutes on one network, --seed {self.options.seed}")
        else:
            waiting = queue.Queue()
            for job in enumerate(self.options.faults):
                waiting.put(job)
            lanes = min(self.options.lanes, len(self.options.faults))
            threads = [threading.Thread(target=self.work, args=(lane, waiting), daemon=True)
                       for lane in range(1, lanes + 1)]
            self.say(f"{len(self.options.faults)} faults, {lanes} networks at once, --seed {self.options.seed}")
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
        told = table.text(results)
        (self.place / "table.txt").write_text(told + "\n")
        (self.place / "table.json").write_text(table.to_json(self.options.seed, results) + "\n")
        for at, result in sorted(self.results.items()):
            name = f"{at:03}-{result.name}" if self.options.soak else result.name
            (self.place / f"{name}.timeline").write_text("\n".join(result.timeline) + "\n")
        failed = [result for result in results if not result.passed]
        for result in failed:
            print(f"\n{result.name}, everything that was seen:")
            print("\n".join(f"  {line}" for line in result.timeline))
            for line in result.wrong:
                print(f"  WRONG {line}")
            for line in result.failures:
                print(f"  FAILED {line}")
        print(f"\n{told}\n")
        wrong = sum(len(result.wrong) for result in results)
        if failed:
            print(f"FAILED: {len(failed)} of {len(results)} faults ({', '.join(result.name for result in failed)}), "
                  f"{wrong} wrong verdicts; --seed {self.options.seed}")
        else:
            print(f"all {len(results)} faults are told as they are: {wrong} wrong verdicts; "
                  f"--seed {self.options.seed}")
        return 1 if failed or not results else 0


def parse(words):
    parser = argparse.ArgumentParser(prog="tests/faults/run", add_help=False)
    parser.add_argument("program")
    parser.add_argument("lying_peer")
    parser.add_argument("target")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--soak", type=float)
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("faults", nargs="*")
    options = parser.parse_intermixed_args(words)
    options.seed = random.randrange(1_000_000) if options.seed is None else options.seed
    options.faults = list(dict.fromkeys(options.faults)) or list(FAULTS)
    unknown = [name for name in options.faults if name not in FAULTS]
    if unknown:
        print(f"tests/faults/run: no fault {unknown[0]}: expected some of: {' '.join(FAULTS)}", file=sys.stderr)
        sys.exit(64)
    return options


def main(words):
    # What `timeout` sends becomes an exception, so that all is stopped and the lanes are left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/faults: stopped"))
    try:
        return Run(parse(words)).run()
    except NotAllowed as error:
        print(error)
        return SKIPPED
    except KeyboardInterrupt:
        sys.exit("tests/faults: stopped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
