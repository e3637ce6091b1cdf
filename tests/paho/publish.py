"""publish.py HOST PORT CLIENT_ID USERNAME PASSWORD VERSION TOPIC QOS

Publishes every line of its input, which is hexadecimal, and ends when all handshakes are complete."""

import sys
import threading

from session import connect

topic, qos = sys.argv[7:9]
ready = threading.Event()
client = connect(sys.argv[1:7], lambda client: ready.set())
client.loop_start()
if not ready.wait(5):
    sys.exit("not connected")
sent = [client.publish(topic, bytes.fromhex(line.strip()), int(qos)) for line in sys.stdin]
for message in sent:
    message.wait_for_publish(20)
    if not message.is_published():
        sys.exit("not acknowledged")
client.disconnect()
client.loop_stop()
