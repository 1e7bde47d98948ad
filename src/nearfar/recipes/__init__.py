"""One recipe, one file, one paragraph. This room finds them; it does not import them to list them."""

from nearfar.recipes._find import Recipe, build, find, recipes

__all__ = ["Recipe", "build", "find", "recipes"]
