"""The files that Segment Anything and Segment Anything 2 were published as."""

from __future__ import annotations

from typing import NamedTuple


class OfficialFile(NamedTuple):
    """A published file.

    Attributes:
        name: Its name.
        size: Bytes; None where only the hash is known.
        sha256: SHA-256 of its content.
        folder: Where it lies on the publisher's server.
    """

    name: str
    size: int | None
    sha256: str
    folder: str = 'segment_anything'

    @property
    def url(self) -> str:
        """Where it is published."""
        return f'https://dl.fbaipublicfiles.com/{self.folder}/{self.name}'


# The six hexadecimal digits in the names are the start of the files' MD5, not of their SHA-256.
OFFICIAL_FILES: dict[str, OfficialFile] = {
    'vit_b': OfficialFile(
        'sam_vit_b_01ec64.pth',
        375_042_383,
        'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912',
    ),
    'vit_l': OfficialFile(
        'sam_vit_l_0b3195.pth',
        1_249_524_607,
        '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622',
    ),
    'vit_h': OfficialFile(
        'sam_vit_h_4b8939.pth',
        2_564_550_879,
        'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e',
    ),
}

_SAM2 = 'segment_anything_2/072824'
_SAM21 = 'segment_anything_2/092824'

OFFICIAL_SAM2_FILES: dict[str, OfficialFile] = {
    'sam2_hiera_tiny': OfficialFile(
        'sam2_hiera_tiny.pt',
        None,
        '65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125',
        _SAM2,
    ),
    'sam2_hiera_small': OfficialFile(
        'sam2_hiera_small.pt',
        None,
        '95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3',
        _SAM2,
    ),
    'sam2_hiera_base_plus': OfficialFile(
        'sam2_hiera_base_plus.pt',
        None,
        'd0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071',
        _SAM2,
    ),
    'sam2_hiera_large': OfficialFile(
        'sam2_hiera_large.pt',
        None,
        '7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b',
        _SAM2,
    ),
    'sam2.1_hiera_tiny': OfficialFile(
        'sam2.1_hiera_tiny.pt',
        156_008_466,
        '7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69',
        _SAM21,
    ),
    'sam2.1_hiera_small': OfficialFile(
        'sam2.1_hiera_small.pt',
        184_416_285,
        '6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38',
        _SAM21,
    ),
    'sam2.1_hiera_base_plus': OfficialFile(
        'sam2.1_hiera_base_plus.pt',
        323_606_802,
        'a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5',
        _SAM21,
    ),
    'sam2.1_hiera_large': OfficialFile(
        'sam2.1_hiera_large.pt',
        898_083_611,
        '2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318',
        _SAM21,
    ),
}


def official_of_name(name: str) -> OfficialFile | None:
    """The published file of a name, if there is one.

    Example:
        >>> official_of_name('sam_vit_b_01ec64.pth').size, official_of_name('other.pth')
        (375042383, None)

    Source: the publisher's; sizes and hashes are facts about the files.
    """
    files = [*OFFICIAL_FILES.values(), *OFFICIAL_SAM2_FILES.values()]
    return next((file for file in files if file.name == name), None)
