//! A credential file as a QR code, for clients that have a camera.

use qrcode::{EcLevel, render::svg};

use super::CredentialFile;

/// Pixels of a module; the picture can be scaled.
const MODULE: u32 = 4;

/// The credential file's JSON without spaces as a picture in SVG, with a title and a description for whoever does not see it.
/// With the lowest error correction, since it is shown on a screen. Without the CA if that has no room, which the description
/// says. `None` if it is too long even so.
pub fn qr_code(file: &CredentialFile) -> Option<String> {
    if let Some(svg) = draw(file) {
        return Some(describe(&svg, file, ""));
    }
    let mut without = file.clone();
    without.mqtt.ca.take()?;
    let note = " The certificate of the CA has no room in it: it is in the credential file.";
    draw(&without).map(|svg| describe(&svg, file, note))
}

fn draw(file: &CredentialFile) -> Option<String> {
    // Only maps with keys that are no texts could fail, and there are none in it.
    let text = serde_json::to_string(file).unwrap_or_default();
    let code = qrcode::QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    Some(code.render::<svg::Color<'_>>().quiet_zone(true).module_dimensions(MODULE, MODULE).build())
}

/// Puts the words behind the opening tag.
fn describe(svg: &str, file: &CredentialFile, note: &str) -> String {
    let start = svg.find("<svg").unwrap_or_default();
    let end = svg[start..].find('>').map_or(start, |end| start + end + 1);
    let (before, after) = svg.split_at(end);
    let (name, peer) = (escaped(&file.name), escaped(&file.peer.name));
    format!(
        "{before}<title>Credentials of {name}</title>\
         <desc>What {name} needs to connect with {peer}, as JSON.{note}</desc>{after}"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        credentials::{Issuer, Reach},
        document::Source,
        registry::{End, Registry},
        secrets::Secrets,
    };

    #[test]
    fn what_has_no_room_is_left_out_and_said() {
        let mut file = file();
        file.name = "<script>&".to_owned();
        file.mqtt.ca = Some("x".repeat(1500));
        let svg = qr_code(&file).unwrap();
        let title = "<title>Credentials of &lt;script&gt;&amp;</title>";
        assert!(svg.contains(title) && !svg.contains("has no room"), "{svg}");
        file.mqtt.ca = Some("x".repeat(3000));
        assert!(qr_code(&file).unwrap().contains("has no room in it"));
        file.peer.name = "x".repeat(3000);
        assert_eq!(qr_code(&file), None);
    }

    fn file() -> CredentialFile {
        let devices = r#"{ "devices": [ { "code": 1, "name": "a", "type": "t" }, { "code": 2, "name": "b", "type": "t" } ] }"#;
        let connections = r#"{ "connections": [ { "name": "c", "from": 1, "to": 2 } ] }"#;
        let registry = Registry::parse(&Source::new("d", devices), &Source::new("c", connections)).unwrap();
        let reach =
            Reach { host: "h".to_owned(), port: Some(1), tls_port: None, ca: None, websocket_port: None };
        let secrets = Secrets::from_key([7; 32]);
        Issuer::new(&registry, &secrets, &reach).file(&registry.connections()[0], End::From)
    }
}
