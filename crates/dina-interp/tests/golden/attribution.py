"""Attributions of DINA's towers in PyTorch, in double precision, as the fixture of `tests/golden.rs`.

    cargo run -p dina-interp --example golden_draws > draws.json
    python crates/dina-interp/tests/golden/attribution.py draws.json > crates/dina-interp/tests/golden/attribution.json

Needs torch, numpy and safetensors; written with torch 2.15. The image tower is the one that `benches/peers/towers.py` compares with DINA's step by step; weights and
inputs follow from the closed formulas below; gradients are those of autograd. Nothing of DINA is called: the random draws of the
methods that sample are inputs.
"""
import json
import math
import pathlib
import sys

import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[4] / "benches" / "peers"))
import towers  # noqa: E402

torch.set_default_dtype(torch.float64)

ITEMS, BACKGROUND = 2, 5
HEIGHT, WIDTH, CHANNELS, HIDDEN = 8, 10, 3, 4
NEURONS, RANK, UNITS = 12, 2, 7
GABOR = {"kernel": 5, "stride": 2, "dilations": [1, 2], "orientations": 2, "frequency": 0.2, "sigma": 2.0}


def waves(shape, scale, phase, middle=0.0):
    """middle + scale sin(0.7 i + phase), i counting values, with a slower wave so that rows differ; rounded as `f32`."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    values = middle + scale * torch.sin(0.7 * i + phase) * torch.cos(0.011 * i * i)
    return values.reshape(shape).float().double()


def image_weights():
    pairs = len(GABOR["dilations"]) * GABOR["orientations"]
    features = 5 * pairs
    turn = torch.arange(pairs, dtype=torch.float64)[:, None] * (math.pi / pairs)
    weights = {
        "image.gabor.orientation": turn + waves((pairs, 1), 0.1, 0.3),
        "image.gabor.log_frequency": waves((pairs, 1), 0.1, 0.5, math.log(0.2)),
        "image.gabor.log_sigma": waves((pairs, 1), 0.1, 0.8, math.log(1.5)),
        "image.pool": waves((features + 1,), 0.3, 1.0, -2.0),
        "image.mixing": waves((CHANNELS, features), 0.8, 1.3),
        "image.local.in": waves((HIDDEN, CHANNELS, 3, 3), 0.3, 1.7),
        "image.local.bias": waves((1, HIDDEN, 1, 1), 0.2, 2.0),
        "image.local.out": waves((CHANNELS, HIDDEN, 1, 1), 0.5, 2.3),
        "image.global.gain": waves((CHANNELS, CHANNELS), 0.4, 2.9),
        "image.global.shift": waves((CHANNELS, CHANNELS), 0.4, 3.1),
        "image.center": waves((1, CHANNELS, HEIGHT // 2, WIDTH // 2), 0.2, 3.7),
    }
    return {name: value.float().double() for name, value in weights.items()}


def image_tower(weights):
    config = {"gabor": GABOR, "height": HEIGHT, "width": WIDTH}
    tower = towers.ImageTower(config, {name: value.float() for name, value in weights.items()})
    # The blurs were made in single precision by that class; here they are made again in double.
    tower = tower.double()
    for dilation in GABOR["dilations"]:
        if dilation > 1:
            for name, n in [("rows", HEIGHT), ("columns", WIDTH)]:
                variance = 0.25 * (dilation**2 - 1)
                place = torch.arange(n, dtype=torch.float64)
                blur = torch.exp(-0.5 * (place[:, None] - place[None, :]) ** 2 / variance)
                blur = blur / blur.sum(1, keepdim=True)
                setattr(tower, f"{name}{dilation}", blur if name == "rows" else blur.t().contiguous())
    return tower


MAP = (CHANNELS, HEIGHT // 2, WIDTH // 2)


def factorised_weights():
    return {
        "neural.features": waves((NEURONS, RANK, CHANNELS), 0.5, 0.2),
        "neural.masks": waves((NEURONS, RANK, MAP[1] * MAP[2]), 0.5, 0.9),
    }


def factorised(weights):
    dense = torch.einsum("nkc,nkp->ncp", weights["neural.features"], weights["neural.masks"])
    return lambda r: torch.einsum("bn,ncp->bcp", r, dense).reshape(-1, *MAP)


def mlp_weights():
    return {
        "neural.first": waves((NEURONS, UNITS), 0.6, 0.4),
        "neural.bias": waves((1, UNITS), 0.3, 1.1),
        "neural.second": waves((UNITS, math.prod(MAP)), 0.5, 1.9),
    }


def mlp(weights):
    first, bias, second = (weights[f"neural.{name}"] for name in ("first", "bias", "second"))
    return lambda r: (torch.relu(r @ first + bias) @ second).reshape(-1, *MAP)


class Target:
    """A channel's mean, or the dot product of some maps with given ones."""

    def __init__(self, channel=None, maps=None):
        self.channel, self.maps = channel, maps

    def read(self, maps, item):
        part = maps if self.channel is None else maps[:, self.channel : self.channel + 1]
        if self.maps is None:
            return part.flatten(1).mean(1)
        return (part * self.maps[item]).flatten(1).sum(1)


def explain(tower, target, inputs, background, groups, draws):
    """Every method on every item, one row at a time."""
    found = {}

    def f(rows, item):
        return target.read(tower(rows), item)

    def gradient(rows, item):
        rows = rows.clone().requires_grad_(True)
        return torch.autograd.grad(f(rows, item).sum(), rows)[0].detach()

    def every(one):
        return torch.stack([one(item, inputs[item]) for item in range(len(inputs))])

    found["targets"] = every(lambda item, x: f(x[None], item)[0].detach())
    found["gradient_input"] = every(lambda item, x: x * gradient(x[None], item)[0])

    nodes, weights = (torch.from_numpy(v) for v in numpy.polynomial.legendre.leggauss(16))
    nodes, weights = (nodes + 1) / 2, weights / 2

    def integrated(item, x, baseline):
        steps = nodes.reshape(-1, *[1] * x.dim())
        g = gradient(baseline + steps * (x - baseline), item)
        return (x - baseline) * (g * weights.reshape(steps.shape)).sum(0)

    found["integrated_gradients"] = every(lambda item, x: integrated(item, x, torch.zeros_like(x)))
    found["integrated_gradients_from_background"] = every(lambda item, x: integrated(item, x, background[0]))

    def smooth(item, x):
        sd = 0.1 * (x.max() - x.min())
        noise = torch.tensor(draws["noise"][item]).reshape(-1, *x.shape)
        return x * gradient(x + sd * noise, item).mean(0)

    found["smooth_grad"] = every(smooth)

    def expected(item, x):
        total = torch.zeros_like(x)
        for origin, place in draws["places"][item]:
            b = background[origin]
            total += (x - b) * gradient((b + place * (x - b))[None], item)[0]
        return total / len(draws["places"][item])

    found["expected_gradients"] = every(expected)

    def without(x, members):
        flat = x.clone().flatten()
        flat[members] = 0
        return flat.reshape(x.shape)

    def occlusion(item, x):
        whole = f(x[None], item)[0]
        return torch.stack([whole - f(without(x, members)[None], item)[0] for members in groups["occlusion"]]).detach()

    found["occlusion"] = every(occlusion)

    def shapley(item, x):
        values = torch.zeros(len(groups["shapley"]))
        for order in draws["orders"][item]:
            now = without(x, sum(groups["shapley"], [])).flatten()
            before = f(now.reshape(x.shape)[None], item)[0]
            for group in order:
                members = groups["shapley"][group]
                now[members] = x.flatten()[members]
                after = f(now.reshape(x.shape)[None], item)[0]
                values[group] += (after - before).detach()
                before = after
        return values / len(draws["orders"][item])

    found["shapley"] = every(shapley)
    return found


def grad_cam(tower, target, inputs):
    cams = []
    for item, x in enumerate(inputs):
        maps = tower(x[None]).detach().requires_grad_(True)
        g = torch.autograd.grad(target.read(maps, item).sum(), maps)[0]
        cam = (maps * g.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
        cams.append(torch.nn.functional.interpolate(cam, x.shape[1:], mode="bilinear", align_corners=False)[0])
    return torch.stack(cams).detach()


def patches(height, width, size, stride):
    return [
        [y * width + x for y in range(top, min(top + size, height)) for x in range(left, min(left + size, width))]
        for top in range(0, height, stride)
        for left in range(0, width, stride)
    ]


def rounded(value):
    """Nested lists with as many digits as single precision can use."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main():
    with open(sys.argv[1]) as file:
        draws = json.load(file)
    maps = waves((ITEMS, *MAP), 1.0, 0.6)
    cases = []
    images, image_background = waves((ITEMS, 1, HEIGHT, WIDTH), 1.5, 0.1), waves((BACKGROUND, 1, HEIGHT, WIDTH), 1.0, 2.2)
    responses, response_background = waves((ITEMS, NEURONS), 1.5, 0.7), waves((BACKGROUND, NEURONS), 1.0, 1.4)
    image_groups = {"occlusion": patches(HEIGHT, WIDTH, 4, 2), "shapley": patches(HEIGHT, WIDTH, 5, 5)}
    neural_groups = {"occlusion": [[n] for n in range(NEURONS)], "shapley": [[0, 1, 2], [3, 4], [5, 6, 7, 8], [9, 10, 11]]}
    made = image_weights()
    for kind, weights, tower, inputs, background, groups in [
        ("image", made, image_tower(made), images, image_background, image_groups),
        ("factorised", factorised_weights(), factorised(factorised_weights()), responses, response_background, neural_groups),
        ("mlp", mlp_weights(), mlp(mlp_weights()), responses, response_background, neural_groups),
    ]:
        side = "image" if kind == "image" else "neural"
        for name, target in [("mean of channel 1", Target(1)), ("channel 2 against maps", Target(2, maps[:, 2:3]))]:
            found = explain(tower, target, inputs, background, groups, draws[side])
            cases.append({"tower": kind, "target": name, "methods": rounded_all(found)})
        target = Target(None, maps)
        found = explain(tower, target, inputs, background, groups, draws[side])
        if kind == "image":
            found["grad_cam"] = grad_cam(tower, target, inputs)
        cases.append({"tower": kind, "target": "all channels against maps", "methods": rounded_all(found)})
    fixture = {
        "made_by": f"attribution.py, torch {torch.__version__}",
        "weights": {
            "image": rounded_all(made),
            "factorised": rounded_all(factorised_weights()),
            "mlp": rounded_all(mlp_weights()),
        },
        "inputs": {"image": rounded(images.flatten()), "neural": rounded(responses.flatten())},
        "background": {"image": rounded(image_background.flatten()), "neural": rounded(response_background.flatten())},
        "maps": rounded(maps.flatten()),
        "draws": {side: {name: values for name, values in all_.items() if name != "noise"} for side, all_ in draws.items()},
        "cases": cases,
    }
    json.dump(fixture, sys.stdout, separators=(",", ":"))
    print()


def rounded_all(tensors):
    return {name: rounded(value.flatten()) for name, value in tensors.items()}


if __name__ == "__main__":
    main()
