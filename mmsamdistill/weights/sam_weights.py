"""Finding, checking and safely reading the weights of the Segment Anything Model."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import torch
from torch import nn

from mmsamdistill.files import hash_file
from mmsamdistill.weights.dialects import read_weights, require_same_keys
from mmsamdistill.weights.library_weights import download_once


class OfficialFile(NamedTuple):
    """A published file."""

    name: str
    size: int | None  # in bytes; None where only the hash is known
    sha256: str
    folder: str = 'segment_anything'  # on the publisher's server

    @property
    def url(self) -> str:
        """Where it is published."""
        return f'https://dl.fbaipublicfiles.com/{self.folder}/{self.name}'


# fmt: off
# The six hexadecimal digits in the names are the start of the files' MD5, not of their SHA-256.
OFFICIAL_FILES: dict[str, OfficialFile] = {
    'vit_b': OfficialFile('sam_vit_b_01ec64.pth', 375_042_383,
        'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912'),
    'vit_l': OfficialFile('sam_vit_l_0b3195.pth', 1_249_524_607,
        '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622'),
    'vit_h': OfficialFile('sam_vit_h_4b8939.pth', 2_564_550_879,
        'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e'),
}
# Model type, bytes and SHA-256.
_SAM2 = (
    ('sam2_hiera_tiny', None,
     '65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125'),
    ('sam2_hiera_small', None,
     '95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3'),
    ('sam2_hiera_base_plus', None,
     'd0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071'),
    ('sam2_hiera_large', None,
     '7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b'),
    ('sam2.1_hiera_tiny', 156_008_466,
     '7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69'),
    ('sam2.1_hiera_small', 184_416_285,
     '6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38'),
    ('sam2.1_hiera_base_plus', 323_606_802,
     'a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5'),
    ('sam2.1_hiera_large', 898_083_611,
     '2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318'),
)
# fmt: on
OFFICIAL_SAM2_FILES: dict[str, OfficialFile] = {
    name: OfficialFile(f'{name}.pt', size, digest, f'segment_anything_2/{day}')
    for name, size, digest in _SAM2
    for day in ['092824' if name.startswith('sam2.1') else '072824']
}


def locate_weights(
    checkpoint: str | Path,
    sha256: str | None = None,
    official: Mapping[str, OfficialFile] = OFFICIAL_FILES,
) -> Path:
    """Path of a checkpoint on this machine; a URL is downloaded once into torch.hub's folder."""
    if urlparse(str(checkpoint)).scheme not in ('http', 'https', 'file'):
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            urls = ', '.join(file.url for file in official.values())
            raise FileNotFoundError(
                f'no SAM checkpoint at {path}; the official ones are {urls}, and '
                f'checkpoint=None downloads the one of the model type'
            )
        return path
    published = _official_of_name(Path(urlparse(str(checkpoint)).path).name)
    return download_once(str(checkpoint), sha256 or (published.sha256 if published else None))


def verify_weights(path: Path, sha256: str | None = None) -> str:
    """Check a checkpoint file against the hash that is expected of it."""
    official = _official_of_name(path.name)
    if sha256 is None and official is not None and official.size is not None:
        size = path.stat().st_size
        if size != official.size:
            raise ValueError(
                f'{path} has {size} bytes, but {official.name} has {official.size}: the download '
                f'was cut short or it is another file; fetch it again from {official.url}'
            )
    actual = hash_file(path)
    expected = sha256 or (official.sha256 if official else '')
    if not actual.startswith(expected.lower()):
        raise ValueError(
            f'{path} has SHA-256 {actual}, expected {expected}: it is damaged or another file'
        )
    return actual


def load_weights(
    network: nn.Module, path: Path, model_type: str, choices: Iterable[str] = OFFICIAL_FILES
) -> None:
    """Load a checkpoint into a network, every key of both used."""
    state = read_weights(path)
    try:
        require_same_keys(state, network.state_dict(), model_type)
    except ValueError as error:
        models = ', '.join(choices)
        remedy = f'choose the model_type ({models})' if models else 'give the builder of the model'
        raise ValueError(
            f'{path} is not a checkpoint of SAM {model_type}: {remedy} that the file was made for; '
            f'{error}'
        ) from error
    network.load_state_dict(state, strict=True)


def hash_state(network: nn.Module) -> str:
    """SHA-256 over names and values of a network's state, for networks that came without a file."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _official_of_name(name: str) -> OfficialFile | None:
    """The published file of a name, if there is one."""
    files = [*OFFICIAL_FILES.values(), *OFFICIAL_SAM2_FILES.values()]
    return next((file for file in files if file.name == name), None)
