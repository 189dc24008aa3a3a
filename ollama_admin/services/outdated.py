"""Installed builds beside those that registries have meanwhile."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from ollama_admin.domain.builds import BuildState, InstalledBuild, Manifest, RegistryResult
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.models import CONSTANT_DIGESTS, Model
from ollama_admin.domain.names import DEFAULT_HOST, RegistryName, model_key
from ollama_admin.domain.urls import server_url, split_userinfo
from ollama_admin.errors import (
    InvalidInput,
    ModelNotFound,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.ollama.manifests import Manifests
from ollama_admin.rules import arguments
from ollama_admin.services.models import Models
from ollama_admin.services.servers import Connect
from ollama_admin.services.tasks import WorkLimit, together

AT_ONCE = 8  # questions to registries


@dataclass(slots=True)
class _Installed:
    """A name, as the first row spells it, and what servers hold under it."""

    name: str
    pinned: str | None
    servers: dict[tuple[str, str], InstalledBuild] = field(default_factory=dict)

    @property
    def digests(self) -> set[str]:
        """Those that servers tell."""
        return {build.digest for build in self.servers.values() if build.digest}


class Outdated:
    """Reads the catalogue as discovery left it, and asks registries; nothing is written."""

    def __init__(self, models: Models, connect: Connect, rights: Rights) -> None:
        self._models = models
        self._manifests = Manifests(connect)
        self._rights = rights

    async def run(
        self, models: Sequence[str] = (), *, registry: str | None = None, all: bool = False
    ) -> list[RegistryResult]:
        """Compare what active servers hold with what registries have now; nothing is pulled.

        Of each name (default: all of them; globs too) its own registry is asked, or with `registry`
        that URL alone, for names of ollama.com and of that host. Only names go out. Without `all`,
        those that are current, missing there or not asked are left out. Raises ModelNotFound for a
        name that no active server holds, and ServerUnreachable when no registry can be reached.
        """
        arguments.check(models=models, registry=registry)
        only = _registry_url(registry)
        if only is not None and not self._rights.dynamic_servers:
            raise InvalidInput(
                "another registry cannot be named here",
                "the service runs with OLLAMA_ADMIN_DYNAMIC_SERVERS=registered",
            )
        installed = await self._installed(models)
        asking = _Asking(self._manifests, only)
        results = await together(asking.about(each) for each in installed)
        asking.require_online()
        if all:
            return results
        shown = (BuildState.OUTDATED, BuildState.UNKNOWN)
        return [result for result in results if result.state in shown]

    async def _installed(self, names: Sequence[str]) -> list[_Installed]:
        """What active servers hold under the names (none is all), by name."""
        installed: dict[str, _Installed] = {}
        patterns: Sequence[str | None] = names or (None,)
        for pattern in patterns:
            is_there = False
            async with aclosing(self._models.stream(name=pattern)) as batches:
                async for batch in batches:
                    is_there = is_there or bool(batch)
                    for model in batch:
                        _add(installed, model)
            if pattern is not None and not is_there:
                raise await self._not_found(pattern)
        return list(installed.values())

    async def _not_found(self, name: str) -> ModelNotFound:
        near = await self._models.near(name)
        hint = "see what servers hold with: ollama-admin models"
        if near:
            hint = f"nearest: {', '.join(near)}"
        return ModelNotFound(f"no active server has model {name!a}", hint)


class _Asking:
    """One run over many names. A registry that cannot be reached is asked for nothing more."""

    def __init__(self, manifests: Manifests, only: str | None) -> None:
        self._manifests = manifests
        self._only = only
        self._limit = WorkLimit(AT_ONCE)
        self._away: dict[str, ServerUnreachable] = {}
        self._reached: set[str] = set()

    async def about(self, installed: _Installed) -> RegistryResult:
        """What a registry says of one name."""
        try:
            name = RegistryName.parse(installed.name)
        except InvalidInput:
            return _result(installed, None, BuildState.SKIPPED)
        registry = self._registry(name)
        if registry is None or not installed.digests:
            return _result(installed, None, BuildState.SKIPPED)
        async with self._limit.take():
            try:
                manifest = await self._read(registry, name, installed)
            except ModelNotFound:
                self._reached.add(registry)
                return _result(installed, registry, BuildState.MISSING)
            except UpstreamError as exc:
                return self._failed(installed, registry, exc)
        self._reached.add(registry)
        return _compared(installed, registry, manifest)

    def require_online(self) -> None:
        """Raise ServerUnreachable when there were registries to ask and none could be reached."""
        if self._away and not self._reached:
            raise next(iter(self._away.values()))

    def _registry(self, name: RegistryName) -> str | None:
        """The URL of the registry to ask for a name; None for one that is not to be asked."""
        if self._only is None:
            return f"https://{name.host}"
        if name.host in (DEFAULT_HOST, self._only.partition("://")[2]):
            return self._only
        return None

    async def _read(self, registry: str, name: RegistryName, installed: _Installed) -> Manifest:
        if registry in self._away:
            raise self._away[registry]
        manifest = await self._manifests.read(registry, name)
        if installed.digests <= manifest.digests:
            return manifest
        listed = await self._manifests.read_list(registry, name)
        if listed is None:
            return manifest
        return replace(listed, digests=listed.digests | manifest.digests)

    def _failed(self, installed: _Installed, registry: str, error: UpstreamError) -> RegistryResult:
        if isinstance(error, ServerUnreachable):
            self._away[registry] = error
        else:
            self._reached.add(registry)
        return _result(installed, registry, BuildState.UNKNOWN, error=error)


def _add(installed: dict[str, _Installed], model: Model) -> None:
    digest = model.digest
    if model.is_remote or model.family == CONSTANT_DIGESTS:
        digest = None
    each = installed.setdefault(
        model_key(model.name), _Installed(name=model.name, pinned=model.pinned)
    )
    build = InstalledBuild(server=model.server, digest=digest)
    each.servers[model.server, model.name] = build


def _compared(installed: _Installed, registry: str, manifest: Manifest) -> RegistryResult:
    """The result of a name that its registry has."""
    state = BuildState.OUTDATED
    if installed.digests <= manifest.digests:
        state = BuildState.CURRENT
    result = _result(installed, registry, state)
    builds = [_marked(build, manifest) for build in result.servers]
    return replace(result, digest=manifest.digest, servers=tuple(builds))


def _marked(build: InstalledBuild, manifest: Manifest) -> InstalledBuild:
    if build.digest is None:
        return build
    return replace(build, is_current=build.digest in manifest.digests)


def _result(
    installed: _Installed,
    registry: str | None,
    state: BuildState,
    error: UpstreamError | None = None,
) -> RegistryResult:
    return RegistryResult(
        name=installed.name,
        registry=registry,
        digest=None,
        state=state,
        pinned=installed.pinned,
        servers=tuple(installed.servers.values()),
        error=error,
    )


def _registry_url(text: str | None) -> str | None:
    """The URL that `--registry` names, https where it names no scheme."""
    if text is None:
        return None
    url, userinfo = split_userinfo(text)
    if userinfo:
        raise InvalidInput(
            "the URL of the registry holds a user or a password",
            "registries are asked without credentials",
        )
    if "://" not in url:
        url = f"https://{url}"
    return server_url(url).url
