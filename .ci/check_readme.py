"""Does what the README says, as a reader would who has nothing but a fresh checkout.

Every block of the README stands below a line that says what is done with it:

    <!-- checked -->                sh: run by bash, in the checkout
    <!-- checked: serves -->        sh: run beside all that follow; prints one line, and is stopped at the end
    <!-- checked: exit code N -->   sh: ends with N instead of 0, and what it says on stderr belongs to what it prints
    <!-- checked: is FILE -->       the whole content of FILE, which is there already or is made
    <!-- checked: ends FILE -->     added to the end of FILE
    <!-- checked: printed by FILE -->   what that script prints, run behind all others, when everything is installed
    <!-- not checked: REASON -->    left out, and named at the end

A `text` block without such a line is what the block above it prints, line for line, but for what the time is and how long it took. No
command may print a warning. What is made in the checkout must be ignored by git.

Three things differ from what a reader does. The broker has a port of its own. Packages that the README leaves to be
the newest are those of .ci/constraints.txt and Cargo.lock, so that tomorrow's do not fail today's change. And builds
share one target directory.

Usage: check_readme.py DIR [BINARY [README]]. DIR is made anew. With BINARY nothing is built with cargo: that binary is
used instead, which is quick and does not check all. README is another page of the checkout that is followed in its place.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from broker import check, fail, free_port, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?:^<!-- ((?:not )?checked[^\n]*) -->\n)?^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
WARNING = re.compile(r"^\s*warning\b.*", re.MULTILINE | re.IGNORECASE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|\bin \d+\.\d\d s\b")
ADDRESS, FOLDER = "127.0.0.1:9640", "/home/you/taffrail"
HTTP_ADDRESS = "127.0.0.1:9641"
SECONDS = 1800
# What git does not have; `stubs`, `venv` and `orders` are the README's own.
LEFT_OUT = {".git", "target", "taffrail-data", "stubs", "venv", "orders"}


def main():
    scratch = pathlib.Path(sys.argv[1]).resolve()
    binary = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
    page = ROOT / (sys.argv[3] if len(sys.argv) > 3 else "README.md")
    shutil.rmtree(scratch, ignore_errors=True)
    reader = Reader(scratch, binary)
    try:
        for rule, language, text, expected in blocks(page):
            reader.follow(rule, language, text, expected)
        for script, expected in reader.shown:
            reader.run(script, expected, 0)
        reader.check_ignored()
    finally:
        reader.stop()


def blocks(page):
    """Rule, language, text, and what is to be printed, or none."""
    found = BLOCK.findall(page.read_text())
    for at, (rule, language, text) in enumerate(found):
        if not rule:
            check(language == "text" and at > 0, f"{page.name} does not say what to do with:\n{text}")
            continue
        following = found[at + 1] if at + 1 < len(found) else ("rule", "", "")
        yield rule, language, text, following[2] if following[:2] == ("", "text") else None


class Reader:
    """A folder with a checkout in it, and what a reader has on the machine."""

    def __init__(self, scratch, binary):
        self.binary = binary
        self.folder = scratch / "taffrail"
        self.address = f"127.0.0.1:{free_port()}"
        self.broker = None
        # Scripts whose output the page shows before it has said how to install anything.
        self.shown = []
        shutil.copytree(ROOT, self.folder, ignore=lambda at, names: LEFT_OUT & set(names) if at == str(ROOT) else ())
        self.git("init", "--quiet")
        self.git("add", "--all")
        for path in self.git("ls-files", "examples").splitlines():
            example = self.folder / path
            self.write(example, example.read_text())
        installed = [scratch / "cargo" / "bin", scratch / "go" / "bin"]
        if binary:
            installed[0] = binary.parent
        self.environment = {
            **os.environ,
            "PATH": ":".join([*map(str, installed), os.environ["PATH"]]),
            "TAFFRAIL_SERVER": f"http://{self.address}",
            "TAFFRAIL_LISTEN": self.address,
            "CARGO_INSTALL_ROOT": str(scratch / "cargo"),
            "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")),
            "GOBIN": str(scratch / "go" / "bin"),
            "PIP_CONSTRAINT": str(ROOT / ".ci" / "constraints.txt"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        # The commands name it themselves.
        self.environment.pop("PYTHONPATH", None)

    def follow(self, rule, language, text, expected):
        action, _, argument = rule.partition(": ")
        if action == "not checked":
            say(f"SKIPPED: {first_line(text)}: {argument}")
        elif self.binary and ("cargo" in text or "../shop" in argument):
            say(f"SKIPPED: {first_line(text)}: nothing is built with cargo")
        elif argument.startswith("is "):
            self.is_file(argument.removeprefix("is "), text)
        elif argument.startswith("printed by "):
            self.shown.append((argument.removeprefix("printed by "), text))
        elif argument.startswith("ends "):
            self.write(self.folder / argument.removeprefix("ends "), text, "a")
        elif language == "sh" and argument == "serves":
            self.serve(text, expected)
        elif language == "sh":
            self.run(text, expected, int(argument.removeprefix("exit code ") or 0))
        else:
            fail(f"the README has a rule that is not known: {rule}")

    def is_file(self, path, text):
        file = self.folder / path
        if file.exists():
            check(file.read_text() == self.at_own_port(text), f"{path} is not what the README shows")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.write(file, text)

    def serve(self, text, expected):
        self.broker = subprocess.Popen(
            bash(f"exec {text}"), cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        compare(text, self.as_shown(self.broker.stdout.readline()), expected)

    def run(self, text, expected, code):
        result = subprocess.run(
            bash(self.at_own_port(text)),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        both = result.stdout + result.stderr
        check(result.returncode == code, f"`{first_line(text)}` ended with code {result.returncode}:\n{both}")
        warning = WARNING.search(both)
        check(not warning, f"`{first_line(text)}` warns: {warning and warning.group()}\n{both}")
        compare(text, self.as_shown(both if code else result.stdout), expected)

    def check_ignored(self):
        """What the README has made in the checkout does not get into a commit."""
        status = self.git("status", "--porcelain").splitlines()
        made = [line for line in status if line.startswith("??")]
        check(not made, f".gitignore lacks what the README makes: {made}")

    def git(self, *arguments):
        return subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def stop(self):
        if self.broker and self.broker.poll() is None:
            self.broker.kill()
            self.broker.wait()

    def write(self, file, text, mode="w"):
        with file.open(mode) as opened:
            opened.write(self.at_own_port(text))
        # A project that is new takes the newest of all packages, which were not built yet and may not work tomorrow.
        if file.name == "Cargo.toml":
            shutil.copy(ROOT / "Cargo.lock", file.with_name("Cargo.lock"))

    def at_own_port(self, text):
        return text.replace(ADDRESS, self.address).replace(HTTP_ADDRESS, next_port(self.address))

    def as_shown(self, text):
        text = text.replace(self.address, ADDRESS).replace(next_port(self.address), HTTP_ADDRESS)
        return text.replace(str(self.folder), FOLDER)


def next_port(address):
    host, port = address.split(":")
    return f"{host}:{int(port) + 1}"


def bash(text):
    return ["bash", "-euo", "pipefail", "-c", text]


def compare(text, printed, expected):
    same = expected is None or TIME.sub("TIME", printed) == TIME.sub("TIME", expected)
    check(same, f"`{first_line(text)}` printed:\n{printed}and not:\n{expected}")
    say(first_line(text))


def first_line(text):
    return text.splitlines()[0]


main()
