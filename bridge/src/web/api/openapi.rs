//! `GET /api/v1/openapi.json`: what there is, for programs and those who write them. It is written by hand, and tests compare
//! it with the routes and with what is answered.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

use crate::web::Web;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], DOCUMENT) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, fs, path::Path};

    use serde_json::Value;

    use super::*;

    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

    #[test]
    fn every_route_is_in_the_document_and_the_other_way_round() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods =
                    item.as_object().unwrap().keys().filter(|name| METHODS.contains(&name.as_str()));
                methods.map(move |method| format!("{method} {path}"))
            })
            .collect();
        let mut routes = BTreeSet::new();
        for place in ["api", "metrics", "health.rs"] {
            collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web").join(place), &mut routes);
        }
        assert!(routes.len() > 30, "{routes:?}");
        assert_eq!(routes.difference(&documented).collect::<Vec<_>>(), [""; 0], "not in openapi.json");
        assert_eq!(documented.difference(&routes).collect::<Vec<_>>(), [""; 0], "no routes");
    }

    #[test]
    fn every_reference_leads_somewhere_and_everything_is_referred_to() {
        let document = document();
        let mut references = BTreeSet::new();
        find_references(&document, &mut references);
        for reference in &references {
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
        for (kind, components) in document["components"].as_object().unwrap() {
            for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
                assert!(references.contains(&format!("#/components/{kind}/{name}")), "{kind}/{name}");
            }
        }
    }

    #[test]
    fn every_operation_has_what_tools_need() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let named: BTreeSet<_> =
                path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect();
            let parameters = item["parameters"].as_array().cloned().unwrap_or_default();
            let given: BTreeSet<_> = parameters
                .iter()
                .map(|given| resolve(&document, given)["name"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(given, named, "{path}");
            for method in METHODS {
                let Some(operation) = item.get(method) else { continue };
                let what = format!("{method} {path}");
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}");
                assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{what}");
                let has_body = operation.get("requestBody").is_some();
                assert!(!has_body || ["post", "put", "patch"].contains(&method), "{what}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{what}");
                let is_open = operation["security"] == serde_json::json!([]);
                assert!(is_open || responses.contains_key("401"), "{what}");
            }
        }
    }

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
        match value["$ref"].as_str() {
            Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => value,
        }
    }

    fn find_references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| find_references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| find_references(item, found)),
            _ => {}
        }
    }

    /// What the sources say: `.route("<path>", get(…).post(…))`.
    fn collect(place: &Path, found: &mut BTreeSet<String>) {
        if place.is_dir() {
            fs::read_dir(place).unwrap().for_each(|entry| collect(&entry.unwrap().path(), found));
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(place).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for route in code.split(".route(").skip(1) {
                let (_, route) = route.split_once('"').unwrap();
                let (path, route) = route.split_once('"').unwrap();
                let handlers = &route[..end_of_call(route)];
                for method in METHODS.iter().filter(|method| handlers.contains(&format!("{method}("))) {
                    found.insert(format!("{method} {path}"));
                }
            }
        }
    }

    /// Where the parenthesis closes that was opened before.
    fn end_of_call(text: &str) -> usize {
        let mut open = 1;
        let closes = |(_, c): &(usize, char)| {
            open += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            open == 0
        };
        text.char_indices().find(closes).map_or(text.len(), |(end, _)| end)
    }
}
