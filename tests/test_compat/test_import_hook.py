"""Functions and methods of a module, wrapped once the module is imported."""

import sys
from types import ModuleType

import pytest

from mmsamdistill.compat import import_hook


class Owner:
    """What a module holds."""

    def method(self, x):
        return 'method', self, x

    @staticmethod
    def static(x):
        return 'static', x

    @classmethod
    def of_class(cls, x):
        return 'class', cls, x


def function(x):
    """Say what it is."""
    return 'function', x


def twice(original, *args, **kwargs):
    return [original(*args, **kwargs), original(*args, **kwargs)]


@pytest.fixture
def module(monkeypatch):
    module = ModuleType('a_module')
    module.function, module.Owner = function, type('Owner', (Owner,), dict(vars(Owner)))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(import_hook, 'AFTER_IMPORT', {})
    return module


def test_each_kind_of_function_stays_what_it_is(module):
    for name in ('function', 'Owner.method', 'Owner.static', 'Owner.of_class'):
        import_hook.wrap_after_import('a_module', name, twice)
    owner = module.Owner()
    assert module.function(x=1) == [('function', 1)] * 2
    assert owner.method(2) == [('method', owner, 2)] * 2
    assert owner.static(3) == module.Owner.static(3) == [('static', 3)] * 2
    assert owner.of_class(4) == module.Owner.of_class(4) == [('class', module.Owner, 4)] * 2
    assert (module.function.__name__, module.function.__doc__) == ('function', 'Say what it is.')


def test_a_module_that_is_not_there_yet_waits(module, monkeypatch):
    monkeypatch.delitem(sys.modules, 'a_module')
    import_hook.wrap_after_import('a_module', 'function', twice)
    assert module.function(1) == ('function', 1)
    (amend,) = import_hook.AFTER_IMPORT['a_module']
    amend(module)
    assert module.function(1) == [('function', 1)] * 2
