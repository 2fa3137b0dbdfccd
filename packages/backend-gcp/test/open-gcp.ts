import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Backend, Host } from '@sealwax/core';
import { lendHost, openBackend } from '@sealwax/core/conformance';
import { onTestFinished } from 'vitest';
import { backend } from '../src/index.js';
import { CERTIFICATE } from './certificate.js';
import { KEY, type KmsDouble } from './gcp-double.js';

/** A new directory, removed when the test is over. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-gcp-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A host that lives as long as the test. */
export function testHost(): Host {
  const life = new AbortController();
  onTestFinished(() => {
    life.abort();
  });
  return lendHost('gcp', () => undefined, life.signal);
}

/** Logs in at the metadata server. */
export async function openGcp({ endpoint }: KmsDouble): Promise<Backend> {
  const caFile = path.join(await temporaryDirectory(), 'ca.pem');
  await writeFile(caFile, CERTIFICATE.cert, { mode: 0o644 });
  const config = { key: KEY, endpoint, caFile, auth: { method: 'metadata-server' } };
  const opened = await openBackend({ module: backend, config });
  onTestFinished(() => opened.end());
  return opened.backend;
}
