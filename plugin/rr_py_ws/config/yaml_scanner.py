"""The tokens of YAML as Go's yaml.v3 finds them: ruamel's scanner, with libyaml's rules about white space.

RoadRunner's files were written until yaml.v3 took them, and it takes tabs wherever they are no indentation.
The differences were found by giving both the same generated files.
"""

from __future__ import annotations

from ruamel.yaml.reader import Reader
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner, ScannerError
from ruamel.yaml.tokens import ScalarToken, TagToken

_END = "\0\r\n\x85\u2028\u2029"
_BREAK = _END[1:]
_BLANK = " \t"
_FLOW = ",?[]{}"


class GoResolver(VersionedResolver):
    """Says what version of YAML is meant; nothing is resolved with it."""

    @property
    def processing_version(self) -> tuple[int, int]:
        """YAML 1.1, whatever a directive says."""
        return (1, 1)


class GoReader(Reader):
    """The lines and columns of YAML 1.1: also U+0085, U+2028 and U+2029 end a line."""

    def forward(self, length: int = 1) -> None:
        """Go some characters on."""
        for _ in range(length):
            found = self.peek()
            self.pointer += 1
            self.index += 1
            if found in "\n\x85\u2028\u2029" or (found == "\r" and self.peek() != "\n"):
                self.line += 1
                self.column = 0
            else:
                self.column += 1


class GoScanner(Scanner):
    """Overrides what differs; the rest of ruamel's scanner is libyaml's."""

    def need_more_tokens(self) -> bool:
        """Look two tokens ahead, so that what is wrong behind the document is found as far as Go finds it."""
        return not self.done and (len(self.tokens) < 3 or super().need_more_tokens())

    def scan_to_next_token(self) -> None:
        """Skip white space and comments. Tabs are white space, except where an indentation could be."""
        reader = self.reader
        while True:
            if reader.index == 0 and reader.peek() == "\ufeff":
                reader.forward()
            blank = _BLANK if self.flow_level or not self.allow_simple_key else " "
            while reader.peek() in blank:
                reader.forward()
            if reader.peek() == "#":
                while reader.peek() not in _END:
                    reader.forward()
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain(self) -> ScalarToken:
        """Read a text without quotes: blanks and line ends inside it count, those around it do not."""
        reader = self.reader
        start = end = reader.get_mark()
        indent = self.indent + 1
        text, between, broken = "", "", False
        while reader.peek() != "#" and not self._at_document_marker():
            length = 0
            while not self._ends_plain(length):
                length += 1
            if length:
                text += between + reader.prefix(length)
                reader.forward(length)
                end = reader.get_mark()
                broken = False
            if reader.peek() not in _BLANK + _BREAK:
                break
            between, broken = self._scan_between(indent)
            if not self.flow_level and reader.column < indent:
                break
        self.allow_simple_key = broken
        return ScalarToken(text, True, start, end)

    def scan_directive_name(self, start_mark: object) -> str:
        """Read the name behind a `%`. Of one that nobody knows, ruamel makes the end of the document."""
        name: str = super().scan_directive_name(start_mark)
        if name not in ("YAML", "TAG"):
            raise ScannerError("while scanning a directive", start_mark, "found unknown directive name")
        return name

    def scan_tag(self) -> TagToken:
        """Read a tag; a tab ends it as a space does."""
        reader = self.reader
        length = 1
        while reader.peek(length) not in _BLANK + _END:
            length += 1
        if reader.peek(length) == "\t":
            at = reader.pointer + length
            reader.buffer = f"{reader.buffer[:at]} {reader.buffer[at + 1 :]}"
        token: TagToken = super().scan_tag()
        return token

    def scan_block_scalar_indicators(self, start_mark: object) -> tuple[bool | None, int | None]:
        """Read `+`, `-` and the digit behind `|` and `>`, and the tabs that follow."""
        reader = self.reader
        chomping: bool | None = None
        increment: int | None = None
        for _ in range(2):
            found = reader.peek()
            if found in "+-" and chomping is None:
                chomping = found == "+"
            elif found in "123456789" and increment is None:
                increment = int(found)
            else:
                break
            reader.forward()
        while reader.peek() in _BLANK:
            reader.forward()
        return chomping, increment

    def scan_block_scalar_indentation(self) -> tuple[list[str], int, object]:
        """Find the indentation behind `|` or `>`: that of the first line, or of a longer empty one."""
        reader = self.reader
        breaks, indentation, end = list[str](), 0, reader.get_mark()
        while True:
            while reader.peek() == " ":
                reader.forward()
            indentation = max(indentation, reader.column)
            if reader.peek() == "\t":
                problem = "found a tab character where an indentation space is expected"
                raise ScannerError(None, None, problem, reader.get_mark())
            if reader.peek() not in _BREAK:
                return breaks, indentation, end
            breaks.append(self.scan_line_break())
            end = reader.get_mark()

    def _ends_plain(self, at: int) -> bool:
        found = self.reader.peek(at)
        if found == ":":
            return bool(self.reader.peek(at + 1) in _BLANK + _END)
        return found in _BLANK + _END or (self.flow_level > 0 and found in _FLOW)

    def _at_document_marker(self) -> bool:
        reader = self.reader
        return reader.column == 0 and reader.prefix(3) in ("---", "...") and reader.peek(3) in _BLANK + _END

    def _scan_between(self, indent: int) -> tuple[str, bool]:
        """Read blanks and line ends; returns what they are in the text, and whether there was a line end."""
        reader = self.reader
        blanks, breaks = "", list[str]()
        while (found := reader.peek()) in _BLANK + _BREAK:
            if found in _BREAK:
                breaks.append(self.scan_line_break())
                continue
            if breaks and found == "\t" and reader.column < indent:
                raise ScannerError(
                    None, None, "found a tab character that violates indentation", reader.get_mark()
                )
            blanks += "" if breaks else found
            reader.forward()
        if not breaks:
            return blanks, False
        first, *rest = breaks
        folded = (" " if not rest else "") if first == "\n" else first
        return folded + "".join(rest), True
