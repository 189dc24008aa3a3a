"""Which kind of image a file is, by its first bytes."""

_BEGINNINGS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
WEBP = "image/webp"
KINDS = "PNG, JPEG, GIF, WebP or BMP"


def media_type(image: bytes) -> str | None:
    """The media type of an image; None for what is none of `KINDS`."""
    for beginning, kind in _BEGINNINGS:
        if image.startswith(beginning):
            return kind
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return WEBP
    return None
