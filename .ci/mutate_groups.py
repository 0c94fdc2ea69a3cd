"""Shows that the chaos of consumer groups finds what it is there for: takes out one rule at a time, and expects the tests to
fail. Builds the library's tests once for each, so it is no part of `.ci/run`; run it after changes of groups or of the chaos.

Usage: mutate_groups.py [NAME ...], from anywhere in the repository, with all that is to be tried committed.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = "broker::tests::groups::chaos"

# By what each takes out: a file, what it says, and what it says without the rule.
MUTATIONS = {
    "fencing": (
        "src/catalog/groups/offsets.rs",
        "if !owned.is_some_and(is_its_own) {",
        "if owned.is_none() && !owned.is_some_and(is_its_own) {",
    ),
    "draining": (
        "src/catalog/groups/decide.rs",
        """            if target.get(&place) != Some(&has.owner) && !is_away(has.owner) {
                let is_draining = true;
                owned.insert(
                    place,
                    Some(Owned {
                        is_draining,
                        ..*has
                    }),
                );""",
        """            if let Some(&owner) = target.get(&place) && owner != has.owner && !is_away(has.owner) {
                let (since, is_draining) = (change.generation, false);
                owned.insert(place, Some(Owned { owner, since, is_draining }));""",
    ),
    "waiting for the owner": (
        "src/catalog/groups/waits.rs",
        "let over = self.away.iter().filter(|(_, until)| **until <= now);",
        "let over = self.away.iter().filter(|(_, until)| **until <= now + Duration::from_secs(5));",
    ),
    "the session's end": (
        "src/catalog/groups/waits.rs",
        "let over = self.away.iter().filter(|(_, until)| **until <= now);",
        "let over = self.away.iter().filter(|(_, until)| **until + Duration::from_secs(5) <= now);",
    ),
    "syncs": (
        "src/broker/commit.rs",
        "match journal.write(&entries, sync) {",
        "match journal.write(&entries, sync && entries.len() > 1) {",
    ),
}


def main():
    names = sys.argv[1:] or list(MUTATIONS)
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch, "tree")
        git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            survived = [name for name in names if not is_found(tree, name)]
        finally:
            git("worktree", "remove", "--force", str(tree))
    if survived:
        sys.exit(f"nobody misses {', '.join(survived)}")


def is_found(tree, name):
    path, rule, without = MUTATIONS[name]
    file = tree / path
    text = file.read_text()
    if text.count(rule) != 1:
        sys.exit(f"{path} does not have what {name!r} takes out; bring this script up to date")
    file.write_text(text.replace(rule, without))
    cargo = os.environ.get("CARGO", "cargo").split()
    # A directory of its own: cargo would take what is built here for what the repository's own files become.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "mutations")}
    built = subprocess.run([*cargo, "test", "--lib", "--no-run"], cwd=tree, env=environment)
    if built.returncode:
        sys.exit(f"without {name} it does not build")
    tests = subprocess.run([*cargo, "test", "--lib", TESTS], cwd=tree, env=environment, capture_output=True, text=True)
    file.write_text(text)
    lines = (tests.stdout + tests.stderr).splitlines()
    says = next((line for line in lines if line.startswith("failed with seed")), "")
    print(f"without {name}: {'failed, ' + says if tests.returncode else 'passed'}", flush=True)
    return tests.returncode != 0


def git(*arguments):
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)


main()
