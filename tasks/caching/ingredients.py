"""What the key of a stage is made of: each ingredient has a kind and a name, and the text that stands for both."""

from collections.abc import Container, Mapping
from typing import Any, Literal, NamedTuple, get_args

IngredientKind = Literal["setting", "library", "code", "input"]

#: The kinds of ingredients, in the order in which changes of them are listed.
KINDS: tuple[IngredientKind, ...] = get_args(IngredientKind)

#: What a key is made of, flat: the value of each ingredient, by the ingredient's text. Keys and records hold this.
Ingredients = dict[str, Any]


class Ingredient(NamedTuple):
    """Names one thing that a key is made of.

    Attributes:
        kind: what it is; a stage's own name, its schema and the cache's format count as settings.
        name: of the setting, the library, the place in the code or the input.
    """

    kind: IngredientKind
    name: str

    def __str__(self) -> str:
        """The text under which the value stands in `Ingredients`; `parse` reads it."""
        return self.name if self.kind == "setting" else f"{self.kind} {self.name}"

    @classmethod
    def parse(cls, text: str) -> "Ingredient":
        """The ingredient that a text stands for."""
        first, _, name = text.partition(" ")
        for kind in KINDS:
            if first == kind != "setting":
                return cls(kind, name)
        return cls("setting", text)


def labelled(kind: IngredientKind, values: Mapping[str, Any]) -> Ingredients:
    """Values of one kind, given by name, as ingredients."""
    return {str(Ingredient(kind, name)): value for name, value in values.items()}


def of_kinds(ingredients: Ingredients, kinds: Container[IngredientKind]) -> Ingredients:
    """The ingredients of some kinds."""
    return {text: value for text, value in ingredients.items() if Ingredient.parse(text).kind in kinds}
