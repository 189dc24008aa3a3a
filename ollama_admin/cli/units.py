"""Sizes and times as people read them. It loads nothing."""

# decimal, as Ollama prints them
_SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def size(count: int | None) -> str:
    """A number of bytes in decimal units."""
    if count is None:
        return "-"
    for unit, name in _SIZES:
        if count >= 10 * unit:
            return f"{count // unit} {name}"
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def span(seconds: float) -> str:
    """A time that something takes, in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    if minutes:
        return f"{minutes}m{rest:02}s"
    return f"{rest}s"
