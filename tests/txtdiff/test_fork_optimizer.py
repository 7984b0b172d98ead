"""The fork's optN.pt: its moments reach the weights that they belong to, or one message says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_fork_convert import Bomb, fork_run
from torch import Tensor, nn

from datatools.errors import InputError
from txtdiff.fork.convert import convert_fork_run
from txtdiff.fork.model import numbering_config
from txtdiff.fork.optimizer import fork_groups, read_optimizer
from txtdiff.fork.parse import parse_fork_flags
from txtdiff.fork.weights import our_names

PARITY = Path(__file__).parent / "parity"


def test_groups_of_a_readme_like_network() -> None:
    """The fork itself had 32 for such a network with one layer of text encoder (fork_spec 8.3)."""
    with safe_open(PARITY / "base_nocapt_fused.safetensors", "pt") as file:
        names = [*json.loads(file.metadata()["state"])]
    assert sum(map(len, fork_groups(names, 3))) == len(names)
    assert len(fork_groups(names, 3)) == 36
    shallow = [name for name in names if "model.layers.2." not in name and "model.layers.3." not in name]
    assert len(fork_groups(shallow, 3)) == 32


def gradient(name: str, shape: torch.Size) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(crc32(name.encode())), dtype=torch.float64
    )


def trained(run: Path, *, flat: bool) -> tuple[dict[str, str], str]:
    """Write opt000020.pt as the fork's AdamW does; (its names -> ours, a name without moments)."""
    state = torch.load(run / "model000020.pt")
    flags = parse_fork_flags(
        [
            f"--{k}={v}"
            for k, v in json.loads((run / "config.json").read_text()).items()
            if k not in ("is_super_res", "tokenizer_config", "clipmod")
        ],
        "image_train",
    )
    names = our_names(state, numbering_config(flags))
    weights = {name: nn.Parameter(state[name].detach().clone()) for name in names}
    groups = fork_groups([*weights], 3)
    idle = groups[0][0]
    for name, weight in weights.items():
        if name != idle or flat:
            weight.grad = gradient(name, weight.shape).to(weight.dtype)
    if flat:
        params: list[list[nn.Parameter]] = []
        for group in groups:
            whole = nn.Parameter(torch.cat([weights[name].detach().float().reshape(-1) for name in group]))
            whole.grad = torch.cat(
                [gradient(name, weights[name].shape).float().reshape(-1) for name in group]
            )
            params.append([whole])
    else:
        params = [[weights[name] for name in group] for group in groups]
    optimizer = torch.optim.AdamW([{"params": group} for group in params], lr=1e-4, weight_decay=0.0)
    optimizer.step()
    optimizer.step()
    torch.save(optimizer.state_dict(), run / "opt000020.pt")
    return names, idle


@pytest.mark.parametrize("flat", [False, True], ids=["AMP", "hand-made fp16"])
def test_moments_reach_their_weights(tmp_path: Path, flat: bool) -> None:
    fork_run(tmp_path)
    names, idle = trained(tmp_path, flat=flat)
    checkpoint = convert_fork_run(tmp_path, tmp_path / "ours")
    ours = load_file(checkpoint / "optim.safetensors")
    own = load_file(checkpoint / "model.safetensors")
    assert len(ours) == 3 * (len(names) - (not flat))
    for theirs, name in names.items():
        if theirs == idle and not flat:
            assert f"step.{name}" not in ours
            continue
        g = gradient(theirs, own[name].shape).float()
        # Two steps with the same gradient: 1 - 0.9^2 and 1 - 0.999^2 of it.
        assert torch.allclose(ours[f"exp_avg.{name}"], 0.19 * g, rtol=1e-4), name
        assert torch.allclose(ours[f"exp_avg_sq.{name}"], 0.001999 * g**2, rtol=1e-4), name
        assert ours[f"step.{name}"] == 2
    assert ours[f"exp_avg.{names[idle]}" if flat else "exp_avg.head.weight"].dtype == torch.float32


def test_a_file_of_other_groups_is_left_out_with_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fork_run(tmp_path)
    other = torch.optim.AdamW([nn.Parameter(torch.zeros(3))])
    torch.save(other.state_dict(), tmp_path / "opt000020.pt")
    checkpoint = convert_fork_run(tmp_path, tmp_path / "ours")
    assert not (checkpoint / "optim.safetensors").exists()
    told = capsys.readouterr().err
    assert told.count("not taken over") == 1 and "1 groups hold 1 parameters" in told


@pytest.mark.parametrize("content", ["bomb", "no state", "noise", "strange numbers"])
def test_hostile_files_are_refused_and_not_executed(tmp_path: Path, content: str) -> None:
    path, proof = tmp_path / "opt000020.pt", tmp_path / "proof"
    contents: dict[str, Any] = {
        "bomb": {"state": {}, "param_groups": [Bomb(proof)]},
        "no state": {"w": torch.zeros(2)},
        "strange numbers": {"state": {"x": 1}, "param_groups": [{"params": [0]}]},
    }
    if content == "noise":
        path.write_bytes(bytes(range(256)) * 9)
    else:
        torch.save(contents[content], path)
    with pytest.raises(InputError):
        read_optimizer(path)
    assert not proof.exists()
