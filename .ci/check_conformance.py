"""The clients behave alike, also when the network and the broker do not: every scenario of tests/conformance/scenarios.toml
with every client. The table of what came of it stands in docs/CLIENTS.md.

Usage: check_conformance.py [--write] [--only TEXT] [--client NAME] BINARY EXAMPLES DIR, run by a Python that has grpcio.
EXAMPLES is the folder with the examples of Rust; DIR gets what is built. The clients are those that .ci/check_*_client have
built. With --write the table is written; without, it must be the same.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
KIT = ROOT / "tests" / "conformance"
PAGE = ROOT / "docs" / "CLIENTS.md"
BEGIN, END = "<!-- conformance: made by .ci/check_conformance.py -->", "<!-- conformance: end -->"

sys.path[:0] = [str(KIT), str(ROOT / "clients" / "python")]

from broker import fail, say  # noqa: E402
from kit.runner import Failure, Runner  # noqa: E402
from kit.steps import Play  # noqa: E402
from kit.world import World  # noqa: E402


class Kit:
    """What all scenarios share."""

    def __init__(self, arguments):
        self.binary = arguments.binary
        self.examples = arguments.examples.resolve()
        self.folder = arguments.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificates = self.folder / "certificates"
        subprocess.run([self.examples / "certificates", self.certificates], check=True)


def python(_):
    return {f"Python, {style}": [sys.executable, KIT / "runners/python/runner.py", style] for style in ("threads", "asyncio")}


def go(kit):
    program = kit.folder / "runner-in-go"
    build = ["go", "build", "-mod=readonly", "-o", program, "."]
    subprocess.run(build, cwd=KIT / "runners/go", check=True)
    return {"Go": [program]}


def java(kit):
    """None where there is no JDK, or no Maven."""
    if not shutil.which("javac") or not shutil.which("mvn"):
        return say("SKIPPED: the conformance of the Java client: there is no JDK, or no Maven")
    project, listed, classes = ROOT / "clients/java", kit.folder / "classpath", kit.folder / "runner-in-java"
    quietly = ["mvn", "--batch-mode", "--no-transfer-progress", "--quiet"]
    build = [*quietly, "compile", "dependency:build-classpath", "-DincludeScope=runtime", f"-Dmdep.outputFile={listed}"]
    subprocess.run(build, cwd=project, check=True)
    classpath = f"{classes}:{project}/target/classes:{listed.read_text().strip()}"
    subprocess.run(["javac", "-d", classes, "-cp", classpath, KIT / "runners/java/Runner.java"], check=True)
    return {"Java": ["java", "-XX:TieredStopAtLevel=1", "-cp", classpath, "Runner"]}


def typescript(_):
    return {"TypeScript": ["node", KIT / "runners/typescript/runner.mjs"]}


def rust(kit):
    return {"Rust": [kit.examples / "conformance"]}


# By how the names of their clients begin.
LANGUAGES = {"Rust": rust, "Go": go, "Java": java, "Python": python, "TypeScript": typescript}


class Lane(threading.Thread):
    """Plays scenarios with one client, one after the other."""

    def __init__(self, kit, client, command, scenarios, results):
        super().__init__(daemon=True)
        self.kit, self.client, self.command = kit, client, command
        self.scenarios, self.results = scenarios, results

    def run(self):
        runner = Runner(self.command)
        for scenario in self.scenarios:
            started = time.monotonic()
            self.results[self.client, scenario["name"]] = outcome = self.play(scenario, runner)
            say(f"{time.monotonic() - started:5.1f} s  {self.client}: {scenario['name']}: {outcome or 'passed'}")
            if outcome and runner.process.poll() is not None:
                runner = Runner(self.command)
        runner.close()

    def play(self, scenario, runner):
        """None if it passes; else what is wrong."""
        outcome = None
        has_own = scenario.get("own_program", False)
        with tempfile.TemporaryDirectory(prefix="taffrail-") as folder:
            try:
                with World(self.kit, scenario, folder) as world:
                    play = Play(world, Runner(self.command) if has_own else runner, lambda: Runner(self.command))
                    try:
                        play.run()
                        play.close()
                    finally:
                        if has_own:
                            play.runner.close()
            except Failure as failure:
                outcome = str(failure)
            # It fails this scenario, and no other.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                outcome = f"{type(error).__name__}: {error}"
        return outcome


def play_all(kit, clients, scenarios):
    """Slow scenarios, which wait for most of their time, go beside the others."""
    results, lanes = {}, []
    for client, command in clients.items():
        slow = [[each] for each in scenarios if each.get("slow")]
        quick = [each for each in scenarios if not each.get("slow")]
        lanes += [Lane(kit, client, list(map(str, command)), part, results) for part in [*slow, quick] if part]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return results


def judged(scenarios, clients, results):
    """What is wrong: a scenario that fails and is not excused, or that passes though it is."""
    wrong = []
    for scenario in scenarios:
        for client in clients:
            failure, excuse = results[client, scenario["name"]], excused(scenario, client)
            if failure and not excuse:
                wrong.append(f"{client}: {scenario['name']}: {failure}")
            if excuse and not failure:
                wrong.append(f"{client}: {scenario['name']}: it passes, and is excused all the same")
    return wrong


def excused(scenario, client):
    return scenario.get("excused", {}).get(client)


def table(scenarios, clients):
    """Scenario by client; below it why a client does not pass, and what to do instead."""
    lines = [f"| | {' | '.join(clients)} |", f"|---|{'---|' * len(clients)}"]
    notes = []
    for scenario in scenarios:
        cells = []
        for client in clients:
            excuse = excused(scenario, client)
            if excuse and excuse not in notes:
                notes.append(excuse)
            cells.append(f"no ({notes.index(excuse) + 1})" if excuse else "yes")
        lines.append(f"| {scenario['name']} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))] if notes else []
    return "\n".join(lines)


def check_page(made, is_written):
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    there, after = rest.split(END)
    if is_written:
        PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")
    elif there.strip() != made:
        fail("the table in docs/CLIENTS.md is not what this run has made: run .ci/check_conformance.py --write")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="scenarios whose names have this")
    parser.add_argument("--client", default="", help="clients whose names have this")
    for name in ("binary", "examples", "folder"):
        parser.add_argument(name, type=pathlib.Path)
    arguments = parser.parse_args()
    kit = Kit(arguments)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    all_scenarios = tomllib.loads((KIT / "scenarios.toml").read_text())["scenario"]
    scenarios = [each for each in all_scenarios if arguments.only in each["name"]]
    clients, skipped = {}, []
    for language, prepare in LANGUAGES.items():
        if arguments.client.startswith(language) or language.startswith(arguments.client):
            prepared = prepare(kit)
            if prepared is None:
                skipped.append(language)
            clients |= {name: command for name, command in (prepared or {}).items() if arguments.client in name}
    wrong = judged(scenarios, clients, play_all(kit, clients, scenarios))
    for each in wrong:
        say(each)
    if wrong:
        fail(f"{len(wrong)} of {len(scenarios) * len(clients)} are not as they should be")
    if scenarios == all_scenarios and not arguments.client and not skipped:
        check_page(table(all_scenarios, list(clients)), arguments.write)
    say(f"{len(scenarios)} scenarios with {len(clients)} clients")


main()
