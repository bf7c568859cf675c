"""The dialects of restorer checkpoints, translated into a plain MMagic restorer's keys and loaded.

Four things differ between checkpoints of the same network: where the weights lie in the file, which
of two sets of weights (raw or averaged) is meant, what wrappers put before the names, and whether
the names are those of the network or of the model around it. The names inside the networks need no
translation: MMagic's NAFNet, NAFBaseline (both with and without ``Local``), Restormer and SwinIRNet
use the official repositories' names, and so do our HINet, MPRNet and PReNet. The official classes'
weights give bit-identical outputs in them, which was tried with random weights for every one of
them (MPRNet: in float64; in float32 they differ by rounding, since ours batches its patches).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsamdistill.weights.reading import CheckpointError, read_checkpoint

# Where the weights lie in a file, first come first served; a file may also be the weights.
_AVERAGED = ('params_ema', 'params-ema')
_RAW = ('params', 'model', 'net', 'netG', 'model_state_dict')
_COMPILED = '_orig_mod'
_WRAPPER = 'module.'
_STUDENT = 'restorer.'
_TEACHER = 'teacher.'
_NETWORK = 'generator.'
_AVERAGED_NETWORK = 'generator_ema.'
# SwinIR stores its attention mask for the image size of its constructor and computes another for
# every other size: its shape says nothing about whether the weights fit.
_DERIVED = '.attn_mask'
# Networks saved before PyTorch 0.4.1 have no such counters, and evaluation does not use them.
_COUNTER = '.num_batches_tracked'
_SHOWN = 10


def find_state_dict(checkpoint: Mapping[str, Any], ema: bool = True) -> dict[str, Tensor]:
    """Find the weights in a checkpoint.

    =========================  ===============================  ================================
    written by                 averaged weights                 raw weights
    =========================  ===============================  ================================
    MMEngine                                                    ``state_dict``
    MMEngine with ``EMAHook``  ``state_dict``                   ``ema_state_dict`` (the hook swaps
                                                                the two when saving)
    MMagic's EMA hook          ``state_dict``, generator_ema.*  ``state_dict``, ``generator.*``
    BasicSR and its kin        ``params_ema``, ``params-ema``   ``params``
    MPRNet, Lightning                                           ``state_dict``
    SAM 2, others                                               ``model``, ``net``, ``netG``,
                                                                ``model_state_dict``
    PReNet, bare                                                the checkpoint itself
    =========================  ===============================  ================================

    Prefixes that DDP and ``torch.compile`` leave on every key are removed.

    Args:
        checkpoint: What :func:`read_checkpoint` returned.
        ema: Take the averaged weights if there are any; else the raw ones.

    Returns:
        The weights, names otherwise unchanged.

    Raises:
        ValueError: If there are no weights, something else is among them, or the raw weights are
            asked for and only averaged ones are there.

    Example:
        >>> import torch
        >>> find_state_dict({'params': {'module.bias': torch.ones(1)}, 'iter': 7})
        {'bias': tensor([1.])}

    Source: the dialects are those of MMEngine 0.10, MMagic 1.2, BasicSR (HINet, NAFNet,
        Restormer, SwinIR), MPRNet, PReNet and Lightning.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f'a checkpoint is a dict of weights, this is {type(checkpoint).__name__}')
    chosen = _select(checkpoint, ema)
    if not chosen:
        raise ValueError('the checkpoint holds no weights')
    strangers = [key for key, v in chosen.items() if not (isinstance(key, str) and _is_dense(v))]
    if strangers:
        places = ', '.join(map(repr, ('state_dict', *_AVERAGED, *_RAW)))
        raise ValueError(
            f'no weights were found: looked for {places} and a bare dict of dense tensors, but '
            f'the checkpoint holds {", ".join(map(repr, strangers[:10]))}'
        )
    weights = _without_wrappers(chosen)
    return _choose_network(weights, ema)


def to_plain_state_dict(
    state_dict: Mapping[str, Tensor], reference: Mapping[str, Tensor], surplus: bool = False
) -> dict[str, Tensor]:
    """Translate weights into exactly the keys of a plain restorer.

    Understood are the plain restorer's own names (``generator.*``), those of the bare network, as
    official checkpoints have them, with one prefix before all of them (``netG.``, or what Lightning
    calls the attribute), and those of the cascade, of which the student is taken.
    If the weights are a bare network's, what a model keeps outside its network (a step counter)
    is taken from ``reference``.

    Args:
        state_dict: Weights, as :func:`find_state_dict` returns them.
        reference: State dict of the plain restorer, or of its bare network.
        surplus: Leave aside what ``reference`` does not have. Default: False, which refuses it.

    Returns:
        The weights with the keys of ``reference``, in its order; tensors are not copied.

    Raises:
        ValueError: If the two do not match completely; the message lists where.

    Example:
        >>> import torch
        >>> plain = {'generator.bias': torch.zeros(1)}
        >>> to_plain_state_dict({'bias': torch.ones(1)}, plain)
        {'generator.bias': tensor([1.])}
        >>> cascade = {'restorer.generator.bias': torch.ones(1), 'spf.gate': torch.ones(2)}
        >>> to_plain_state_dict(cascade, plain)
        {'generator.bias': tensor([1.])}
    """
    # 1. The network's own names, without what is around it; 2. with the reference's first part.
    given = _without_wrappers(state_dict)
    if _has(given, _STUDENT) and not _has(reference, _STUDENT):
        given = _below(given, _STUDENT)
    given = _without_prefix(given, reference)
    given = _with_names_of(given, reference)
    # 3. What need not be in a file; 4. all of it, or nothing.
    for key in reference:
        if key.endswith(_DERIVED) and key in given and given[key].shape != reference[key].shape:
            given[key] = reference[key]
        if key.endswith(_COUNTER):
            given.setdefault(key, reference[key])
    if surplus:
        given = {key: value for key, value in given.items() if key in reference}
    require_same_keys(given, reference, 'the restorer')
    return {key: given[key] for key in reference}


def adopt_plain_state_dict(
    state_dict: Mapping[str, Any], reference: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Turn whatever was read from a checkpoint into exactly a plain restorer's state dict.

    MMEngine knows one dialect: of a checkpoint without ``state_dict`` it hands over everything. So
    this accepts a whole checkpoint as well as the weights alone.

    Args:
        state_dict: A checkpoint or a state dict in any dialect; averaged weights are preferred.
        reference: State dict of the plain restorer.

    Returns:
        The weights with the keys of ``reference``, in its order.

    Raises:
        ValueError: If they do not match completely; the message lists where.

    Example:
        >>> import torch
        >>> reference = {'generator.bias': torch.zeros(1)}
        >>> adopt_plain_state_dict({'params': {'bias': torch.ones(1)}}, reference)
        {'generator.bias': tensor([1.])}
    """
    return to_plain_state_dict(find_state_dict(state_dict), reference)


def read_weights(path: str | Path, ema: bool = True) -> dict[str, Tensor]:
    """Read the weights of a file in any dialect: what all networks here are loaded from.

    Args:
        path: See :func:`read_checkpoint`.
        ema: Take averaged weights if there are any; else the raw ones.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read, or holds no weights; the message names it.
    """
    checkpoint = read_checkpoint(path)
    try:
        return find_state_dict(checkpoint, ema)
    except ValueError as error:
        raise CheckpointError(f'{path}: {error}') from error


def load_plain(model: nn.Module, source: str | Path | Mapping[str, Any], ema: bool = True) -> None:
    """Load weights in any dialect into a plain restorer or its bare network, completely.

    Args:
        model: A plain restorer (``BaseEditModel``) or a bare network.
        source: Path of a checkpoint, a checkpoint that was read, or a state dict. Of a cascade's,
            the student is taken.
        ema: Take averaged weights if there are any; else the raw ones.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
        ValueError: If its weights do not match the model's completely; the message names the file
            and lists the keys.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> load_plain(network, {'params': {k: v + 1 for k, v in network.state_dict().items()}})
    """
    if isinstance(source, Mapping):
        weights = to_plain_state_dict(find_state_dict(source, ema), model.state_dict())
    else:
        found = read_weights(source, ema)
        try:
            weights = to_plain_state_dict(found, model.state_dict())
        except ValueError as error:
            raise ValueError(f'{source}: {error}') from error
    model.load_state_dict(weights, strict=True)


def is_cascade(weights: Mapping[str, Any]) -> bool:
    """Whether weights are those of a whole cascade."""
    return _has(weights, _STUDENT)


def _select(checkpoint: Mapping[str, Any], ema: bool) -> Mapping[str, Any]:
    if isinstance(checkpoint.get('state_dict'), Mapping):
        averaged = checkpoint.get('ema_state_dict')
        if isinstance(averaged, Mapping) and not ema:
            # The averaging wrapper's own counter has no such prefix and is no weight.
            return {k[7:]: v for k, v in averaged.items() if str(k).startswith(_WRAPPER)}
        return checkpoint['state_dict']
    averaged = [key for key in _AVERAGED if isinstance(checkpoint.get(key), Mapping)]
    raw = [key for key in _RAW if isinstance(checkpoint.get(key), Mapping)]
    if averaged and not raw and not ema:
        raise ValueError(f'the checkpoint holds averaged weights ({averaged[0]!r}) and no raw ones')
    # A file with none of these names is the weights themselves.
    found = averaged + raw if ema else raw
    return checkpoint[found[0]] if found else checkpoint


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _choose_network(weights: dict[str, Tensor], ema: bool) -> dict[str, Tensor]:
    """Settle which of ``generator`` and ``generator_ema`` is the network."""
    averaged = {key: value for key, value in weights.items() if _AVERAGED_NETWORK in key}
    if not averaged:
        return weights
    chosen = {key: value for key, value in weights.items() if key not in averaged}
    if ema:
        for key, value in averaged.items():
            before, name = key.split(_AVERAGED_NETWORK, 1)
            if name != 'steps':
                chosen[before + _NETWORK + name.removeprefix('module.')] = value
    return chosen


def _with_names_of(given: dict[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if _has(reference, _NETWORK) and not _has(given, _NETWORK):
        around = {key: value for key, value in reference.items() if not key.startswith(_NETWORK)}
        return {**around, **{_NETWORK + key: value for key, value in given.items()}}
    if _has(given, _NETWORK) and not _has(reference, _NETWORK):
        # What is not the network's stays, for the comparison to complain about.
        return {key.removeprefix(_NETWORK): value for key, value in given.items()}
    return given


def _without_wrappers(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what ``torch.compile`` puts anywhere into names, and DDP before all of them."""
    weights = {
        '.'.join(part for part in key.split('.') if part != _COMPILED): value
        for key, value in weights.items()
    }
    while weights and all(key.startswith(_WRAPPER) for key in weights):
        weights = _below(weights, _WRAPPER)
    return weights


def _without_prefix(given: dict[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a prefix that every name has, and after which the reference's names begin."""
    names = [key.removeprefix(_NETWORK) for key in reference]
    if not names or any(key in reference or key in names for key in given):
        return given
    for key in given:
        if key.endswith('.' + names[0]):
            prefix = key[: -len(names[0])]
            alone = all(other.startswith(prefix) for other in given)
            if alone and not prefix.startswith(_TEACHER):  # which is no student
                return _below(given, prefix)
    return given


def _has(weights: Mapping[str, Any], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in weights)


def _below(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}


def require_same_keys(
    given: Mapping[str, Tensor], reference: Mapping[str, Tensor], what: str = 'the model'
) -> None:
    """Require that one state dict fits another completely.

    MMEngine loads with ``strict=False`` and only logs what does not fit, and a half-initialised
    model trains without complaint.

    Args:
        given: The weights at hand.
        reference: The weights that are needed; only names and shapes count.
        what: What needs them, for the message.

    Raises:
        ValueError: If a key is missing or unexpected, or its shape or type differs; one message
            lists all kinds with their counts, each by its first ten keys.

    Example:
        >>> import torch
        >>> weights = {'conv.weight': torch.zeros(4, 3)}
        >>> require_same_keys(weights, weights)
        >>> require_same_keys(weights, {'conv.weight': torch.zeros(4, 4)}, 'a 4 channel network')
        Traceback (most recent call last):
        ValueError: the weights do not fit a 4 channel network:
          1 of another shape: conv.weight is (4, 3), needs (4, 4)
    """
    missing = [key for key in reference if key not in given]
    unexpected = [key for key in given if key not in reference]
    reshaped = [
        f'{key} is {tuple(given[key].shape)}, needs {tuple(reference[key].shape)}'
        for key in reference
        if key in given and given[key].shape != reference[key].shape
    ]
    # Whole numbers in the place of fractions are quantised weights, without their scale.
    retyped = [
        f'{key} is {given[key].dtype}, needs {reference[key].dtype}'
        for key in reference
        if key in given and given[key].is_floating_point() != reference[key].is_floating_point()
    ]
    kinds = {'missing': missing, 'unexpected': unexpected, 'of another shape': reshaped}
    kinds['of another type'] = retyped
    lines = [f'  {len(names)} {kind}: {_listed(names)}' for kind, names in kinds.items() if names]
    if lines:
        raise ValueError('\n'.join([f'the weights do not fit {what}:', *lines]))


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that holds an infinity or no number, None if there is none."""
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            # An attention mask, which a network keeps as a buffer.
            if bool(((value == 0) | (value == -torch.inf)).all()):
                continue
            return name
    return None


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = [f'and {len(names) - _SHOWN} more'] if len(names) > _SHOWN else []
    return ', '.join([*names[:_SHOWN], *more])
