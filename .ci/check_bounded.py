"""The broker under every load that clients can put on it, with a limit on its memory and a polite client beside it.

Each load is valid, or merely slow. The broker may use its budget and 256 MiB (`ulimit -d`). It does not die; the polite
client loses no call, and its slowest calls stay near what they are while the same load goes to a sink that discards;
memory is given back; and the log does not repeat itself.

Usage: check_bounded.py [--before] [--gate] [--evidence] BINARY DIR [NAME...]; without names all of them. DIR is as
.ci/stubs has filled it. `--before` is for a binary whose setting `memory.bytes` is not the whole budget. With `--gate`
times do not decide, as they depend on what else the machine does, and are compared with nothing: what is lost, kept or said
decides, and loads are shorter. `--evidence` puts what was seen into docs/evidence.json.
Usage: check_bounded.py --compare BEFORE AFTER DIR: how much memory two binaries take for the same loads, in turns.
"""

import collections
import contextlib
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from broker import Broker, check, say
from prepared import COMPARED, LOADS, MIB, Client
from watched import Memory, Polite, end_load, lost, run_load, sink, slowest, start_load

EVIDENCE = pathlib.Path(__file__).parent.parent / "docs" / "evidence.json"
BUDGET_BYTES = 320 * MIB
LIMIT_BYTES = BUDGET_BYTES + 256 * MIB
# What a comparison allows, so that it is seen what a binary would take.
COMPARED_BYTES = 10_240 * MIB
# A hundredth of the calls in this time are two at least.
BASE_SECONDS = 10
# A rate that is sustained: longer than what caches and a new journal take.
PEAK_SECONDS = 10
COMPARED_SECONDS = 12
# Memory is back within this time, but for a fifth of what an idle broker has, and caches.
BACK_SECONDS = 30
CACHE_BYTES = 48 * MIB
SLOWER, SLOWER_SECONDS = 3, 0.010
OVERLOAD, GOODPUT, NORMAL_SECONDS = 5, 0.8, 5
# More calls a second than any broker answers.
UNBOUNDED_RATE = 10_000_000
# So many calls of the polite client in a row are normal again.
NORMAL_CALLS = 10


def main():
    options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if "--compare" in options:
        compare(*arguments)
        return
    binary, folder, *names = arguments
    trials = []
    for name in names or LOADS:
        trials.append(Trial(binary, pathlib.Path(folder).resolve(), name, "--before" in options, "--gate" not in options))
        trials[-1].run()
    if "--evidence" in options:
        found = {trial.name: trial.found() for trial in trials}
        EVIDENCE.write_text(json.dumps({"loads": found}, indent=2) + "\n")
    failed = [trial.name for trial in trials if trial.problems or trial.slowness]
    check(not failed, f"{len(failed)} of the loads: {', '.join(failed)}")


def limited(bytes_of_data, before):
    """The command that a broker is run by: with a limit on its memory, and told its budget."""
    limit = ["bash", "-c", f'ulimit -d {bytes_of_data >> 10}; exec "$@"', "bash"]
    return limit if before else [*limit, "env", f"TAFFRAIL_MEMORY_BYTES={BUDGET_BYTES}"]


@contextlib.contextmanager
def data_dir(folder):
    with tempfile.TemporaryDirectory(dir=folder, prefix="bounded-", ignore_cleanup_errors=True) as data:
        yield pathlib.Path(data, "data")


class Trial:
    """One load on one broker."""

    def __init__(self, binary, folder, name, before, timed):
        self.binary, self.stubs = binary, folder / "stubs"
        self.folder = folder
        self.name, self.load = name, LOADS[name].longer() if timed else LOADS[name]
        self.before, self.timed = before, timed
        self.problems, self.slowness = [], []

    def run(self):
        """Puts the load on the broker, and sees what does not hold."""
        began = time.monotonic()
        limit = limited(LIMIT_BYTES, self.before)
        with data_dir(self.folder) as data, Broker(self.binary, data, limit) as broker:
            client = Client(self.stubs, broker.address)
            client.create("polite")
            given = self.load.prepare(client)
            client.channel.close()
            self.memory = Memory(broker.process.pid)
            polite = Polite(self.stubs, broker.address, "polite", self.load.group)
            try:
                polite.wait_for_calls(4, 10)
                self.watch(broker, polite, given)
            finally:
                polite.stop()
                self.memory.stop()
        verdict = "; FAILED" if self.problems else "; SLOW" if self.slowness else ""
        say(f"{self.name}: {self.said}; {time.monotonic() - began:.0f} s{verdict}")
        for problem in self.problems + self.slowness:
            say(f"    {problem}")

    def found(self):
        """What a reader of the evidence wants to know."""
        return {"seen": self.said, "failed": self.problems, "slow": self.slowness}

    def watch(self, broker, polite, given):
        peak = None
        if self.load.generator == "overload":
            if self.timed:
                found = run_load(self.stubs, "overload", broker.address, PEAK_SECONDS, given)
                peak = found["ok"] / found["seconds"]
            given = {**given, "rate": OVERLOAD * peak if peak else UNBOUNDED_RATE}
        base = self.base(polite, given) if self.timed else None
        idle = self.memory.now["RssAnon"]
        self.memory.forget()
        logged = len(broker.log())
        begin = time.monotonic()
        generator = start_load(self.stubs, self.load.generator, broker.address, self.load.seconds, given)
        if self.load.operator:
            time.sleep(self.load.seconds / 2)
            self.check_operator(broker)
        counted = end_load(generator, self.load.seconds)
        end = time.monotonic()
        most = dict(self.memory.most)
        calls = polite.between(begin, end)
        ends = ", ".join(f"{number} {how}" for how, number in counted.items() if how != "seconds" and number)
        took = f"slowest {slowest(calls) * 1000:.1f} ms"
        if base is not None:
            took += f" (base {base * 1000:.1f})"
        self.said = f"{ends or 'no call has ended'}; {took}; {shown(most)}"
        if not self.lives(broker):
            self.problem(f"the broker has died with code {broker.process.poll()}")
            return
        self.check_calls(calls, base)
        if peak:
            self.check_goodput(counted, peak)
            self.check_normal_again(polite, end, base)
        self.check_memory_is_back(idle)
        self.check_log(broker.log()[logged:], end - begin)

    def base(self, polite, given):
        """The slowest calls on an idle broker, while the load goes to a sink."""
        begin = time.monotonic()
        with sink(self.stubs, self.load.updates) as address:
            time.sleep(0.5)
            run_load(self.stubs, self.load.generator, address, BASE_SECONDS, given)
        calls = polite.between(begin, time.monotonic())
        check(not lost(calls), f"{self.name}: the polite client lost calls to an idle broker: {lost(calls)[:3]}")
        return slowest(calls)

    def lives(self, broker):
        return broker.process.poll() is None

    def problem(self, text):
        self.problems.append(text)

    def slow(self, text):
        self.slowness.append(text)

    def check_calls(self, calls, base):
        failures = lost(calls)
        if failures:
            kinds = collections.Counter(f"{what}: {error}" for _, _, what, error in failures).most_common(3)
            self.problem(f"the polite client lost {len(failures)} of {len(calls)} calls: {kinds}")
        allowed = math.inf if base is None else allowed_for(base)
        if slowest(calls) > allowed:
            self.slow(f"calls took {slowest(calls) * 1000:.1f} ms, and {allowed * 1000:.1f} ms are allowed")

    def check_operator(self, broker):
        """An operator gets in: by the way of their own, if there is one."""
        own = pathlib.Path(broker.data_dir, "admin.sock")
        server = f"unix:{own}" if own.exists() else f"http://{broker.address}"
        command = [broker.binary, "topic", "list", "--server", server]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if result.returncode:
            self.problem(f"an operator does not get in: {result.stderr.strip()}")

    def check_goodput(self, counted, peak):
        goodput, offered = (counted[what] / counted["seconds"] for what in ["ok", "offered"])
        self.said += f"; goodput {goodput:.0f} of {peak:.0f}/s, {offered:.0f}/s offered"
        if goodput < GOODPUT * peak:
            self.slow(f"goodput is {goodput / peak:.0%} of its peak")

    def check_normal_again(self, polite, end, base):
        deadline = end + NORMAL_SECONDS
        while time.monotonic() < deadline:
            last = polite.between(end, deadline)[-NORMAL_CALLS:]
            if len(last) == NORMAL_CALLS and not lost(last) and slowest(last) <= allowed_for(base):
                return
            time.sleep(0.1)
        self.slow(f"the polite client's calls are not as before {NORMAL_SECONDS} s after the overload")

    def check_memory_is_back(self, idle):
        allowed = idle + idle // 5 + CACHE_BYTES + self.load.keeps
        began = time.monotonic()
        while self.memory.now["RssAnon"] > allowed and time.monotonic() < began + BACK_SECONDS:
            time.sleep(0.1)
        now = self.memory.now["RssAnon"]
        self.said += f"; {mib(now)} after {time.monotonic() - began:.0f} s (idle {mib(idle)})"
        if now > allowed:
            self.problem(f"{mib(now)} are still used after {BACK_SECONDS} s, and {mib(allowed)} are allowed")

    def check_log(self, lines, seconds):
        """What is the same but for its numbers is said once a minute."""
        kinds = collections.Counter(re.sub(r"[0-9a-f]*\d[0-9a-f:.]*", "#", line) for line in lines if "WARN" in line)
        self.said += f"; {sum(kinds.values())} warnings"
        if self.load.told and not kinds:
            self.problem("the log says nothing of it")
        for kind, times in kinds.items():
            if times > 1 + seconds // 60:
                self.problem(f"the log says {times} times: {kind}")


def compare(before, after, folder):
    """How much memory two binaries take for the same loads, in turns, with their settings as they come."""
    folder = pathlib.Path(folder).resolve()
    failed = []
    say(f"{'most, and 30 s later, beyond idle':<36}{'before':>24}{'after':>24}")
    for name, (load, allowed) in COMPARED.items():
        (was, was_later), (now, now_later) = (measure(binary, folder, load) for binary in [before, after])
        say(f"{name:<36}{mib(was):>12}{mib(was_later):>12}{mib(now):>12}{mib(now_later):>12}  {was / max(now, 1):.1f} times")
        if now > (allowed * was if allowed < 1 else allowed):
            failed.append(name)
    check(not failed, f"more memory than allowed: {', '.join(failed)}")


def measure(binary, folder, load):
    """What a load takes at most beyond what an idle broker has, and what of it is left after 30 s."""
    with data_dir(folder) as data, Broker(binary, data, limited(COMPARED_BYTES, True)) as broker:
        client = Client(folder / "stubs", broker.address)
        given = load.prepare(client)
        client.channel.close()
        time.sleep(1)
        memory = Memory(broker.process.pid)
        idle = memory.now["RssAnon"]
        memory.forget()
        run_load(folder / "stubs", load.generator, broker.address, COMPARED_SECONDS, given)
        most = memory.most["RssAnon"]
        time.sleep(BACK_SECONDS)
        left = memory.now["RssAnon"]
        memory.stop()
        check(broker.process.poll() is None, f"{binary} has died with code {broker.process.poll()}")
    return most - idle, left - idle


def allowed_for(base):
    return max(SLOWER * base, base + SLOWER_SECONDS)


def mib(number):
    return f"{number / MIB:.0f} MiB"


def shown(memory):
    return f"at most {mib(memory['RssAnon'])}, and {mib(memory['VmData'])} of address space"


if __name__ == "__main__":
    main()
