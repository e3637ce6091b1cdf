//! Credential files: what a device needs to connect, made from the configuration and the secret key.

mod file;

pub use file::{CredentialFile, Login, Peer, Topics};
