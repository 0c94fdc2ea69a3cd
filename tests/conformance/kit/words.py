"""How the file of scenarios writes records, and what a runner is sent and answers for them."""

import re

SEQUENCE = re.compile(r"(\d+)\.\.(\d+)")
# What fills a value that is given by its size.
FILLING = "0123456789abcdef"


def octets(text):
    """Bytes: a text, `hex:00ff`, or false for what is not there."""
    if text is False:
        return None
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def text(data):
    """The other way round."""
    if data is None:
        return False
    try:
        shown = data.decode()
    except UnicodeDecodeError:
        return f"hex:{data.hex()}"
    return shown if all(c.isprintable() for c in shown) else f"hex:{data.hex()}"


def values(given):
    """A list of values; `1..4` stands for 1, 2 and 3 of it."""
    if isinstance(given, list):
        return given
    first, end = SEQUENCE.fullmatch(given).groups()
    return [str(number) for number in range(int(first), int(end))]


def records(step):
    """The records of a step: `values`, with one `key`, or with `keys_of` so many of them in turn; `bytes`, one of this size,
    or as many as `times` says; or `records`."""
    if "bytes" in step:
        step = {**step, "values": [(FILLING * (step["bytes"] // 16 + 1))[: step["bytes"]]] * step.get("times", 1)}
    if "values" in step:
        own = {"key": step["key"]} if "key" in step else {}
        if "keys_of" in step:
            return [{"key": str(int(value) % step["keys_of"]), "value": value} for value in values(step["values"])]
        return [{**own, "value": value} for value in values(step["values"])]
    return step["records"]


def to_wire(record):
    """A record as a runner is sent it."""
    wire = {name: record[name] for name in ("type",) if name in record}
    for name in ("key", "value", "event_id"):
        if record.get(name, False) is not False:
            wire[name] = octets(record[name]).hex()
    if "headers" in record:
        wire["headers"] = [[name, octets(value).hex()] for name, value in record["headers"]]
    if "timestamp_ms" in record:
        wire["timestamp_ms"] = str(record["timestamp_ms"])
    return wire


def from_wire(wire):
    """A record as a runner has answered with it, in the words of the file."""
    record = dict(wire)
    for name in ("key", "value", "event_id"):
        record[name] = text(None if wire[name] is None else bytes.fromhex(wire[name]))
    record["headers"] = [[name, text(bytes.fromhex(value))] for name, value in wire["headers"]]
    for name in ("offset", "timestamp_ms", "version"):
        record[name] = False if wire[name] is None else whole(wire[name])
    return record


def whole(number):
    """A 64-bit number, which is a text so that no reader of JSON rounds it."""
    if not isinstance(number, str):
        raise TypeError(f"{number!r} is not the text of a number")
    return int(number)


def differs(expected, actual, where=""):
    """What is not as expected: every member that is named must be as it says; None if all are."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name, value in expected.items():
            if name not in actual:
                return f"{where}{name} is not there"
            if found := differs(value, actual[name], f"{where}{name}."):
                return found
        return None
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual))
        return next((found for at, (a, b) in pairs if (found := differs(a, b, f"{where}{at}."))), None)
    if expected == actual and type(expected) is type(actual):
        return None
    return f"{where.rstrip('.')} is {shortened(actual)}, not {shortened(expected)}"


def shortened(value):
    shown = repr(value)
    return shown if len(shown) <= 300 else f"{shown[:300]}... ({len(shown)} characters)"
