"""A sheet: a page of lines, the head fixed, the body scrolling under a cursor that stays on its row.

A page is drawn by comparing it with the one before: only cells that changed are sent to the terminal, and cursor and
scroll survive, which a table that is cleared and filled again would lose.
"""

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dashboard.tui.pages.styled_lines import Line, Page
from dashboard.tui.widgets.line_styles import CLASSES, PAINT_CSS, CommandClicked, Painter, changed_regions

_EMPTY = Page(crumbs=())


class Sheet(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows a page; rows with a key can be selected and opened."""

    COMPONENT_CLASSES = CLASSES
    DEFAULT_CSS = f"""
    Sheet {{
        height: 1fr; width: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; scrollbar-gutter: stable;
        scrollbar-color: $faint; scrollbar-background: $background; scrollbar-color-hover: $dim;
        scrollbar-background-hover: $background; scrollbar-color-active: $dim; scrollbar-background-active: $background;
        {PAINT_CSS}
    }}
    """

    class Opened(Message):
        """The row under the cursor is to be opened."""

    def __init__(self) -> None:
        super().__init__()
        self._page = _EMPTY
        self._cursor: str | None = None
        self._turn_to: int | None = None
        self._painter = Painter(self)

    @property
    def cursor(self) -> str | None:
        """The key of the selected row; None on a page without rows."""
        return self._cursor

    @property
    def keys(self) -> list[str]:
        """The keys of all rows, from top to bottom."""
        return _keys(self._page)

    @property
    def cursor_line(self) -> Line | None:
        """The selected row."""
        return next((line for line in self._page.body if line.key is not None and line.key == self._cursor), None)

    def turn(self, cursor: str | None, top: int) -> None:
        """The page that is shown next is another one: with the cursor on that row, scrolled down by so many lines."""
        self._cursor, self._turn_to = cursor, top

    def show(self, page: Page) -> None:
        """Draw another page; only what differs is painted again."""
        before, self._page = self._page, page
        self._keep_cursor(before)
        resized = len(before.head) != len(page.head) or self.virtual_size.height != self._height
        if resized:
            self.virtual_size = Size(self.size.width, self._height)
        if self._turn_to is not None:
            self._scroll(self._turn_to)
        if resized or self._turn_to is not None:
            self._turn_to = None
            self.refresh()
            return
        regions = [
            *self._changes(before.head, page.head, 0),
            *self._changes(before.body, page.body, len(page.head) - self.scroll_offset.y),
        ]
        visible = [region for region in regions if 0 <= region.y < self.size.height]
        if visible:
            self.refresh(*visible)

    def select(self, key: str) -> None:
        """Put the cursor on a row and bring it into view."""
        rows = {line.key: i for i, line in enumerate(self._page.body) if line.key in (key, self._cursor)}
        if key not in rows:
            return
        self._cursor = key
        head, room, top = len(self._page.head), self.page_rows() + 1, self.scroll_offset.y
        # Two rows look different now; the rest of the page stays as it is.
        self.refresh(*(Region(0, head + row - top, self.size.width, 1) for row in rows.values() if row >= top))
        if key == self.keys[0]:
            self._scroll(0)
        elif not top <= rows[key] < top + room:
            self._scroll(rows[key] if rows[key] < top else rows[key] - room + 1)

    def move(self, steps: int) -> None:
        """Move the cursor by rows; a page without rows, or with no further one, scrolls."""
        keys = self.keys
        if not keys:
            self._scroll(self.scroll_offset.y + steps)
            return
        at = keys.index(self._cursor) if self._cursor in keys else 0
        to = max(0, min(len(keys) - 1, at + steps))
        if to == at:
            # Beyond the last row and before the first there may be text: go on by scrolling.
            self._scroll(self.scroll_offset.y + steps)
        else:
            self.select(keys[to])

    def page_rows(self) -> int:
        """How many rows a page up or down moves."""
        return max(1, self.size.height - len(self._page.head) - 1)

    def render_line(self, y: int) -> Strip:
        """The line at row `y` of the screen."""
        head = self._page.head
        if y < len(head):
            return self._painter.strip(head[y], self.size.width)
        row = y - len(head) + self.scroll_offset.y
        if row >= len(self._page.body):
            return self._painter.strip(Line(), self.size.width)
        line = self._page.body[row]
        return self._painter.strip(line, self.size.width, cursor=line.key is not None and line.key == self._cursor)

    def on_resize(self) -> None:
        """The body's height over the new room decides on the scroll bar."""
        self.virtual_size = Size(self.size.width, self._height)

    def on_click(self, event: events.Click) -> None:
        """A click on a command runs it, on a row selects it, on the selected row opens it."""
        command = event.style.meta.get("run")
        if command:
            self.post_message(CommandClicked(str(command)))
            return
        row = event.y - len(self._page.head) + self.scroll_offset.y
        if event.y < len(self._page.head) or not 0 <= row < len(self._page.body):
            return
        key = self._page.body[row].key
        if key is not None and key == self._cursor:
            self.post_message(self.Opened())
        elif key is not None:
            self.select(key)

    @property
    def _height(self) -> int:
        return len(self._page.head) + len(self._page.body)

    def _scroll(self, top: int) -> None:
        # At once: what waits for the next refresh is seen one refresh later.
        self.scroll_to(y=top, animate=False, immediate=True)

    def _keep_cursor(self, before: Page) -> None:
        """Hold the cursor on its row wherever that went; when it is gone, on the row that is now in its place."""
        keys, old = self.keys, _keys(before)
        if self._cursor in keys:
            return
        at = old.index(self._cursor) if self._cursor in old else 0
        self._cursor = keys[min(at, len(keys) - 1)] if keys else None
        self.refresh()

    def _changes(self, before: tuple[Line, ...], after: tuple[Line, ...], top: int) -> list[Region]:
        width = self.size.width
        length = max(len(before), len(after))
        padded = [(*lines, *[Line()] * (length - len(lines))) for lines in (before, after)]
        pairs = zip(*padded, strict=True)
        return [region for i, (old, new) in enumerate(pairs) for region in changed_regions(old, new, top + i, width)]


def _keys(page: Page) -> list[str]:
    return [line.key for line in page.body if line.key is not None]
