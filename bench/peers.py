#!/usr/bin/env python3
"""PyTorch's tokens/s on the job of `vario bench peers`: GPT-2, AdamW and IVON.

One JSON object a line: name, tokens_per_second. bf16 is torch.autocast's. Kind `ivon` is its
formulas in PyTorch's operations, in place and without allocations where they can be; `package` is
the optimizer of its authors' package `ivon`, used as it says, where Python finds it. The first step,
of one micro-batch, is not measured.
"""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.Linear(width, 3 * width, bias=False)
        self.attn_proj = nn.Linear(width, width, bias=False)
        self.ln_2 = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 4 * width, bias=False)
        self.fc_proj = nn.Linear(4 * width, width, bias=False)

    def attention(self, x, mask):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.heads, C // self.heads).transpose(1, 2)
                   for y in self.attn(x).split(C, dim=2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(C // self.heads)
        weights = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
        return self.attn_proj((weights.to(v.dtype) @ v).transpose(1, 2).reshape(B, T, C))

    def forward(self, x, mask):
        x = x + self.attention(self.ln_1(x), mask)
        return x + self.fc_proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, layers, heads, width, block, vocabulary):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(block, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0.0, 0.02)

    def forward(self, tokens, targets):
        T = tokens.shape[1]
        mask = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
        x = self.wte(tokens) + self.wpe.weight[:T]
        for block in self.blocks:
            x = block(x, mask)
        logits = self.ln_f(x) @ self.wte.weight.T
        return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.reshape(-1))


class IVON:
    def __init__(self, parameters, ess=1e10, h0=1e-3, delta=1e-6, betas=(0.9, 0.99999), clip=1e-3):
        self.p = list(parameters)
        self.ess, self.delta, self.betas, self.clip, self.h0 = ess, delta, betas, clip, h0
        self.m = [p.detach().clone() for p in self.p]
        self.h = [torch.full_like(p, h0) for p in self.p]
        self.g = [torch.zeros_like(p) for p in self.p]
        self.noise = [torch.zeros_like(p) for p in self.p]
        self.n = 0

    def sample(self):
        for p, m, h, noise in zip(self.p, self.m, self.h, self.noise):
            noise.normal_()
            torch.addcdiv(m, noise, torch.sqrt((h + self.delta).mul_(self.ess)), out=p.data)

    def step(self, lr):
        self.n += 1
        b1, b2 = self.betas
        for p, m, h, g, noise in zip(self.p, self.m, self.h, self.g, self.noise):
            f = (h + self.delta).mul_(self.ess).sqrt_().mul_(noise).mul_(p.grad)
            g.mul_(b1).add_(p.grad, alpha=1 - b1)
            difference = f.sub_(h)
            push = difference.square().mul_(0.5 * (1 - b2) ** 2).div_(h + self.delta)
            h.add_(difference, alpha=1 - b2).add_(push)
            update = torch.add(g / (1 - b1**self.n), m, alpha=self.delta).div_(h + self.delta)
            m.sub_(update.clamp_(-self.clip, self.clip), alpha=lr * (self.h0 + self.delta))


class Trainer:
    def __init__(self, a):
        self.a = a
        self.model = GPT2(a.layers, a.heads, a.width, a.length, a.vocabulary)
        parameters = list(self.model.parameters())
        if a.kind == "adamw":
            self.optimizer = torch.optim.AdamW(parameters, 6e-6, (0.9, 0.95), foreach=True)
        elif a.kind == "ivon":
            self.optimizer = IVON(parameters)
        else:
            import ivon
            self.optimizer = ivon.IVON(parameters, lr=3.0, ess=1e10, hess_init=1e-3, beta1=0.9,
                                       beta2=0.99999, weight_decay=1e-6, clip_radius=1e-3)
        self.tokens = torch.randint(a.vocabulary, (a.sequences, a.length + 1))

    def clip(self):
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)

    def clear(self):
        for p in self.model.parameters():
            p.grad = None

    def backward(self, share):
        with torch.autocast("cpu", torch.bfloat16, enabled=not self.a.fp32):
            loss = self.model(self.tokens[:, :-1], self.tokens[:, 1:])
        (loss * share).backward()

    def step(self, microbatches):
        for _ in range(microbatches):
            if self.a.kind == "package":  # it collects each sample's gradient by itself
                with self.optimizer.sampled_params(train=True):
                    self.clear()
                    self.backward(1.0)
                    self.clip()
                continue
            if self.a.kind == "ivon":
                self.optimizer.sample()
            self.backward(1.0 / microbatches)
        if self.a.kind != "package":
            self.clip()
        self.optimizer.step(3.0) if self.a.kind == "ivon" else self.optimizer.step()
        self.clear()


def run(a):
    torch.manual_seed(1)
    if a.threads:
        torch.set_num_threads(a.threads)
    trainer = Trainer(a)
    times = []
    for i in range(a.steps + 1):
        start = time.monotonic()
        trainer.step(a.microbatches if i > 0 else 1)
        if i > 0:
            times.append(time.monotonic() - start)
    seconds = sorted(times)[len(times) // 2]
    count = a.sequences * a.length * a.microbatches
    name = f"PyTorch {torch.__version__} {a.kind} {'fp32' if a.fp32 else 'bf16'}"
    print(json.dumps({"name": f"{name} {a.sequences} x {a.length}",
                      "tokens_per_second": count / seconds}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--microbatches", type=int, default=1)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50304)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("--kind", choices=["adamw", "ivon", "package"], default="adamw")
    run(parser.parse_args())


main()
