//! Text handling for C callers: see text_engine.h, template_engine.h and token_engine.h.

mod boundary;
mod templates;
mod tokens;
