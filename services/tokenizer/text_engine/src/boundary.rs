//! What every function of the C interface needs: text both ways, statuses, no panic.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;

/// Text handed to C: a boxed slice of bytes taken apart.
#[repr(C)]
pub struct Text {
    data: *mut u8,
    size: usize,
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        let bytes = bytes.into_boxed_slice();
        let size = bytes.len();
        Text { data: Box::into_raw(bytes).cast::<u8>(), size }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

#[repr(C)]
#[derive(Debug, PartialEq)]
pub enum Status {
    Ok = 0,
    Error = 1,
    Raised = 2,
}

pub type Failure = (Status, String);

pub fn failure(error: impl ToString) -> Failure {
    (Status::Error, error.to_string())
}

/// # Safety
/// `data` points to `size` readable bytes, or `size` is 0.
pub unsafe fn text_from_c<'a>(data: *const u8, size: usize) -> Result<&'a str, Failure> {
    std::str::from_utf8(slice_from_c(data, size)).map_err(failure)
}

/// # Safety
/// `data` points to `size` readable elements, or `size` is 0.
pub unsafe fn slice_from_c<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        return &[];
    }
    slice::from_raw_parts(data, size)
}

/// Unwinds out of a library that cannot return an error; `guarded` turns it into one.
pub struct Abandoned(pub &'static str);

/// A panic must not cross into C; it becomes an ordinary error.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(failure(match panic.downcast_ref::<Abandoned>() {
            Some(Abandoned(reason)) => reason,
            None => "the text engine failed",
        }))
    })
}

/// # Safety
/// `text` came from this library and is not used again; its data may be null.
#[no_mangle]
pub unsafe extern "C" fn text_engine_free_text(text: Text) {
    if !text.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.data, text.size)));
    }
}
