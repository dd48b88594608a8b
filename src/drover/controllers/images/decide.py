"""What to do about one image. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import names
from drover.api.kinds import image as images
from drover.api.kinds.image import ImagePhase
from drover.api.meta import has_finalizer, is_deleting
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.base.words import some_of

RETRY = Backoff(first_s=10, most_s=300)


@dataclass(frozen=True)
class ImageView:
    image: Object
    cluster_wide: bool
    users: tuple[str, ...]  # "VirtualMachine ns/name" or "VirtualDisk ns/name"


@dataclass(frozen=True)
class Step:
    pass


@dataclass(frozen=True)
class AddFinalizer(Step):
    pass


@dataclass(frozen=True)
class Refuse(Step):
    """The source is of a kind that is not served."""

    message: str


@dataclass(frozen=True)
class Provision(Step):
    url: str
    checksums: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Show(Step):
    """``waiting``: somebody deletes it while it is in use."""

    waiting: bool = False


@dataclass(frozen=True)
class Remove(Step):
    pass


def decide(view: ImageView) -> Step:
    image = view.image
    marked = has_finalizer(image, names.VIMAGE_FINALIZER)
    if is_deleting(image):
        if not marked:
            return Show()
        return Show(waiting=True) if view.users else Remove()
    if not marked:
        return AddFinalizer()
    if images.phase(image) in (ImagePhase.READY, ImagePhase.FAILED):
        return Show()
    return _source(view)


def _source(view: ImageView) -> Step:
    source = (view.image.get("spec") or {}).get("dataSource") or {}
    url = images.url(view.image)
    if source.get("type") != "HTTP" or not url:
        return Refuse(
            f"dataSource type {source.get('type') or 'none'} is not served; use HTTP with a URL"
        )
    scheme = url.partition(":")[0].lower()
    if scheme == "file" and not view.cluster_wide:
        return Refuse(
            "file URLs are for ClusterVirtualImages only: they read the host of the controllers"
        )
    if scheme not in ("http", "https", "file"):
        return Refuse(f"{images.shown_url(url)}: use an http, https or file URL")
    return Provision(url, tuple(sorted(images.checksum(view.image).items())))


def users_message(users: tuple[str, ...]) -> str:
    return f"Used by {some_of(users)}" if users else ""
