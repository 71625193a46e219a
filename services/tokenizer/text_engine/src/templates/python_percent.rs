//! Python's `'%s and %d' % (a, b)`. The engine has no such operator on strings and no place to add
//! one, but the filter `format` does the same: where a string literal stands before the operator, the
//! source is rewritten to use it. A template that keeps the text in a variable is out of reach.

/// `source` with `literal % operand` as `literal|format(operand)` in all its expressions.
pub fn with_format_filters(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) =
        rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min()
    {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = match &rest[..2] {
            "{#" => rest.find("#}").map_or(rest.len(), |at| at + 2),
            "{{" => expression_end(rest, "}}"),
            _ => expression_end(rest, "%}"),
        };
        let (expression, after) = rest.split_at(end);
        if is_raw(expression) {
            let raw_end = after.find("endraw").unwrap_or(after.len());
            result.push_str(expression);
            result.push_str(&after[..raw_end]);
            rest = &after[raw_end..];
            continue;
        }
        rewrite(expression, &mut result);
        rest = after;
    }
    result.push_str(rest);
    result
}

fn is_raw(tag: &str) -> bool {
    tag.starts_with("{%") && tag.trim_matches(['{', '}', '%', '-', '+', ' ']) == "raw"
}

/// Behind the `close` that ends what `text` begins with; string literals may hold it.
fn expression_end(text: &str, close: &str) -> usize {
    let mut at = 2;
    while at < text.len() {
        if text[at..].starts_with(close) {
            return at + close.len();
        }
        at += token_size(&text[at..]);
    }
    text.len()
}

/// Size of the string literal or the character that `text` begins with.
fn token_size(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let Some(quote @ (b'\'' | b'"')) = text.bytes().next() else { return first };
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn rewrite(expression: &str, result: &mut String) {
    let mut at = 0;
    let mut before = ' '; // the last character that is no space
    while at < expression.len() {
        let size = token_size(&expression[at..]);
        let token = &expression[at..at + size];
        result.push_str(token);
        at += size;
        let is_literal = token.starts_with(['\'', '"']);
        let operator = is_literal && !matches!(before, '*' | '/' | '%' | '~');
        before = token.chars().last().filter(|c| !c.is_whitespace()).unwrap_or(before);
        if !operator {
            continue;
        }
        let Some((operand, end)) = percent_operand(expression, at) else { continue };
        result.push_str("|format(");
        // The brackets of a tuple are those of the call.
        let inner = operand.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        match inner.filter(|_| bracket_size(operand) == operand.len()) {
            Some(arguments) => {
                let arguments = arguments.trim_end();
                rewrite(arguments.strip_suffix(',').unwrap_or(arguments), result);
            }
            None => rewrite(operand, result),
        }
        result.push(')');
        at = end;
    }
}

/// The operand of a `%` that comes next in `expression`, and where it ends.
fn percent_operand(expression: &str, at: usize) -> Option<(&str, usize)> {
    let spaces = |text: &str| text.len() - text.trim_start().len();
    let percent = at + spaces(&expression[at..]);
    let after = expression[percent..].strip_prefix('%')?;
    if after.starts_with(['}', '=']) {
        return None; // the end of the tag
    }
    let start = percent + 1 + spaces(after);
    let mut end = start + primary_size(&expression[start..]);
    if end == start {
        return None;
    }
    loop {
        let rest = &expression[end..];
        let next = rest.trim_start();
        let size = if rest.starts_with(['(', '[']) {
            bracket_size(rest)
        } else if let Some(attribute) = rest.strip_prefix('.') {
            1 + name_size(attribute)
        } else if let Some(filter) = next.strip_prefix('|') {
            let filter = filter.trim_start();
            rest.len() - filter.len() + name_size(filter)
        } else {
            return Some((&expression[start..end], end));
        };
        end += size;
    }
}

fn primary_size(text: &str) -> usize {
    match text.chars().next() {
        Some('(' | '[' | '{') => bracket_size(text),
        Some('\'' | '"') => token_size(text),
        Some('-' | '+') => 1 + name_size(&text[1..]),
        _ => name_size(text),
    }
}

/// A name or a number.
fn name_size(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// From an opening bracket to behind the one that closes it.
fn bracket_size(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let size = token_size(&text[at..]);
        match &text[at..at + size] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += size;
        if depth == 0 {
            break;
        }
    }
    at
}
