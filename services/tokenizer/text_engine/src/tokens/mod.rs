//! tokenizer.json: see token_engine.h for the contract.

mod added_tokens;
mod bounded;
mod engine;
mod pieces;

use crate::boundary::{failure, guarded, slice_from_c, text_from_c, Status, Text};
use engine::Engine;
use pieces::Kind;

/// Ids handed to C: a boxed slice taken apart.
#[repr(C)]
pub struct Ids {
    data: *mut i32,
    size: usize,
}

impl From<Vec<i32>> for Ids {
    fn from(ids: Vec<i32>) -> Self {
        let ids = ids.into_boxed_slice();
        let size = ids.len();
        Ids { data: Box::into_raw(ids).cast::<i32>(), size }
    }
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_open(
    tokenizer_json: *const u8,
    tokenizer_size: usize,
    config_json: *const u8,
    config_size: usize,
    opened: *mut *mut Engine,
    error: *mut Text,
) -> Status {
    let result = guarded(|| {
        let tokenizer = text_from_c(tokenizer_json, tokenizer_size)?;
        let config = text_from_c(config_json, config_size)?;
        Engine::open(tokenizer, config).map_err(failure)
    });
    match result {
        Ok(engine) => {
            *opened = Box::into_raw(Box::new(engine));
            Status::Ok
        }
        Err((status, message)) => {
            *error = message.into();
            status
        }
    }
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_encode(
    engine: *const Engine,
    text: *const u8,
    size: usize,
    add_special: bool,
    ids: *mut Ids,
    error: *mut Text,
) -> Status {
    let result = guarded(|| {
        let text = text_from_c(text, size)?;
        (*engine).encode(text, add_special).map_err(failure)
    });
    match result {
        Ok(encoded) => {
            *ids = encoded.into();
            Status::Ok
        }
        Err((status, message)) => {
            *error = message.into();
            status
        }
    }
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_decode(
    engine: *const Engine,
    ids: *const i32,
    size: usize,
    skip_special: bool,
    continues_text: bool,
    text: *mut Text,
) -> Status {
    let result = guarded(|| {
        let ids = slice_from_c(ids, size);
        (*engine).decode(ids, skip_special, continues_text).map_err(failure)
    });
    let (status, message) = match result {
        Ok(decoded) => (Status::Ok, decoded),
        Err(error) => error,
    };
    *text = message.into();
    status
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_vocabulary(engine: *const Engine) -> i32 {
    (*engine).vocabulary()
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_find(
    engine: *const Engine,
    name: *const u8,
    size: usize,
) -> i32 {
    guarded(|| Ok((*engine).find(text_from_c(name, size)?))).ok().flatten().unwrap_or(-1)
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_is_byte_level(engine: *const Engine) -> bool {
    (*engine).is_byte_level()
}

/// # Safety
/// See token_engine.h.
#[no_mangle]
pub unsafe extern "C" fn token_engine_piece(
    engine: *const Engine,
    id: i32,
    bytes: *mut Text,
) -> Kind {
    match guarded(|| Ok((*engine).piece(id))) {
        Ok(Some(piece)) => {
            *bytes = piece.bytes.into();
            piece.kind
        }
        _ => Kind::None,
    }
}

/// # Safety
/// `engine` came from token_engine_open and is not used again; it may be null.
#[no_mangle]
pub unsafe extern "C" fn token_engine_free(engine: *mut Engine) {
    if !engine.is_null() {
        drop(Box::from_raw(engine));
    }
}

/// # Safety
/// `ids` came from this library and are not used again; their data may be null.
#[no_mangle]
pub unsafe extern "C" fn token_engine_free_ids(ids: Ids) {
    if !ids.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(ids.data, ids.size)));
    }
}
