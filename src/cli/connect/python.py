# pip install temporalio; a worker process reads worker-token.jwt instead    §auth
# pip install temporalio    §open
import asyncio
from pathlib import Path    §files

from temporalio.client import Client, TLSConfig    §tls
from temporalio.client import Client    §plain

CERTS = Path("⟨certs⟩")    §files


async def connect() -> Client:
    return await Client.connect(
        "⟨address⟩",
        namespace="⟨namespace⟩",
        tls=TLSConfig(    §tls
            server_root_ca_cert=(CERTS / "ca.crt").read_bytes(),    §tls
            client_cert=(CERTS / "temporal-client.crt").read_bytes(),    §tls
            client_private_key=(CERTS / "temporal-client.key").read_bytes(),    §tls
            domain="⟨server_name⟩",    §tls
        ),    §tls
        rpc_metadata={"authorization": "Bearer " + (CERTS / "client-token.jwt").read_text()},    §auth
    )


async def main() -> None:
    client = await connect()
    print("connected:", (await client.count_workflows()).count, "workflows in ⟨namespace⟩")


asyncio.run(main())
