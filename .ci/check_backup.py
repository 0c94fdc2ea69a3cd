"""Backups over the real binary: taken under load, with a kill -9 of the broker, of the command and of a restore;
restored, and compared with a ledger of what was acknowledged. And a second backup of a broker that has not changed,
which sends less than 1 %.

Usage: check_backup.py BINARY [--cycles N]
"""

import argparse
import contextlib
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, check, say

TOPICS = ["orders", "payments"]
RECORD_BYTES = 900
LINES = 1_500
# So many commits are between two backups.
MIDDLE = 10
# Fifty restores are to be read from end to end.
PAUSE_SECONDS = 0.3


class Load:
    """Appends lines that count up to each topic, and keeps how many are acknowledged."""

    def __init__(self, broker):
        self.broker = broker
        self.acknowledged = {topic: 0 for topic in TOPICS}
        self.asked = {topic: 0 for topic in TOPICS}
        self.ended = threading.Event()
        self.failure = None
        self.threads = [threading.Thread(target=self.append, args=[topic], daemon=True) for topic in TOPICS]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def check(self):
        check(self.failure is None, self.failure)

    def append(self, topic):
        while not self.ended.wait(PAUSE_SECONDS):
            first = self.acknowledged[topic]
            lines = range(first, first + LINES)
            self.asked[topic] = lines.stop
            text = "".join(f"{topic} {number} ".ljust(RECORD_BYTES, "x") + "\n" for number in lines)
            command = [self.broker.binary, "produce", topic, "--partition", "0", "--key", f"{topic}-key",
                       "--server", f"http://{self.broker.address}", "--retry-for", "60s", "--json"]
            done = subprocess.run(command, input=text, capture_output=True, text=True)
            if done.returncode == 0:
                self.acknowledged[topic] = lines.stop
            elif "nothing was stored" in done.stderr:
                # The broker was away when it began.
                time.sleep(0.05)
            elif not self.ended.is_set():
                self.failure = f"produce has failed: {done.stderr}"
                return


def command(broker, *words):
    return [broker.binary, *words, "--server", f"http://{broker.address}"]


def run(words):
    """Runs a command that must not fail."""
    done = subprocess.run(words, capture_output=True, text=True)
    check(done.returncode == 0, f"{' '.join(words)} has failed: {done.stdout}{done.stderr}")
    return done


def backup(broker, directory):
    """Takes one to its end, also right behind one that was killed; what it says."""
    return json.loads(run(command(broker, "backup", str(directory), "--json")).stdout)


def kill_in_between(words, chance):
    """Runs a command and kills it, unless it has ended by then; whether it was killed."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(chance.uniform(0.01, 0.5))
    was_running = process.poll() is None
    process.kill()
    process.wait()
    return was_running


def restore(binary, source, target, chance, attempts, *flags):
    """Restores, with kills before; nothing is there under the name until all is."""
    words = [binary, "restore", str(source), "--to", str(target), "--json", *flags]
    for _ in range(attempts):
        kill_in_between(words, chance)
        if target.exists():
            shutil.rmtree(target)
    return json.loads(run(words).stdout)


def compare(binary, directory, known, asked):
    """What is restored has all that was acknowledged before, in order, and nothing that was never asked for."""
    run([binary, "inspect", str(directory), "--verify"])
    with Broker(binary, directory) as restored:
        for topic in TOPICS:
            read = run(command(restored, "consume", topic, "--from", "earliest"))
            numbers = [int(line.split()[1]) for line in read.stdout.splitlines()]
            check(numbers == list(range(len(numbers))), f"{topic}: records are missing, twice, or out of order")
            check(known[topic] <= len(numbers) <= asked[topic],
                  f"{topic}: {len(numbers)} records, {known[topic]} were acknowledged before, {asked[topic]} asked for")
            entity = run([*command(restored, "entity", "latest", topic, "--json"), "--", f"{topic}-key"])
            is_at = f'"version":{len(numbers)}' in entity.stdout.replace(" ", "")
            check(is_at, f"{topic}: versions are others: {entity.stdout[:300]}")
        restored.stop()


def cycle(broker, load, work, backups, number, chance):
    """One backup with kills, restored and compared."""
    if number % 3 == 0:
        # The broker dies while one is taken.
        words = command(broker, "backup", str(backups))
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(chance.uniform(0.05, 0.6))
        broker.process.kill()
        broker.process.wait()
        process.communicate()
        broker.start()
    else:
        kill_in_between(command(broker, "backup", str(backups)), chance)
    load.check()
    known = dict(load.acknowledged)
    taken = backup(broker, backups)
    asked = dict(load.asked)
    target = work / f"restored-{number}"
    restored = restore(broker.binary, backups, target, chance, attempts=1)
    check(restored["commit"] == taken["commit"], f"restored {restored}, taken {taken}")
    compare(broker.binary, target, known, asked)
    shutil.rmtree(target)
    return taken


def unchanged(broker, backups):
    """A second backup of a broker that has not changed sends less than 1 %."""
    first = backup(broker, backups)
    second = backup(broker, backups)
    share = second["received_bytes"] / second["bytes"]
    check(share < 0.01, f"{share:.2%} were sent again: {second}")
    check(second["commit"] >= first["commit"], f"{second} behind {first}")
    say(f"unchanged: {second['received_bytes']} of {second['bytes']} bytes were sent again ({share:.3%})")


def in_the_middle(broker, work, backups, chance):
    """A restore until a commit between two backups has what was stored until then."""
    run(command(broker, "topic", "create", "counted"))
    first = backup(broker, backups)
    for number in range(MIDDLE):
        append = subprocess.run(command(broker, "produce", "counted"), input=f"{number}\n", capture_output=True, text=True)
        check(append.returncode == 0, f"produce has failed: {append.stderr}")
        if number == MIDDLE // 2:
            # What is kept of the journal outlives it.
            broker.process.kill()
            broker.process.wait()
            broker.start()
    second = backup(broker, backups)
    for commit in [first["commit"], first["commit"] + MIDDLE // 2, second["commit"]]:
        target = work / f"until-{commit}"
        restored = restore(broker.binary, backups, target, chance, 2, "--until", str(commit))
        check(restored["commit"] == commit, f"restored {restored}")
        with Broker(broker.binary, target) as there:
            lines = run(command(there, "consume", "counted", "--from", "earliest")).stdout.split()
            known = [str(number) for number in range(len(lines))]
            check(lines == known and len(lines) <= commit - first["commit"], f"until {commit}: {lines}")
            there.stop()
        shutil.rmtree(target)
    words = [broker.binary, "restore", str(backups), "--to", str(work / "no"), "--until", str(second["commit"] + 1)]
    refused = subprocess.run(words, capture_output=True, text=True)
    check(refused.returncode == 78 and "can be restored until" in refused.stderr, f"a later commit: {refused}")
    say(f"restored until commits from {first['commit']} to {second['commit']}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    chance = random.Random(given.seed)
    say(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        config = work / "taffrail.toml"
        config.write_text('[backup]\njournal = "1GiB"\n')
        broker = stack.enter_context(Broker(given.binary, work / "data", flags=["--http-listen", "off", "--config", str(config)]))
        for topic in TOPICS:
            words = command(broker, "topic", "create", topic, "--set", "segment.bytes=1MiB")
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        backups = work / "backups"
        with Load(broker) as load:
            while min(load.acknowledged.values()) == 0:
                load.check()
                time.sleep(0.05)
            for number in range(given.cycles):
                taken = cycle(broker, load, work, backups, number, chance)
                sent = f"{taken['received_bytes']} of {taken['bytes']} bytes sent"
                say(f"cycle {number}: journal entry {taken['commit']}, {sent}")
        unchanged(broker, backups)
        in_the_middle(broker, work, backups, chance)
        broker.stop()


if __name__ == "__main__":
    sys.exit(main())
