"""A language model that says what a test tells it to: named by its dotted path like any stranger's backend."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

from chalicelib.errors import PaiError
from chalicelib.llm import Event, Finish, Request, Text
from chalicelib.records import ModelInfo, Usage
from chalicelib.settings import Settings

Act = Callable[[Request], Iterable[Event | PaiError]]


def says(*deltas: str, stop_reason: str = "end") -> Act:
    """An answer in these pieces."""
    finish = Finish(Usage(10, len(deltas)), stop_reason, "scripted")  # type: ignore[arg-type]
    return lambda request: [*(Text(delta) for delta in deltas), finish]


def fails(error: PaiError, *, after: Sequence[str] = ()) -> Act:
    """An answer that breaks off with this error after these pieces."""
    return lambda request: [*(Text(delta) for delta in after), error]


@dataclass
class ScriptedLLM:
    """Acts in order, then goes on with the last act; keeps the requests it saw, and how many streams were closed."""

    acts: list[Act] = field(default_factory=lambda: [says("Hello", " there.")])
    requests: list[Request] = field(default_factory=list)
    closed: int = 0

    def stream(self, request: Request) -> Generator[Event]:
        self.requests.append(request)
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        try:
            for step in act(request):
                if isinstance(step, PaiError):
                    raise step
                yield step
        finally:
            self.closed += 1

    def models(self) -> Sequence[ModelInfo]:
        return [ModelInfo("scripted", "Scripted", 8192)]


def build(settings: Settings) -> ScriptedLLM:
    return ScriptedLLM()
