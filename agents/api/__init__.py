"""Play by any model behind a server that speaks OpenAI's protocol: texts over HTTP, whoever serves them.

settings.py      which model, where, and how it is asked
conversation.py  what a model sees of an episode, as messages or as one text
endpoint.py      one reply: the request, what servers call its parts, and what is read from the answer
ledger.py        tokens, requests and dollars, and the most that may be spent
agent.py         the agent: many conversations, several requests at once

The requests are those of `turngym.agents.serving.connection`: retries, time-outs, the key and the words for what fails
are there. The package `openai` would bring httpx, pydantic and a second set of all these for two endpoints whose
answers have six fields that are read.
"""

from turngym.agents.api.agent import ApiAgent
from turngym.agents.api.endpoint import ApiEndpoint, ApiReply
from turngym.agents.api.ledger import BudgetReachedError, Ledger, Usage
from turngym.agents.api.settings import BASE_VARIABLE, KEY_VARIABLE, PREFIX, Api, ApiSettings

__all__ = [
    "BASE_VARIABLE",
    "KEY_VARIABLE",
    "PREFIX",
    "Api",
    "ApiAgent",
    "ApiEndpoint",
    "ApiReply",
    "ApiSettings",
    "BudgetReachedError",
    "Ledger",
    "Usage",
]
