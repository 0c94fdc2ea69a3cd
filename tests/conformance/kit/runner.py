"""A program that carries out commands with one client: see the README for what is said to it, and what it answers."""

import json
import subprocess
import threading

# For how long a scenario waits for something before it fails; none passes because of it.
PATIENCE_SECONDS = 90


class Failure(Exception):
    """A scenario has not gone as it should."""


class Runner:
    """One process; any number of scenarios may use it at the same time."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.changed = threading.Condition()
        self.sent = 0
        self.answers = {}
        self.has_ended = False
        threading.Thread(target=self.read, daemon=True).start()

    def begin(self, command):
        """Sends a command; its number."""
        with self.changed:
            self.sent += 1
            number = self.sent
            try:
                self.process.stdin.write(json.dumps({"id": number, **command}) + "\n")
                self.process.stdin.flush()
            except OSError as error:
                raise Failure(f"the runner has ended with code {self.process.poll()}") from error
        return number

    def end(self, number, patience=PATIENCE_SECONDS):
        """Waits for the answer to a command."""
        with self.changed:
            self.changed.wait_for(lambda: number in self.answers or self.has_ended, patience)
            if number in self.answers:
                return self.answers.pop(number)
            if self.has_ended:
                raise Failure(f"the runner has ended with code {self.process.wait()}")
        raise Failure(f"no answer within {patience} s")

    def read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            with self.changed:
                self.answers[answer["id"]] = answer
                self.changed.notify_all()
        with self.changed:
            self.has_ended = True
            self.changed.notify_all()

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        self.kill()
