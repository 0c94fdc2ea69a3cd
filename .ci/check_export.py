"""A topic moves to another broker over the real binary: exported, imported with a kill -9 of the command or of the
broker at random moments, until it is complete, and exported again, which gives the same bytes. Versions and offsets
go on where they were, and what is on the disk is sound.

Usage: check_export.py BINARY [--cycles N] [--seed N]
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

from broker import Broker, check, say

RECORDS = 40_000
KEYS = 5_000
PARTITIONS = 4
KILLS = 4
# What fits into a pipe, several times.
TAKEN = 256 << 10


def command(broker, *words):
    return [broker.binary, *words, "--server", f"http://{broker.address}"]


def run(words, text=None):
    """Runs a command that must not fail."""
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    check(done.returncode == 0, f"{' '.join(words)} has failed: {done.stdout}{done.stderr}")
    return done.stdout


def fill(broker, chance):
    """A topic with keys, tombstones, bytes that are no text, entities that are erased, and partitions that are trimmed."""
    settings = ["--partitions", str(PARTITIONS), "--set", "segment.bytes=1MiB"]
    run(command(broker, "topic", "create", "t", *settings))
    lines = [
        json.dumps({"k": f"key {chance.randrange(KEYS)}", "n": number, "pad": "x" * chance.randrange(400)})
        for number in range(RECORDS)
    ]
    words = command(broker, "produce", "t", "--key-field", "k", "--header", "from=check", "--type", "counted")
    run(words, "\n".join(lines))
    subprocess.run(command(broker, "produce", "t", "--partition", "2"), input=b"\xff\xfe\n\n", check=True,
                   stdout=subprocess.DEVNULL)
    for number in range(3):
        run(command(broker, "entity", "erase", "t", f"key {number}", "--wait"))
    run(command(broker, "topic", "trim", "t", "--partition", "1", "--before", "777"))


def import_with_kills(broker, exported, chance):
    """Imports, with a kill in each attempt but the last, which is complete."""
    words = command(broker, "import", "t", "--create", "--json")
    content = exported.read_bytes()
    for _ in range(KILLS):
        # Once so much is taken from the pipe, the import has begun; and while the command waits for the rest, it cannot
        # have ended.
        cut = chance.randrange(TAKEN, len(content))
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.stdin.write(content[:cut])
        if chance.randrange(2) == 0:
            process.kill()
        else:
            broker.kill()
            broker.start()
        # It ends before it has taken all.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(content[cut:])
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        check(process.wait() != 0, "an import that was cut off has said that it is complete")
    done = subprocess.run([*words, "--file", str(exported)], capture_output=True, text=True)
    check(done.returncode == 0, f"import has failed: {done.stdout}{done.stderr}")


def cycle(binary, source, exported, work, chance):
    """One import with kills, compared."""
    target = work / "target"
    with Broker(binary, target, flags=["--http-listen", "off"]) as broker:
        import_with_kills(broker, exported, chance)
        again = work / "again"
        run(command(broker, "export", "t", "--file", str(again)))
        check(again.read_bytes() == exported.read_bytes(), "it is exported in another way")
        again.unlink()
        for number in range(10, 20):
            key = f"key {number}"
            latest = [run([*command(of, "entity", "latest", "t", "--json"), "--", key]) for of in (source, broker)]
            check(latest[0] == latest[1], f"{key}: {latest}")
            version = str(json.loads(latest[1])["version"])
            run(command(broker, "produce", "t", "--key", key, "--expect-version", version), "next\n")
        broker.stop()
    run([binary, "inspect", str(target), "--verify"])
    shutil.rmtree(target)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    chance = random.Random(given.seed)
    binary = str(pathlib.Path(given.binary).resolve())
    say(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        source = stack.enter_context(Broker(binary, work / "source", flags=["--http-listen", "off"]))
        fill(source, chance)
        exported = work / "exported"
        run(command(source, "export", "t", "--file", str(exported)))
        for _ in range(given.cycles):
            cycle(binary, source, exported, work, chance)
        say(f"{exported.stat().st_size} bytes imported {given.cycles} times, cut off {KILLS} times each")
        source.stop()


if __name__ == "__main__":
    sys.exit(main())
