//! What the tensors of a transformer are called in the files that people have.

use dina_core::Result;

use super::config::VitFamily;
use super::weights::Weights;

/// The names that one library gives. Those of a block follow its prefix; a layer's `.weight` and `.bias` are left out.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    /// Whose names these are.
    origin: &'static str,
    /// What may stand before every name, the first where weights are random.
    prefixes: &'static [&'static str],
    /// The class token, by whose presence the naming is recognised.
    pub(super) class: &'static str,
    /// Position embeddings.
    pub(super) positions: &'static str,
    /// Whether both have a batch axis of 1 in front.
    pub(super) batched: bool,
    /// The convolution that embeds patches.
    pub(super) patch: &'static str,
    /// Register tokens, where there may be some.
    pub(super) registers: &'static str,
    /// The layer norm before the first block.
    pub(super) first_norm: &'static str,
    /// The layer norm after the last block.
    pub(super) last_norm: &'static str,
    /// The projection after it: its name, and whether it is stored as inputs x outputs.
    pub(super) projection: (&'static str, bool),
    /// Prefix of a block, before and after its number.
    block: (&'static str, &'static str),
    /// Of a block the layer norm before the attention, and before the perceptron.
    pub(super) norms: [&'static str; 2],
    /// Queries, keys and values.
    pub(super) attention: Attention,
    /// What mixes the heads.
    pub(super) mix: &'static str,
    /// Both layers of the perceptron.
    pub(super) perceptron: [&'static str; 2],
    /// Scales of the residuals of attention and perceptron, whole names.
    pub(super) scales: [&'static str; 2],
}

/// How queries, keys and values are stored.
#[derive(Clone, Copy)]
pub(super) enum Attention {
    /// Three layers.
    Split([&'static str; 3]),
    /// One layer of three times the width: whole names of weight and bias.
    Fused([&'static str; 2]),
}

/// Hugging Face's `ViTModel`, alone or inside a classifier.
const HF_VIT: Naming = Naming {
    origin: "Hugging Face ViT",
    prefixes: &["", "vit."],
    class: "embeddings.cls_token",
    positions: "embeddings.position_embeddings",
    batched: true,
    patch: "embeddings.patch_embeddings.projection",
    registers: "",
    first_norm: "",
    last_norm: "layernorm",
    projection: ("", false),
    block: ("encoder.layer.", "."),
    norms: ["layernorm_before", "layernorm_after"],
    attention: Attention::Split([
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
    ]),
    mix: "attention.output.dense",
    perceptron: ["intermediate.dense", "output.dense"],
    scales: ["", ""],
};

/// The same as a `state_dict` of release 5 of transformers has it; its files keep the older names.
const HF_VIT_MEMORY: Naming = Naming {
    block: ("layers.", "."),
    attention: HF_MEMORY,
    mix: "attention.o_proj",
    perceptron: ["mlp.fc1", "mlp.fc2"],
    ..HF_VIT
};

const HF_MEMORY: Attention = Attention::Split(["attention.q_proj", "attention.k_proj", "attention.v_proj"]);

/// Hugging Face's `Dinov2Model`, with and without registers.
const HF_DINOV2: Naming = Naming {
    origin: "Hugging Face DINOv2",
    prefixes: &["", "dinov2.", "dinov2_with_registers."],
    registers: "embeddings.register_tokens",
    norms: ["norm1", "norm2"],
    perceptron: ["mlp.fc1", "mlp.fc2"],
    scales: ["layer_scale1.lambda1", "layer_scale2.lambda1"],
    ..HF_VIT
};

/// The same in memory.
const HF_DINOV2_MEMORY: Naming = Naming { attention: HF_MEMORY, mix: "attention.o_proj", ..HF_DINOV2 };

/// Hugging Face's `CLIPModel` and `CLIPVisionModelWithProjection`.
const HF_CLIP: Naming = Naming {
    origin: "Hugging Face CLIP",
    prefixes: &["", "clip."],
    class: "vision_model.embeddings.class_embedding",
    positions: "vision_model.embeddings.position_embedding.weight",
    batched: false,
    patch: "vision_model.embeddings.patch_embedding",
    // So spelt in the files.
    first_norm: "vision_model.pre_layrnorm",
    last_norm: "vision_model.post_layernorm",
    projection: ("visual_projection.weight", false),
    block: ("vision_model.encoder.layers.", "."),
    norms: ["layer_norm1", "layer_norm2"],
    attention: Attention::Split(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    mix: "self_attn.out_proj",
    perceptron: ["mlp.fc1", "mlp.fc2"],
    ..HF_VIT
};

/// timm's `VisionTransformer`, and the authors' DINOv2.
const TIMM: Naming = Naming {
    origin: "timm",
    prefixes: &["", "model."],
    class: "cls_token",
    positions: "pos_embed",
    batched: true,
    patch: "patch_embed.proj",
    registers: "register_tokens",
    first_norm: "",
    last_norm: "norm",
    projection: ("", false),
    block: ("blocks.", "."),
    norms: ["norm1", "norm2"],
    attention: Attention::Fused(["attn.qkv.weight", "attn.qkv.bias"]),
    mix: "attn.proj",
    perceptron: ["mlp.fc1", "mlp.fc2"],
    scales: ["ls1.gamma", "ls2.gamma"],
};

/// torchvision's `VisionTransformer`.
const TORCHVISION: Naming = Naming {
    origin: "torchvision",
    prefixes: &[""],
    class: "class_token",
    positions: "encoder.pos_embedding",
    patch: "conv_proj",
    registers: "",
    last_norm: "encoder.ln",
    block: ("encoder.layers.encoder_layer_", "."),
    norms: ["ln_1", "ln_2"],
    attention: Attention::Fused(["self_attention.in_proj_weight", "self_attention.in_proj_bias"]),
    mix: "self_attention.out_proj",
    perceptron: ["mlp.0", "mlp.3"],
    scales: ["", ""],
    ..TIMM
};

/// The authors' CLIP, and OpenCLIP.
const OPENAI: Naming = Naming {
    origin: "OpenAI CLIP",
    prefixes: &["visual.", ""],
    class: "class_embedding",
    positions: "positional_embedding",
    batched: false,
    patch: "conv1",
    registers: "",
    first_norm: "ln_pre",
    last_norm: "ln_post",
    projection: ("proj", true),
    block: ("transformer.resblocks.", "."),
    norms: ["ln_1", "ln_2"],
    attention: Attention::Fused(["attn.in_proj_weight", "attn.in_proj_bias"]),
    mix: "attn.out_proj",
    perceptron: ["mlp.c_fc", "mlp.c_proj"],
    scales: ["", ""],
};

impl Naming {
    /// A tensor of every block, by which the naming is told from others.
    fn mark(&self) -> String {
        match self.attention {
            Attention::Split([query, ..]) => format!("{query}.weight"),
            Attention::Fused([weight, _]) => weight.into(),
        }
    }
}

/// A naming with the prefix that a file has in front of it.
pub(super) struct Names {
    pub(super) naming: Naming,
    prefix: &'static str,
}

impl Names {
    /// Recognises the naming of a file; random weights have the first of their family.
    ///
    /// # Errors
    /// When it is none of those that are known for the family.
    pub(super) fn find(family: VitFamily, weights: &Weights) -> Result<Self> {
        let known: &[Naming] = match family {
            VitFamily::Vit => &[HF_VIT, HF_VIT_MEMORY, TIMM, TORCHVISION],
            VitFamily::Clip => &[HF_CLIP, OPENAI],
            VitFamily::DinoV2 => &[HF_DINOV2, HF_DINOV2_MEMORY, TIMM],
        };
        let all = || {
            known
                .iter()
                .flat_map(|&naming| naming.prefixes.iter().map(move |&prefix| Self { naming, prefix }))
        };
        if weights.are_random()
            && let Some(first) = all().next()
        {
            return Ok(first);
        }
        // Names of the same library differ inside the blocks only; where nothing fits whole, the one whose class token is
        // there leads to a message about the tensor that is not.
        let has_class = |names: &Self| weights.in_file(&names.whole(names.naming.class));
        let has_block = |names: &Self| weights.in_file(&names.block(0, &names.naming.mark()));
        let found = all().find(|names| has_class(names) && has_block(names));
        if let Some(found) = found.or_else(|| all().find(has_class)) {
            return Ok(found);
        }
        let mut origins: Vec<String> =
            known.iter().map(|naming| format!("{} (`{}`)", naming.origin, naming.class)).collect();
        origins.dedup();
        Err(weights.wrong(
            None,
            format!("a class token as {} names it; is it a file of this network?", origins.join(" or ")),
            "none of these",
        ))
    }

    /// A name outside the blocks.
    pub(super) fn whole(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A name inside a block, counted from 0.
    pub(super) fn block(&self, block: usize, name: &str) -> String {
        let (before, after) = self.naming.block;
        format!("{}{before}{block}{after}{name}", self.prefix)
    }
}
