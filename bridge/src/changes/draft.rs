use std::{path::Path, sync::Arc};

use serde_json::Value;

use super::EditError;
use crate::{
    configuration::Configuration,
    document::{EntryList, Problem, Problems, Source},
    registry::{CONNECTIONS_FILE, DEVICES_FILE, Registry, Revision},
    settings::{Environment, Settings},
};

/// The configuration with changes of which nothing is written yet.
#[derive(Debug)]
pub(crate) struct Draft {
    settings: Settings,
    registry: Registry,
    revision: Revision,
    devices: Text,
    connections: Text,
    /// The entry that was added or changed last.
    touched: Option<(List, usize)>,
    /// A key of it that nobody has given: whatever is wrong with its value, something else is to blame.
    assumed: Option<&'static str>,
}

/// One of its files.
#[derive(Debug)]
pub(super) struct Text {
    key: &'static str,
    pub(super) before: Arc<Source>,
    pub(super) after: Arc<Source>,
}

/// A list of entries that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Devices,
    Connections,
}

/// One thing that would be wrong with a changed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The key of the added or changed entry whose value is wrong, if it is one of those.
    pub(crate) field: Option<String>,
    /// What is wrong.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) hint: Option<String>,
}

impl Draft {
    /// What is in the files of a directory. Blocks.
    ///
    /// # Errors
    /// It is invalid, or was changed while it was read.
    pub(crate) fn read(dir: &Path, environment: &Environment) -> Result<Self, EditError> {
        let Configuration { settings, registry, revision, .. } =
            Configuration::load(dir, environment).map_err(EditError::Invalid)?;
        let devices = Text::read(dir, DEVICES_FILE, "devices")?;
        let connections = Text::read(dir, CONNECTIONS_FILE, "connections")?;
        // An editor heeds no lock.
        if Revision::of(&devices.before, &connections.before) != revision {
            return Err(EditError::Changed);
        }
        Ok(Self { settings, registry, revision, devices, connections, touched: None, assumed: None })
    }

    /// What the files hold.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What `server.json` holds.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which state of the files this began with.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// What would be in the files. Blocks for as long as reading them would.
    ///
    /// # Errors
    /// It would be invalid.
    pub(crate) fn check(&self) -> Result<(Registry, Revision), EditError> {
        let (devices, connections) = (&self.devices.after, &self.connections.after);
        match Registry::parse(devices, connections) {
            Ok(registry) => Ok((registry, Revision::of(devices, connections))),
            Err(problems) => {
                let mut faults: Vec<_> = problems.iter().map(|problem| self.fault(problem)).collect();
                let is_given =
                    |fault: &Fault| self.assumed.is_none() || fault.field.as_deref() != self.assumed;
                if faults.iter().any(is_given) {
                    faults.retain(is_given);
                }
                Err(EditError::WouldBeInvalid { problems, faults })
            }
        }
    }

    /// The files that would be changed. Connections first: one without its device would be invalid, should the writing end in
    /// between.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Text> {
        [&self.connections, &self.devices].into_iter().filter(|text| text.before != text.after)
    }

    /// Nobody has given the value of this key.
    pub(super) fn assume(&mut self, key: &'static str) {
        self.assumed = Some(key);
    }

    /// Adds an entry at the end of a list.
    pub(super) fn insert(&mut self, list: List, entry: &[(&str, Value)]) -> Result<(), EditError> {
        let text = self.text(list);
        let entries = text.entries()?;
        text.replace(entries.insert(entry));
        self.touched = Some((list, entries.len()));
        Ok(())
    }

    /// Sets a key of the entry at this place of the file.
    pub(super) fn set(
        &mut self,
        list: List,
        index: usize,
        key: &str,
        value: &Value,
    ) -> Result<(), EditError> {
        let text = self.text(list);
        let entries = text.entries()?;
        text.replace(entries.set(index, key, value));
        self.touched = Some((list, index));
        Ok(())
    }

    /// Removes the entry at this place of the file.
    pub(super) fn remove(&mut self, list: List, index: usize) -> Result<(), EditError> {
        let text = self.text(list);
        let entries = text.entries()?;
        text.replace(entries.remove(index));
        Ok(())
    }

    fn text(&mut self, list: List) -> &mut Text {
        match list {
            List::Devices => &mut self.devices,
            List::Connections => &mut self.connections,
        }
    }

    fn fault(&self, problem: &Problem) -> Fault {
        Fault {
            field: self.field(problem),
            what: problem.message().to_owned(),
            hint: problem.hint_text().map(str::to_owned),
        }
    }

    fn field(&self, problem: &Problem) -> Option<String> {
        let (list, index) = self.touched?;
        let text = match list {
            List::Devices => &self.devices,
            List::Connections => &self.connections,
        };
        let offset = problem.offset_in(&text.after)?;
        text.entries().ok()?.key_at(index, offset).map(str::to_owned)
    }
}

impl Text {
    fn read(dir: &Path, name: &str, key: &'static str) -> Result<Self, EditError> {
        let source = Source::read(&dir.join(name)).map_err(|problem| EditError::Invalid(problem.into()))?;
        let source = source.ok_or(EditError::Changed)?;
        Ok(Self { key, before: Arc::clone(&source), after: source })
    }

    fn entries(&self) -> Result<EntryList, EditError> {
        let list = EntryList::find(&self.after, self.key);
        list.map_err(|problem| EditError::Invalid(Problems::from(problem)))?.ok_or(EditError::Changed)
    }

    fn replace(&mut self, text: String) {
        self.after = Source::new(self.before.path(), text);
    }
}
