//! JSON Schema (draft 2020-12) as far as the published schemas use it. Validators that know all of it bring other features
//! of the number crates that the tensor library is built on, which would be compiled twice.

use serde_json::{Map, Value};

/// What is wrong with a value, a sentence each.
///
/// # Panics
/// When the schema is none, or uses a keyword that this does not know.
pub fn errors(schema: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(schema).unwrap();
    assert_eq!(root["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut found = Vec::new();
    Check { root: &root, found: &mut found }.check(&root, value, "");
    found
}

struct Check<'a> {
    root: &'a Value,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        let schema = schema.as_object().unwrap();
        for (keyword, says) in schema {
            let holds = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let name = says.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    self.check(&self.root["$defs"][name], value, at);
                    true
                }
                "const" => value == says,
                "enum" => says.as_array().unwrap().contains(value),
                "type" => match says {
                    Value::Array(types) => types.iter().any(|name| has_type(value, name)),
                    name => has_type(value, name),
                },
                "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
                "pattern" => {
                    assert_eq!(says, "^[0-9a-f]{64}$");
                    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                    value.as_str().is_none_or(|text| text.len() == 64 && text.bytes().all(digit))
                }
                "minItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 >= says.as_u64().unwrap())
                }
                "maxItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 <= says.as_u64().unwrap())
                }
                "items" => {
                    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(says, item, &format!("{at}/{place}"));
                    }
                    true
                }
                "prefixItems" => {
                    let items = value.as_array().into_iter().flatten().zip(says.as_array().unwrap());
                    for (place, (item, says)) in items.enumerate() {
                        self.check(says, item, &format!("{at}/{place}"));
                    }
                    true
                }
                "anyOf" => says.as_array().unwrap().iter().any(|says| {
                    let mut found = Vec::new();
                    Check { root: self.root, found: &mut found }.check(says, value, at);
                    found.is_empty()
                }),
                "properties" | "required" | "additionalProperties" => true,
                other => panic!("{other} is not known"),
            };
            if !holds {
                self.found.push(format!("{at}: `{keyword}` of {says} does not hold for {value}"));
            }
        }
        if let Some(fields) = value.as_object() {
            self.fields(schema, fields, at);
        }
    }

    fn fields(&mut self, schema: &Map<String, Value>, fields: &Map<String, Value>, at: &str) {
        let known = schema.get("properties").and_then(Value::as_object);
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                self.found.push(format!("{at}/{}: is missing", name.as_str().unwrap()));
            }
        }
        for (name, value) in fields {
            let at = format!("{at}/{name}");
            match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(says), _) => self.check(says, value, &at),
                (None, Some(Value::Bool(false))) => self.found.push(format!("{at}: is not in the schema")),
                (None, Some(says @ Value::Object(_))) => self.check(says, value, &at),
                (None, _) => {}
            }
        }
    }
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    }
}
