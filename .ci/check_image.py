"""The files of the image, laid out as the Dockerfile says, run as an engine would run them: as a user without rights, on
a root file system that cannot be written to but below /data. The health check is the Dockerfile's own.

Usage: check_image.py BINARY [--release], as root; anybody else is told that it is skipped. With --release, how large it is
is checked, too.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from broker import check, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The user `nonroot` of the distroless images.
USER = 65532
START_SECONDS = 30
# As a registry has it, with 30 MB for the whole: the rest is for the base image.
MOST_COMPRESSED_BYTES = 15_000_000


class Dockerfile:
    """What the last stage says."""

    def __init__(self, text):
        lines = re.sub(r"\\\n", " ", text).splitlines()
        begins = max(at for at, line in enumerate(lines) if line.startswith("FROM "))
        self.lines = lines[begins:]
        check("nonroot" in self.one("USER"), "the image runs as root")
        self.volume = self.one("VOLUME")
        self.environment = dict(pair.split("=", 1) for line in self.all("ENV") for pair in line.split())
        self.entrypoint = json.loads(self.one("ENTRYPOINT"))
        self.command = json.loads(self.one("CMD"))
        self.health = json.loads(self.one("HEALTHCHECK").split("CMD ", 1)[1])

    def all(self, word):
        return [line.split(" ", 1)[1] for line in self.lines if line.startswith(f"{word} ")]

    def one(self, word):
        found = self.all(word)
        check(len(found) == 1, f"the Dockerfile has {len(found)} lines with {word}")
        return found[0]

    def copies(self):
        """What is copied from the stage that builds: where it is put, and whether it belongs to the user."""
        for line in self.all("COPY"):
            *flags, source, target = line.split()
            yield source, target, any(flag.startswith("--chown=nonroot") for flag in flags)


def lay_out(image, binary, root):
    for source, target, is_the_users in image.copies():
        place = root / target.lstrip("/")
        if source.endswith("/taffrail"):
            place.parent.mkdir(parents=True)
            shutil.copy(binary, place)
            subprocess.run(["strip", place], check=True)
        else:
            place.mkdir(parents=True)
        if is_the_users:
            os.chown(place, USER, USER)
    # What the base image has: libraries, and nothing else that the binary asks for.
    for library in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", binary], check=True, stdout=subprocess.PIPE, text=True).stdout):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)
    (root / "proc").mkdir()


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("binary", type=pathlib.Path)
    flags.add_argument("--release", action="store_true")
    flags = flags.parse_args()
    binary = flags.binary.resolve()
    if os.geteuid() != 0:
        say("SKIPPED: the image: only root can change the root directory")
        return
    image = Dockerfile((ROOT / "Dockerfile").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch) / "root"
        root.mkdir()
        lay_out(image, binary, root)
        if flags.release:
            check_size(root / image.entrypoint[0].lstrip("/"))
        run(image, root)


def check_size(binary):
    content = binary.read_bytes()
    compressed = len(gzip.compress(content))
    say(f"the binary has {len(content) / 1e6:.1f} MB, {compressed / 1e6:.1f} MB compressed")
    check(compressed <= MOST_COMPRESSED_BYTES, "the image is larger than it is to be")


def run(image, root):
    inside = ["chroot", f"--userspec={USER}:{USER}", str(root), *image.entrypoint]
    # Mounts of its own, of which nothing is left behind it.
    mounts = (
        f"mount --bind {root} {root} && mount --bind {root}{image.volume} {root}{image.volume} && "
        f"mount -t proc proc {root}/proc && mount -o remount,ro,bind {root} && exec \"$@\""
    )
    environment = {"PATH": os.environ["PATH"], **image.environment}
    # Ports that are free here; an image has them all.
    command = ["127.0.0.1:0" if word == "0.0.0.0:9640" else word for word in image.command]
    serve = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", mounts, "bash", *inside, *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = serve.stdout.readline()
        check("taffrail is listening" in line, f"it said {line!r}")
        enter = ["nsenter", "--mount", "--pid", "--target", child_of(serve)]
        health = [*enter, "chroot", f"--userspec={USER}:{USER}", str(root), *image.health]
        healthy = subprocess.run(health, env=environment, stdout=subprocess.PIPE, text=True, timeout=START_SECONDS)
        check(healthy.returncode == 0, f"the health check ended with code {healthy.returncode}: {healthy.stdout}")
        say(f"{' '.join(image.health)}: {healthy.stdout.strip()}")
        written = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.stat().st_uid == USER)
        check(all(path.startswith("data") for path in written), f"it has written {written}")
        stop(serve)
        ended = subprocess.run(health[len(enter) :], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check(ended.returncode != 0, "the health check finds a broker that has ended")
    finally:
        if serve.poll() is None:
            serve.kill()
            serve.wait()


def child_of(serve):
    """The broker: the only process below the one that has made its mounts."""
    children = pathlib.Path(f"/proc/{serve.pid}/task/{serve.pid}/children").read_text().split()
    check(len(children) == 1, f"unshare has the children {children}")
    return children[0]


def stop(serve):
    """SIGTERM to the broker, as an engine would."""
    os.kill(int(child_of(serve)), signal.SIGTERM)
    deadline = time.monotonic() + START_SECONDS
    while serve.poll() is None:
        check(time.monotonic() < deadline, "it does not end")
        time.sleep(0.05)
    check(serve.returncode == 0, f"it ended with code {serve.returncode} after SIGTERM")


main()
