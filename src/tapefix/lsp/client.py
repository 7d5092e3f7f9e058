"""What the editor can do, read from the capabilities that it sent."""

from __future__ import annotations

from typing import Any, NamedTuple

from lsprotocol import types


class Client(NamedTuple):
    """The abilities that make a difference to what it is sent."""

    versioned_edits: bool = False
    annotations: bool = False
    related_information: bool = False
    documentation_links: bool = False
    tags: bool = False
    disabled_actions: bool = False
    markdown: bool = False
    progress: bool = False
    shows_documents: bool = False
    configuration: bool = False

    @classmethod
    def of(cls, params: types.InitializeParams) -> Client:
        """Every missing part of the capabilities means that the ability is missing."""
        capabilities = params.capabilities
        # Neovim applies edits of a version, and of no other, but has never announced it.
        neovim = params.client_info is not None and params.client_info.name == "Neovim"

        def has(path: str) -> Any:
            value: Any = capabilities
            for name in path.split("."):
                value = getattr(value, name, None)
            return value

        formats = has("text_document.hover.content_format") or ()
        return cls(
            versioned_edits=bool(has("workspace.workspace_edit.document_changes")) or neovim,
            annotations=has("workspace.workspace_edit.change_annotation_support") is not None
            and bool(has("text_document.code_action.honors_change_annotations")),
            related_information=bool(has("text_document.publish_diagnostics.related_information")),
            documentation_links=bool(has("text_document.publish_diagnostics.code_description_support")),
            tags=has("text_document.publish_diagnostics.tag_support") is not None,
            disabled_actions=bool(has("text_document.code_action.disabled_support")),
            markdown=types.MarkupKind.Markdown in formats,
            progress=bool(has("window.work_done_progress")),
            shows_documents=bool(has("window.show_document.support")),
            configuration=bool(has("workspace.configuration")),
        )
