"""A broker's metrics, its dashboard and its rules, read with Prometheus' own packages.

Usage: check_metrics.py BINARY DIR. DIR is made anew; go is on the PATH.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from broker import Broker, check, free_port, say

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    binary, scratch = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    program = scratch / "prometheus"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    source = ROOT / ".ci" / "prometheus"
    subprocess.run(["go", "build", "-o", program, "."], cwd=source, env=environment, check=True)
    dashboard, rules = scratch / "dashboard.json", scratch / "rules.yml"
    dashboard.write_bytes(subprocess.run([binary, "dashboard"], check=True, stdout=subprocess.PIPE).stdout)
    rules.write_bytes(subprocess.run([binary, "dashboard", "--alerts"], check=True, stdout=subprocess.PIPE).stdout)

    http = f"127.0.0.1:{free_port()}"
    with Broker(binary, scratch / "data", flags=("--http-listen", http)) as broker:
        use(broker)
        for url in (f"http://{http}/metrics", f"http://{http}/metrics?partitions=orders"):
            least = "100" if url.endswith("/metrics") else "1"
            code = subprocess.run([program, url, least, dashboard, rules]).returncode
            check(code == 0, f"{url}: ended with code {code}")
            say(url.replace(http, "ADDRESS"))
        broker.stop()


def use(broker):
    """Something of everything that is counted by topic, by group or by reason."""
    broker.run("topic", "create", "orders", "--partitions", "3")
    lines = "".join(f'{{"order":"{n}"}}\n' for n in range(1_000)).encode()
    produce = broker.command("produce", "orders", "--key-field", "order")
    check(subprocess.run(produce, input=lines).returncode == 0, "produce failed")
    broker.run("consume", "orders", "--group", "billing")
    conflict = broker.command("produce", "orders", "--key", "1", "--expect-version", "7")
    code = subprocess.run(conflict, input=b"again\n", stderr=subprocess.DEVNULL).returncode
    check(code == 3, f"a conflict ended with code {code}")


main()
