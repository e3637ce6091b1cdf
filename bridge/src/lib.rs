//! The bridge: turns `config/*.json` into ACL-restricted topic pairs on an embedded MQTT broker.
#![forbid(unsafe_code)]

pub mod archive;
pub mod backup;
mod changes;
pub mod cli;
pub mod commands;
pub mod configuration;
pub mod control;
pub mod credentials;
pub mod diary;
pub mod document;
pub mod instance;
pub mod last_seen;
mod leftovers;
mod links;
pub mod listeners;
pub mod logging;
pub mod open_files;
pub mod pairs;
pub mod policy;
pub mod presence;
mod quantities;
pub mod registry;
pub mod reload;
pub mod report;
pub mod rotation;
pub mod secrets;
pub mod self_test;
pub mod service_manager;
pub mod settings;
pub mod storage;
mod terminal;
pub mod tls;
pub mod watchdog;
pub mod web;
