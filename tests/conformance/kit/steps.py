"""The steps that scenarios are made of. Those without a dot are commands to the client under test; the others act on what is
around it, and look at it: `broker.`, `proxy.`, `runner.`, and `other.`, a client that is connected to the broker itself.
"""

import itertools
import time

import taffrail

from kit import words
from kit.runner import PATIENCE_SECONDS, Failure
from kit.world import LOOK_SECONDS, until

PREFIXES = itertools.count(1)
# What a command has where the step does not say otherwise.
DEFAULTS = {
    "create_topic": {"partitions": 1},
    "read": {"follow": False},
    "next": {"count": 1},
}
NEEDS_CLIENT = {
    *("create_topic", "describe_topic", "append", "producer", "read", "read_key", "latest", "erase", "join", "committed"),
    "disconnect",
}
NEEDS_TOPIC = {"describe_topic", "append", "producer", "read", "read_key", "latest", "erase"}
# Of a step, and not of the command.
OWN = {"do", "expect", "beside", "retry", "within", "unordered", "values", "bytes", "times", "keys_of", "anonymous"}


class Play:
    """One scenario with one client."""

    def __init__(self, world, runner, start_runner):
        self.world, self.runner, self.start_runner = world, runner, start_runner
        # Names of a scenario are its own, in a process that others use, too.
        self.prefix = f"{next(PREFIXES)}/"
        self.under_way = {}
        self.clients = []

    def run(self):
        steps = self.world.scenario["steps"]
        for at, step in enumerate([{"do": "connect", "as": "main"}, *steps]):
            try:
                self.take(step)
            except (Failure, taffrail.TaffrailError, KeyError, ValueError, TypeError) as error:
                what = f"{type(error).__name__}: {error}" if not isinstance(error, Failure) else str(error)
                raise Failure(f"step {at}, {step['do']}: {what}") from error

    def close(self):
        """Ends what the clients still do, so that it is not beside the next scenario."""
        for client in self.clients:
            self.runner.end(self.runner.begin({"do": "disconnect", "client": client}))

    def take(self, step):
        name = step["do"]
        if "." in name:
            getattr(self, name.replace(".", "_"))(step)
        elif name == "await":
            command, number = self.under_way.pop(step["what"])
            self.check(step, command, self.runner.end(number, step.get("within", PATIENCE_SECONDS)))
        elif "beside" in step:
            command = self.command(step)
            self.under_way[step["beside"]] = (command, self.runner.begin(command))
        else:
            self.ask(step)

    def ask(self, step):
        """Has a command carried out; with `retry` until the broker is there."""
        command = self.command(step)
        answer = self.runner.end(self.runner.begin(command), step.get("within", PATIENCE_SECONDS))
        if step.get("retry"):

            def is_answered():
                nonlocal answer
                if answer.get("error", {}).get("kind") != "unavailable":
                    return True
                answer = self.runner.end(self.runner.begin(command))
                return False

            until(is_answered, f"{step['do']} is answered")
        if step["do"] == "read" and "error" in step.get("expect", {}) and "ok" in answer:
            # A client may ask for the first records with the first of them only.
            command = self.command({"do": "next", "of": step["as"]})
            answer = self.runner.end(self.runner.begin(command))
        self.check(step, command, answer)

    def command(self, step):
        name = step["do"]
        command = {"do": name, **DEFAULTS.get(name, {})}
        command |= {key: value for key, value in step.items() if key not in OWN}
        if name in NEEDS_CLIENT:
            command.setdefault("client", "main")
        if name in NEEDS_TOPIC:
            command.setdefault("topic", "t")
        for key in ("client", "as", "of"):
            if key in command:
                command[key] = self.prefix + command[key]
        if name == "connect":
            command |= self.connection(step)
            self.clients.append(command["as"])
        if name in ("append", "produce"):
            command.pop("key", None)
            command["records"] = [words.to_wire(record) for record in words.records(step)]
        elif "key" in command:
            command["key"] = words.octets(command["key"]).hex()
        if "keys" in command:
            command["keys"] = [words.octets(key).hex() for key in command["keys"]]
        if "conditions" in command:
            command["conditions"] = [condition(each) for each in command["conditions"]]
        if isinstance(command.get("start"), dict):
            command["start"] = {key: str(value) for key, value in command["start"].items()}
        if "from_version" in command:
            command["from_version"] = str(command["from_version"])
        if name == "join":
            command.setdefault("topics", ["t"])
            command.setdefault("group", "g")
        if name == "committed":
            command.setdefault("group", "g")
        if name == "cancel":
            command["what"] = self.under_way[step["what"]][1]
        return command

    def connection(self, step):
        scenario, given = self.world.scenario, {"address": self.world.between.address}
        given |= scenario.get("connect", {})
        if scenario.get("tls"):
            given["ca"] = str(self.world.kit.certificates / "ca.pem")
        if scenario.get("token") and not step.get("anonymous"):
            given["token"] = self.world.token()
        return given

    def check(self, step, command, answer):
        expected = dict(step.get("expect", {}))
        actual = understood(command["do"], answer)
        if "error_in" in expected and actual.get("error") in expected["error_in"]:
            return
        # However a client says that it was told to stop.
        if "ended" in expected and (actual.get("end") or actual.get("error") == "cancelled"):
            return
        if "error" not in expected and "error" in actual:
            told = f"{actual['error']} {actual['reason']}: {actual['message']}"
            raise Failure(f"it fails: {told}")
        if "values" in expected:
            expected["values"] = words.values(expected["values"])
        if step.get("unordered"):
            expected["values"], actual["values"] = sorted(expected["values"]), sorted(actual["values"])
        if found := words.differs(expected, actual):
            raise Failure(found)

    # The broker.

    def broker_kill(self, _):
        self.world.broker.kill()

    def broker_stop(self, _):
        self.world.broker.stop()

    def broker_start(self, _):
        self.world.broker.start()
        self.world.connect_other()

    # What stands between it and the client.

    def proxy_cut(self, _):
        self.world.between.cut()

    def proxy_lose_answers(self, _):
        self.world.between.lose(answers=True)

    def proxy_lose_everything(self, _):
        self.world.between.lose(requests=True, answers=True)

    def proxy_refuse(self, _):
        self.world.between.refuse_connections()

    def proxy_accept(self, _):
        self.world.between.accept_connections()

    def proxy_delay(self, step):
        self.world.between.delay(step["ms"] / 1000)

    def proxy_until_quiet(self, step):
        until(lambda: self.world.between.quiet_seconds() > step["seconds"], "nothing passes the proxy any more")

    def proxy_stays(self, step):
        until = time.monotonic() + step["seconds"]
        while time.monotonic() < until:
            if not self.world.between.connections:
                raise Failure("the connection was cut, because nothing has passed on it for too long")
            time.sleep(LOOK_SECONDS)

    def proxy_expect(self, step):
        proxy = self.world.between
        if "accepted" in step and proxy.accepted != step["accepted"]:
            raise Failure(f"the client has connected {proxy.accepted} times, not {step['accepted']}")
        for name, passed in [("received", proxy.received), ("sent", proxy.sent)]:
            if not step.get(f"{name}_above", -1) < passed < step.get(f"{name}_below", passed + 1):
                raise Failure(f"the client has {name} {passed} bytes")

    # The other client.

    def other_append(self, step):
        records = [
            taffrail.Record(
                key=words.octets(each.get("key", False)), value=words.octets(each["value"]), type=each.get("type", "")
            )
            for each in words.records(step)
        ]
        # An append may have 16 MiB.
        size = max(1, (8 << 20) // max(1, len(records[0].value or b"")))
        for first in range(0, len(records), size):
            self.world.other.append(step.get("topic", "t"), records[first : first + size], partition=step.get("partition"))

    def other_stored(self, step):
        found = [words.text(record.value) for record in self.world.stored(step.get("topic", "t"))]
        expected = words.values(step["values"])
        if step.get("unordered"):
            found, expected = sorted(found), sorted(expected)
        if differs := words.differs(expected, found, "stored "):
            raise Failure(differs)

    def other_until_stored(self, step):
        topic, count = step.get("topic", "t"), step["count"]
        until(lambda: self.world.end(topic) >= count, f"{count} records are stored")

    def other_until_committed(self, step):
        expected = step["offset"]
        until(lambda: self.world.other.committed("g").get(("t", 0)) == expected, f"{expected} is committed")

    def other_until_reads(self, step):
        until(lambda: self.world.metric("taffrail_reads_open") == step["count"], f"the broker has {step['count']} reads")

    def other_join(self, step):
        self.world.members.append(self.world.other.join("g", ["t"], name=step["name"]))

    def other_producer(self, step):
        self.world.other.producer("t", name=step["name"])

    def other_trim(self, step):
        self.world.other.trim("t", 0, step["before"])

    def other_delete_topic(self, step):
        self.world.other.delete_topic(step.get("topic", "t"))

    def other_create_topic(self, step):
        self.world.other.create_topic(step.get("topic", "t"))

    def other_alter_topic(self, step):
        self.world.other.alter_topic(step.get("topic", "t"), step["set"])

    # The program of the client under test.

    def runner_restart(self, _):
        """kill -9, and another one that is connected anew."""
        self.runner.kill()
        self.runner = self.start_runner()
        self.clients = []
        self.take({"do": "connect", "as": "main"})


def condition(given):
    numbers = {key: str(value) for key, value in given.items() if key in ("version", "next_offset")}
    key = {"key": words.octets(given["key"]).hex()} if "key" in given else {}
    return {**given, **numbers, **key}


def understood(name, answer):
    """An answer in the words of the file."""
    if "error" in answer:
        error = answer["error"]
        failed = [[index, words.whole(actual)] for index, actual in error.get("failed", ())]
        defaults = {"reason": "", "message": "", "metadata": {}}
        return {**defaults, **error, "error": error["kind"], "failed": failed}
    ok = dict(answer["ok"])
    if name == "next":
        records = [words.from_wire(each) for each in ok["records"]]
        values = [record["value"] for record in records]
        return {"records": records, "values": values, "sizes": [len(value or "") for value in values], "end": ok["end"]}
    if name == "append":
        for each in ok["ranges"]:
            each["first_offset"] = words.whole(each["first_offset"])
            each["versions"] = [words.whole(version) for version in each["versions"]]
    if name == "describe_topic":
        for each in ok["partitions"]:
            each["earliest"], each["high_watermark"] = words.whole(each["earliest"]), words.whole(each["high_watermark"])
    if name == "latest":
        for each in ok["latest"]:
            each["version"] = words.whole(each["version"])
            each["record"] = words.from_wire(each["record"]) if each["record"] else False
    if name == "committed":
        ok["offsets"] = [[topic, partition, words.whole(at)] for topic, partition, at in ok["offsets"]]
    return ok
