"""A Temporal client that keeps up with rotation: the warden renews files, this module notices."""

import asyncio
import gc
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client, TLSConfig

ADDRESS = os.environ.get("TEMPORAL_ADDRESS", "temporal:7233")
NAMESPACE = os.environ.get("TEMPORAL_NAMESPACE", "default")
SERVER_NAME = os.environ.get("TEMPORAL_TLS_SERVER_NAME", "temporal-server")
CERTS_DIR = Path(os.environ.get("TEMPORAL_CERTS_DIR", "/etc/temporal/certs"))
CHECK_EVERY_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a client needs, read as one set."""

    ca: bytes
    certificate: bytes
    key: bytes
    token: str

    @classmethod
    def read(cls, token_file: str, certs_dir: Path = CERTS_DIR) -> "Material":
        """Read all files from one generation: `..data` is the link that the warden moves from one set to the next."""
        generation = certs_dir / "..data"
        folder = generation.resolve() if generation.exists() else certs_dir
        return cls(
            ca=(folder / "ca.crt").read_bytes(),
            certificate=(folder / "temporal-client.crt").read_bytes(),
            key=(folder / "temporal-client.key").read_bytes(),
            token=(folder / token_file).read_text().strip(),
        )

    @property
    def metadata(self) -> dict[str, str]:
        """The header that carries the token."""
        return {"authorization": f"Bearer {self.token}"}

    async def connect(self) -> Client:
        """Open an authenticated connection."""
        return await Client.connect(
            ADDRESS,
            namespace=NAMESPACE,
            tls=TLSConfig(
                client_cert=self.certificate,
                client_private_key=self.key,
                server_root_ca_cert=self.ca,
                domain=SERVER_NAME,
            ),
            rpc_metadata=self.metadata,
        )


class Connection:
    """A client and the material it was made from."""

    def __init__(self, token_file: str, material: Material, client: Client) -> None:
        self.client = client
        self._token_file = token_file
        self._material = material

    @classmethod
    async def open(cls, token_file: str) -> "Connection":
        """Connect with the material that is on disk now."""
        material = Material.read(token_file)
        return cls(token_file, material, await material.connect())

    async def follow(self, use: Callable[[Client], None] = lambda client: None) -> None:
        """Pick up changed files for ever; `use` gets every new client. A new token alone needs no new connection."""
        while True:
            await asyncio.sleep(CHECK_EVERY_SECONDS)
            try:
                await self._refresh(use)
            except Exception as error:  # the old material may still be good: keep it, say so, try again
                log.warning("temporal: new material not usable yet: %s", error)

    async def _refresh(self, use: Callable[[Client], None]) -> None:
        new = Material.read(self._token_file)
        old = self._material
        if new == old:
            return
        if (new.ca, new.certificate, new.key) == (old.ca, old.certificate, old.key):
            self.client.rpc_metadata = new.metadata
            log.info("temporal: token re-read")
        else:
            self.client = await new.connect()
            use(self.client)
            # The SDK closes a connection when its client is collected, and a client refers to itself.
            gc.collect()
            log.info("temporal: reconnected with new certificates")
        self._material = new
