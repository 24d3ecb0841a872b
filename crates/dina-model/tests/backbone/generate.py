"""Writes the files that backbone.rs compares with: small networks of the libraries people take their weights from, with
random weights, and what these libraries make of two random images.

    python generate.py          # needs torch, torchvision, transformers, timm, open_clip, safetensors

Every file holds the weights under the library's names, the grey images as `fixture.images`, and what the library gives as
`fixture.LAYER`. Maps are batch x channels x rows x columns, class tokens batch x channels x 1 x 1.
"""
import tempfile
from pathlib import Path

import open_clip
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)


def grey(height, width):
    return torch.rand(2, 1, height, width)


def seen(images, size, mode, colours):
    """What the network is shown: resized, in three channels, normalised."""
    if images.shape[2:] != size:
        images = F.interpolate(images, size=size, mode=mode, antialias=True, align_corners=False)
    mean, deviation = (torch.tensor(c).reshape(1, 3, 1, 1) for c in colours)
    return (images.repeat(1, 3, 1, 1) - mean) / deviation


def shake(model):
    """Random weights that make every part count: as first drawn, tokens and biases hardly would."""
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if tensor.dim() > 1 and "token" not in name and "pos" not in name:
            scale = tensor[0].numel() ** -0.5
            tensor.copy_(torch.randn_like(tensor) * scale)
        else:
            tensor.copy_(torch.randn_like(tensor) * 0.3 + ("norm" in name or "ln" in name) * ("weight" in name))
    return model.eval()


def save(name, weights, images, layers):
    file = {key: value.contiguous().clone() for key, value in weights.items()}
    file["fixture.images"] = images
    file.update({f"fixture.{layer}": value.contiguous().clone() for layer, value in layers.items()})
    path = HERE / f"{name}.safetensors"
    save_file(file, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, {', '.join(layers)}")


def vgg(name, convolutions, half=False):
    plan = []
    for width, count in zip([3, 4, 5, 6, 7], convolutions):
        plan += [width] * count + ["M"]
    features = shake(torchvision.models.vgg.make_layers(plan))
    model = torch.nn.ModuleDict({"features": features})
    if half:
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half())
    images = grey(20, 30)
    x = seen(images, (32, 64), "bilinear", IMAGENET)
    layers, block, index = {}, 1, 1
    for layer in features:
        # torchvision rectifies in place.
        x = layer(x.clone())
        if isinstance(layer, torch.nn.MaxPool2d):
            layers[f"pool{block}"] = x
            block, index = block + 1, 1
        elif isinstance(layer, torch.nn.ReLU):
            layers[f"relu{block}_{index}"] = x
            index += 1
        else:
            layers[f"conv{block}_{index}"] = x
    last = convolutions[2]
    wanted = ["conv1_2", "pool1", f"relu3_{last}", f"relu5_{convolutions[4]}", "pool5"]
    weights = {key: value.half() if half else value for key, value in model.state_dict().items()}
    # What users have holds a classifier too, which is not to be read.
    weights["classifier.0.weight"] = torch.zeros(2, 2)
    save(name, weights, images, {layer: layers[layer] for layer in wanted})


def tokens(layers, stage, x, grid):
    """Class token first, patches last."""
    rows, columns = grid
    layers[stage] = x[:, -rows * columns :].transpose(1, 2).reshape(len(x), -1, rows, columns)
    layers[f"{stage}.class"] = x[:, 0, :, None, None]


def hugging_face(name, model, size, mode, colours, patch, last_norm):
    images = grey(17, 31)
    pixels = seen(images, size, mode, colours)
    shake(model)
    out = model(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True)
    grid = (size[0] // patch, size[1] // patch)
    layers = {}
    for stage, index in [("embedding", 0), ("block2", 2)]:
        tokens(layers, stage, out.hidden_states[index], grid)
    tokens(layers, "norm", last_norm(out.hidden_states[-1]), grid)
    if hasattr(out, "image_embeds"):
        layers["projected"] = out.image_embeds[:, :, None, None]
    return images, layers


def dinov2_positions(model, size):
    """Dinov2Model takes no flag: it interpolates by itself."""
    forward = model.forward
    model.forward = lambda interpolate_pos_encoding=None, **kwargs: forward(**kwargs)
    return model


def saved(model):
    """The names in files: release 5 of transformers gives the layers others in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")


SMALL = dict(hidden_size=12, num_hidden_layers=3, num_attention_heads=3, patch_size=4, attn_implementation="eager")


def hugging_face_files():
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, image_size=24, intermediate_size=20))
    found = hugging_face("hf-vit", vit, (16, 28), "bilinear", HALF, 4, lambda x: vit.vit.layernorm(x))
    save("hf-vit", saved(vit), *found)
    save("hf-vit-memory", vit.state_dict(), *found)

    clip = transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**SMALL, image_size=24, intermediate_size=20, projection_dim=10)
    )
    found = hugging_face("hf-clip", clip, (24, 24), "bicubic", CLIP, 4, lambda x: clip.vision_model.post_layernorm(x))
    save("hf-clip", saved(clip), *found)

    dinov2 = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=24, mlp_ratio=2))
    found = hugging_face("hf-dinov2", dinov2_positions(dinov2, 24), (16, 32), "bicubic", IMAGENET, 4, lambda x: dinov2.layernorm(x))
    save("hf-dinov2", saved(dinov2), *found)

    config = transformers.Dinov2WithRegistersConfig(**SMALL, image_size=24, mlp_ratio=2, num_register_tokens=4)
    registers = transformers.Dinov2WithRegistersModel(config)
    found = hugging_face("hf-registers", dinov2_positions(registers, 24), (24, 24), "bicubic", IMAGENET, 4, lambda x: registers.layernorm(x))
    save("hf-registers", registers.state_dict(), *found)


def stages(blocks, model, pixels, grid, first):
    """Tokens that go into the first block, that come out of the second, and `first` of the model afterwards."""
    layers, kept = {}, {}
    blocks[0].register_forward_pre_hook(lambda _, x: kept.update(embedding=x[0].clone()))
    blocks[1].register_forward_hook(lambda _, x, y: kept.update(block2=y.clone()))
    last = first(model, pixels)
    for stage in ("embedding", "block2"):
        tokens(layers, stage, kept[stage], grid)
    return layers, last


def timm_files():
    for name, scales, colours, mode in [("timm-vit", None, HALF, "bilinear"), ("timm-dinov2", 1.0, IMAGENET, "bicubic")]:
        model = timm.models.vision_transformer.VisionTransformer(
            img_size=24, patch_size=4, embed_dim=12, depth=3, num_heads=3, mlp_ratio=2, num_classes=0, init_values=scales
        )
        shake(model)
        images = grey(17, 31)
        pixels = seen(images, (24, 24), mode, colours)
        layers, last = stages(model.blocks, model, pixels, (6, 6), lambda m, x: m.forward_features(x))
        tokens(layers, "norm", last, (6, 6))
        save(name, model.state_dict(), images, layers)


def torchvision_file():
    model = torchvision.models.VisionTransformer(
        image_size=24, patch_size=4, num_layers=3, num_heads=3, hidden_dim=12, mlp_dim=20, num_classes=2
    )
    shake(model)
    images = grey(24, 24)
    pixels = seen(images, (24, 24), "bilinear", IMAGENET)
    kept = {}
    model.encoder.ln.register_forward_hook(lambda _, x, y: kept.update(norm=y.clone()))
    layers, _ = stages(model.encoder.layers, model, pixels, (6, 6), lambda m, x: m(x))
    tokens(layers, "norm", kept["norm"], (6, 6))
    save("torchvision-vit", model.state_dict(), images, layers)


def open_clip_file():
    """OpenAI's names and their nonlinearity."""
    visual = open_clip.transformer.VisionTransformer(
        image_size=24, patch_size=4, width=12, layers=3, heads=3, mlp_ratio=2, output_dim=10, act_layer=open_clip.transformer.QuickGELU
    )
    model = shake(torch.nn.ModuleDict({"visual": visual}))
    images = grey(17, 31)
    pixels = seen(images, (24, 24), "bicubic", CLIP)
    layers, projected = stages(visual.transformer.resblocks, visual, pixels, (6, 6), lambda m, x: m(x))
    layers["projected"] = projected[:, :, None, None]
    save("open-clip", model.state_dict(), images, layers)


if __name__ == "__main__":
    torch.manual_seed(7)
    torch.set_grad_enabled(False)
    vgg("vgg13", [2, 2, 2, 2, 2], half=True)
    vgg("vgg16", [2, 2, 3, 3, 3])
    vgg("vgg19", [2, 2, 4, 4, 4])
    hugging_face_files()
    timm_files()
    torchvision_file()
    open_clip_file()
