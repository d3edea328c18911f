// The HTTP side: starts workflows with client-token.jwt and never executes one.
import { randomUUID } from 'node:crypto';
import { createServer, IncomingMessage } from 'node:http';
import { Client, Connection, ServiceError, WorkflowNotFoundError } from '@temporalio/client';
import { ADDRESS, follow, Material, NAMESPACE, read, tls } from './material';
import { TASK_QUEUE } from './names';
import type { MyWorkflow } from './workflows';

const TOKEN_FILE = 'client-token.jwt';
const MOST_BYTES = 1 << 20;
/** Calls that are still running when certificates change get this long on the connection before. */
const DRAIN_MS = 60_000;

type Answer = [status: number, body: object];

async function connect(material: Material): Promise<Client> {
  // `apiKey` is called for each call: a renewed token needs no new connection.
  const connection = await Connection.connect({
    address: ADDRESS,
    tls: tls(material),
    apiKey: () => read(TOKEN_FILE).token,
  });
  return new Client({ connection, namespace: NAMESPACE });
}

async function start(client: Client, request: IncomingMessage): Promise<Answer> {
  let job: { data?: unknown; delay_seconds?: unknown };
  try {
    job = JSON.parse(await body(request));
  } catch (error) {
    return [422, { detail: String(error) }];
  }
  const delay = job?.delay_seconds ?? 0;
  if (typeof job?.data !== 'string' || typeof delay !== 'number') {
    return [422, { detail: 'give {"data": "text", "delay_seconds": number}' }];
  }
  const handle = await client.workflow.start<typeof MyWorkflow>('MyWorkflow', {
    args: [job.data, delay],
    workflowId: `job-${randomUUID()}`,
    taskQueue: TASK_QUEUE,
  });
  return [202, { id: handle.workflowId }];
}

async function result(client: Client, id: string): Promise<Answer> {
  const handle = client.workflow.getHandle<typeof MyWorkflow>(id);
  try {
    const status = (await handle.describe()).status.name;
    return [200, { id, status, result: status === 'COMPLETED' ? await handle.result() : null }];
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return [404, { detail: `temporal: ${error.message}` }];
    throw error;
  }
}

async function answer(client: Client, request: IncomingMessage): Promise<Answer> {
  const [, root, id] = (request.url ?? '').split('/');
  switch (`${request.method} ${root}`) {
    case 'GET health':
      // Healthy means: Temporal serves this client.
      await (client.connection as Connection).healthService.check({});
      return [200, { status: 'ok' }];
    case 'POST jobs':
      return await start(client, request);
    case 'GET jobs':
      return await result(client, decodeURIComponent(id ?? ''));
    default:
      return [404, { detail: 'not found' }];
  }
}

async function body(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MOST_BYTES) throw new Error('the body is too large');
  }
  return text;
}

/** The server's own words, for a caller that cannot see this log. */
function words(error: unknown): string {
  const cause = error instanceof ServiceError ? error.cause : error;
  return `temporal: ${cause instanceof Error ? cause.message : String(cause)}`;
}

async function main(): Promise<void> {
  const material = read(TOKEN_FILE);
  let client = await connect(material);
  follow(
    TOKEN_FILE,
    material,
    async () => {},
    async (next) => {
      const old = client;
      client = await connect(next);
      setTimeout(() => old.connection.close(), DRAIN_MS).unref();
    },
  );
  const server = createServer(async (request, response) => {
    const [status, content] = await answer(client, request).catch((error): Answer => [502, { detail: words(error) }]);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content));
  });
  server.listen(8000);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => server.close(() => process.exit(0)));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
