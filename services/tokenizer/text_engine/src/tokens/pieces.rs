//! What single tokens print, so that a text can be decoded token by token.

use std::collections::HashMap;

use tokenizers::decoders::sequence::Sequence;
use tokenizers::tokenizer::Result;
use tokenizers::DecoderWrapper;

use super::engine::Pipeline;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    None = 0,
    Text = 1,
    Byte = 2,
    Special = 3,
}

pub struct Piece {
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

/// How decoding joins tokens. Only decoders where a token, unless it begins the text, prints the
/// same after any other.
pub enum Joining {
    /// Tokens are bytes, written in the characters of this map.
    Bytes(HashMap<char, u8>),
    /// Tokens are text. What one prints is seen behind `anchor`, a token that prints `printed`.
    Text { anchor: u32, printed: String, byte_fallback: bool },
}

impl Joining {
    pub fn of(pipeline: &Pipeline, vocabulary: u32) -> Result<Joining> {
        let mut decoders = Vec::new();
        if let Some(decoder) = pipeline.get_decoder() {
            flatten(decoder, &mut decoders);
        }
        let mut apart =
            decoders.iter().filter(|decoder| !matches!(decoder, DecoderWrapper::Fuse(_)));
        if let (Some(DecoderWrapper::ByteLevel(_)), None) = (apart.next(), apart.next()) {
            return Ok(Joining::Bytes(byte_characters()));
        }
        check(&decoders)?;
        let byte_fallback =
            decoders.iter().any(|decoder| matches!(decoder, DecoderWrapper::ByteFallback(_)));
        for anchor in 0..vocabulary {
            // A byte's token would become one run with the bytes behind it.
            let token = pipeline.id_to_token(anchor).unwrap_or_default();
            if byte_fallback && byte_of(&token).is_some() {
                continue;
            }
            let printed = pipeline.decode(&[anchor], true)?;
            if printed.chars().any(char::is_alphanumeric) && printed.is_ascii() {
                return Ok(Joining::Text { anchor, printed, byte_fallback });
            }
        }
        Err("no token prints a letter or a digit".into())
    }

    /// What ids add to a text that they do not begin.
    pub fn decode_inside(
        &self,
        pipeline: &Pipeline,
        ids: &[u32],
        skip_special: bool,
    ) -> Result<String> {
        let Joining::Text { anchor, printed, .. } = self else {
            return pipeline.decode(ids, skip_special);
        };
        let with_anchor: Vec<u32> = std::iter::once(*anchor).chain(ids.iter().copied()).collect();
        let text = pipeline.decode(&with_anchor, skip_special)?;
        Ok(text.strip_prefix(printed.as_str()).unwrap_or_default().to_string())
    }

    /// Nothing for ids that stand for nothing.
    pub fn piece(&self, pipeline: &Pipeline, id: u32) -> Option<Piece> {
        let token = pipeline
            .get_added_vocabulary()
            .simple_id_to_token(id)
            .or_else(|| pipeline.id_to_token(id))?;
        let special = pipeline.get_added_vocabulary().is_special_token(&token);
        let kind = if special { Kind::Special } else { Kind::Text };
        match self {
            Joining::Bytes(characters) => {
                let bytes: Option<Vec<u8>> =
                    token.chars().map(|character| characters.get(&character).copied()).collect();
                Some(Piece { kind, bytes: bytes.unwrap_or_else(|| token.into_bytes()) })
            }
            Joining::Text { byte_fallback, .. } => {
                if let (true, Some(byte)) = (*byte_fallback && !special, byte_of(&token)) {
                    return Some(Piece { kind: Kind::Byte, bytes: vec![byte] });
                }
                let text = self.decode_inside(pipeline, &[id], false).ok()?;
                Some(Piece { kind, bytes: text.into_bytes() })
            }
        }
    }
}

fn flatten<'a>(decoder: &'a DecoderWrapper, decoders: &mut Vec<&'a DecoderWrapper>) {
    match decoder {
        DecoderWrapper::Sequence(sequence) => {
            Sequence::get_decoders(sequence).iter().for_each(|inner| flatten(inner, decoders));
        }
        other => decoders.push(other),
    }
}

/// Refuses decoders that look at a token's neighbours, which streams could not follow.
fn check(decoders: &[&DecoderWrapper]) -> Result<()> {
    let mut fused = false;
    for decoder in decoders {
        let name = match decoder {
            DecoderWrapper::Fuse(_) => {
                fused = true;
                continue;
            }
            DecoderWrapper::Strip(strip) if !fused || strip.stop == 0 => continue,
            DecoderWrapper::Replace(_)
            | DecoderWrapper::ByteFallback(_)
            | DecoderWrapper::Metaspace(_)
            | DecoderWrapper::WordPiece(_)
                if !fused =>
            {
                continue
            }
            DecoderWrapper::Strip(_) => "Strip at the end of the text",
            DecoderWrapper::ByteLevel(_) => "ByteLevel beside others",
            DecoderWrapper::BPE(_) => "BPEDecoder",
            DecoderWrapper::CTC(_) => "CTC",
            _ => "a decoder after Fuse",
        };
        return Err(format!("decoder: {name} is not supported").into());
    }
    Ok(())
}

/// The byte that a token such as "<0x41>" stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// GPT-2's way to write bytes: printable ones as the characters of their number, the others, in
/// order, as the characters from 256 on.
fn byte_characters() -> HashMap<char, u8> {
    let mut others = 256u32..;
    (0..=255u8)
        .filter_map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let character = if printable { u32::from(byte) } else { others.next()? };
            Some((char::from_u32(character)?, byte))
        })
        .collect()
}
