#ifndef SERVICES_TOKENIZER_TEXT_ENGINE_TOKEN_ENGINE_H_
#define SERVICES_TOKENIZER_TEXT_ENGINE_TOKEN_ENGINE_H_

/* tokenizer.json by the Rust crate `tokenizers`: the pipeline of Hugging Face's fast tokenizers. */

#include <stdbool.h>
#include <stdint.h>

#include "services/tokenizer/text_engine/text_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct token_engine token_engine;

/* Token ids owned by the engine; give them back to token_engine_free_ids. */
typedef struct token_engine_ids {
  int32_t* data;
  size_t size;
} token_engine_ids;

typedef enum token_engine_piece_kind {
  TOKEN_ENGINE_NONE = 0,    /* the id stands for nothing */
  TOKEN_ENGINE_TEXT = 1,    /* text, or bytes where the tokenizer is byte-level */
  TOKEN_ENGINE_BYTE = 2,    /* one byte of a character that has no token */
  TOKEN_ENGINE_SPECIAL = 3, /* text that decoding may skip */
} token_engine_piece_kind;

/* Opens the bytes of tokenizer.json, with the tokens that `config_json`, a tokenizer_config.json or
 * {}, adds to it. On success *opened is to be freed by token_engine_free; otherwise *error says why
 * and is to be freed by text_engine_free_text. */
text_engine_status token_engine_open(const char* tokenizer_json, size_t tokenizer_size,
                                     const char* config_json, size_t config_size,
                                     token_engine** opened, text_engine_text* error);

/* Ids of `text`; the names of added tokens in it stand for the tokens. With add_special the
 * post-processor adds its tokens. TEXT_ENGINE_OK sets *ids, otherwise *error is set. Encoding that
 * takes longer than ten seconds is given up. */
text_engine_status token_engine_encode(const token_engine* engine, const char* text, size_t size,
                                       bool add_special, token_engine_ids* ids,
                                       text_engine_text* error);

/* *text is the decoding, or the error, and is always to be freed. Ids that stand for nothing give
 * no text. With continues_text it is what the ids add to a text that they do not begin; no
 * difference where the tokenizer is byte-level. */
text_engine_status token_engine_decode(const token_engine* engine, const int32_t* ids, size_t size,
                                       bool skip_special, bool continues_text,
                                       text_engine_text* text);

/* Ids are below it. */
int32_t token_engine_vocabulary(const token_engine* engine);

/* -1 where no token has this name. */
int32_t token_engine_find(const token_engine* engine, const char* name, size_t size);

/* Whether every token is bytes that may be parts of characters: decoding joins the bytes of all
 * tokens. Elsewhere a run of TOKEN_ENGINE_BYTE can only be decoded together. */
bool token_engine_is_byte_level(const token_engine* engine);

/* What the token adds to a text that it does not begin, as bytes: to be freed unless the kind is
 * TOKEN_ENGINE_NONE. */
token_engine_piece_kind token_engine_piece(const token_engine* engine, int32_t id,
                                           text_engine_text* bytes);

void token_engine_free(token_engine* engine);
void token_engine_free_ids(token_engine_ids ids);

#ifdef __cplusplus
}
#endif

#endif
