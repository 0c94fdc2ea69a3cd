"""The order service of examples/ with each client, on a broker of its own: all print what examples/README.md says, and
a projection that is run again goes on where it had come to.

Usage: check_examples.py BINARY PYTHON DIR, with a Python that has grpcio. DIR is made anew. In clients/typescript `npm ci`
has been run. Java is left out where there is no Maven.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from broker import Broker, check, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES, CLIENTS = ROOT / "examples", ROOT / "clients"
MOST_LINES = 119


def main():
    binary, python, scratch = sys.argv[1], pathlib.Path(sys.argv[2]).absolute(), pathlib.Path(sys.argv[3]).resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    (expected,) = re.findall(r"^```text\n(.*?)^```\n", (EXAMPLES / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    for language, source, prepare, run in languages(python):
        lines = len((EXAMPLES / language / "orders" / source).read_text().splitlines())
        check(lines <= MOST_LINES, f"examples/{language}/orders/{source} has {lines} lines")
        if not shutil.which(run("")[0]):
            say(f"SKIPPED: the example in {language}: there is no {run('')[0]}")
            continue
        folder = EXAMPLES / language / "orders"
        printed = started(binary, scratch / language, folder, prepare, run)
        check(printed == expected, f"the example in {language} printed:\n{printed}and not:\n{expected}")
        again = projecting_again(scratch / "again", folder, source)
        printed = started(binary, scratch / f"{language}-again", again, prepare[-1:], run)
        more = expected + "totals-2: lamps 0, chairs 0, thanked 0\n"
        check(printed == more, f"with its projection run again {language} printed:\n{printed}and not:\n{more}")
        say(f"{language}: {lines} lines")


def projecting_again(tree, folder, source):
    """A copy of the example, in a tree like that of the repository, that runs its last projection twice."""
    copy = tree / folder.relative_to(ROOT)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("node_modules", "build", "target"))
    if not (tree / "clients").exists():
        (tree / "clients").symlink_to(CLIENTS)
    text = (copy / source).read_text()
    (last,) = re.findall(r"^.*\bproject\(.*\"totals-2\"\).*\n", text, re.MULTILINE)
    (copy / source).write_text(text.replace(last, last + last))
    return copy


def started(binary, data_dir, folder, prepare, run):
    """What the example prints on a broker of its own."""
    for command in prepare:
        execute(command, folder)
    with Broker(binary, data_dir) as broker:
        printed = execute(run(broker.address), folder)
        broker.stop()
    return printed


def languages(python):
    """Name, source, what is done before, and how it is run, in the example's folder."""
    yield "python", "orders.py", [], lambda address: [str(python), "orders.py", address]
    yield "go", "main.go", [], lambda address: ["go", "run", ".", address]
    maven = ["mvn", "--quiet", "--batch-mode"]
    yield (
        "java",
        "src/main/java/Orders.java",
        [[*maven, "--file", str(CLIENTS / "java"), "install", "-DskipTests"], [*maven, "compile"]],
        lambda address: [*maven, "exec:java", f"-Dexec.args={address}"],
    )
    npm = ["npm", "--silent"]
    yield (
        "typescript",
        "orders.ts",
        [[*npm, "run", "prepack", "--prefix", str(CLIENTS / "typescript")], [*npm, "install", "--no-package-lock"]],
        lambda address: [*npm, "start", "--", address],
    )


def execute(command, folder):
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS / "python"), "GOFLAGS": "-mod=readonly"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    both = result.stdout + result.stderr
    check(result.returncode == 0, f"`{' '.join(command)}` ended with code {result.returncode}:\n{both}")
    # Maven sets colours back, also where it has set none.
    return result.stdout.replace("\x1b[0m", "")


main()
