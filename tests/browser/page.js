// Does what the test orders, one thing after the other, and answers each with a value or an error.

const messages = [];
let arrived = () => {};
let client;

const orders = {
  async connect({ url, clientId, username, password, version, clean }) {
    client = mqtt.connect(url, {
      clientId,
      username,
      password,
      clean,
      protocolVersion: version,
      properties: version === 5 ? { sessionExpiryInterval: clean ? 0 : 3600 } : undefined,
      reconnectPeriod: 50,
    });
    client.on("message", (topic, payload, { qos, retain }) => {
      messages.push({ topic, payload: payload.toString(), qos, retain });
      arrived();
    });
    return connected();
  },

  // As a phone does that leaves the network: no DISCONNECT, and MQTT.js comes back by itself.
  async lose() {
    client.stream.destroy();
    return connected();
  },

  async subscribe({ filter, qos }) {
    const [granted] = await client.subscribeAsync(filter, { qos });
    return granted.qos;
  },

  async publish({ topic, payload, qos }) {
    await client.publishAsync(topic, payload, { qos });
  },

  async take() {
    while (messages.length === 0) {
      await new Promise((resolve) => (arrived = resolve));
    }
    return messages.shift();
  },

  async end() {
    await client.endAsync();
  },
};

// Whether the session was present, or why the page did not get in.
function connected() {
  return new Promise((resolve, reject) => {
    client.once("connect", ({ sessionPresent }) => resolve(sessionPresent));
    client.once("error", (error) => {
      client.end(true);
      reject(error);
    });
  });
}

for (;;) {
  const response = await fetch("/order");
  if (!response.ok) break;
  const { order, ...details } = await response.json();
  const answer = await orders[order](details).then(
    (value) => ({ value: value ?? null }),
    (error) => ({ error: String(error) }),
  );
  await fetch("/answer", { method: "POST", body: JSON.stringify(answer) });
}
