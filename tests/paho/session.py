"""What both scripts share: a client that is connected, or the reason why it is not."""

import os
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def connect(arguments, on_connect, persistent=False):
    host, port, client_id, username, password, version = arguments
    version = int(version)
    options = {} if version == mqtt.MQTTv5 else {"clean_session": not persistent}
    transport = os.environ.get("IOR_PAHO_TRANSPORT", "tcp")
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, transport=transport, **options
    )
    client.username_pw_set(username, password)
    if "IOR_PAHO_CA" in os.environ:
        client.tls_set(os.environ["IOR_PAHO_CA"])
    client.max_inflight_messages_set(20)

    def connected(client, userdata, flags, reason, properties):
        if reason.is_failure:
            sys.exit(f"refused: {reason}")
        on_connect(client)

    client.on_connect = connected
    if version == mqtt.MQTTv5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if persistent else 0
        client.connect(host, int(port), clean_start=not persistent, properties=properties)
    else:
        client.connect(host, int(port))
    return client
