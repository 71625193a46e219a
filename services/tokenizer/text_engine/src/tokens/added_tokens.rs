//! The tokens that tokenizer_config.json adds to tokenizer.json, as transformers' fast tokenizers do.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::tokenizer::{AddedToken, Result};

use super::engine::Pipeline;

const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

#[derive(Deserialize)]
struct Entry {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl Entry {
    fn token(self, special: bool) -> AddedToken {
        AddedToken::from(self.content, special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!special))
    }
}

/// A special token given by name: text, or an object; anything else is no token.
fn named_token(value: &Value) -> Option<AddedToken> {
    match value {
        Value::String(content) => Some(AddedToken::from(content.clone(), true)),
        Value::Object(_) => Some(Entry::deserialize(value).ok()?.token(true)),
        _ => None,
    }
}

fn named_tokens(config: &Value) -> Vec<AddedToken> {
    let mut values: Vec<&Value> = NAMED.iter().filter_map(|name| config.get(name)).collect();
    for list in LISTS {
        match config.get(list) {
            Some(Value::Array(entries)) => values.extend(entries),
            Some(Value::Object(entries)) => values.extend(entries.values()),
            _ => {}
        }
    }
    values.into_iter().filter_map(named_token).collect()
}

pub fn add(pipeline: &mut Pipeline, config_json: &str) -> Result<()> {
    let config: Value = serde_json::from_str(config_json)?;
    let named = named_tokens(&config);
    let special: HashSet<&str> = named.iter().map(|token| token.content.as_str()).collect();

    let mut tokens = Vec::new();
    if let Some(entries) = config.get("added_tokens_decoder").filter(|value| !value.is_null()) {
        let by_id = BTreeMap::<u32, Entry>::deserialize(entries)
            .map_err(|error| format!("tokenizer_config.json: added_tokens_decoder: {error}"))?;
        for entry in by_id.into_values() {
            let is_special = entry.special || special.contains(entry.content.as_str());
            tokens.push(entry.token(is_special));
        }
    }
    let mut known: HashSet<String> =
        pipeline.get_added_vocabulary().get_vocab().keys().cloned().collect();
    known.extend(tokens.iter().map(|token| token.content.clone()));
    for token in named {
        if known.insert(token.content.clone()) {
            tokens.push(token);
        }
    }
    pipeline.add_tokens(tokens)?;
    Ok(())
}
