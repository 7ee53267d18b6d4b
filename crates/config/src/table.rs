//! [`Table`]: a TOML table that is read key by key.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::values;
use umacvlan_text::suggest::did_you_mean;

/// A table whose keys are read one by one. Keys that were not read are unknown.
#[derive(Debug)]
pub(super) struct Table<'t> {
    /// The name of the table in messages: `[link.mac1]`.
    name: String,
    /// The place of the table's name in the file.
    span: Range<usize>,
    content: &'t DeTable<'t>,
    known: Vec<&'static str>,
    spans: Spans,
}

/// The places of a table's keys and values in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    table: Range<usize>,
    values: BTreeMap<&'static str, Range<usize>>,
}

impl Spans {
    /// The place of the value of `key`, or of the table if it has no such key.
    pub(super) fn of(&self, key: &str) -> Range<usize> {
        self.values.get(key).unwrap_or(&self.table).clone()
    }

    /// Whether the table has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

impl<'t> Table<'t> {
    /// The table in `value`; any other value is an error.
    pub(super) fn new(
        name: String,
        key: &Range<usize>,
        value: &'t Spanned<DeValue<'t>>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let kind = values::kind(value.get_ref());
            let message = format!("{name} is {kind}, expected a table");
            diagnostics.push(Diagnostic { span: value.span(), message });
        }
        table.map(|content| Self::of(name, key.clone(), content))
    }

    /// A table with this content.
    pub(super) fn of(name: String, span: Range<usize>, content: &'t DeTable<'t>) -> Self {
        let spans = Spans { table: span.clone(), values: BTreeMap::new() };
        Self { name, span, content, known: Vec::new(), spans }
    }

    /// The value of `key`, if it is present and `read` accepts it.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        diagnostics: &mut Vec<Diagnostic>,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        read(value.get_ref())
            .map_err(|why| {
                let message = format!("{key}: {why}");
                diagnostics.push(Diagnostic { span: value.span(), message });
            })
            .ok()
    }

    /// The elements of the list of `key` that `read` accepts. Each other element has its own
    /// diagnostic.
    pub(super) fn take_list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        diagnostics: &mut Vec<Diagnostic>,
        read: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        let Some(elements) = value.get_ref().as_array() else {
            let kind = values::kind(value.get_ref());
            let message = format!("{key}: this is {kind}, expected {expected}");
            diagnostics.push(Diagnostic { span: value.span(), message });
            return None;
        };
        let mut read_all = Vec::with_capacity(elements.len());
        for element in elements.iter() {
            match read(element.get_ref()) {
                Ok(value) => read_all.push(Spanned::new(element.span(), value)),
                Err(why) => {
                    let message = format!("{key}: {why}");
                    diagnostics.push(Diagnostic { span: element.span(), message });
                }
            }
        }
        Some(read_all)
    }

    /// The tables inside the table of `key`, by name.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<(&'t Spanned<DeString<'t>>, Self)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let name = format!("[{key}]");
        let Some(outer) = Self::new(name, &value.span(), value, diagnostics) else {
            return Vec::new();
        };
        let inner = outer.content.iter().filter_map(|(name, value)| {
            let called = format!("[{key}.{}]", toml_key(name.get_ref()));
            let table = Table::new(called, &name.span(), value, diagnostics)?;
            Some((name, table))
        });
        inner.collect()
    }

    /// The table of `key`.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let value = self.value(key)?;
        Self::new(format!("[{key}]"), &value.span(), value, diagnostics)
    }

    /// Reports `key` as missing, unless it is present; `what` is an example of its value.
    pub(super) fn require(&self, key: &'static str, what: &str, diagnostics: &mut Vec<Diagnostic>) {
        if !self.spans.has(key) {
            let message = format!("{} has no {key}, expected {key} = {what}", self.name);
            diagnostics.push(Diagnostic { span: self.span.clone(), message });
        }
    }

    /// Ends the table: every key that was not read is an error.
    pub(super) fn finish(mut self, diagnostics: &mut Vec<Diagnostic>) -> Spans {
        self.known.sort_unstable();
        for key in self.content.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let typed = key.get_ref().as_ref();
            let place = &self.name;
            // All of them are many: they are told only if none is near.
            let expected = match did_you_mean(typed, &self.known) {
                none if none.is_empty() => format!(", expected one of {}", self.known.join(", ")),
                guess => guess,
            };
            let message = format!("unknown key {typed:?} in {place}{expected}");
            diagnostics.push(Diagnostic { span: key.span(), message });
        }
        self.spans
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        let value = self.content.get(key)?;
        self.spans.values.insert(key, value.span());
        Some(value)
    }
}

/// A key as it is written in a file: in quotes if it needs them.
pub(super) fn toml_key(key: &str) -> String {
    let bare = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_');
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") }
}
