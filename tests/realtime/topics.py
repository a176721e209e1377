#!/usr/bin/env python3
"""Makes the topics of a list, all in one go: lines of `NAME PARTITIONS [KEY=VALUE]...`.

    topics.py 127.0.0.1:9092 topics.txt
"""

import pathlib
import sys

from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_SECONDS = 30


def main():
    broker, path = sys.argv[1:]
    topics = []
    for line in pathlib.Path(path).read_text().splitlines():
        name, partitions, *settings = line.split()
        topics.append(NewTopic(name, int(partitions), 1, config=dict(setting.split("=", 1) for setting in settings)))
    # Kept until the end: a client that is collected takes its requests along.
    admin = AdminClient({"bootstrap.servers": broker})
    for made in admin.create_topics(topics, operation_timeout=PATIENCE_SECONDS).values():
        made.result(PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
