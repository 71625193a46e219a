//! The Jinja environment that chat templates are written for.

use std::error::Error as StdError;
use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::local_time::LocalTime;
use super::python_json;
use super::python_percent;

const NAME: &str = "chat_template";

/// Engine steps after which a template is stopped: seconds of work, far beyond any real chat.
const MAX_STEPS: u64 = 20_000_000;

/// What a template said through raise_exception, kept apart from the engine's own errors.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl StdError for Raised {}

pub fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(MAX_STEPS));
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", raise_exception);
    environment.add_template_owned(
        NAME,
        python_percent::with_format_filters(&without_generation_tags(source)),
    )?;
    Ok(environment)
}

pub fn render(
    environment: &Environment<'static>,
    variables_json: &str,
    now: LocalTime,
) -> Result<String, Error> {
    let variables: Value = serde_json::from_str(variables_json)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let strftime_now = Value::from_function(move |format: &str| now.format(format));
    let context = minijinja::context! { strftime_now, ..variables };
    environment.get_template(NAME)?.render(context)
}

pub fn raised_message(error: &Error) -> Option<String> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(Raised(message)) = inner.downcast_ref::<Raised>() {
            return Some(message.clone());
        }
        source = inner.source();
    }
    None
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template")
        .with_source(Raised(message.to_string())))
}

fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let style = python_json::Style {
        indent: match indent {
            Some(width) => Some(width),
            None => options.get("indent")?,
        },
        separators: separators(&options)?,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    python_json::dumps(value, &style).map(Value::from)
}

fn separators(options: &Kwargs) -> Result<Option<(String, String)>, Error> {
    let Some(pair) = options.get::<Option<Vec<String>>>("separators")? else {
        return Ok(None);
    };
    match <[String; 2]>::try_from(pair) {
        Ok([item, key]) => Ok(Some((item, key))),
        Err(_) => Err(Error::new(ErrorKind::InvalidOperation, "separators must be a pair")),
    }
}

/// `{% generation %}` marks what a trainer would learn from; it prints its body, as a condition that
/// always holds does. Whitespace marks ("{%- generation +%}") stay.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        result.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let name = tag[2..end].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        match name {
            "generation" => result.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => result.push_str(&tag.replace("endgeneration", "endif")),
            _ => result.push_str(tag),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}
