const SHORTEST_SECRET = 8;
/** Where code lies says nothing of what it holds, and a path may hold a word that is a secret elsewhere. */
const FRAMES = /^ +at .*:\d+:\d+\)?$/gm;

/** @throws {Error} when messages might hold one of `secrets` by chance */
export function assertLongEnough(secrets: readonly string[]): void {
  for (const [index, secret] of secrets.entries()) {
    if (secret.length < SHORTEST_SECRET)
      throw new Error(
        `harness.secrets[${index}] is too short to be looked for: use ${SHORTEST_SECRET} random characters or more`,
      );
  }
}

/**
 * What `thrown` shows of `secrets` and `plaintexts`, in its message, its stack (without file locations) or another property of its own; never
 * in `cause`, which reaches only our own log.
 *
 * @returns where and what, without the secret itself
 */
export function secretIn(
  thrown: unknown,
  secrets: readonly string[],
  plaintexts: readonly Uint8Array[],
): string | undefined {
  assertLongEnough(secrets);
  const shown = texts(thrown);
  for (const [index, secret] of secrets.entries()) {
    const bytes = Buffer.from(secret);
    const forms = [secret, encodeURIComponent(secret), bytes.toString('base64'), bytes.toString('hex')];
    for (const [where, text] of shown) {
      if (forms.some((form) => text.includes(form))) return `secret ${index} of the harness in its ${where}`;
    }
  }
  for (const plaintext of plaintexts) {
    const bytes = Buffer.from(plaintext);
    for (const [where, text] of shown) {
      if (text.includes(bytes.toString('base64')) || text.toLowerCase().includes(bytes.toString('hex')))
        return `a plaintext in its ${where}`;
    }
  }
  return undefined;
}

function texts(thrown: unknown): [where: string, text: string][] {
  if (!(thrown instanceof Error)) return [['text', String(thrown)]];
  const found: [string, string][] = [
    ['message', thrown.message],
    ['stack', (thrown.stack ?? '').replaceAll(FRAMES, '')],
  ];
  for (const [name, value] of Object.entries(thrown)) {
    if (name !== 'cause' && typeof value === 'string') found.push([`property ${name}`, value]);
  }
  return found;
}
