use super::{CredentialFile, to_text};

/// How to show credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The credential file.
    Json,
    /// Shell commands for mosquitto's clients.
    Mosquitto,
    /// A Python program with paho-mqtt.
    Paho,
    /// An Arduino sketch with PubSubClient, for an ESP32 or ESP8266.
    Arduino,
    /// C for ESP-IDF's esp-mqtt.
    EspIdf,
    /// Variables for a shell or a service manager.
    Env,
}

impl Format {
    /// A text that is ready to be pasted. Plain MQTT is on port 1883 unless the file says otherwise.
    pub fn render(self, file: &CredentialFile) -> String {
        match self {
            Self::Json => to_text(file),
            Self::Mosquitto => mosquitto(file),
            Self::Paho => paho(file),
            Self::Arduino => arduino(file),
            Self::EspIdf => esp_idf(file),
            Self::Env => env(file),
        }
    }
}

const DEFAULT_PORT: u16 = 1883;

fn mosquitto(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    let common = format!(
        "-h {} -p {} -u {} -P {} -i",
        shell(&login.host),
        port(file),
        shell(&login.username),
        shell(&login.password)
    );
    format!(
        "# {title}: hear {peer}\n\
         mosquitto_sub {common} {sub_id} -V mqttv5 -v -t {subscribe} -t {presence}\n\
         # {title}: say hello\n\
         mosquitto_pub {common} {pub_id} -V mqttv5 -q 1 -t {publish} -m hello\n",
        title = comment(&file.name),
        peer = comment(&file.peer.name),
        sub_id = shell(&format!("{}.sub", login.client_id)),
        pub_id = shell(&format!("{}.pub", login.client_id)),
        subscribe = shell(&topics.subscribe),
        presence = shell(&topics.presence),
        publish = shell(&topics.publish),
    )
}

fn paho(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    format!(
        r#"# {title}, connected with {peer}. Needs: pip install "paho-mqtt>=2"
import paho.mqtt.client as mqtt


def on_connect(client, userdata, flags, reason_code, properties):
    print("connected:", reason_code)
    client.subscribe([({subscribe}, 1), ({presence}, 1)])
    client.publish({publish}, "hello", qos=1)


def on_message(client, userdata, message):
    print(message.topic, message.payload)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id={client_id}, protocol=mqtt.MQTTv5)
client.username_pw_set({username}, {password})
client.on_connect = on_connect
client.on_message = on_message
client.connect({host}, {port})
client.loop_forever()
"#,
        title = comment(&file.name),
        peer = comment(&file.peer.name),
        subscribe = quoted(&topics.subscribe),
        presence = quoted(&topics.presence),
        publish = quoted(&topics.publish),
        client_id = quoted(&login.client_id),
        username = quoted(&login.username),
        password = quoted(&login.password),
        host = quoted(&login.host),
        port = port(file),
    )
}

fn arduino(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    format!(
        r#"// {title}, connected with {peer}. Needs the library PubSubClient.
#include <PubSubClient.h>
#include <WiFi.h>  // ESP8266: ESP8266WiFi.h

const char *WIFI_NAME = "your network";
const char *WIFI_PASSWORD = "its password";

WiFiClient network;
PubSubClient mqtt(network);

void onMessage(char *topic, byte *payload, unsigned int length) {{
  Serial.printf("%s %.*s\n", topic, (int)length, (const char *)payload);
}}

void setup() {{
  Serial.begin(115200);
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
  mqtt.setServer({host}, {port});
  mqtt.setCallback(onMessage);
}}

void loop() {{
  if (!mqtt.connected()) {{
    if (!mqtt.connect({client_id}, {username}, {password})) {{
      delay(2000);
      return;
    }}
    mqtt.subscribe({subscribe}, 1);
    mqtt.subscribe({presence}, 1);
    mqtt.publish({publish}, "hello");
  }}
  mqtt.loop();
}}
"#,
        title = comment(&file.name),
        peer = comment(&file.peer.name),
        host = quoted(&login.host),
        port = port(file),
        client_id = quoted(&login.client_id),
        username = quoted(&login.username),
        password = quoted(&login.password),
        subscribe = quoted(&topics.subscribe),
        presence = quoted(&topics.presence),
        publish = quoted(&topics.publish),
    )
}

fn esp_idf(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    format!(
        r#"// {title}, connected with {peer}. Call bridge_start() when the network is up.
#include <stdio.h>
#include "mqtt_client.h"

static void on_event(void *arg, esp_event_base_t base, int32_t id, void *data) {{
    esp_mqtt_event_handle_t event = data;
    if (id == MQTT_EVENT_CONNECTED) {{
        esp_mqtt_client_subscribe(event->client, {subscribe}, 1);
        esp_mqtt_client_subscribe(event->client, {presence}, 1);
        esp_mqtt_client_publish(event->client, {publish}, "hello", 0, 1, 0);
    }} else if (id == MQTT_EVENT_DATA) {{
        printf("%.*s %.*s\n", event->topic_len, event->topic, event->data_len, event->data);
    }}
}}

void bridge_start(void) {{
    const esp_mqtt_client_config_t config = {{
        .broker.address.hostname = {host},
        .broker.address.port = {port},
        .broker.address.transport = MQTT_TRANSPORT_OVER_TCP,
        .credentials.client_id = {client_id},
        .credentials.username = {username},
        .credentials.authentication.password = {password},
    }};
    esp_mqtt_client_handle_t client = esp_mqtt_client_init(&config);
    esp_mqtt_client_register_event(client, ESP_EVENT_ANY_ID, on_event, NULL);
    esp_mqtt_client_start(client);
}}
"#,
        title = comment(&file.name),
        peer = comment(&file.peer.name),
        host = quoted(&login.host),
        port = port(file),
        client_id = quoted(&login.client_id),
        username = quoted(&login.username),
        password = quoted(&login.password),
        subscribe = quoted(&topics.subscribe),
        presence = quoted(&topics.presence),
        publish = quoted(&topics.publish),
    )
}

fn env(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    let port = port(file).to_string();
    [
        ("MQTT_HOST", &login.host),
        ("MQTT_PORT", &port),
        ("MQTT_CLIENT_ID", &login.client_id),
        ("MQTT_USERNAME", &login.username),
        ("MQTT_PASSWORD", &login.password),
        ("MQTT_PUBLISH", &topics.publish),
        ("MQTT_SUBSCRIBE", &topics.subscribe),
        ("MQTT_PRESENCE", &topics.presence),
        ("MQTT_KEY", &file.key),
    ]
    .map(|(name, value)| format!("{name}={}\n", shell(value)))
    .concat()
}

fn port(file: &CredentialFile) -> u16 {
    file.mqtt.port.unwrap_or(DEFAULT_PORT)
}

/// One word for a POSIX shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A string literal of Python, C and C++. Only the host is free text; the rest has no character to escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Free text for a comment that ends with the line; a `\` would continue a comment of C on the next one.
fn comment(text: &str) -> String {
    text.replace(|c: char| c.is_control() || c == '\\' || c == '\u{2028}' || c == '\u{2029}', " ")
}
