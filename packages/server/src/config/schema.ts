import type { Role } from '@sealwax/core';
import { z } from 'zod';

// Each config is validated once: to compile a validator for it costs more than it saves, and whoever holds keys need not make code out of text.
z.config({ jitless: true });

/** A DNS label: it becomes part of the key id and of metric labels. */
const keyName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be 1 to 63 of a-z, 0-9 and "-", not at the ends');

const absolutePath = z.string().startsWith('/', 'must be an absolute path');
const positive = z.number().positive();
const count = z.int().min(1);

/** Said of a number too: YAML reads digits without quotes as one. */
const OCTAL_MODE = 'must be four octal digits in quotes, for instance "0600"';

const socket = z.strictObject({
  path: absolutePath
    .refine((path) => Buffer.byteLength(path) <= 100, 'must have at most 100 bytes: the system’s limit for sockets')
    .default('/run/sealwax/kms.sock')
    .describe('The unix socket that kube-apiserver connects to.'),
  mode: z
    .string(OCTAL_MODE)
    .regex(/^0[0-7]{3}$/, OCTAL_MODE)
    .refine((mode) => (parseInt(mode, 8) & 0o007) === 0, 'must not let in every user: whoever connects can decrypt')
    .default('0600')
    .describe('Permissions of the socket. "0660" with a group lets in a kube-apiserver that does not run as root.'),
  group: z
    .union([z.string().min(1), z.int().min(0)])
    .optional()
    .describe('Group of the socket, by name or id.'),
});

const http = z.strictObject({
  address: z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:[\]]+):\d{1,5}$/, 'must be ADDRESS:PORT, for instance 127.0.0.1:9412')
    .refine((address) => Number(address.slice(address.lastIndexOf(':') + 1)) <= 65_535, 'must have a port below 65536')
    .default('127.0.0.1:9412')
    .describe('Where /livez, /readyz and /metrics are served.'),
});

const log = z.strictObject({
  level: z
    .enum(['debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Lines below this level are left out. Good RPCs are logged at debug.'),
});

const traces = z.strictObject({
  otlpEndpoint: z
    .url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' })
    .describe('Where spans are sent: a collector’s OTLP/HTTP address, such as http://127.0.0.1:4318/v1/traces.'),
  sampleRatio: z.number().min(0).max(1).default(1).describe('Which part of the RPCs is traced.'),
});

const probe = z.strictObject({
  intervalSeconds: positive
    .max(3600)
    .default(60)
    .describe('How often each key is asked for its KEK version and to unwrap: two calls of the KMS each time.'),
  oldVersionsSeconds: positive
    .default(3600)
    .describe('How often one record of each older KEK version is unwrapped, to notice one that was destroyed.'),
});

const publish = z.strictObject({
  quietSeconds: positive.default(5).describe('A new key id waits until no Status was answered for this long …'),
  latestSeconds: positive.default(60).describe('… and no longer than this.'),
  startSeconds: positive
    .default(10)
    .describe('At start, Encrypt waits this long for every write and recover key, then seals under those that answer.'),
  completeSeconds: positive
    .default(300)
    .describe('A key that was away joins the others once all have been well for this long.'),
});

const outage = z.strictObject({
  graceMinutes: z
    .number()
    .min(0)
    .default(60)
    .describe('How long Status stays ok while no write or recover key reaches its KMS.'),
  then: z
    .enum(['stay-ok', 'unready', 'stop-writes'])
    .default('stay-ok')
    .describe(
      'After that: stay-ok raises an alarm only; unready fails the API server’s /readyz; stop-writes also stops writes after 3 minutes.',
    ),
});

const refusal = z.strictObject({
  afterMinutes: z
    .number()
    .min(0)
    .default(10)
    .describe('How long every probe must be refused, with a good login, before that counts as meant.'),
  action: z
    .enum(['report', 'wipe'])
    .default('report')
    .describe('report stops writes; wipe also destroys the local keys in memory that no other configured key opens.'),
});

const state = z.strictObject({
  path: absolutePath.describe(
    'A directory for what is remembered between starts (no secrets), and for what is rescued when a KEK is lost.',
  ),
});

const limits = z.strictObject({
  remoteCallSeconds: positive.max(300).default(10).describe('Timeout of every call of a KMS.'),
  unwrapConcurrency: count.default(16).describe('Unwraps at the same time, for each key.'),
  waitingDecrypts: count
    .default(1000)
    .describe('Decrypts that may wait for a KMS; more are answered RESOURCE_EXHAUSTED.'),
  heldLocalKeys: count.default(100_000).describe('Local keys kept in memory, about 500 bytes each.'),
});

const key = z.strictObject({
  name: keyName.describe('Stored with the data. Never reuse a name for another key.'),
  backend: z.string().min(1).describe('The backend that speaks to this key’s KMS.'),
  role: z
    .enum(['write', 'recover', 'read'])
    .optional()
    .describe(
      'write: wraps each new local key; exactly one key does, the first unless said otherwise. recover: wraps it too, so that either can unwrap it. read: only unwraps what it wrapped before.',
    ),
  required: z
    .boolean()
    .default(false)
    .describe(
      'On a recover key: a rotation waits until this key can wrap too. The first Encrypt after a start never waits for it.',
    ),
  config: z.unknown().optional().describe('The backend’s own section.'),
});

/** The config file. Everything but the backends' own sections, which their packages check. */
export const configSchema = z.strictObject({
  version: z.literal(1),
  cluster: z
    .string()
    .regex(
      /^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/,
      'must be 1 to 128 of A-Z, a-z, 0-9, ".", "_" and "-", letters or digits at the ends',
    )
    .describe('Bound into every envelope. Never change it: what was encrypted before would not open.'),
  generation: z
    .int()
    .min(1)
    .default(1)
    .describe('Raise it on all nodes to force a new key id, and with it a rewrite of all data.'),
  socket: socket.prefault({}),
  http: http.prefault({}),
  log: log.prefault({}),
  traces: traces.optional(),
  probe: probe.prefault({}),
  publish: publish.prefault({}),
  limits: limits.prefault({}),
  state: state.optional(),
  outage: outage.prefault({}),
  refusal: refusal.prefault({}),
  backendsDir: absolutePath
    .optional()
    .describe('Where backends of other makers are installed, as packages; else they are looked for beside this file.'),
  keys: z.array(key).min(1, 'must name at least one key').max(16, 'must name at most 16 keys'),
  retired: z.array(keyName).default([]).describe('Names of keys that are gone for good. Never use them again.'),
});

export type TracesConfig = z.infer<typeof traces>;

export type Config = z.infer<typeof configSchema>;

/** A key with its role settled. */
export type KeyConfig = Config['keys'][number] & { readonly role: Role };

/** An issue about the keys as a whole, which no single entry shows. */
interface KeysIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

const MAX_SEALING_KEYS = 8; // records in an envelope

/** Settles each key's role: the first one writes unless another says that it does. */
export function settleRoles({ keys, retired }: Config): {
  readonly keys: readonly KeyConfig[];
  readonly issues: readonly KeysIssue[];
} {
  const someWrites = keys.some(({ role }) => role === 'write');
  const settled = keys.map((entry, index) => ({
    ...entry,
    role: entry.role ?? (index === 0 && !someWrites ? ('write' as const) : ('read' as const)),
  }));
  const issues: KeysIssue[] = [];
  for (const [index, { name, role, required }] of settled.entries()) {
    const place = (step: string) => ['keys', index, step];
    if (settled.findIndex((other) => other.name === name) !== index) {
      issues.push({ path: place('name'), message: 'stands twice; a name belongs to one key' });
    }
    if (retired.includes(name)) {
      issues.push({ path: place('name'), message: 'is listed under "retired"; a retired name is never used again' });
    }
    if (keys[index]?.role === undefined && index > 0) {
      issues.push({ path: place('role'), message: 'required for every key but the first: write, recover or read' });
    }
    if (role === 'write' && settled.findIndex((other) => other.role === 'write') !== index) {
      issues.push({ path: place('role'), message: 'only one key writes' });
    }
    if (required && role !== 'recover') {
      issues.push({ path: place('required'), message: 'only for a key with "role: recover"' });
    }
  }
  if (!settled.some(({ role }) => role === 'write'))
    issues.push({ path: ['keys'], message: 'one key must have "role: write"' });
  if (settled.filter(({ role }) => role !== 'read').length > MAX_SEALING_KEYS) {
    issues.push({ path: ['keys'], message: `at most ${MAX_SEALING_KEYS} keys may write or recover` });
  }
  return { keys: settled, issues };
}
