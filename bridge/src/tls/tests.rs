#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use authority::SERVER_LIFE;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair};

use super::*;
use crate::settings::Environment;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[test]
fn the_ca_is_made_once_and_private() {
    let data = Data::new();
    let made = data.authority(at(2027)).certificate;
    assert_eq!(data.authority(at(2030)).certificate, made);
    assert!(made.is_ca && made.is_signed_by(&made));
    let life = made.not_after.duration_since(made.not_before).unwrap();
    assert!((YEAR * 10..YEAR * 10 + DAY * 3).contains(&life), "{life:?}");
    assert_eq!(made.not_before, at(2027) - DAY, "a device's clock may be a little behind");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.ca()), 0o700);
    assert_eq!([CA_CERT, CA_KEY].map(|name| mode(&data.ca().join(name))), [0o600; 2]);
    assert_eq!(fs::read_dir(data.dir.path()).unwrap().count(), 1, "no unfinished directory is left");
    assert_eq!(made.to_pem(), fs::read_to_string(data.ca().join(CA_CERT)).unwrap());
}

#[test]
fn processes_that_start_at_once_agree_on_one_ca() {
    let data = Data::new();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| data.authority(at(2027)).certificate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|certificate| *certificate == made[0]));
    assert_eq!(fs::read_dir(data.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_ca_that_is_not_whole_is_an_error_and_never_replaced() {
    let data = Data::new();
    data.authority(at(2027));
    let [cert, key] = [CA_CERT, CA_KEY].map(|name| data.ca().join(name));
    let [cert_text, key_text] = [&cert, &key].map(|path| fs::read_to_string(path).unwrap());
    let stranger = KeyPair::generate().unwrap().serialize_pem();
    let mut server = Data::new().issued(&["a"], at(2027)).0;
    server.names.clear();
    for (path, text) in [
        (&cert, ""),
        (&cert, "nonsense"),
        (&cert, &cert_text[..cert_text.len() / 2]),
        (&cert, &cert_text.replace("MII", "AAA")),
        (&cert, &cert_text.repeat(2)),
        (&cert, &server.to_pem()),
        (&key, ""),
        (&key, &key_text[..key_text.len() / 2]),
        (&key, &stranger),
        (&key, &cert_text),
    ] {
        let before = fs::read_to_string(path).unwrap();
        fs::write(path, text).unwrap();
        let error = data.error();
        assert!(error.contains("from a backup") && error.contains("new CA"), "{text:?}: {error}");
        assert!(error.contains(&data.ca().display().to_string()), "{error}");
        assert_eq!(fs::read_to_string(path).unwrap(), text, "it is left as it is");
        fs::write(path, before).unwrap();
    }
    for path in [&cert, &key] {
        let aside = data.dir.path().join("aside");
        fs::rename(path, &aside).unwrap();
        assert!(data.error().contains("from a backup"), "{}", data.error());
        assert!(!path.exists());
        fs::rename(&aside, path).unwrap();
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(data.error().contains("run chmod 600"), "{}", data.error());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    data.authority(at(2027));
}

#[test]
fn a_server_certificate_is_renewed_in_time_and_not_before() {
    let data = Data::new();
    let (first, why) = data.issued(&["pi.local", "10.0.0.7"], at(2027));
    assert_eq!(why.as_deref(), Some("there was none"));
    assert!(first.is_signed_by(&data.authority(at(2027)).certificate));
    assert_eq!(first.not_after.duration_since(first.not_before).unwrap(), SERVER_LIFE);
    assert_eq!(first.names.iter().map(Name::to_string).collect::<Vec<_>>(), ["pi.local", "10.0.0.7"]);

    for (now, names, expected) in [
        (at(2027), &["pi.local", "10.0.0.7"][..], None),
        (at(2027), &["pi.local"], None),
        (first.not_before + SERVER_LIFE * 2 / 3 - DAY, &["pi.local"], None),
        (first.not_before + SERVER_LIFE * 2 / 3 + DAY, &["pi.local"], Some("valid until 2028-02-01")),
        (first.not_after + DAY, &["pi.local"], Some("valid until 2028-02-01")),
        (at(2027), &["pi.local", "10.0.0.8"], Some("is now also 10.0.0.8")),
    ] {
        let copy = data.copy();
        let (certificate, why) = copy.issued(names, now);
        match expected {
            None => assert_eq!((certificate, why), (first.clone(), None)),
            Some(expected) => {
                assert!(why.as_ref().unwrap().contains(expected), "{why:?}");
                assert!(certificate.not_before <= now && now + SERVER_LIFE / 2 < certificate.not_after);
                assert_eq!(copy.issued(names, now), (certificate, None), "only once");
            }
        }
    }
}

#[test]
fn a_server_certificate_that_is_damaged_or_of_another_ca_is_made_anew() {
    let data = Data::new();
    data.issued(&["a"], at(2027));
    let path = data.ca().join("server.pem");
    let whole = fs::read_to_string(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    for text in ["", &whole[..whole.len() / 2], &whole[whole.len() / 2..]] {
        fs::write(&path, text).unwrap();
        let why = data.issued(&["a"], at(2027)).1.unwrap();
        assert!(why.contains("server.pem"), "{why}");
    }
    let other = Data::new();
    other.issued(&["a"], at(2027));
    fs::copy(other.ca().join("server.pem"), &path).unwrap();
    assert_eq!(data.issued(&["a"], at(2027)).1.unwrap(), "the old one was signed by another CA");
}

#[test]
fn a_clock_that_starts_in_1970_harms_nothing() {
    let data = Data::new();
    let boot = UNIX_EPOCH + Duration::from_secs(30);
    let authority = data.authority(boot);
    assert_eq!(day(authority.certificate.not_before), "2026-01-01");
    assert_eq!(day(authority.certificate.not_after), "2036-01-01");
    assert!(authority.notice(boot).unwrap().contains("the clock says 1970-01-01, which cannot be"));
    let (first, _) = data.issued(&["a"], boot);
    assert_eq!([first.not_before, first.not_after].map(day), ["2026-01-01", "2027-02-02"]);

    // The network tells the time.
    let (renewed, why) = data.issued(&["a"], at(2028));
    assert!(why.is_some() && renewed.not_before <= at(2028) && renewed.not_after > at(2029), "{why:?}");
    assert_eq!(authority.notice(at(2028)), None);
    // It starts in 1970 again: what it has is better than what it could make.
    assert_eq!(data.issued(&["a"], boot), (renewed, None));
}

#[test]
fn a_clock_that_was_ahead_is_noticed() {
    let data = Data::new();
    data.authority(at(2027));
    let (ahead, _) = data.issued(&["a"], at(2031));
    let (certificate, why) = data.issued(&["a"], at(2028));
    assert!(why.unwrap().contains("later than the clock says"));
    assert!(certificate.not_before < ahead.not_before);
    // Of the CA it can only be told: every device trusts it.
    let notice = data.authority(at(2027)).notice(at(2026) + DAY * 100).unwrap();
    assert!(notice.contains("is valid from 2026-12-31 on") && notice.contains("set the clock"), "{notice}");
}

#[test]
fn a_ca_near_its_end_is_told_and_signs_nothing_beyond_it() {
    let data = Data::new();
    let authority = data.authority(at(2027));
    let end = authority.certificate.not_after;
    assert_eq!(authority.notice(end - YEAR - DAY), None);
    for left in [YEAR - DAY, DAY] {
        let notice = authority.notice(end - left).unwrap();
        assert!(
            notice.contains("is valid until 2036-12-30") && notice.contains("credential file"),
            "{notice}"
        );
    }
    let (last, why) = data.issued(&["a"], end - DAY * 30);
    assert_eq!((last.not_after, why.is_some()), (end, true));
    for left in [30, 10, 1] {
        assert_eq!(
            data.issued(&["a"], end - DAY * left),
            (last.clone(), None),
            "another would last no longer"
        );
    }
    let report = data.report(end + DAY);
    assert!(report.fault.unwrap().contains("was valid until 2036-12-30"));
}

#[test]
fn what_is_shown_follows_the_settings() {
    let data = Data::new();
    let mut settings = data.settings();
    let now = at(2027);
    assert_eq!(examine(&settings, now).unwrap().notices, [""; 0]);
    assert!(!data.ca().exists(), "whoever only looks makes nothing");
    // What a start that was cut short has left.
    fs::create_dir(data.dir.path().join(".ior-bridge-abc")).unwrap();
    fs::write(data.dir.path().join(".ior-bridge-abc/ca.key"), "half").unwrap();
    let identity = Identity::load(&settings, now).unwrap();
    let ca = identity.ca().unwrap();
    let left = fs::read_dir(data.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [CA_DIR]);
    assert_eq!(super::ca(&settings, now).unwrap(), Some(ca.clone()));
    assert_eq!(identity.refresh(&settings, now), Refreshed::Unchanged);

    settings.host = "other.example".to_owned();
    let Refreshed::Replaced { what, ca_changed } = identity.refresh(&settings, now) else { panic!() };
    assert!(what.contains("this machine is now also other.example") && !ca_changed, "{what}");
    assert_eq!(identity.refresh(&settings, now + DAY), Refreshed::Unchanged);

    settings.host = "no name".to_owned();
    let report = examine(&settings, now).unwrap();
    assert!(report.notices[0].contains("neither a name nor an address"), "{report:?}");

    let aside = data.dir.path().join("aside");
    fs::rename(data.ca(), &aside).unwrap();
    let Refreshed::Kept(error) = identity.refresh(&settings, now) else { panic!() };
    assert!(error.to_string().contains("is gone: put it back"), "{error}");
    assert!(!data.ca().exists(), "only a start makes a new one");
    fs::rename(&aside, data.ca()).unwrap();
    assert_eq!(identity.refresh(&settings, now), Refreshed::Unchanged);
    assert_eq!(identity.ca(), Some(ca));
}

/// Regression: it was told that the CA was gone, which had never been there.
#[test]
fn who_takes_the_operators_pair_away_gets_the_bridges_own() {
    let (data, now) = (Data::new(), at(2027));
    let (chain, key) = operators("localhost", now);
    data.write_pair(&chain.iter().map(Certificate::to_pem).collect::<String>(), &key);
    let mut settings = data.settings();
    settings.mqtts.pair = Some(data.pair());
    let identity = Identity::load(&settings, now).unwrap();
    assert!(!data.ca().exists());
    settings.mqtts.pair = None;
    let refreshed = identity.refresh(&settings, now);
    assert!(matches!(refreshed, Refreshed::Replaced { ca_changed: true, .. }), "{refreshed:?}");
    fs::remove_dir_all(data.ca()).unwrap();
    assert!(matches!(identity.refresh(&settings, now), Refreshed::Kept(_)), "now it is gone");
}

#[test]
fn the_operators_pair_is_used_and_a_bad_one_is_not() {
    let data = Data::new();
    let now = at(2027);
    let mut settings = data.settings();
    let identity = Identity::load(&settings, now).unwrap();
    let own = identity.ca();
    settings.mqtts.pair = Some(data.pair());
    settings.host = "bridge.example".to_owned();

    let missing = examine(&settings, now).unwrap_err();
    assert!(missing.is_of_configuration() && missing.to_string().contains("mqtts.cert: "), "{missing}");
    assert_eq!(identity.refresh(&settings, now), Refreshed::Kept(missing));
    assert_eq!(identity.ca(), own);

    // Signed by a CA that everybody trusts: it is not in the file.
    let (chain, key) = operators("bridge.example", now);
    data.write_pair(&chain[0].to_pem(), &key);
    assert!(matches!(identity.refresh(&settings, now), Refreshed::Replaced { ca_changed: true, .. }));
    assert_eq!(identity.ca(), None);
    assert_eq!(identity.refresh(&settings, now), Refreshed::Unchanged);
    let whole = chain.iter().map(Certificate::to_pem).collect::<String>();
    data.write_pair(&whole, &key);
    assert!(matches!(identity.refresh(&settings, now), Refreshed::Replaced { ca_changed: true, .. }));
    assert_eq!(identity.ca(), Some(chain[1].to_pem()));

    let (stranger, strange_key) = operators("bridge.example", now);
    let expired = operators("bridge.example", now - YEAR);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (cert, key, words) in [
        (stranger[0].to_pem(), key.as_str(), "is not the key of the first certificate in"),
        (whole.clone(), &strange_key, "is not the key of the first certificate in"),
        (whole.clone(), encrypted, "is protected by a password"),
        (whole.clone(), &key[..key.len() / 2], "holds no private key"),
        (whole.clone(), &whole, "holds no private key"),
        (whole[..whole.len() / 2].to_owned(), &key, "cert.pem "),
        (String::new(), &key, "holds no certificate"),
        (expired.0[0].to_pem(), &expired.1, "was valid until 2026-07-20: renew it"),
    ] {
        data.write_pair(&cert, key);
        let Refreshed::Kept(error) = identity.refresh(&settings, now) else { panic!("{words}") };
        assert!(error.is_of_configuration() && error.to_string().contains(words), "{error}");
        assert_eq!(identity.ca(), Some(chain[1].to_pem()));
    }
    let (next, next_key) = operators("bridge.example", now);
    data.write_pair(&next[0].to_pem(), &next_key);
    assert!(matches!(identity.refresh(&settings, now), Refreshed::Replaced { .. }));
}

#[test]
fn what_will_trouble_the_operator_is_told_in_time() {
    let data = Data::new();
    let now = at(2027);
    let settings = |host: &str| {
        let mut settings = Settings { host: host.to_owned(), ..data.settings() };
        settings.mqtts.pair = Some(data.pair());
        settings
    };
    let (chain, key) = operators("*.home.example", now);
    data.write_pair(&chain[0].to_pem(), &key);
    let report = |host: &str, now| examine(&settings(host), now).unwrap();
    assert_eq!(
        report("pi.home.example", now),
        Report {
            what: "the certificate of mqtts.cert, valid until 2027-07-20".to_owned(),
            notices: Vec::new(),
            fault: None,
        }
    );
    let notices = report("pi.local", now).notices;
    assert!(notices[0].contains("is not for \"pi.local\""), "{notices:?}");
    let notices = report("pi.home.example", now + DAY * 190).notices;
    assert!(notices[0].contains("is valid until 2027-07-20: renew it"), "{notices:?}");
    let fault = report("pi.home.example", now + DAY * 201).fault.unwrap();
    assert!(fault.contains("was valid until 2027-07-20: renew it"), "{fault}");
    let fault = report("pi.home.example", UNIX_EPOCH).fault.unwrap();
    assert!(fault.contains("but the clock says 1970-01-01, which cannot be"), "{fault}");
    fs::set_permissions(data.pair().key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(report("pi.home.example", now).notices, [""; 0], "that is how services share keys");
    fs::set_permissions(data.pair().key, fs::Permissions::from_mode(0o644)).unwrap();
    let notices = report("pi.home.example", now).notices;
    assert!(
        notices[0].contains("can be read or written by others (mode 0644): run chmod 600"),
        "{notices:?}"
    );
}

#[test]
fn a_certificate_that_signed_itself_as_a_ca_is_told() {
    let data = Data::new();
    let mut params = CertificateParams::new(["pi.local".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    data.write_pair(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem());
    let mut settings = data.settings();
    settings.mqtts.pair = Some(data.pair());
    let notices = examine(&settings, at(2027)).unwrap().notices;
    assert!(notices.len() == 1 && notices[0].contains("is that of a CA"), "{notices:?}");
    assert!(Identity::load(&settings, at(2027)).unwrap().ca().is_some(), "it is its own CA");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let data = Data::new();
    let mut settings = data.settings();
    settings.mqtts.pair = Some(data.pair());
    let error = || examine(&settings, at(2027)).unwrap_err().to_string();
    assert!(error().contains("cert.pem does not exist"), "{}", error());
    let made = std::process::Command::new("mkfifo").arg(data.pair().cert).status().unwrap();
    assert!(made.success());
    assert!(error().contains("is not a file"), "{}", error());
    fs::remove_file(data.pair().cert).unwrap();
    fs::write(data.pair().cert, vec![b'x'; 2 << 20]).unwrap();
    assert!(error().contains("is too large"), "{}", error());
}

#[test]
fn a_client_ca_must_be_one() {
    let data = Data::new();
    let path = data.dir.path().join("clients.pem");
    let mut settings = data.settings();
    settings.mqtts.client_ca = Some(path.clone());
    let error = Identity::load(&settings, at(2027)).err().unwrap();
    assert!(error.is_of_configuration() && error.to_string().starts_with("mqtts.client_ca: "), "{error}");
    let (chain, _) = operators("device", at(2027));
    fs::write(&path, chain[0].to_pem()).unwrap();
    let error = examine(&settings, at(2027)).unwrap_err().to_string();
    assert!(error.contains("none of a CA"), "{error}");
    fs::write(&path, chain[1].to_pem()).unwrap();
    assert!(Identity::load(&settings, at(2027)).is_ok());
}

/// A data directory of its own.
struct Data {
    dir: tempfile::TempDir,
}

impl Data {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(copy.ca()).unwrap();
        for entry in fs::read_dir(self.ca()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.ca().join(entry.file_name())).unwrap();
        }
        copy
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join(CA_DIR)
    }

    fn settings(&self) -> Settings {
        let settings = Settings::load(Path::new("/nowhere/config"), &Environment::new()).unwrap();
        Settings { data_dir: self.dir.path().to_owned(), host: "pi.local".to_owned(), ..settings }
    }

    fn authority(&self, now: SystemTime) -> Authority {
        Authority::load_or_create(self.dir.path(), "pi.local", now).unwrap()
    }

    fn error(&self) -> String {
        Authority::load_or_create(self.dir.path(), "pi.local", at(2027)).err().unwrap().to_string()
    }

    /// The server certificate, and why it was made just now.
    fn issued(&self, names: &[&str], now: SystemTime) -> (Certificate, Option<String>) {
        let authority = self.authority(now);
        let names = names.iter().map(|name| Name::parse(name).unwrap()).collect();
        let server = Server::load_or_renew(self.dir.path(), &authority, &names, "pi.local", now).unwrap();
        (server.certificate, server.renewed)
    }

    fn report(&self, now: SystemTime) -> Report {
        examine(&self.settings(), now).unwrap()
    }

    fn pair(&self) -> PairFiles {
        PairFiles { cert: self.dir.path().join("cert.pem"), key: self.dir.path().join("key.pem") }
    }

    fn write_pair(&self, cert: &str, key: &str) {
        let PairFiles { cert: cert_path, key: key_path } = self.pair();
        fs::write(cert_path, cert).unwrap();
        fs::write(&key_path, key).unwrap();
        fs::set_permissions(key_path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A certificate that an operator got for 200 days, with the CA that signed it behind it, and its key.
fn operators(name: &str, now: SystemTime) -> (Vec<Certificate>, String) {
    let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap();
    let params = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now - DAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now + DAY * 200);
        params
    };
    let mut of_ca = params("Operator's CA");
    of_ca.subject_alt_names.clear();
    of_ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let [ca_key, key] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let ca = of_ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(of_ca, ca_key);
    let leaf = params(name).signed_by(&key, &issuer).unwrap();
    let chain = [leaf, ca].map(|certificate| Certificate::parse(certificate.der().clone()).unwrap());
    (chain.into(), key.serialize_pem())
}

/// The first of January of a year.
fn at(year: u64) -> SystemTime {
    let leap_days = (year - 1969) / 4;
    UNIX_EPOCH + DAY * u32::try_from((year - 1970) * 365 + leap_days).unwrap()
}
