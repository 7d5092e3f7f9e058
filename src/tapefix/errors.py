"""The one error that tapefix shows: a clear line, no traceback, exit status 2."""


class TapefixError(Exception):
    """tapefix could not do its work; the message says where, why and what to do."""
