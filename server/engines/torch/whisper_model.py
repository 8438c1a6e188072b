"""Whisper's arithmetic on torch tensors. No state: functions read weights and inputs, and write where they are told.

Shapes: B rows, T mel frames, C = T/2 encoder positions, P tokens, L decoder layers, H heads of width D, d = H·D.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # torch's own habit

from server.engines.torch.weights import Weights

Tensor = Any
"""`torch.Tensor`; the type checker does not see torch, which is optional."""
_FP16_GUARD = 65000.0
"""The large encoders' residuals outgrow float16; beyond this they are cut off, as Hugging Face does."""


class TorchWhisper:
    """A model's weights and what is computed from them."""

    def __init__(self, weights: Weights) -> None:
        self.shape = weights.shape
        self.alignment_heads = weights.alignment_heads
        self._w = weights.tensors
        self.dtype = self._w["encoder/conv1/weight"].dtype
        self.device = self._w["encoder/conv1/weight"].device
        self._positions = self._w["encoder/position_encodings/encodings"]
        self._text_positions = self._w["decoder/position_encodings/encodings"]

    # --- parts --------------------------------------------------------------------------------------

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._w[f"{name}/weight"], self._w[f"{name}/bias"])

    def _normal(self, name: str, x: Tensor) -> Tensor:
        gamma = self._w[f"{name}/layer_norm/gamma"]
        return F.layer_norm(x, gamma.shape, gamma, self._w[f"{name}/layer_norm/beta"], 1e-5)

    def _feed_forward(self, name: str, x: Tensor) -> Tensor:
        hidden = F.gelu(self._linear(f"{name}/linear_0", self._normal(name, x)))
        return self._linear(f"{name}/linear_1", hidden)

    def _heads(self, x: Tensor, parts: int) -> list[Tensor]:
        """[B, P, parts·d] as `parts` tensors of [B, H, P, D]."""
        rows, length, _ = x.shape
        split = x.view(rows, length, parts, self.shape.heads, self.shape.head)
        return list(split.permute(2, 0, 3, 1, 4).unbind(0))

    def _joined(self, x: Tensor) -> Tensor:
        rows, heads, length, head = x.shape
        return x.transpose(1, 2).reshape(rows, length, heads * head)

    # --- encoder ------------------------------------------------------------------------------------

    def encode(self, mel: Tensor) -> Tensor:
        """[B, mels, T] to [B, C, d]."""
        w = self._w
        x = F.gelu(F.conv1d(mel, w["encoder/conv1/weight"], w["encoder/conv1/bias"], padding=1))
        x = F.gelu(F.conv1d(x, w["encoder/conv2/weight"], w["encoder/conv2/bias"], stride=2, padding=1))
        x = x.transpose(1, 2)
        x = x + self._positions[: x.shape[1]]
        for i in range(self.shape.encoder_layers):
            name = f"encoder/layer_{i}"
            attention = f"{name}/self_attention"
            q, k, v = self._heads(self._linear(f"{attention}/linear_0", self._normal(attention, x)), 3)
            heard = F.scaled_dot_product_attention(q, k, v)
            x = self._guarded(x + self._linear(f"{attention}/linear_1", self._joined(heard)))
            x = self._guarded(x + self._feed_forward(f"{name}/ffn", x))
        return self._normal("encoder", x)

    def _guarded(self, x: Tensor) -> Tensor:
        return x.clamp_(-_FP16_GUARD, _FP16_GUARD) if self.dtype == torch.float16 else x

    def write_cross(self, encoded: Tensor, cross: Tensor) -> None:
        """Every decoder layer's keys and values of encoder output [B, C, d] into `cross` [L, 2, B, H, C, D]."""
        for i in range(self.shape.decoder_layers):
            k, v = self._heads(self._linear(f"decoder/layer_{i}/attention/linear_1", encoded), 2)
            cross[i, 0].copy_(k)
            cross[i, 1].copy_(v)

    # --- decoder ------------------------------------------------------------------------------------

    def prompt(self, tokens: Tensor, cross: Tensor, own: Tensor | None = None) -> Tensor:
        """Many tokens at once: [B, P] against `cross` [L, 2, B, H, C, D] to hidden [B, P, d].

        The layers' own keys and values go into `own` [L, 2, B, H, P, D].
        """
        x = self._embedded(tokens, self._text_positions[: tokens.shape[1]])
        for i in range(self.shape.decoder_layers):
            q, k, v = self._own(i, x)
            if own is not None:
                own[i, 0].copy_(k)
                own[i, 1].copy_(v)
            x = self._after_own(i, x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
            x = self._after_cross(i, x, F.scaled_dot_product_attention(self._asked(i, x), cross[i, 0], cross[i, 1]))
        return self._normal("decoder", x)

    def step(self, tokens: Tensor, positions: Tensor, own: Tensor, cross: Tensor, lengths: Tensor) -> Tensor:
        """One token a row, each at its own place: [B] to hidden [B, d].

        Args:
            tokens: the newest token of each row.
            positions: where it stands; its keys and values are written there into `own`.
            own: [L, 2, B, H, T, D]; what stands after a row's position is never read.
            cross: [L, 2, B, H, C, D], of which a row reads the first `lengths`.
            lengths: encoder positions of each row.
        """
        rows, kept = len(tokens), own.shape[4]
        x = self._embedded(tokens, self._text_positions[positions]).unsqueeze(1)
        at = torch.arange(max(kept, cross.shape[4]), device=tokens.device)
        said = (at[:kept] <= positions[:, None]).view(rows, 1, 1, kept)
        heard = (at[: cross.shape[4]] < lengths[:, None]).view(rows, 1, 1, -1)
        # A row of an unused slot may stand anywhere.
        place = positions.clamp(max=kept - 1).view(rows, 1, 1, 1).expand(rows, self.shape.heads, 1, self.shape.head)
        for i in range(self.shape.decoder_layers):
            q, k, v = self._own(i, x)
            own[i, 0].scatter_(2, place, k)
            own[i, 1].scatter_(2, place, v)
            x = self._after_own(i, x, F.scaled_dot_product_attention(q, own[i, 0], own[i, 1], attn_mask=said))
            asked = self._asked(i, x)
            x = self._after_cross(
                i, x, F.scaled_dot_product_attention(asked, cross[i, 0], cross[i, 1], attn_mask=heard)
            )
        return self._normal("decoder", x).squeeze(1)

    def aligned(self, tokens: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """A said text again: hidden [B, P, d], and what the alignment heads attend to, [B, heads, P, C], unscaled."""
        found = []
        x = self._embedded(tokens, self._text_positions[: tokens.shape[1]])
        for i in range(self.shape.decoder_layers):
            q, k, v = self._own(i, x)
            x = self._after_own(i, x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
            asked = self._asked(i, x)
            heads = [head for layer, head in self.alignment_heads if layer == i]
            if heads:
                found.append(asked[:, heads].float() @ cross[i, 0][:, heads].float().mT / math.sqrt(self.shape.head))
            x = self._after_cross(i, x, F.scaled_dot_product_attention(asked, cross[i, 0], cross[i, 1]))
        return self._normal("decoder", x), torch.cat(found, dim=1)

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, d] to float32 […, vocabulary]."""
        return F.linear(hidden, self._w["decoder/projection/weight"]).float()

    def _embedded(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return F.embedding(tokens, self._w["decoder/embeddings/weight"]) + positions

    def _own(self, layer: int, x: Tensor) -> list[Tensor]:
        name = f"decoder/layer_{layer}/self_attention"
        return self._heads(self._linear(f"{name}/linear_0", self._normal(name, x)), 3)

    def _asked(self, layer: int, x: Tensor) -> Tensor:
        name = f"decoder/layer_{layer}/attention"
        return self._heads(self._linear(f"{name}/linear_0", self._normal(name, x)), 1)[0]

    def _after_own(self, layer: int, x: Tensor, found: Tensor) -> Tensor:
        return x + self._linear(f"decoder/layer_{layer}/self_attention/linear_1", self._joined(found))

    def _after_cross(self, layer: int, x: Tensor, found: Tensor) -> Tensor:
        x = x + self._linear(f"decoder/layer_{layer}/attention/linear_2", self._joined(found))
        return x + self._feed_forward(f"decoder/layer_{layer}/ffn", x)
