//! One opened tokenizer.json.

use tokenizers::tokenizer::{Result, TokenizerImpl};
use tokenizers::{DecoderWrapper, ModelWrapper, PostProcessorWrapper};

use super::added_tokens;
use super::bounded::{self, Normalizers, PreTokenizers};
use super::pieces::{Joining, Piece};

pub type Pipeline =
    TokenizerImpl<ModelWrapper, Normalizers, PreTokenizers, PostProcessorWrapper, DecoderWrapper>;

/// Larger ids than any real vocabulary has.
const MAX_VOCABULARY: u32 = 1 << 24;

pub struct Engine {
    pipeline: Pipeline,
    joining: Joining,
    vocabulary: u32,
}

impl Engine {
    pub fn open(tokenizer_json: &str, config_json: &str) -> Result<Engine> {
        bounded::limit_searches();
        let mut pipeline: Pipeline = serde_json::from_str(tokenizer_json)?;
        // transformers cuts and pads only when a caller asks for it.
        pipeline.with_truncation(None)?;
        pipeline.with_padding(None);
        if let ModelWrapper::BPE(model) = pipeline.get_model() {
            if model.dropout.is_some_and(|dropout| dropout != 0.0) {
                return Err("model.dropout would give another encoding each time".into());
            }
        }
        added_tokens::add(&mut pipeline, config_json)?;
        let largest = pipeline.get_vocab(true).into_values().max();
        let vocabulary = largest.map_or(0, |id| id.saturating_add(1));
        if vocabulary > MAX_VOCABULARY {
            return Err(format!("token ids must be below {MAX_VOCABULARY}").into());
        }
        let joining = Joining::of(&pipeline, vocabulary)?;
        Ok(Engine { pipeline, joining, vocabulary })
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<i32>> {
        let encoding = bounded::in_time(|| self.pipeline.encode_fast(text, add_special))?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    pub fn decode(&self, ids: &[i32], skip_special: bool, continues: bool) -> Result<String> {
        // Negative ids turn into ones that no vocabulary has, which give no text.
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        bounded::in_time(|| match continues {
            true => self.joining.decode_inside(&self.pipeline, &ids, skip_special),
            false => self.pipeline.decode(&ids, skip_special),
        })
    }

    pub fn vocabulary(&self) -> i32 {
        self.vocabulary as i32
    }

    pub fn find(&self, name: &str) -> Option<i32> {
        self.pipeline.token_to_id(name).map(|id| id as i32)
    }

    pub fn is_byte_level(&self) -> bool {
        matches!(self.joining, Joining::Bytes(_))
    }

    pub fn piece(&self, id: i32) -> Option<Piece> {
        self.joining.piece(&self.pipeline, id as u32)
    }
}
