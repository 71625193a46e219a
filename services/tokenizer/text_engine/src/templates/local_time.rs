//! A broken-down local time and C's strftime.

use std::ffi::CString;

use minijinja::{Error, ErrorKind};

/// Longest result of one formatting, in bytes.
const MAX_SIZE: usize = 1024;

#[derive(Clone, Copy)]
pub struct LocalTime(libc::tm);

// SAFETY: the only pointer inside, the name of the time zone, is null.
unsafe impl Send for LocalTime {}
unsafe impl Sync for LocalTime {}

impl From<libc::tm> for LocalTime {
    fn from(time: libc::tm) -> Self {
        LocalTime(libc::tm { tm_zone: std::ptr::null(), ..time })
    }
}

extern "C" {
    fn strftime(
        buffer: *mut libc::c_char,
        capacity: libc::size_t,
        format: *const libc::c_char,
        time: *const libc::tm,
    ) -> libc::size_t;
}

impl LocalTime {
    /// What strftime makes of `format`; empty when that is longer than MAX_SIZE.
    pub fn format(&self, format: &str) -> Result<String, Error> {
        let format = CString::new(format)
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "NUL in a date format"))?;
        let mut buffer = [0u8; MAX_SIZE];
        // SAFETY: the buffer's capacity is passed with it, the format ends in NUL.
        let size =
            unsafe { strftime(buffer.as_mut_ptr().cast(), MAX_SIZE, format.as_ptr(), &self.0) };
        Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
    }
}
