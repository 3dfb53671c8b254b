# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Message(_message.Message):
    __slots__ = ("topics", "payload", "exclude", "idempotency_key", "skip_history")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SKIP_HISTORY_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedScalarFieldContainer[str]
    payload: bytes
    exclude: _containers.RepeatedScalarFieldContainer[str]
    idempotency_key: str
    skip_history: bool
    def __init__(self, topics: _Optional[_Iterable[str]] = ..., payload: _Optional[bytes] = ..., exclude: _Optional[_Iterable[str]] = ..., idempotency_key: _Optional[str] = ..., skip_history: _Optional[bool] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("messages", "broker")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    BROKER_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    broker: str
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., broker: _Optional[str] = ...) -> None: ...

class Published(_message.Message):
    __slots__ = ("topic", "position", "duplicate")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    topic: str
    position: str
    duplicate: bool
    def __init__(self, topic: _Optional[str] = ..., position: _Optional[str] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("published",)
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    published: _containers.RepeatedCompositeFieldContainer[Published]
    def __init__(self, published: _Optional[_Iterable[_Union[Published, _Mapping]]] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("topic", "since", "limit", "reverse", "broker")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    BROKER_FIELD_NUMBER: _ClassVar[int]
    topic: str
    since: str
    limit: int
    reverse: bool
    broker: str
    def __init__(self, topic: _Optional[str] = ..., since: _Optional[str] = ..., limit: _Optional[int] = ..., reverse: _Optional[bool] = ..., broker: _Optional[str] = ...) -> None: ...

class HistoryMessage(_message.Message):
    __slots__ = ("payload", "position", "time_ms", "exclude")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    position: str
    time_ms: int
    exclude: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, payload: _Optional[bytes] = ..., position: _Optional[str] = ..., time_ms: _Optional[int] = ..., exclude: _Optional[_Iterable[str]] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("messages", "position", "complete", "reason")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[HistoryMessage]
    position: str
    complete: bool
    reason: str
    def __init__(self, messages: _Optional[_Iterable[_Union[HistoryMessage, _Mapping]]] = ..., position: _Optional[str] = ..., complete: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ClearHistoryRequest(_message.Message):
    __slots__ = ("topic", "broker")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    BROKER_FIELD_NUMBER: _ClassVar[int]
    topic: str
    broker: str
    def __init__(self, topic: _Optional[str] = ..., broker: _Optional[str] = ...) -> None: ...

class ClearHistoryResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: str
    def __init__(self, position: _Optional[str] = ...) -> None: ...
