//! Changes to a list of entries in a configuration file that leave everything else as the operator wrote it, byte for
//! byte. What is new looks like what stands beside it.

use std::sync::Arc;

use super::{
    Problem, Source,
    json::{Member, Node, Value, parse},
};

/// The list that a configuration file holds under one of its keys, such as the devices. Every change gives the whole new
/// text; the file itself is written by the caller, after it was checked.
#[derive(Debug)]
pub struct EntryList {
    source: Arc<Source>,
    list: Node,
}

impl EntryList {
    /// The list under this key; `None` if the file holds no such list of objects.
    ///
    /// # Errors
    /// The file is not JSON.
    pub fn find(source: &Arc<Source>, key: &str) -> Result<Option<Self>, Problem> {
        let Value::Object(members) = parse(source, "{}")?.value else { return Ok(None) };
        let found = members.into_iter().find(|member| member.key == key).map(|member| member.value);
        let list = found.filter(|list| {
            let objects = |items: &[Node]| items.iter().all(|item| matches!(item.value, Value::Object(_)));
            matches!(&list.value, Value::List(items) if objects(items))
        });
        Ok(list.map(|list| Self { source: Arc::clone(source), list }))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.items().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// With the key of the entry at `index` set to a value, in its place or behind the entry's other keys.
    ///
    /// # Panics
    /// There is no such entry.
    pub fn set(&self, index: usize, key: &str, value: &serde_json::Value) -> String {
        let entry = &self.items()[index];
        let members = members(entry);
        let value = value.to_string();
        if let Some(member) = members.iter().find(|member| member.key == key) {
            return self.replaced(member.value.span.start, member.value.span.end, &value);
        }
        match members.last() {
            Some(last) => {
                let style = self.style_of(entry);
                let new = format!("{}{}{}{value}", style.between, quoted(key), style.colon);
                self.replaced(last.value.span.end, last.value.span.end, &new)
            }
            None => {
                let new = format!("{{ {}: {value} }}", quoted(key));
                self.replaced(entry.span.start, entry.span.end, &new)
            }
        }
    }

    /// With one more entry at the end.
    pub fn insert(&self, entry: &[(&str, serde_json::Value)]) -> String {
        let Some(last) = self.items().last() else {
            let [before, after] = self.around_first();
            let new = format!("[{before}{}{after}]", Style::one_line().render(entry));
            return self.replaced(self.list.span.start, self.list.span.end, &new);
        };
        let new = format!("{}{}", self.between_items(), self.style_of(last).render(entry));
        self.replaced(last.span.end, last.span.end, &new)
    }

    /// Without the entry at `index`, and without the comma that it needed.
    ///
    /// # Panics
    /// There is no such entry.
    pub fn remove(&self, index: usize) -> String {
        let items = self.items();
        let span = &items[index].span;
        match (index.checked_sub(1).and_then(|before| items.get(before)), items.get(index + 1)) {
            (Some(before), _) => self.replaced(before.span.end, span.end, ""),
            (None, Some(after)) => self.replaced(span.start, after.span.start, ""),
            (None, None) => self.replaced(self.list.span.start, self.list.span.end, "[]"),
        }
    }

    /// The key of the entry at `index` whose value is at this byte offset of the file.
    pub fn key_at(&self, index: usize, offset: usize) -> Option<&str> {
        let found =
            members(self.items().get(index)?).iter().find(|member| member.value.span.contains(&offset));
        found.map(|member| member.key.as_str())
    }

    fn items(&self) -> &[Node] {
        match &self.list.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// How an entry is laid out, by what stands in it.
    fn style_of(&self, entry: &Node) -> Style<'_> {
        let [first, .., last] = members(entry) else {
            let [only] = members(entry) else { return Style::one_line() };
            let mut style = self.outer_style(entry, only, only);
            style.between = separator(style.open);
            return style;
        };
        let mut style = self.outer_style(entry, first, last);
        let before_last = &members(entry)[members(entry).len() - 2];
        style.between = self.text(before_last.value.span.end, last.key_span.start).to_owned();
        style
    }

    fn outer_style(&self, entry: &Node, first: &Member, last: &Member) -> Style<'_> {
        Style {
            open: self.text(entry.span.start + 1, first.key_span.start),
            between: String::new(),
            colon: self.text(last.key_span.end, last.value.span.start),
            close: self.text(last.value.span.end, entry.span.end - 1),
        }
    }

    /// What stands between two entries.
    fn between_items(&self) -> String {
        match self.items() {
            [.., before, last] => self.text(before.span.end, last.span.start).to_owned(),
            [only] => separator(self.text(self.list.span.start + 1, only.span.start)),
            [] => String::new(),
        }
    }

    /// What stands before and behind the first entry of a list that has none yet.
    fn around_first(&self) -> [String; 2] {
        let text = self.source.text();
        let before = self.text(0, self.list.span.start);
        let Some((_, line)) = before.rsplit_once('\n') else { return [" ".to_owned(), " ".to_owned()] };
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let indent = &line[..line.len() - line.trim_start().len()];
        let step = if indent.is_empty() { "  " } else { indent };
        [format!("{newline}{indent}{step}"), format!("{newline}{indent}")]
    }

    fn text(&self, start: usize, end: usize) -> &str {
        self.source.text().get(start..end).unwrap_or_default()
    }

    fn replaced(&self, start: usize, end: usize, new: &str) -> String {
        let text = self.source.text();
        [self.text(0, start), new, self.text(end, text.len())].concat()
    }
}

/// What stands around the keys and values of an entry.
struct Style<'t> {
    /// Between the brace and the first key.
    open: &'t str,
    /// Between a value and the next key.
    between: String,
    /// Between a key and its value.
    colon: &'t str,
    /// Between the last value and the brace.
    close: &'t str,
}

impl Style<'_> {
    fn one_line() -> Self {
        Style { open: " ", between: ", ".to_owned(), colon: ": ", close: " " }
    }

    fn render(&self, entry: &[(&str, serde_json::Value)]) -> String {
        let member =
            |(key, value): &(&str, serde_json::Value)| format!("{}{}{value}", quoted(key), self.colon);
        let members: Vec<_> = entry.iter().map(member).collect();
        format!("{{{}{}{}}}", self.open, members.join(&self.between), self.close)
    }
}

fn members(entry: &Node) -> &[Member] {
    match &entry.value {
        Value::Object(members) => members,
        _ => &[],
    }
}

/// A comma and what follows it, by what stands before the first of a list.
fn separator(before_first: &str) -> String {
    match before_first.contains('\n') {
        true => format!(",{before_first}"),
        false => ", ".to_owned(),
    }
}

fn quoted(key: &str) -> serde_json::Value {
    key.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DEVICES: &str = include_str!("../../../config/devices.json");

    #[test]
    fn a_new_key_looks_like_the_entrys_others() {
        for (before, after) in [
            (r#"{"l":[{"a":1}]}"#, r#"{"l":[{"a":1, "v":2}]}"#),
            (r#"{"l":[{"a":1,"b":2}]}"#, r#"{"l":[{"a":1,"b":2,"v":2}]}"#),
            (r#"{ "l": [ { "a": 1, "b": 2 } ] }"#, r#"{ "l": [ { "a": 1, "b": 2, "v": 2 } ] }"#),
            ("{\"l\":[{\n\t\"a\" : 1\n}]}\n", "{\"l\":[{\n\t\"a\" : 1,\n\t\"v\" : 2\n}]}\n"),
            ("{\"l\":[{\r\n a:1}]}", ""),
            (
                "{\"l\":[{\r\n  \"a\": 1,\r\n  \"b\": 2\r\n}]}",
                "{\"l\":[{\r\n  \"a\": 1,\r\n  \"b\": 2,\r\n  \"v\": 2\r\n}]}",
            ),
            ("{\"l\":[{\n  \"a\": 1\n, \"b\": 2\n}]}", "{\"l\":[{\n  \"a\": 1\n, \"b\": 2\n, \"v\": 2\n}]}"),
            (r#"{"l":[{}]}"#, r#"{"l":[{ "v": 2 }]}"#),
            (r#"{"l":[{"v": "x" , "a":1}]}"#, r#"{"l":[{"v": 2 , "a":1}]}"#),
            (r#"{"l":[{"v": {"deep": [1]}}]}"#, r#"{"l":[{"v": 2}]}"#),
        ] {
            match EntryList::find(&Source::new("f", before), "l") {
                Ok(list) => assert_eq!(list.unwrap().set(0, "v", &json!(2)), after),
                Err(_) => assert_eq!(after, "", "{before}"),
            }
        }
    }

    #[test]
    fn entries_come_and_go_in_the_style_of_their_list() {
        let list = |text: &str| EntryList::find(&Source::new("f", text), "devices").unwrap().unwrap();
        let new = [("code", json!(7)), ("name", json!("a \"b\""))];
        let shipped = list(DEVICES);
        assert_eq!((shipped.len(), shipped.is_empty()), (4, false));
        let more = shipped.insert(&new);
        let line = ",\n    { \"code\": 7, \"name\": \"a \\\"b\\\"\" }\n  ]\n}\n";
        assert!(more.ends_with(line), "{more}");
        assert_eq!(list(&more).remove(4), DEVICES);
        let without_first = shipped.remove(0);
        assert!(without_first.contains("[\n    { \"code\": 5412"), "{without_first}");
        for (before, after) in [
            (r#"{"devices":[]}"#, r#"{"devices":[ { "code": 7, "name": "a \"b\"" } ]}"#),
            (
                "{\n  \"devices\": [ ]\n}",
                "{\n  \"devices\": [\n    { \"code\": 7, \"name\": \"a \\\"b\\\"\" }\n  ]\n}",
            ),
            (r#"{"devices":[{"a":1,"b":2}]}"#, r#"{"devices":[{"a":1,"b":2}, {"code":7,"name":"a \"b\""}]}"#),
            (
                "{\"devices\":[\n  {\n    \"a\": 1\n  }\n]}",
                "{\"devices\":[\n  {\n    \"a\": 1\n  },\n  {\n    \"code\": 7,\n    \"name\": \"a \\\"b\\\"\"\n  }\n]}",
            ),
        ] {
            assert_eq!(list(before).insert(&new), after);
        }
        assert_eq!(list("{\"devices\": [ {} ] }").remove(0), "{\"devices\": [] }");
    }

    #[test]
    fn the_key_at_a_place_is_told() {
        let text = r#"{"l":[{"a":1},{"a":22,"b":[3]}]}"#;
        let list = EntryList::find(&Source::new("f", text), "l").unwrap().unwrap();
        let key_at = |index, of: &str| list.key_at(index, text.find(of).unwrap());
        assert_eq!([key_at(1, "22"), key_at(1, "[3]"), key_at(1, "3]")], [Some("a"), Some("b"), Some("b")]);
        assert_eq!([key_at(0, "22"), key_at(1, "\"b\""), key_at(7, "22")], [None; 3]);
    }

    #[test]
    fn what_is_no_list_of_entries_is_not_found() {
        for text in ["[]", "{}", r#"{"l":{}}"#, r#"{"l":[1]}"#, r#"{"l":[{},null]}"#] {
            assert!(EntryList::find(&Source::new("f", text), "l").unwrap().is_none(), "{text}");
        }
        assert!(EntryList::find(&Source::new("f", "{"), "l").is_err());
    }

    proptest! {
        #[test]
        fn a_change_changes_what_it_should_and_no_other_byte(
            text in file(),
            at in any::<prop::sample::Index>(),
            key in prop::sample::select(vec!["a", "b", "new", "ü\"\\"]),
            value in json_value(),
        ) {
            let list = EntryList::find(&Source::new("f", &*text), "l").unwrap().unwrap();
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
            let read = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };

            let mut wanted = parsed.clone();
            wanted["l"].as_array_mut().unwrap().push(json!({ key: value, "z": 1 }));
            let inserted = list.insert(&[(key, value.clone()), ("z", json!(1))]);
            prop_assert_eq!(read(&inserted), wanted);
            if !list.is_empty() {
                prop_assert!(kept(&text, &inserted) >= text.len(), "{} {}", text, inserted);
                let again = EntryList::find(&Source::new("f", &*inserted), "l").unwrap().unwrap();
                prop_assert_eq!(again.remove(list.len()), text.clone());
            }

            prop_assume!(!list.is_empty());
            let at = at.index(list.len());
            let mut wanted = parsed.clone();
            wanted["l"][at][key] = value.clone();
            let set = list.set(at, key, &value);
            prop_assert_eq!(read(&set), wanted);
            let before = parsed["l"][at].get(key);
            let replaced = members(&list.items()[at]).iter().find(|member| member.key == key);
            let replaced = replaced.map_or(0, |member| member.value.span.len());
            let empty = members(&list.items()[at]).is_empty();
            prop_assert_eq!(before.is_some(), replaced > 0);
            prop_assert!(empty || kept(&text, &set) >= text.len() - replaced, "{} {}", text, set);

            let mut wanted = parsed;
            wanted["l"].as_array_mut().unwrap().remove(at);
            let removed = list.remove(at);
            prop_assert_eq!(read(&removed), wanted);
        }
    }

    /// The bytes at the beginning and the end that two texts have in common.
    fn kept(before: &str, after: &str) -> usize {
        let same = |pairs: &mut dyn Iterator<Item = (u8, u8)>| pairs.take_while(|(a, b)| a == b).count();
        let start = same(&mut before.bytes().zip(after.bytes()));
        start + same(&mut before.bytes().rev().zip(after.bytes().rev()))
    }

    /// A file with a list of entries, written in every style that JSON allows.
    fn file() -> impl Strategy<Value = String> {
        let entry = (prop::collection::vec((json_value(), gap(), gap()), 0..4), gap(), gap());
        let entry = entry.prop_map(|(values, open, close)| {
            let keys = ["\"a\"", "\"b\"", "\"\\u0063\"", "\"d\""];
            let member = |((value, before, after), key): ((serde_json::Value, String, String), &&str)| {
                format!("{key}{before}:{after}{value:#}")
            };
            let members: Vec<_> = values.into_iter().zip(&keys).map(member).collect();
            format!("{{{open}{}{close}}}", members.join(&format!("{close},{open}")))
        });
        let entries = (prop::collection::vec(entry, 0..4), gap(), gap(), gap());
        (entries, gap(), gap()).prop_map(|((entries, before, after, around), start, end)| {
            let list = entries.join(&format!("{before},{after}"));
            format!("{start}{{{around}\"x\":\"[{{\",\"l\"{after}:{before}[{around}{list}{around}]{after},\"y\":[]}}{end}")
        })
    }

    fn gap() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", " ", "\n", "\r\n  ", "\t", "\n    ", "  "]).prop_map(str::to_owned)
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let values =
            vec![json!(1), json!("ä,]}\"\\"), json!([1, { "a": [] }]), json!({ "a": 1 }), json!(null)];
        prop::sample::select(values)
    }
}
