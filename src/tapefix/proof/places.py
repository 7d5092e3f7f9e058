"""Where in the user's script something happened.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import re
import sys
from types import FrameType, TracebackType
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A line of the script and the function that it is in; line 0 where no frame of the script is on the stack."""

    line: int
    function: str


class Places:
    """Finds the innermost line of one script on the stack."""

    def __init__(self, script: str) -> None:
        self.script = script
        # The call of fit that is under way: worker threads do not have it on their stack.
        self.outer = Place(0, "")
        self.namespace: dict[str, Any] = {}  # the script's global names
        self._mention = re.compile(rf'File "{re.escape(script)}", line (\d+)')

    def frame(self) -> FrameType | None:
        """The innermost frame of the script."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self.script:
            frame = frame.f_back
        return frame

    def here(self) -> Place:
        """The innermost place in the script, for code that runs as it is written."""
        frame = self.frame()
        return self.outer if frame is None else Place(frame.f_lineno, frame.f_code.co_name)

    def stack(self) -> tuple[int, ...]:
        """The lines of the script on the stack, the innermost last: the calls that led here."""
        lines: list[int] = []
        frame: FrameType | None = self.frame()
        while frame is not None:
            if frame.f_code.co_filename == self.script:
                lines.append(frame.f_lineno)
            frame = frame.f_back
        return tuple(reversed(lines))

    def traced(self) -> Place:
        """The same while a graph is built: AutoGraph runs rewritten code, and only TensorFlow maps it back."""
        from tensorflow.python.util import tf_stack

        for entry in reversed(list(tf_stack.extract_stack())):
            if entry.filename == self.script:
                return Place(int(entry.lineno), str(entry.name))
        return self.here()

    def of_error(self, error: BaseException, message: str) -> int:
        """The last line of the script on the traceback of `error`."""
        # AutoGraph and Keras put the mapped traceback into the message, and it goes deeper than the frames do.
        mentioned = self._mention.findall(message)
        if mentioned:
            return int(mentioned[-1])
        line = 0
        step: TracebackType | None = error.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename == self.script:
                line = step.tb_lineno
            step = step.tb_next
        if not line and isinstance(error, SyntaxError) and error.filename == self.script:
            line = error.lineno or 0
        return line

    def name_of(self, value: Any) -> str | None:
        """The name that the innermost function of the script, or the script itself, has given to `value`."""
        if value is None:
            return None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self._is_users(frame.f_code.co_filename):
            frame = frame.f_back
        for scope in ({} if frame is None else frame.f_locals, self.namespace):
            for name, bound in list(scope.items()):
                if bound is value:
                    return name
        return None

    def _is_users(self, file: str) -> bool:
        return file == self.script or "__autograph_generated_file" in file
