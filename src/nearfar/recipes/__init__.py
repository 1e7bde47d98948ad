"""One recipe, one file, one paragraph. This room finds them, without importing them."""

from nearfar.recipes._find import Recipe, build, find, recipes

__all__ = ["Recipe", "build", "find", "recipes"]
