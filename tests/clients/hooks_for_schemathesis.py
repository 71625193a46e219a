"""For schemathesis: keeps the work of valid requests small, and asks for the model that is there."""

import schemathesis

# Field -> (the most that the schema allows, what is enough).
COSTLY = {
    "max_tokens": (2**30, 3),
    "max_completion_tokens": (2**30, 3),
    "min_tokens": (2**30, 2),
    "n": (128, 2),
    "best_of": (128, 2),
}


@schemathesis.hook
def before_call(context, case, kwargs):
    if not isinstance(case.body, dict):
        return
    body = dict(case.body)
    if isinstance(body.get("model"), str):
        body["model"] = "demo"
    for field, (most, enough) in COSTLY.items():
        if type(body.get(field)) is int and enough < body[field] <= most:
            body[field] = enough
    messages = body.get("messages")
    if isinstance(messages, list) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages
    ):
        # The model's template takes turns only; without a limit its answer fills the context.
        for index, message in enumerate(messages):
            message["role"] = ("user", "assistant")[index % 2]
        body.setdefault("max_completion_tokens", 3)
    case.body = body
