"""Updates that send the terminal only the cells that changed.

Textual's own partial update begins at the left edge of a widget whatever part of a line is dirty (its source has it as
a TODO), so a row whose last cell changed is sent whole. At a hundred servers that is three times the bytes. This builds
on internals of the exactly pinned textual.
"""

from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate, Compositor


class TightUpdate(ChopsUpdate):
    """A partial update cut at both ends of each dirty span."""

    def render_segments(self, console: Console) -> str:
        """The escape sequences of this update."""
        out: list[str] = []
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                start = max(x, x1)
                out.append(Control.move_to(start, y).segment.text)
                out.append(strip.crop(start - x, min(end, x2) - x).render(console))
        return "".join(out)


class TightCompositor(Compositor):
    """A compositor whose partial updates are tight."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """The update of what became dirty; None when nothing did."""
        update = super().render_partial_update()
        return None if update is None else TightUpdate(update.chops, update.spans, update.chop_ends)
