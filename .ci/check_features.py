"""What each set of features makes a user compile is what the README says, and the client stays light.

Usage: check_features.py
"""

import pathlib
import re
import subprocess

from broker import check, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A row such as: | `default-features = false, features = ["client"]` | ... | 108 |
ROW = re.compile(r"^\| `(default-features = false, features = \[\"(\w+)\"\]|default)` \|.*\| (\d+) \|$", re.MULTILINE)
MOST_OF_CLIENT = 110
# They are what the client is without.
NOT_OF_CLIENT = {"clap", "memmap2", "toml", "axum", "tonic-reflection", "zstd", "prometheus-client"}


def crates(feature):
    """The packages that a user compiles, with those that only the build needs."""
    flags = ["--no-default-features", "--features", feature] if feature else []
    command = ["cargo", "tree", "--locked", "--edges", "no-dev", "--prefix", "none", *flags]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.removesuffix(" (*)") for line in lines if line}


def main():
    rows = ROW.findall((ROOT / "README.md").read_text())
    features = [feature for _, feature, _ in rows]
    check(features == ["client", "testing", ""], f"the README says how many crates there are for {features}")
    for _, feature, count in rows:
        found = crates(feature)
        what = feature or "default"
        check(len(found) == int(count), f"{what}: {len(found)} crates, and the README says {count}")
        say(f"{what}: {count} crates")
    client = crates("client")
    check(len(client) <= MOST_OF_CLIENT, f"the client compiles {len(client)} crates")
    found = {line.split()[0] for line in client} & NOT_OF_CLIENT
    check(not found, f"the client compiles {sorted(found)}")


main()
