#!/usr/bin/env python3
"""An independent Kafka producer for the stories: events by template, or one a line from standard input.

    produce.py --broker 127.0.0.1:9092 batches --key 7 --header ce_type=graded --count 100 --data '{"batch":"7","n":%n}'
    produce.py --broker 127.0.0.1:9092 batches --count 30 --transaction mixed --every 10
    produce.py --broker 127.0.0.1:9092 --lines        {"topic": …, "key": …, "headers": {…}, "value": …} a line

Every record is acknowledged by all in-sync replicas, in order and once (an idempotent producer). Prints what was
delivered as JSON: with --lines a line for each record, else one line at the end.
"""

import argparse
import json
import sys
import time
import uuid

from confluent_kafka import KafkaException, Producer

# How long a record may take, a stop of the broker included. Only turns a hang into a failure.
PATIENCE_SECONDS = 60


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", help="not with --lines")
    parser.add_argument("--broker", required=True, metavar="HOST:PORT")
    parser.add_argument("--lines", action="store_true", help="read records from standard input, until it ends")
    parser.add_argument("--key", help="%%n stands for the event's number")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="%%n as in --key")
    parser.add_argument("--partition", type=int, default=-1, help="default: by key")
    parser.add_argument("--data", default='{"n":%n}', help="the value; %%n as in --key; default: %(default)s")
    parser.add_argument("--tombstone", action="store_true", help="records without a value")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="the first event's number; default: 1")
    parser.add_argument("--rate", type=float, metavar="PER_SECOND", help="default: as fast as it goes")
    parser.add_argument("--transaction", choices=["commit", "abort", "mixed"], help="mixed: every second one is aborted")
    parser.add_argument("--every", type=int, metavar="N", help="records in a transaction; default: all of them")
    given = parser.parse_args()
    if given.lines == bool(given.topic):
        parser.error("either a topic or --lines")
    return given


def producer(given):
    settings = {
        "bootstrap.servers": given.broker,
        "enable.idempotence": True,
        "delivery.timeout.ms": PATIENCE_SECONDS * 1000,
        "linger.ms": 0 if given.lines else 5,
        # A broker that is started again is to be found again at once.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        # New partitions are to be known soon.
        "topic.metadata.refresh.interval.ms": 500,
    }
    if given.transaction:
        settings["transactional.id"] = f"stories-{uuid.uuid4()}"
    return Producer(settings)


def lines(kafka):
    """One record a line; the answer to each is a line, in the order in which they were delivered."""
    failed = []

    def delivered(number):
        def tell(error, message):
            if error is not None:
                failed.append(error)
                print(json.dumps({"line": number, "error": str(error)}), flush=True)
                return
            place = {"line": number, "partition": message.partition(), "offset": message.offset()}
            print(json.dumps(place), flush=True)

        return tell

    for number, line in enumerate(sys.stdin, 1):
        record = json.loads(line)
        value = record.get("value")
        try:
            kafka.produce(
                record["topic"],
                # Data that is not text already is sent as compact JSON.
                value=value if value is None or isinstance(value, str) else json.dumps(value, separators=(",", ":")),
                key=record.get("key"),
                headers=record.get("headers"),
                partition=record.get("partition", -1),
                on_delivery=delivered(number),
            )
        except KafkaException as error:
            # Such as a partition that is not known (yet).
            delivered(number)(error, None)
        # The next line may be long in coming, and somebody waits for this answer.
        kafka.flush(PATIENCE_SECONDS)
    return 1 if failed else 0


def events(kafka, given):
    """The events of the template; the summary counts what a reader of committed records gets to see."""
    places, failed = [], []

    def delivered(error, message):
        if error is not None:
            failed.append(str(error))
        else:
            places.append((message.partition(), message.offset()))

    if given.transaction:
        kafka.init_transactions(PATIENCE_SECONDS)
    every = given.every or given.count
    aborted = 0
    begun = time.monotonic()
    for index in range(given.count):
        if given.transaction and index % every == 0:
            kafka.begin_transaction()
        number = str(given.first + index)
        kafka.produce(
            given.topic,
            value=None if given.tombstone else given.data.replace("%n", number),
            key=None if given.key is None else given.key.replace("%n", number),
            headers=[tuple(header.replace("%n", number).split("=", 1)) for header in given.header],
            partition=given.partition,
            on_delivery=delivered,
        )
        kafka.poll(0)
        last = index % every == every - 1 or index == given.count - 1
        if given.transaction and last:
            # What is aborted has to be in the log first, or there would be nothing to be hidden.
            kafka.flush(PATIENCE_SECONDS)
            if given.transaction == "abort" or (given.transaction == "mixed" and index // every % 2 == 1):
                kafka.abort_transaction(PATIENCE_SECONDS)
                aborted += index % every + 1
            else:
                kafka.commit_transaction(PATIENCE_SECONDS)
        if given.rate:
            time.sleep(max(0.0, begun + (index + 1) / given.rate - time.monotonic()))
    left = kafka.flush(PATIENCE_SECONDS)
    newest = {}
    for partition, offset in places:
        newest[partition] = max(offset, newest.get(partition, -1))
    print(json.dumps({"delivered": len(places), "aborted": aborted, "newest": newest, "errors": sorted(set(failed))}))
    return 1 if failed or left else 0


def main():
    given = arguments()
    try:
        kafka = producer(given)
        return lines(kafka) if given.lines else events(kafka, given)
    except KafkaException as error:
        print(f"produce.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
