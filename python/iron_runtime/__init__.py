"""A local control point between AI agents and their LLM providers.

A script points its OpenAI or Anthropic client at the router; the router holds the real keys, forwards, streams and tells
what happens. Six lines are a whole program:

    from iron_runtime import LlmRouter
    from openai import OpenAI

    with LlmRouter(provider_key="env:OPENAI_API_KEY") as router:
        client = OpenAI(base_url=router.base_url, api_key=router.api_key)
        print(client.responses.create(model="gpt-4o-mini", input="Hello!").output_text)

Without a key: ``LlmRouter(mock=True)`` answers from a mock provider inside this process. The command is ``iron-runtime``,
also ``python -m iron_runtime``. What goes wrong is raised as one of the classes of ``iron_runtime.errors``. Nothing is printed;
the log is Python's own, under the name ``iron_runtime``.
"""

from iron_runtime import errors
from iron_runtime._core import LlmRouter, __version__
from iron_runtime.errors import IronError

__all__ = ["IronError", "LlmRouter", "__version__", "errors"]
