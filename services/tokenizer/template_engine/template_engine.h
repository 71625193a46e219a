#ifndef SERVICES_TOKENIZER_TEMPLATE_ENGINE_TEMPLATE_ENGINE_H_
#define SERVICES_TOKENIZER_TEMPLATE_ENGINE_TEMPLATE_ENGINE_H_

/* Jinja templates with the extensions that chat templates rely on: raise_exception, strftime_now,
 * Python's string methods, json.dumps as `tojson`, break and continue, trim_blocks and
 * lstrip_blocks.
 *
 * All text is UTF-8 with an explicit length and may hold NUL. Functions may be called from any
 * thread; one template may be rendered by many threads at once. */

#include <stddef.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct template_engine_template template_engine_template;

/* Text owned by the engine; give it back to template_engine_free_text. */
typedef struct template_engine_text {
  char* data;
  size_t size;
} template_engine_text;

typedef enum template_engine_status {
  TEMPLATE_ENGINE_OK = 0,
  TEMPLATE_ENGINE_ERROR = 1,  /* syntax or run-time error of the template, or a bad argument */
  TEMPLATE_ENGINE_RAISED = 2, /* the template called raise_exception: the text is its message */
} template_engine_status;

/* Compiles `source`. On success *compiled is to be freed by template_engine_free; otherwise *error
 * says why and is to be freed by template_engine_free_text. */
template_engine_status template_engine_compile(const char* source, size_t source_size,
                                               template_engine_template** compiled,
                                               template_engine_text* error);

/* Renders with the variables of `variables_json`, a JSON object. `now` (local time) is what
 * strftime_now formats. *text is the result or the error, and is always to be freed by
 * template_engine_free_text. A template that runs for too many steps ends with an error. */
template_engine_status template_engine_render(const template_engine_template* compiled,
                                              const char* variables_json, size_t variables_size,
                                              const struct tm* now, template_engine_text* text);

void template_engine_free(template_engine_template* compiled);
void template_engine_free_text(template_engine_text text);

#ifdef __cplusplus
}
#endif

#endif
