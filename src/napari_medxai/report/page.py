"""What the pages of reports share: environment, style, script and policy.

Nothing is fetched: pictures are embedded, drawings are inline SVG, and a content
security policy in the page forbids the rest. A page reads the same without the script,
which only lets tables be sorted.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from .overlay import DISCLAIMER
from .wording import count_text, duration, interval_only, interval_text, number

__all__ = ["render_page"]

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    while (head.firstChild) button.append(head.firstChild);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.querySelectorAll("th")) {
        other.removeAttribute("aria-sort");
      }
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const key = (row) => {
          const cell = row.cells[column];
          const text = cell.dataset.value ?? cell.textContent.trim();
          return text === "" || isNaN(text) ? text : Number(text);
        };
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
          const order = typeof x === "number" ? x - y : x.localeCompare(y);
          return down ? -order : order;
        });
        body.append(...rows);
      }
    });
  });
}
"""


def render_page(
    template: str,
    package: str,
    *,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **values: Any,
) -> str:
    """Fill a template that includes ``page.css`` and ``macros.html.j2``.

    Parameters
    ----------
    template : str
        A file of `package`.
    package : str
        Where it lies; what it includes lies there or in this package.
    filters : mapping, optional
        More filters than every page has.
    **values
        All text is escaped. Besides these the template is given ``disclaimer``,
        ``script`` and ``policy``.

    Returns
    -------
    str
        HTML, to be stored as UTF-8.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([_loader(package), _loader(__package__)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        interval=interval_text,
        only_interval=interval_only,
        duration=duration,
        count=count_text,
        href=quote,
        inline=Markup,
        percent=lambda share: f"{100 * share:.1f} %",
        sort_value=lambda e: "" if e is None else number(e.value, 6).replace("−", "-"),
        **(filters or {}),
    )
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return environment.get_template(template).render(
        **values,
        disclaimer=DISCLAIMER,
        script=Markup(SCRIPT),
        policy=(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
    )


def _loader(package: str | None) -> jinja2.BaseLoader:
    folder = resources.files(package or "")

    def read(name: str) -> str | None:
        file = folder / name
        return file.read_text("utf-8") if file.is_file() else None

    return jinja2.FunctionLoader(read)
