"""Times a case of the published code: published.py CHECKOUT CASE f32|bf16. Prints one JSON object.

Shapes as in var-model/benches and var-tokenizer/benches. Random weights: the values do not change the time.
"""

import argparse
import contextlib
import io
import json
import resource
import statistics
import sys
import time
import types

parser = argparse.ArgumentParser()
parser.add_argument("checkout")
parser.add_argument("case", choices=["train", "sample", "encode", "decode", "tokenizer"])
parser.add_argument("precision", choices=["f32", "bf16"])
parser.add_argument("--runs", type=int, default=5)
options = parser.parse_args()

# The published modules import a class of this package, which they do not use here.
stand_in = types.ModuleType("huggingface_hub")
stand_in.PyTorchModelHubMixin = type("PyTorchModelHubMixin", (), {})
sys.modules.setdefault("huggingface_hub", stand_in)
sys.path.insert(0, options.checkout)

import torch
import torch.distributed
import torch.nn.functional as functional

# The published quantizer asks for it also in a single process.
torch.distributed.get_world_size = lambda *_: 1

import dist

dist.get_device = lambda: "cpu"

from models import VAR, VQVAE, build_vae_var
from models.basic_vae import Decoder, Encoder

SCHEDULE = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bf16")


def quietly(make):
    with contextlib.redirect_stdout(io.StringIO()):
        return make()


def with_values(module):
    """Gives all parameters values: the published constructor leaves them as the memory was."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.02)
    return module


def tokenizer(channels, multipliers, schedule, codes, latent):
    vae = VQVAE(vocab_size=codes, z_channels=latent, ch=channels, share_quant_resi=4, v_patch_nums=schedule, test_mode=False)
    sizes = dict(
        dropout=0.0, ch=channels, z_channels=latent, in_channels=3, ch_mult=multipliers, num_res_blocks=2,
        using_sa=True, using_mid_sa=True,
    )
    vae.encoder, vae.decoder = Encoder(double_z=False, **sizes), Decoder(**sizes)
    return with_values(vae)


def adamw(module):
    return torch.optim.AdamW(module.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)


def train():
    depth, batch, tokens, codes = 6, 16, 680, 4096
    vae = types.SimpleNamespace(Cvae=32, vocab_size=codes, quantize=torch.nn.Identity())
    model = quietly(
        lambda: VAR(
            vae, num_classes=1000, depth=depth, embed_dim=64 * depth, num_heads=depth, attn_l2_norm=True,
            patch_nums=SCHEDULE, cond_drop_rate=0.0, drop_path_rate=0.0,
        )
    )
    quietly(lambda: model.init_weights(init_std=-1))
    optimizer = adamw(model)
    classes, inputs = torch.randint(0, 1000, (batch,)), torch.randn(batch, tokens - 1, 32)
    targets = torch.randint(0, codes, (batch * tokens,))

    def step():
        with autocast():
            loss = functional.cross_entropy(model(classes, inputs).view(-1, codes), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def sample():
    vae, model = quietly(lambda: build_vae_var(device="cpu", depth=16, patch_nums=SCHEDULE))
    with_values(vae)
    model.eval()
    classes = torch.tensor([7])

    def image():
        with torch.inference_mode(), autocast():
            model.autoregressive_infer_cfg(B=1, label_B=classes, cfg=1.5, top_k=900, top_p=0.96)

    return image


def encode():
    vae, images = tokenizer(160, (1, 1, 2, 2, 4), SCHEDULE, 4096, 32).eval(), torch.rand(4, 3, 256, 256) * 2 - 1

    def ids():
        with torch.inference_mode():
            with autocast():
                features = vae.quant_conv(vae.encoder(images))
            vae.quantize.f_to_idxBl_or_fhat(features.float(), to_fhat=False)

    return ids


def decode():
    vae, latent = tokenizer(160, (1, 1, 2, 2, 4), SCHEDULE, 4096, 32).eval(), torch.randn(4, 32, 16, 16)

    def images():
        with torch.inference_mode(), autocast():
            vae.fhat_to_img(latent)

    return images


def train_tokenizer():
    vae = tokenizer(32, (1, 2, 2), (1, 2, 3, 4, 6, 8), 512, 16)
    optimizer, images = adamw(vae), torch.rand(64, 3, 32, 32) * 2 - 1

    def step():
        with autocast():
            reconstruction, _, quantization = vae(images)
        reconstruction = reconstruction.float()
        loss = functional.l1_loss(reconstruction, images) + functional.mse_loss(reconstruction, images) + quantization
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


work = dict(train=train, sample=sample, encode=encode, decode=decode, tokenizer=train_tokenizer)[options.case]()
work()
seconds = []
for _ in range(options.runs):
    began = time.perf_counter()
    work()
    seconds.append(time.perf_counter() - began)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(dict(median_s=statistics.median(seconds), precision=options.precision, peak_bytes=peak)))
