"""The two towers, the objective and a training step of DINA in PyTorch.

    towers.py FILE eager|compiled

FILE is what the bench `training` writes: weights (`weights.*`), a batch to time (`batch.*`) and one to compare (`parity.*`), and what DINA makes of the latter (`maps.*`,
`gradients.*`, `stepped.*`); its metadata hold the configuration. Answers every line of the input with a line of JSON:
`parity` with the largest differences, `step` with the seconds of a training step, `infer` with those of both
towers on a batch.
"""
import json
import math
import os
import struct
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def read(path):
    """Tensors, and the configuration in the metadata of the header, as JSON inside JSON."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    return load_file(path), json.loads(json.loads(header["__metadata__"]["dina"])["config"])


def blur(n, dilation):
    """Rows of a Gaussian that widens a pixel to `dilation` pixels, renormalised at the borders."""
    variance = 0.25 * (dilation**2 - 1)
    position = torch.arange(n, dtype=torch.float64)
    weights = torch.exp(-0.5 * (position[:, None] - position[None, :]) ** 2 / variance)
    return (weights / weights.sum(1, keepdim=True)).float()


class ImageTower(torch.nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        self.gabor = config["gabor"]
        names = {name.removeprefix("image."): value for name, value in weights.items() if name.startswith("image.")}
        self.weights = torch.nn.ParameterDict({n.replace(".", "__"): torch.nn.Parameter(v.clone()) for n, v in names.items()})
        half = self.gabor["kernel"] // 2
        taps = torch.arange(-half, half + 1, dtype=torch.float32)
        self.register_buffer("y", taps.repeat_interleave(2 * half + 1)[None])
        self.register_buffer("x", taps.repeat(2 * half + 1)[None])
        for dilation in self.gabor["dilations"]:
            if dilation > 1:
                self.register_buffer(f"rows{dilation}", blur(config["height"], dilation))
                self.register_buffer(f"columns{dilation}", blur(config["width"], dilation).t().contiguous())

    def kernels(self):
        orientation, frequency, sigma = (self.weights[f"gabor__{n}"] for n in ("orientation", "log_frequency", "log_sigma"))
        along = orientation.cos() * self.x + orientation.sin() * self.y
        envelope = torch.exp(-0.5 / sigma.exp() ** 2 * (self.x**2 + self.y**2))
        phase = along * (frequency.exp() * 2 * math.pi)
        even = phase.cos() * envelope
        even = even - envelope * (even.sum(1, keepdim=True) / envelope.sum(1, keepdim=True))
        odd = phase.sin() * envelope
        both = torch.stack([f / (f.square().sum(1, keepdim=True) + 1e-12).sqrt() for f in (even, odd)], 1)
        size = self.gabor["kernel"]
        return both.reshape(-1, 1, size, size)

    def forward(self, images):
        w, kernels = self.weights, self.kernels()
        filters = 2 * self.gabor["orientations"]
        scales = []
        for index, dilation in enumerate(self.gabor["dilations"]):
            scale = images
            if dilation > 1:
                scale = getattr(self, f"rows{dilation}") @ (images @ getattr(self, f"columns{dilation}"))
            part = kernels[index * filters : (index + 1) * filters]
            padding = dilation * (self.gabor["kernel"] // 2)
            scales.append(F.conv2d(scale, part, stride=self.gabor["stride"], padding=padding, dilation=dilation))
        filtered = torch.cat(scales, 1)
        batch, _, height, width = filtered.shape
        pairs = filtered.reshape(batch, -1, 2, height, width)
        even, odd = pairs[:, :, 0], pairs[:, :, 1]
        energy = (even.square() + odd.square() + 1e-4).sqrt()
        x = torch.stack([even.relu(), (-even).relu(), odd.relu(), (-odd).relu(), energy], 2).reshape(batch, -1, height, width)
        pool = F.softplus(w["pool"])
        y = x / (torch.einsum("bchw,c->bhw", x, pool[:-1]) + pool[-1])[:, None]
        z = F.conv2d(y, w["mixing"][:, :, None, None])
        hidden = (F.conv2d(z, w["local__in"], padding=1) + w["local__bias"]).relu()
        local = z + F.conv2d(hidden, w["local__out"])
        context = z.mean((2, 3))
        gain = 1 + torch.tanh(context @ w["global__gain"].t())
        shift = context @ w["global__shift"].t()
        return local * gain[:, :, None, None] + shift[:, :, None, None] - w["center"]


class NeuralTower(torch.nn.Module):
    """The factorised read-in; its dense weights are formed once a step, the cheapest way in this library."""

    def __init__(self, config, weights, shape):
        super().__init__()
        self.features = torch.nn.Parameter(weights["neural.features"].clone())
        self.masks = torch.nn.Parameter(weights["neural.masks"].clone())
        self.dropout = config["dropout"]
        self.shape = shape

    def forward(self, responses):
        responses = F.dropout(responses, self.dropout, self.training)
        dense = torch.bmm(self.features.transpose(1, 2), self.masks).flatten(1)
        return (responses @ dense).reshape(-1, *self.shape)


class Model(torch.nn.Module):
    def __init__(self, config, weights, shape):
        super().__init__()
        self.image = ImageTower(config["image"], weights)
        self.neural = NeuralTower(config["neural"], weights, shape)
        self.log_scale = torch.nn.Parameter(weights["objective.log_scale"].clone())

    def forward(self, images, responses):
        return self.image(images), self.neural(responses)

    def loss(self, images, responses):
        """Every image occurs once in a batch: the positives are the diagonal."""
        a, b = self(images, responses)
        a, b = (t.flatten(1) for t in (a, b))
        a, b = (t / (t.square().sum(1, keepdim=True) + 1e-12).sqrt() for t in (a, b))
        logits = b @ a.t() * self.log_scale.exp()
        target = torch.arange(len(logits), device=logits.device)
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))

    def ours(self):
        """Parameters by the names of DINA's checkpoints."""
        named = {f"image.{name.replace('__', '.')}": value for name, value in self.image.weights.items()}
        named.update({"neural.features": self.neural.features, "neural.masks": self.neural.masks})
        named["objective.log_scale"] = self.log_scale
        return named


class Trainer:
    def __init__(self, path, compiled, device="cpu"):
        self.file, self.config = read(path)
        self.file = {name: tensor.to(device) for name, tensor in self.file.items()}
        self.device, self.compiled = device, compiled
        weights = {n.removeprefix("weights."): t for n, t in self.file.items() if n.startswith("weights.")}
        self.model = Model(self.config, weights, self.file["maps.neural.v1"].shape[1:]).to(device)
        self.loss = torch.compile(self.model.loss) if compiled else self.model.loss
        self.maps = torch.compile(self.model.forward) if compiled else self.model.forward
        train = self.config["train"]
        undecayed = ("gabor", "pool", "bias", "center", "log_scale")
        groups = {True: [], False: []}
        for name, parameter in self.model.ours().items():
            groups[not any(part in name for part in undecayed)].append(parameter)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": train["weight_decay"]},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=train["learning_rate"], betas=tuple(train["betas"]), eps=train["epsilon"], fused=True,
        )
        self.parameters = list(self.model.ours().values())
        self.average = [p.detach().clone() for p in self.parameters]

    def inputs(self, of):
        return self.file[f"{of}.images"], self.file[f"{of}.responses"]

    def gradients(self, of="batch"):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(*self.inputs(of))
        loss.backward()
        return loss

    def step(self):
        self.model.train()
        loss = self.gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config["train"]["clip"], foreach=True)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 0.02)
            self.model.log_scale.clamp_(max=math.log(100.0))
        return loss.item()

    def infer(self, of="batch"):
        self.model.eval()
        with torch.no_grad():
            return self.maps(*self.inputs(of))

    def timed(self, work):
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return {"seconds": time.perf_counter() - start}

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def parity(self):
        """Largest differences, relative to the largest value of each tensor."""
        a, b = self.infer("parity")
        found = {"maps.image.v1": a, "maps.neural.v1": b}
        self.gradients("parity")
        found.update({f"gradients.{name}": p.grad.clone() for name, p in self.model.ours().items()})
        before = [p.detach().clone() for p in self.parameters]
        # The step is taken from DINA's gradients: where one is as small as AdamW's epsilon, the last digits of it
        # decide how far the first step goes.
        for name, parameter in self.model.ours().items():
            parameter.grad.copy_(self.file[f"gradients.{name}"])
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config["train"]["clip"])
        self.optimiser.step()
        found.update({f"stepped.{name}": p.detach().clone() for name, p in self.model.ours().items()})
        worst = {}
        for name, tensor in found.items():
            kind = name.split(".")[0]
            expected = self.file[name]
            error = ((tensor - expected).abs().max() / expected.abs().max()).item()
            if not error <= worst.get(kind, (-1.0, ""))[0]:
                worst[kind] = (error, name)
        with torch.no_grad():
            for parameter, value in zip(self.parameters, before):
                parameter.copy_(value)
        answer = {kind: error for kind, (error, _) in worst.items()}
        answer.update({f"{kind}_worst": name for kind, (_, name) in worst.items()})
        return answer


def main():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    trainer = Trainer(sys.argv[1], sys.argv[2] == "compiled", device)
    for line in sys.stdin:
        match line.strip():
            case "parity":
                answer = trainer.parity()
            case "step":
                answer = trainer.timed(trainer.step)
            case "infer":
                answer = trainer.timed(trainer.infer)
            case other:
                sys.exit(f"towers.py: no such question: {other}")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
