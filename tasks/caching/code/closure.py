"""The code that a function reaches: names are followed to the statements that bind them."""

import builtins
import functools
import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from tasks.caching.code.dynamic import OWN_FILE, REVEALING, UnseenCodeError, find_dynamic, has_dynamic
from tasks.caching.code.locating import Locator
from tasks.caching.code.names import CLASS, ENTRY, IMPORTS, ORDER, UNKNOWN, Chain, Import, defined_words
from tasks.caching.code.reader import Form
from tasks.caching.code.settings_syntax import DECLARING
from tasks.caching.code.syntax import Module, parse, short_hash

#: Attributes that every module has, and that do not lead to anything defined in it.
OF_ANY_MODULE = frozenset({"__doc__", "__file__", "__name__", "__package__", "__spec__"})

#: Reads a file of the project.
Read = Callable[[Path], bytes]


class Closure:
    """The statements that code reaches, by module.

    Args:
        project: the folder that contains the project's packages.
        read: returns a file's bytes.
        settings: the annotated names in settings classes that are no settings, by the full name of the class.
        machinery: the package that is left out.
        allows_dynamic: whether code may be loaded by a name that is computed at run time.
    """

    def __init__(
        self,
        project: Path,
        read: Read,
        settings: Mapping[str, Collection[str]],
        machinery: str,
        *,
        allows_dynamic: bool,
    ) -> None:
        self.locator, self.read, self.settings = Locator(project), read, settings
        self.machinery, self.allows_dynamic = machinery, allows_dynamic
        self.modules: dict[str, Module] = {}
        self.reached: dict[str, dict[int, Form]] = {}
        self.imported: dict[str, set[str]] = {}
        self.whole: set[str] = set()
        self.has_hooks = self.declares = False
        self._waiting: list[tuple[str, int, Form]] = []
        self._followed: set[tuple[str, Chain, Form]] = set()

    def places(self) -> dict[str, str]:
        """What was reached: hashes by place, in the order of the files."""
        found: dict[str, str] = {}
        for name in sorted(self.modules, key=self._place):
            place = self._place(name)
            found |= {f"{place}: {part}": digest for part, digest in self._parts(name).items()}
        return found

    def _parts(self, name: str) -> dict[str, str]:
        """The hashes of what was reached in a module, by what it defines."""
        module, forms = self.modules[name], self.reached[name]
        texts: dict[str, list[str]] = {}
        if self.imported[name]:
            texts[IMPORTS] = sorted(self.imported[name])
        for index in sorted(forms):
            statement = module.statement(index, forms[index])
            if statement.text:
                texts.setdefault(statement.name, []).append(statement.text)
            if len(acting := [part.origin for part in statement.imports if self._acts(name, part)]) > 1:
                texts[statement.name].append(" ".join(acting))
        parts = {part: short_hash("\n".join(lines)) for part, lines in texts.items()}
        order = [index for index, _ in enumerate(module.body) if self._is_in_order(name, index)]
        if len(order) > 1:
            words = (defined_words(module.body[index]) for index in sorted(order, key=module.position))
            parts[ORDER] = short_hash("\n".join(words))
        return parts

    def _is_in_order(self, name: str, index: int) -> bool:
        """Whether the position of a statement among the others may matter."""
        module, forms = self.modules[name], self.reached[name]
        if module.is_import(index):
            return index in module.ordered or not self._run_by(name, module.run_by(index)).isdisjoint(self._acting)
        return index in forms and (index in module.ordered or (self.has_hooks and index in module.classes))

    def _acts(self, name: str, imported: Import) -> bool:
        """Whether what a statement of a module imports has side effects: then the order of its imports may matter."""
        return not self._run_by(name, (imported.module, imported.origin)).isdisjoint(self._acting)

    def _run_by(self, name: str, imported: Iterable[str]) -> set[str]:
        """The project modules that a module runs by importing others, except the packages that contain it."""
        found = {run for module in imported for run, _ in self.locator.files(module)}
        return {run for run in found & self.modules.keys() if not f"{name}.".startswith(f"{run}.")}

    @functools.cached_property
    def _acting(self) -> set[str]:
        """The modules that have side effects when they are imported, or import one that has."""
        runs = {name: self._run_by(name, module.runs) for name, module in self.modules.items()}
        acting = {name for name, module in self.modules.items() if module.effective}
        while more := {name for name in runs if name not in acting and not runs[name].isdisjoint(acting)}:
            acting |= more
        return acting

    # --- Modules

    def _place(self, name: str) -> str:
        """The path of a module's file as messages show it."""
        return self.locator.shown(self.modules[name].path, name)

    def is_machinery(self, name: str) -> bool:
        """Whether a module belongs to the package that is left out."""
        return bool(self.machinery) and f"{name}.".startswith(f"{self.machinery}.")

    def touch(self, name: str) -> None:
        """Counts what importing a module does: the statements with side effects, in it and in all that it imports."""
        for found, path in self.locator.files(name):
            if found in self.modules or self.is_machinery(found):
                continue
            package = found if path.name.startswith("__init__.") else found.rpartition(".")[0]
            content = self.read(path)
            is_source = path.suffix == ".py"
            module = parse(path, content if is_source else b"", package)
            self.modules[found], self.reached[found], self.imported[found] = module, {}, set()
            if not is_source:
                self.imported[found].add(f"compiled {hashlib.sha256(content).hexdigest()}")
            for imported in module.imports:
                self._touch_import(imported)
                if not self._is_ours(imported.module) and imported.module.partition(".")[0] not in (
                    sys.stdlib_module_names
                ):
                    self._note(found, imported)  # it may have effects, such as a registration
            for star in module.stars:
                self._touch_star(found, star)
            # Where Python looks for modules in a package counts, even if nothing reads it.
            for index in (*module.effective, *module.binders.get("__path__", ())):
                self._reach(found, index, "code")
            if "__getattr__" in module.binders:  # it can stand for any name, before a module of that name does
                self.reach_all(found)
            self.has_hooks |= module.has_hooks

    def _is_ours(self, name: str) -> bool:
        return bool(self.locator.files(name))

    def _touch_import(self, imported: Import) -> None:
        self.touch(imported.module)
        if imported.member:
            self.touch(imported.origin)

    def _touch_star(self, name: str, star: str) -> None:
        """Follows a star import, which imports submodules too if `__all__` lists them: any, if that is computed."""
        self.imported[name].add(f"* is {star}")
        self.reach_all(star)
        if star not in self.modules:
            return
        listed = self.modules[star].exported
        submodules = self.locator.submodules(star) if listed is None else (f"{star}.{part}" for part in listed)
        for submodule in submodules:
            self.reach_all(submodule)

    def _note(self, name: str, imported: Import) -> None:
        """Notes what a name that a module imports stands for."""
        self.imported[name].add(f"{imported.alias} is {imported.origin}")

    def reach(self, name: str, member: str) -> None:
        """Reaches what a module defines under a name; all of the module if there is no such name."""
        self.touch(name)
        indices = self.modules[name].binders.get(member) if name in self.modules else None
        if not indices:
            self.reach_all(name)
        for index in indices or ():
            self._reach(name, index, "code")

    def reach_all(self, name: str) -> None:
        """Reaches every statement of a module."""
        if name in self.whole or self.is_machinery(name) or not self.locator.is_module(name):
            return
        self.whole.add(name)
        self.touch(name)
        module = self.modules[name]
        for imported in module.imports:  # which others may import from it
            self._note(name, imported)
            self._follow_import(name, imported, (), 0, "code")
            self.reach_all(imported.origin)
        for index, _ in enumerate(module.body):
            self._reach(name, index, "code")

    # --- Statements

    def _reach(self, name: str, index: int, form: Form) -> None:
        """Reaches a statement; one that is reached as code counts in full, even if it is also reached as a setting."""
        module = self.modules[name]
        if form == "setting" and not module.is_setting(index, self._settings_in(name)):
            form = "code"
        if not module.is_import(index) and self.reached[name].get(index) not in ("code", form):
            self.reached[name][index] = form
            self._waiting.append((name, index, form))

    def _settings_in(self, name: str) -> dict[str, Collection[str]]:
        """The settings classes in a module, with the annotated names in them that are no settings."""
        parts = ((full.rpartition("."), names) for full, names in self.settings.items())
        return {kind: names for (module, _, kind), names in parts if module == name}

    def follow_all(self) -> None:
        """Follows all names in what was reached, until nothing new is reached."""
        while self._waiting or self._reach_subclasses() or self._reach_submodules() or self._reach_settings():
            name, index, form = self._waiting.pop()
            statement = self.modules[name].statement(index, form)
            for imported in statement.imports:
                self._touch_import(imported)
            for chain, line in statement.uses.items() if form != "registry" else ():
                self._follow(name, chain, line, "code", statement.imports)
            for chain, line in statement.annotated.items():
                self._follow(name, chain, line, "setting", statement.imports)

    def _reach_subclasses(self) -> bool:
        """Reaches every class that was imported, if a base class may find it; returns whether there was a new one."""
        for name, module in self.modules.items() if self.has_hooks else ():
            for index in module.classes:
                self._reach(name, index, "code")
        return bool(self._waiting)

    def _reach_submodules(self) -> bool:
        """Reaches all modules in packages that are passed on as a whole; returns whether there was a new one."""
        for name in [name for name in self.modules if name not in self.whole]:
            package = name
            while package := package.rpartition(".")[0]:
                if package in self.whole:
                    self.reach_all(name)
        return bool(self._waiting)

    def _reach_settings(self) -> bool:
        """Reaches settings in full, if code may learn how they are declared; returns whether there was a new one."""
        for name, forms in self.reached.items() if self.declares else ():
            for index in [index for index, form in forms.items() if form == "setting"]:
                self._reach(name, index, "code")
        return bool(self._waiting)

    def _follow(self, name: str, chain: Chain, line: int, form: Form, local: tuple[Import, ...]) -> None:
        """Follows a dotted name that a statement of a module reads.

        Args:
            name: of the module.
            chain: the dotted name.
            line: of the dotted name.
            form: in which to read what it leads to.
            local: what the statement itself imports.
        """
        module, (head, *rest) = self.modules[name], chain
        for revealing in REVEALING.intersection(chain):
            self._refuse(name, revealing, line)
        known = False
        for imported in local:
            if imported.alias == head:
                self._follow_import(name, imported, tuple(rest), line, form)
                known = True
        for imported in module.imports:
            if imported.alias == head:
                self._note(name, imported)
                self._follow_import(name, imported, tuple(rest), line, form)
                known = True
        for index in module.binders.get(head, ()):
            registered = module.registered(index) if rest[:1] == [ENTRY] else ()
            if registered and all(self.locator.is_module(imported.origin) for imported in registered):
                self._reach(name, index, "registry")
                for imported in registered:
                    self._note(name, imported)
                    self._follow_import(name, imported, tuple(rest[1:]), line, "code")
            else:
                self._reach(name, index, form)
            known = True
        if not known:
            self._follow_unknown(name, chain, line)

    def _follow_unknown(self, name: str, chain: Chain, line: int) -> None:
        """Follows a dotted name that begins with a builtin, a local name, or any other expression."""
        self.declares |= chain == (UNKNOWN, CLASS) or not DECLARING.isdisjoint(chain)
        if chain[0] == OWN_FILE:
            self._refuse(name, OWN_FILE, line)
        if hasattr(builtins, chain[0]):
            self._refuse_dynamic(name, f"builtins.{chain[0]}", line)

    def _follow_import(self, name: str, imported: Import, rest: Chain, line: int, form: Form) -> None:
        """Follows a name that an import binds, and the attributes that are read of it."""
        if not self._is_ours(imported.module):
            self._refuse_dynamic(name, ".".join([imported.origin, *rest]), line)
            if line and rest[:1] in ((), ("__dict__",)) and has_dynamic(imported.origin):
                self._refuse(name, f"{imported.origin}, passed on as a whole,", line)
        elif imported.member is None:
            self._follow_module(imported.binds, rest, form)
        else:
            self._follow_module(imported.module, (imported.member, *rest), form)

    def _follow_module(self, name: str, rest: Chain, form: Form) -> None:
        """Follows the attributes that are read of a module; all of it if the module itself is passed on."""
        if (name, rest, form) in self._followed or self.is_machinery(name) or not self.locator.is_module(name):
            return
        self._followed.add((name, rest, form))  # a package may import a module of its own by its own name
        self.touch(name)
        if not rest:
            self.reach_all(name)
            return
        head, *further = rest
        module, known = self.modules[name], False
        if self.locator.is_module(f"{name}.{head}"):
            self._follow_module(f"{name}.{head}", tuple(further), form)
            known = True
        if head in module.binders:
            self._follow(name, rest, 0, form, ())
            known = True
        if not known and head not in OF_ANY_MODULE:
            self.reach_all(name)

    def _refuse_dynamic(self, name: str, origin: str, line: int) -> None:
        """Refuses a name that loads code dynamically, unless that is allowed.

        Raises:
            UnseenCodeError: it is such a name.
        """
        if dynamic := find_dynamic(origin):
            self._refuse(name, dynamic.removeprefix("builtins."), line)

    def _refuse(self, name: str, what: str, line: int) -> None:
        if not self.allows_dynamic:
            raise UnseenCodeError(
                f"{self._place(name)}, line {line}: {what} can run code or read files that the cache does not see, so "
                "that an edit of them would not be noticed. Import by name, or list the modules in the stage's `loads`"
            )
