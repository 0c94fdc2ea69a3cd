"""The client for threads."""

from taffrail.sync.cancellation import Cancellation
from taffrail.sync.client import Client
from taffrail.sync.member import Member
from taffrail.sync.producer import Producer
from taffrail.sync.reading import KeyReading, Reading

__all__ = ["Cancellation", "Client", "KeyReading", "Member", "Producer", "Reading"]
