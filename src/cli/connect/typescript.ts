// npm install @temporalio/client; a worker process reads worker-token.jwt instead    §auth
// npm install @temporalio/client    §open
import { readFileSync } from 'node:fs';    §files
import { Client, Connection } from '@temporalio/client';

const certs = '⟨certs⟩';    §files
    §files
async function main(): Promise<void> {
  const connection = await Connection.connect({
    address: '⟨address⟩',
    tls: false,    §plain
    tls: {    §tls
      serverNameOverride: '⟨server_name⟩',    §tls
      serverRootCACertificate: readFileSync(`${certs}/ca.crt`),    §tls
      clientCertPair: {    §tls
        crt: readFileSync(`${certs}/temporal-client.crt`),    §tls
        key: readFileSync(`${certs}/temporal-client.key`),    §tls
      },    §tls
    },    §tls
    // Read for each call: a renewed token needs no restart.    §auth
    apiKey: () => readFileSync(`${certs}/client-token.jwt`, 'utf8'),    §auth
  });
  const client = new Client({ connection, namespace: '⟨namespace⟩' });
  const { count } = await client.workflow.count();
  console.log(`connected: ${count} workflows in ⟨namespace⟩`);
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
