//! The names and addresses under which devices may know this machine.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rcgen::SanType;
use tokio_rustls::rustls::pki_types::DnsName;

/// A name that a certificate can hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// In lower case, without a dot at its end.
    Dns(String),
    Ip(IpAddr),
}

impl Name {
    /// `None` for what neither names nor addresses look like.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Some(Self::Ip(ip));
        }
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        DnsName::try_from(text.as_str()).is_ok().then_some(Self::Dns(text))
    }

    pub(super) fn to_rcgen(&self) -> Option<SanType> {
        match self {
            Self::Dns(name) => name.as_str().try_into().ok().map(SanType::DnsName),
            Self::Ip(ip) => Some(SanType::IpAddress(*ip)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// All of this machine, and the host that credential files name.
pub(super) fn of_this_machine(host: &str, host_name: &str) -> BTreeSet<Name> {
    // Without the list of interfaces, names are still better than nothing.
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    all(host, host_name, addresses.iter().map(if_addrs::Interface::ip))
}

fn all(host: &str, host_name: &str, addresses: impl Iterator<Item = IpAddr>) -> BTreeSet<Name> {
    let mut names = BTreeSet::from([
        Name::Dns("localhost".to_owned()),
        Name::Ip(Ipv4Addr::LOCALHOST.into()),
        Name::Ip(Ipv6Addr::LOCALHOST.into()),
    ]);
    names.extend([host, host_name].into_iter().filter_map(Name::parse));
    // What a machine is called in its own network, without a name server.
    let label = host_name.split('.').next().unwrap_or_default();
    if label != "localhost" {
        names.extend(Name::parse(&format!("{label}.local")));
    }
    // Nobody can write an IPv6 link-local address down without the interface that it belongs to.
    let written = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    names.extend(addresses.filter(written).map(Name::Ip));
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_way_to_name_the_machine_is_there_once() {
        let addresses = ["127.0.0.1", "192.168.1.7", "fe80::1", "fd00::7", "::1"];
        let names = all("Bridge.Example.", "pi.lan", addresses.iter().map(|ip| ip.parse().unwrap()));
        let names: Vec<_> = names.iter().map(Name::to_string).collect();
        let expected = [
            "bridge.example",
            "localhost",
            "pi.lan",
            "pi.local",
            "127.0.0.1",
            "192.168.1.7",
            "::1",
            "fd00::7",
        ];
        assert_eq!(names, expected);
        let bare = all("10.0.0.1", "localhost", [].into_iter());
        assert!(bare.contains(&Name::Ip("10.0.0.1".parse().unwrap())), "{bare:?}");
        assert_eq!(bare.len(), 4, "localhost.local is nobody: {bare:?}");
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        for text in ["", "küche", "a b", "-a", "a..b", "*.a"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
        assert_eq!(Name::parse("[fd00::7]").unwrap().to_string(), "fd00::7");
        assert!(of_this_machine("a", "b").contains(&Name::Dns("b.local".to_owned())));
    }
}
