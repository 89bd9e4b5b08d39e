"""The export form of a network: what its graph needs not compute is folded into its weights."""

from .export_form import export_form

__all__ = ["export_form"]
