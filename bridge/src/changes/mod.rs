//! How the program itself changes the configuration files, for commands and the page: one change at a time; the whole new
//! configuration is checked before a byte of it is written; then it is taken up.
//!
//! `draft` is the configuration with changes that are not written, `devices` and `connections` are what can be changed, `edit`
//! writes, `take_up` has it taken up.

mod connections;
mod devices;
mod draft;
mod edit;
mod error;
mod take_up;

pub(crate) use connections::{NewConnection, Removal, add_connection, remove};
pub(crate) use devices::{DEFAULT_TYPE, DeviceChange, NewDevice, add_device, change_device, rotate_device};
pub(crate) use draft::{Draft, Fault};
pub(crate) use edit::{Done, Edit};
pub(crate) use error::{EditError, NOTHING_CHANGED};
