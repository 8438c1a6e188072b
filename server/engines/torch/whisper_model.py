"""Whisper's arithmetic on torch tensors, without state: functions read weights and inputs, and write to given tensors.

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
            attended = F.scaled_dot_product_attention(q, k, v)
            x = self._guarded(x + self._linear(f"{attention}/linear_1", self._joined(attended)))
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
            q, k, v = self._self_qkv(i, x)
            if own is not None:
                own[i, 0].copy_(k)
                own[i, 1].copy_(v)
            x = self._add_self_attention(i, x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
            x = self._add_cross_attention(
                i, x, F.scaled_dot_product_attention(self._cross_query(i, x), cross[i, 0], cross[i, 1])
            )
        return self._normal("decoder", x)

    def step(self, tokens: Tensor, positions: Tensor, own: Tensor, cross: Tensor, lengths: Tensor) -> Tensor:
        """One token a row, each at its own position: [B] to hidden [B, d].

        Args:
            tokens: the newest token of each row.
            positions: of those tokens; their keys and values are written there in `own`.
            own: [L, 2, B, H, T, D]; values after a row's position are never read.
            cross: [L, 2, B, H, C, D], of which a row reads the first `lengths`.
            lengths: encoder positions of each row.
        """
        rows, capacity = len(tokens), own.shape[4]
        x = self._embedded(tokens, self._text_positions[positions]).unsqueeze(1)
        at = torch.arange(max(capacity, cross.shape[4]), device=tokens.device)
        text_mask = (at[:capacity] <= positions[:, None]).view(rows, 1, 1, capacity)
        audio_mask = (at[: cross.shape[4]] < lengths[:, None]).view(rows, 1, 1, -1)
        # An unused slot may have any position.
        place = positions.clamp(max=capacity - 1).view(rows, 1, 1, 1).expand(rows, self.shape.heads, 1, self.shape.head)
        for i in range(self.shape.decoder_layers):
            q, k, v = self._self_qkv(i, x)
            own[i, 0].scatter_(2, place, k)
            own[i, 1].scatter_(2, place, v)
            x = self._add_self_attention(
                i, x, F.scaled_dot_product_attention(q, own[i, 0], own[i, 1], attn_mask=text_mask)
            )
            query = self._cross_query(i, x)
            x = self._add_cross_attention(
                i, x, F.scaled_dot_product_attention(query, cross[i, 0], cross[i, 1], attn_mask=audio_mask)
            )
        return self._normal("decoder", x).squeeze(1)

    def aligned(self, tokens: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """A whole text: hidden [B, P, d], and the alignment heads' scores [B, heads, P, C] before softmax."""
        scores = []
        x = self._embedded(tokens, self._text_positions[: tokens.shape[1]])
        for i in range(self.shape.decoder_layers):
            q, k, v = self._self_qkv(i, x)
            x = self._add_self_attention(i, x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
            query = self._cross_query(i, x)
            heads = [head for layer, head in self.alignment_heads if layer == i]
            if heads:
                scores.append(query[:, heads].float() @ cross[i, 0][:, heads].float().mT / math.sqrt(self.shape.head))
            x = self._add_cross_attention(i, x, F.scaled_dot_product_attention(query, cross[i, 0], cross[i, 1]))
        return self._normal("decoder", x), torch.cat(scores, dim=1)

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, d] to float32 […, vocabulary]."""
        return F.linear(hidden, self._w["decoder/projection/weight"]).float()

    def _embedded(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return F.embedding(tokens, self._w["decoder/embeddings/weight"]) + positions

    def _self_qkv(self, layer: int, x: Tensor) -> list[Tensor]:
        name = f"decoder/layer_{layer}/self_attention"
        return self._heads(self._linear(f"{name}/linear_0", self._normal(name, x)), 3)

    def _cross_query(self, layer: int, x: Tensor) -> Tensor:
        name = f"decoder/layer_{layer}/attention"
        return self._heads(self._linear(f"{name}/linear_0", self._normal(name, x)), 1)[0]

    def _add_self_attention(self, layer: int, x: Tensor, attended: Tensor) -> Tensor:
        return x + self._linear(f"decoder/layer_{layer}/self_attention/linear_1", self._joined(attended))

    def _add_cross_attention(self, layer: int, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self._linear(f"decoder/layer_{layer}/attention/linear_2", self._joined(attended))
        return x + self._feed_forward(f"decoder/layer_{layer}/ffn", x)
