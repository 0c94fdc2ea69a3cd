"""Shows that the chaos of consumer groups finds what it is there for: takes out one rule at a time, and expects the tests to
fail. Builds the library's tests once more, with all rules in a form that can be taken out, so it is no part of `.ci/run`; run
it after changes of groups or of the chaos.

Usage: mutate_groups.py [NAME ...], from anywhere in the repository, with all that is to be tried committed. CARGO names the
command that builds. With --check nothing is built: it fails if the source does not have a rule any more as it stands here.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = "broker::tests::groups::chaos"

# By what each takes out: a file, what it says, and what it says where IS_OUT.
MUTATIONS = {
    "fencing": (
        "src/catalog/groups/offsets.rs",
        "if !owned.is_some_and(is_its_own) {",
        "if !owned.is_some_and(is_its_own) && !IS_OUT {",
    ),
    "draining": (
        "src/catalog/groups/decide.rs",
        "                let is_draining = true;\n",
        """                if IS_OUT && let Some(&owner) = target.get(&place) {
                    let (since, is_draining) = (change.generation, false);
                    owned.insert(place, Some(Owned { owner, since, is_draining }));
                    continue;
                }
                let is_draining = true;
""",
    ),
    "waiting for the owner": (
        "src/catalog/groups/waits.rs",
        "let over = self.draining.iter().filter(|(_, until)| **until <= now);",
        "let over = self.draining.iter().filter(|(_, until)| **until <= now || IS_OUT);",
    ),
    "the session's time": (
        "src/catalog/groups/waits.rs",
        "let over = self.away.iter().filter(|(_, until)| **until <= now);",
        "let over = self.away.iter().filter(|(_, until)| **until <= now || IS_OUT);",
    ),
    "its end": (
        "src/catalog/groups/waits.rs",
        "self.away.entry(id).or_insert(until);",
        "self.away.entry(id).or_insert(if IS_OUT { until + Duration::from_secs(5) } else { until });",
    ),
    "syncs": (
        "src/broker/commit.rs",
        "match journal.write(&mut entries, sync) {",
        "match journal.write(&mut entries, sync && !IS_OUT) {",
    ),
}


def main():
    if sys.argv[1:] == ["--check"]:
        for name in MUTATIONS:
            mutated(ROOT, name)
        print(f"   all {len(MUTATIONS)} rules are in the source as mutate_groups.py takes them out")
        return
    names = sys.argv[1:] or list(MUTATIONS)
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch, "tree")
        git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            for name in MUTATIONS:
                file, text = mutated(tree, name)
                file.write_text(text)
            tests = build(tree)
        finally:
            git("worktree", "remove", "--force", str(tree))
    if run(tests, ""):
        sys.exit("the tests fail with all rules")
    survived = [name for name in names if not run(tests, name)]
    if survived:
        sys.exit(f"nobody misses {', '.join(survived)}")


def mutated(tree, name):
    """A file, and its text with a rule that can be taken out."""
    path, rule, without = MUTATIONS[name]
    file = tree / path
    text = file.read_text()
    if text.count(rule) != 1:
        sys.exit(f"{path} does not have what {name!r} takes out; bring this script up to date")
    is_out = f'(std::env::var("WITHOUT").as_deref() == Ok("{name}"))'
    return file, text.replace(rule, without.replace("IS_OUT", is_out))


def build(tree):
    """The executable of the tests."""
    cargo = os.environ.get("CARGO", "cargo").split()
    # A directory of its own: cargo would take what is built here for what the repository's own files become.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "mutations")}
    command = [*cargo, "test", "--lib", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit("it does not build")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    return next(message["executable"] for message in messages if message.get("executable"))


def run(tests, name):
    """Whether they fail without this."""
    environment = {**os.environ, "WITHOUT": name}
    ran = subprocess.run([tests, TESTS], env=environment, capture_output=True, text=True, cwd=ROOT)
    lines = (ran.stdout + ran.stderr).splitlines()
    seed = next((line for line in lines if line.startswith("failed with seed")), "passed")
    print(f"without {name or 'anything'}: {seed}", flush=True)
    return ran.returncode != 0


def git(*arguments):
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)


main()
