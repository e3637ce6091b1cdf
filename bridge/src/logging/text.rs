//! Lines for people: what the fields hold stands in the message too.

use std::fmt;

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultVisitor, Writer},
    },
    registry::LookupSpan,
};

/// The priority of an error, as `sd-daemon(3)` numbers it.
pub(super) const ERROR: u8 = 3;

/// Writes the message and no other field.
pub(super) struct MessageOnly;

/// Writes lines that begin with their priority, which the journal takes off again.
pub(super) struct Prioritised;

struct OnlyMessage<'w>(DefaultVisitor<'w>);

impl<'w> FormatFields<'w> for MessageOnly {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = OnlyMessage(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

impl Visit for OnlyMessage<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.record_debug(field, value);
        }
    }
}

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = String::new();
        context.format_fields(Writer::new(&mut message), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => ERROR,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        writer.write_str(&prioritised(priority, &message))
    }
}

/// Every line of it with its priority.
pub(super) fn prioritised(priority: u8, message: &str) -> String {
    message.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}
