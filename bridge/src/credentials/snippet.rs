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
    /// An Arduino sketch with PubSubClient, for an ESP32.
    Arduino,
    /// C for ESP-IDF's esp-mqtt.
    EspIdf,
    /// Variables for a shell or a service manager.
    Env,
}

impl Format {
    /// What it is for, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Json => "Credential file",
            Self::Mosquitto => "mosquitto clients",
            Self::Paho => "Python with paho-mqtt",
            Self::Arduino => "Arduino with PubSubClient (ESP32)",
            Self::EspIdf => "C with ESP-IDF (ESP32)",
            Self::Env => "Environment variables",
        }
    }

    /// A text that is ready to be pasted. With TLS if the file names a port for it.
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
            (_, Some(port)) => Self { port, tls: Some(Tls { ca: file.mqtt.ca.as_deref() }) },
            (port, None) => Self { port: port.unwrap_or(DEFAULT_PORT), tls: None },
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
            "  network.setCACert(CA);\n",
        ),
    };
    format!(
        r#"// {title}, connected with {peer}. For an ESP32, with the library PubSubClient 2.8.
#include <PubSubClient.h>
#include <WiFi.h>
{include}
{ca}const char *WIFI_NAME = "your network";
const char *WIFI_PASSWORD = "its password";
const char *STATUS = {status};
const char *COUNT = {count};
const char *PRESENCE = {presence};
const char ONLINE[] = "{{\"online\":true";

{network} network;
PubSubClient mqtt(network);
unsigned long lastTime = 0;
unsigned long number = 0;

void onMessage(char *topic, byte *payload, unsigned int length) {{
  const size_t most = sizeof ONLINE - 1;
  if (strcmp(topic, PRESENCE) == 0) {{
    bool online = length >= most && memcmp(payload, ONLINE, most) == 0;
    Serial.println(online ? "peer is online" : "peer is offline");
  }} else {{
    Serial.printf("%s %.*s\n", topic, (int)length, (const char *)payload);
  }}
}}

bool connectToBridge() {{
  // Whoever vanishes is "gone"; the last argument keeps the session.
  if (!mqtt.connect({client_id}, {username}, {password}, STATUS, 1, true, "gone", false)) {{
    Serial.printf("not connected: state %d\n", mqtt.state());
    return false;
  }}
  Serial.println("connected");
  mqtt.subscribe({subscribe}, 1);
  mqtt.subscribe(PRESENCE, 1);
  mqtt.publish(STATUS, "here", true);
  return true;
}}

void setup() {{
  Serial.begin(115200);
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
{trust}  mqtt.setServer({host}, {port});
  mqtt.setCallback(onMessage);
  mqtt.setKeepAlive(30);
  // A message that does not fit is thrown away unseen.
  mqtt.setBufferSize(1024);
}}

void loop() {{
  if (!mqtt.connected() && !connectToBridge()) {{
    delay(5000);
    return;
  }}
  mqtt.loop();
  if (millis() - lastTime >= 1000) {{
    lastTime = millis();
    number++;
    mqtt.publish(COUNT, String(number).c_str());
  }}
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
        status = quoted(&format!("{}/status", topics.publish)),
        count = quoted(&format!("{}/count", topics.publish)),
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
        r#"// {title}, connected with {peer}. For ESP-IDF 5.
// Call bridge_run() when the network is up: it does not return.
#include <stdio.h>
#include <string.h>
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "mqtt_client.h"
{include}
{ca}static const char STATUS[] = {status};
static const char COUNT[] = {count};
static const char PRESENCE[] = {presence};
static const char ONLINE[] = "{{\"online\":true";

static void on_message(esp_mqtt_event_handle_t event) {{
    const int most = sizeof ONLINE - 1;
    if (event->topic_len == sizeof PRESENCE - 1 && memcmp(event->topic, PRESENCE, event->topic_len) == 0) {{
        int online = event->data_len >= most && memcmp(event->data, ONLINE, most) == 0;
        printf("peer is %s\n", online ? "online" : "offline");
    }} else {{
        printf("%.*s %.*s\n", event->topic_len, event->topic, event->data_len, event->data);
    }}
}}

static void on_event(void *arg, esp_event_base_t base, int32_t id, void *data) {{
    esp_mqtt_event_handle_t event = data;
    switch (id) {{
    case MQTT_EVENT_CONNECTED:
        printf("connected %s\n", event->session_present ? "again" : "with a new session");
        esp_mqtt_client_subscribe(event->client, {subscribe}, 1);
        esp_mqtt_client_subscribe(event->client, {presence}, 1);
        esp_mqtt_client_publish(event->client, STATUS, "here", 0, 1, 1);
        break;
    case MQTT_EVENT_DATA:
        on_message(event);
        break;
    case MQTT_EVENT_SUBSCRIBED:
        if (event->error_handle->error_type == MQTT_ERROR_TYPE_SUBSCRIBE_FAILED) {{
            printf("refused to subscribe\n");
        }}
        break;
    case MQTT_EVENT_ERROR:
        if (event->error_handle->error_type == MQTT_ERROR_TYPE_CONNECTION_REFUSED) {{
            printf("refused: code %d\n", (int)event->error_handle->connect_return_code);
        }}
        break;
    default:
        break;
    }}
}}

void bridge_run(void) {{
    const esp_mqtt_client_config_t config = {{
        .broker.address.hostname = {host},
        .broker.address.port = {port},
        .broker.address.transport = {transport},
{trust}        .credentials.client_id = {client_id},
        .credentials.username = {username},
        .credentials.authentication.password = {password},
        .session.disable_clean_session = true,
        .session.keepalive = 30,
        .session.last_will = {{ .topic = STATUS, .msg = "gone", .qos = 1, .retain = 1 }},
    }};
    esp_mqtt_client_handle_t client = esp_mqtt_client_init(&config);
    esp_mqtt_client_register_event(client, ESP_EVENT_ANY_ID, on_event, NULL);
    esp_mqtt_client_start(client);
    for (unsigned number = 1;; number++) {{
        char text[12];
        vTaskDelay(pdMS_TO_TICKS(1000));
        snprintf(text, sizeof text, "%u", number);
        // Sent again until the bridge has acknowledged it, but not for longer than 30 seconds.
        esp_mqtt_client_enqueue(client, COUNT, text, 0, 1, 0, true);
    }}
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
        status = quoted(&format!("{}/status", topics.publish)),
        count = quoted(&format!("{}/count", topics.publish)),
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
