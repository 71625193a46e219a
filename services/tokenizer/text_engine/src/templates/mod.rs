//! Chat templates: see template_engine.h for the contract.

mod environment;
mod local_time;
mod python_json;
mod python_percent;

use minijinja::Environment;

use crate::boundary::{failure, guarded, text_from_c, Status, Text};

/// A compiled template. Immutable, so it may be shared between threads.
pub struct Template {
    environment: Environment<'static>,
}

/// # Safety
/// See template_engine.h.
#[no_mangle]
pub unsafe extern "C" fn template_engine_compile(
    source: *const u8,
    source_size: usize,
    compiled: *mut *mut Template,
    error: *mut Text,
) -> Status {
    let result =
        guarded(|| environment::compile(text_from_c(source, source_size)?).map_err(failure));
    match result {
        Ok(environment) => {
            *compiled = Box::into_raw(Box::new(Template { environment }));
            Status::Ok
        }
        Err((status, message)) => {
            *error = message.into();
            status
        }
    }
}

/// # Safety
/// See template_engine.h.
#[no_mangle]
pub unsafe extern "C" fn template_engine_render(
    compiled: *const Template,
    variables_json: *const u8,
    variables_size: usize,
    now: *const libc::tm,
    text: *mut Text,
) -> Status {
    let result = guarded(|| {
        let variables = text_from_c(variables_json, variables_size)?;
        environment::render(&(*compiled).environment, variables, (*now).into()).map_err(|error| {
            match environment::raised_message(&error) {
                Some(message) => (Status::Raised, message),
                None => failure(error),
            }
        })
    });
    let (status, message) = match result {
        Ok(rendered) => (Status::Ok, rendered),
        Err(error) => error,
    };
    *text = message.into();
    status
}

/// # Safety
/// `compiled` came from template_engine_compile and is not used again; it may be null.
#[no_mangle]
pub unsafe extern "C" fn template_engine_free(compiled: *mut Template) {
    if !compiled.is_null() {
        drop(Box::from_raw(compiled));
    }
}
