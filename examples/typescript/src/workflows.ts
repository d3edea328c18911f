import { proxyActivities, sleep } from '@temporalio/workflow';
import type * as activities from './activities';

const { my_activity } = proxyActivities<typeof activities>({ startToCloseTimeout: '30 seconds' });

/** The guide's: one activity; with a delay, a job that outlives a restart of the server. */
export async function MyWorkflow(data: string, delaySeconds = 0): Promise<string> {
  if (delaySeconds > 0) await sleep(delaySeconds * 1000);
  return await my_activity(data);
}
