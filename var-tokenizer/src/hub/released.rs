//! Published weights that load unchanged.

/// Weights with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Its name in the programs.
    pub name: &'static str,
    /// `OWNER/REPO` on the hub.
    pub repository: &'static str,
    /// Its path in the repository.
    pub file: &'static str,
    /// Number of parameters, and what it is for.
    pub about: &'static str,
}

impl Released {
    /// The tokenizer that it was trained with; `None` for a tokenizer.
    pub fn tokenizer(&self) -> Option<&'static Released> {
        (*self != TOKENIZER).then_some(&TOKENIZER)
    }
}

/// All transformers in the table were trained with this tokenizer.
static TOKENIZER: Released = Released {
    name: "var-vae",
    repository: VAR,
    file: "vae_ch160v4096z32.pth",
    about: "109M, the tokenizer of all models below, 256 and 512 px",
};

/// The authors' repository (README of the published code, "VAR zoo").
const VAR: &str = "FoundationVision/var";
/// Condition contrastive alignment: models for sampling without guidance (README of thu-ml/CCA).
const CCA: &str = "ChenDRAG/CCA_VAR";
/// Collaborative decoding: a large model for the first scales, a small one for the last (README of czg1225/CoDe).
const CODE: &str = "Zigeng/VAR_CoDe";
/// Direct discriminative optimization (README of NVlabs/DDO).
const DDO: &str = "nvidia/DirectDiscriminativeOptimization";

const fn model(
    name: &'static str,
    repository: &'static str,
    file: &'static str,
    about: &'static str,
) -> Released {
    Released { name, repository, file, about }
}

static RELEASED: [Released; 20] = [
    TOKENIZER,
    model("var-d16", VAR, "var_d16.pth", "310M, ImageNet 256 px"),
    model("var-d20", VAR, "var_d20.pth", "600M, ImageNet 256 px"),
    model("var-d24", VAR, "var_d24.pth", "1.0B, ImageNet 256 px"),
    model("var-d30", VAR, "var_d30.pth", "2.0B, ImageNet 256 px"),
    model("var-d36", VAR, "var_d36.pth", "2.3B, ImageNet 512 px"),
    model("var-d16-cca", CCA, "CCA_VAR_Guidance_Free/VAR_d16_CCA.pth", "310M, for guidance 0"),
    model("var-d20-cca", CCA, "CCA_VAR_Guidance_Free/VAR_d20_CCA.pth", "600M, for guidance 0"),
    model("var-d24-cca", CCA, "CCA_VAR_Guidance_Free/VAR_d24_CCA.pth", "1.0B, for guidance 0"),
    model("var-d30-cca", CCA, "CCA_VAR_Guidance_Free/VAR_d30_CCA.pth", "2.0B, for guidance 0"),
    model("var-d16-ddo", DDO, "var_d16-ddo.pth", "310M, tuned with a discriminative loss"),
    model("var-d30-ddo", DDO, "var_d30-ddo.pth", "2.0B, tuned with a discriminative loss"),
    model("code-drafter-6", CODE, "drafter_6.pth", "2.0B, the first 6 scales; code-refiner-6 continues"),
    model("code-drafter-7", CODE, "drafter_7.pth", "2.0B, the first 7 scales; code-refiner-7 continues"),
    model("code-drafter-8", CODE, "drafter_8.pth", "2.0B, the first 8 scales; code-refiner-8 continues"),
    model("code-drafter-9", CODE, "drafter_9.pth", "2.0B, the first 9 scales; code-refiner-9 continues"),
    model("code-refiner-6", CODE, "refiner_6.pth", "310M, the last 4 scales"),
    model("code-refiner-7", CODE, "refiner_7.pth", "310M, the last 3 scales"),
    model("code-refiner-8", CODE, "refiner_8.pth", "310M, the last 2 scales"),
    model("code-refiner-9", CODE, "refiner_9.pth", "310M, the last scale"),
];

/// All weights with names, the tokenizer first.
pub fn released() -> &'static [Released] {
    &RELEASED
}
