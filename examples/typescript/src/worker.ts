// The worker: polls typescript-queue with worker-token.jwt.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';
import { ADDRESS, follow, Material, NAMESPACE, read, tls } from './material';
import { TASK_QUEUE } from './names';

const TOKEN_FILE = 'worker-token.jwt';
/** The container's health check looks at its age. */
const ALIVE = '/tmp/worker-alive';

function connect(material: Material): Promise<NativeConnection> {
  return NativeConnection.connect({ address: ADDRESS, tls: tls(material), apiKey: material.token });
}

async function main(): Promise<void> {
  const material = read(TOKEN_FILE);
  let connection = await connect(material);
  const worker = await Worker.create({
    connection,
    namespace: NAMESPACE,
    taskQueue: TASK_QUEUE,
    workflowBundle: { codePath: join(__dirname, 'workflow-bundle.js') },
    activities,
  });
  follow(
    TOKEN_FILE,
    material,
    (next) => connection.setApiKey(next.token),
    async (next) => {
      const old = connection;
      connection = await connect(next);
      // Polls that are open end on the old connection, the next ones go over the new one.
      worker.connection = connection;
      await old.close();
    },
  );
  setInterval(() => writeFileSync(ALIVE, ''), 5_000).unref();
  writeFileSync(ALIVE, '');
  // Until SIGTERM or SIGINT, then what is running is finished.
  await worker.run();
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
