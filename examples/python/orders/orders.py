"""A small order service: orders that never sell more than there is, and projections of them.

Usage: python orders.py [HOST:PORT]
"""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from taffrail import Client, Conflict, KeyVersion, Record

TOPIC = "orders"

#: How many pieces of each article there are to sell.
STOCK = {"lamp": 5, "chair": 2}


def order(client: Client, article: str, customer: str) -> bool:
    """Whether there was a piece left for this customer."""
    placed = Record(key=article.encode(), type="ordered", value=customer.encode())
    while True:
        pieces, version = sold(client, article)
        if pieces == STOCK[article]:
            return False
        try:
            # Only if nobody else has ordered the article since it was read.
            client.append(TOPIC, [placed], conditions=[KeyVersion(article.encode(), version)])
            return True
        except Conflict:
            continue  # somebody has: decide again, on what there is now


def sold(client: Client, article: str) -> tuple[int, int]:
    """How many pieces of an article were sold, and its version: an article is an entity, its records the orders."""
    orders = list(client.read_key(TOPIC, article.encode()))
    return len(orders), orders[-1].version or 0 if orders else 0


def project(client: Client, group: str) -> None:
    """Goes on where its group has come to: counts the orders, and thanks for each, once."""
    pieces: Counter[bytes | None] = Counter()
    thanked = 0
    ends = client.describe_topic(TOPIC).partitions
    with client.join(group, [TOPIC]) as member:  # what was handled is committed
        next_offsets = Counter({partition: offset for (_, partition), offset in client.committed(group).items()})
        for end in ends:
            while next_offsets[end.partition] < end.high_watermark:
                placed = next(member)
                if placed.offset < next_offsets[placed.partition]:
                    continue  # it came again, after a break
                next_offsets[placed.partition] = placed.offset + 1
                pieces[placed.key] += 1
                if not placed.replayed:
                    thanked += 1
    print(f"{group}: lamps {pieces[b'lamp']}, chairs {pieces[b'chair']}, thanked {thanked}")


def main() -> None:
    with Client(*sys.argv[1:]) as client:
        client.create_topic(TOPIC, partitions=3)
        with ThreadPoolExecutor(8) as customers:
            served = customers.map(lambda number: order(client, "lamp", f"customer-{number}"), range(8))
        print(f"8 customers want a lamp, {sum(served)} get one")
        project(client, "totals-1")

        order(client, "chair", "alice")
        # Another group reads all orders again, and is told which the first one has handled: it thanks for the rest.
        client.fork_group("totals-1", "totals-2", replay=True)
        project(client, "totals-2")


main()
