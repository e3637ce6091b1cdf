//! The system's limit of open files.

use crate::{settings::Limits, web};

/// Every connection needs a file descriptor, and most systems allow 1,024 until they are asked.
pub fn raise(limits: &Limits) {
    const OTHERS: u64 = 64;
    let connections = limits.connections + limits.logins;
    let wanted = (connections + web::CONNECTIONS) as u64 + OTHERS;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed >= wanted => {}
        Ok(allowed) => tracing::warn!(
            "the system allows {allowed} open files, which is too few for limits.connections and limits.logins, together \
             {connections}: raise LimitNOFILE in the unit, or lower the limits"
        ),
        Err(error) => tracing::warn!(
            "cannot raise the limit of open files: {error}; raise LimitNOFILE in the unit if devices cannot connect"
        ),
    }
}
