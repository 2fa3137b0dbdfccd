import { open, readFile } from 'node:fs/promises';

const chunkBytes = 16 * 1024 * 1024;

/** Where a secret was found in a process's memory. */
export interface Finding {
  readonly form: string;
  readonly address: string;
}

/**
 * Looks for `secret` in everything that a process can write to: raw, as hexadecimal digits and as base64, in one byte a character and in two.
 *
 * The process runs on meanwhile, so a page may go between the list of them and the look at it.
 */
export async function findInMemory(pid: number, secret: Uint8Array): Promise<readonly Finding[]> {
  const forms = formsOf(Buffer.from(secret));
  const longest = Math.max(...forms.map(({ bytes }) => bytes.length));
  const found: Finding[] = [];
  const memory = await open(`/proc/${pid}/mem`, 'r');
  try {
    for (const { start, end } of await writableRanges(pid)) {
      // Chunks overlap, so that nothing hides between two.
      for (let at = start; at < end; at += chunkBytes - longest) {
        const buffer = Buffer.alloc(Math.min(chunkBytes, end - at));
        const read = await memory.read(buffer, 0, buffer.length, at).catch(() => ({ bytesRead: 0 }));
        const content = buffer.subarray(0, read.bytesRead);
        for (const { form, bytes } of forms) {
          for (let index = content.indexOf(bytes); index >= 0; index = content.indexOf(bytes, index + 1)) {
            found.push({ form, address: (at + index).toString(16) });
          }
        }
        if (at + chunkBytes >= end) break;
      }
    }
  } finally {
    await memory.close();
  }
  return found;
}

function formsOf(secret: Buffer): readonly { readonly form: string; readonly bytes: Buffer }[] {
  const hex = secret.toString('hex');
  // Without the padding, and without the last digit, which depends on what follows.
  const base64 = (encoding: 'base64' | 'base64url') => secret.toString(encoding).replaceAll('=', '').slice(0, -1);
  const texts = new Map([
    ['hex', hex],
    ['HEX', hex.toUpperCase()],
    ['base64', base64('base64')],
    ['base64url', base64('base64url')],
  ]);
  return [
    { form: 'raw', bytes: secret },
    ...[...texts].flatMap(([form, text]) => [
      { form, bytes: Buffer.from(text, 'latin1') },
      { form: `${form} (UTF-16)`, bytes: Buffer.from(text, 'utf16le') },
    ]),
  ];
}

async function writableRanges(pid: number): Promise<readonly { readonly start: number; readonly end: number }[]> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8');
  return [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw/gm)].map(([, start = '', end = '']) => ({
    start: parseInt(start, 16),
    end: parseInt(end, 16),
  }));
}
