#ifndef SERVICES_TOKENIZER_TEXT_ENGINE_TEXT_ENGINE_H_
#define SERVICES_TOKENIZER_TEXT_ENGINE_TEXT_ENGINE_H_

/* What template_engine.h and token_engine.h share. All text is UTF-8, unless it says bytes, with an
 * explicit length, and may hold NUL. Functions may be called from any thread; what they open is
 * immutable and may be used by many threads at once. */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Text owned by the engine; give it back to text_engine_free_text. */
typedef struct text_engine_text {
  char* data;
  size_t size;
} text_engine_text;

typedef enum text_engine_status {
  TEXT_ENGINE_OK = 0,
  TEXT_ENGINE_ERROR = 1,  /* a bad file or argument, or more work than is allowed */
  TEXT_ENGINE_RAISED = 2, /* the template called raise_exception: the text is its message */
} text_engine_status;

void text_engine_free_text(text_engine_text text);

#ifdef __cplusplus
}
#endif

#endif
