//! Chat templates for C callers: see template_engine.h for the contract.

mod environment;
mod local_time;
mod python_json;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;

use minijinja::Environment;

/// A compiled template. Immutable, so it may be shared between threads.
pub struct Template {
    environment: Environment<'static>,
}

/// Text handed to C: a boxed slice of bytes taken apart.
#[repr(C)]
pub struct Text {
    data: *mut u8,
    size: usize,
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        let bytes = text.into_bytes().into_boxed_slice();
        let size = bytes.len();
        Text { data: Box::into_raw(bytes).cast::<u8>(), size }
    }
}

#[repr(C)]
pub enum Status {
    Ok = 0,
    Error = 1,
    Raised = 2,
}

/// # Safety
/// `data` points to `size` readable bytes, or `size` is 0.
unsafe fn text_from_c<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    if size == 0 {
        return Ok("");
    }
    std::str::from_utf8(slice::from_raw_parts(data, size)).map_err(|error| error.to_string())
}

/// A panic must not cross into C; it becomes an ordinary error.
fn guarded<T>(work: impl FnOnce() -> Result<T, (Status, String)>) -> Result<T, (Status, String)> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err((Status::Error, "the template engine failed".to_string())))
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
    let result = guarded(|| {
        let source = text_from_c(source, source_size).map_err(|e| (Status::Error, e))?;
        environment::compile(source).map_err(|e| (Status::Error, e.to_string()))
    });
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
        let variables =
            text_from_c(variables_json, variables_size).map_err(|e| (Status::Error, e))?;
        environment::render(&(*compiled).environment, variables, (*now).into()).map_err(|error| {
            match environment::raised_message(&error) {
                Some(message) => (Status::Raised, message),
                None => (Status::Error, error.to_string()),
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

/// # Safety
/// `text` came from this library and is not used again; its data may be null.
#[no_mangle]
pub unsafe extern "C" fn template_engine_free_text(text: Text) {
    if !text.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.data, text.size)));
    }
}
