"""Runs what the README shows: its commands in order, and its Python client, as they are written there.

A block that follows the line `<!-- checked -->` is run: `sh` blocks by bash, in a folder that has the repository's
proto/; the `python` block with the stubs generated from there. A `text` block that follows one is what it prints, its
lines in any order, since partitions are read side by side. Two things differ from what a reader does: the binary is on
the PATH already, and the broker has a port of its own.

Usage: check_readme.py BINARY DIR, the latter as .ci/stubs has filled it.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from broker import Broker, check, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^<!-- checked -->\n```(sh|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
DEFAULT_ADDRESS = "127.0.0.1:9640"


def main():
    binary, made = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    languages = [language for language, _, _ in blocks]
    check(languages.count("python") == 1 and languages.count("sh") >= 3, f"the README has other blocks: {languages}")

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "proto").symlink_to(ROOT / "proto")
        (folder / "stubs").symlink_to(made / "stubs")
        with Broker(binary, folder / "data") as broker:
            path = f"{binary.parent}:{made / 'venv' / 'bin'}:{os.environ['PATH']}"
            environment = {**broker.environment(), "PATH": path, "PYTHONPATH": "stubs"}
            for language, code, expected in blocks:
                if language == "python":
                    check_example(code)
                    code = code.replace(DEFAULT_ADDRESS, broker.address)
                run(language, code, expected, folder, environment)


def check_example(code):
    """The client is also a file of its own."""
    example = ROOT / "examples" / "python" / "orders.py"
    check(example.read_text() == code, f"{example} is not what the README shows")
    check(len(code.splitlines()) <= 10, "the README promises ten lines")


def run(language, code, expected, folder, environment):
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else ["python", "-c", code]
    result = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    first = code.splitlines()[0]
    check(result.returncode == 0, f"`{first}` ended with code {result.returncode}:\n{result.stdout}")
    if expected:
        printed = sorted(result.stdout.splitlines())
        check(printed == sorted(expected.splitlines()), f"`{first}` printed:\n{result.stdout}and not:\n{expected}")
    say(f"{language}: {first}")


main()
