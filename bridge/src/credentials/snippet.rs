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
    /// A text that is ready to be pasted. With TLS if the file names no port for plain MQTT.
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

/// Where to connect, and how.
struct Way<'a> {
    port: u16,
    tls: Option<Tls<'a>>,
}

struct Tls<'a> {
    /// PEM; `None` for what the device trusts already.
    ca: Option<&'a str>,
}

impl<'a> Way<'a> {
    fn of(file: &'a CredentialFile) -> Self {
        const DEFAULT_PORT: u16 = 1883;
        match (file.mqtt.port, file.mqtt.tls_port) {
            (None, Some(port)) => Self { port, tls: Some(Tls { ca: file.mqtt.ca.as_deref() }) },
            (port, _) => Self { port: port.unwrap_or(DEFAULT_PORT), tls: None },
        }
    }
}

fn mosquitto(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    let way = Way::of(file);
    let (ca_file, trust) = match &way.tls {
        None => (String::new(), ""),
        Some(Tls { ca: None }) => (String::new(), " --capath /etc/ssl/certs"),
        Some(Tls { ca: Some(ca) }) => {
            (format!("cat > ior-bridge-ca.pem <<'END'\n{ca}END\n"), " --cafile ior-bridge-ca.pem")
        }
    };
    let common = format!(
        "-h {} -p {}{trust} -u {} -P {} -i",
        shell(&login.host),
        way.port,
        shell(&login.username),
        shell(&login.password)
    );
    format!(
        "{ca_file}# {title}: hear {peer}\n\
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
    let way = Way::of(file);
    let (import, ca, tls) = match &way.tls {
        None => ("", String::new(), ""),
        Some(Tls { ca: None }) => {
            ("import ssl\n\n", String::new(), "client.tls_set_context(ssl.create_default_context())\n")
        }
        Some(Tls { ca: Some(ca) }) => (
            "import ssl\n\n",
            format!("CA = \"\"\"\\\n{ca}\"\"\"\n\n"),
            "client.tls_set_context(ssl.create_default_context(cadata=CA))\n",
        ),
    };
    format!(
        r#"# {title}, connected with {peer}. Needs: pip install "paho-mqtt>=2"
{import}import paho.mqtt.client as mqtt

{ca}
def on_connect(client, userdata, flags, reason_code, properties):
    print("connected:", reason_code)
    client.subscribe([({subscribe}, 1), ({presence}, 1)])
    client.publish({publish}, "hello", qos=1)


def on_message(client, userdata, message):
    print(message.topic, message.payload)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id={client_id}, protocol=mqtt.MQTTv5)
client.username_pw_set({username}, {password})
{tls}client.on_connect = on_connect
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
        port = way.port,
    )
}

fn arduino(file: &CredentialFile) -> String {
    let (login, topics) = (&file.mqtt, &file.topics);
    let way = Way::of(file);
    let (include, ca, network, trust) = match &way.tls {
        None => ("", String::new(), "WiFiClient", ""),
        Some(Tls { ca }) => (
            "#include <WiFiClientSecure.h>\n",
            ca_of_c(ca.unwrap_or("the CA that signed the bridge's certificate, in PEM form\n")) + "\n",
            "WiFiClientSecure",
            "  network.setCACert(CA);  // ESP8266: network.setTrustAnchors(new X509List(CA)), and set the clock\n",
        ),
    };
    format!(
        r#"// {title}, connected with {peer}. Needs the library PubSubClient.
#include <PubSubClient.h>
#include <WiFi.h>  // ESP8266: ESP8266WiFi.h
{include}
{ca}const char *WIFI_NAME = "your network";
const char *WIFI_PASSWORD = "its password";

{network} network;
PubSubClient mqtt(network);

void onMessage(char *topic, byte *payload, unsigned int length) {{
  Serial.printf("%s %.*s\n", topic, (int)length, (const char *)payload);
}}

void setup() {{
  Serial.begin(115200);
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
{trust}  mqtt.setServer({host}, {port});
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
        port = way.port,
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
    let way = Way::of(file);
    let (include, ca, transport, trust) = match &way.tls {
        None => ("", String::new(), "MQTT_TRANSPORT_OVER_TCP", ""),
        Some(Tls { ca: None }) => (
            "#include \"esp_crt_bundle.h\"\n",
            String::new(),
            "MQTT_TRANSPORT_OVER_SSL",
            "        .broker.verification.crt_bundle_attach = esp_crt_bundle_attach,\n",
        ),
        Some(Tls { ca: Some(ca) }) => (
            "",
            ca_of_c(ca) + "\n",
            "MQTT_TRANSPORT_OVER_SSL",
            "        .broker.verification.certificate = CA,\n",
        ),
    };
    format!(
        r#"// {title}, connected with {peer}. Call bridge_start() when the network is up.
#include <stdio.h>
#include "mqtt_client.h"
{include}
{ca}static void on_event(void *arg, esp_event_base_t base, int32_t id, void *data) {{
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
        .broker.address.transport = {transport},
{trust}        .credentials.client_id = {client_id},
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
        port = way.port,
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
    let [port, tls_port] = [login.port, login.tls_port].map(|port| port.map(|port| port.to_string()));
    [
        ("MQTT_HOST", Some(&login.host)),
        ("MQTT_PORT", port.as_ref()),
        ("MQTT_TLS_PORT", tls_port.as_ref()),
        ("MQTT_CA", login.ca.as_ref()),
        ("MQTT_CLIENT_ID", Some(&login.client_id)),
        ("MQTT_USERNAME", Some(&login.username)),
        ("MQTT_PASSWORD", Some(&login.password)),
        ("MQTT_PUBLISH", Some(&topics.publish)),
        ("MQTT_SUBSCRIBE", Some(&topics.subscribe)),
        ("MQTT_PRESENCE", Some(&topics.presence)),
        ("MQTT_KEY", Some(&file.key)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}={}\n", shell(value?))))
    .collect()
}

/// A PEM text as a constant of C and C++.
fn ca_of_c(pem: &str) -> String {
    let lines: Vec<_> = pem.lines().map(|line| format!("    \"{line}\\n\"")).collect();
    format!("static const char CA[] =\n{};\n", lines.join("\n"))
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
