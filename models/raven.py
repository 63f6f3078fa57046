"""The recurrent-depth model in PyTorch, for training: tensors are named as in the published checkpoints (docs/design.md has the equations)."""

import json
import math
import os
import struct

import torch
import torch.nn.functional as F
from torch import nn


class Config:
    def __init__(self, values):
        self.values = values
        self.d, self.heads, self.inner, self.vocabulary = (values[k] for k in ("n_embd", "n_heads", "intermediate_size", "vocab_size"))
        self.layers = [values[k] for k in ("n_layers_in_prelude", "n_layers_in_recurrent_block", "n_layers_in_coda")]
        self.eps, self.rope_base, self.context = values["norm_eps"], values["rope_base"], values["block_size"]
        self.head = self.d // self.heads
        if not (values["tie_embeddings"] and values["qk_bias"]):
            raise ValueError("only tied embeddings with biases on q and k are trained here")


class RmsNorm(torch.autograd.Function):
    """x / rms(x) * weight, with a backward pass of few sweeps: at this width the sweeps over memory are what training spends its time on."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx, grad):
        unit, scale, weight = ctx.saved_tensors
        both = grad * unit
        grad_weight = both.sum((0, 1))
        along = torch.matmul(both, weight.unsqueeze(1)).div_(-weight.shape[0])
        return torch.addcmul(grad * weight, unit, along).mul_(scale), grad_weight, None


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up of the two halves, in float32 sweeps over a bfloat16 pair: half of what the separate operations take."""

    @staticmethod
    def forward(ctx, both):
        ctx.save_for_backward(both)
        gate, up = both.float().chunk(2, -1)
        return F.silu(gate).mul_(up).to(both.dtype)

    @staticmethod
    def backward(ctx, grad):
        (both,) = ctx.saved_tensors
        gate, up = both.float().chunk(2, -1)
        grad, open_ = grad.float(), torch.sigmoid(gate)
        through = gate * open_
        out = torch.empty_like(both)
        half = gate.shape[-1]
        out[..., half:] = grad * through
        # d silu = open + silu * (1 - open)
        out[..., :half] = torch.addcmul(open_, through, 1 - open_).mul_(up).mul_(grad)
        return out


def rms_norm(x, weight, eps):
    return RmsNorm.apply(x, weight, eps)


class Raven(nn.Module):
    def __init__(self, config, generator):
        super().__init__()
        self.config, c = config, config
        std = math.sqrt(2 / (5 * c.d))

        def matrix(rows, columns, scale=std):
            return nn.Parameter(torch.empty(rows, columns).normal_(0, scale, generator=generator))

        self.weights = nn.ParameterDict()
        # ParameterDict refuses dots in names: they are bars inside.
        def put(name, value):
            self.weights[name.replace(".", "|")] = value
        deep = std / math.sqrt(2 * sum(c.layers))
        put("transformer.wte.weight", matrix(c.vocabulary, c.d))
        put("transformer.adapter.weight", matrix(c.d, 2 * c.d))
        put("transformer.ln_f.weight", nn.Parameter(torch.ones(c.d)))
        for part, n in zip(("prelude", "core_block", "coda"), c.layers):
            for i in range(n):
                block = f"transformer.{part}.{i}."
                put(block + "attn.Wqkv.weight", matrix(3 * c.d, c.d))
                put(block + "attn.proj.weight", matrix(c.d, c.d, deep))
                put(block + "attn.qk_bias", nn.Parameter(torch.zeros(2, 1, c.heads, c.head)))
                put(block + "mlp.fc.weight", matrix(2 * c.inner, c.d))
                put(block + "mlp.proj.weight", matrix(c.d, c.inner, deep))
                for j in range(1, 5):
                    put(block + f"norm_{j}.weight", nn.Parameter(torch.ones(c.d)))
        angles = torch.outer(torch.arange(c.context, dtype=torch.float64), c.rope_base ** (-torch.arange(0, c.head, 2, dtype=torch.float64) / c.head))
        self.turn = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)

    def named(self):
        return {name.replace("|", "."): value for name, value in self.weights.items()}

    def _block(self, w, name, x, mask, turn):
        c, (rows, length, _) = self.config, x.shape
        qkv = F.linear(rms_norm(x, w[name + "norm_1.weight"], c.eps).to(self.compute), w[name + "attn.Wqkv.weight"])
        qkv = qkv.view(rows, length, 3, c.heads, c.head)
        qk = qkv[:, :, :2].float() + w[name + "attn.qk_bias"].view(2, c.heads, c.head)
        qk = torch.view_as_real(torch.view_as_complex(qk.view(rows, length, 2, c.heads, c.head // 2, 2)) * turn)
        qk = qk.flatten(-2).to(self.compute).permute(2, 0, 3, 1, 4)
        q, k, v = qk[0], qk[1], qkv[:, :, 2].transpose(1, 2)
        shares = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) + mask, -1)
        mixed = torch.matmul(shares, v).transpose(1, 2).reshape(rows, length, c.d)
        x = rms_norm(x + F.linear(mixed, w[name + "attn.proj.weight"]), w[name + "norm_2.weight"], c.eps)
        both = F.linear(rms_norm(x, w[name + "norm_3.weight"], c.eps).to(self.compute), w[name + "mlp.fc.weight"])
        return rms_norm(x + F.linear(SwiGlu.apply(both), w[name + "mlp.proj.weight"]), w[name + "norm_4.weight"], c.eps)

    def random_state(self, shape, generator):
        """The normal distribution cut at three standard deviations, as the published code starts from."""
        inside = math.erf(3 / math.sqrt(2))
        uniform = torch.empty(shape).uniform_(-inside, inside, generator=generator)
        return torch.erfinv(uniform).mul_(math.sqrt(2) * math.sqrt(2 / 5))

    def _start(self, ids, mask, compute):
        """What every step needs: weights as computed with, the embedded input, its part of the adapter, the step itself."""
        c, self.compute = self.config, compute
        w = self.named()
        if compute != torch.float32:
            w = {name: value.to(compute) if value.dim() == 2 else value for name, value in w.items()}
        turn = self.turn[:ids.shape[1], None, :].unsqueeze(1).repeat(1, 2, 1, 1)
        turn[:, 0] *= 1 / math.sqrt(c.head)  # the scores' scale, for nothing
        mask = mask.to(compute)
        e = F.embedding(ids, self.weights["transformer|wte|weight"]) * math.sqrt(c.d)
        for i in range(c.layers[0]):
            e = self._block(w, f"transformer.prelude.{i}.", e, mask, turn)
        adapter = w["transformer.adapter.weight"]
        injected = F.linear(e.to(compute), adapter[:, c.d:]).float()

        def step(s):
            x = F.linear(s.to(compute), adapter[:, :c.d]) + injected
            for i in range(c.layers[1]):
                x = self._block(w, f"transformer.core_block.{i}.", x, mask, turn)
            return x

        def finish(s):
            y = rms_norm(s, w["transformer.ln_f.weight"], c.eps)
            for i in range(c.layers[2]):
                y = self._block(w, f"transformer.coda.{i}.", y, mask, turn)
            return F.linear(rms_norm(y, w["transformer.ln_f.weight"], c.eps).to(compute), w["transformer.wte.weight"]).float()

        return e, step, finish

    def forward(self, ids, mask, steps, backward_steps=0, state=None, compute=torch.float32):
        """Logits [rows, length, V] after `steps` recurrence steps; gradients flow through the last `backward_steps`.

        ids [rows, length]; mask [rows or 1, 1, length, length], added to the attention scores; state [rows, length, d], None: zero."""
        e, step, finish = self._start(ids, mask, compute)
        s = torch.zeros_like(e) if state is None else state
        free = max(0, steps - backward_steps)
        with torch.no_grad():
            for _ in range(free):
                s = step(s)
        for _ in range(steps - free):
            s = step(s)
        return finish(s)

    @torch.no_grad()
    def at_depths(self, ids, mask, depths, compute=torch.float32):
        """Yields (depth, logits) for the rising `depths`, from the zero state, in one run."""
        e, step, finish = self._start(ids, mask, compute)
        s = torch.zeros_like(e)
        for t in range(1, max(depths) + 1):
            s = step(s)
            if t in depths:
                yield t, finish(s)


# ---- checkpoints in the published layout ----

def read_safetensors(path):
    """Tensors of a safetensors file of BF16 or F32, as float32."""
    with open(path, "rb") as file:
        blob = file.read()
    (n,) = struct.unpack_from("<Q", blob)
    tensors = {}
    for name, entry in json.loads(blob[8:8 + n]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        kind = {"BF16": torch.bfloat16, "F32": torch.float32}[entry["dtype"]]
        tensors[name] = torch.frombuffer(bytearray(blob[8 + n + first:8 + n + last]), dtype=kind).float().view(entry["shape"])
    return tensors


def write_safetensors(path, tensors):
    """Writes bfloat16: sorted by name, the data aligned to 8 bytes and without holes, by renaming a finished file."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        value = tensors[name].detach().to(torch.bfloat16).contiguous()
        blobs.append(value.view(torch.int16).numpy().tobytes())
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)


def load(folder, generator=None):
    """The model in `folder`, weights as float32."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        model = Raven(Config(json.load(file)), generator)
    tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
    own = model.named()
    if own.keys() != tensors.keys():
        raise ValueError(f"{folder}: tensors {sorted(own.keys() ^ tensors.keys())} are on one side only")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name].view(value.shape))
    return model
