#ifndef SERVICES_TOKENIZER_TEXT_ENGINE_TEMPLATE_ENGINE_H_
#define SERVICES_TOKENIZER_TEXT_ENGINE_TEMPLATE_ENGINE_H_

/* Jinja templates with the extensions that chat templates rely on: raise_exception, strftime_now,
 * Python's string methods, json.dumps as `tojson`, break and continue, trim_blocks and
 * lstrip_blocks. */

#include <time.h>

#include "services/tokenizer/text_engine/text_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct template_engine_template template_engine_template;

/* Compiles `source`. On success *compiled is to be freed by template_engine_free; otherwise *error
 * says why and is to be freed by text_engine_free_text. */
text_engine_status template_engine_compile(const char* source, size_t source_size,
                                           template_engine_template** compiled,
                                           text_engine_text* error);

/* Renders with the variables of `variables_json`, a JSON object. `now` (local time) is what
 * strftime_now formats. *text is the result or the error, and is always to be freed by
 * text_engine_free_text. A template that runs for too many steps ends with an error. */
text_engine_status template_engine_render(const template_engine_template* compiled,
                                          const char* variables_json, size_t variables_size,
                                          const struct tm* now, text_engine_text* text);

void template_engine_free(template_engine_template* compiled);

#ifdef __cplusplus
}
#endif

#endif
