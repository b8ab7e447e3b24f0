"""Markup: HTML that escapes by construction, and figures as inline SVG.

Every element is made by `tag`, which escapes all that is not markup that `tag` or `svg` has made. So no name, formula
or label from outside can become an element, an attribute or a script, wherever a page puts it.
"""

import base64
import html
import io
import re
import unicodedata
import warnings
from xml.etree import ElementTree

_VOID = {"meta"}
_XLINK = "{http://www.w3.org/1999/xlink}href"


class Markup(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def printable(text) -> str:
    r"""Text without control characters, which HTML forbids: each becomes �.

    >>> printable("a\x07b")
    'a�b'
    """
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cs") and c != "\n" else c for c in str(text))


def escape(text) -> Markup:
    """Text as HTML; markup as it is.

    >>> escape("<b> & 'c'"), escape(Markup("<b>"))
    ('&lt;b&gt; &amp; &#x27;c&#x27;', '<b>')
    """
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text)))


def join(*parts) -> Markup:
    """Parts in a row, escaped; None is nothing.

    >>> join(tag("b", "a"), " < ", None, "b")
    '<b>a</b> &lt; b'
    """
    return Markup("".join(escape(part) for part in parts if part is not None))


def tag(name: str, /, *content, **attributes) -> Markup:
    """An element.

    Args:
      name: of the element.
      *content: text, which is escaped, markup, which is not, or None, which is nothing.
      **attributes: class_="a" is class="a", data_value=1 is data-value="1"; None leaves one out.

    >>> tag("td", "a < b", class_="text", title='"', lang=None)
    '<td class="text" title="&quot;">a &lt; b</td>'
    """
    given = [
        ' {}="{}"'.format(key.rstrip("_").replace("_", "-"), escape(value))
        for key, value in attributes.items()
        if value is not None
    ]
    start = f"<{name}{''.join(given)}>"
    return Markup(start if name in _VOID else f"{start}{join(*content)}</{name}>")


def svg(figure, prefix: str, alt: str) -> Markup:
    """A matplotlib figure as inline SVG: the same bytes for the same figure, with text as text.

    Args:
      figure: of matplotlib.
      prefix: letters before every identifier, so that no two figures of a page share one.
      alt: what the figure shows, for those who do not see it.

    >>> from matplotlib.figure import Figure
    >>> svg(Figure(), "a", "nothing")[:55]
    '<svg role="img" aria-label="nothing" viewBox="0 0 460.8'
    """
    import matplotlib

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jaxnn"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the browser has more fonts than matplotlib
        figure.savefig(buffer, format="svg", dpi=110, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    values = [value for element in root.iter() for value in element.attrib.values()]
    links = {value.strip("url()#") for value in values if value.startswith(("#", "url(#"))}
    (small,) = _slim(root, prefix, links)
    small.attrib = {"role": "img", "aria-label": printable(alt), "viewBox": root.attrib["viewBox"]}
    return Markup(ElementTree.tostring(small, encoding="unicode"))


def _slim(element, prefix, links):
    """The element without what a browser does not need, or the elements in it where it only groups them."""
    name = element.tag.partition("}")[2]
    if name in ("style", "metadata"):
        return []
    children = [small for child in element for small in _slim(child, prefix, links)]
    attributes = {
        key.replace(_XLINK, "href"): value
        for key, old in element.attrib.items()
        if (value := _attribute(key, old, prefix, links)) is not None
    }
    if name in ("g", "defs") and not (attributes and children):
        return children if name == "g" else [_new(name, {}, None, children)] * bool(children)
    return [_new(name, attributes, element.text if name in ("text", "tspan") else None, children)]


def _new(name, attributes, text, children):
    element = ElementTree.Element(name, attributes)
    element.text = text
    element.extend(children)
    return element


def _few_colours(image):
    """A PNG as data URI with a palette: a third of the bytes."""
    from PIL import Image  # matplotlib brings it

    start, data = image.split(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        buffer = io.BytesIO()
        picture.quantize(64, Image.Quantize.FASTOCTREE).save(buffer, format="png", optimize=True)
    return f"{start},{base64.b64encode(buffer.getvalue()).decode()}"


def _attribute(key, value, prefix, links):
    """An attribute with short numbers and with the prefix in identifiers; None where it says nothing."""
    if key == "id":
        return f"{prefix}{value}" if value in links else None
    if key == _XLINK and not value.startswith("#"):
        return _few_colours(value)
    if key in (_XLINK, "clip-path"):
        return value.replace("#", f"#{prefix}")
    if key == "style":
        value = re.sub(r"font-family:[^;]*;? ?", "", value)
        return value.strip("; ")
    if key == "transform" and value.startswith("rotate(-0 "):
        return None
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), " ".join(value.split()))
