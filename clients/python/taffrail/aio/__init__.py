"""The client for asyncio."""

from taffrail.aio.client import Client
from taffrail.aio.member import Member
from taffrail.aio.producer import Producer
from taffrail.aio.reading import KeyReading, Reading

__all__ = ["Client", "KeyReading", "Member", "Producer", "Reading"]
