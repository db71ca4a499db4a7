#!/usr/bin/env python3
"""Writes tests/methods/golden/lora_relatives.json: what PEFT's layers of VeLoRA, MonteCLoRA and PVeRA give in training, for formulaic values.

./dev reference tools/golden/lora_relatives.py
"""
import json
import sys
import warnings
from pathlib import Path

sys.path.pop(0)  # a script beside this one is called like a package
import torch  # noqa: E402
from peft import LoraConfig, MontecloraConfig, PveraConfig, VeloraConfig, get_peft_model  # noqa: E402

SIZE, ROWS, DRAWS = 16, 6, 4000


def waves(*shape, phase=0.0):
    return torch.sin(torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * 1.3 + phase).float().reshape(shape) * 0.5


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(SIZE, SIZE, bias=False)
        self.lin.weight.data = waves(SIZE, SIZE)


def layer(config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(Net(), config).train().base_model.model.lin


def numbers(tensor):
    return [round(value, 7) for value in tensor.detach().flatten().tolist()]


def lora(**options):
    lin = layer(LoraConfig(r=2, lora_alpha=3, target_modules=["lin"], **options))
    lin.lora_A["default"].weight.data = waves(2, SIZE, phase=0.2)
    lin.lora_B["default"].weight.data = waves(SIZE, 2, phase=0.4)
    return lin


def velora():
    lin = lora(velora_config=VeloraConfig(num_groups=5, scale=1.5))
    x = waves(ROWS, SIZE, phase=0.6).requires_grad_()
    y = lin(x)
    (y * waves(ROWS, SIZE, phase=0.8)).sum().backward()
    return {"vector": numbers(lin.lora_velora_embed["default"]), "y": numbers(y), "dx": numbers(x.grad), "da": numbers(lin.lora_A["default"].weight.grad),
            "db": numbers(lin.lora_B["default"].weight.grad)}


def monteclora():
    lin = lora(monteclora_config=MontecloraConfig(num_samples=3, use_entropy=True, dirichlet_prior=0.3, sample_scaler=0.5, kl_loss_weight=0.1, buffer_size=DRAWS))
    sampler = lin.lora_monteclora_sampler["default"]
    sampler.std_prior.data, sampler.expert_weights_prior.data = waves(2, phase=1.0), waves(3, phase=1.2)
    sampler.gaussian_var_prior, sampler.expert_weights = torch.diag(torch.tensor([0.7, 1.9])), torch.tensor([0.2, 0.5, 0.3])
    loss = sum(sampler.get_variational_loss())
    loss.backward()
    result = {"loss": loss.item(), "d_std_prior": numbers(sampler.std_prior.grad), "d_expert_weights_prior": numbers(sampler.expert_weights_prior.grad)}
    with torch.no_grad():
        drawn, variances, weights = [], [], []
        for _ in range(DRAWS):
            noise, weight = sampler()
            drawn.append(torch.einsum("n,nij->ij", weight, noise).T)
            variances.append(sampler.gaussian_var_prior.diag())
            weights.append(weight.sort().values)
    result |= {"noise": numbers(torch.stack(drawn).square().mean((0, 2)).sqrt()), "variances": numbers(torch.stack(variances).mean(0)),
               "weights": numbers(torch.stack(weights).mean(0))}
    return result


def pvera():
    lin = layer(PveraConfig(r=3, target_modules=["lin"]))
    lin.pvera_A["default"], lin.pvera_B["default"] = waves(6, SIZE, phase=0.2), waves(SIZE, 3, phase=0.4)
    lin.pvera_lambda_d["default"].data, lin.pvera_lambda_b["default"].data = waves(6, phase=0.6), waves(SIZE, phase=0.8)
    with torch.no_grad():
        y = lin(waves(1, SIZE, phase=1.0).repeat(20 * DRAWS, 1))
    return {"mean": numbers(y.mean(0)), "deviation": numbers(y.std(0))}


if __name__ == "__main__":
    torch.manual_seed(0)
    out = Path(__file__).resolve().parents[2] / "tests/methods/golden/lora_relatives.json"
    out.write_text(json.dumps({"velora": velora(), "monteclora": monteclora(), "pvera": pvera()}, indent=1) + "\n")
    print(out)
