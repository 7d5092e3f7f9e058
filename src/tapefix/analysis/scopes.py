"""Scopes and reaching definitions: for each name that is read, the places that may have given it its value.

Within one scope the answer is flow-sensitive (branches, loops, early returns). A name of an enclosing scope may
hold any value that this scope ever gives it, because nobody knows when the inner function is called.
"""

from __future__ import annotations

import ast

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
ScopeNode = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | Comprehension

# Methods that change the object they are called on, so that what is passed flows into it.
MUTATORS = {"append", "extend", "insert", "add", "appendleft", "update", "assign", "assign_add", "write", "setdefault"}


def children(node: ast.AST) -> list[ast.AST]:
    """As ast.iter_child_nodes, at half its cost, and without the contexts, which all nodes share."""
    found: list[ast.AST] = []
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST) and field != "ctx":
            found.append(value)
    return found


class Def:
    """One place that gives `name` a value.

    `kind`: assign, augment, loop, parameter, with, import, function, class, mutate, except, delete.
    `value` is the expression the value comes from; `path` the positions unpacked from it, outermost first
    (`(a, b), c = v` gives a the path (0, 0)). `previous` are the definitions that a partial change builds upon.
    """

    __slots__ = ("kind", "name", "node", "path", "previous", "scope", "uses", "value")

    def __init__(
        self,
        name: str,
        kind: str,
        node: ast.AST,
        scope: Scope,
        value: ast.expr | None = None,
        path: tuple[int, ...] = (),
        previous: tuple[Def, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.node = node
        self.scope = scope
        self.value = value
        self.path = path
        self.previous = previous
        self.uses: list[ast.Name] = []


class Scope:
    """The names of one module, class, function or comprehension."""

    __slots__ = ("defs", "globals", "node", "parent")

    def __init__(self, node: ScopeNode, parent: Scope | None) -> None:
        self.node = node
        self.parent = parent
        self.defs: dict[str, list[Def]] = {}
        self.globals: set[str] = set()

    def lookup(self, name: str) -> tuple[Def, ...]:
        """All definitions of `name` as seen from a scope nested in this one (or from this one, without order)."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.defs and not (isinstance(scope.node, ast.ClassDef) and scope is not self):
                return tuple(scope.defs[name])
            scope = scope.parent
        return ()


Env = dict[str, tuple[Def, ...]]


def _merge(*envs: Env | None) -> Env | None:
    live = [env for env in envs if env is not None]
    if not live:
        return None
    merged: Env = dict(live[0])
    for env in live[1:]:
        for name, defs in env.items():
            seen = merged.get(name, ())
            merged[name] = seen + tuple(d for d in defs if d not in seen)
    return merged


class Reaching:
    """Runs over a module once and keeps `definitions[name node]`, `scope_of[scope node]` and all `Def`s.

    `declares` says whether there is any global or nonlocal declaration: most modules need not be searched for them.
    """

    def __init__(self, tree: ast.Module, declares: bool = True) -> None:
        self._declares = declares
        self.definitions: dict[ast.Name, tuple[Def, ...]] = {}
        self.scope_of: dict[ast.AST, Scope] = {}
        self.bindings: dict[ast.AST, list[Def]] = {}
        self._made: dict[tuple[int, str, str], Def] = {}
        self._open: list[tuple[ast.Name, Scope]] = []
        self._breaks: list[Env] = []
        module = Scope(tree, None)
        self.scope_of[tree] = module
        self.module = module
        self._bodies: list[tuple[ScopeNode, Scope]] = []
        self._block(tree.body, {}, module)
        while self._bodies:
            node, scope = self._bodies.pop()
            self._function(node, scope)
        for name, scope in self._open:
            self.definitions[name] = scope.lookup(name.id)
        for name, defs in self.definitions.items():
            for definition in defs:
                definition.uses.append(name)

    # -------------------------------------------------------------- scopes

    def _function(self, node: ScopeNode, scope: Scope) -> None:
        env: Env = {}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            arguments = node.args
            for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
                self._bind(arg.arg, "parameter", arg, scope, env)
            for extra in (arguments.vararg, arguments.kwarg):
                if extra is not None:
                    self._bind(extra.arg, "parameter", extra, scope, env)
        if isinstance(node, ast.Lambda):
            self._expression(node.body, env, scope)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # Global and nonlocal declarations hold for the whole body.
            for inner in ast.walk(node) if self._declares else ():
                if isinstance(inner, (ast.Global, ast.Nonlocal)):
                    scope.globals.update(inner.names)
            self._block(node.body, env, scope)

    def _bind(
        self,
        name: str,
        kind: str,
        node: ast.AST,
        scope: Scope,
        env: Env,
        value: ast.expr | None = None,
        path: tuple[int, ...] = (),
        previous: tuple[Def, ...] = (),
    ) -> None:
        home = scope
        if name in scope.globals and scope.parent is not None:
            home = scope.parent
            while home.parent is not None and name not in home.defs:
                home = home.parent
        key = (id(node), name, kind)
        definition = self._made.get(key)
        if definition is None:
            definition = Def(name, kind, node, home, value, path, previous)
            self._made[key] = definition
            home.defs.setdefault(name, []).append(definition)
            self.bindings.setdefault(node, []).append(definition)
        elif previous:
            known = definition.previous
            definition.previous = known + tuple(d for d in previous if d not in known and d is not definition)
        env[name] = (definition,)

    def _read(self, node: ast.Name, env: Env, scope: Scope) -> None:
        if node.id in env:
            known = self.definitions.get(node, ())
            self.definitions[node] = known + tuple(d for d in env[node.id] if d not in known)
        elif node not in self.definitions:
            self.definitions[node] = ()
            outer = scope.parent if scope.parent is not None and node.id not in scope.defs else scope
            self._open.append((node, outer))

    # -------------------------------------------------------------- expressions

    def _expression(self, node: ast.AST | None, env: Env, scope: Scope) -> None:
        if node is None:
            return
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self._read(node, env, scope)
            return
        if isinstance(node, ast.Lambda):
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                self._expression(default, env, scope)
            self._enter(node, scope)
            return
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            inner = Scope(node, scope)
            self.scope_of[node] = inner
            local = dict(env)
            for generator in node.generators:
                self._expression(generator.iter, local, scope)
                self._target(generator.target, generator.iter, "loop", local, inner)
                for condition in generator.ifs:
                    self._expression(condition, local, inner)
            if isinstance(node, ast.DictComp):
                self._expression(node.key, local, inner)
                self._expression(node.value, local, inner)
            else:
                self._expression(node.elt, local, inner)
            return
        if isinstance(node, ast.NamedExpr):
            self._expression(node.value, env, scope)
            self._target(node.target, node.value, "assign", env, scope)
            return
        for child in children(node):
            self._expression(child, env, scope)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            self._mutate(node.func.value, node, env, scope)

    def _mutate(self, changed: ast.expr, node: ast.AST, env: Env, scope: Scope) -> None:
        """`losses.append(v)` and `d[k] = v`: v flows into the object, which keeps what it held."""
        while isinstance(changed, ast.Subscript):
            changed = changed.value
        if isinstance(changed, ast.Name):
            before = env.get(changed.id)
            if before is not None and any(d.kind == "import" for d in before):
                return  # `np.append(a, b)` and `tf.add(a, b)` change no object
            if before is None:
                before = scope.lookup(changed.id)
                if not before or any(d.kind in ("import", "function", "class") for d in before):
                    return
                # A change of an outer object is seen by every reader of the outer scope.
                for definition in before:
                    self._note_mutation(definition, node)
                return
            self._bind(changed.id, "mutate", node, scope, env, None, (), before)

    def _note_mutation(self, definition: Def, node: ast.AST) -> None:
        key = (id(node), definition.name, "mutate")
        if key not in self._made:
            made = Def(definition.name, "mutate", node, definition.scope, None, (), ())
            self._made[key] = made
            definition.scope.defs.setdefault(definition.name, []).append(made)

    def _target(
        self, target: ast.AST, value: ast.expr | None, kind: str, env: Env, scope: Scope, path: tuple[int, ...] = ()
    ) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, kind, target, scope, env, value, path)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for i, item in enumerate(target.elts):
                self._target(item, value, kind, env, scope, (*path, i))
        elif isinstance(target, ast.Starred):
            self._target(target.value, value, kind, env, scope, path[:-1])
        else:
            self._expression(target, env, scope)
            if isinstance(target, ast.Subscript):
                self._mutate(target, target, env, scope)

    def _enter(self, node: ScopeNode, scope: Scope) -> None:
        if node not in self.scope_of:
            inner = Scope(node, scope)
            self.scope_of[node] = inner
            self._bodies.append((node, inner))

    # -------------------------------------------------------------- statements

    def _block(self, body: list[ast.stmt], env: Env | None, scope: Scope) -> Env | None:
        for statement in body:
            if env is None:
                env = {}  # after a return: still give every name its definitions
                self._statement(statement, env, scope)
                env = None
                continue
            env = self._statement(statement, env, scope)
        return env

    def _statement(self, node: ast.stmt, env: Env, scope: Scope) -> Env | None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for expression in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
                self._expression(expression, env, scope)
            self._bind(node.name, "function", node, scope, env)
            self._enter(node, scope)
        elif isinstance(node, ast.ClassDef):
            for expression in [*node.decorator_list, *node.bases, *[k.value for k in node.keywords]]:
                self._expression(expression, env, scope)
            self._bind(node.name, "class", node, scope, env)
            inner = Scope(node, scope)
            self.scope_of[node] = inner
            self._block(node.body, {}, inner)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                self._bind(alias.asname or alias.name.split(".")[0], "import", node, scope, env)
        elif isinstance(node, ast.Assign):
            self._expression(node.value, env, scope)
            for target in node.targets:
                self._target(target, node.value, "assign", env, scope)
        elif isinstance(node, ast.AnnAssign):
            self._expression(node.value, env, scope)
            if node.value is not None:
                self._target(node.target, node.value, "assign", env, scope)
        elif isinstance(node, ast.AugAssign):
            self._expression(node.value, env, scope)
            if isinstance(node.target, ast.Name):
                before = env.get(node.target.id) or scope.lookup(node.target.id)
                self._bind(node.target.id, "augment", node, scope, env, node.value, (), before)
            else:
                self._target(node.target, node.value, "assign", env, scope)
        elif isinstance(node, (ast.If, ast.While)):
            return self._branching(node, env, scope)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._expression(node.iter, env, scope)
            return self._loop(node, env, scope)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self._expression(item.context_expr, env, scope)
                if item.optional_vars is not None:
                    self._target(item.optional_vars, item.context_expr, "with", env, scope)
            return self._block(node.body, env, scope)
        elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            return self._try(node, env, scope)
        elif isinstance(node, ast.Match):
            self._expression(node.subject, env, scope)
            ends: list[Env | None] = [env]
            for case in node.cases:
                local = dict(env)
                for pattern in ast.walk(case.pattern):
                    captured = (
                        getattr(pattern, "name", None) if isinstance(pattern, (ast.MatchAs, ast.MatchStar)) else None
                    )
                    if captured:
                        self._bind(captured, "assign", pattern, scope, local, node.subject)
                self._expression(case.guard, local, scope)
                ends.append(self._block(case.body, local, scope))
            return _merge(*ends)
        elif isinstance(node, (ast.Return, ast.Raise)):
            for child in ast.iter_child_nodes(node):
                self._expression(child, env, scope)
            return None
        elif isinstance(node, (ast.Break, ast.Continue)):
            self._breaks.append(dict(env))
            return None
        elif isinstance(node, ast.Delete):
            for deleted in node.targets:
                if isinstance(deleted, ast.Name):
                    env.pop(deleted.id, None)
                else:
                    self._expression(deleted, env, scope)
        else:
            for child in children(node):
                self._expression(child, env, scope)
        return env

    def _branching(self, node: ast.If | ast.While, env: Env, scope: Scope) -> Env | None:
        self._expression(node.test, env, scope)
        if isinstance(node, ast.While):
            return self._loop(node, env, scope)
        return _merge(self._block(node.body, dict(env), scope), self._block(node.orelse, dict(env), scope))

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, env: Env, scope: Scope) -> Env | None:
        # Two rounds: what the first gives a name is what the second may read.
        state: Env | None = dict(env)
        outer, self._breaks = self._breaks, []
        for _ in range(2):
            local = dict(state or {})
            if isinstance(node, ast.While):
                self._expression(node.test, local, scope)
            else:
                self._target(node.target, node.iter, "loop", local, scope)
            state = _merge(state, self._block(node.body, local, scope), *self._breaks)
        self._breaks = outer
        return _merge(state, self._block(node.orelse, dict(state or {}), scope) if node.orelse else state)

    def _try(self, node: ast.stmt, env: Env, scope: Scope) -> Env | None:
        assert isinstance(node, ast.Try) or type(node).__name__ == "TryStar"
        body: list[ast.stmt] = node.body  # type: ignore[attr-defined]
        start = dict(env)
        after = self._block(body, dict(env), scope)
        ends = [self._block(node.orelse, dict(after), scope) if after is not None else None]  # type: ignore[attr-defined]
        for handler in node.handlers:  # type: ignore[attr-defined]
            local = dict(_merge(start, after) or start)
            self._expression(handler.type, local, scope)
            if handler.name:
                self._bind(handler.name, "except", handler, scope, local)
            ends.append(self._block(handler.body, local, scope))
        merged = _merge(*ends)
        final: list[ast.stmt] = node.finalbody  # type: ignore[attr-defined]
        return self._block(final, merged if merged is not None else dict(start), scope) if final else merged
