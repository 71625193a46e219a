//! Regular expressions of tokenizer.json that cannot run for ever. Oniguruma backtracks, so one
//! search has a limit of steps, and all the searches of an encoding have a deadline together.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Once;
use std::time::{Duration, Instant};

use onig::{MatchParam, Region, SearchOptions};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizer::SplitDelimiterBehavior;
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::{NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};
use tokenizers::tokenizer::{Offsets, Result};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use crate::boundary::Abandoned;

/// Steps back of one search: half a second. A text of 8 MiB of spaces needs as many as it has.
const MAX_RETRIES: std::ffi::c_ulong = 20_000_000;
/// Seconds beyond the slowest real tokenizer on the longest text.
const MAX_TIME: Duration = Duration::from_secs(10);

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Takes this thread's deadline away, also when its work unwinds.
struct DeadlineEnd;

impl Drop for DeadlineEnd {
    fn drop(&mut self) {
        DEADLINE.set(None);
    }
}

/// Runs `work` with a deadline for what this module searches. Beyond it `work` is abandoned by
/// unwinding, since the pipeline drops the errors of normalizers.
pub fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let _end = DeadlineEnd;
    DEADLINE.set(Some(Instant::now() + MAX_TIME));
    work()
}

/// Sets the limit of one search for every expression, also those that the pipeline compiles itself.
pub fn limit_searches() {
    static LIMIT: Once = Once::new();
    // SAFETY: sets one number of the library, before any search of this crate.
    LIMIT.call_once(|| unsafe {
        onig_sys::onig_set_retry_limit_in_search(MAX_RETRIES);
    });
}

fn abandon() -> ! {
    // No panic: nothing is wrong with this program, so nothing is printed.
    resume_unwind(Box::new(Abandoned("a regular expression of tokenizer.json takes too long")))
}

struct Regex(onig::Regex);

impl Regex {
    fn new(pattern: &str) -> Result<Regex> {
        Ok(Regex(onig::Regex::new(pattern)?))
    }

    /// The next match from `from` on.
    fn find(&self, text: &str, from: usize, region: &mut Region) -> Option<(usize, usize)> {
        if DEADLINE.get().is_some_and(|deadline| Instant::now() > deadline) {
            abandon();
        }
        region.clear();
        let none = SearchOptions::SEARCH_OPTION_NONE;
        let parameters = MatchParam::default();
        match self.0.search_with_param(text, from, text.len(), none, Some(region), parameters) {
            Ok(found) => found.and_then(|_| region.pos(0)),
            Err(_) => abandon(),
        }
    }
}

impl Pattern for &Regex {
    fn find_matches(&self, text: &str) -> Result<Vec<(Offsets, bool)>> {
        let mut pieces = Vec::new();
        if text.is_empty() {
            pieces.push(((0, 0), false));
        }
        let mut region = Region::new();
        let (mut from, mut end_of_last) = (0, None);
        let mut covered = 0;
        while from <= text.len() {
            let Some((start, end)) = self.find(text, from, &mut region) else { break };
            if start == end && end_of_last == Some(end) {
                // An empty match right after a match does not count: on to the next character.
                from += text[from..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            (from, end_of_last) = (end, Some(end));
            if text.is_empty() {
                break;
            }
            if covered != start {
                pieces.push(((covered, start), false));
            }
            pieces.push(((start, end), true));
            covered = end;
        }
        if covered != text.len() {
            pieces.push(((covered, text.len()), false));
        }
        Ok(pieces)
    }
}

enum PreTokenization {
    Split { regex: Regex, behavior: SplitDelimiterBehavior, invert: bool },
    Other(PreTokenizerWrapper),
}

/// A pre_tokenizer of tokenizer.json, its sequences flattened.
#[derive(Deserialize)]
#[serde(try_from = "PreTokenizerWrapper")]
pub struct PreTokenizers(Vec<PreTokenization>);

impl TryFrom<PreTokenizerWrapper> for PreTokenizers {
    type Error = tokenizers::Error;

    fn try_from(wrapper: PreTokenizerWrapper) -> Result<Self> {
        let mut steps = Vec::new();
        flatten_pre_tokenizer(wrapper, &mut steps)?;
        Ok(PreTokenizers(steps))
    }
}

fn flatten_pre_tokenizer(
    wrapper: PreTokenizerWrapper,
    steps: &mut Vec<PreTokenization>,
) -> Result<()> {
    match wrapper {
        PreTokenizerWrapper::Sequence(sequence) => {
            for inner in sequence {
                flatten_pre_tokenizer(inner, steps)?;
            }
        }
        PreTokenizerWrapper::Split(split) => match &split.pattern {
            SplitPattern::Regex(pattern) => steps.push(PreTokenization::Split {
                regex: Regex::new(pattern)?,
                behavior: split.behavior,
                invert: split.invert,
            }),
            SplitPattern::String(_) => {
                steps.push(PreTokenization::Other(PreTokenizerWrapper::Split(split)));
            }
        },
        other => steps.push(PreTokenization::Other(other)),
    }
    Ok(())
}

impl PreTokenizer for PreTokenizers {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> Result<()> {
        for step in &self.0 {
            match step {
                PreTokenization::Split { regex, behavior, invert: false } => {
                    text.split(|_, part| part.split(regex, *behavior))?;
                }
                PreTokenization::Split { regex, behavior, invert: true } => {
                    text.split(|_, part| part.split(Invert(regex), *behavior))?;
                }
                PreTokenization::Other(wrapper) => wrapper.pre_tokenize(text)?,
            }
        }
        Ok(())
    }
}

enum Normalization {
    Replace { regex: Regex, content: String },
    Other(NormalizerWrapper),
}

/// A normalizer of tokenizer.json, its sequences flattened.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub struct Normalizers(Vec<Normalization>);

impl TryFrom<Value> for Normalizers {
    type Error = tokenizers::Error;

    fn try_from(value: Value) -> Result<Self> {
        let mut steps = Vec::new();
        flatten_normalizer(value, &mut steps)?;
        Ok(Normalizers(steps))
    }
}

fn flatten_normalizer(mut value: Value, steps: &mut Vec<Normalization>) -> Result<()> {
    let kind = value["type"].as_str().unwrap_or_default();
    if kind == "Sequence" && value["normalizers"].is_array() {
        if let Value::Array(normalizers) = value["normalizers"].take() {
            for inner in normalizers {
                flatten_normalizer(inner, steps)?;
            }
        }
        return Ok(());
    }
    if kind == "Replace" {
        if let (Some(pattern), Some(content)) =
            (value["pattern"]["Regex"].as_str(), value["content"].as_str())
        {
            let (regex, content) = (Regex::new(pattern)?, content.to_string());
            steps.push(Normalization::Replace { regex, content });
            return Ok(());
        }
    }
    steps.push(Normalization::Other(serde_json::from_value(value)?));
    Ok(())
}

impl Normalizer for Normalizers {
    fn normalize(&self, text: &mut NormalizedString) -> Result<()> {
        for step in &self.0 {
            match step {
                Normalization::Replace { regex, content } => text.replace(regex, content)?,
                Normalization::Other(wrapper) => wrapper.normalize(text)?,
            }
        }
        Ok(())
    }
}
