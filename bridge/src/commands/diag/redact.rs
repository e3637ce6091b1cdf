//! Takes secrets out of texts.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::Path,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

use crate::{
    configuration::Configuration,
    rotation::Rotation,
    secrets::{KEY_FILE, PASSWORD_LEN, Secrets},
    settings::{Environment, Settings},
    tls::CA_DIR,
    web::auth::{password::INITIAL_FILE, tokens::looks_like_a_token},
};

/// What stands in the place of a secret.
pub(super) const MARK: &str = "[secret]";

/// Earlier passwords of a device that are looked for beside those that are still accepted.
const EARLIER: u32 = 20;
/// Shortest line of a private key that is looked for.
const SHORTEST: usize = 16;

/// Knows all secrets of an instance, and what they look like.
pub(super) struct Redactor {
    secrets: HashSet<String>,
    lengths: BTreeSet<usize>,
}

impl Redactor {
    /// Reads them. Where nothing has run yet there are none.
    ///
    /// # Errors
    /// They cannot be read, so that nobody knows what to take out.
    pub(super) fn new(dir: &Path, environment: &Environment) -> Result<Self, String> {
        let mut redactor = Self { secrets: HashSet::new(), lengths: BTreeSet::new() };
        let Ok(settings) = Settings::load(dir, environment) else { return Ok(redactor) };
        let unread = |path: &Path, error: &io::Error| {
            format!(
                "{} cannot be read, so its contents cannot be taken out: {error}; run this with sudo",
                path.display()
            )
        };
        let key = settings.data_dir.join(KEY_FILE);
        match fs::read_to_string(&key).map(Zeroizing::new) {
            Ok(text) => redactor.add_key(text.trim()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(redactor),
            Err(error) => return Err(unread(&key, &error)),
        }
        if let Ok(password) = fs::read_to_string(settings.data_dir.join(INITIAL_FILE)).map(Zeroizing::new) {
            redactor.add_with_encodings(password.trim());
        }
        let ca = settings.data_dir.join(CA_DIR);
        let pems = fs::read_dir(&ca).map_err(|error| unread(&ca, &error))?;
        let own = settings.mqtts.pair.iter().map(|pair| pair.key.clone());
        for path in pems.flatten().map(|entry| entry.path()).chain(own) {
            // The operator's may be for the bridge's user only; a private key in PEM form is known when it is seen.
            if let Ok(text) = fs::read_to_string(&path).map(Zeroizing::new) {
                redactor.add_private_keys(&text);
            }
        }
        if let (Ok(configuration), Ok(Some(secrets))) =
            (Configuration::load(dir, environment), Secrets::load(&key))
        {
            redactor.add_derived(&configuration, &secrets);
        }
        Ok(redactor)
    }

    /// The text without them.
    pub(super) fn redact(&self, text: &str) -> String {
        let text = without_private_keys(text);
        let text = each_run(&text, is_of_secret, |run, clean| self.redact_known(run, clean));
        // Every password and API token looks like this, also that of a device that is gone.
        each_run(&text, is_of_password, |run, clean| {
            let is_secret = run.len() == PASSWORD_LEN || looks_like_a_token(run);
            clean.push_str(if is_secret { MARK } else { run });
        })
    }

    /// Every character of the run is one byte.
    fn redact_known(&self, run: &str, clean: &mut String) {
        let mut at = 0;
        while at < run.len() {
            // The longest first: one secret may begin like another.
            let is_known =
                |length: &&usize| run.get(at..at + **length).is_some_and(|word| self.secrets.contains(word));
            match self.lengths.iter().rev().find(is_known) {
                Some(length) => {
                    clean.push_str(MARK);
                    at += length;
                }
                None => {
                    clean.push_str(&run[at..=at]);
                    at += 1;
                }
            }
        }
    }

    fn add(&mut self, secret: impl Into<String>) {
        let secret = secret.into();
        if !secret.is_empty() {
            self.lengths.insert(secret.len());
            self.secrets.insert(secret);
        }
    }

    /// As text, and as what programs make of its bytes.
    fn add_key(&mut self, text: &str) {
        self.add_with_encodings(text);
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new) {
            self.add(STANDARD.encode(&*bytes));
            self.add(STANDARD_NO_PAD.encode(&*bytes));
            self.add(URL_SAFE.encode(&*bytes));
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            self.add(hex.to_uppercase());
            self.add(hex);
        }
    }

    fn add_with_encodings(&mut self, secret: &str) {
        self.add(secret);
        self.add(STANDARD.encode(secret));
        self.add(STANDARD_NO_PAD.encode(secret));
        self.add(URL_SAFE_NO_PAD.encode(secret));
    }

    fn add_derived(&mut self, configuration: &Configuration, secrets: &Secrets) {
        let Configuration { settings, registry, .. } = configuration;
        let rotation = Rotation::load(&settings.data_dir).unwrap_or_default();
        for device in registry.devices() {
            let name = device.user_name();
            let previous =
                rotation.previous(&name, settings.limits.rotation_window).map(|previous| previous.version);
            let current = device.secret_version;
            let versions: BTreeSet<u32> =
                (current.saturating_sub(EARLIER)..=current).chain(previous).collect();
            for version in versions {
                self.add_with_encodings(&secrets.password(&device.user, device.code.as_str(), version));
            }
        }
        for connection in registry.connections() {
            self.add_with_encodings(&secrets.connection_key(&connection.user, &connection.id));
        }
    }

    fn add_private_keys(&mut self, pem: &str) {
        let mut is_inside = false;
        for line in pem.lines().map(str::trim) {
            match line {
                line if line.starts_with("-----BEGIN ") => is_inside = line.contains("PRIVATE KEY"),
                line if line.starts_with("-----END ") => is_inside = false,
                line if is_inside && line.len() >= SHORTEST => self.add(line),
                _ => {}
            }
        }
    }
}

/// What base64 of either kind, hexadecimal numbers and passwords are made of.
fn is_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_+/=".contains(c)
}

/// What passwords are made of.
fn is_of_password(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_".contains(c)
}

/// The text with something in the place of every run of such characters, which are of ASCII.
fn each_run(text: &str, is_of_run: fn(char) -> bool, mut put: impl FnMut(&str, &mut String)) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_of_run) {
        let end = rest[begin..].find(|c| !is_of_run(c)).map_or(rest.len(), |length| begin + length);
        clean.push_str(&rest[..begin]);
        put(&rest[begin..end], &mut clean);
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}

/// Whoever's they are.
fn without_private_keys(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        let (before, block) = rest.split_at(begin);
        clean.push_str(before);
        let title = &block[..block.find("-----END").unwrap_or(block.len())];
        let end = block.find("-----END").and_then(|end| Some(end + 8 + block[end + 8..].find("-----")? + 5));
        let end = end.unwrap_or(block.len());
        let is_private = title.split("-----").nth(1).is_some_and(|title| title.contains("PRIVATE KEY"));
        clean.push_str(if is_private { MARK } else { &block[..end] });
        rest = &block[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        configuration::write_default,
        tls,
        web::{
            Scope,
            auth::{password::Administrator, tokens},
        },
    };

    #[test]
    fn every_secret_is_taken_out_in_whatever_form() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        write_default(&config).unwrap();
        let environment = Environment::new();
        let Configuration { settings, registry, .. } = Configuration::load(&config, &environment).unwrap();
        let secrets = Secrets::load_or_create(&settings.data_dir).unwrap();
        tls::ca(&settings, std::time::SystemTime::now()).unwrap();
        let initial = Administrator::of(&settings.data_dir).begin().unwrap().unwrap();
        let redactor = Redactor::new(&config, &environment).unwrap();

        let key = fs::read_to_string(settings.data_dir.join(KEY_FILE)).unwrap().trim().to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(&key).unwrap();
        let pem = fs::read_to_string(settings.data_dir.join("ca/ca.key")).unwrap();
        let line = pem.lines().nth(1).unwrap().to_owned();
        let mut planted = vec![
            key.clone(),
            STANDARD.encode(&key),
            STANDARD.encode(&bytes),
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            line,
            pem.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
            secrets.connection_key("default", "connection-1"),
            initial.to_string(),
        ];
        for device in registry.devices() {
            let password = secrets.password(&device.user, device.code.as_str(), device.secret_version);
            planted.push(STANDARD.encode(&*password));
            planted.push(password.to_string());
        }
        for secret in planted {
            for (before, after) in
                [("", ""), ("password=", "&x"), ("-P", " -t"), ("\"", "\""), ("a/", "/b"), ("é", "é")]
            {
                let redacted = redactor.redact(&format!("{before}{secret}{after}"));
                assert!(!redacted.contains(secret.trim()), "{redacted}");
                assert!(
                    redacted.contains(MARK) && redacted.starts_with(before) && redacted.ends_with(after),
                    "{redacted}"
                );
            }
        }
        // A password of a device that nobody knows any more.
        let gone = secrets.password("default", "gone", 1);
        assert_eq!(redactor.redact(&format!("was {} once", *gone)), format!("was {MARK} once"));
        let (_, token) = tokens::create(&settings.data_dir, "any", Scope::Read).unwrap();
        assert_eq!(redactor.redact(&format!("Bearer {}", *token)), format!("Bearer {MARK}"));
    }

    #[test]
    fn all_else_stays() {
        let redactor = Redactor { secrets: HashSet::new(), lengths: BTreeSet::new() };
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        for text in ["", "äöü ready: mqtt 0.0.0.0:1883", "default/connection-1/4569 =+", certificate] {
            assert_eq!(redactor.redact(text), text);
        }
    }

    #[test]
    fn who_may_not_know_the_secrets_cannot_take_them_out() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        write_default(&config).unwrap();
        fs::create_dir_all(dir.path().join("data").join(KEY_FILE)).unwrap();
        let error = Redactor::new(&config, &Environment::new()).err().unwrap();
        assert!(error.contains("run this with sudo"), "{error}");
    }
}
