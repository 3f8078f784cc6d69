"""Commands to the node: read, checked, carried out in a thread of their own, answered. Knows no network.

Every command gets exactly one reply with a code, but for those that are ignored with a line in the log: retained ones
(an event is never retained), duplicates, and what is on a topic that is none of this node's commands. A duplicate is
one with the same correlation data, or a repeated delivery without any: doing something twice is worse than not at all,
and who gets no reply asks again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.messages import MAX_LINE, Command, Kind, MessageError, NodeTopics, Reply, parse_topic
from edge.uplink.link import Inbound

log = logging.getLogger(__name__)

MAX_WAITING = 8
MAX_ANSWERS = 64
MAX_CORRELATION = 1024
_REMEMBERED = 256

Handler = Callable[[Command], Reply]


class CommandError(Exception):
    """Raised by a handler: what was asked cannot be done. `code` is a word for programs, the text is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, ready to be published."""

    topic: str
    payload: bytes
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class _Request:
    name: str
    command: Command
    reply_topic: str
    correlation: bytes | None


class _Refusal(Exception):  # noqa: N818 no error: an answer
    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class CommandDesk:
    """handlers: by the name in the topic. on_answer: called from any thread when `answers` has something new."""

    def __init__(self, topics: NodeTopics, handlers: Mapping[str, Handler], on_answer: Callable[[], None]) -> None:
        self._topics = topics
        self._handlers = dict(handlers)
        self._on_answer = on_answer
        self._waiting: queue.Queue[_Request | None] = queue.Queue(MAX_WAITING)
        self._answers: deque[Answer] = deque(maxlen=MAX_ANSWERS)
        self._seen: OrderedDict[tuple[str, str | None, bytes], None] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="mqtt-commands", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """What is being carried out may finish, for at most `timeout` seconds; what waits is dropped."""
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        self._waiting.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("a command is still being carried out; it is left behind")

    def answers(self, limit: int) -> list[Answer]:
        """The oldest that were not taken yet."""
        return [self._answers.popleft() for _ in range(min(limit, len(self._answers)))]

    def take(self, inbound: Inbound) -> None:
        """Take in a message that came on this node's command topics. Never raises and never waits."""
        try:
            topic = parse_topic(inbound.topic)
        except MessageError as error:
            log.warning("ignored: %s", error)
            return
        if topic.kind is not Kind.COMMAND or inbound.topic != self._topics.command(topic.name):
            log.warning("ignored: topic %s is no command of this node", inbound.topic)
            return
        if inbound.retain:
            log.warning("ignored: command %s is retained; a command is an event", topic.name)
            return
        reply_topic, correlation = self._topics.reply(topic.name), inbound.correlation
        if correlation is not None and len(correlation) > MAX_CORRELATION:
            self._refuse(
                topic.name, reply_topic, None, _Refusal("correlation_data", f"at most {MAX_CORRELATION} bytes")
            )
            return
        if self._is_repeated(topic.name, inbound):
            log.info("ignored: command %s came twice", topic.name)
            return
        try:
            reply_topic = self._reply_topic(topic.name, inbound.response_topic)
            self._enqueue(_Request(topic.name, self._command(topic.name, inbound), reply_topic, correlation))
        except _Refusal as refusal:
            self._refuse(topic.name, reply_topic, correlation, refusal)

    def _refuse(self, name: str, reply_topic: str, correlation: bytes | None, refusal: _Refusal) -> None:
        log.info("command %s refused: %s", name, refusal.code)
        self._answer(reply_topic, correlation, Reply(ok=False, code=refusal.code, message=refusal.message[:MAX_LINE]))

    def _is_repeated(self, name: str, inbound: Inbound) -> bool:
        if inbound.correlation is None:
            return inbound.dup
        key = (name, inbound.response_topic, inbound.correlation)
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def _reply_topic(self, name: str, asked: str | None) -> str:
        own = self._topics.reply(name)
        if asked is None or asked == own:
            return own
        try:
            topic = parse_topic(asked)
        except MessageError as error:
            raise _Refusal("response_topic", f"{own} or one level below it; {error.detail}") from error
        if topic.kind is not Kind.REPLY or not asked.startswith(f"{own}/"):
            raise _Refusal("response_topic", f"{own} or one level below it, not {asked}")
        return asked

    def _command(self, name: str, inbound: Inbound) -> Command:
        if name not in self._handlers:
            known = ", ".join(sorted(self._handlers)) or "none"
            raise _Refusal("unknown_command", f"there is no command {name}; known: {known}")
        if not inbound.payload:
            return Command()
        try:
            return Command.from_payload(inbound.payload)
        except MessageError as error:
            raise _Refusal(error.code, error.detail) from error

    def _enqueue(self, request: _Request) -> None:
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            raise _Refusal("busy", f"{MAX_WAITING} commands are waiting already; ask again later") from None

    def _run(self) -> None:
        while (request := self._waiting.get()) is not None:
            self._answer(request.reply_topic, request.correlation, self._carry_out(request))

    def _carry_out(self, request: _Request) -> Reply:
        try:
            return self._handlers[request.name](request.command)
        except CommandError as error:
            return Reply(ok=False, code=error.code, message=error.message[:MAX_LINE])
        except Exception:  # a handler may be any part of the node; whatever is wrong there, who asked gets an answer
            log.exception("command %s failed", request.name)
            return Reply(ok=False, code="failed", message="the node could not do it; its log says why")

    def _answer(self, topic: str, correlation: bytes | None, reply: Reply) -> None:
        try:
            payload = reply.to_payload()
        except MessageError as error:
            payload = Reply(ok=False, code=error.code, message=error.detail[:MAX_LINE]).to_payload()
        except ValueError as error:  # pydantic's for what is no JSON
            log.error("a reply cannot be written: %s", error)  # noqa: TRY400 nothing to trace
            payload = Reply(ok=False, code="failed", message="the result cannot be written as JSON").to_payload()
        if len(self._answers) == MAX_ANSWERS:
            log.warning("a reply is dropped: %d wait already", MAX_ANSWERS)
        self._answers.append(Answer(topic, payload, correlation))
        self._on_answer()
