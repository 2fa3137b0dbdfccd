import { text } from 'node:stream/consumers';
import type { BackendModule } from '../backend.js';
import { openBackend } from './open-backend.js';
import { fromText, toLine, toText, type Job } from './other-process.js';

/** Runs as a process of its own; see `inOtherProcess`. */
const { signal } = new AbortController();
const job = JSON.parse(await text(process.stdin)) as Job;
const { backend: module } = (await import(job.moduleUrl)) as { readonly backend: BackendModule<unknown> };
const opened = await openBackend({ module, config: job.config });
const unwrapped = await opened.backend.unwrap(fromText(job.wrapped), signal);
const rewrapped = await opened.backend.wrap(unwrapped, signal);
// What is given up must leave no rejection behind that nobody handles: node would end this process with an error.
const giveUp = new AbortController();
const given = opened.backend.wrap(unwrapped, giveUp.signal);
giveUp.abort();
await given.catch(() => undefined);
await opened.end();
process.stdout.write(toLine({ unwrapped: Buffer.from(unwrapped).toString('base64'), rewrapped: toText(rewrapped) }));
