/** The work itself, under the guide's name. */
export async function my_activity(data: string): Promise<string> {
  return `processed ${data}`;
}
