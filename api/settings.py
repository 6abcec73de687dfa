"""What an operator sets: ``TRAINMARK_…`` in the environment, else ``trainmark.toml`` in the working directory.

Without any setting a registry runs on this machine only, with everything it needs in ``./.trainmark``.  Whoever serves
others (a host that is not loopback, or an issuer with https) gets the embedded chain and unencrypted keys refused
unless ``dev`` is true: both are for trying things out.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from api.logs import Form, Level
from ledger.errors import MalformedError, RefusedError
from ledger.manifests import MAX_MANIFEST_BYTES
from ledger.store.places import BLOBS

EMBEDDED: Final = "embedded"
SETTINGS_FILE: Final = "trainmark.toml"


class Settings(BaseSettings):
    """One registry's settings; what is given in code comes first, then the environment, then the file."""

    model_config = SettingsConfigDict(
        env_prefix="TRAINMARK_", toml_file=SETTINGS_FILE, extra="forbid", frozen=True, validate_default=True
    )

    data_dir: Path = Field(default=Path(".trainmark"), description="Folder of database, tiles, blobs, chain and keys.")
    database: SecretStr | None = Field(
        default=None,
        description="URL of a PostgreSQL database, postgresql://user@host/name; by default SQLite in the data folder.",
    )
    tiles: str | None = Field(
        default=None,
        description="Bucket of tiles and checkpoint, s3://bucket/prefix; by default a folder in the data folder.",
    )
    blobs: str | None = Field(
        default=None,
        description="Bucket of manifests and licenses, s3://bucket/prefix; by default a folder in the data folder.",
    )
    ipfs: str | None = Field(
        default=None,
        description="RPC API of an IPFS node that public blobs are brought to, like /ip4/127.0.0.1/tcp/5001.",
    )
    standby: bool = Field(
        default=False, description="Wait while another process writes the log, and take over when it ends."
    )
    read_only: bool = Field(
        default=False, description="Only read what another process writes to the same database and folder."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8787, ge=0, le=65535, description="Port to listen on.")
    issuer: str | None = Field(
        default=None,
        pattern=r"^https?://[A-Za-z0-9.:\[\]/_-]*[A-Za-z0-9\]_-]$",
        max_length=256,
        description="Public URL of this registry, without a slash at its end; by default http://<host>:<port>.",
    )
    origin: str | None = Field(
        default=None,
        description="Name of the log, for ever; by default the issuer's host and path, or localhost/<key> on http.",
    )
    dev: bool = Field(default=False, description="Allow the embedded chain and unencrypted keys for a public registry.")
    key_passphrase: SecretStr | None = Field(default=None, description="Encrypts the keys in <data_dir>/keys.")
    registry_key: SecretStr | None = Field(default=None, description="Statement keys: PEM, or the path of a file.")
    log_key: SecretStr | None = Field(default=None, description="Log keys: PEM, or the path of a file.")
    token_key: SecretStr | None = Field(default=None, description="Token keys: PEM, or the path of a file.")
    anchor_key: SecretStr | None = Field(default=None, description="Anchor key: PEM, or the path of a file.")

    chain: str = Field(default=EMBEDDED, description="`embedded`, or the URL of a node's JSON-RPC.")
    contract: str | None = Field(default=None, description="Address of the anchor contract on that chain.")
    genesis: str | None = Field(default=None, description="Hash of the block 0 that chain must have.")
    confirmations: int | None = Field(
        default=None, ge=1, description="Blocks that make an anchor final where the chain has no `finalized` tag."
    )
    chain_class: Literal["development", "testnet", "public"] = Field(
        default="development", description="What the operator calls the chain; a verifier's own trust file decides."
    )
    anchor_interval: float = Field(default=60.0, gt=0, description="Seconds from one anchor to the next.")

    witnesses: Path | None = Field(
        default=None,
        description="File that names the log's witnesses, where they answer, and the quorum: a tlog-policy.",
    )
    witness_seconds: float = Field(
        default=10.0, gt=0, le=60, description="Seconds a witness may take, and a statement waits for the quorum."
    )

    stop_seconds: int = Field(
        default=30, ge=1, description="Seconds that requests may take when the process is told to end."
    )
    log: Form = Field(
        default="text", description="`json` writes what is reported on standard error as one JSON object a line."
    )
    log_level: Level | None = Field(
        default=None,
        description="`debug`, `info` (a record for each request), `warning` or `error`; "
        "by default `info` as JSON, `warning` as text.",
    )

    metrics_host: str = Field(default="127.0.0.1", description="Address of the port for metrics.")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port that serves /metrics for Prometheus; by default none does."
    )

    address_per_minute: int = Field(
        default=6000, ge=1, description="Cost units each client address may use in a minute."
    )
    subject_per_minute: int = Field(default=240, ge=1, description="Writes each party may make in a minute.")
    max_manifest_bytes: int = Field(
        default=MAX_MANIFEST_BYTES, ge=1024, le=MAX_MANIFEST_BYTES, description="Biggest manifest taken, in bytes."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def given_keys(self) -> dict[str, str]:
        """The keys that are not in the data folder, by their names."""
        keys = {"registry": self.registry_key, "log": self.log_key, "token": self.token_key, "anchor": self.anchor_key}
        return {name: key.get_secret_value() for name, key in keys.items() if key is not None}

    @property
    def public_url(self) -> str:
        """The issuer, given or made of host and port."""
        if self.issuer is not None:
            return self.issuer
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def least_level(self) -> Level:
        """From which level on the registry's own records are written."""
        return self.log_level or ("info" if self.log == "json" else "warning")

    @property
    def is_public(self) -> bool:
        """Whether others than this machine are served."""
        return not is_loopback(self.host) or self.public_url.startswith("https://")


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_settings(settings: Settings) -> Settings:
    """Returns the settings if they go together.

    Raises:
        MalformedError: no database that can be used; blobs among the tiles; a chain without its contract, or no URL.
        RefusedError: ``unsafe-default``: a public registry with what is for trying out.
    """
    if settings.database is not None and not settings.database.get_secret_value().startswith("postgresql://"):
        raise MalformedError(
            "expected postgresql://user@host/name", field="TRAINMARK_DATABASE"
        )  # not shown: such URLs hold passwords
    if settings.tiles is not None and f"{settings.blobs}/".startswith(f"{settings.tiles}/"):
        raise MalformedError("lie below TRAINMARK_TILES, where anybody may read; name another place", field=BLOBS)
    if settings.read_only:
        if settings.standby:
            raise MalformedError("a process that only reads never takes over", field="TRAINMARK_STANDBY")
        return settings  # it has no chain, and no keys
    if settings.chain != EMBEDDED:
        if not settings.chain.startswith(("http://", "https://")):
            raise MalformedError(
                f"expected {EMBEDDED}, or the http(s) URL of a node", field="TRAINMARK_CHAIN"
            )  # not shown: such URLs hold access keys
        if settings.contract is None:
            raise MalformedError("a node's chain needs the address of the contract", field="TRAINMARK_CONTRACT")
    if settings.is_public and not settings.dev:
        if settings.chain == EMBEDDED:
            raise RefusedError(
                "a public registry anchors on a real chain; set a node's URL, or TRAINMARK_DEV=true to try it out",
                code="unsafe-default",
                field="TRAINMARK_CHAIN",
            )
        if settings.key_passphrase is None and len(settings.given_keys) < 4:
            raise RefusedError(
                "a public registry encrypts its keys; set a passphrase, or TRAINMARK_DEV=true to try it out",
                code="unsafe-default",
                field="TRAINMARK_KEY_PASSPHRASE",
            )
    return settings
