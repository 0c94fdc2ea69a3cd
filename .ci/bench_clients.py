"""What a program gets through each client, beside the Rust client: 100 records of 1,000 bytes a request, one request after the
other and 16 at a time, and a follow that reads them. Every record is counted and read back. Go and Java must have half of
Rust's rates. Prints the table of docs/CLIENTS.md.

Usage: bench_clients.py BINARY PYTHON DIR [ROUNDS], on a machine that does nothing else. BINARY is a release build; PYTHON has
grpcio; in DIR, which is made anew, the broker has its data. The client in TypeScript is built.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from broker import Broker, check, say

CLIENTS = pathlib.Path(__file__).resolve().parent.parent / "clients"
SECONDS = 2
LOADS = {"one": "one append after the other", "many": "16 appends at a time", "follow": "follow"}
# What the Rust client does in about as much time.
RUST = {
    "one": ["append", "--requests", "4000"],
    "many": ["append", "--tasks", "16", "--requests", "500"],
    "follow": ["consume", "--consumers", "1", "--bytes", "800MB"],
}


def main():
    binary, python, folder = sys.argv[1], pathlib.Path(sys.argv[2]).absolute(), pathlib.Path(sys.argv[3]).resolve()
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    programs = {"Rust": lambda address: rust(binary, address, folder)} | of_other_languages(python, folder)
    measured = {name: [] for name in programs}
    for number in range(rounds):
        for name, program in programs.items():
            with tempfile.TemporaryDirectory(dir=folder) as data, Broker(binary, pathlib.Path(data, "data")) as broker:
                measured[name].append(program(broker.address))
            say(f"round {number + 1}, {name}: " + ", ".join(f"{load} {measured[name][-1][load]:,.0f}" for load in LOADS))
    medians = {
        name: {load: statistics.median(each[load] for each in rates) for load in LOADS} for name, rates in measured.items()
    }
    shutil.rmtree(folder)
    show(medians)
    for name in "Go", "Java":
        for load, title in LOADS.items():
            ratio = medians[name][load] / medians["Rust"][load]
            check(ratio >= 0.5, f"{name}, {title}: {ratio:.2f} of Rust's rate")


def rust(binary, address, folder):
    rates = {}
    for load, arguments in RUST.items():
        shape = ["--records", "100", "--record-bytes", "1000", "--server", f"http://{address}", "--dir", folder, "--json"]
        output = execute([binary, "bench", *arguments, *shape])
        rates[load] = json.loads(output)["median"]["records_per_second"]
    return rates


def of_other_languages(python, folder):
    execute(["go", "build", "-o", folder / "go", "./bench"], cwd=CLIENTS / "go")
    maven = ["mvn", "--quiet", "--batch-mode", "--file", CLIENTS / "java"]
    execute([*maven, "test-compile", "dependency:copy-dependencies"])
    java = CLIENTS / "java" / "target"
    classes = f"{java}/test-classes:{java}/classes:{java}/dependency/*"
    commands = {
        "Go": [folder / "go"],
        "Java": ["java", "-cp", classes, "dev.taffrail.Bench"],
        "TypeScript": ["node", CLIENTS / "typescript" / "build" / "bench" / "bench.js"],
        "Python, threads": [python, CLIENTS / "python" / "bench.py", "threads"],
        "Python, asyncio": [python, CLIENTS / "python" / "bench.py", "asyncio"],
    }
    return {
        name: lambda address, command=command: json.loads(execute([*command, address, SECONDS]))
        for name, command in commands.items()
    }


def execute(command, **more):
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS / "python"), "GOFLAGS": "-mod=readonly"}
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300, **more)
    check(result.returncode == 0, f"`{command[0]}` ended with code {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def show(medians):
    print("\n| Records a second, and of Rust's | " + " | ".join(LOADS.values()) + " |")
    print("|---|" + "---:|" * len(LOADS))
    for name, rates in medians.items():
        cells = [f"{rates[load]:,.0f} ({rates[load] / medians['Rust'][load]:.2f})" for load in LOADS]
        print(f"| {name} | " + " | ".join(cells) + " |")


main()
