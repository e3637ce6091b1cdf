"""subscribe.py HOST PORT CLIENT_ID USERNAME PASSWORD VERSION FILTER QOS clean|persistent

Prints `subscribed`, then `message QOS RETAIN TOPIC HEX` for every message."""

import sys

from session import connect

topic_filter, qos, kind = sys.argv[7:10]


def on_subscribe(client, userdata, mid, reasons, properties):
    if any(reason.is_failure for reason in reasons):
        sys.exit(f"refused: {reasons}")
    print("subscribed", flush=True)


def on_message(client, userdata, message):
    print(f"message {message.qos} {int(message.retain)} {message.topic} {message.payload.hex()}", flush=True)


client = connect(sys.argv[1:7], lambda client: client.subscribe(topic_filter, int(qos)), kind == "persistent")
client.on_subscribe = on_subscribe
client.on_message = on_message
client.loop_forever(retry_first_connection=False)
